"""What is right after what the assistant itself has said.

A held-out dialogue is a script, but the assistant speaks for itself: it may offer another video than the
script does, choose another one where the choice is its own, or have sent a wrong one. What users then say of
"it" is about what they were shown.
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
class Wanted:
    """told: whether it can be told at all. caption: of the video that is right; None where none is, or, with
    `free`, where any that the world has words for is.
    """

    told: bool = True
    caption: str | None = None
    free: bool = False

    @property
    def video(self) -> bool:
        return self.free or self.caption is not None

    def is_right(self, sent: list[str]) -> bool:
        """Whether these captions, and no others, are what was asked for."""
        if len(sent) != int(self.video):
            return False
        if self.free:
            return parse_caption(sent[0]) is not None
        return self.caption is None or same_caption(sent[0], self.caption)


class Course:
    """Follows one dialogue: the last video or offer of the script and of the assistant."""

    def __init__(self) -> None:
        self._script: str | None = None
        self._own: str | None = None

    def wanted(self, turn: Turn) -> Wanted:
        """What is right now."""
        caption = turn.meta["caption"]
        if caption is None:
            return Wanted()
        intent = str(turn.meta["intent"])
        if intent == _CHOICE:
            return Wanted(free=True)
        if intent == _ACCEPTS:
            return Wanted(told=self._own is not None, caption=self._own)
        if intent.startswith(_OF_THE_LAST) and not self._together():
            return Wanted(told=False)
        return Wanted(caption=caption)

    def follow(self, turn: Turn, reply: Reply | None) -> None:
        """Notes what the script and the assistant have shown or offered in a turn."""
        self._script = turn.meta["caption"] or _offered(turn.answer) or self._script
        if reply is not None:
            shown = reply.videos[-1].caption if reply.videos else None
            self._own = shown or _offered(reply.text) or self._own

    def _together(self) -> bool:
        if self._script is None or self._own is None:
            return self._script is self._own
        return same_caption(self._own, self._script)


def _offered(text: str) -> str | None:
    found = _OFFER.search(text)
    return found.group(1) if found and parse_caption(found.group(1)) else None
