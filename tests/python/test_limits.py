"""Limits of a conversation: at each, above it, what is said, and that the chat is as it was before."""

from __future__ import annotations

import inspect
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import g4v
from g4v import _core
from g4v._runtime import onnxruntime_directories
from g4v.cli import build_parser
from g4v.cli.common import limits_of

from . import synthetic_bundle as toy
from .command_line import g4v as run
from .video_samples import gray_frames, write_video

HELLO = "Hello, world."


@pytest.fixture
def load(bundle_dir: Path) -> Any:
    return lambda **limits: g4v.load(bundle_dir, threads=1, **limits)


def still_answers(chat: g4v.Chat, turns: int) -> None:
    """The chat has so many turns, no more tokens than they have, and goes on."""
    assert chat.turns == turns
    fresh = chat.fork()
    assert chat.ask("say a").text == HELLO == fresh.ask("say a").text
    assert chat.context_used == fresh.context_used


def tokens_of(reply: g4v.Reply) -> int:
    return reply.cached_tokens + reply.prompt_tokens


def test_prompt_tokens(load: Any) -> None:
    free = load().chat()
    first, second = (tokens_of(free.ask("say a")) for _ in range(2))
    chat = load(max_prompt_tokens=first).chat()
    assert chat.ask("say a").text == HELLO
    with pytest.raises(g4v.ContextFull, match=f"{second} tokens, .* max_prompt_tokens is {first}; start a"):
        chat.send("say a")
    with pytest.raises(g4v.ContextFull, match="max_prompt_tokens"):
        chat.append("say a", HELLO)
    assert chat.turns == 1
    chat.truncate(0)
    still_answers(chat, 0)
    tight = load(max_prompt_tokens=first - 1).chat()
    with pytest.raises(g4v.ContextFull, match=f"max_prompt_tokens is {first - 1}"):
        tight.send("say a")
    assert tight.turns == 0 and tight.ask("a").text == HELLO
    with pytest.raises(g4v.ContextFull, match="max_prompt_tokens is"):
        load(max_prompt_tokens=first).chat(system="x" * first)


def test_texts_that_are_not_worth_tokenizing(load: Any) -> None:
    """In the time that a look at their length takes; the toy's context has 640 tokens."""
    assistant = load()
    chat = assistant.chat()
    large, why = "x" * (1 << 24), "has 16777216 bytes, and a prompt may have 640 tokens, of at most 256 bytes"
    started = time.process_time()
    with pytest.raises(g4v.ContextFull, match=f"the prompt {why}"):
        chat.send(large)
    with pytest.raises(g4v.ContextFull, match=f"the prompt {why}"):
        chat.append(large, HELLO)
    with pytest.raises(g4v.ContextFull, match=f"the answer {why}"):
        chat.append("say a", large)
    with pytest.raises(g4v.ContextFull, match=f"system {why}"):
        assistant.chat(system=large)
    assert time.process_time() - started < 1  # tokenizing takes 5 s
    with pytest.raises(g4v.ContextFull, match="needs 16.* tokens but 640"):
        chat.send("x" * (640 * 256))
    still_answers(chat, 0)


def test_keys_and_values_of_one_chat(load: Any) -> None:
    free = load().chat()
    free.ask("say a")
    most = free.bytes
    assistant = load(max_chat_kv_bytes=most)
    chat = assistant.chat(max_new_tokens=600)
    reply = chat.ask("say z")
    assert reply.finish_reason == "memory" and reply.new_tokens > 100 and chat.bytes == most
    with pytest.raises(
        g4v.ContextFull, match=f"of the chat would take {2 * most} bytes, .* is {most}; start"
    ):
        chat.send("say a")
    assert chat.turns == 1
    chat.truncate(0)
    still_answers(chat, 0)
    with pytest.raises(g4v.ContextFull, match=f"max_chat_kv_bytes is {most - 1}"):
        load(max_chat_kv_bytes=most - 1).chat().send("say a")
    assert assistant.chat().ask("say a").text == HELLO  # each chat has its own


STAGES = [("prefill ~", None), ("encode a", 255), ("decode m", None), ("denoise g", None)]


def shown(level: int | None) -> np.ndarray | None:
    return None if level is None else np.full((toy.FRAMES, 5, 7, 3), level, np.uint8)


