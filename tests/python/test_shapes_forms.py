"""Questions and requests in plain words: what they mean, what is held out, how they are typed."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from g4v.data.wordings import Template
from g4v.shapes.dialogues import Dialogue, Turn, odd, requests, sample_dialogue
from g4v.shapes.dialogues.builder import DialogueBuilder
from g4v.shapes.dialogues.foreign import NO_SHAPE
from g4v.shapes.dialogues.forms import FORMS, Families, Family
from g4v.shapes.dialogues.forms.family import expand_rules
from g4v.shapes.dialogues.forms.typing import misspell, typed, with_greetings
from g4v.shapes.dialogues.plain import retype
from g4v.shapes.dialogues.plain.pairs import NO_OTHER, ONLY_ONE, asks_for_difference
from g4v.shapes.eval.answers import read_facts, score
from g4v.shapes.world import world
from g4v.shapes.world.world import Scene

KINDS = ("plain_question", "plain_request")
VALUES = {
    "colour": world.COLOURS,
    "shape": world.SHAPES,
    "motion": tuple(world.MOTION_PHRASES.values()),
    "background": world.BACKGROUNDS,
}


@cache
def some(split: str, kind: str = "plain_question", count: int = 500) -> tuple[Dialogue, ...]:
    rng = np.random.default_rng(31)
    return tuple(sample_dialogue(rng, split, kind) for _ in range(count))


def asked(split: str) -> list[tuple[Turn, Scene]]:
    """Every question about shapes, with its clip."""
    return [
        (turn, dialogue.turns[0].video)
        for dialogue in some(split)
        for turn in dialogue.turns
        if "attribute" in turn.meta
    ]


def meaning(intent: str) -> str:
    """What is asked, whatever the form."""
    same = {"named-choice": "choice", "any-colour": "colour", "any-shape": "shape", "any-motion": "motion"}
    return same.get(intent, intent)


def families_of(text: str) -> list[Family]:
    return [f for f in FORMS.by_name.values() if f.matches(text)]


def texts(split: str, kind: str, count: int = 100) -> list[tuple[str, Turn]]:
    return [(t.meta["form"], t) for d in some(split, kind, count) for t in d.turns]


@pytest.mark.parametrize("split", ["train", "test"])
def test_forms_are_read_as_the_meaning_they_were_made_from(split):
    for text, turn in texts(split, "plain_question"):
        found = [f for f in families_of(text) if f.intent != "wish"]
        assert turn.meta["family"] in [f.name for f in found], text
        meanings = {meaning(f.intent) for f in found}
        assert meanings == {meaning(turn.meta["family"].split("/")[0])}, (text, meanings)
    for text, turn in texts(split, "plain_request"):
        found = families_of(text)
        assert turn.meta["family"] in [f.name for f in found], text
        assert {f.intent for f in found} <= {"wish", "choice"}, text


def leaks(found: list[str]) -> list[str]:
    """The texts that are forms of a held-out family."""
    held = [f for f in FORMS.by_name.values() if f.held_out]
    return [text for text in found if any(f.matches(text) for f in held)]


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_families_never_appear_in_training(kind):
    held = {name for name, family in FORMS.by_name.items() if family.held_out}
    trained = texts("train", kind, 150)
    assert not held & {turn.meta["family"] for _, turn in trained}
    assert {turn.meta["family"] for _, turn in texts("test", kind)} <= held
    assert not leaks([text for text, _ in trained])


def test_a_held_out_form_in_training_is_noticed():
    assert leaks(["i wonder what colour the star is", "what is the star doing?"]) == [
        "i wonder what colour the star is"
    ]
    tested = [text for text, _ in texts("test", "plain_question", 40)]
    assert leaks(tested) == tested


def test_each_intent_has_families_in_both_splits_and_many_forms():
    for intent in FORMS.intents:
        train, test = FORMS.of(intent, "train"), FORMS.of(intent, "test")
        assert train and test, intent
        assert not set(train) & set(test)
        # Objects, values and their order come on top: a form with choices has over 100 of them.
        wanted = 100 if intent.endswith("choice") else 600
        assert sum(family.size for family in train) >= wanted, intent


@pytest.mark.parametrize("split", ["train", "test"])
def test_answers_are_true_of_the_clip(split):
    checked: Counter[str] = Counter()
    for turn, scene in asked(split):
        meta, attribute = turn.meta, turn.meta["attribute"]
        assert score(turn.answer, meta, turn.answer), turn
        checked[attribute] += 1
        expected = meta["expected"]
        if attribute in VALUES and isinstance(expected, str):
            own = {
                "colour": {o.colour for o in scene.objects},
                "shape": {o.shape for o in scene.objects},
                "motion": {world.MOTION_PHRASES[o.motion] for o in scene.objects},
                "background": {scene.background},
            }[attribute]
            assert expected in own, turn
        elif attribute == "describe":
            assert expected == world.caption(scene)
        elif attribute == "count" and turn.meta["intent"] == "plain-count":
            assert expected == ("no", "one", "two")[len(scene.objects)]
        elif attribute == "yesno":
            stated = read_facts(turn.answer.split(", ", 1)[1]).asserted
            wanted = read_facts(turn.meta["form"]).asserted
            for kind in ("colour", "shape", "motion"):
                if turn.meta["intent"] != "plain-there" and expected == "yes" and kind in stated:
                    assert set(stated[kind]) <= set(wanted.get(kind, stated[kind])), turn
    assert set(checked) == {*VALUES, "describe", "count", "yesno", "compare"}


@pytest.mark.parametrize("split", ["train", "test"])
def test_answers_to_choices_name_exactly_one_choice(split):
    checked = 0
    for turn, _scene in asked(split):
        if not turn.meta["intent"].endswith("choice"):
            continue
        attribute, expected = turn.meta["attribute"], turn.meta["expected"]
        text = turn.meta["form"]
        facts = read_facts(text.replace("?", ""))
        offered = facts.asserted.get(attribute, []) + facts.denied.get(attribute, [])
        said = turn.answer.rsplit(" is ", 1)[1]
        named = [value for value in VALUES[attribute] if re.search(rf"\b{value}\b", said)]
        assert named == [expected], turn
        if attribute != "background":  # "black" is no value of the facts of objects
            assert expected in offered and len(offered) >= 2, turn
        checked += 1
    assert checked > 100


def test_what_cannot_be_answered_is_told():
    told: Counter[str] = Counter()
    for dialogue in some("train"):
        for turn in dialogue.turns:
            scene = dialogue.turns[0].video
            if scene is None:
                assert turn.answer == "There is no clip yet. Please send me one."
                told["clip"] += 1
            elif scene.skull or scene.foreign:
                assert turn.meta["unsafe"] == scene.skull and (NO_SHAPE in turn.answer) == scene.foreign
                told["unsafe" if scene.skull else "foreign"] += 1
            elif turn.answer in (ONLY_ONE, NO_OTHER):
                assert len(scene.objects) == 1
                told["other"] += 1
            elif match := re.fullmatch(r"There is no (\w+) in the clip\.", turn.answer):
                assert all(obj.shape != match[1] for obj in scene.objects)
                told["missing"] += 1
            elif turn.meta["intent"] in ("plain-same", "plain-same-way", "plain-both", "plain-other"):
                assert len(scene.objects) == 2
    assert set(told) == {"clip", "unsafe", "foreign", "other", "missing"} and min(told.values()) > 3


def test_yes_to_a_difference_means_that_they_differ():
    verdicts = Counter()
    for turn, scene in asked("train") + asked("test"):
        if turn.meta["intent"] in ("plain-same", "plain-same-way") and len(scene.objects) == 2:
            different = "one is" in turn.answer
            wanted = different == asks_for_difference(turn.meta["form"])
            assert turn.answer.startswith("Yes" if wanted else "No"), turn
            verdicts[asks_for_difference(turn.meta["form"]), different] += 1
    assert len(verdicts) == 4


def test_requests_name_what_their_caption_says():
    for text, turn in texts("train", "plain_request") + texts("test", "plain_request"):
        scene = world.parse_caption(turn.meta["caption"])
        assert scene is not None
        # The words of the sentence around the wish name no colour.
        for colour in world.COLOURS:
            if re.search(rf"(?<!dark )\b{colour}\b", text):
                assert colour in [obj.colour for obj in scene.objects], turn


@pytest.mark.parametrize("kind", [*KINDS, "careless"])
def test_same_seed_same_texts(kind):
    def said(seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        return [f"{t.user}|{t.answer}" for _ in range(30) for t in sample_dialogue(rng, "train", kind).turns]

    assert said(3) == said(3) != said(4)


def test_misspellings_are_one_stroke_off_and_no_word_of_the_world():
    rng = np.random.default_rng(1)
    words = "colour triangle square moving standing background notice star growing purple white"
    wrong: Counter[str] = Counter()
    for _ in range(400):
        for before, after in zip(words.split(), misspell(words, rng.random, 0.5).split(), strict=True):
            if before == after:
                continue
            wrong[before] += 1
            assert abs(len(before) - len(after)) <= 1 and before[0] == after[0]
            assert sum((Counter(before) - Counter(after)).values()) <= 1
            assert not any(after in values for values in VALUES.values())
    assert set(wrong) == set(words.split())
    assert misspell("is it red or up", rng.random, 1.0) == "is it red or up"  # too short to be sure of


def test_typing_keeps_the_words():
    rng = np.random.default_rng(2)
    seen = set()
    for _ in range(300):
        text = typed("is it a star?", rng.random)
        assert re.sub(r"[^a-z ]", "", text.lower()).strip() == "is it a star"
        seen.add(text)
        assert "is it a star" in with_greetings("is it a star?", rng.random)
    assert {"Is it a star?", "is it a star", "IS IT A STAR?"} <= seen


def test_retyping_changes_what_users_typed_and_nothing_else():
    changed = odd_turns = 0
    for seed in range(150):
        builder = DialogueBuilder(np.random.default_rng(seed), "train")
        requests.request(builder)
        odd.odd(builder)
        before = [replace(turn) for turn in builder.turns]
        retype(builder)
        for old, new in zip(before, builder.turns, strict=True):
            assert (old.answer, old.video, old.meta) == (new.answer, new.video, new.meta)
            changed += old.user != new.user
            if new.meta["intent"] in ("gibberish", "injected-tags"):
                assert old.user == new.user
                odd_turns += 1
    assert odd_turns == 150 and changed > 75


def test_templates_and_families_that_are_wrong_are_refused():
    with pytest.raises(ValueError, match="no rule <nowhere>"):
        Family("x", "y", "go <nowhere>")
    with pytest.raises(ValueError, match="unbalanced"):
        Template("(a|b")
    with pytest.raises(ValueError, match="one name"):
        Families([Family("x", "y", "a"), Family("x", "y", "b")])
    families = Families([Family("x", "y", "a {x}")])
    with pytest.raises(KeyError, match="no form of x"):
        families.sample(np.random.default_rng(0).random, "x", "train", {})
    assert Template("(a|b|) c(d|e)").size == 6
    assert "(" in expand_rules("<colour>") and "<" not in expand_rules("<here> <clip>")
