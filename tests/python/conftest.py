"""Fixtures of several files."""

import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def heed_ctrl_c():
    """Ctrl-C is heard here and in child processes, also where the tests run in the background: a shell
    starts what it puts there with SIGINT ignored, and Python then leaves it so.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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


@pytest.fixture(scope="module")
def one_thread():
    """PyTorch with one thread: small models are no faster with more, and other tests have them back."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
