"""Tables of the pages about Python and C, against the interfaces themselves."""

from __future__ import annotations

import dataclasses
import inspect
import re

import g4v
from g4v import events

from .pages import ROOT, tables

PYTHON = ROOT / "docs" / "python.md"
EMBEDDING = ROOT / "docs" / "embedding.md"
HEADER = (ROOT / "csrc" / "include" / "g4v" / "g4v.h").read_text("utf-8")


def words(cell: str) -> list[str]:
    """What stands in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def test_events_of_python() -> None:
    rows = {words(cells[0])[0]: words(cells[1]) for cells in tables(PYTHON, "event")}
    kinds = events.Event.__args__
    assert set(rows) == {kind.__name__ for kind in kinds}
    for kind in kinds:
        fields = [field.name for field in dataclasses.fields(kind)]
        # Those of a video from `generate`; the page says where a turn has its warnings.
        assert set(rows[kind.__name__]) == set(fields) - ({"warnings"} if kind is g4v.Video else set())


def test_options_of_python() -> None:
    rows = {name: cells[2] for cells in tables(PYTHON, "option") for name in words(cells[0])}
    for method in (g4v.Assistant.chat, g4v.Assistant.generate, g4v.Chat.send):
        called = {"on_progress", "on_preview", "on_frames"}
        taken = set(inspect.signature(method).parameters) - {"self", "prompt", "text", "video", *called}
        assert taken == {name for name, where in rows.items() if method.__name__ in where}, method


def test_errors_of_python() -> None:
    rows = {words(cells[0])[0]: words(cells[1]) for cells in tables(PYTHON, "class")}
    classes = {name: getattr(g4v, name) for name in g4v.__all__ if inspect.isclass(getattr(g4v, name))}
    found = {
        name: kind for name, kind in classes.items() if issubclass(kind, g4v.Error) and kind is not g4v.Error
    }
    assert set(rows) == set(found)
    for name, kind in found.items():
        assert rows[name] == [base.__name__ for base in kind.__bases__ if base is not g4v.Error], name


def test_events_of_c() -> None:
    """Every kind of event has its row, and every field that a row names is one of g4v_event."""
    (kinds,) = re.findall(r"typedef enum g4v_event_kind \{(.*?)\}", HEADER, re.DOTALL)
    (members,) = re.findall(r"typedef struct g4v_event \{(.*?)\}", HEADER, re.DOTALL)
    fields = set(re.findall(r"(\w+);", re.sub(r"/\*.*?\*/", "", members, flags=re.DOTALL)))
    rows = {words(cells[0])[0]: cells[1] for cells in tables(EMBEDDING, "kind")}
    assert set(rows) == set(re.findall(r"\b(G4V_\w+) =", kinds))
    named = {name for cell in rows.values() for name in words(cell)} - {"stop", "length", "context", "memory"}
    assert named <= fields
    assert fields - named == {"kind", "text_size"}


def test_statuses_of_c() -> None:
    (statuses,) = re.findall(r"typedef enum g4v_status \{(.*?)\}", HEADER, re.DOTALL)
    rows = [words(cells[0])[0] for cells in tables(EMBEDDING, "status")]
    assert rows == re.findall(r"\b(G4V_\w+) =", statuses)
