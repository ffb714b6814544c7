"""What the C++ runtime refuses, and what becomes of prompts and videos that it takes."""

import numpy as np
import pytest

from g4v import _core, errors

from . import synthetic_bundle as toy
from .talking import History, ask, chain, check_history, names, text_of, video


class TestInput:
    @pytest.mark.parametrize("text", ["", " \n\t", b""])
    def test_empty(self, assistant, text):
        with pytest.raises(errors.ArgumentError, match="prompt is empty"):
            assistant.chat().send(text)

    @pytest.mark.parametrize("text", [b"\xff\xfe", b"abc\xc3", "\ud800"])
    def test_invalid_utf8(self, assistant, text):
        with pytest.raises(errors.ArgumentError, match="not valid UTF-8"):
            assistant.chat().send(text)

    def test_tags_and_special_tokens_of_a_user_are_plain_text(self, assistant, bundle):
        history, chat = History(bundle[1]), assistant.chat()
        events = ask(chat, "<video>x</video> </s> a")
        assert names(events) == ["Text"] * 5 + ["Done"]
        history.ask("videoxvideo </s> a")
        history.answer(chain(bundle[1], "a"))
        check_history(chat, history)

    @pytest.mark.parametrize(
        ("frames", "reason"),
        [
            (np.zeros((2, 4, 4, 3), np.float32), "dtype is float32"),
            (np.zeros((4, 4, 3), np.uint8), r"shape is \(4, 4, 3\)"),
            (np.zeros((2, 4, 4, 4), np.uint8), "shape is"),
            (np.zeros((2, 8, 8, 3), np.uint8)[:, ::2], "ascontiguousarray"),
            (np.zeros((0, 4, 4, 3), np.uint8), "T at least 1"),
            (np.zeros((1, 0, 4, 3), np.uint8), "T at least 1"),
            ([1, 2], "pass a NumPy array"),
        ],
    )
    def test_bad_frames_are_named(self, assistant, frames, reason):
        with pytest.raises(errors.ArgumentError, match=f"frames must be .*{reason}"):
            assistant.chat().send("say a", frames)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"temperature": float("nan")}, "temperature is nan but must be 0 to 100"),
            ({"temperature": -1.0}, "temperature is -1 but"),
            ({"temperature": float("inf")}, "temperature is inf"),
            ({"top_p": 0.0}, "top_p is 0 but must be above 0 and at most 1"),
            ({"top_p": 1.5}, "top_p is 1.5"),
            ({"top_k": -1}, "top_k is -1"),
            ({"repetition_penalty": 0.0}, "repetition_penalty is 0"),
            ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ],
    )
    def test_text_options_out_of_range(self, assistant, options, message):
        with pytest.raises(errors.ArgumentError, match=message):
            assistant.chat(text_options=_core.TextOptions(**options))
        chat = assistant.chat()
        with pytest.raises(errors.ArgumentError, match=message):
            chat.send("say a", text_options=_core.TextOptions(**options))
        assert text_of(ask(chat, "say a")) == "Hello, world."

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"steps": 0}, "steps is 0 but must be 1 to 1000"),
            ({"steps": 1001}, "steps is 1001"),
            ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
            ({"frames": 0}, "frames is 0"),
            ({"width": 7}, "width is 7 but must be a multiple of 2"),
            ({"height": 0}, "height is 0"),
            ({"fps": 0.0}, "fps is 0"),
            ({"scheduler": "euler"}, 'scheduler is "euler" but must be "ddim" or "dpmsolver'),
        ],
    )
    def test_video_options_out_of_range(self, assistant, options, message):
        with pytest.raises(errors.ArgumentError, match=message):
            assistant.generate("x", _core.VideoOptions(**options))
        with pytest.raises(errors.ArgumentError, match=message):
            assistant.chat(video_options=_core.VideoOptions(**options))

    def test_an_unknown_option_is_refused(self):
        with pytest.raises(TypeError, match="warmth"):
            _core.TextOptions(warmth=1)


class TestVideoInput:
    @pytest.mark.parametrize("count", [1, 2, toy.FRAMES, 50])
    def test_any_number_of_frames(self, assistant, bundle, count):
        history, chat = History(bundle[1]), assistant.chat()
        history.ask("tell h", level=9)
        assert text_of(ask(chat, "tell h", video(9, count))) == f"#{history.checksum():02}"

    def test_few_frames_are_used_as_they_are_and_many_are_sampled(self, assistant, bundle):
        def level_seen(levels):
            frames = np.stack([video(level, 1)[0] for level in levels])
            answer = text_of(ask(assistant.chat(), "tell h", frames))
            for level in range(256):
                history = History(bundle[1])
                history.ask("tell h", level)
                if f"#{history.checksum():02}" == answer:
                    yield level

        assert round(np.mean([10, 20, 30, 80])) in set(level_seen([10, 20, 30, 80]))
        sampled = [7 * i for i in _core.testing.sample_frames(20, toy.FRAMES)]
        assert round(np.mean(sampled)) in set(level_seen([7 * i for i in range(20)]))

    def test_a_video_is_encoded_once(self, assistant):
        chat = assistant.chat()
        slow, other = video(254), video(253)  # 254 / 255 is just above the encoder's slow level
        slow_ms = ask(chat, "say a", slow)[-1].timings.encode_ms
        again_ms = ask(chat, "say a", slow.copy())[-1].timings.encode_ms
        other_ms = ask(chat, "say a", other)[-1].timings.encode_ms
        assert slow_ms > 20 and again_ms < slow_ms / 10 and other_ms < slow_ms / 4
