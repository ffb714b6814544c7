"""What is right after what the assistant itself has shown and offered."""

from __future__ import annotations

import numpy as np
import pytest

import g4v
from g4v.shapes.dialogues import Turn
from g4v.shapes.eval.dialogue_state import Course

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
    wanted = Course().wanted(turn("request", RED))
    assert (
        wanted.told and wanted.is_right([RED]) and wanted.is_right([RED + " on a black background"]) is False
    )
    assert not wanted.is_right([BLUE]) and not wanted.is_right([]) and not wanted.is_right([RED, RED])
    silent = Course().wanted(turn("talk"))
    assert silent.is_right([]) and not silent.is_right([RED])


def test_an_accepted_offer_is_the_assistants_own() -> None:
    course = Course()
    course.follow(turn("unsafe/x", answer=f"No. How about {RED} instead?"), reply(f"How about {BLUE}?"))
    wanted = course.wanted(turn("accept-offer", RED))
    assert wanted.is_right([BLUE]) and not wanted.is_right([RED])
    # Where the assistant offered nothing, what the user accepts cannot be told.
    silent = Course()
    silent.follow(turn("unsafe/x", answer=f"No. How about {RED} instead?"), reply("No."))
    assert not silent.wanted(turn("accept-offer", RED)).told


def test_a_free_choice_is_any_caption_of_the_world() -> None:
    wanted = Course().wanted(turn("request-anything", RED))
    assert wanted.video and wanted.is_right([BLUE])
    assert not wanted.is_right(["a dog"]) and not wanted.is_right([])


@pytest.mark.parametrize("intent", ["again", "remove-object", "add-object", "change-colour"])
def test_a_change_is_judged_where_both_have_shown_the_same(intent: str) -> None:
    for shown, told in ((RED, True), (BLUE, False)):
        course = Course()
        course.follow(turn("request-anything", RED), reply("", shown))
        assert course.wanted(turn(intent, BLUE)).told is told
        # A new request brings them together again.
        course.follow(turn("request", BLUE), reply("", BLUE))
        assert course.wanted(turn(intent, RED)).is_right([RED])


def test_a_failed_turn_shows_nothing() -> None:
    course = Course()
    course.follow(turn("request", RED), None)
    assert not course.wanted(turn("again", RED)).told
