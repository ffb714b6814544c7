"""The tokenizers: equal to Hugging Face's on random Unicode, safe on untrusted text, ids and files.

G4V_TOKENIZER_SAMPLES sets how many random texts each family is compared on (default 10000); from 100000 on,
every code point is compared as well, instead of some.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tokenizers", reason="the reference is Hugging Face tokenizers")
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from g4v import _core, errors
from g4v.export.components.tokenizer import convert_tokenizer, write_tokenizer
from g4v.export.errors import ExportError
from g4v.export.verify.tokenizer import random_texts, reference_tokenizer, verify_tokenizer

from . import tokenizer_sources as sources

SAMPLES = int(os.environ.get("G4V_TOKENIZER_SAMPLES", "10000"))
FAMILIES = ["tiny", "llama2", "llama2_metaspace", "smollm2", "clip", "llama3", "qwen2", "gpt2_prefix"]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The Hugging Face tokenizer of a family, built once."""
    built: dict[str, Any] = {}

    def llama2_metaspace() -> Tokenizer:
        config = json.loads(get("llama2").to_str())
        config["normalizer"] = None
        config["pre_tokenizer"] = {
            "type": "Metaspace",
            "replacement": "\u2581",
            "prepend_scheme": "first",
            "split": False,
        }
        return Tokenizer.from_str(json.dumps(config))

    makers = {
        "tiny": sources.byte_level,
        "llama2": lambda: sources.llama2(tmp_path_factory.mktemp("llama2")),
        "llama2_metaspace": llama2_metaspace,
        "smollm2": sources.smollm2,
        "clip": sources.clip,
        "llama3": sources.llama3,
        "qwen2": sources.qwen2,
        "gpt2_prefix": lambda: sources.byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    }

    def get(name: str) -> Any:
        if name not in built:
            built[name] = makers[name]()
        return built[name]

    return get


def load(source: Any) -> Any:
    return _core.Tokenizer(json.dumps(convert_tokenizer(source)))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_equal_to_hugging_face(build: Any, family: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    write_tokenizer(build(family), path)
    assert verify_tokenizer(path, build(family), SAMPLES, seed=2) == SAMPLES
    assert os.listdir(tmp_path) == ["tokenizer.json"]


def code_points() -> list[str]:
    """Code points of the scripts, marks and signs; of ideographs, syllables and private use only some."""
    everything = [c for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    if SAMPLES >= 100_000:
        return [chr(c) for c in everything]
    dense = [
        (0, 0x3400),
        (0xA480, 0xAC10),
        (0xD790, 0xD800),
        (0xF900, 0x12000),
        (0x16800, 0x17000),
        (0x1D000, 0x1FC00),
    ]
    return [chr(c) for c in everything if c % 499 == 0 or any(low <= c < high for low, high in dense)]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["tiny", "smollm2_splitting", "qwen2", "clip"])
def test_every_kind_of_code_point(build: Any, family: str) -> None:
    """Between a letter, a digit, a sign and spaces: class, digit splitting, normal form and lower case."""
    source = (
        build(family) if family != "smollm2_splitting" else sources.byte_level(sources.smollm2_splitting())
    )
    ours, reference = load(source), reference_tokenizer(source)
    texts = [f"a{c}1{c}!{c} {c}\t{c}" for c in code_points()]
    expected = [encoding.ids for encoding in reference.encode_batch(texts, add_special_tokens=False)]
    wrong = [text for text, a, b in zip(texts, ours.encode_batch(texts), expected, strict=True) if a != b]
    assert not wrong, f"{len(wrong)} differ, e.g. {wrong[0]!r}"


def test_marks_are_ordered_and_composed(build: Any) -> None:
    source = build("qwen2")
    ours, reference = load(source), reference_tokenizer(source)
    rng = random.Random(5)
    marks = [chr(c) for c in range(0x20000) if unicodedata.combining(chr(c))]
    bases = "aeioAEnsd\u0915\u0b47\u1100\u1161\uac00\u11a8\u1b05\u0dd9" + "".join(marks[::50])
    texts = [
        "".join(rng.choice(bases) + "".join(rng.choices(marks, k=rng.randint(0, 4))) for _ in range(4))
        for _ in range(5000)
    ]
    for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
        assert ids == reference.encode(text, add_special_tokens=False).ids, ascii(text)


@pytest.mark.parametrize(
    "family", [pytest.param(f, marks=pytest.mark.slow) if f == "smollm2" else f for f in FAMILIES]
)
def test_special_tokens_in_a_text_are_plain_text(build: Any, family: str) -> None:
    source = build(family)
    config = convert_tokenizer(source)
    ours = load(source)
    special = config["special_tokens"]
    assert special
    for token, number in special.items():
        assert ours.token_id(token) == number
        for text in (token, f"x{token}y", f"{token}{token} {token}\n"):
            ids = ours.encode(text)
            assert not set(ids) & set(special.values())
            if family not in ("clip", "gpt2_prefix"):
                assert ours.decode(ids) == text
    assert ours.token_id("no such token") is None


def test_no_merge_makes_a_special_token() -> None:
    vocab = {"<unk>": 0, "<": 1, "s": 2, ">": 3, "<s": 4, "<s>": 5}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("<", "s"), ("<s", ">")], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    assert load(tokenizer).encode("<s>") == [5]  # only a token as long as none says that it is special
    tokenizer.add_special_tokens(["<s>"])
    assert load(tokenizer).encode("<s>") == [4, 3]