@pytest.mark.parametrize(("text", "level"), STAGES)
def test_the_time_of_a_turn(load: Any, text: str, level: int | None) -> None:
    """Each of them would take a minute."""
    chat = load().chat()
    chat.ask("say a")
    before = chat.context_used, chat.bytes
    started = time.perf_counter()
    with pytest.raises(g4v.DeadlineExceeded, match="longer than max_turn_ms, 120 milliseconds; ask for less"):
        list(chat.send(text, shown(level), max_turn_ms=120))
    assert 0.1 < time.perf_counter() - started < 20
    assert (chat.context_used, chat.bytes) == before
    still_answers(chat, 1)


def test_the_time_of_every_turn_and_of_waiting_ones(load: Any) -> None:
    assistant = load(turns=1, max_turn_ms=300)
    assert assistant.info["limits"]["max_turn_ms"] == 300
    slow, waiting = assistant.chat(), assistant.chat()
    first = slow.send("decode m")
    with pytest.raises(g4v.DeadlineExceeded, match="max_turn_ms, 50 milli"):
        waiting.ask("say a", max_turn_ms=50)
    with pytest.raises(g4v.DeadlineExceeded, match="max_turn_ms, 300 milli"):
        for _ in first:
            pass
    with pytest.raises(g4v.DeadlineExceeded, match="max_turn_ms, 300 milli"):  # a turn cannot have more
        slow.ask("prefill ~", max_turn_ms=100_000)
    for chat in (slow, waiting):
        chat.truncate(0)
        still_answers(chat, 0)


def test_a_turn_in_time_is_as_ever(load: Any) -> None:
    texts = [load().chat().ask("say b", max_turn_ms=most).text for most in (None, 0, 10**6)]
    assert len(set(texts)) == 1


