"""Conversations of the C++ runtime on a bundle whose answers are known token by token."""

import numpy as np
import pytest

from g4v import _core, errors

from . import synthetic_bundle as toy
from .talking import History, ask, chain, check_history, load, names, only, text_of, video


class TestTurn:
    def test_text_and_done(self, assistant):
        events = ask(assistant.chat(seed=1), "say a")
        assert names(events) == ["Text"] * 5 + ["Done"]
        assert text_of(events) == "Hello, world."
        done = events[-1]
        assert done.prompt_tokens == 1 + len(toy.SYSTEM) + len("\nHuman: say a")
        assert (done.new_tokens, done.finish_reason) == (6, "stop")
        assert 0 < done.timings.first_token_ms <= done.timings.total_ms

    def test_the_cache_holds_what_the_template_says(self, assistant, bundle):
        history, chat = History(bundle[1]), assistant.chat(seed=0)
        for key in "aj":
            check_history(chat, history)
            history.ask("say " + key)
            ask(chat, "say " + key)
            history.answer(chain(bundle[1], key))
        check_history(chat, history, level=40)
        check_history(chat, history, level=41)
        check_history(chat, history)

    def test_a_stop_string_ends_the_turn_and_is_no_history(self, assistant, bundle):
        history, chat = History(bundle[1]), assistant.chat(seed=0)
        events = ask(chat, "say c")
        assert text_of(events) == "Fine." and events[-1].finish_reason == "stop"
        history.ask("say c")
        history.answer(chain(bundle[1], "c")[:1])
        check_history(chat, history)

    def test_a_token_limit_ends_the_turn(self, assistant, bundle):
        history, chat = History(bundle[1]), assistant.chat(seed=0)
        events = ask(chat, "say a", text_options=_core.TextOptions(max_new_tokens=2))
        assert text_of(events) == "Hello, "
        assert (events[-1].finish_reason, events[-1].new_tokens) == ("length", 2)
        history.ask("say a")
        history.answer(chain(bundle[1], "a")[:2])
        check_history(chat, history)

    def test_whole_characters_are_streamed(self, assistant):
        assert text_of(ask(assistant.chat(), "say j")) == "caf\u00e9 \u4f60\u597d \U0001f600"

    def test_the_cache_grows_and_a_full_context_is_said(self, assistant, bundle):
        chat = assistant.chat(seed=0)
        events = ask(chat, "say z", text_options=_core.TextOptions(max_new_tokens=10_000))
        done = events[-1]
        assert done.finish_reason == "context"
        assert done.prompt_tokens + done.new_tokens == toy.CONTEXT + 1
        assert text_of(events).startswith("ping pong ping pong")
        with pytest.raises(errors.ContextFull, match=r"needs \d+ tokens but 0 of .* 640 are free; start"):
            chat.send("again a")

    def test_a_prompt_beyond_the_context_is_refused_with_numbers(self, assistant):
        chat = assistant.chat(seed=0)
        with pytest.raises(errors.ContextFull, match="needs 1017 tokens but 640 of .* shorten the prompt"):
            chat.send("x" * 999 + "a")  # 1 + 7 + 8 + 1000 and one for the answer
        assert text_of(ask(chat, "say a")) == "Hello, world."

    def test_a_prompt_that_just_fits(self, assistant):
        room = toy.CONTEXT - 1 - len(toy.SYSTEM) - len("\nHuman: ") - 1
        events = ask(assistant.chat(), "x" * (room - 1) + "a")
        assert text_of(events) == "Hello, " and events[-1].finish_reason == "context"

    def test_a_broken_decoder_is_an_error_and_the_chat_goes_on(self, assistant, bundle):
        history, chat = History(bundle[1]), assistant.chat(seed=0)
        check_history(chat, history)
        with pytest.raises(errors.InternalError, match="not finite"):
            ask(chat, "break!")
        with pytest.raises(errors.InternalError, match="not finite"):
            ask(chat, "say l")  # fails while its video is being made
        check_history(chat, history)


class TestTags:
    def test_captions_make_videos_and_never_reach_the_text(self, assistant):
        events = ask(assistant.chat(seed=7), "say b")
        assert text_of(events) == "One:  and two:  done."
        prompts = only(events, _core.VideoPromptEvent)
        assert [(p.index, p.caption) for p in prompts] == [(0, "a red circle"), (1, "blue")]
        videos = only(events, _core.VideoEvent)
        assert [(v.index, v.caption) for v in videos] == [(0, "a red circle"), (1, "blue")]
        assert [v.seed for v in videos] == [7 * 1000003, 7 * 1000003 + 1]
        steps = [(p.index, p.step, p.steps) for p in only(events, _core.ProgressEvent)]
        assert steps == [(i, s, 5) for i in (0, 1) for s in range(1, 6)]
        assert isinstance(events[-1], _core.DoneEvent) and events[-1].timings.video_ms > 0

    def test_a_chats_video_is_the_one_of_its_seed(self, assistant):
        chat = assistant.chat(seed=7)
        ask(chat, "say b")
        third = only(ask(chat, "say b"), _core.VideoEvent)[0]
        assert third.seed == 7 * 1000003 + 2
        again = list(assistant.generate("a red circle", _core.VideoOptions(seed=third.seed)))
        assert np.array_equal(only(again, _core.VideoEvent)[0].frames, third.frames)

    def test_an_unclosed_caption_makes_no_video_and_a_warning(self, assistant):
        events = ask(assistant.chat(), "say f")
        assert names(events) == ["Text", "Warning", "Done"]
        assert text_of(events) == "Look: " and "inside a video prompt" in events[1].text

    def test_an_empty_caption_makes_no_video(self, assistant):
        assert names(ask(assistant.chat(), "say i")) == ["Warning", "Text", "Done"]

    def test_stray_and_cut_tags_are_dropped(self, assistant):
        events = ask(assistant.chat(), "say k")
        assert text_of(events) == "ab <3 <video9 " and "VideoPrompt" not in names(events)

    def test_a_refusal_makes_no_video(self, assistant):
        events = ask(assistant.chat(), "say d")
        assert names(events) == ["Text", "Text", "Refusal", "Done"]
        assert events[2].text == text_of(events) == "I'm sorry, but I can't do  that."

    def test_a_text_that_only_begins_like_a_refusal_streams_late_but_whole(self, assistant):
        events = ask(assistant.chat(), "say e")
        assert names(events) == ["Text", "Done"] and text_of(events) == "I'm sure."

    def test_a_bundle_without_a_generator_says_so(self, tmp_path):
        toy.write_bundle(tmp_path / "b", without=("unet",))
        assistant = load(tmp_path / "b")
        events = ask(assistant.chat(), "say b")
        assert names(events).count("Warning") == 2 and "Video" not in names(events)
        with pytest.raises(errors.BundleError, match="no video generator"):
            assistant.generate("x")

    def test_a_bundle_that_only_makes_videos_says_so(self, tmp_path):
        toy.write_bundle(tmp_path / "b", without=("encoder", "abstractor", "decoder"))
        assistant = load(tmp_path / "b")
        with pytest.raises(errors.BundleError, match=r"no decoder, so it cannot chat; .*\(g4v generate\)"):
            assistant.chat()
        assert "Video" in names(list(assistant.generate("a red circle")))

    def test_a_bundle_without_an_encoder_says_so(self, tmp_path):
        toy.write_bundle(tmp_path / "b", without=("encoder",))
        chat = load(tmp_path / "b").chat()
        with pytest.raises(errors.BundleError, match="no video encoder"):
            chat.send("say a", video(1))
        assert text_of(ask(chat, "say a")) == "Hello, world."
