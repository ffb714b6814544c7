"""The pages of the repository as data: tables, code blocks, links, headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
)
INDENT = "    "


@dataclass(frozen=True)
class Block:
    """A code block. language: of a fenced one, "" for an indented one; line: of its first line, from 1."""

    language: str
    text: str
    line: int


def split(page: Path) -> tuple[list[tuple[int, str]], list[Block]]:
    """The lines of prose with their numbers, and the code blocks."""
    prose: list[tuple[int, str]] = []
    blocks: list[Block] = []
    lines = page.read_text("utf-8").splitlines()
    number, before_blank = 0, True
    while number < len(lines):
        line = lines[number]
        start = number
        if line.lstrip().startswith("```"):
            language = line.strip().strip("`").strip()
            number += 1
            while not lines[number].lstrip().startswith("```"):
                number += 1
            blocks.append(Block(language, "\n".join(lines[start + 1 : number]), start + 2))
            number += 1
        elif line.startswith(INDENT) and before_blank and not line.lstrip().startswith(("*", "-")):
            while number < len(lines) and (lines[number].startswith(INDENT) or not lines[number].strip()):
                number += 1
            text = "\n".join(one[len(INDENT) :] for one in lines[start:number])
            blocks.append(Block("", text.rstrip(), start + 1))
        else:
            prose.append((number + 1, line))
            number += 1
        before_blank = not lines[number - 1].strip()
    return prose, blocks


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page."""
    return split(page)[1]


def tables(page: Path, first: str) -> list[list[str]]:
    """The rows of all tables whose first column has this heading; cells without white space around them."""
    rows: list[list[str]] = []
    inside = False
    for _, line in split(page)[0]:
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells[0] == first:
            inside = True
        elif inside and not set(cells[0]) <= set("-: "):
            rows.append(cells)
    return rows


def anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page."""
    matches = (re.match(r"#{1,6} +(.*)", line) for _, line in split(page)[0])
    return {anchor(match[1]) for match in matches if match}


def links(page: Path) -> list[tuple[int, str]]:
    """Line and target of every link and picture in the prose."""
    found = []
    for number, line in split(page)[0]:
        found += [(number, target) for target in re.findall(r"\]\(([^)\s]+)\)", line)]
    return found
