"""The threat model: every promise names tests and fuzz targets that there are."""

from __future__ import annotations

import re

import fuzz

from .pages import ROOT, tables

PAGE = ROOT / "docs" / "safety.md"


def test_promises_name_what_shows_them() -> None:
    rows = list(tables(PAGE, "input"))
    assert len(rows) > 8
    for cells in rows:
        shown = re.findall(r"`([^`]+)`", cells[3])
        assert shown, cells[0]
        paths = [ROOT / name for name in shown if name.startswith("tests/")]
        defined = {
            test for path in paths for test in re.findall(r"def (test_\w+)\(", path.read_text("utf-8"))
        }
        assert bool(paths) == bool(defined), cells[0]
        for name in set(shown) - {str(path.relative_to(ROOT)) for path in paths}:
            assert name in defined | {*fuzz.CPP, *fuzz.PYTHON}, name
