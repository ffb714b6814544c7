"""Fixtures of several files."""

import pytest


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The synthetic bundle: (its folder, its vocabulary)."""
    from .synthetic_bundle import write_bundle

    folder = tmp_path_factory.mktemp("synthetic") / "bundle"
    return folder, write_bundle(folder)


@pytest.fixture(scope="session")
def assistant(bundle):
    """The core's assistant of the synthetic bundle."""
    from .talking import load

    return load(bundle[0])


@pytest.fixture(scope="session")
def bundle_dir(bundle):
    """The folder of the synthetic bundle; a test that changes it takes a copy."""
    return bundle[0]
