"""Files and modules that comments and docstrings name are there: what is moved takes its mentions along."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from .pages import ROOT

_SUFFIXES = (".py", ".pyi", ".h", ".hpp", ".cc", ".cpp", ".c", ".cu", ".cuh", ".sh", ".toml")
_FOLDERS = (
    "csrc export python tests benchmarks kernels ort vision bundle chat decoder diffusion capi bindings"
)
_FILE = re.compile(
    rf"(?<![\w/.])((?:{_FOLDERS.replace(' ', '|')})/[\w./]+\.(?:cc|hpp|h|py|cuh|cu|cpp|md|sh))\b"
)
_MODULE = re.compile(r"(?<![\w./-])(g4v\.(?:export|train|eval|data|shapes|model|cli|ops)(?:\.\w+)+)")
# A path in a comment may begin inside one of these.
_ROOTS = ("", "csrc/", "csrc/include/", "python/g4v/", "tests/", "export/")
# Not names of modules: the value of a manifest's key, and an attribute.
_DATA = {"g4v.data.shapes", "g4v.data.__file__"}


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a clone of the repository")
    return listed.stdout.splitlines()


def _missing_files(text: str, files: set[str]) -> list[str]:
    return [name for name in _FILE.findall(text) if not any(root + name in files for root in _ROOTS)]


def _is_module(name: str, files: set[str]) -> bool:
    """Whether `name` is a module, a package, or something that one of them defines or names."""
    parts = name.split(".")
    for count in range(len(parts), 1, -1):
        place = "/".join(parts[:count])
        place = place.removeprefix("g4v/") if parts[1] == "export" else f"python/{place}"
        found = next((file for file in (f"{place}.py", f"{place}/__init__.py") if file in files), None)
        if found is not None:
            rest = parts[count:]
            return not rest or re.search(rf"\b{rest[0]}\b", (ROOT / found).read_text("utf-8")) is not None
    return False


def _missing_modules(text: str, files: set[str]) -> list[str]:
    return [name for name in _MODULE.findall(text) if name not in _DATA and not _is_module(name, files)]


def test_names_in_code_lead_somewhere() -> None:
    files = set(_tracked())
    wrong = []
    for name in sorted(files):
        path = ROOT / name
        if not name.endswith(_SUFFIXES) or path == Path(__file__) or not path.is_file():
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            found = _missing_files(line, files) + _missing_modules(line, files)
            wrong += [f"{name}:{number}: {what}" for what in found]
    assert not wrong, "\n".join(wrong)


def test_a_wrong_name_is_found() -> None:
    files = set(_tracked())
    assert _missing_files("see csrc/kernels/none.h", files) == ["csrc/kernels/none.h"]
    assert _missing_files("see kernels/cross_attention.h and export/__main__.py", files) == []
    assert _missing_modules("in g4v.export.none.x", files) == ["g4v.export.none.x"]
    assert _missing_modules("g4v.export.graph.writer.GraphWriter, g4v.data.worlds", files) == []
