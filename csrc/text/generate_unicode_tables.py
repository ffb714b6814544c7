"""Writes csrc/text/unicode_tables.cc: what Hugging Face tokenizers know about Unicode, as compact tables.

    python csrc/text/generate_unicode_tables.py

The tables are read out of the installed `tokenizers` package itself, code point by code point, because its
parts follow different versions of Unicode: its regular expressions know other digits than its digit splitter.
Takes half a minute.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

SURROGATES = range(0xD800, 0xE000)
HANGUL_SYLLABLES = range(0xAC00, 0xAC00 + 11172)
CODE_POINTS = [c for c in range(0x110000) if c not in SURROGATES]
# Bits of a code point's class, as in unicode_tables.h.
LETTER, NUMBER, SPACE, DIGIT_SPLIT = 1, 2, 4, 8


def matching(pattern: str) -> set[int]:
    """Code points that the regular expression engine matches."""
    text = "".join(map(chr, CODE_POINTS))
    split = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    return {ord(c) for word, _ in split.pre_tokenize_str(text) for c in word}


def class_ranges() -> list[int]:
    """`start << 4 | class` where the class changes."""
    letters, numbers, spaces = (matching(p) for p in (r"\p{L}+", r"\p{N}+", r"\s+"))
    splitter = pre_tokenizers.Digits(individual_digits=True)
    # The "a" before each code point makes every split that starts with something else a digit.
    pieces = splitter.pre_tokenize_str("".join("a" + chr(c) for c in CODE_POINTS))
    digits = {ord(word) for word, _ in pieces if word[0] != "a"}
    ranges = []
    last = -1
    for c in range(0x110000):
        bits = (
            LETTER * (c in letters)
            | NUMBER * (c in numbers)
            | SPACE * (c in spaces)
            | DIGIT_SPLIT * (c in digits)
        )
        if bits != last:
            ranges.append(c << 4 | bits)
            last = bits
    return ranges


def decompositions() -> list[int]:
    """`code << 43 | first << 22 | second << 1 | composes`, second 0 for a single; without Hangul."""
    nfd, nfc = normalizers.NFD().normalize_str, normalizers.NFC().normalize_str
    whole = {chr(c): nfd(chr(c)) for c in CODE_POINTS if c not in HANGUL_SYLLABLES}
    whole = {c: full for c, full in whole.items() if full != c}
    by_whole = {full: c for c, full in whole.items()}
    rows = []
    for character, full in whole.items():
        c = ord(character)
        if len(full) == 1:
            rows.append(c << 43 | ord(full) << 22)
            continue
        # A pair: one code point for all but the last, preferably the one that composing gives.
        head = nfc(full[:-1])
        if len(head) != 1:
            head = by_whole.get(full[:-1], "")
        if len(head) != 1 or nfd(head) + full[-1] != full:
            raise SystemExit(f"U+{c:04X} is no pair: {[hex(ord(x)) for x in full]}")
        composes = nfc(head + full[-1]) == character
        if composes != (nfc(character) == character):
            raise SystemExit(f"U+{c:04X} composes in one direction only")
        rows.append(c << 43 | ord(head) << 22 | ord(full[-1]) << 1 | composes)
    return rows


def combining_classes() -> list[int]:
    """`start << 8 | class` where the canonical combining class changes, found by how marks are reordered."""
    nfd = normalizers.NFD().normalize_str
    singles = [c for c in CODE_POINTS if nfd(chr(c)) == chr(c)]

    def after(a: str, b: str) -> bool:  # 0 < class(b) < class(a)
        return nfd(a + b) == b + a and a != b

    overlay, iota = "\u0334", "\u0345"  # the classes 1 and 240, the lowest and the highest
    marks = [chr(c) for c in singles if after(iota, chr(c)) or after(chr(c), overlay)]
    known = {m: unicodedata.combining(m) for m in marks}
    by_class = {value: m for m, value in known.items() if value}
    levels = sorted(by_class)
    ranges, last = [], -1
    classes = {}
    for m in marks:
        # The class is the one level whose representative neither moves before nor after the mark.
        equal = [v for v in levels if not after(m, by_class[v]) and not after(by_class[v], m)]
        if len(equal) != 1:
            raise SystemExit(f"U+{ord(m):04X} has no combining class")
        classes[ord(m)] = equal[0]
    for c in range(0x110000):
        value = classes.get(c, 0)
        if value != last:
            ranges.append(c << 8 | value)
            last = value
    return ranges


def lowercase_runs() -> list[int]:
    """`start << 43 | count << 30 | step << 28 | distance + 2^20` of runs of lower cases."""
    lower = normalizers.Lowercase().normalize_str
    runs: list[list[int]] = []  # start, count, step, distance
    for c in CODE_POINTS:
        text = lower(chr(c))
        if text == chr(c):
            continue
        if len(text) != 1:
            if c == 0x130 and text == "i\u0307":  # the only one of two code points; written out in unicode.cc
                continue
            raise SystemExit(f"U+{c:04X} becomes {text!r}")
        distance = ord(text) - c
        if runs and runs[-1][3] == distance:
            start, count, step, _ = runs[-1]
            gap = c - (start + (count - 1) * step)
            if gap in (1, 2) and (count == 1 or gap == step):
                runs[-1][1:3] = count + 1, gap
                continue
        runs.append([c, 1, 1, distance])
    return [s << 43 | n << 30 | step << 28 | (d + (1 << 20)) for s, n, step, d in runs]


def rows(values: Iterable[int], width: int) -> Iterator[str]:
    words = [f"0x{v:0{width}X}," for v in values]
    per_line = 96 // (width + 4)
    for i in range(0, len(words), per_line):
        yield "    " + " ".join(words[i : i + per_line])


def main() -> None:
    tables = [
        ("uint32_t", "kClassRanges", class_ranges(), 7),
        ("uint32_t", "kCombiningRanges", combining_classes(), 7),
        ("uint64_t", "kDecompositions", decompositions(), 16),
        ("uint64_t", "kLowercaseRuns", lowercase_runs(), 16),
    ]
    lines = [
        "// Generated by generate_unicode_tables.py from Hugging Face tokenizers "
        f"{tokenizers.__version__}; do not edit.",
        "// The layout of the entries is described in unicode_tables.h.",
        '#include "text/unicode_tables.h"',
        "",
        "// clang-format off",
        "namespace g4v {",
    ]
    for kind, name, values, width in tables:
        lines += ["", f"const {kind} {name}[{len(values)}] = {{", *rows(values, width), "};"]
        lines.append(f"const size_t {name}Size = {len(values)};")
    lines += ["", "}  // namespace g4v", ""]
    path = Path(__file__).with_name("unicode_tables.cc")
    temporary = path.with_suffix(".tmp")
    temporary.write_text("\n".join(lines))
    os.replace(temporary, path)
    print(f"{path}: " + ", ".join(f"{name} {len(values)}" for _, name, values, _ in tables))


if __name__ == "__main__":
    main()
