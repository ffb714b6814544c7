"""The answers' scorer accepts true answers in many words and refuses deliberate errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from g4v.eval.metrics import Decisions, Rate, f1, median, wilson
from g4v.shapes.dialogues import sample_dialogue
from g4v.shapes.eval.answers import ATTRIBUTES, read_description, same_caption, score
from g4v.shapes.world.world import COLOURS, MOTION_PHRASES, SHAPES


def right(answer: str, attribute: str, expected: object, reference: str | None = None) -> bool:
    return score(answer, {"attribute": attribute, "expected": expected}, reference)


def questions(split: str, count: int) -> list:
    rng = np.random.default_rng(5)
    turns = [turn for _ in range(count) for turn in sample_dialogue(rng, split).turns]
    return [turn for turn in turns if "attribute" in turn.meta]


@pytest.mark.parametrize("split", ["train", "test"])
def test_accepts_every_true_answer(split: str) -> None:
    turns = questions(split, 1500)
    assert {turn.meta["attribute"] for turn in turns} == set(ATTRIBUTES)
    wrong = [(t.user, t.answer, t.meta) for t in turns if not score(t.answer, t.meta, t.answer)]
    assert wrong == []


def test_refuses_true_answers_with_one_word_changed() -> None:
    """Every value word of a right answer, replaced by another of its kind, makes it wrong."""
    rng = np.random.default_rng(6)
    families = [COLOURS, SHAPES, tuple(MOTION_PHRASES.values()), ("black", "gray", "navy")]
    tried = 0
    for turn in questions("test", 600):
        attribute = turn.meta["attribute"]
        if attribute not in ("describe", "colour", "shape", "motion", "background"):
            continue
        values = [turn.meta["expected"]] if isinstance(turn.meta["expected"], str) else turn.meta["expected"]
        for family in families:
            for word in family:
                asked = attribute == "describe" or word in values
                if not asked or word not in turn.answer.lower():
                    continue
                others = [w for w in family if w != word and w not in turn.answer]
                other = others[int(rng.integers(len(others)))]
                broken = turn.answer.lower().replace(word, other)
                tried += 1
                assert not score(broken, turn.meta, turn.answer), (broken, turn.meta)
    assert tried > 300


@pytest.mark.parametrize(
    ("answer", "attribute", "expected"),
    [
        ("red", "colour", "red"),
        ("It's RED!", "colour", "red"),
        ("It is not blue, it is red.", "colour", "red"),
        ("That is red, not blue", "colour", "red"),
        ("It isn't blue but red.", "colour", "red"),
        ("It is violet.", "colour", "purple"),
        ("It is red. Shall I show you a blue star?", "colour", "red"),
        ("The thing isn't moving.", "motion", "standing still"),
        ("It is a box.", "shape", "square"),
        ("It moves to the left.", "motion", "moving left"),
        ("It is getting bigger", "motion", "growing"),
        ("It does not move.", "motion", "standing still"),
        ("It's resting.", "motion", "standing still"),
        ("You are right. It is rotating.", "motion", "spinning"),
        ("The background is dark blue.", "background", "navy"),
        ("grey", "background", "gray"),
        ("There are 2 objects.", "count", "two"),
        ("There are no red objects.", "count", "no"),
        ("Yes.", "yesno", "yes"),
        ("No, it is red.", "yesno", "no"),
        ("Nope", "yesno", "no"),
        ("They are blue and red", "colour", ["red", "blue"]),
    ],
)
def test_accepts_other_words(answer: str, attribute: str, expected: object) -> None:
    assert right(answer, attribute, expected)


@pytest.mark.parametrize(
    ("answer", "attribute", "expected"),
    [
        ("", "colour", "red"),
        ("I do not know.", "colour", "red"),
        ("It is blue.", "colour", "red"),
        ("It is red and blue.", "colour", "red"),
        ("It is red or blue.", "colour", "red"),
        ("It is red. No, it is blue.", "colour", "red"),
        ("It is not red.", "colour", "red"),
        ("It isn't red", "colour", "red"),
        ("It is neither red nor blue.", "colour", "red"),
        ("It is blue instead of red.", "colour", "red"),
        ("It is red, red, not red.", "colour", "red"),
        ("Is it red?", "colour", "red"),
        ("How about a red circle?", "colour", "red"),
        ("They are blue.", "colour", ["blue", "red"]),
        ("It is reddish.", "colour", "red"),
        ("It is a star or a square.", "shape", "star"),
        ("It is moving.", "motion", "moving left"),
        ("It is moving left and up.", "motion", "moving left"),
        ("It is not growing.", "motion", "growing"),
        ("That is right.", "motion", "moving right"),
        ("All right!", "motion", "moving right"),
        ("The background is blue.", "background", "navy"),
        ("The background is navy or black.", "background", "navy"),
        ("There are two objects, or one.", "count", "two"),
        ("There are three objects.", "count", "two"),
        ("Yes and no.", "yesno", "yes"),
        ("Yes, no.", "yesno", "yes"),
        ("It is red.", "yesno", "yes"),
        ("No, it is red.", "yesno", "yes"),
        ("", "yesno", "no"),
        ("A red star is growing.", "describe", "a red star growing on a black background"),
        ("A star is growing on a gray background.", "describe", "a red star growing on a gray background"),
        ("A red star is growing on navy.", "describe", "a red star growing on a navy background"),
        ("A red circle is moving left and a blue star is growing.", "describe", "a red circle moving left"),
        ("A red circle is not moving left.", "describe", "a red circle moving left"),
        ("A red circle is moving left. It is blue.", "describe", "a red circle moving left"),
        ("A red and blue circle is moving left.", "describe", "a red circle moving left"),
    ],
)
def test_refuses_errors(answer: str, attribute: str, expected: object) -> None:
    assert not right(answer, attribute, expected)


def test_reasons_must_be_true_where_the_truth_is_known() -> None:
    truth = "No, the circle is red."
    assert right("No, it is red.", "yesno", "no", truth)
    assert right("No.", "yesno", "no", truth)
    assert not right("No, it is blue.", "yesno", "no", truth)
    assert not right("No, nothing is blue.", "yesno", "no", "No, nothing is red.")


@pytest.mark.parametrize(
    ("answer", "expected", "truth", "ok"),
    [
        ("No, one is blue and one is red.", ["no", "red", "blue"], "No, one is red and one is blue.", True),
        ("Yes, one is blue and one is red.", ["no", "red", "blue"], "No, one is red and one is blue.", False),
        ("One is blue and one is green.", ["red", "blue"], "One is red and one is blue.", False),
        ("Both are growing.", ["both"], "Both are growing.", True),
        ("Both are standing still.", ["both"], "Both are growing.", False),
        ("The red circle is growing.", ["both"], "Both are growing.", False),
        ("Nothing is growing.", ["nothing"], "Nothing is growing.", True),
        ("The red star is growing.", ["red", "star"], "The red star is growing.", True),
        ("The red circle is growing.", ["red", "star"], "The red star is growing.", False),
        ("The red star and the blue star.", ["red", "star"], "The red star is growing.", False),
    ],
)
def test_scores_comparisons(answer: str, expected: list[str], truth: str, ok: bool) -> None:
    assert right(answer, "compare", expected, truth) is ok


def test_scores_what_was_sent() -> None:
    change = ["colour", "green", "orange"]
    assert right("The colour: first green and then orange.", "recall", change)
    assert not right("The colour: first orange and then green.", "recall", change)
    assert not right("The shape: first green and then orange.", "recall", change)
    assert right("The second one was a star.", "recall", "second")
    assert not right("The first one was a star.", "recall", "second")


def test_two_objects_may_be_described_in_any_order() -> None:
    wanted = "a red circle moving left and a blue star growing on a gray background"
    swapped = "A blue star is growing and a red circle is moving left on a gray background."
    assert right(swapped, "describe", wanted)
    mixed = "A red star is growing and a blue circle is moving left on a gray background."
    assert not right(mixed, "describe", wanted)
    assert read_description("Nothing here.") is None


def test_compares_captions() -> None:
    assert same_caption("a red circle moving left", "a red circle moving left")
    pair = ("a red circle growing", "a blue star growing")
    assert same_caption(" and ".join(pair), " and ".join(pair[::-1]))
    assert not same_caption("a red circle moving left", "a red circle moving right")
    assert not same_caption("a red circle moving left on a black background", "a red circle moving left")
    assert not same_caption("red circle moving left", "red circle moving left")


def test_names_unknown_attributes_and_values() -> None:
    with pytest.raises(ValueError, match="unknown attribute 'size'"):
        right("big", "size", "big")
    with pytest.raises(ValueError, match="'pink' is no value"):
        right("pink", "compare", ["pink"])
    with pytest.raises(ValueError, match="not in normal form"):
        right("x", "describe", "a pink cow")


def test_intervals() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(95, 100)  # 0.8882, 0.9785 in Wilson's tables
    assert math.isclose(low, 0.8882, abs_tol=1e-4) and math.isclose(high, 0.9785, abs_tol=1e-4)
    assert wilson(10, 10)[1] == 1.0 and wilson(0, 10)[0] == 0.0
    rate = Rate()
    for value in (True, True, False):
        rate.add(value)
    assert (rate.right, rate.total) == (2, 3) and rate.interval == wilson(2, 3)
    assert math.isnan(Rate().value) and math.isnan(Decisions().value)


def test_f1() -> None:
    counts = f1([True, True, False, False, True], [True, False, True, False, True])
    assert counts == Decisions(true_positive=2, false_positive=1, false_negative=1, true_negative=1)
    assert math.isclose(counts.value, 2 / 3)
    low, high = counts.interval
    assert 0 < low < 2 / 3 < high < 1
    assert counts.false_alarms.value == 0.5
    assert median([3, 1, 2]) == 2 and median([4, 1, 2, 3]) == 2.5 and math.isnan(median([]))
