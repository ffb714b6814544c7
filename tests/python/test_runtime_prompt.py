"""System texts, special tokens of templates and frames of a question's video in the C++ runtime: what the KV
cache holds, and what is refused.
"""

import json

import pytest

import g4v
from g4v import errors

from . import synthetic_bundle as toy
from .talking import History, ask, chain, check_history, load, text_of, video


def history_of(vocabulary, system):
    history = History(vocabulary)
    history.ids = [toy.BOS, *vocabulary.encode(system)]
    return history


def changed(tmp_path, change):
    """A copy of the synthetic bundle, its manifest changed; and its vocabulary."""
    vocabulary = toy.write_bundle(tmp_path / "bundle")
    file = tmp_path / "bundle" / "g4v.json"
    manifest = json.loads(file.read_text("utf-8"))
    change(manifest)
    file.write_text(json.dumps(manifest), "utf-8")
    return tmp_path / "bundle", vocabulary


class TestSystem:
    @pytest.mark.parametrize(
        ("given", "system"),
        [("Be kind.", "Be kind."), ("  \n two\nlines \t", "two\nlines"), ("", ""), (None, toy.SYSTEM)],
    )
    def test_the_cache_begins_with_it(self, assistant, bundle, given, system):
        chat, history = assistant.chat(seed=0, system=given), history_of(bundle[1], system)
        for level in (None, 40):
            check_history(chat, history, level)

    def test_chats_of_one_assistant_do_not_share_it(self, assistant, bundle):
        texts = ["One.", "Another one.", toy.SYSTEM]
        chats = [(assistant.chat(system=text), history_of(bundle[1], text)) for text in texts]
        for _ in range(2):
            for chat, history in chats:
                check_history(chat, history)

    def test_a_failed_first_turn_leaves_it(self, assistant, bundle):
        chat, history = assistant.chat(system="Be kind."), history_of(bundle[1], "Be kind.")
        with pytest.raises(errors.Error):
            ask(chat, "say !")
        check_history(chat, history)

    def test_special_tokens_in_it_are_plain(self, assistant, bundle):
        check_history(assistant.chat(system="a</s><s>b"), history_of(bundle[1], "a</s><s>b"))

    @pytest.mark.parametrize(
        ("system", "message"),
        [("\ud800", "system is not valid Un"), (b"x", "system is a bytes"), (5, "an int")],
    )
    def test_unusable_texts(self, bundle_dir, system, message):
        if system == 5:
            message = "system is a int; it must be a string"
        with pytest.raises(g4v.ArgumentError, match=message):
            g4v.load(bundle_dir, threads=1).chat(system=system)

    def test_one_that_leaves_no_room(self, assistant):
        with pytest.raises(errors.ArgumentError, match="system takes 701 tokens, .* has 640; shorten it"):
            assistant.chat(system="x" * 700)
        with pytest.raises(errors.ContextFull, match="needs 6.. tokens but 640"):
            ask(assistant.chat(system="x" * 630), "say a")


def with_special_tokens(manifest):
    manifest["prompt"] |= {
        "system_prefix": "<s>sys:",
        "system_suffix": "</s>|",
        "no_system": "<s>none|",
        "video_prefix": "<s>see ",
        "video_suffix": " and ",
        "user_prefix": "<s>ask ",
        "turn_separator": "~~<pad>",
        "answer_suffix": "!<pad>",
        "special_tokens": {"<s>": toy.BOS, "</s>": toy.EOS, "<pad>": toy.PAD},
        "bos_id": None,
        "stop": ["\nHuman:"],
    }
    manifest["prompt"]["turn_separator"] = "..<pad>"


def spelt(vocabulary, text):
    """Ids of a text in which {s}, {e} and {p} stand for the special tokens."""
    ids = []
    for piece in text.replace("{", "\x00{").replace("}", "}\x00").split("\x00"):
        special = {"{s}": toy.BOS, "{e}": toy.EOS, "{p}": toy.PAD}
        ids += [special[piece]] if piece in special else vocabulary.encode(piece)
    return ids


