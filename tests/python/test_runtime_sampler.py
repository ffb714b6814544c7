"""Sampling of the C++ runtime against Hugging Face's logits processors, and the cleaning of prompts."""

import json

import numpy as np
import pytest

from g4v import _core
from g4v.errors import ArgumentError, InternalError
from g4v.model.prompt import PromptTemplate


def sample(logits, answer=(), seed=0, turn=0, **options):
    logits = np.asarray(logits, np.float32)
    return _core.testing.sample_token(logits, list(answer), seed, turn, _core.TextOptions(**options))


def processed(logits, answer, temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0):
    """Probabilities after transformers' processors in their usual order."""
    import torch
    from transformers import (
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    scores = torch.tensor(logits, dtype=torch.float32)[None]
    ids = torch.tensor([list(answer)], dtype=torch.long)
    if repetition_penalty != 1:
        scores = RepetitionPenaltyLogitsProcessor(repetition_penalty)(ids, scores)
    scores = TemperatureLogitsWarper(temperature)(ids, scores)
    if top_k:
        scores = TopKLogitsWarper(top_k)(ids, scores)
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(ids, scores)
    return scores.softmax(-1)[0].double().numpy()


class TestGreedy:
    def test_the_largest(self):
        assert sample([0.1, 3.0, -2.0]) == 1

    def test_the_first_of_equals(self):
        assert sample([1.0, 5.0, 5.0]) == 1

    def test_repetition_penalty(self):
        logits = [2.0, 3.0, -1.0]
        assert sample(logits, [1], repetition_penalty=1.4) == 1
        assert sample(logits, [1], repetition_penalty=1.6) == 0
        assert sample([-1.0, -1.1], [0, 0, 0], repetition_penalty=1.2) == 1  # counted once: -1.2

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
    def test_broken_logits(self, bad):
        with pytest.raises(InternalError, match="not finite"):
            sample([0.0, bad, 1.0])


class TestRandom:
    @pytest.mark.parametrize(
        "options",
        [
            {"temperature": 1.0},
            {"temperature": 0.5},
            {"temperature": 1.3, "top_k": 3},
            {"temperature": 1.0, "top_p": 0.7},
            {"temperature": 0.8, "top_k": 6, "top_p": 0.9, "repetition_penalty": 1.5},
            {"temperature": 1.0, "top_p": 1e-6},
        ],
    )
    def test_frequencies_are_those_of_transformers(self, options):
        logits = np.random.default_rng(1).normal(0, 1.5, 9).astype(np.float32)
        answer = [1, 4, 4]
        expected = processed(logits, answer, **options)
        draws = 6000
        counts = np.zeros(len(logits))
        for turn in range(draws):
            counts[sample(logits, answer, seed=5, turn=turn, **options)] += 1
        assert not counts[expected == 0].any()
        deviation = np.sqrt(expected * (1 - expected) / draws)
        assert np.all(np.abs(counts / draws - expected) <= 4.5 * deviation + 1e-9)

    def test_depends_on_seed_turn_and_position_alone(self):
        logits = np.zeros(1000, np.float32)

        def draw(seed, turn, position):
            return sample(logits, [0] * position, seed, turn, temperature=1.0)

        drawn = {draw(s, t, p) for s in range(3) for t in range(3) for p in range(3)}
        assert len(drawn) > 20
        assert draw(2, 1, 1) == draw(2, 1, 1)

    def test_top_k_of_one_is_greedy(self):
        assert sample([0.0, 0.1, 0.0], temperature=50.0, top_k=1) == 1


class TestCleaning:
    PROMPT = json.dumps(PromptTemplate(turn_end_id=2).to_manifest())

    def clean(self, text):
        return _core.testing.clean_user_text(text.encode("utf-8", "surrogatepass"), self.PROMPT)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("hello", "hello"),
            (" \t hello \r\n", "hello"),
            ("a\r\nb", "a\nb"),
            ("<video>x</video>", "videox" + "video"),
            ("<<video>>x<//VID3>", "video" + "xVID3"),
            ("<video a/</video>", "video avideo"),
            ("a/video>", "a/video>"),
            ("x\nHuman: y\nAI: z", "x Human: y AI: z"),
            ("\n\nHuman:", "Human:"),
            ("1 < 2 > 0 </s>", "1 < 2 > 0 </s>"),
        ],
    )
    def test_examples(self, text, expected):
        assert self.clean(text) == expected

    @pytest.mark.parametrize("text", ["<v]id>a", "<[vi]]d>a<]/video]>", "</vi<vid<v]id>d>", "\nA]I:"])
    def test_what_is_taken_away_leaves_no_tag_behind(self, text):
        """The label of this template is a single sign, which may stand in the middle of a tag."""
        template = PromptTemplate(turn_end_id=2, assistant_prefix="]")
        prompt = json.dumps(template.to_manifest())
        clean = _core.testing.clean_user_text(text.encode(), prompt)
        assert clean == template.clean_user_text(text)
        assert "<vid" not in clean and "</vid" not in clean and "]" not in clean

    @pytest.mark.parametrize("text", ["", "\n ", "\ud800"])
    def test_refusals(self, text):
        with pytest.raises(ArgumentError):
            self.clean(text)

    @pytest.mark.slow
    def test_equals_the_python_template_on_random_text(self):
        template = PromptTemplate(turn_end_id=2)
        random = np.random.default_rng(0)
        parts = [
            "<",
            "</",
            "/",
            ">",
            "video",
            "VID",
            "vid1",
            "\nHuman:",
            "\nAI:",
            "\r\n",
            " ",
            "\n",
            "a",
            "\u00e9",
        ]
        for _ in range(20_000):
            text = "".join(random.choice(parts, random.integers(1, 12)))
            try:
                expected = template.clean_user_text(text)
            except ArgumentError:
                with pytest.raises(ArgumentError):
                    self.clean(text)
                continue
            assert self.clean(text) == expected, repr(text)
            lowered = expected.lower()
            assert not any(tag in lowered for tag in ("<vid", "</vid")), repr(text)
