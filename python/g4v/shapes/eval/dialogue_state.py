"""The state of a dialogue: which answer is right after what the assistant itself has said.

A held-out dialogue is a script, but the assistant gives its own answers: it may offer another video than the
script does, choose another one where the choice is its own, or send a wrong one. What users then say of "it"
is about what they were shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from g4v.shapes.dialogues import Turn
from g4v.shapes.eval.answers import same_caption
from g4v.shapes.world.world import parse_caption

if TYPE_CHECKING:
    from g4v import Reply

_OFFER = re.compile(r"[Hh]ow about (an? .+?)(?: instead)?\?")
_ACCEPTS, _CHOICE = "accept-offer", "request-anything"
_OF_THE_LAST = ("again", "remove-object", "add-object", "change-")


@dataclass(frozen=True)
class Expected:
    """The right answer to a turn.

    known: whether it follows from the dialogue at all. caption: of the video that is right; None where no
    video is, or, with `free`, where any video is that the world has words for.
    """

    known: bool = True
    caption: str | None = None
    free: bool = False

    @property
    def video(self) -> bool:
        """Whether a video is right."""
        return self.free or self.caption is not None

    def is_right(self, sent: list[str]) -> bool:
        """Whether these captions, and no others, are what was asked for."""
        if len(sent) != int(self.video):
            return False
        if self.free:
            return parse_caption(sent[0]) is not None
        return self.caption is None or same_caption(sent[0], self.caption)


class DialogueState:
    """The state of one dialogue: the last caption that the script and the assistant have shown or offered."""

    def __init__(self) -> None:
        self._script: str | None = None
        self._own: str | None = None

    def expected(self, turn: Turn) -> Expected:
        """What is right in this turn, after what the assistant has said before."""
        caption = turn.meta["caption"]
        if caption is None:
            return Expected()
        intent = str(turn.meta["intent"])
        if intent == _CHOICE:
            return Expected(free=True)
        if intent == _ACCEPTS:
            return Expected(known=self._own is not None, caption=self._own)
        if intent.startswith(_OF_THE_LAST) and not self._same_caption():
            return Expected(known=False)
        return Expected(caption=caption)

    def update(self, turn: Turn, reply: Reply | None) -> None:
        """Notes what the script and the assistant have shown or offered in a turn."""
        self._script = turn.meta["caption"] or _offered(turn.answer) or self._script
        if reply is not None:
            shown = reply.videos[-1].caption if reply.videos else None
            self._own = shown or _offered(reply.text) or self._own

    def _same_caption(self) -> bool:
        if self._script is None or self._own is None:
            return self._script is self._own
        return same_caption(self._own, self._script)


def _offered(text: str) -> str | None:
    found = _OFFER.search(text)
    return found.group(1) if found and parse_caption(found.group(1)) else None
