"""`python -m g4v.data replies`: prompts, what is kept of the replies, and the file that the trainer reads."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from transformers import AutoTokenizer, LlamaForCausalLM  # noqa: E402

from g4v.data.__main__ import main  # noqa: E402
from g4v.data.formats import read_samples  # noqa: E402
from g4v.data.replies import write  # noqa: E402
from g4v.data.replies.declined import declined_conversations  # noqa: E402
from g4v.data.replies.prompts import ordinary_conversations  # noqa: E402
from g4v.data.replies.written import written_conversations  # noqa: E402
from g4v.model.prompt import PromptTemplate  # noqa: E402

from . import training_bases as made  # noqa: E402
from .base_checkpoints import write_tokenizer  # noqa: E402

TEMPLATE = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}[assistant]"


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory):
    """A random language model that has a chat template."""
    folder = tmp_path_factory.mktemp("llm")
    torch.manual_seed(0)
    LlamaForCausalLM(made.LLAMA).save_pretrained(folder)
    write_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def test_prompts_differ_and_follow_the_seed():
    talks = ordinary_conversations(300, 0)
    assert talks == ordinary_conversations(300, 0) and talks != ordinary_conversations(300, 1)
    assert ordinary_conversations(100, 0) == talks[:100]
    assert len({tuple(talk) for talk in talks}) == 300
    assert {len(talk) for talk in talks} == {1, 2}
    template = PromptTemplate(turn_end_id=2)
    for talk in talks:
        for text in talk:
            assert "{" not in text and template.clean_user_text(text) == text
    with pytest.raises(ValueError, match="prompts for at most"):
        ordinary_conversations(1_000_000, 0)


def test_written_conversations_keep_their_order():
    talks = written_conversations(200, 3)
    assert talks == written_conversations(200, 3) != written_conversations(200, 4)
    assert {len(talk) for talk in talks} >= {1, 2, 3}
    follow = "Then be kind to yourself today and go to bed early tonight."
    held = [[reply for _, reply in talk] for talk in talks]
    assert any(follow in replies for replies in held)
    for replies in held:
        if follow in replies:
            assert replies[replies.index(follow) - 1] == "That sounds exhausting. Did you sleep badly?"


def test_what_is_declined():
    talks = declined_conversations(900, 0)
    assert len({user.lower() for ((user, _),) in talks}) > 890
    refusals = ("I'm sorry, but I can't", "Sorry, I can't help with that")
    assert all(reply.startswith(refusals) for ((_, reply),) in talks)
    assert all("doctor" in reply for ((user, reply),) in talks if "myself" in user)
    videos = [reply for ((user, reply),) in talks if "porn" in user.lower()]
    assert videos and all("show that" in reply or "such a video" in reply for reply in videos)
    with pytest.raises(ValueError, match="requests to decline"):
        declined_conversations(1_000_000, 0)


@pytest.mark.parametrize(
    ("text", "finished", "kept"),
    [
        ("Tea is a drink. It is hot.", True, "Tea is a drink. It is hot."),
        ("Tea is a drink. It is", False, "Tea is a drink."),
        ("Tea is a", False, ""),
        ("Two steps.\n1. Boil water.\n2.", False, "Two steps.\n1. Boil water."),
        ("One.\n\n\nTwo.", True, "One.\nTwo."),
        ("I'm an AI language model.", True, ""),
        ("My name is SmolLM, from Hugging Face.", True, ""),
        ("Well.\nHuman: and you?", True, ""),
        ("See <video>a dog</video> here.", True, ""),
        ("Good question. It is wet. It is wet.", True, ""),
        ("I'm sorry for your loss.", True, ""),
        ("The sun goes down over the sea, the sun goes down over the hill.", True, ""),
        ("Is it raining?\nThat is a question.", True, ""),
        ("is it raining", True, ""),  # what the user said
        ("Yes", True, ""),
    ],
)
def test_what_is_kept_of_a_reply(text, finished, kept):
    assert write.whole_sentences(text, finished, "Is it raining?") == kept


def test_a_talk_goes_on_with_its_own_replies(monkeypatch):
    asked = []

    def ask(model, tokenizer, talks, max_new_tokens):
        asked.extend(talks)
        return [(f"Reply to {talk[-1]['content']}.", "bad" not in talk[-1]["content"]) for talk in talks]

    monkeypatch.setattr(write, "ask", ask)
    talks = [["one", "two"], ["bad"], ["three"]]
    monkeypatch.setattr(write, "whole_sentences", lambda text, finished, user: text if finished else "")
    done = []
    said = write.own_replies(None, None, talks, "Be brief.", 9, 2, done.append)
    assert said == [
        [("one", "Reply to one."), ("two", "Reply to two.")],
        [],
        [("three", "Reply to three.")],
    ]
    last = next(talk for talk in asked if talk[-1]["content"] == "two")
    assert [m["role"] for m in last] == ["system", "user", "assistant", "user"]
    assert last[2]["content"] == "Reply to one." and done == [2, 3]
    monkeypatch.setattr(write, "ask", lambda m, t, talks, n: [("The same.", True)] * len(talks))
    assert write.own_replies(None, None, [["one", "two"]], "", 9, 2, done.append) == [[("one", "The same.")]]


def test_batches_change_nothing(chat_model):
    """Shorter prompts are padded on the left; each reply is the one that the prompt gets alone."""
    model = LlamaForCausalLM.from_pretrained(chat_model).eval()
    tokenizer = AutoTokenizer.from_pretrained(chat_model)
    talks = [[{"role": "user", "content": text}] for text in ("a", "what is rain?", "tell me more of it")]
    together = write.ask(model, tokenizer, talks, 12)
    assert together == [write.ask(model, tokenizer, [talk], 12)[0] for talk in talks]


def test_the_file_is_read_by_the_trainer(chat_model, tmp_path, monkeypatch, capsys):
    # A random model says nothing that is worth keeping.
    monkeypatch.setattr(
        write, "whole_sentences", lambda text, finished, user: f"{user!r}: {len(text)} letters."
    )
    out = tmp_path / "replies.json"
    words = ["replies", "--llm", str(chat_model), "--out", str(out), "--count", "6"]
    words += ["--written", "3", "--declined", "4"]
    assert main([*words, "--max-new-tokens", "8", "--batch-size", "4"]) == 0
    assert "13 conversations, 6 in the model's own words" in capsys.readouterr().out
    samples = list(read_samples(out))
    said = [[(turn.user, turn.answer) for turn in sample.turns] for sample in samples]
    assert [[user for user, _ in talk] for talk in said[:6]] == ordinary_conversations(6, 0)
    assert all(answer.endswith("letters.") for talk in said[:6] for _, answer in talk)
    assert said[6:9] == written_conversations(3, 0) and said[9:] == declined_conversations(4, 0)
    first = out.read_bytes()
    assert main([*words, "--max-new-tokens", "8", "--batch-size", "4"]) == 0
    assert out.read_bytes() == first
    assert json.loads(first).keys() == {"train"}


def test_models_that_cannot_be_asked(chat_model, tmp_path, capsys):
    out = str(tmp_path / "replies.json")
    words = ["replies", "--out", out, "--count", "2", "--max-new-tokens", "8"]
    assert main([*words, "--llm", str(tmp_path / "no/where/at all")]) == 1
    assert "no such file" in capsys.readouterr().err
    plain = tmp_path / "plain"
    LlamaForCausalLM(made.LLAMA).save_pretrained(plain)
    write_tokenizer(plain)
    assert main([*words, "--llm", str(plain)]) == 1
    assert "has no chat template" in capsys.readouterr().err
    assert main([*words, "--llm", str(chat_model), "--system", "x"]) == 1  # noise: nothing to keep
    assert "not one reply can be used" in capsys.readouterr().err
    assert not (tmp_path / "replies.json").exists()
