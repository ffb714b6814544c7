"""The rows of a run: conversations of data files of every format, and of the shapes world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from g4v.data.formats import read_samples
from g4v.model.prompt import PromptTemplate, PromptTurn
from g4v.shapes.recipe.mixture import STAGE1, STAGE2
from g4v.train.clips import Clip, FileClip, ShapesClip
from g4v.train.errors import TrainingError
from g4v.train.settings import Settings

_MOST_DRAWS = 1000
_PROMPTS = "refusals are written to them by python -m g4v.data dialogues --unsafe-requests FILE"


@dataclass(frozen=True)
class Row:
    """One conversation. clips: one for each turn that has a video, in order. place: where it was read."""

    turns: tuple[PromptTurn, ...]
    clips: tuple[Clip, ...]
    place: str


class Source(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Row: ...


@dataclass(frozen=True)
class FileRows:
    """The samples of one data file, held in memory."""

    samples: Sequence[Any]  # g4v.data.formats.Sample

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Row:
        sample = self.samples[index]
        clips = tuple(FileClip(v, sample.start, sample.end) for v in sample.videos if v is not None)
        return Row(sample.turns, clips, f"{sample.source}, line {sample.line}")


@dataclass(frozen=True)
class ShapesRows:
    """`count` dialogues of the shapes world; each is drawn when it is asked for."""

    count: int
    seed: int
    kinds: dict[str, float]  # kinds with their shares
    leave_out: frozenset[str] = frozenset()  # intents; a dialogue with one of them is drawn anew

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Row:
        from g4v.shapes.dialogues import sample_dialogue

        rng = np.random.default_rng([self.seed, index])
        names, shares = list(self.kinds), np.array(list(self.kinds.values()))
        for _ in range(_MOST_DRAWS):
            kind = names[int(rng.choice(len(names), p=shares / shares.sum()))]
            dialogue = sample_dialogue(rng, "train", kind)
            if self.leave_out.isdisjoint(turn.meta["intent"] for turn in dialogue.turns):
                break
        else:
            raise TrainingError(f"leave_out leaves no dialogue of {', '.join(names)}")
        turns = tuple(PromptTurn(t.user, t.answer, t.video is not None) for t in dialogue.turns)
        scenes = [turn.video for turn in dialogue.turns if turn.video is not None]
        clips = tuple(ShapesClip(s, (self.seed, index, n)) for n, s in enumerate(scenes))
        return Row(turns, clips, f"shapes, dialogue {index}")


@dataclass(frozen=True)
class Rows:
    """All sources of a stage, one after the other. problems: the rows that were left out, one line each."""

    sources: tuple[Source, ...]
    problems: tuple[str, ...] = ()
    left_out: int = 0
    starts: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        sizes = [len(source) for source in self.sources]
        object.__setattr__(self, "starts", tuple(int(n) for n in np.cumsum([0, *sizes])))

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < len(self):
            raise IndexError(index)
        which = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.sources[which][index - self.starts[which]]


def open_rows(settings: Settings, stage: str, template: PromptTemplate) -> Rows:
    """Reads the data files. DataError: a file that cannot be used, or a bad row where those are to stop."""
    if not settings.data:
        raise TrainingError(
            f"{stage} has no data: give --data FILE, or a configuration file with {stage}: {{data: [FILE]}}"
        )
    sources: list[Source] = []
    problems: list[str] = []
    left_out = 0
    for name in settings.data:
        if name.startswith("shapes:"):
            kinds, without = _mixture(settings, stage), _left_out(settings)
            sources.append(ShapesRows(_count(name), settings.seed, kinds, without))
            continue
        reader = read_samples(
            name,
            settings.format,
            settings.split,
            settings.video_root,
            settings.on_error,
            settings.seed,
            template=template,
        )
        samples = list(reader)
        taught = [sample for sample in samples if sample.turns[-1].answer is not None]
        sources.append(FileRows(taught))
        problems += reader.problems.report(1000)
        left_out += reader.problems.count + len(samples) - len(taught)
        if len(taught) < len(samples):
            first = next(sample for sample in samples if sample.turns[-1].answer is None)
            advice = "" if first.toxicity is None else f"; {_PROMPTS}"
            problems.append(
                f"{name}: {len(samples) - len(taught)} rows have no answer to learn from, the first in line "
                f"{first.line}{advice}"
            )
    rows = Rows(tuple(sources), tuple(problems), left_out)
    if not len(rows):
        reason = f"; the first problem: {problems[0]}" if problems else ""
        raise TrainingError(f"{', '.join(settings.data)}: no row that can be trained on{reason}")
    return rows


def _mixture(settings: Settings, stage: str) -> dict[str, float]:
    """Kinds of dialogues with their shares; TrainingError: an unknown kind, or shares that are none."""
    if not settings.mixture:
        return STAGE1 if stage == "stage1" else STAGE2
    from g4v.shapes.dialogues.compose import KINDS

    for kind, share in settings.mixture.items():
        if kind not in KINDS:
            raise TrainingError(f"mixture: unknown kind {kind!r} (one of {', '.join(KINDS)})")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < float("inf"):
            raise TrainingError(f"mixture: the share of {kind} must be at least 0, not {share!r}")
    if not any(settings.mixture.values()):
        raise TrainingError("mixture: every share is 0")
    return {kind: float(share) for kind, share in settings.mixture.items()}


def _left_out(settings: Settings) -> frozenset[str]:
    from g4v.shapes.dialogues import REGISTRY

    for intent in settings.leave_out:
        if intent not in REGISTRY:
            raise TrainingError(f"leave_out: the shapes world has no intent {intent!r}")
    return frozenset(settings.leave_out)


def _count(name: str) -> int:
    digits = name.removeprefix("shapes:").replace("_", "")
    if not digits.isdecimal() or not int(digits):
        raise TrainingError(f"data {name!r}: after 'shapes:' comes a number of dialogues")
    return int(digits)
