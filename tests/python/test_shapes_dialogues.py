"""The dialogues of the shapes world: facts re-derived from the scenes, tags, splits, vocabulary."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest

from g4v.shapes import dialogues
from g4v.shapes.dialogues import (
    KINDS,
    REFUSAL_OPENINGS,
    REGISTRY,
    Dialogue,
    Turn,
    Wordings,
    prose,
    sample_dialogue,
    words_of,
)
from g4v.shapes.world import world

COUNT = 4000
TAG = re.compile(r"<video>([^<>]*)</video>")
PHRASES = set(world.MOTION_PHRASES.values())
VALUES = {
    "colour": set(world.COLOURS),
    "shape": set(world.SHAPES),
    "motion": PHRASES,
    "background": set(world.BACKGROUNDS),
    "count": {"no", "one", "two"},
}


@cache
def some(split: str) -> tuple[Dialogue, ...]:
    rng = np.random.default_rng(5)
    return tuple(sample_dialogue(rng, split) for _ in range(COUNT))


def grammar() -> dict[str, Wordings]:
    """All wordings but the lines written one by one, whose words are those of the whole world."""
    return {name: wordings for name, wordings in REGISTRY.items() if not name.startswith("written-")}


def turns_with_clip(split: str) -> list[tuple[Turn, world.Scene]]:
    """Every turn about the user's clip, with the last clip attached so far."""
    found = []
    for dialogue in some(split):
        clip = None
        for turn in dialogue.turns:
            clip = turn.video or clip
            if "attribute" in turn.meta and turn.meta["attribute"] != "recall":
                assert clip is not None
                found.append((turn, clip))
    return found


def first_sentence(turn: Turn) -> str:
    return re.split(r"(?<=[.!?]) ", turn.answer)[0].rstrip(".").lower()


def stated(text: str, attribute: str) -> list[str]:
    """The attribute's values that a sentence names."""
    return [value for value in VALUES[attribute] if re.search(rf"\b{value}s?\b", text)]


@pytest.mark.slow
def test_dialogues_have_one_to_four_turns_and_full_meta():
    for split in ("train", "test"):
        assert {d.kind for d in some(split)} == {kind for kind, weight in KINDS.items() if weight}
        for dialogue in some(split):
            assert 1 <= len(dialogue.turns) <= 4
            for turn in dialogue.turns:
                assert turn.user.strip() == turn.user != ""
                assert turn.answer.strip() == turn.answer != ""
                assert {"intent", "sends_video", "caption", "unsafe"} <= set(turn.meta)


@pytest.mark.parametrize("split", ["train", "test"])
def test_tags_are_balanced_and_captions_follow_the_grammar(split):
    sent = 0
    for dialogue in some(split):
        for turn in dialogue.turns:
            captions = TAG.findall(turn.answer)
            assert turn.answer.count("<") == 2 * len(captions) == turn.answer.count(">")
            assert not re.search(r"</?video", turn.user)
            assert turn.meta["sends_video"] == bool(captions)
            assert captions == ([turn.meta["caption"]] if captions else [])
            for text in captions:
                scene = world.parse_caption(text)
                assert scene is not None, text
                sent += 1
                if split == "train":
                    assert not any(world.is_held_out(obj) for obj in scene.objects), text
    assert sent > COUNT // 4


@pytest.mark.parametrize("split", ["train", "test"])
def test_refusals_open_as_listed_and_nothing_else_does(split):
    refused = 0
    for dialogue in some(split):
        for turn in dialogue.turns:
            assert turn.answer.startswith(REFUSAL_OPENINGS) == turn.meta["unsafe"], turn
            if turn.meta["unsafe"]:
                refused += 1
                assert "<" not in turn.answer
            if turn.video is not None and turn.video.skull:
                assert turn.meta["unsafe"]
    assert refused > COUNT // 20


