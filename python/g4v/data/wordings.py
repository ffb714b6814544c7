"""Wordings: many surface forms of one intent, written as short templates, some held out for tests."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class _Slot:
    name: str


_TOKEN = re.compile(r"[(|)]|\{\w+\}|[^(|){}]+")
REGISTRY: dict[str, Wordings] = {}


class Template:
    """One template: "(a|b|)" chooses, "{name}" is filled in. ValueError: brackets that do not match."""

    def __init__(self, text: str) -> None:
        self._tree = _parse(text)
        self.slots = frozenset(re.findall(r"\{(\w+)\}", text))

    @property
    def size(self) -> int:
        """The number of its surface forms, slots counted once."""
        return _count(self._tree)

    def sample(self, rand: Any, slots: Mapping[str, str]) -> str:
        """One surface form; rand() gives floats in [0, 1). KeyError: a slot that is not given."""
        out: list[str] = []
        _render(self._tree, rand, slots, out)
        return _tidy("".join(out))

    def pattern(self, text_pattern: Callable[[str], str], slot_pattern: Callable[[str], str]) -> str:
        """A regular expression of all surface forms, made of the patterns of its texts and of its slots."""
        return _pattern(self._tree, text_pattern, slot_pattern)


class Wordings:
    """Many surface forms of one intent.

    lines: one core template a line. "(a|b|)" chooses, "{name}" is filled in, "*" in front keeps the line
    for the test split. Lines are in lower case; a final "?" is written, a full stop is not.
    opens, closes: templates put around every core, the same in both splits.
    """

    def __init__(self, name: str, lines: str, opens: str = "", closes: str = "") -> None:
        if name in REGISTRY:
            raise ValueError(f"two wordings are called {name!r}")
        REGISTRY[name] = self
        self.name = name
        cores = [" ".join(line.split()) for line in lines.strip().splitlines() if line.strip()]
        self.cores = {
            "train": [core for core in cores if not core.startswith("*")],
            "test": [core[1:].strip() for core in cores if core.startswith("*")],
        }
        self._trees = {
            split: [_parse(self._full(c, opens, closes)) for c in cs] for split, cs in self.cores.items()
        }
        # A phrase list that holds nothing out is shared by both splits.
        self._trees["test"] = self._trees["test"] or self._trees["train"]

    @staticmethod
    def _full(core: str, opens: str, closes: str) -> str:
        end = "?" if core.endswith("?") else ""
        return opens + core.removesuffix("?") + closes + end

    def sample(self, rand: Any, split: str, slots: dict[str, str]) -> str:
        """One surface form; rand() gives floats in [0, 1)."""
        trees = self._trees[split]
        out: list[str] = []
        _render(trees[int(rand() * len(trees))], rand, slots, out)
        return _tidy("".join(out))

    def expansions(self, split: str) -> Iterator[str]:
        """Every surface form of the cores of a split (without opens and closes), slots left as they are."""
        for core in self.cores[split]:
            for parts in _expand(_parse(core)):
                yield _tidy(parts)

    def words(self, split: str) -> set[str]:
        """All words that the split's trees can produce, slots apart."""
        found: set[str] = set()
        for tree in self._trees[split] if self.cores[split] else ():
            _collect(tree, found)
        return found


def read_wordings(package: str, name: str) -> Wordings:
    """The wordings "written-NAME" of a package's file written_lines/NAME.txt, one core template a line."""
    lines = files(package).joinpath("written_lines", f"{name}.txt").read_text("utf-8")
    return Wordings(f"written-{name.replace('_', '-')}", lines)


def _parse(template: str) -> list[Any]:
    stack: list[list[list[Any]]] = [[[]]]
    for token in _TOKEN.findall(template):
        if token == "(":
            stack.append([[]])
        elif token == "|":
            stack[-1].append([])
        elif token == ")":
            choice = stack.pop()
            stack[-1][-1].append(tuple(choice))
        else:
            stack[-1][-1].append(_Slot(token[1:-1]) if token[0] == "{" else token)
    if len(stack) != 1 or len(stack[0]) != 1:
        raise ValueError(f"unbalanced template: {template!r}")
    return stack[0][0]


def _tidy(text: str) -> str:
    return " ".join(text.split()).replace(" ,", ",").replace(" ?", "?")


def _count(tree: Sequence[Any]) -> int:
    return math.prod(sum(_count(choice) for choice in node) for node in tree if type(node) is tuple)


def _pattern(
    tree: Sequence[Any], text_pattern: Callable[[str], str], slot_pattern: Callable[[str], str]
) -> str:
    parts = []
    for node in tree:
        if type(node) is str:
            parts.append(text_pattern(node))
        elif type(node) is tuple:
            choices = (_pattern(choice, text_pattern, slot_pattern) for choice in node)
            parts.append(f"(?:{'|'.join(choices)})")
        else:
            parts.append(f"(?:{slot_pattern(node.name)})")
    return "".join(parts)


def _render(tree: Sequence[Any], rand: Any, slots: Mapping[str, str], out: list[str]) -> None:
    for node in tree:
        if type(node) is str:
            out.append(node)
        elif type(node) is tuple:
            _render(node[int(rand() * len(node))], rand, slots, out)
        else:
            out.append(slots[node.name])


def _expand(tree: Sequence[Any]) -> Iterator[str]:
    options: list[list[str]] = []
    for node in tree:
        if type(node) is str:
            options.append([node])
        elif type(node) is tuple:
            options.append([text for choice in node for text in _expand(choice)])
        else:
            options.append(["{" + node.name + "}"])
    for parts in itertools.product(*options):
        yield "".join(parts)


def _collect(tree: Sequence[Any], found: set[str]) -> None:
    for text in _expand_words(tree):
        found.update(words_of(text))


def _expand_words(tree: Sequence[Any]) -> Iterator[str]:
    for node in tree:
        if type(node) is str:
            yield node
        elif type(node) is tuple:
            for choice in node:
                yield from _expand_words(choice)


_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case; "can't" is one word."""
    return _WORD.findall(text.lower())


_ALONE_I = re.compile(r"\bi\b")


def finish(text: str, rand: Any) -> str:
    """Writes a lower-case wording the way people type: mostly with capital and full stop."""
    r = rand()
    question = text.endswith("?")
    if r < 0.70 or r >= 0.93:
        text = _ALONE_I.sub("I", text)
        text = text[0].upper() + text[1:]
    if 0.70 <= r < 0.85 or r >= 0.93:
        return text.rstrip("?")
    if question:
        return text
    return text + ("!" if rand() < 0.08 else ".")


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[0].upper() + text[1:]
