"""Fixtures of more than one test file."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of toy graphs whose answers are known (synthetic_bundle.py); tests must not change it."""
    from .synthetic_bundle import write_bundle

    folder = tmp_path_factory.mktemp("bundles") / "synthetic"
    write_bundle(folder)
    return folder