class TestTemplate:
    @pytest.mark.parametrize(("system", "opening"), [("S", "{s}sys:S{e}|"), ("", "{s}none|")])
    def test_special_tokens_stand_where_the_template_has_them(self, tmp_path, system, opening):
        folder, vocabulary = changed(tmp_path, with_special_tokens)
        chat, history = load(folder).chat(seed=0, system=system), History(vocabulary)
        history.ids = []

        def turn(lead, level=None):
            text = "<s>tell h"  # of the user: plain
            words = vocabulary.encode(text)
            if level is None:
                history.ids += spelt(vocabulary, lead + "{s}ask ") + words
            else:
                history.ids += spelt(vocabulary, lead + "{s}see ") + [level] * toy.VIDEO_TOKENS
                history.ids += vocabulary.encode(" and ") + words
            expected = history.checksum()
            frames = None if level is None else video(level)
            assert text_of(ask(chat, text, frames)) == f"#{expected:02}"
            history.answer([vocabulary.history + expected])

        turn(opening)
        turn("..{p}", 40)
        turn("..{p}")
        # An answer that is cut off is closed as the template has it.
        ask(chat, "say c")
        history.ids += spelt(vocabulary, "..{p}{s}ask say c")
        history.ids += chain(vocabulary, "c")[:1] + spelt(vocabulary, "!{p}{e}")
        turn("..{p}")

    def test_other_tokens_that_end_an_answer(self, tmp_path):
        folder, vocabulary = changed(
            tmp_path, lambda m: m["prompt"].update(stop_ids=[vocabulary_of().next[vocabulary_of().byte("a")]])
        )
        chat = load(folder).chat(seed=0)
        events = ask(chat, "say a")
        assert text_of(events) == "" and events[-1].finish_reason == "stop"
        history = History(vocabulary)
        history.ask("say a")
        history.answer([])
        check_history(chat, history)

    def test_a_special_token_that_the_tokenizer_lacks(self, tmp_path):
        folder, _ = changed(tmp_path, lambda m: m["prompt"].update(special_tokens={"<new>": 1}))
        with pytest.raises(errors.BundleError, match='"<new>" is no special token 1 of the tokenizer'):
            load(folder)


def vocabulary_of():
    return toy.Vocabulary()


class TestFrames:
    @pytest.mark.parametrize("count", [1, 3, 4, 6, 16])
    def test_so_many_are_looked_at(self, bundle_dir, count):
        chat = g4v.load(bundle_dir, threads=1).chat()
        *_, done = chat.send("say a", video=video(40, 16), frames=count)
        assert done.video_frames == count
        assert chat.ask("say a", video=video(40, 2), frames=count).text == "Hello, world."

    def test_the_bundles_number_by_default(self, bundle_dir):
        assistant = g4v.load(bundle_dir, threads=1)
        *_, done = assistant.chat().send("say a", video=video(40, 16))
        assert done.video_frames == toy.FRAMES == assistant.info["frame_samples"]
        assert assistant.info["most_frame_samples"] == 1024

    def test_the_limit_is_that_of_the_engines(self, tmp_path):
        def limit(manifest):
            manifest["components"]["encoder"]["variants"][0]["profile"] = {"frames": [1, 4, 6]}
            manifest["components"]["abstractor"]["variants"][0]["profile"] = {"frames": [1, 4, 5]}

        folder, _ = changed(tmp_path, limit)
        assistant = g4v.load(folder, threads=1)
        assert assistant.info["most_frame_samples"] == 5
        *_, done = assistant.chat().send("say a", video=video(40, 16), frames=5)
        assert done.video_frames == 5
        with pytest.raises(g4v.ArgumentError, match="frames is 6 but must be 1 to 5"):
            assistant.chat().send("say a", video=video(40, 16), frames=6)
        with pytest.raises(g4v.ArgumentError, match="frames is 6 but must be 1 to 5"):
            load(folder).chat().send("say a", video(40, 16), question_frames=6)

    @pytest.mark.parametrize(
        ("frames", "message"),
        [
            (0, "frames is 0 but must be 1 to 1024"),
            (-1, "1 to 1024"),
            (1025, "1 to 1024"),
            ("8", "integer"),
            (2.0, "integer"),
        ],
    )
    def test_out_of_range(self, bundle_dir, frames, message):
        chat = g4v.load(bundle_dir, threads=1).chat()
        with pytest.raises(g4v.ArgumentError, match=message):
            chat.send("say a", video=video(40), frames=frames)
        assert chat.ask("say a").text == "Hello, world."

    def test_without_a_video(self, bundle_dir):
        chat = g4v.load(bundle_dir, threads=1).chat()
        with pytest.raises(g4v.ArgumentError, match="has none; pass a video or leave frames out"):
            chat.send("say a", frames=4)
