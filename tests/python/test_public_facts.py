"""What is public is the same in the C header, the C++ core and Python: options with ranges and defaults,
names of components and schedulers, codes of errors.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from pathlib import Path

import pytest

import g4v
from g4v import errors
from g4v._core import testing

ROOT = Path(__file__).resolve().parents[2]
HEADER = (ROOT / "csrc/include/g4v/g4v.h").read_text("utf-8")
STUBS = ROOT / "python/g4v/_core"
RANGES = testing.option_ranges()


def test_status_codes_are_those_of_the_exceptions() -> None:
    header = {
        name: int(code)
        for name, code in re.findall(r"^  G4V_(\w+) = (\d+),? */\*", HEADER.split("} g4v_status")[0], re.M)
    }
    header |= {"OK": 0}
    assert header.pop("TIMEOUT") == 100  # no fault, and no exception
    core = testing.status_codes()
    assert header == core
    codes = {name: code for name, code in core.items() if name != "OK"}
    for code in codes.values():
        assert errors.error_for_code(code).code == code
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind is not errors.Error]
    assert sorted(kind.code for kind in kinds) == sorted(codes.values()), "one class for each code"
    assert errors.error_for_code(12345) is errors.InternalError


def stated(text: str) -> dict[str, tuple[str, bool, str]]:
    """The ranges that comments of struct fields state: name -> (least, whether excluded, most or "")."""
    pattern = (
        r"(?:std::optional<\w+>|int32_t|double) (\w+);\s*(?:/\*|//) (?:pixels, )?(\d+)( <)? \.\.(?: (\d+))?"
    )
    return {name: (least, bool(above), most) for name, least, above, most in re.findall(pattern, text)}


@pytest.mark.parametrize(
    "path", ["csrc/include/g4v/g4v.h", "csrc/decoder/sampler.h", "csrc/diffusion/request.h"]
)
def test_comments_state_the_ranges_of_the_core(path: str) -> None:
    found = stated((ROOT / path).read_text("utf-8"))
    assert found, path
    for name, (least, above, most) in found.items():
        if name not in RANGES:
            # Up to the schedule's training time steps; what C calls `logprobs` of the others.
            assert name in ("steps", "top_logprobs")
            continue
        assert RANGES[name][0] == int(least) and RANGES[name][2] == above, name
        assert not most or RANGES[name][1] == int(most), name


OF_LOADING = {
    "threads",
    "turns",
    "spin_us",
    "prompt_lookup",
    "max_prompt_tokens",
    "max_turn_ms",
    "max_videos",
}


def limit_cases() -> list[tuple[str, object, str]]:
    cases = []
    for name, (least, most, above) in RANGES.items():
        bounds = f"above {least} and at most {most}" if above else f"{least} to {most}"
        cases.append((name, most + 1, bounds))
        cases.append((name, least if above else least - 1, bounds))
    return cases


@pytest.mark.parametrize(("name", "value", "bounds"), limit_cases())
def test_messages_name_the_range(bundle_dir: Path, name: str, value: int, bounds: str) -> None:
    if name in ("width", "height"):
        bounds = "2 to 4096"  # from the bundle's unit on
    assistant = g4v.load(bundle_dir, threads=1)
    with pytest.raises(g4v.ArgumentError, match=f"{name} is {value} but must be {bounds}"):
        if name in OF_LOADING:
            g4v.load(bundle_dir, **{name: value})
        elif name == "logprobs":
            assistant.chat().send("Hello", logprobs=value)
        elif name in ("fps", "strength"):
            assistant.generate("x", **{name: value})
        else:
            assistant.chat(**{name: value})


def test_every_option_has_its_keyword() -> None:
    chat = set(inspect.signature(g4v.Assistant.chat).parameters)
    generate = set(inspect.signature(g4v.Assistant.generate).parameters)
    text = {"max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty"}
    send = set(inspect.signature(g4v.Chat.send).parameters)
    load = set(inspect.signature(g4v.load).parameters)
    assert set(RANGES) - {*OF_LOADING, "fps", "logprobs", "strength"} <= chat
    assert set(RANGES) - {*OF_LOADING, "logprobs"} - text <= generate
    assert text | {"logprobs"} <= send and OF_LOADING <= load
    assert send - {"self", "text", "video"} == set(g4v.chat.TurnOptions.__annotations__)


def test_defaults_of_a_load_are_one() -> None:
    core = testing.load_defaults()
    python = {name: p.default for name, p in inspect.signature(g4v.load).parameters.items()}
    assert {name: python[name] or core[name] for name in core} == core
    assert python["threads"] is None  # the core's 0: one for each core
    fields = HEADER[HEADER.index("typedef struct g4v_load_options") : HEADER.index("} g4v_load_options")]
    assert all(re.search(rf"\b{name};", fields) for name in core)


def test_components_are_those_that_the_exporter_writes() -> None:
    """The embedded bundle has all but the one that must be asked for, and the one in place of its UNet, in
    the exporter's order.
    """
    bundle = Path(g4v.__file__).parent / "bundles/tiny/g4v.json"
    wanted = [name for name in testing.COMPONENTS if name not in ("transformer", "vae_encoder")]
    assert list(json.loads(bundle.read_text("utf-8"))["components"]) == wanted
    import g4v._core as core

    assert json.loads(bundle.read_text("utf-8"))["format_version"] == core.BUNDLE_FORMAT_VERSION


def test_names_of_the_exporter_are_those_of_the_core() -> None:
    """Components, and the data types of the one file that the core reads itself, the embedding."""
    from g4v.export.bundle.manifest import FORMAT_VERSION
    from g4v.export.components.precision import COMPONENTS
    from g4v.export.graph.dtype import FLOAT16, FLOAT32

    assert list(COMPONENTS) == testing.COMPONENTS
    assert FORMAT_VERSION == g4v._core.BUNDLE_FORMAT_VERSION
    reader = (ROOT / "csrc/bundle/manifest_components.cc").read_text("utf-8")
    (words,) = re.findall(r'ReadWord\(embedding\.Get\("dtype"\), \{(.*?)\}', reader)
    assert re.findall(r'"(\w+)"', words) == [FLOAT32.name, FLOAT16.name]


def test_schedulers_are_those_that_are_documented(bundle_dir: Path) -> None:
    from g4v.export.checkpoint.samplers import SAMPLERS

    *others, last = [f'"{name}"' for name in testing.SCHEDULERS]
    named = f"{', '.join(others)} and {last}"
    comment = re.search(r"/\*((?:(?!\*/).)*)\*/\s*const char\* scheduler;", HEADER, re.S)
    assert comment and f"some of {named}." in " ".join(comment[1].split())
    for method in (g4v.Assistant.chat, g4v.Assistant.generate):
        assert f"some of {named}." in " ".join(str(method.__doc__).split())
    rows = [" ".join(f"`{name}`," for name in testing.SCHEDULERS).rstrip(",")]
    for page in ("python.md", "bundle-format.md"):
        assert rows[0] in (ROOT / "docs" / page).read_text("utf-8"), page
    export = (ROOT / "docs" / "export.md").read_text("utf-8")
    assert re.findall(r"^\| `([\w+-]+)` \| (?:noise|flow|of checkpoints)", export, re.M) == testing.SCHEDULERS
    assert list(SAMPLERS) == testing.SCHEDULERS
    for name in {facts.diffusers for facts in SAMPLERS.values()}:
        assert f"`{name}`" in export
    with pytest.raises(
        g4v.ArgumentError, match=re.escape('scheduler is "euler" but must be "ddim" or "dpmsolver++"')
    ):
        g4v.load(bundle_dir, threads=1).chat(scheduler="euler")
    assistant = g4v.load(bundle_dir, threads=1)
    assert assistant.info["video"]["schedulers"] == ["ddim", "dpmsolver++"]
    for name in assistant.info["video"]["schedulers"]:
        assistant.chat(scheduler=name)
    tiny = g4v.load("tiny", threads=1)
    assert len(tiny.info["video"]["schedulers"]) >= 6
    for name in tiny.info["video"]["schedulers"]:
        tiny.chat(scheduler=name)


@pytest.mark.parametrize(
    ("module", "stub"), [("g4v._core", "__init__.pyi"), ("g4v._core.testing", "testing.pyi")]
)
def test_the_stubs_declare_what_is_bound(module: str, stub: str) -> None:
    tree = ast.parse((STUBS / stub).read_text("utf-8"))
    declared = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    declared |= {node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)}
    bound = importlib.import_module("g4v._core")
    if module.endswith("testing"):
        bound = bound.testing
    names = {name for name in vars(bound) if not name.startswith("_")} - {"testing"}
    assert names == declared - {"__version__"}
