"""docs/serving.md against the server: options, routes, fields, metrics and codes."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from g4v import cli

from .pages import ROOT, tables

starlette = pytest.importorskip("starlette")

PAGE = ROOT / "docs" / "serving.md"
SOURCES = sorted((ROOT / "python/g4v/serve").rglob("*.py"))


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_options() -> None:
    (commands,) = [a for a in cli.build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    known = {a.option_strings[-1] for a in commands.choices["serve"]._actions}
    shared = {"--help", "--bundle", "--device", "--threads", "--frame-checker"}
    assert [words(row[0])[0] for row in tables(PAGE, "option")] == [
        a.option_strings[-1] for a in commands.choices["serve"]._actions if a.option_strings[-1] not in shared
    ]
    assert shared <= known
    for option, default, _ in tables(PAGE, "option"):
        name = words(option)[0]
        action = next(a for a in commands.choices["serve"]._actions if name in a.option_strings)
        if default not in ("", "none"):
            assert f"(default: {default.strip('`')}" in str(action.help) or "; " in str(action.help), name


def test_routes(tmp_path: Path) -> None:
    from g4v.serve.app import make_app
    from g4v.serve.options import Options

    from ..python.serve import fake

    app = make_app(fake.Assistant(), Options(media_dir=tmp_path))  # type: ignore[arg-type]
    there: dict[str, set[str]] = {}
    for route in app.routes:
        there.setdefault(route.path, set()).update(route.methods - {"HEAD"})
    app.state.service.close()
    assert {words(row[0])[0]: set(row[1].split(", ")) for row in tables(PAGE, "route")} == there


def test_fields() -> None:
    from g4v.serve.chats import request as chat_request
    from g4v.serve.videos import request as video_request

    text = PAGE.read_text("utf-8")
    refused = text[text.index("## What is refused") : text.index("Refused too")]
    for name in (*chat_request.REFUSED, *chat_request.WITHOUT_EFFECT, *video_request.REFUSED):
        assert f"`{name}`" in refused, name
    read = set()
    for module in (chat_request, video_request):
        source = Path(str(module.__file__)).read_text("utf-8")
        read |= set(re.findall(r'fields\.(?:integer|number|text|boolean|value|inner)\("(\w+)"', source))
    assert len(read) > 15
    assert {name for name in read if f"`{name}`" not in text} <= {"messages"}
    documented = {name for row in tables(PAGE, "field") for name in words(row[0])}
    asked = read | {"max_tokens", "max_completion_tokens"}
    assert documented <= asked, documented - asked


def test_codes() -> None:
    documented = {code for row in tables(PAGE, "status") for code in words(row[1])}
    source = "".join(path.read_text("utf-8") for path in SOURCES)
    for code in documented:
        assert f'"{code}"' in source, code


def test_metrics() -> None:
    pytest.importorskip("prometheus_client")
    source = "".join(path.read_text("utf-8") for path in SOURCES if path.name in ("metrics.py", "service.py"))
    counters = {f"g4v_{n}_total" for n in re.findall(r'counter\("(\w+)"', source)}
    there = (
        counters
        | {f"g4v_{n}" for n in re.findall(r'(?:histogram|watch)\("(\w+)"', source)}
        | {"g4v_build_info"}
    )
    assert {name for row in tables(PAGE, "metric") for name in words(row[0])} == there
