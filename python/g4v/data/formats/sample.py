"""One record of training data, and the making of it from untrusted texts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from g4v.data.formats.dialogue_text import normalise_tags, without_tags
from g4v.data.formats.json_file import Row
from g4v.data.formats.problems import Problems, RowError
from g4v.data.formats.values import text
from g4v.errors import ArgumentError
from g4v.model.prompt import PromptTemplate, PromptTurn

MAX_TURNS = 200


@dataclass(frozen=True)
class Sample:
    """A conversation, as `PromptTemplate.encode` takes it, with the clips that belong to it.

    turns: their user texts are clean; only the last answer can be None (a prompt without an answer).
    videos: one per turn, None where the turn has none; the files need not exist.
    source, row, line: where it was read; row counts from 0, line from 1.
    start, end: seconds of the clip within the video, None where it is taken from its start or to its end.
    id: of the row or its video in the source. toxicity: 0 to 1 where the source rates its prompts.
    """

    turns: tuple[PromptTurn, ...]
    videos: tuple[Path | None, ...]
    source: Path
    row: int
    line: int
    start: float | None = None
    end: float | None = None
    id: str | None = None
    toxicity: float | None = None

    def __post_init__(self) -> None:
        if [turn.has_video for turn in self.turns] != [video is not None for video in self.videos]:
            raise ValueError("a turn with a video needs its path, and one without has none")


@dataclass(frozen=True)
class Context:
    """What a reader of a format needs besides the rows."""

    path: Path
    root: Path  # of the videos
    template: PromptTemplate
    split: str
    seed: int
    toxicity: tuple[float, float]  # least and greatest of a prompt that is read
    problems: Problems

    def sample(
        self,
        row: Row,
        exchanges: Sequence[tuple[str, str | None]],
        video: Path | None = None,
        video_turn: int = 0,
        start: float | None = None,
        end: float | None = None,
        id: str | None = None,
        toxicity: float | None = None,
    ) -> Sample:
        """The record of questions and answers; `RowError` where a text cannot stand in the template."""
        if not exchanges:
            raise RowError("the conversation is empty")
        if len(exchanges) > MAX_TURNS:
            raise RowError(f"the conversation has {len(exchanges):,} turns; the limit is {MAX_TURNS}")
        videos = tuple(video if turn == video_turn else None for turn in range(len(exchanges)))
        turns = tuple(
            PromptTurn(
                self._question(question, turn),
                None if answer is None else self._answer(answer, turn),
                videos[turn] is not None,
            )
            for turn, (question, answer) in enumerate(exchanges)
        )
        return Sample(turns, videos, self.path, row.index, row.line, start, end, id, toxicity)

    def _question(self, question: str, turn: int) -> str:
        what = f"question {turn + 1}"
        question = without_tags(text(question, what), what)
        try:
            return self.template.clean_user_text(question)
        except ArgumentError as error:
            raise RowError(f"{what}: {error}") from None

    def _answer(self, answer: str, turn: int) -> str:
        what = f"answer {turn + 1}"
        answer = text(answer.replace("</s>", ""), what)
        for stop in self.template.stop:
            # Answers follow a prefix, so that a stop text at their very start counts too.
            if stop and stop in "\n" + answer:
                raise RowError(f"{what} contains {stop.strip()!r} at the start of a line")
        opening, closing = self.template.video_open, self.template.video_close
        return normalise_tags(answer, opening, closing, what)


def choose(choices: Sequence[str], seed: int, key: str) -> str:
    """One of the choices, by seed and key alone: order and omissions of rows change nothing."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode("utf-8", "replace"), digest_size=8).digest()
    return choices[int.from_bytes(digest, "little") % len(choices)]


class Seen:
    """Finds repeated rows by short hashes, so that files of ten million rows fit into memory."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def check(self, key: object, reason: str) -> None:
        """`RowError(reason)` where the key was given before."""
        value = hash(key)
        if value in self._hashes:
            raise RowError(reason)
        self._hashes.add(value)
