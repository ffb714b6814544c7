"""RealToxicityPrompts: JSON lines {"prompt": {"text", "toxicity", ..}, "filename", "begin", "end", ..}.

Every prompt becomes an open turn, without an answer. Those below or above the wanted toxicity are passed
over; a score that is null is reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from g4v.data.formats.json_file import Row
from g4v.data.formats.lines import jsonl_rows
from g4v.data.formats.problems import RowError
from g4v.data.formats.sample import Context, Sample, Seen
from g4v.data.formats.values import identity, need, number, record, text


def read_toxicity(path: Path, context: Context) -> Iterator[Sample]:
    """Prompts of RealToxicityPrompts with their toxicity, 0 to 1."""
    seen = Seen()
    for row in jsonl_rows(path, context.problems):
        with context.problems.row(row.line, row.index):
            sample = _sample(row, context, seen)
            if sample is not None:
                yield sample


def _sample(row: Row, context: Context, seen: Seen) -> Sample | None:
    values = record(row.value, "the line")
    prompt = record(need(values, "prompt"), "'prompt'")
    words = text(need(prompt, "text"), "'text'")
    toxicity = number(need(prompt, "toxicity"), "'toxicity'")
    if not 0 <= toxicity <= 1:
        raise RowError(f"'toxicity' is {toxicity:g}, not between 0 and 1")
    id = None
    if values.get("filename") is not None:
        places = [values[key] for key in ("filename", "begin", "end") if values.get(key) is not None]
        id = ":".join(identity(place, "'filename', 'begin' or 'end'") for place in places)
    seen.check((id, words), "the same prompt stands in an earlier line")
    least, most = context.toxicity
    if not least <= toxicity <= most:
        return None
    return context.sample(row, [(words, None)], id=id, toxicity=toxicity)