@pytest.mark.parametrize("family", FAMILIES)
def test_decoding_any_ids_and_streaming(build: Any, family: str) -> None:
    source = build(family)
    backend = getattr(source, "backend_tokenizer", source)
    ours = load(source)
    stream = _core.testing.StreamDecoder(ours)
    rng = random.Random(3)
    size = ours.vocab_size
    assert size == backend.get_vocab_size()
    for _ in range(1500):
        # Low ids are the bytes and the special tokens: broken characters are common.
        ids = [rng.randrange(rng.choice([270, size])) for _ in range(rng.randint(0, 12))]
        text = ours.decode(ids)
        if family != "clip":
            assert text == Tokenizer.decode(backend, ids, skip_special_tokens=True)
            assert ours.decode(ids, skip_special=False) == Tokenizer.decode(
                backend, ids, skip_special_tokens=False
            )
        streamed = "".join([*map(stream.push, ids), stream.finish()])
        if "\ufffd" not in text:
            assert streamed == text
        elif not family.startswith("llama2"):  # a stream does not take back the good part of a broken run
            assert streamed == text
    assert ours.decode([-1, size, 2**31 - 1]) == ""
    assert stream.push(-1) == stream.push(size) == ""


def test_stream_never_gives_half_a_character(build: Any) -> None:
    for family in ("tiny", "llama2"):
        ours = load(build(family))
        stream = _core.testing.StreamDecoder(ours)
        text = "a \U0001f468\u200d\U0001f469 \u6771\u4eac \u00e9\U000e0001\n z"
        given = [stream.push(number) for number in ours.encode(text)]
        assert "".join(given) == text
        assert "" in given, "some character is made of several tokens"
        for byte_token in ours.encode("\U000e0001")[-4:-2]:
            stream.push(byte_token)
        assert stream.finish().strip("\ufffd") == ""
        assert stream.finish() == ""


def test_later_segments_have_no_dummy_space(build: Any) -> None:
    ours = load(build("llama2"))
    assert ours.encode("red", first_segment=True) == ours.encode(" red", first_segment=False)
    assert ours.encode("red") != ours.encode("red", first_segment=False)
    assert ours.encode("") == ours.encode("", first_segment=False) == []
    assert ours.decode(ours.encode("  two")) == "  two"
    ours = load(build("gpt2_prefix"))
    assert ours.encode("red") == ours.encode(" red", first_segment=False) == ours.encode(" red")


