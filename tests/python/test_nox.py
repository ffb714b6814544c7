"""noxfile.py installs the floors that pyproject.toml promises, on the Pythons that it promises."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def noxfile() -> Any:
    pytest.importorskip("nox", reason="needs nox, of the extra dev")
    spec = importlib.util.spec_from_file_location("noxfile", ROOT / "noxfile.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_floors(noxfile: Any) -> None:
    floors = [noxfile.floor(requirement) for requirement in noxfile.requirements()]
    extras = PROJECT["optional-dependencies"]
    promised = [*PROJECT["dependencies"], *extras["serve"], *extras["bench"]]
    assert [text.replace('"', "'") for text in floors] == [text.replace(">=", "==", 1) for text in promised]
    assert PROJECT["requires-python"] == f">={noxfile.PYTHONS[0]}"


@pytest.mark.parametrize("text", ["av", "av<20", "av>=1,>=2"])
def test_a_requirement_without_a_floor(noxfile: Any, text: str) -> None:
    from packaging.requirements import Requirement

    with pytest.raises(ValueError, match="has no floor; write it as name>=version"):
        noxfile.floor(Requirement(text))


def test_the_tests_are_there(noxfile: Any) -> None:
    assert all((ROOT / "tests/python" / name).exists() for name in noxfile.TESTS)
