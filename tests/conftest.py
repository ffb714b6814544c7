"""What all tests share: the C++ builds, which are made while other tests run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from native_builds import Background, Skip

_BACKGROUND = pytest.StashKey[Background]()
_CSRC = Path(__file__).parent / "csrc"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the C++ core come last, when their builds are made."""
    items.sort(key=lambda item: _CSRC in item.path.parents)


@pytest.fixture(scope="session", autouse=True)
def native_builds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Starts the builds that the chosen tests ask for; NATIVE_BUILD of a test's file names one."""
    asked = [getattr(getattr(item, "module", None), "NATIVE_BUILD", None) for item in request.session.items]
    names = list(dict.fromkeys(name for name in asked if name))
    if not names:
        yield
        return
    background = Background(tmp_path_factory.mktemp("native"), names)
    request.config.stash[_BACKGROUND] = background
    yield
    background.stop()


@pytest.fixture(scope="module")
def native_build(request: pytest.FixtureRequest) -> Path:
    """The folder of the file's NATIVE_BUILD."""
    try:
        return request.config.stash[_BACKGROUND].wait(request.module.NATIVE_BUILD)
    except Skip as skip:
        pytest.skip(str(skip))
