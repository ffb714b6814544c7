"""Turns the journal into the data file, the report and the plots."""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from g4v._files import write_bytes
from g4v.data.dialogues.check import Dialogue
from g4v.data.dialogues.duplicates import find_duplicates
from g4v.data.dialogues.prompts import KINDS, Item
from g4v.data.dialogues.run import tries_of
from g4v.data.endpoint.completions import RequestSettings
from g4v.data.endpoint.journal import answers_of
from g4v.errors import RuntimeUnavailable

_EXAMPLES = 5
_TAG = re.compile(r"<(video\d*)>")
_WORD = re.compile(r"\w+")


def collect(
    items: Sequence[Item], settings: RequestSettings, records: Sequence[dict[str, Any]], threshold: float
) -> tuple[list[tuple[Item, int, Dialogue]], dict[str, Any]]:
    """The dialogues of the journal without duplicates, and what the report says about answers."""
    answers = answers_of(records)
    found: list[tuple[Item, int, Dialogue]] = []
    reasons: Counter[str] = Counter()
    examples: dict[str, list[dict[str, str]]] = {}
    unfinished = 0
    for item in items:
        tried = tries_of(item, settings, answers)
        usable = [d for _, verdict in tried for d in verdict.accepted]
        unfinished += not usable and len(tried) < settings.tries
        found += [(item, number, dialogue) for number, dialogue in enumerate(usable)]
        for reason, text in (each for _, verdict in tried for each in verdict.rejected):
            reasons[reason] += 1
            if len(examples.setdefault(reason, [])) < _EXAMPLES:
                examples[reason].append({"item": item.name, "text": text})
    same = find_duplicates([dialogue.text() for _, _, dialogue in found], threshold)
    kinds = Counter(kind for _, kind in same.values())
    report = {
        "accepted": len(found),
        "kept": len(found) - len(same),
        "duplicates": {"exact": kinds["exact"], "near": kinds["near"]},
        "rejected": {r: {"count": n, "examples": examples[r]} for r, n in reasons.most_common()},
        "items_without_answer": unfinished,
    }
    return [row for number, row in enumerate(found) if number not in same], report


def data_rows(found: Sequence[tuple[Item, int, Dialogue]]) -> list[dict[str, Any]]:
    """Rows of a GPT4Video file: instruction, kind, image_id; caption or captions, video or videos."""
    rows = []
    for item, number, dialogue in found:
        row: dict[str, Any] = {"instruction": dialogue.text(), "kind": item.kind}
        names = "+".join(caption.id for caption in item.captions) or item.name
        row["image_id"] = f"{names}-{number}" if item.count > 1 else names
        if item.video:
            row["video"] = item.video
        if item.kind == "single":
            row["caption"] = item.captions[0].text
            if item.captions[0].video:
                row["video"] = item.captions[0].video
        elif item.kind == "multi":
            row["captions"] = [caption.text for caption in item.captions]
            if all(caption.video for caption in item.captions):
                row["videos"] = [caption.video for caption in item.captions]
        rows.append(row)
    return rows


def split(
    found: Sequence[tuple[Item, int, Dialogue]], groups: Sequence[Sequence[str]], share: float, seed: int
) -> list[bool]:
    """Which dialogues are for the test. A caption, and all captions of its group, fall on one side.

    groups: the captions' texts of each group.
    """
    unit_of = {text: group[0] for group in groups for text in group}

    def unit(item: Item) -> str:
        first = item.captions[0].text if item.captions else item.video or item.request
        return unit_of.get(first, first)

    units = sorted(
        {unit(item) for item, _, _ in found}, key=lambda u: hashlib.sha256(f"{seed} {u}".encode()).digest()
    )
    count = min(max(1, round(share * len(units))), len(units) - 1) if share > 0 and len(units) > 1 else 0
    chosen = set(units[:count])
    return [unit(item) in chosen for item, _, _ in found]


def statistics(found: Sequence[tuple[Item, int, Dialogue]]) -> dict[str, Any]:
    """Counts and lengths of the kept dialogues."""
    turns = Counter(len(d.turns) for _, _, d in found)
    first = Counter(
        next(i for i, (_, text) in enumerate(d.turns, 1) if _TAG.search(text))
        for item, _, d in found
        if item.captions
    )
    words = [len(_WORD.findall(d.text())) for _, _, d in found]
    vocabulary = {w for _, _, d in found for w in _WORD.findall(d.text().casefold())}
    openings = Counter(" ".join(d.turns[0][1].split()[:3]).casefold() for _, _, d in found)
    return {
        "dialogues": {kind: sum(item.kind == kind for item, _, _ in found) for kind in KINDS},
        "turns": dict(sorted(turns.items())),
        "turn_of_first_video": dict(sorted(first.items())),
        "words": {"least": min(words), "mean": round(sum(words) / len(words), 1), "most": max(words)}
        if words
        else {},
        "vocabulary": len(vocabulary),
        "different_openings": len(openings),
    }


def plot(path: Path, found: Sequence[tuple[Item, int, Dialogue]], answers: dict[str, Any]) -> None:
    """Four panels: turns, words, where the first video comes, why dialogues were left out."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise RuntimeUnavailable("matplotlib is missing; install it, or give --no-plots") from None
    figures = statistics(found)
    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    for axis, name, title in (
        (axes[0][0], "turns", "turns of a dialogue"),
        (axes[1][0], "turn_of_first_video", "turn with the first video"),
    ):
        axis.bar([str(k) for k in figures[name]], list(figures[name].values()), color="tab:blue")
        axis.set(title=title, ylabel="dialogues")
    for kind in KINDS:
        words = [len(_WORD.findall(d.text())) for item, _, d in found if item.kind == kind]
        if words:
            axes[0][1].hist(words, bins=20, alpha=0.6, label=f"{kind} ({len(words)})")
    axes[0][1].set(title="words of a dialogue", ylabel="dialogues")
    if found:
        axes[0][1].legend()
    left = {reason: entry["count"] for reason, entry in answers["rejected"].items()}
    left |= {f"{kind} duplicate": n for kind, n in answers["duplicates"].items() if n}
    rows = sorted(left.items(), key=lambda row: row[1])[-12:]
    axes[1][1].barh([name for name, _ in rows], [count for _, count in rows], color="tab:red")
    axes[1][1].set(title="left out", xlabel="dialogues")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    write_bytes(path, picture.getvalue())
