"""GPT4Video dialogues: {"train": [..], "test": [..]} with rows {"instruction": the dialogue as text,
optional "video", "image_id", "caption"}.
"""

from __future__ import annotations

from collections.abc import Iterator

from g4v.data.formats.dialogue_text import parse_dialogue
from g4v.data.formats.json_file import Document, Row
from g4v.data.formats.problems import DataError, Problem
from g4v.data.formats.sample import Context, Sample, Seen
from g4v.data.formats.values import identity, need, record, short, text, video_path


def read_gpt4video(document: Document, context: Context) -> Iterator[Sample]:
    """Rows of GPT4Video's layout: instruction texts with videos."""
    chosen = document.members.get(context.split)
    if chosen is None:
        there = ", ".join(short(name) for name in list(document.members)[:10]) or "nothing"
        raise DataError(Problem(context.path, f"has no split {short(context.split)}; it has {there}"))
    if not isinstance(chosen.value, list):
        raise DataError(Problem(context.path, f"split {short(context.split)} is not a list", chosen.line))
    for key, line in document.doubled:
        context.problems.add(f"the key {short(key)} stands twice; the later one is read", line)
    seen = Seen()
    for row in chosen.value:
        with context.problems.row(row.line, row.index):
            yield _sample(row, context, seen)


def _sample(row: Row, context: Context, seen: Seen) -> Sample:
    values = record(row.value, "the row")
    dialogue = parse_dialogue(text(need(values, "instruction"), "'instruction'"))
    video = None if values.get("video") is None else video_path(context.root, values["video"], "'video'")
    id = None if values.get("image_id") is None else identity(values["image_id"], "'image_id'")
    if values.get("caption") is not None:
        text(values["caption"], "'caption'", empty=True)
    sample = context.sample(row, dialogue.exchanges, video, dialogue.video_turn, id=id)
    seen.check((video, dialogue.exchanges), "the same dialogue stands earlier in the file")
    return sample
