"""Weights in prompts: which words have which, and what is refused."""

import numpy as np
import pytest

import g4v
from g4v import _core
from g4v._core.testing import prompt_weights

PARTS = [
    ("a red ball", [("a red ball", 1)]),
    ("a ball++ here", [("a", 1), ("ball", 1.1**2), ("here", 1)]),
    ("a (red ball)1.3 here", [("a", 1), ("red ball", 1.3), ("here", 1)]),
    ("(a)0.5", [("a", 0.5)]),
    ("(a).5, b", [("a", 0.5), (", b", 1)]),
    ("(a)2. b", [("a", 2), (". b", 1)]),
    ("(a b)-- c", [("a b", 0.9**2), ("c", 1)]),
    ("(a b) c", [("a b c", 1)]),  # brackets without a weight
    ("((a)++ b)1.5 c", [("a", 1.5 * 1.1**2), ("b", 1.5), ("c", 1)]),
    ("a++ b++", [("a b", 1.1**2)]),
    ("red,ball++.", [("red,", 1), ("ball", 1.1**2), (".", 1)]),
    ("a well-known thing - and + more", [("a well-known thing - and + more", 1)]),
    (r"a \(b\) c\+\+ d\\", [("a (b) c++ d\\", 1)]),
    (r"(a \(b\))1.2", [("a (b)", 1.2)]),
    ("a\\b c", [("a\\b c", 1)]),
    ('"a b" c', [('"a b" c', 1)]),
    ("a\n(b)0", [("a", 1), ("b", 0)]),
    ("\u6771\u4eac++ \u00e9t\u00e9", [("\u6771\u4eac", 1.1**2), ("\u00e9t\u00e9", 1)]),
    ("", []),
    (" \n", []),
    ("-- x", [("-- x", 1)]),
]


@pytest.mark.parametrize(("text", "parts"), PARTS)
def test_parts(text, parts):
    found = prompt_weights(text)
    assert [text for text, _ in found] == [text for text, _ in parts]
    np.testing.assert_allclose([w for _, w in found], [w for _, w in parts], rtol=1e-15)


REFUSED = [
    ("a (b", r"the prompt has a \( that nothing closes; write \\\( for a bracket"),
    ("a) b", r"has a \) that nothing opens"),
    ("()1.2", "has brackets without words"),
    ("( )", "has brackets without words"),
    ("(a)1.2b", "has text right behind a weight"),
    ("(a)b", "has text right behind a bracket that closes"),
    ("(a)-1", "has text right behind signs"),
    ("(a)1.2.3", None),  # 1.2, a full stop, and text
    ("(a)1e3", "has text right behind a weight"),
    ("(a)11", "has a weight above 10"),
    ("(a)" + "9" * 400, "has a weight above 10"),
    ("((a)9)9", "has a weight above 10"),
    ("a" + "+" * 40, "has a weight above 10"),
    ("word+-", r"has \+ and - signs behind one word"),
    ("(a:1.3) b", r"has a weight within brackets; write \(words\)1.3 for \(words:1.3\)"),
    ("un(happy)1.2", r"has a \( within a word"),
    ('("a", "b").blend(1, 0.5)', r"has .blend\(...\), and weights alone are known"),
    ('("a", "b").and()', r"has .and\(...\)"),
    ("cat.swap(dog)", r"has .swap\(...\)"),
    ('"a b"++', r"has signs right behind a quotation mark; write \(some words\)\+\+"),
    ("(" * 17 + "a" + ")" * 17, "has brackets more than 16 deep"),
    (" ".join(f"(a{i})0.{i + 10}" for i in range(17)), "has more than 16 parts with weights below 1"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_refusals(text, message):
    if message is None:
        assert prompt_weights(text) == [("a", 1.2), (".3", 1.0)]
        return
    with pytest.raises(g4v.ArgumentError, match=message) as caught:
        prompt_weights(text)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(", or leave prompt_weighting out")


def test_any_text_has_parts_or_one_line(n=4000):
    """Of random brackets, signs and words: no weight out of range, no part empty, no word lost."""
    random = np.random.default_rng()
    pieces = ["(", ")", "+", "-", "++", "1.2", "0", ".", ",", " ", "a", "bc", "\\", '"', ":", "\u00e9", "\n"]
    read = 0
    for _ in range(n):
        text = "".join(random.choice(pieces, random.integers(1, 12)))
        try:
            parts = prompt_weights(text)
        except g4v.ArgumentError as error:
            assert "\n" not in str(error)
            continue
        read += 1
        assert all(part.strip() and 0 <= weight <= 10 for part, weight in parts), text
        assert all(a[1] != b[1] for a, b in zip(parts, parts[1:], strict=False)), text
        letters = "".join(c for c in text if c.isalpha())
        assert "".join(c for part, _ in parts for c in part if c.isalpha()) == letters, text
    assert read > n // 10


def test_videos_take_them_where_asked(bundle_dir):
    assistant = g4v.load(bundle_dir, threads=1)

    def frames(prompt, **options):
        return assistant.generate(prompt, seed=3, **options).frames

    plain = frames("a red circle")
    assert np.array_equal(frames("a (red) circle", prompt_weighting=True), plain)
    weighted = frames("a (red)1.5 circle", prompt_weighting=True)
    assert not np.array_equal(weighted, plain)
    assert not np.array_equal(weighted, frames("a (red)1.5 circle"))  # by default it is text
    assert not np.array_equal(frames("a red circle", negative_prompt="bad++", prompt_weighting=True), plain)
    made = assistant.generate("a (red)1.5 circle", prompt_weighting=True)
    assert made.caption == "a (red)1.5 circle"


def test_they_are_checked_before_any_work(bundle_dir):
    assistant = g4v.load(bundle_dir, threads=1)
    with pytest.raises(g4v.ArgumentError, match=r"the prompt has a \( that nothing closes"):
        assistant._start_video("a (b", prompt_weighting=True)
    with pytest.raises(g4v.ArgumentError, match="negative_prompt has a weight above 10"):
        assistant._start_video("a", negative_prompt="(b)11", prompt_weighting=True)
    with pytest.raises(g4v.ArgumentError, match="prompt_weighting is 1; it must be True or False"):
        assistant.generate("a", prompt_weighting=1)
    core = assistant._core
    with pytest.raises(g4v.ArgumentError, match="prompt_weighting is no option of a chat's videos"):
        core.chat(video_options=_core.VideoOptions(prompt_weighting=True))
    core.chat(video_options=_core.VideoOptions(prompt_weighting=False))
    other = g4v.load(bundle_dir, threads=1, generator=lambda job: (np.zeros((1, 2, 2, 3), np.uint8), 8.0))
    other.generate("a (b")
    with pytest.raises(
        g4v.ArgumentError, match="prompt_weighting is an option of the bundle's own generator"
    ):
        other.generate("a", prompt_weighting=True)


def test_a_caption_that_is_too_long_is_told(bundle_dir):
    assistant = g4v.load(bundle_dir, threads=1)
    made = assistant.generate("(a red circle)1.2 " * 9, prompt_weighting=True, steps=1)
    assert made.warnings == ("the caption is longer than the text encoder reads; its end was ignored",)