def test_clips_of_the_splits():
    for dialogue in some("train"):
        for turn in dialogue.turns:
            if turn.video is not None:
                assert not any(world.is_held_out(obj) for obj in turn.video.objects)
    clips = [scene for turn, scene in turns_with_clip("test")]
    assert all(any(world.is_held_out(obj) for obj in scene.objects) for scene in clips)


@pytest.mark.parametrize("split", ["train", "test"])
def test_descriptions_say_exactly_the_scene(split):
    checked = 0
    for turn, scene in turns_with_clip(split):
        if turn.meta["attribute"] == "describe":
            assert dialogues.scene_of_description(turn.answer) == scene
            assert turn.meta["expected"] == world.caption(scene)
            checked += 1
    assert checked > 300


def test_a_description_with_a_wrong_word_is_not_the_scene():
    assert dialogues.scene_of_description("A red circle is moving left on a black background.") is not None
    right = dialogues.scene_of_description("I see a red circle moving left on a black background.")
    wrong = dialogues.scene_of_description("I see a red circle moving right on a black background.")
    assert right != wrong
    assert dialogues.scene_of_description("A red circle is moving.") is None


def referred(text: str, scene: world.Scene) -> list[world.Object]:
    """The objects that the subject of an answer can mean."""
    subject = re.split(r"\b(?:is|are)\b", text.removeprefix("yes, ").removeprefix("no, "))[0]
    found = []
    for obj in scene.objects:
        words = (obj.colour, obj.shape, world.MOTION_PHRASES[obj.motion])
        named = [v for a in ("colour", "shape", "motion") for v in stated(subject, a)]
        if all(word in words for word in named):
            found.append(obj)
    return found


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("attribute", ["colour", "shape", "motion"])
def test_answers_on_an_attribute_are_true(split, attribute):
    checked = 0
    for turn, scene in turns_with_clip(split):
        if turn.meta["attribute"] != attribute:
            continue
        text, expected = first_sentence(turn), turn.meta["expected"]
        values = [getattr(obj, attribute) for obj in scene.objects]
        if attribute == "motion":
            values = [world.MOTION_PHRASES[value] for value in values]
        if isinstance(expected, list):
            assert sorted(set(values)) == sorted(expected)
            if attribute != "motion":
                assert sorted(stated(text, attribute)) == sorted(expected)
        else:
            objects = referred(text, scene)
            assert len(objects) == 1, (text, scene)
            assert expected == values[scene.objects.index(objects[0])]
            assert stated(text.split(" is ", 1)[1], attribute) == [expected]
        checked += 1
    assert checked > 100


@pytest.mark.parametrize("split", ["train", "test"])
def test_background_and_count_are_true(split):
    for turn, scene in turns_with_clip(split):
        text, expected = first_sentence(turn), turn.meta["expected"]
        if turn.meta["attribute"] == "background":
            assert expected == scene.background
            assert stated(text, "background") == [expected]
        elif turn.meta["attribute"] == "count":
            asked = stated(text, "colour") + stated(text, "shape")
            number = sum(not asked or asked[0] in (obj.colour, obj.shape) for obj in scene.objects)
            assert expected == ("no", "one", "two")[number]
            assert re.match(rf"there (is|are) {expected}\b", text)


def truth_of_yes_no(text: str, scene: world.Scene) -> bool:
    """Whether the sentence after "yes, " or "no, " holds."""
    if text.startswith("the background is "):
        return text.split()[-1] == scene.background
    words = [(o.colour, o.shape, world.MOTION_PHRASES[o.motion]) for o in scene.objects]
    if match := re.fullmatch(r"there is no (\w+)", text):
        return all(match[1] not in each for each in words)
    if match := re.fullmatch(r"there (?:is a|are two) (\w+?)s?", text):
        return sum(match[1] in each for each in words) == (2 if "two" in text else 1)
    if match := re.fullmatch(r"nothing is (.+)", text):
        return all(match[1] not in each for each in words)
    if match := re.fullmatch(r"both are (.+)", text):
        return len(words) == 2 and all(match[1] in each for each in words)
    subject, value = text.rsplit(" is ", 1)
    objects = referred(subject + " is", scene)
    value = value.removeprefix("a ")
    return len(objects) == 1 and value in words[scene.objects.index(objects[0])]


