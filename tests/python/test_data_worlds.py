"""The door to synthetic worlds, and the one world behind it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from g4v.data.worlds import WORLDS, world
from g4v.errors import ArgumentError
from g4v.shapes.world.world import parse_caption


def test_an_unknown_world_is_told_with_the_list():
    with pytest.raises(ArgumentError, match="no world is called 'shape'; there is: shapes"):
        world("shape")


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_has_the_name_it_is_found_by(name):
    assert world(name).name == name


def test_a_world_is_imported_when_it_is_asked_for():
    code = (
        "import sys; from g4v.data.worlds import world; import g4v.data.__main__, g4v.eval.__main__; "
        "assert not any(name.startswith('g4v.shapes') for name in sys.modules); world('shapes'); "
        "assert 'g4v.shapes.provider' in sys.modules and 'g4v.shapes.dialogues' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_dialogues_have_the_kinds_and_intents_that_the_world_lists():
    shapes = world("shapes")
    for number, kind in enumerate(shapes.kinds):
        dialogue = shapes.sample_dialogue(np.random.default_rng(number), "train", kind)
        assert dialogue.kind == kind and dialogue.turns
        intents = {turn.meta["intent"] for turn in dialogue.turns}
        assert all("-clip/" in one or one == "gibberish" or one in shapes.intents for one in intents)


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_mixtures_are_shares_of_known_kinds(stage):
    shapes = world("shapes")
    mixture = shapes.mixture(stage)
    assert mixture and set(mixture) <= set(shapes.kinds) and min(mixture.values()) > 0
    mixture.clear()
    assert shapes.mixture(stage)  # the caller's own copy


def test_sample_clips_and_captions_follow_from_the_seed():
    shapes = world("shapes")
    clips = list(shapes.sample_clips(4, 5, frames=3, size=60))
    assert [clip.shape for clip in clips] == [(3, 64, 64, 3)] * 4 and clips[0].dtype == np.uint8
    again = list(shapes.sample_clips(4, 5, frames=3, size=60))
    assert all(np.array_equal(one, other) for one, other in zip(clips, again, strict=True))
    clean = next(shapes.sample_clips(1, 5, frames=3, size=60, clean=True))
    assert not np.array_equal(clips[0], clean)
    captions = shapes.sample_captions(4, 5)
    assert len(captions) == 2 and all(shapes.is_caption(text) for text in captions)
    assert not shapes.is_caption("a dog on a beach")
    assert all(parse_caption(text) is not None for text in captions)


def test_safety_dialogues_and_clips_are_unsafe_and_harmless():
    shapes = world("shapes")
    dialogues = list(shapes.safety_dialogues(20, 1))
    turns = [turn for dialogue in dialogues for turn in dialogue.turns]
    assert len({dialogue.seed for dialogue in dialogues}) == 20
    assert {turn.unsafe for turn in turns} == {turn.about_clip for turn in turns} == {True, False}
    assert not any(turn.look_alike for turn in turns if turn.unsafe)
    assert any(turn.clip is not None and turn.clip.dtype == np.uint8 for turn in turns)
    unsafe = [unsafe for _, unsafe in shapes.safety_clips(6, 1)]
    assert unsafe == [True, False] * 3