def test_invalid_utf8_is_an_argument_error(build: Any) -> None:
    for family in ("tiny", "llama2", "clip"):
        ours = load(build(family))
        for text in (b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\x80"):
            with pytest.raises(errors.ArgumentError, match="UTF-8"):
                ours.encode(text)
        assert ours.decode(ours.encode("after")) == "after"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["tiny", "llama2", "clip"])
def test_long_words_take_no_quadratic_time(build: Any, family: str) -> None:
    ours = load(build(family))
    start = time.process_time()
    for text in ("a" * 300_000, "moving" * 50_000, " " * 300_000, "\u0301" * 300_000):
        ours.encode(text)
    assert time.process_time() - start < 10


def test_threads_share_a_tokenizer(build: Any) -> None:
    ours = load(build("clip"))  # the family with the most steps
    texts = list(random_texts(500, seed=4))
    expected = ours.encode_batch(texts)
    with ThreadPoolExecutor(4) as pool:
        assert all(result == expected for result in pool.map(lambda _: ours.encode_batch(texts), range(8)))


@pytest.fixture(scope="session")
def text(build: Any) -> str:
    return json.dumps(convert_tokenizer(build("llama2")), ensure_ascii=False)


class TestDamagedFiles:
    def test_flipped_and_cut_bytes(self, text: str) -> None:
        data = text.encode()
        rng = random.Random(11)
        refused = 0
        for i in range(300):
            bad = bytearray(data)
            if i % 3 == 0:
                del bad[rng.randrange(len(bad)) :]
            elif i % 3 == 1:
                bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            else:
                start = rng.randrange(len(bad))
                del bad[start : start + rng.randint(1, 50)]
            try:
                tokenizer = _core.Tokenizer(bytes(bad))
            except errors.BundleError as error:
                refused += 1
                assert "\n" not in str(error)
            else:
                tokenizer.decode(tokenizer.encode("a red circle \U0001f600"))
        assert refused > 150

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"format": "tokenizer"}, "no g4v tokenizer"),
            ({"format_version": 2}, "version is 2, this g4v reads version 1"),
            ({"type": "wordpiece"}, "wordpiece"),
            ({"type": "unigram"}, "not a known key"),
            ({"surprise": 1}, "surprise"),
            ({"vocab": []}, "vocab"),
            ({"vocab": {}}, "vocab"),
            ({"vocab": ["a", "a"], "special_tokens": {}, "merges": []}, "twice"),
            ({"vocab": ["a", 5], "special_tokens": {}, "merges": []}, "vocab"),
            ({"merges": [1]}, "odd"),
            ({"merges": [0, 10**9]}, "no token id"),
            ({"merges": [-1, 0]}, "no token id"),
            ({"merges": [0, 0]}, "which is no token"),
            ({"merges": ["a", "b"]}, "no token id"),
            ({"merges": 7}, "merges"),
            ({"special_tokens": {"<s>": 5}}, "special_tokens.<s>"),
            ({"special_tokens": {"<new>": -1}}, "special_tokens.<new>"),
            ({"special_tokens": {"<new>": 10**12}}, "special_tokens.<new>"),
            ({"special_tokens": []}, "special_tokens"),
            ({"unk_token": "nothing like this"}, "unk_token"),
            ({"prefix_space": "maybe"}, "prefix_space"),
            ({"byte_fallback": 1}, "byte_fallback"),
        ],
    )
    def test_each_key_is_checked(self, text: str, change: dict[str, Any], message: str) -> None:
        with pytest.raises(errors.BundleError) as caught:
            _core.Tokenizer(json.dumps(json.loads(text) | change))
        assert message in str(caught.value)

    def test_each_key_is_needed(self, text: str) -> None:
        whole = json.loads(text)
        for key in whole:
            with pytest.raises(errors.BundleError):
                _core.Tokenizer(json.dumps({k: v for k, v in whole.items() if k != key}))

    @pytest.mark.parametrize(
        "bad", ["", "null", "[]", "7", "{}", '{"format":"g4v-tokenizer"}', "\x00", "[" * 10**6]
    )
    def test_other_texts(self, bad: str) -> None:
        with pytest.raises(errors.BundleError):
            _core.Tokenizer(bad)