def test_reading_counts_for_the_time_of_a_turn(load: Any, tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mp4", gray_frames(150))
    chat = load().chat()
    with pytest.raises(g4v.DeadlineExceeded, match="reading the video alone took .* max_turn_ms, 1 milli"):
        chat.send("say a", path, max_turn_ms=1)
    with pytest.raises(g4v.DeadlineExceeded, match="reading the video alone took"):
        load(max_turn_ms=1).chat().append("say a", HELLO, path)
    still_answers(chat, 0)
    core = chat._core.send("say a", max_turn_ms=1000, spent_ms=1000.0)  # nothing is left
    with pytest.raises(g4v.DeadlineExceeded):
        list(core)


def test_videos_of_one_answer(load: Any) -> None:
    def made(limit: int | None, **of_load: int) -> tuple[int, int, tuple[str, ...]]:
        events = list(load(**of_load).chat().send("say b", max_videos=limit))
        done = events[-1]
        assert isinstance(done, g4v.Done)
        counts = [sum(isinstance(e, kind) for e in events) for kind in (g4v.VideoPrompt, g4v.Video)]
        return counts[0], counts[1], done.warnings

    assert made(None) == made(2) == made(0, max_videos=0) == (2, 2, ())
    why = ("the answer asks for more videos than max_videos, 1; no more were made",)
    assert made(1) == made(None, max_videos=1) == made(2, max_videos=1) == (2, 1, why)
    chat = load(max_videos=1).chat()
    chat.ask("say b")
    still_answers(chat, 1)


def test_pixels_of_a_video_that_is_made(load: Any) -> None:
    assistant = load(max_video_pixels=3 * 6 * 8)
    assert assistant.generate("x").frames.shape == (3, 6, 8, 3)
    message = "4 frames of 8x6 has 192 pixels, and max_video_pixels is 144; ask for fewer or smaller frames"
    for start in (lambda: assistant.generate("x", frames=4), lambda: assistant.chat(frames=4)):
        with pytest.raises(g4v.ArgumentError, match=message):
            start()
    assert assistant.generate("x", frames=1, width=16, height=8).frames.shape == (1, 8, 16, 3)
    tight = load(max_video_pixels=3 * 6 * 8 - 1)
    with pytest.raises(g4v.ArgumentError, match="max_video_pixels is 143"):
        tight.chat()
    assert tight.chat(frames=2).ask("say a").text == HELLO


def test_bytes_of_a_video_that_is_read(load: Any, bundle_dir: Path, tmp_path: Path) -> None:
    array = np.zeros((9, 5, 7, 3), np.uint8)  # of which four frames are looked at
    path = write_video(tmp_path / "clip.mp4", gray_frames(9))
    for video, size, name in ((array, 420, "the video array"), (path, 36864, "clip.mp4")):
        assert load(max_decoded_bytes=size).chat().ask("say a", video).text == HELLO
        chat = load(max_decoded_bytes=size - 1).chat()
        message = f"{name}: the 4 frames of .* take {size} bytes, and max_decoded_bytes is {size - 1}; look"
        with pytest.raises(g4v.VideoError, match=message):
            chat.send("say a", video)
        with pytest.raises(g4v.VideoError, match=message):
            chat.append("say a", HELLO, video)
        assert chat.ask("say a", video, frames=2).text == HELLO
        chat.truncate(0)
        still_answers(chat, 0)
    # The core, which hosts without Python call.
    limits = _core.Limits(max_decoded_bytes=419)
    core = _core.Assistant.load(bundle_dir, library_dirs=onnxruntime_directories(), limits=limits)
    with pytest.raises(g4v.VideoError, match="4 frames of 7x5 .* max_decoded_bytes is 419; look at fewer"):
        core.chat().send("say a", array)
    assert HELLO == "".join(getattr(e, "text", "") for e in core.chat().send("say a", array[:3]))


LIMITS = (
    "max_decoded_bytes",
    "max_prompt_tokens",
    "max_chat_kv_bytes",
    "max_turn_ms",
    "max_videos",
    "max_video_pixels",
)


@pytest.mark.parametrize("name", LIMITS)
def test_values_that_are_no_limits(load: Any, name: str) -> None:
    assert load(**{name: 0}).info["limits"][name] == 0
    for value, why in (
        (-1, "must be"),
        (2**64, "must be"),
        (1.5, "must be an integer"),
        (None, "leave it out"),
    ):
        with pytest.raises(g4v.ArgumentError, match=f"^{name} is {value}.*{why}"):
            load(**{name: value})


@pytest.mark.parametrize("name", ["max_turn_ms", "max_videos"])
def test_values_that_are_no_limits_of_a_turn(load: Any, name: str) -> None:
    chat = load().chat()
    for value in (-1, 2**31, "1"):
        with pytest.raises(g4v.ArgumentError, match=f"^{name} is {value!r}"):
            chat.send("say a", **{name: value})
    still_answers(chat, 0)


def test_limits_of_the_command_line(bundle_dir: Path, tmp_path: Path) -> None:
    chat = ["chat", "--bundle", bundle_dir, "--threads", 1, "--out", tmp_path, "--prompt"]
    one = run(*chat, "say b", "--max-videos", 1, "--max-decoded-bytes", "1M", "--max-video-pixels", 144)
    assert one.returncode == 0 and one.stdout.count("[wrote") == 1, one.stderr
    assert "more videos than max_videos, 1" in one.stderr
    late = run(*chat, "decode m", "--max-turn-ms", 100)
    assert late.returncode == 1 and "longer than max_turn_ms, 100 milliseconds" in late.stderr


@pytest.mark.parametrize(
    ("flag", "value", "why"),
    [
        ("--max-prompt-tokens", "-1", "must be at least 0"),
        ("--max-chat-kv-bytes", "many", "'many' is not a size, such as 64M or 2G"),
        ("--max-videos", "x", "invalid integer value: 'x'"),
    ],
)
def test_flags_that_are_no_limits(
    flag: str, value: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("chat", "serve"):
        with pytest.raises(SystemExit):
            build_parser().parse_args([command, flag, value])
        assert flag in (told := capsys.readouterr().err) and why in told


def test_defaults_of_the_command_line_are_those_of_python() -> None:
    python = {name: p.default for name, p in inspect.signature(g4v.load).parameters.items()}
    for command, left_out in (("chat", set()), ("serve", {"max_turn_ms"})):  # which is --timeout there
        given = limits_of(build_parser().parse_args([command]))
        assert given == {name: python[name] for name in LIMITS if name not in left_out}
