"""Which dialogues of the shapes world a stage draws, by the settings of its configuration file."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("lightning", reason="needs the train extra")

from g4v.model.prompt import PromptTemplate  # noqa: E402
from g4v.shapes.dialogues import sample_dialogue, smalltalk  # noqa: E402
from g4v.train.configuration import load_settings
from g4v.train.datasets import open_rows  # noqa: E402
from g4v.train.errors import TrainingError  # noqa: E402
from g4v.train.settings import Settings  # noqa: E402

TEMPLATE = PromptTemplate(turn_end_id=2)
UNKNOWN = "I do not know that. I only know moving shapes"


def rows(**values):
    return open_rows(Settings(data=("shapes:200",), **values), "stage2", TEMPLATE)


def answers(rows):
    return [turn.answer for index in range(len(rows)) for turn in rows[index].turns]


def test_the_mixture_is_the_stages_own_or_the_given_one():
    own, talk = rows(), rows(mixture={"talk": 1, "describe": 0})
    assert any(own[index].clips for index in range(len(own)))
    assert not any(talk[index].clips for index in range(len(talk)))
    rng = np.random.default_rng([0, 3])
    rng.choice(1, p=[1.0])
    assert [t.user for t in talk[3].turns] == [t.user for t in sample_dialogue(rng, "train", "talk").turns]


def test_intents_that_are_left_out():
    talk = {"mixture": {"talk": 1}}
    assert any(answer.startswith(UNKNOWN) for answer in answers(rows(**talk)))
    without = rows(**talk, leave_out=("unknown",))
    assert not any(answer.startswith(UNKNOWN) for answer in answers(without))
    assert [turn.user for turn in without[5].turns] == [turn.user for turn in without[5].turns]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mixture": {"tlak": 1}}, "unknown kind 'tlak'"),
        ({"mixture": {"talk": -1}}, "share of talk must be at least 0, not -1"),
        ({"mixture": {"talk": "much"}}, "not 'much'"),
        ({"mixture": {"talk": 0}}, "every share is 0"),
        ({"leave_out": ("unknwon",)}, "no intent 'unknwon'"),
    ],
)
def test_bad_mixtures(values, message):
    with pytest.raises(TrainingError, match=message):
        rows(**values)


def test_nothing_left_is_told():
    every = ("unknown", *(wordings.name for wordings, _ in smalltalk._TALK))
    with pytest.raises(TrainingError, match="leaves no dialogue of talk"):
        rows(mixture={"talk": 1}, leave_out=every)[0]


def test_the_preset_small():
    settings = load_settings("stage2", "small", None, {})
    assert {"unknown", "safe-do", "everyday-question", "everyday-statement"} == set(settings.leave_out)
    assert "q_proj" in settings.lora_targets
    drawn = open_rows(settings, "stage2", TEMPLATE)
    said = [turn.answer for index in range(150) for turn in drawn[index].turns]
    assert not any("I only know moving shapes" in answer for answer in said)


def test_only_the_first_stage_of_small_starts_from_the_abstractor_of_tiny():
    """It is as wide as tiny's language model: the second stage takes what the first one made of it."""
    assert load_settings("stage1", "small", None, {}).abstractor == "tiny"
    assert load_settings("stage2", "small", None, {}).abstractor is None