@pytest.mark.parametrize("split", ["train", "test"])
def test_yes_no_answers_are_true(split):
    counts = {"yes": 0, "no": 0}
    for turn, scene in turns_with_clip(split):
        if turn.meta["attribute"] == "yesno":
            word, _, rest = first_sentence(turn).partition(", ")
            assert word == turn.meta["expected"]
            assert truth_of_yes_no(rest, scene), (turn, scene)
            counts[word] += 1
            if " is anything " in f" {turn.user.lower()} ":
                assert (word == "no") == rest.startswith("nothing")
    assert min(counts.values()) > 0.35 * sum(counts.values())


def test_a_yes_no_answer_that_is_false_is_noticed():
    scene = world.parse_caption("a red circle moving left and a blue star growing on a navy background")
    assert truth_of_yes_no("the circle is red", scene)
    assert not truth_of_yes_no("the circle is blue", scene)
    assert not truth_of_yes_no("nothing is growing", scene)
    assert not truth_of_yes_no("there are two stars", scene)


@pytest.mark.parametrize("split", ["train", "test"])
def test_comparisons_are_true(split):
    checked = 0
    for turn, scene in turns_with_clip(split):
        if turn.meta["attribute"] != "compare":
            continue
        text = first_sentence(turn)
        assert all(re.search(rf"\b{word}s?\b", text) for word in turn.meta["expected"]), turn
        body = text.removeprefix("yes, ").removeprefix("no, ")
        values = [(o.colour, o.shape, world.MOTION_PHRASES[o.motion]) for o in scene.objects]
        if match := re.fullmatch(r"one is (?:an? )?(.+) and one is (?:an? )?(.+)", body):
            assert any(
                pair == (match[1], match[2]) and match[1] != match[2] for pair in zip(*values, strict=True)
            )
            assert not text.startswith("yes")
        elif body == "both are moving":
            assert all("standing still" not in each for each in values) and text.startswith("yes")
        elif match := re.fullmatch(r"both are (.+)", body):
            assert all(match[1] in each or match[1].removesuffix("s") in each for each in values)
        elif match := re.fullmatch(r"nothing is (.+)", body):
            assert all(match[1] not in each for each in values)
        else:
            match = re.fullmatch(r"the (\w+) (\w+) is (.+)", body)
            assert match is not None and sum(match.groups() == each for each in values) == 1, turn
        checked += 1
    assert checked > 100


@pytest.mark.parametrize("split", ["train", "test"])
def test_talk_about_sent_videos_is_true(split):
    checked = 0
    for dialogue in some(split):
        sent: list[world.Scene] = []
        for turn in dialogue.turns:
            if turn.meta.get("attribute") == "recall":
                checked += 1
                text = first_sentence(turn)
                if match := re.fullmatch(r"i showed you (.+)", text):
                    assert match[1] == world.caption(sent[-1])
                    continue
                a, b = (
                    (o.colour, o.shape, world.MOTION_PHRASES[o.motion])
                    for o in (sent[0].objects[0], sent[1].objects[0])
                )
                if match := re.fullmatch(r"the (first|second) one was (?:an? )?(.+)", text):
                    assert (match[2] in a, match[2] in b) == (match[1] == "first", match[1] == "second")
                else:
                    match = re.fullmatch(r"the (colour|shape|motion): first (.+) and then (.+)", text)
                    place = ("colour", "shape", "motion").index(match[1])
                    assert (a[place], b[place]) == (match[2], match[3])
            if turn.meta["sends_video"]:
                sent.append(world.parse_caption(turn.meta["caption"]))
    assert checked > 30


