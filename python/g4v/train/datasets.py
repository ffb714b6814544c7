"""The rows of a run: conversations of data files of every format, and of synthetic worlds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from g4v.data.formats import Sample, read_samples
from g4v.data.worlds import WORLDS, world
from g4v.model.prompt import PromptTemplate, PromptTurn
from g4v.train.clips import Clip, FileClip, WorldClip
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


class Dataset(Protocol):
    """Rows by index, the same row for the same index each time."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Row: ...


@dataclass(frozen=True)
class FileRows:
    """The samples of one data file, held in memory."""

    samples: Sequence[Sample]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Row:
        sample = self.samples[index]
        clips = tuple(FileClip(v, sample.start, sample.end) for v in sample.videos if v is not None)
        return Row(sample.turns, clips, f"{sample.source}, line {sample.line}")


@dataclass(frozen=True)
class WorldRows:
    """`count` dialogues of a synthetic world, each drawn from (seed, index) when it is asked for.

    kinds: kinds of dialogues and their shares, which need not add up to 1. leave_out: intents; a dialogue
    with one of them is drawn again. longer_clips: probability that a clip is sampled from a longer one.
    """

    world: str
    count: int
    seed: int
    kinds: Mapping[str, float]
    leave_out: frozenset[str] = frozenset()
    longer_clips: float = 0.0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Row:
        source = world(self.world)
        rng = np.random.default_rng([self.seed, index])
        names, shares = list(self.kinds), np.array(list(self.kinds.values()))
        for _ in range(_MOST_DRAWS):
            kind = names[int(rng.choice(len(names), p=shares / shares.sum()))]
            dialogue = source.sample_dialogue(rng, "train", kind)
            if self.leave_out.isdisjoint(turn.meta["intent"] for turn in dialogue.turns):
                break
        else:
            raise TrainingError(f"leave_out leaves no dialogue of {', '.join(names)}")
        turns = tuple(PromptTurn(t.user, t.answer, t.video is not None) for t in dialogue.turns)
        scenes = [turn.video for turn in dialogue.turns if turn.video is not None]
        clips = tuple(
            WorldClip(self.world, scene, (self.seed, index, number), self.longer_clips)
            for number, scene in enumerate(scenes)
        )
        return Row(turns, clips, f"{self.world}, dialogue {index}")


@dataclass(frozen=True)
class Rows:
    """All data sets of a stage, one after the other.

    problems: why rows were left out, one line each. left_out: how many.
    """

    sources: tuple[Dataset, ...]
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
    """Reads the data files of a stage.

    template: says how dialogues are written as text, for formats that hold whole texts. DataError: a file
    that cannot be used, or a bad row where those are to stop the run. TrainingError: no data, or none that
    can be trained on.
    """
    if not settings.data:
        raise TrainingError(
            f"{stage} has no data: give --data FILE, or a configuration file with {stage}: {{data: [FILE]}}"
        )
    sources: list[Dataset] = []
    problems: list[str] = []
    left_out = 0
    for name in settings.data:
        world_name = find_world(name)
        if world_name is not None:
            sources.append(_world_rows(settings, stage, name, world_name))
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


def find_world(data: str) -> str | None:
    """The world that `--data` names, such as "shapes" of "shapes:200"; None for a file."""
    name, colon, _ = data.partition(":")
    return name if colon and name in WORLDS else None


def _world_rows(settings: Settings, stage: str, data: str, name: str) -> WorldRows:
    digits = data.removeprefix(f"{name}:").replace("_", "")
    if not digits.isdecimal() or not int(digits):
        raise TrainingError(f"data {data!r}: after '{name}:' comes a number of dialogues")
    intents = world(name).intents
    for intent in settings.leave_out:
        if intent not in intents:
            raise TrainingError(f"leave_out: the {name} world has no intent {intent!r}")
    return WorldRows(
        name,
        int(digits),
        settings.seed,
        _mixture(settings, stage, name),
        frozenset(settings.leave_out),
        settings.longer_clips,
    )


def _mixture(settings: Settings, stage: str, name: str) -> dict[str, float]:
    """Kinds of dialogues with their shares; TrainingError: an unknown kind, or shares that are none."""
    if not settings.mixture:
        return world(name).mixture(stage)
    kinds = world(name).kinds
    for kind, share in settings.mixture.items():
        if kind not in kinds:
            raise TrainingError(f"mixture: unknown kind {kind!r} (one of {', '.join(kinds)})")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < float("inf"):
            raise TrainingError(f"mixture: the share of {kind} must be at least 0, not {share!r}")
    if not any(settings.mixture.values()):
        raise TrainingError("mixture: every share is 0")
    return {kind: float(share) for kind, share in settings.mixture.items()}
