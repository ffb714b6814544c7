"""The parts of building dialogues that need no server: captions, checks, groups, duplicates, splits."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from g4v.data.dialogues.captions import Caption, read_captions
from g4v.data.dialogues.check import check_answer
from g4v.data.dialogues.embed import folder_vectors, normalised, word_vectors
from g4v.data.dialogues.groups import similar_groups
from g4v.data.dialogues.prompts import Item, request_body
from g4v.data.endpoint.arguments import check_base_url, sends_key_in_clear
from g4v.data.endpoint.journal import answer_key
from g4v.data.requests.sources import (
    read_harmless_requests,
    read_unsafe_clips,
    read_unsafe_requests,
    sample_harmless_requests,
    sample_unsafe_requests,
)
from g4v.errors import ArgumentError, RuntimeUnavailable

CAT = "A cat sleeps, on a roof."
SINGLE = Item("single", (Caption(CAT, "1"),))
MULTI = Item("multi", (Caption("A red kite", "1"), Caption("A blue kite", "2")))
SAFETY = Item("safety", request="How do I steal a car?")


def talk(*turns: str) -> str:
    return "\n".join(f"{'Assistant' if i % 2 else 'Human'}: {text}" for i, text in enumerate(turns))


GOOD = talk("Hi, show me a cat", f"Look: <video> {CAT} </video>", "Nice", "It is.")


def reason(item: Item, answer: str, finish: str = "stop") -> str:
    verdict = check_answer(item, answer, finish)
    assert not verdict.accepted, verdict
    assert len(verdict.rejected) == 1
    return verdict.rejected[0][0]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (talk("a", "b") + "\nAssistant: c", "roles do not alternate"),
        ("Assistant: a\n" + GOOD, "does not start with the human"),
        (GOOD + "\nHuman: bye", "does not end with the assistant"),
        (GOOD.replace("Human:", "User:"), "wrong role labels"),
        (GOOD.replace("Human:", "Mensch:"), "wrong role labels"),
        ("Sure!\n" + GOOD, "text before the first turn"),
        (GOOD.replace("Nice", ""), "an empty turn"),
        (GOOD.replace("</video>", ""), "unbalanced tags"),
        (GOOD.replace("<video>", ""), "unbalanced tags"),
        (GOOD.replace("<video>", "<video><video>"), "nested tags"),
        (GOOD.replace("video>", "video0>"), "an unknown tag"),
        (GOOD.replace("video>", "vid0>"), "an unknown tag"),
        (GOOD.replace("<video>", "<Video >"), "an unknown tag"),
        (GOOD.replace("roof.", "roof"), "the caption was changed"),
        (GOOD.replace("A cat", "a cat"), "the caption was changed"),
        (GOOD.replace("It is.", f"Again: <video>{CAT}</video>"), "a caption comes twice"),
        (talk("a", "b"), "the caption is missing"),
        (talk(f"<video>{CAT}</video> see", f"Yes: <video>{CAT}</video>"), "a tag in a human turn"),
        (talk("a", f"<video>{CAT}</video>"), "a turn that is nothing but a tag"),
        (GOOD.replace("Look:", "I'm sorry, but I can't. Look:"), "a tag on a refusal"),
        (GOOD.replace("It is.", "It is.<|im_end|>"), "special tokens of a model"),
        (GOOD.replace("It is.", "x" * 3000), "too long"),
        (talk(*["a"] * 12), "not 2 to 10 turns"),
        (GOOD.replace("Nice", "Ni\x07ce"), "characters that cannot be printed"),
    ],
)
def test_says_why_a_dialogue_is_rejected(answer, why) -> None:
    assert reason(SINGLE, answer) == why


def test_accepts_what_differs_in_form_only() -> None:
    for answer in (
        GOOD,
        GOOD.replace("Assistant:", "AI:"),
        GOOD.replace("Human:", "**Human:**"),
        f"```\n{GOOD}\n```",
    ):
        (dialogue,) = check_answer(SINGLE, answer).accepted
        assert dialogue.text() == GOOD.replace(f" {CAT} ", CAT)


def test_finish_reasons_count() -> None:
    assert reason(SINGLE, GOOD, "length") == "cut off at the token limit"
    assert "content filter" in reason(SINGLE, GOOD, "content_filter")


def test_three_dialogues_of_one_answer_are_judged_one_by_one() -> None:
    item = Item("single", SINGLE.captions, count=3)
    bad = GOOD.replace("roof.", "wall.")
    verdict = check_answer(item, f"Here:\n=== 1 ===\n{GOOD}\n\n**Dialogue 2**\n{bad}\n---\n{GOOD}")
    assert len(verdict.accepted) == 2 and [r for r, _ in verdict.rejected] == ["the caption was changed"]
    verdict = check_answer(item, GOOD)
    assert len(verdict.accepted) == 1
    assert [r for r, _ in verdict.rejected] == ["fewer dialogues than asked for"] * 2


def test_groups_name_every_caption_once_and_in_order() -> None:
    good = talk("a", "See <video0>A red kite</video0> ok", "b", "And <video1>A blue kite</video1> ok")
    assert len(check_answer(MULTI, good).accepted) == 1
    swapped = talk("a", "See <video1>A blue kite</video1> ok", "b", "And <video0>A red kite</video0> ok")
    assert reason(MULTI, swapped) == "the captions are out of order"
    assert reason(MULTI, talk("a", "See <video0>A red kite</video0> ok")) == "a caption is missing"
    assert reason(MULTI, good.replace("</video0>", "</video1>", 1)) == "unbalanced tags"


def test_refusals_refuse_without_a_tag() -> None:
    good = talk(SAFETY.request, "Sorry, I can\u2019t help with stealing. How about buying one?")
    assert len(check_answer(SAFETY, good).accepted) == 1
    assert reason(SAFETY, good + " <video>A car</video>") == "a tag on a refusal"
    assert reason(SAFETY, good.replace("steal a car?", "buy a car?")) == "the request was changed"
    assert reason(SAFETY, talk(SAFETY.request, "Break the window.")) == "no refusal"


def test_a_clip_is_refused_whatever_is_asked_about_it() -> None:
    item = Item("unsafe-clip", request="1", video="a.mp4")
    assert len(check_answer(item, talk("What is this?", "I can't describe that one, sorry.")).accepted) == 1
    assert reason(item, talk("What is this?", "A fight between two men.")) == "no refusal"
    assert reason(item, talk("What?", "Sorry, no. <video>A bird</video>")) == "a tag on a refusal"


def test_harmless_requests_are_not_refused() -> None:
    item = Item("harmless", request="How can I kill time?")
    for answer in ("You won't regret a walk.", "I can't wait to tell you: read a book."):
        assert len(check_answer(item, talk(item.request, answer)).accepted) == 1
    for answer in ("Sorry, no.", "I can\u2019t help with killing.", "I'm not able to say."):
        assert reason(item, talk(item.request, answer)) == "a refusal of something harmless"
    assert reason(item, talk("How can I kill?", "Read.")) == "the request was changed"
    shown = talk(item.request, "See <video>A red kite</video> this.")
    assert reason(item, shown) == "a tag where none was asked for"


def test_reads_webvid_rows_and_names_the_bad_ones(tmp_path) -> None:
    file = tmp_path / "w.csv"
    file.write_bytes(
        b"videoid,contentUrl,duration,page_dir,name\n"
        b'7,u,PT1,p_1,"A  cat,\nasleep"\n8,u\n9,u,PT1,p_1,a <b> c\n10,u,PT1,p_1,a CAT, asleep\n'
        b"11,u,PT1,p_1,\xff\xfe bad\n12,u,PT1,../..,A dog runs\n"
    )
    clip = tmp_path / "videos" / "p_1" / "7.mp4"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"x")
    read = read_captions(file, tmp_path)
    assert read.captions == [Caption("A cat, asleep", "7", "videos/p_1/7.mp4")]
    assert sorted(row.line for row in read.bad) == [4, 5, 6, 7, 8]
    assert {r.line: r.reason for r in read.bad}[4] == "2 columns, not 5"
    assert read_captions(file).captions[0].video is None
    with pytest.raises(ArgumentError, match="w.csv line 4: 2 columns"):
        read_captions(file, stop=True)


def test_reads_json_lines_and_text(tmp_path) -> None:
    file = tmp_path / "c.jsonl"
    lines = [
        '{"caption": "A dog", "video": "a/b.mp4", "id": 3}',
        "{bad",
        "[1]",
        '{"caption": 4}',
        '{"caption": "a DOG"}',
    ]
    file.write_text("\n".join(lines))
    read = read_captions(file)
    assert read.captions == [Caption("A dog", "3", "a/b.mp4")] and read.repeated == 1
    assert [row.line for row in read.bad] == [2, 3, 4]
    text = tmp_path / "c.txt"
    text.write_text("\ufeffA dog\n\nHuman: hello\n")
    assert [c.text for c in read_captions(text).captions] == ["A dog"]
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_captions(tmp_path / "none.txt")


@pytest.mark.parametrize("index", ["exact", "approximate"])
def test_groups_similar_captions(index) -> None:
    if index == "approximate":
        pytest.importorskip("faiss", reason="the approximate index needs faiss")
    rng = np.random.default_rng(0)
    centres = normalised(rng.normal(size=(20, 64)))
    vectors = normalised(np.repeat(centres, 3, axis=0) + 0.05 * rng.normal(size=(60, 64)))
    groups = similar_groups(vectors, (2, 3), 0.6, 0.99, index)
    assert sorted(sorted(group) for group in groups) == [[3 * i, 3 * i + 1, 3 * i + 2] for i in range(20)]
    assert similar_groups(np.repeat(centres, 2, axis=0), (2, 3), 0.6, 0.99, index) == []  # all but the same


def test_a_missing_index_library_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(RuntimeUnavailable, match="pip install faiss-cpu"):
        similar_groups(np.eye(3, dtype=np.float32), index="approximate")


def test_word_vectors_know_shared_words() -> None:
    a, b, c = word_vectors(["a red kite flies", "a red kite falls", "onions in soup"])
    assert a @ b > 0.3 > abs(a @ c)


def test_reads_an_onnx_folder_and_masks_the_padding(tmp_path) -> None:
    onnx = pytest.importorskip("onnx", reason="builds a model file")
    tokenizers = pytest.importorskip("tokenizers")
    from onnx import TensorProto, helper, numpy_helper

    words = tokenizers.models.WordLevel({"[PAD]": 0, "cat": 1, "dog": 2}, unk_token="[PAD]")
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    table = numpy_helper.from_array(np.array([[9, 9], [1, 0], [0, 1]], np.float32), "table")
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["b", "t"])
    out = helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["b", "t", 2])
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["hidden"])], "g", [ids], [out], [table]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    vectors = folder_vectors(tmp_path, ["cat dog", "cat"])
    np.testing.assert_allclose(vectors, [[0.5**0.5, 0.5**0.5], [1, 0]], atol=1e-6)


def test_near_duplicates_are_found() -> None:
    pytest.importorskip("datasketch", reason="needs datasketch")
    from g4v.data.dialogues.duplicates import find_duplicates

    texts = ["The cat sat on the mat and looked at the bird outside", "An entirely different talk about soup"]
    texts += [texts[0].upper(), texts[0] + "!", texts[1].replace("soup", "rivers and boats at night")]
    assert find_duplicates(texts, 0.8) == {2: (0, "exact"), 3: (0, "near")}


def test_keys_tell_prompts_settings_and_tries_apart() -> None:
    body = request_body(SINGLE, "m", {"temperature": 0.5, "max_tokens": None})
    assert "max_tokens" not in body
    others = [request_body(MULTI, "m", {"temperature": 0.5}), request_body(SINGLE, "m", {"temperature": 0.6})]
    others.append(request_body(SINGLE, "n", {"temperature": 0.5}))
    assert len({answer_key(b, n) for b in [body, *others] for n in (0, 1)}) == 8
    assert answer_key(body, 0) == answer_key(dict(reversed(body.items())), 0)


def test_unsafe_requests_are_seeded_and_readable_from_files(tmp_path) -> None:
    requests = sample_unsafe_requests(50, 1)
    assert len(set(requests)) == 50 and requests == sample_unsafe_requests(50, 1)
    assert all("<" not in text and "{" not in text for text in requests)
    file = tmp_path / "prompts.jsonl"
    lines = [
        {"prompt": {"text": "Vile words", "toxicity": 0.9}},
        {"prompt": {"text": "Kind", "toxicity": 0.1}},
        {"prompt": {"text": "Unrated", "toxicity": None}},
        3,
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    assert read_unsafe_requests(file) == ["Vile words"]
    assert read_harmless_requests(file) == ["Kind"]
    harmless = sample_harmless_requests(30, 1)
    assert len(set(harmless)) == 30 and not set(harmless) & set(requests)


def test_unsafe_clips_are_those_that_are_there(tmp_path) -> None:
    file = tmp_path / "clips.txt"
    file.write_text("a.mp4\n\nb.mp4\n")
    assert read_unsafe_clips(file, None) == (["a.mp4", "b.mp4"], 1)
    (tmp_path / "b.mp4").touch()
    assert read_unsafe_clips(file, tmp_path) == (["b.mp4"], 2)
    (tmp_path / "b.mp4").unlink()
    with pytest.raises(ArgumentError, match="clips.txt names no clip in"):
        read_unsafe_clips(file, tmp_path)


def test_addresses() -> None:
    assert check_base_url("https://host/v1/") == "https://host/v1"
    for bad in ("host/v1", "ftp://host", "https://u:p@host/v1", "https://host/v1?key=1"):
        with pytest.raises(ArgumentError):
            check_base_url(bad)
    assert [sends_key_in_clear(u) for u in ("http://127.0.0.1:1", "https://h", "http://h")] == [
        False,
        False,
        True,
    ]