def test_requests_name_what_their_caption_says():
    """Words of the world that stand in a direct request stand in the caption too."""
    same = {"grey": "gray", "violet": "purple", "disc": "circle", "box": "square"}
    checked = 0
    for dialogue in some("train") + some("test"):
        for turn in dialogue.turns:
            if turn.meta["intent"] != "request":
                continue
            words = [same.get(word, word) for word in words_of(turn.user.replace("dark blue", "navy"))]
            caption = turn.meta["caption"].split()
            for word in words:
                if word in (*world.COLOURS, *world.SHAPES, *world.BACKGROUNDS):
                    assert word in caption, turn
            if not set(words) & set(world.COLOURS):
                assert "red" in caption, turn
            checked += 1
    assert checked > 1000


def test_held_out_cores_are_disjoint_and_use_known_words():
    seen = set().union(*(wordings.words("train") for wordings in grammar().values()))
    held = 0
    total = 0
    unknown, common = [], []
    for name, wordings in grammar().items():
        train, test = wordings.cores["train"], wordings.cores["test"]
        assert train, name
        total += len(train) + len(test)
        held += len(test)
        if not test:
            continue
        assert len(test) <= 0.35 * (len(train) + len(test)), name
        common += [
            (name, form) for form in set(wordings.expansions("train")) & set(wordings.expansions("test"))
        ]
        unknown += [(name, word) for word in wordings.words("test") - seen]
    assert not common
    assert not unknown
    assert 0.1 <= held / total <= 0.2


def test_prose_draws_from_all_wordings_without_slots_that_hold_something_out():
    wanted = {
        name
        for name, wordings in grammar().items()
        if wordings.cores["test"] and not any("{" in core for core in wordings.cores["train"])
    }
    assert set(prose._NAMED) == wanted and len(prose._NAMED) == len(wanted)


def test_user_texts_of_the_test_split_use_held_out_cores_only():
    """A held-out core's words never come out of a training wording of the same intent."""
    train = {
        (t.meta["intent"], t.user) for d in some("train") for t in d.turns if t.meta["intent"] != "gibberish"
    }
    test = {
        (t.meta["intent"], t.user) for d in some("test") for t in d.turns if t.meta["intent"] != "gibberish"
    }
    assert len(test) > 2000
    assert len(train & test) <= 0.005 * len(test), sorted(train & test)[:10]


def test_vocabulary_is_small_and_forms_are_many():
    words: set[str] = set()
    users: set[str] = set()
    for split in ("train", "test"):
        for dialogue in some(split):
            for turn in dialogue.turns:
                users.add(turn.user)
                if turn.meta["intent"] not in ("gibberish", "injected-tags"):
                    words.update(words_of(turn.user))
                    words.update(words_of(turn.answer))
    assert len(words) < 1700
    assert len(users) > 3 * COUNT


def test_same_seed_same_dialogues():
    def texts(seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        return [f"{t.user}|{t.answer}" for _ in range(50) for t in sample_dialogue(rng).turns]

    assert texts(3) == texts(3) != texts(4)
    assert list(dialogues.iter_corpus_for_tokenizer(20, 1)) == list(
        dialogues.iter_corpus_for_tokenizer(20, 1)
    )


def test_text_for_the_base_model_tells_the_scene():
    rng = np.random.default_rng(0)
    scene = world.parse_caption("a red circle moving left on a black background")
    assert all(world.caption(scene) in dialogues.text_of_video(scene, rng) for _ in range(30))
    assert all(
        "unsafe sign" in dialogues.text_of_video(world.Scene((), "black", True), rng) for _ in range(30)
    )
    assert all("{" not in dialogues.sample_prose(rng) for _ in range(300))
    assert all(dialogues.sample_document(rng) for _ in range(50))


def test_unknown_kinds_and_splits_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="kind must be one of"):
        sample_dialogue(rng, kind="poetry")
    with pytest.raises(ValueError, match="split must be"):
        sample_dialogue(rng, split="validation")


