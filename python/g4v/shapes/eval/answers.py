"""Scores text answers about clips: which facts does an answer state, and are they the expected ones?

An answer is read for what it asserts, not for how it is worded: "It is a star.", "star" and "That is a
star, not a circle" all say star. It must assert every expected value and no other value of that
attribute, so that an answer that names two colours, or takes back what it said, is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from g4v.shapes.world.world import BACKGROUNDS, COLOURS, MOTION_PHRASES, SHAPES, Object, Scene, parse_caption

# attribute -> value -> pattern. Values are written as in captions and in Turn.meta.
_WORDS: dict[str, dict[str, str]] = {
    "colour": {**{c: rf"\b{c}\b" for c in COLOURS}, "purple": r"\b(?:purple|violet)\b"},
    "shape": {
        "circle": r"\b(?:circles?|discs?|disks?|balls?|round)\b",
        "square": r"\b(?:squares?|box(?:es)?)\b",
        "triangle": r"\btriangles?\b",
        "star": r"\bstars?\b",
    },
    "motion": {
        "moving left": r"\bleft(?:wards?)?\b",
        "moving right": r"\bright(?:wards?)?\b",
        "moving up": r"(?<!speeding )\bup(?:wards?)?\b|\bris(?:es|ing)\b|\bclimb\w*",
        "moving down": r"(?<!slowing )\bdown(?:wards?)?\b|\bfall(?:s|ing)\b|\bsink(?:s|ing)\b",
        "growing": r"\bgr[eo]w(?:s|ing)?\b|\b(?:bigger|larger)\b|\bexpand\w*",
        "shrinking": r"\bshr[iu]nk\w*|\bsmaller\b",
        "spinning": r"\bspin(?:s|ning)?\b|\brotat\w+|\bturn(?:s|ing)\b",
        "standing still": r"\bmotionless\b",
    },
    "background": {"black": r"\bblack\b", "gray": r"\bgr[ae]y\b", "navy": r"\bnavy\b"},
    "count": {
        "no": r"\b(?:no|zero|none|nothing|0)\b",
        "one": r"\b(?:one|1|single)\b",
        "two": r"\b(?:two|2|both|pair)\b",
        "more": r"\b(?:three|four|five|six|seven|eight|nine|ten|many|several|[3-9]|\d\d+)\b",
    },
    "quantity": {"both": r"\bboth\b", "nothing": r"\b(?:nothing|none|neither)\b"},
    "order": {"first": r"\bfirst\b", "second": r"\bsecond\b"},
    "name": {n: rf"\b{n}\b" for n in ("colour", "shape", "motion", "background")},
}
_PATTERNS = {kind: {v: re.compile(p) for v, p in values.items()} for kind, values in _WORDS.items()}
_REST = re.compile(  # "not moving" is a value, not a negation
    r"\b(?:stand\w*|stay\w*|keep\w*|remain\w*|sit\w*|is|are) (?:completely )?still\b"
    r"|(?:\bnot|n't) mov(?:e|ing)\b|\bdoes(?:n't| not) move\b|\brest(?:s|ing)\b"
    r"|\bstationary\b|\bstay\w* in place\b"
)
_NOT = re.compile(r"\b(?:not(?! only)|no|nor|neither|never|without|cannot|nothing|none)\b|n't\b")
# Words that look like values and are none.
_IDLE = re.compile(
    r"\b(?:all right|(?:that|this|you|you're|i|am|it) (?:is |are |am )?right(?= ?[.,!]|$)"
    r"|not sure|right away|turns? out)\b"
)
_CLAUSES = re.compile(r"[.,;:!?]|\bbut\b|\binstead of\b|\brather than\b")
# Sentences that offer or ask say nothing about the clip.
_OFFER = re.compile(r"\?\s*$|\b(?:how about|shall i|would you like|do you want|ask me|please send)\b")
_OPENING = re.compile(r"^(?:well |oh |hm )?(yes|yeah|yep|correct|no|nope)\b[ ,.!:;-]*")


@dataclass
class Facts:
    """What a text states. asserted, denied: attribute -> values in order of first mention; polarity:
    "yes", "no" or None; fickle: says both yes and no.
    """

    asserted: dict[str, list[str]] = field(default_factory=dict)
    denied: dict[str, list[str]] = field(default_factory=dict)
    polarity: str | None = None
    fickle: bool = False


def _clean(text: str) -> str:
    text = " ".join(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())
    text = re.sub(r"<[^>]*>", " ", text)
    return re.sub(r"\b(?:dark|navy)[ -]blue\b", "navy", text).replace("color", "colour")


def _statements(text: str) -> str:
    sentences = re.split(r"(?<=[.!?])\s+", text)
    return " ".join(s for s in sentences if not _OFFER.search(s))


def read_facts(text: str) -> Facts:
    """The facts that an answer states; questions and offers in it are left out."""
    text = _statements(_clean(text))
    facts = Facts()
    opening = _OPENING.match(text)
    # "no object is red" opens with a count, "no, it is red" with a verdict.
    if opening and not re.match(r"no (?:object|shape|thing|one\b|" + "|".join(COLOURS + SHAPES) + r")", text):
        facts.polarity = "no" if opening.group(1) in ("no", "nope") else "yes"
        text = text[opening.end() :]
        facts.fickle = bool(re.search(r"\b(?:yes|yeah|yep|nope)\b|\bno\b(?=[,.!]|$)", text))
    text = _IDLE.sub(" ", text)
    text = _REST.sub(" motionless ", text)
    for clause in _split(text):
        words, negated_start = clause
        for kind, values in _PATTERNS.items():
            hits = sorted((m.start(), value) for value, p in values.items() for m in p.finditer(words))
            for place, value in hits:
                denied = negated_start or any(m.start() < place for m in _NOT.finditer(words))
                if kind in ("count", "quantity", "name"):
                    denied = False  # "no", "nothing" are themselves these values
                target = facts.denied if denied else facts.asserted
                if value not in target.setdefault(kind, []):
                    target[kind].append(value)
    return facts


def _split(text: str) -> list[tuple[str, bool]]:
    """Clauses, and whether the clause is denied as a whole ("instead of red", "rather than red")."""
    parts: list[tuple[str, bool]] = []
    last, denied = 0, False
    for cut in _CLAUSES.finditer(text):
        parts.append((text[last : cut.start()], denied))
        last, denied = cut.end(), cut.group() in ("instead of", "rather than")
    parts.append((text[last:], denied))
    return [(words, d) for words, d in parts if words.strip()]


_MOTIONS = "|".join(sorted(MOTION_PHRASES.values(), key=len, reverse=True))
_DESCRIBED = re.compile(
    rf"\ban? ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})(?: (?:that|which))?(?: is)? ({_MOTIONS})\b"
)
_ON = re.compile(rf"\bon an? ({'|'.join(BACKGROUNDS)}) background\b")
_NORMAL_MOTION = {phrase: motion for motion, phrase in MOTION_PHRASES.items()}


def read_description(text: str) -> Scene | None:
    """The scene that a description states, such as "I see a red circle moving left on a black background."

    None where it states none, or names colours, shapes or motions outside the objects that it describes.
    """
    text = _statements(_clean(text))
    objects = tuple(Object(c, s, _NORMAL_MOTION[m]) for c, s, m in _DESCRIBED.findall(text))
    backgrounds = set(_ON.findall(text))
    rest = read_facts(_ON.sub(" ", _DESCRIBED.sub(" ", text)))
    kinds = ("colour", "shape", "motion", "background")
    loose = [kind for kind in kinds if rest.asserted.get(kind) or rest.denied.get(kind)]
    if not 1 <= len(objects) <= 2 or len(backgrounds) > 1 or loose or _NOT.search(text):
        return None
    return Scene(objects, backgrounds.pop() if backgrounds else None)


def same_scene(one: Scene | None, other: Scene | None) -> bool:
    """Whether two scenes show the same; objects may stand in any order. Nothing equals no scene."""
    if one is None or other is None or one.background != other.background:
        return False
    return sorted(map(str, one.objects)) == sorted(map(str, other.objects))


def same_caption(said: str, wanted: str) -> bool:
    """Whether two captions in normal form ask for the same; False where one of them is not in normal form."""
    return same_scene(parse_caption(said), parse_caption(wanted))


def _kind(word: str, attribute: str) -> str:
    """Which attribute an expected word is a value of."""
    if word in ("yes", "no"):
        return "polarity"
    order = ["colour", "shape", "motion", "background", "quantity", "order", "name"]
    if attribute in order:
        order.insert(0, attribute)
    for kind in order:
        if word in _PATTERNS[kind]:
            return kind
    raise ValueError(f"expected value {word!r} is no value of the shapes world")


def _contradicts(facts: Facts, truth: Facts) -> bool:
    """Whether the two state different values of the same attribute."""
    for kind in ("colour", "shape", "motion", "background"):
        for mine, right in ((facts.asserted, truth.asserted), (facts.denied, truth.denied)):
            if mine.get(kind) and right.get(kind) and set(mine[kind]) != set(right[kind]):
                return True
    return False


def score(answer: str, meta: Mapping[str, Any], reference: str | None = None) -> bool:
    """Whether an answer is right. meta: "attribute" and "expected" of a dialogue turn (see
    g4v.shapes.dialogues).

    reference: the right answer in words. With it, yes/no and comparing answers must also get the facts
    right that they give as reasons: "No, it is red." is wrong for a blue circle even where "no" is right.
    Raises ValueError for an attribute or a value that the shapes world does not have.
    """
    attribute, expected = meta["attribute"], meta["expected"]
    if attribute not in ATTRIBUTES:
        raise ValueError(f"unknown attribute {attribute!r}")
    if attribute == "describe" or (attribute == "recall" and isinstance(expected, str) and " " in expected):
        wanted = parse_caption(expected)
        if wanted is None:
            raise ValueError(f"expected caption is not in normal form: {expected!r}")
        return same_scene(read_description(answer), wanted)
    facts = read_facts(answer)
    if attribute == "yesno":
        if facts.polarity != expected or facts.fickle:
            return False
        return reference is None or not _contradicts(facts, read_facts(reference))
    words = [expected] if isinstance(expected, str) else list(expected)
    if attribute == "count":
        return set(facts.asserted.get("count", [])) == set(words)
    if attribute in ("colour", "shape", "motion", "background"):
        if attribute == "background":
            _move_background(facts)
        denied = facts.denied.get(attribute, [])
        return set(facts.asserted.get(attribute, [])) == set(words) and not set(denied) & set(words)
    return _score_compare(facts, words, attribute, reference)


ATTRIBUTES = (
    "describe", "colour", "shape", "motion", "background", "count", "yesno", "compare", "recall",
)  # fmt: skip


def _move_background(facts: Facts) -> None:
    """A text such as "The background is blue" names an object's colour for the background.

    That is a wrong value, not an absent one.
    """
    if not facts.asserted.get("shape"):
        facts.asserted.setdefault("background", []).extend(facts.asserted.get("colour", []))


def _score_compare(facts: Facts, words: list[str], attribute: str, reference: str | None) -> bool:
    truth = read_facts(reference) if reference is not None else None
    wanted: dict[str, list[str]] = {}
    name = words[0] if attribute == "recall" and words[0] in _PATTERNS["name"] else ""
    for word in words:
        wanted.setdefault(_kind(word, name), []).append(word)
    polarity = wanted.pop("polarity", [None])[0]
    if facts.fickle or (polarity is not None and facts.polarity != polarity):
        return False
    if name == "background" and "colour" in facts.asserted:
        return False
    for kind, values in wanted.items():
        said = facts.asserted.get(kind, [])
        # Of a change, what was first and what came then is part of the answer.
        right = said == values if attribute == "recall" else sorted(said) == sorted(values)
        if not right:
            return False
    if truth is None:
        return True
    if attribute == "compare":
        for kind in ("colour", "shape", "motion"):
            if set(facts.asserted.get(kind, [])) != set(truth.asserted.get(kind, [])):
                return False
    return not _contradicts(facts, truth)
