"""The background process of the builds: what it cannot make is skipped, what fails is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from native_builds import Background, Skip


def test_without_a_compiler_the_build_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    background = Background(tmp_path, ["core"])
    with pytest.raises(Skip, match=r"no C\+\+ compiler"):
        background.wait("core")


def test_a_build_that_fails_is_told_with_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("G4V_TEST_CMAKE_ARGS", "-DCMAKE_BUILD_TYPE=Release -P nowhere.cmake")
    with pytest.raises(AssertionError, match="nowhere.cmake"):
        Background(tmp_path, ["core"]).wait("core")


def test_a_process_that_dies_is_told(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="KeyError: 'unheard of'"):
        Background(tmp_path, ["unheard of"]).wait("unheard of")


def test_stop_ends_it(tmp_path: Path) -> None:
    background = Background(tmp_path, ["core"])
    background.stop()
    assert background.process.poll() is not None
    with pytest.raises(AssertionError):
        background.wait("core")
