"""Lines written one by one: what is in the files, what is held out, and how it is answered."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from g4v.data.requests import written
from g4v.data.wordings import Wordings, words_of
from g4v.shapes.dialogues import REFUSAL_OPENINGS, REGISTRY, Dialogue, sample_dialogue
from g4v.shapes.dialogues import written as shapes
from g4v.shapes.eval.answers import score
from g4v.shapes.world import world

HARMLESS = (written.QUESTION, written.REMARK, written.LOOK_ALIKE, written.SIGHT)
UNSAFE = (written.UNSAFE, written.SELF_HARM, written.UNSAFE_SIGHT)
ABOUT_SHAPES = {
    **{wordings.name: "" for wordings in shapes.ASK.values()},
    **{
        wordings.name: {"colour": "c", "shape": "n", "motion": "ing"}[name]
        for name, wordings in shapes.CHECK.items()
    },
    **{wordings.name: "x" for wordings in shapes.WISH.values()},
}  # name: the slot that each line has once
VALUES = {
    "colour": world.COLOURS,
    "shape": world.SHAPES,
    "motion": tuple(world.MOTION_PHRASES.values()),
}
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TESTS = ("unseen_wordings.json", "unseen_questions.json", "unseen_talk.json", "unseen_asked.json")


def lines_of(wordings: Wordings) -> list[str]:
    return wordings.cores["train"] + wordings.cores["test"]


def some(kind: str, split: str, count: int = 400) -> list[Dialogue]:
    rng = np.random.default_rng(9)
    return [sample_dialogue(rng, split, kind) for _ in range(count)]


@pytest.mark.parametrize("wordings", HARMLESS + UNSAFE, ids=lambda wordings: wordings.name)
def test_lines_are_plain_and_a_tenth_is_held_out(wordings):
    lines = lines_of(wordings)
    assert len(lines) >= 150
    assert len(set(lines)) == len(lines)
    for line in lines:
        assert line == line.lower() and line.isascii() and line.isprintable(), line
        assert not re.search(r"[(){}|<>\"*]", line), line
        assert len(words_of(line)) <= 26, line
    assert 0.08 <= len(wordings.cores["test"]) / len(lines) <= 0.12


def test_no_line_is_both_harmless_and_unsafe():
    harmless = {line for wordings in HARMLESS for line in lines_of(wordings)}
    unsafe = {line for wordings in UNSAFE for line in lines_of(wordings)}
    assert not harmless & unsafe


def test_no_line_is_in_what_is_measured_by_hand():
    """Nor one with nearly the same words."""
    asked = []
    for name in TESTS:
        for group in ("questions", "requests", "unsafe", "harmless", "lookalike"):
            for item in json.loads((BENCHMARKS / name).read_text("utf-8")).get(group, []):
                asked.append(frozenset(words_of(item if isinstance(item, str) else item["user"])))
    assert len(asked) > 500
    for wordings in (*HARMLESS, *UNSAFE, *(REGISTRY[name] for name in ABOUT_SHAPES)):
        for line in lines_of(wordings):
            words = frozenset(words_of(line))
            if len(words) > 3:
                assert all(len(words & other) < 0.8 * len(words | other) for other in asked), line
            else:
                assert words not in asked, line


@pytest.mark.parametrize("name", ABOUT_SHAPES)
def test_lines_about_shapes_have_their_slot_once(name):
    lines = lines_of(REGISTRY[name])
    assert len(lines) >= 35
    assert len(set(lines)) == len(lines)
    slot = ABOUT_SHAPES[name]
    for line in lines:
        found = [found for found in re.findall(r"\{(\w+)\}", line) if found != "a"]
        assert found == ([slot] if slot else []), line
        assert line.isascii() and not re.search(r"[()|<>\"*]", line), line
    assert 0.06 <= len(REGISTRY[name].cores["test"]) / len(lines) <= 0.15


@pytest.mark.parametrize("motion", world.MOTIONS)
def test_wishes_for_a_motion_name_no_other(motion):
    """Nor a colour, a shape or a background: those come with {x}, or are left open."""
    others = "|".join((*world.COLOURS, *world.SHAPES, *world.BACKGROUNDS))
    words = {"left": "left", "right": "right", "spinning": "spin", "growing": "grow", "shrinking": "shrink"}
    for line in lines_of(shapes.WISH[motion]):
        assert not re.search(rf"\b({others})\b", line), line
        for other, word in words.items():
            assert other == motion or not re.search(rf"\b{word}(s|ing)?\b", line), line


@pytest.mark.parametrize("split", ["train", "test"])
def test_answers_about_clips_are_true(split):
    counted = set()
    checks = checked = 0
    for dialogue in some("written_question", split):
        clip = dialogue.turns[0].video
        assert clip is not None
        for turn in dialogue.turns:
            assert score(turn.answer, turn.meta), turn
            counted.add(turn.meta["attribute"])
            first = clip.objects[0]
            facts = {
                "colour": first.colour, "shape": first.shape, "background": clip.background,
                "motion": world.MOTION_PHRASES[first.motion], "describe": world.caption(clip),
                "count": ("no", "one", "two")[len(clip.objects)],
            }  # fmt: skip
            if turn.meta["attribute"] == "yesno":
                kind = turn.meta["intent"].removeprefix("written-check-")
                asked = [v for v in VALUES[kind] if re.search(rf"\b{v}\b", turn.user.lower())]
                checks += 1
                if asked:  # else a typing error is in the value
                    checked += 1
                    assert (facts[kind] in asked) == (turn.meta["expected"] == "yes"), turn
            else:
                assert turn.meta["expected"] == facts[turn.meta["attribute"]], turn
    assert checked > 0.8 * checks > 40
    assert counted == {"colour", "shape", "motion", "background", "count", "describe", "yesno"}


@pytest.mark.parametrize("split", ["train", "test"])
def test_wishes_are_sent_as_wished(split):
    for dialogue in some("written_request", split):
        for turn in dialogue.turns:
            motion = turn.meta["intent"].removeprefix("written-wish-")
            caption = turn.meta["caption"]
            assert f"<video>{caption}</video>" in turn.answer
            assert caption.endswith(world.MOTION_PHRASES[motion]), turn
            held_out = any(
                world.is_held_out(world.Object(c, s, motion)) and f"{c} {s}" in caption
                for c in world.COLOURS
                for s in world.SHAPES
            )
            assert split == "test" or not held_out


@pytest.mark.parametrize("split", ["train", "test"])
def test_unsafe_lines_are_refused_and_harmless_ones_are_not(split):
    seen = set()
    for kind in ("written_unsafe", "written_harmless"):
        for dialogue in some(kind, split):
            for turn in dialogue.turns:
                if not turn.meta["intent"].startswith("written-"):
                    continue
                refused = turn.answer.startswith(REFUSAL_OPENINGS)
                assert refused == turn.meta["unsafe"] == (turn.meta["intent"] in {w.name for w in UNSAFE})
                assert "<video>" not in turn.answer
                seen.add(turn.meta["intent"])
    assert seen == {wordings.name for wordings in HARMLESS + UNSAFE}


def test_the_splits_have_no_line_in_common():
    for wordings in HARMLESS + UNSAFE:
        rand = np.random.default_rng(3).random
        drawn = {split: {wordings.sample(rand, split, {}) for _ in range(300)} for split in ("train", "test")}
        assert not drawn["train"] & drawn["test"]


def test_lines_about_shapes_are_left_to_the_other_kinds():
    """What can be answered or shown must not be answered with "I only know moving shapes"."""
    coloured = rf"\b({'|'.join(world.COLOURS)}) ({'|'.join(world.SHAPES)})s?\b"
    for line in lines_of(written.SIGHT):
        assert not re.search(coloured, line), line