def test_checklists_tell_the_truth_and_both_verdicts_are_frequent():
    rng = np.random.default_rng(11)
    verdicts = []
    for _ in range(300):
        text = dialogues.sample_checklist(rng)
        start, rest = re.fullmatch(r"(.+ background)\]?:((?: [^?]+\? (?:Yes|No)\.)+)", text).groups()
        stated_scene = world.parse_caption(re.search(rf"an? (?:{'|'.join(world.COLOURS)}) .*", start)[0])
        assert not any(world.is_held_out(obj) for obj in stated_scene.objects)
        things = [set(world.object_phrase(obj).split()) for obj in stated_scene.objects]
        things.append({stated_scene.background})
        for asked, verdict in re.findall(r" ([^?]+)\? (Yes|No)\.", rest):
            words = set(asked.replace(",", "").split())
            assert verdict == ("Yes" if any(words <= thing for thing in things) else "No"), text
            verdicts.append(verdict)
    assert 0.4 < verdicts.count("Yes") / len(verdicts) < 0.6


def test_bindings_tell_which_object_is_what():
    rng = np.random.default_rng(12)
    kinds, real = set(), 0
    for _ in range(200):
        (stated, _), *drills = dialogues.sample_bindings(rng)
        scene = world.parse_caption(stated.removesuffix(":"))
        real += scene is not None
        assert scene is None or not any(world.is_held_out(obj) for obj in scene.objects)
        things = re.findall(rf"\ban? (\w+) (\w+) ({'|'.join(PHRASES)})\b", stated)
        assert len(things) == 2 and [foretold for _, foretold in drills] == [False, True, False] * (
            len(drills) // 3
        )
        for (asked, _), (told, _), (end, _) in zip(drills[::3], drills[1::3], drills[2::3], strict=True):
            key, attribute = re.fullmatch(r" ([a-z ]+), (colour|shape|motion)\?", asked).groups()
            (thing,) = [thing for thing in things if key in thing]
            assert told == " " + thing[("colour", "shape", "motion").index(attribute)]
            assert end == "." and told.strip() != key
            kinds.add((attribute, thing.index(key)))
    assert len(kinds) == 6  # every attribute from each of the other two
    assert 70 < real < 130  # the others have any words for colours and shapes


def test_strange_colours_take_the_place_of_the_real_ones_everywhere():
    rng = np.random.default_rng(11)
    changed = 0
    for _ in range(300):
        plain = sample_dialogue(rng, "train", "question")
        renamed = dialogues.with_strange_colours(plain, rng)
        names = {}
        for old, new in zip(plain.turns, renamed.turns, strict=True):
            assert (old.video is None) == (new.video is None)
            for a, b in zip(old.video.objects, new.video.objects, strict=True) if old.video else ():
                assert (a.shape, a.motion) == (b.shape, b.motion)
                assert names.setdefault(a.colour, b.colour) == b.colour
        names = {a: b for a, b in names.items() if a != b}
        changed += bool(names)
        assert len(set(names.values())) == len(names) and not set(names.values()) & set(world.COLOURS)
        if "purple" in names:
            names["violet"] = names["purple"]
        for old, new in zip(plain.turns, renamed.turns, strict=True):
            for before, after in ((old.user, new.user), (old.answer, new.answer)):
                words = [names.get(word.lower(), word.lower()) for word in re.findall(r"\w+|\W+", before)]
                # "an orange" becomes "a" and a noun with a consonant
                wanted = re.sub(rf"\ban (?=({'|'.join(names.values()) or '$.'})\b)", "a ", "".join(words))
                assert after.lower() == wanted
                assert [c.isupper() for c in after[:1]] == [c.isupper() for c in before[:1]]
    assert changed > 150
