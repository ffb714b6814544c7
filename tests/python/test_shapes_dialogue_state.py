"""What is right after what the assistant itself has shown and offered."""

from __future__ import annotations

import numpy as np
import pytest

import g4v
from g4v.shapes.dialogues import Turn
from g4v.shapes.eval.dialogue_state import DialogueState

RED, BLUE = "a red circle moving left", "a blue star growing"


def turn(intent: str, caption: str | None = None, answer: str = "") -> Turn:
    return Turn(
        "...", answer, None, {"intent": intent, "sends_video": caption is not None, "caption": caption}
    )


def reply(text: str = "", *captions: str) -> g4v.Reply:
    frames = np.zeros((1, 8, 8, 3), np.uint8)
    videos = tuple(g4v.Video(frames, 8.0, c, i, 0) for i, c in enumerate(captions))
    return g4v.Reply(text, videos, False, g4v.Timings(), 1, 1, "stop")


def test_a_request_is_what_it_says() -> None:
    wanted = DialogueState().expected(turn("request", RED))
    assert (
        wanted.known and wanted.is_right([RED]) and wanted.is_right([RED + " on a black background"]) is False
    )
    assert not wanted.is_right([BLUE]) and not wanted.is_right([]) and not wanted.is_right([RED, RED])
    silent = DialogueState().expected(turn("talk"))
    assert silent.is_right([]) and not silent.is_right([RED])


def test_an_accepted_offer_is_the_assistants_own() -> None:
    state = DialogueState()
    state.update(turn("unsafe/x", answer=f"No. How about {RED} instead?"), reply(f"How about {BLUE}?"))
    wanted = state.expected(turn("accept-offer", RED))
    assert wanted.is_right([BLUE]) and not wanted.is_right([RED])
    # Where the assistant offered nothing, what the user accepts cannot be told.
    silent = DialogueState()
    silent.update(turn("unsafe/x", answer=f"No. How about {RED} instead?"), reply("No."))
    assert not silent.expected(turn("accept-offer", RED)).known


def test_a_free_choice_is_any_caption_of_the_world() -> None:
    wanted = DialogueState().expected(turn("request-anything", RED))
    assert wanted.video and wanted.is_right([BLUE])
    assert not wanted.is_right(["a dog"]) and not wanted.is_right([])


@pytest.mark.parametrize("intent", ["again", "remove-object", "add-object", "change-colour"])
def test_a_change_is_judged_where_both_have_shown_the_same(intent: str) -> None:
    for shown, told in ((RED, True), (BLUE, False)):
        state = DialogueState()
        state.update(turn("request-anything", RED), reply("", shown))
        assert state.expected(turn(intent, BLUE)).known is told
        # A new request brings them together again.
        state.update(turn("request", BLUE), reply("", BLUE))
        assert state.expected(turn(intent, RED)).is_right([RED])


def test_a_failed_turn_shows_nothing() -> None:
    state = DialogueState()
    state.update(turn("request", RED), None)
    assert not state.expected(turn("again", RED)).known
