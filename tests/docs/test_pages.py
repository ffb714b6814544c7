"""The pages of the repository: links, paths, commands and their flags, Python blocks, the README's tree."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .pages import PAGES, ROOT, Block, anchor, anchors, blocks, links, split, tables

README = ROOT / "README.md"


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(block: Block) -> Iterator[str]:
    """The command lines of a shell block: "$ " before them, continued lines joined, comments left out."""
    if block.language not in ("", "sh", "bash", "console"):
        return
    for line in block.text.replace("\\\n", " ").splitlines():
        command = line.strip().removeprefix("$ ")
        for part in command.split("&&"):
            yield part.partition(" #")[0].strip()


def program(words: list[str]) -> tuple[str, ...] | None:
    """What is run, up to its subcommand: ("g4v", "chat"), ("g4v.train", "tiny"); None for other programs."""
    if "-m" in words and words[words.index("-m") + 1].startswith("g4v"):
        at = words.index("-m") + 1
        name, rest = words[at], words[at + 1 :]
        return (name, *[word for word in rest[:1] if word in subcommands(name)])
    if words and words[0] == "g4v":
        return ("g4v", *words[1 : 3 if words[1:3] == ["bench", "serve"] else 2])
    return None


@functools.cache
def help_of(*words: str) -> str:
    """What `--help` prints."""
    module, *rest = words
    done = subprocess.run(
        [sys.executable, "-m", module, *rest, "--help"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


@functools.cache
def subcommands(module: str) -> frozenset[str]:
    """The subcommands of a module, as its help names them."""
    return frozenset(re.findall(r"^ {2,4}([a-z][a-z0-9]*)\b", help_of(module), re.MULTILINE)) | (
        {"tiny"} if module == "g4v.train" else frozenset()
    )


def flags_of(words: tuple[str, ...]) -> set[str]:
    return set(re.findall(r"--[a-z0-9][\w-]*", help_of(*words)))


def named_flags(words: list[str]) -> set[str]:
    """The long options of a command line; dashes and underscores are the same to g4v.train."""
    return {
        re.split(r"[=\]]", word.strip("[]`"))[0].replace("_", "-")
        for word in words
        if word.startswith(("--", "[--"))
    }


def needs_every_extra() -> None:
    for package in ("lightning", "onnx", "aiohttp"):
        if importlib.util.find_spec(package) is None:
            pytest.skip("the help of all commands needs the extras train, export and data")


def test_the_readme_is_short() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 150


def test_the_readme_has_the_two_commands() -> None:
    there = [block.text for block in blocks(README)]
    assert 'pip install . && g4v chat --prompt "Show me a blue star growing" --out .' in there
    assert 'pip install ".[test]" && python -m pytest tests' in there


def test_every_figure_of_the_readme_says_what_makes_it() -> None:
    """Each row of what is measured names a script, a command or the row above; no machine, no figure."""
    rows = tables(README, "what")
    assert len(rows) > 5
    for at, (_, figure, machine, maker) in enumerate(rows):
        if machine == "none":
            assert "never" in figure and not maker
        elif maker == "the same":
            assert at
        else:
            assert re.fullmatch(r"`(benchmarks/\w+\.py|g4v\.eval \w+)`", maker), maker


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {(README.parent / target.partition("#")[0]).resolve() for _, target in links(README)}
    assert set(PAGES) - {README} <= linked


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links(page: Path) -> None:
    """Every relative link leads to a file, and its anchor to a heading."""
    wrong = []
    for line, target in links(page):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append((line, target))
    assert not wrong


def test_contents_list_every_section() -> None:
    """A page with "Contents:" lists all its sections in their order."""
    seen = 0
    for page in PAGES:
        prose = "\n".join(text for _, text in split(page)[0])
        if contents := re.search(r"^Contents: (.*?)\n\n", prose, re.DOTALL | re.MULTILINE):
            sections = re.findall(r"^## +(.*)", prose, re.MULTILINE)
            assert re.findall(r"\(#([^)]+)\)", contents[1]) == [anchor(name) for name in sections], page
            seen += 1
    assert seen >= 5


def braces(pattern: str) -> list[str]:
    """a{b,c}d -> abd, acd."""
    if match := re.search(r"\{([^{}]*)\}", pattern):
        head, tail = pattern[: match.start()], pattern[match.end() :]
        return [path for word in match[1].split(",") for path in braces(head + word + tail)]
    return [pattern]


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=page_name)
def test_paths(page: Path) -> None:
    """Every path of the repository that a page names is there."""
    wrong, seen = [], 0
    for line, text in split(page)[0]:
        for word in re.findall(r"`([^`\s]+)`", text):
            if not re.match(r"(csrc|export|python|tests|benchmarks|docs|\.ci)/", word):
                continue
            seen += 1
            for path in braces(word):
                if not (any(ROOT.glob(path)) if "*" in path else (ROOT / path).exists()):
                    wrong.append((line, word))
    assert not wrong
    assert seen or page.name in ("cli.md", "README.md", "python.md")


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_main_files_are_in_their_layer(page: Path) -> None:
    """Tables "layer | main files | responsibility": each file is in the folder of its row."""
    for cells in tables(page, "layer") + tables(page, "package"):
        folders = [ROOT / path for path in re.findall(r"`([^`]+)`", cells[0])] or [ROOT / "python" / "g4v"]
        for name in re.findall(r"`([^`]+)`", cells[1]):
            assert any((folder / name).exists() for folder in folders), (cells[0], name)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_and_flags(page: Path) -> None:
    """Every command of ours that a page shows exists, with every option that it is given."""
    needs_every_extra()
    wrong = []
    for block in blocks(page):
        for line in commands(block):
            try:
                words = shlex.split(line)
            except ValueError:
                continue
            name = program(words)
            if name is None:
                continue
            if name[0] == "g4v" and len(name) > 1 and name[1] not in subcommands("g4v"):
                wrong.append((block.line, line))
            elif unknown := named_flags(words) - flags_of(name) - TORCHRUN:
                wrong.append((block.line, f"{line}: {unknown}"))
    assert not wrong


# Options of torchrun, which starts g4v.train on several machines.
TORCHRUN = {"--nnodes", "--nproc-per-node", "--rdzv-endpoint"}


@pytest.mark.slow
def test_help_says_which_frames_are_meant() -> None:
    """`--frames` is the length of a video that is made, or how many frames of one are looked at."""
    needs_every_extra()
    for words, meaning in {
        ("g4v", "chat"): "how many frames of a question's video are looked at",
        ("g4v", "generate"): "frames of the video that is made",
        ("g4v.export",): "of a video that is made",
        ("g4v.train",): "frames sampled from a clip",
    }.items():
        assert f"--frames N {meaning}" in " ".join(help_of(*words).split())


@pytest.mark.slow
def test_flags_in_prose() -> None:
    """Every `--flag` that a sentence names is an option of some command."""
    needs_every_extra()
    programs = [
        ("g4v", name)
        for name in ("chat", "generate", "serve", "build", "inspect", "verify", "doctor", "bench")
    ]
    programs += [
        ("g4v", "bench", "serve"),
        ("g4v.export",),
        ("g4v.train",),
        ("g4v.train", "tiny"),
        ("g4v.train.pack",),
    ]
    programs += [("g4v.model.bases", "convert"), ("g4v.export.random_checkpoint",)]
    programs += [("g4v.data", name) for name in ("dialogues", "replies", "shapes")]
    programs += [("g4v.eval", name) for name in ("videoqa", "caption", "t2v", "safety", "shapes")]
    known = set().union(*map(flags_of, programs)) | {"--help"}
    wrong, seen = [], set()
    for page in PAGES:
        if page.name == "CHANGELOG.md":  # it names old spellings
            continue
        for line, text in split(page)[0]:
            for code in re.findall(r"`([^`]+)`", text):
                if "benchmarks/" in code or code.startswith(("cmake", "ctest", "pip", "pre-commit")):
                    continue
                found = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", code))
                seen |= found
                wrong += [(page_name(page), line, flag) for flag in found - known]
    assert not wrong
    assert len(seen) > 30


def test_presets_and_markers() -> None:
    """CMake presets and pytest markers that CONTRIBUTING names."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    presets = json.loads((ROOT / "CMakePresets.json").read_text("utf-8"))
    (listed,) = re.findall(r"`CMakePresets\.json` has (.*)\.", text)
    named = set(re.findall(r"`(\w+)`", listed))
    assert named == {preset["name"] for preset in presets["configurePresets"] if not preset.get("hidden")}
    for option, kind in (("cmake --preset", "configurePresets"), ("cmake --build --preset", "buildPresets")):
        (used,) = re.findall(rf"{option} (\w+)", text)
        assert used in {preset["name"] for preset in presets[kind]}
    markers = (ROOT / "pyproject.toml").read_text("utf-8")
    for marker in ("slow", "gpu"):
        assert f"`{marker}`" in text or f"not {marker}" in text
        assert f'"{marker}:' in markers


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_python_blocks_compile(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            compile("\n" * (block.line - 1) + block.text, page_name(page), "exec")


@pytest.mark.slow
def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with the two clips that they read."""
    import g4v

    monkeypatch.chdir(tmp_path)
    clip = g4v.load("tiny").generate("a red circle moving left", seed=0, steps=4)
    for name in ("circle.mp4", "clip.mp4"):
        clip.save(name)
    count = 0
    for page in PAGES:
        if page.name == "serving.md":  # needs a server: tests/python/serve/test_openai.py
            continue
        for block in blocks(page):
            if block.language == "python":
                exec(compile(block.text, page_name(page), "exec"), {"__name__": "__main__"})
                count += 1
    assert count >= 5 and Path("out.mp4").exists()


def tree() -> set[str]:
    """The folders that the README's tree names."""
    (block,) = [b for b in blocks(README) if "csrc/" in b.text and "docs/" in b.text]
    found: set[str] = set()
    stack: list[tuple[int, str]] = []
    for line in block.text.splitlines():
        indent = len(line) - len(line.lstrip())
        while stack and stack[-1][0] >= indent:
            stack.pop()
        above = stack[-1][1] if stack else ""
        names = re.split(r"\s{2,}", line.strip())[0].split(" ")
        for name in names:
            if name.endswith("/"):
                path = f"{above}{name}"
                found.add(path.rstrip("/"))
                if name == names[0]:
                    stack.append((indent, path))
    return found


def tracked(folder: str) -> set[str]:
    """The folders in `folder` that hold files of the repository, hidden ones left out."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z"]
    if (ROOT / ".git").exists() and shutil.which("git"):
        files = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split("\0")
    else:  # an unpacked source distribution
        files = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if "__pycache__" not in path.parts]
    start = "" if folder == "." else f"{folder}/"
    rooms = {name.removeprefix(start).split("/")[0] for name in files if name.startswith(start)}
    # Hidden folders, and the stubs of the compiled module.
    rooms -= {"", "_core"} | {room for room in rooms if room.startswith(".")}
    return {start + room for room in rooms if (ROOT / folder / room).is_dir()}


def test_the_tree_of_the_readme() -> None:
    """Every folder of the tree is there, and every room of the repository is in the tree."""
    named = tree()
    assert [path for path in sorted(named) if not (ROOT / path).is_dir()] == []
    above = {path.partition("/")[0] for path in named}
    assert tracked(".") <= above
    for folder in ("python/g4v", "export", "csrc"):
        assert tracked(folder) <= named, folder


def test_the_tests_above_can_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n\nSee [x](#a-page) and [y](missing.md).\n\n"
        "    $ g4v chat --no-such-flag 1\n\n```python\nx = (\n```\n"
    )
    assert links(page) == [(3, "#a-page"), (3, "missing.md")] and anchors(page) == {"a-page"}
    shell, python = blocks(page)
    (line,) = commands(shell)
    words = shlex.split(line)
    assert program(words) == ("g4v", "chat") and named_flags(words) == {"--no-such-flag"}
    assert python.language == "python" and python.line == 8
    with pytest.raises(SyntaxError):
        compile(python.text, "page", "exec")
    assert "--prompt" in flags_of(("g4v", "chat")) and "--no-such-flag" not in flags_of(("g4v", "chat"))