class TestExport:
    def test_sources(self, build: Any, tmp_path: Path) -> None:
        """A folder of vocabulary files, a tokenizer.json and the objects give the same file."""
        tokenizer = build("clip")
        tokenizer.save_pretrained(tmp_path / "fast")
        (tmp_path / "slow").mkdir()
        config = json.loads(tokenizer.backend_tokenizer.to_str())
        (tmp_path / "slow" / "vocab.json").write_text(json.dumps(config["model"]["vocab"]))
        merges = "\n".join(" ".join(pair) for pair in config["model"]["merges"])
        (tmp_path / "slow" / "merges.txt").write_text("#version: 0.2\n" + merges + "\n")
        (tmp_path / "slow" / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "CLIPTokenizer"})
        )
        expected = convert_tokenizer(tokenizer)
        for source in (tokenizer.backend_tokenizer, tmp_path / "fast", tmp_path / "fast" / "tokenizer.json"):
            assert convert_tokenizer(source) == expected
        assert convert_tokenizer(tmp_path / "slow") == expected

    def test_llama_folder_with_a_sentencepiece_model(self, tmp_path: Path) -> None:
        sources.train_sentencepiece(tmp_path)
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
        write_tokenizer(tmp_path, tmp_path / "out.json")
        assert verify_tokenizer(tmp_path / "out.json", tmp_path, 300) == 300
        assert load(tmp_path).token_id("</s>") == 2

    @pytest.mark.parametrize(
        "change",
        [
            {"model": models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")},
            {"model": models.Unigram([("<unk>", 0.0)], unk_id=0)},
            {"model": models.BPE(dropout=0.5)},
            {"model": models.BPE(continuing_subword_prefix="##")},
            {"model": models.BPE(end_of_word_suffix="@@")},
            {"model": models.BPE(byte_fallback=True)},
            {"pre_tokenizer": pre_tokenizers.Whitespace()},
            {"pre_tokenizer": pre_tokenizers.Sequence([])},
            {"pre_tokenizer": sources.split_by(r"\w+")},
            {"pre_tokenizer": pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel()])},
            {"normalizer": normalizers.NFKC()},
            {"normalizer": normalizers.Lowercase()},
            {"decoder": decoders.WordPiece()},
            {"decoder": decoders.Metaspace()},
        ],
    )
    def test_unknown_parts_are_refused_in_one_line(self, change: dict[str, Any], tmp_path: Path) -> None:
        tokenizer = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        assert convert_tokenizer(tokenizer)["type"] == "byte_level_bpe"
        for part, value in change.items():
            setattr(tokenizer, part, value)
        with pytest.raises(ExportError) as caught:
            write_tokenizer(tokenizer, tmp_path / "out.json")
        assert "\n" not in str(caught.value) and len(str(caught.value)) > 20
        assert not list(tmp_path.iterdir())

    def test_bad_sources_and_targets(self, build: Any, tmp_path: Path) -> None:
        (tmp_path / "tokenizer.json").write_text("{")
        (tmp_path / "empty").mkdir()
        for source in (tmp_path / "missing", tmp_path / "tokenizer.json", tmp_path, tmp_path / "empty", 7):
            with pytest.raises(ExportError) as caught:
                convert_tokenizer(source)
            assert "\n" not in str(caught.value)
        with pytest.raises(ExportError, match="cannot be written"):
            write_tokenizer(build("tiny"), tmp_path / "tokenizer.json" / "out.json")
