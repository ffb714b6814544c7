"""SentencePiece Unigram tokenizers: equal to SentencePiece's own encoder, safe on hostile files.

G4V_TOKENIZER_SAMPLES sets how many random texts each model is compared on (default 10000).
"""

from __future__ import annotations

import base64
import json
import os
import random
import struct
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sentencepiece", reason="the reference is SentencePiece")

from g4v import _core, errors
from g4v.export.checkpoint.sentencepiece_model import UnigramModel, read_unigram
from g4v.export.components.tokenizer import convert_tokenizer, write_tokenizer
from g4v.export.errors import ExportError
from g4v.export.verify.tokenizer import random_texts, verify_tokenizer

from ..t5_models import train_unigram
from ..t5_models import write_tokenizer as write_t5_tokenizer

SAMPLES = int(os.environ.get("G4V_TOKENIZER_SAMPLES", "10000"))
USER_DEFINED = ["<extra_id_0>", "red", "circle", "cl", "\u6771", "a b", "\u2581moving"]
MODELS: dict[str, dict[str, Any]] = {
    "t5": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "umt5": {"byte_fallback": True, "character_coverage": 0.98, "user_defined_symbols": USER_DEFINED},
    "nfkc": {"normalization_rule_name": "nfkc", "remove_extra_whitespaces": False},
    "nfkc, bytes": {"normalization_rule_name": "nfkc", "byte_fallback": True},
    "identity": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "identity, stripped": {"normalization_rule_name": "identity", "byte_fallback": True},
    "folded, no prefix": {"normalization_rule_name": "nmt_nfkc_cf", "add_dummy_prefix": False},
    "suffix": {"treat_whitespace_as_suffix": True, "user_defined_symbols": USER_DEFINED},
}


@pytest.fixture(scope="module")
def model() -> Any:
    from sentencepiece import sentencepiece_model_pb2

    made: dict[str, UnigramModel] = {}

    def get(name: str) -> UnigramModel:
        if name not in made:
            proto = sentencepiece_model_pb2.ModelProto.FromString(train_unigram(**MODELS[name]))
            special = {piece.piece: i for i, piece in enumerate(proto.pieces) if piece.type in (2, 3)}
            made[name] = UnigramModel(proto, special, name)
        return made[name]

    return get


def changed(model: UnigramModel, change: Any) -> UnigramModel:
    proto = type(model.proto)()
    proto.CopyFrom(model.proto)
    change(proto)
    return UnigramModel(proto, model.special, model.place)


def load(model: UnigramModel) -> Any:
    return _core.Tokenizer(json.dumps(convert_tokenizer(model)))


def assert_equal(model: UnigramModel, texts: list[str]) -> None:
    ours, reference = load(model), model.processor()
    wrong = [
        (text, ids, wanted)
        for text, ids, wanted in zip(texts, ours.encode_batch(texts), reference.encode(texts), strict=True)
        if ids != wanted
    ]
    assert not wrong, f"{len(wrong)} of {len(texts)} differ, e.g. {wrong[0]!r}"


@pytest.mark.parametrize("name", MODELS)
def test_equal_to_sentencepiece(model: Any, name: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    write_tokenizer(model(name), path)
    assert verify_tokenizer(path, model(name), SAMPLES, seed=2) == SAMPLES
    assert os.listdir(tmp_path) == ["tokenizer.json"]


@pytest.mark.parametrize("name", ["t5", "umt5", "nfkc", "folded, no prefix"])
def test_every_kind_of_code_point(model: Any, name: str) -> None:
    """Alone, between letters, and before marks that it is composed with."""
    everything = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    some = [
        c for c in everything if c < 0x3400 or 0xAC00 <= c < 0xAC40 or 0xF900 <= c < 0x10200 or c % 97 == 0
    ]
    assert_equal(model(name), [f"{chr(c)}|a{chr(c)}b {chr(c)}\u0301\u0323{chr(c)}" for c in some])


def test_ties_are_broken_as_sentencepiece_breaks_them(model: Any) -> None:
    """Few scores, all of them sums of others: most ways to write a text have equal sums."""
    rng = random.Random(3)

    def few(proto: Any) -> None:
        for piece in proto.pieces:
            if piece.type == 1:
                piece.score = -len(piece.piece) * rng.choice([0.1, 0.1, 1.1, 2.0 / 3.0])

    texts = list(random_texts(SAMPLES // 2, 9, USER_DEFINED))
    texts += [letter * n for letter in "ab1.-= \u00e9" for n in range(1, 120)]
    for name in ("t5", "umt5"):
        assert_equal(changed(model(name), few), texts)


def test_positive_scores_and_unused_pieces(model: Any) -> None:
    def positive(proto: Any) -> None:
        for number, piece in enumerate(proto.pieces):
            if piece.type == 1:
                piece.score += 8
                piece.type = 5 if number % 3 == 0 else 1

    for name in ("t5", "umt5"):
        made = changed(model(name), positive)
        assert made.unused
        assert_equal(made, list(random_texts(SAMPLES // 4, 4, USER_DEFINED)))


def test_special_tokens_are_plain_text(model: Any) -> None:
    ours, special = load(model("t5")), model("t5").special
    assert special == {"<pad>": 0, "</s>": 1, "<unk>": 2}
    for token, number in special.items():
        assert ours.token_id(token) == number
        ids = ours.encode(f"{token} a{token}")
        assert not {0, 1} & set(ids) and ours.decode(ids) == f"{token} a{token}"


def test_scores_are_read_to_the_last_bit(model: Any) -> None:
    proto = model("t5").proto
    written = convert_tokenizer(model("t5"))["scores"]
    assert np.array_equal(np.float32(written), np.float32([piece.score for piece in proto.pieces]))
    # Fewer digits than float64 needs: the files of large vocabularies are half as large.
    assert sum(len(repr(score)) for score in written) < 12 * len(written)


def test_long_texts_take_linear_time(model: Any) -> None:
    for name in ("t5", "umt5"):
        ours = load(model(name))
        start = time.process_time()
        for text in (
            "a" * 300_000,
            "moving" * 50_000,
            " " * 300_000,
            "\u0301" * 300_000,
            "a\u0300\u0301" * 100_000,
        ):
            ours.encode(text)
        assert time.process_time() - start < 10


def test_segments_and_invalid_text(model: Any) -> None:
    ours = load(model("t5"))
    assert ours.encode("red", first_segment=False) != ours.encode("red")
    assert ours.encode("") == ours.encode("   ") == []
    for text in (b"\xff", b"a\xc3", b"\xed\xa0\x80"):
        with pytest.raises(errors.ArgumentError, match="UTF-8"):
            ours.encode(text)


def trie(units: list[int], replacements: bytes = b"x\0") -> str:
    """base64 of a charsmap whose trie begins with `units`."""
    whole = units + [0x80000000] * (-len(units) % 256)
    body = struct.pack(f"<{len(whole)}I", *whole)
    return base64.b64encode(struct.pack("<I", len(body)) + body + replacements).decode()


def unit(offset: int, label: int = 0, leaf: bool = False) -> int:
    return offset << 10 | leaf << 8 | label


# Root 0 leads to base 1 ^ 0; "a" is the unit 1 ^ 97 = 96, whose value lies at 96 ^ 98 = 2.
A = {0: unit(1), 96: unit(98, 97, True), 2: 0x80000000}


def units(changes: dict[int, int]) -> list[int]:
    made = [0x80000000] * 256
    for place, value in changes.items():
        made[place] = value
    return made


@pytest.fixture(scope="module")
def whole(model: Any) -> dict[str, Any]:
    return convert_tokenizer(model("umt5"))


class TestDamagedFiles:
    def test_a_map_by_hand(self, whole: dict[str, Any]) -> None:
        """What the damaged ones below differ from is a map that works."""
        plain = whole | {"user_defined": []}
        ours = _core.Tokenizer(json.dumps(plain | {"precompiled_charsmap": trie(units(A))}))
        without = _core.Tokenizer(json.dumps(plain | {"precompiled_charsmap": ""}))
        assert ours.encode("banana") == without.encode("bxnxnx") != without.encode("banana")

    @pytest.mark.parametrize(
        ("charsmap", "message"),
        [
            ("AAA", "base64"),
            ("A*==", "base64"),
            ("AAAA", "wrong size"),
            (base64.b64encode(struct.pack("<I", 0) + b"x\0").decode(), "wrong size"),
            (base64.b64encode(struct.pack("<I", 1024) + bytes(1000)).decode(), "wrong size"),
            (base64.b64encode(struct.pack("<I", 2**32 - 1024) + bytes(2000)).decode(), "wrong size"),
            (trie(units(A), b"x"), "without an end"),
            (trie(units(A), b"x" * 1025 + b"\0"), "too long"),
            (trie(units(A | {0: unit(256)})), "outside itself"),
            (trie(units(A | {96: unit(1 << 20, 97, True)})), "outside itself"),
            (trie(units(A | {2: 0x80000000 + 2})), "outside itself"),
            (trie(units(A | {2: 0xFFFFFFFF})), "outside itself"),
            # From "a" back to the root's children: a rule without end.
            (trie(units(A | {96: unit(97, 97)})), "too long"),
            (7, "precompiled_charsmap"),
        ],
    )
    def test_maps(self, whole: dict[str, Any], charsmap: Any, message: str) -> None:
        with pytest.raises(errors.BundleError, match=message) as caught:
            _core.Tokenizer(json.dumps(whole | {"precompiled_charsmap": charsmap}))
        assert "\n" not in str(caught.value)

    def test_every_bit_of_a_trie(self, whole: dict[str, Any]) -> None:
        """No change of a unit leads a text out of the map."""
        rng, raw = random.Random(5), bytearray(base64.b64decode(whole["precompiled_charsmap"]))
        texts = list(random_texts(300, 6))
        for _ in range(60):
            bad = bytearray(raw)
            for _ in range(rng.choice([1, 30, 1000])):
                bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            changed = whole | {"precompiled_charsmap": base64.b64encode(bad).decode()}
            try:
                ours = _core.Tokenizer(json.dumps(changed))
            except errors.BundleError as error:
                assert "\n" not in str(error)
            else:
                ours.encode_batch(texts)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"scores": [0.5]}, "a score for each"),
            ({"scores": "none"}, "scores"),
            ({"merges": []}, "merges"),
            ({"unk_token": None}, "unk_token"),
            ({"unk_token": "a"}, "special_tokens"),
            ({"user_defined": [0]}, "user_defined"),
            ({"user_defined": [-1]}, "user_defined"),
            ({"unused": [10**6]}, "unused"),
            ({"unused": [1.5]}, "unused"),
            ({"byte_fallback": 1}, "byte_fallback"),
            ({"add_dummy_prefix": "yes"}, "add_dummy_prefix"),
        ],
    )
    def test_each_key_is_checked(self, whole: dict[str, Any], change: dict[str, Any], message: str) -> None:
        with pytest.raises(errors.BundleError, match=message) as caught:
            _core.Tokenizer(json.dumps(whole | change))
        assert "\n" not in str(caught.value)

    def test_each_key_is_needed(self, whole: dict[str, Any]) -> None:
        for key in whole:
            with pytest.raises(errors.BundleError):
                _core.Tokenizer(json.dumps({k: v for k, v in whole.items() if k != key}))

    def test_pieces(self, whole: dict[str, Any]) -> None:
        for number, piece, message in ((-1, "", "empty"), (-1, "a" * 1025, "1024"), (-1, None, None)):
            vocab = list(whole["vocab"])
            vocab[number] = piece
            text = json.dumps(whole | {"vocab": vocab})
            if message is None:
                _core.Tokenizer(text).encode("a text")
                continue
            with pytest.raises(errors.BundleError, match=message):
                _core.Tokenizer(text)
        vocab = ["<0x41>x" if piece == "<0x41>" else piece for piece in whole["vocab"]]
        with pytest.raises(errors.BundleError, match="lacks a token for some byte"):
            _core.Tokenizer(json.dumps(whole | {"vocab": vocab}))
        scores = [1e12] + whole["scores"][1:]
        with pytest.raises(errors.BundleError, match="out of range"):
            _core.Tokenizer(json.dumps(whole | {"scores": scores}))


class TestFolders:
    """tokenizer/ of T5 as diffusers' folders have it."""

    def test_both_layouts_give_the_same(self, tmp_path: Path) -> None:
        found = []
        for layout in ("spiece.model", "tokenizer.json"):
            folder = tmp_path / layout
            read = read_unigram(folder, write_t5_tokenizer(folder, layout, 64))
            assert read.place == str(folder / layout)
            # In tokenizer.json the special tokens behind the model's own are pieces, too.
            behind = 4 if layout == "tokenizer.json" else 0
            assert read.special["<extra_id_3>"] == len(read.proto.pieces) - behind
            found.append(read)
        texts = list(random_texts(2000, 1))
        assert load(found[0]).encode_batch(texts) == load(found[1]).encode_batch(texts)

    def test_captions_are_those_of_transformers(self, tmp_path: Path) -> None:
        tokenizer = write_t5_tokenizer(tmp_path, "tokenizer.json", 64)
        ours = load(read_unigram(tmp_path, tokenizer))
        for text in (
            "a red circle moving left",
            "  two   blue squares.\n",
            "NAIVE caf\u00e9 \u6771\u4eac",
            "",
        ):
            assert [*ours.encode(text), tokenizer.eos_token_id] == tokenizer(text).input_ids, text

    def test_the_layout_of_before_transformers_5(self, tmp_path: Path) -> None:
        """As LTX-Video's: spiece.model, and settings that list the special tokens with their flags."""
        from transformers import AutoTokenizer

        write_t5_tokenizer(tmp_path, "spiece.model", 128)
        size = len(read_unigram(tmp_path, AutoTokenizer.from_pretrained(tmp_path)).proto.pieces)

        def token(content: str, strip: bool = False) -> dict[str, Any]:
            flags = {"lstrip": strip, "normalized": False, "rstrip": strip, "single_word": False}
            return {"content": content, "special": True, **flags}

        extra = [f"<extra_id_{number}>" for number in range(4)]
        listed = {"0": token("<pad>"), "1": token("</s>"), "2": token("<unk>")}
        listed |= {str(size + place): token(name, True) for place, name in enumerate(reversed(extra))}
        config = {
            "add_prefix_space": True, "added_tokens_decoder": listed, "additional_special_tokens": extra,
            "clean_up_tokenization_spaces": True, "eos_token": "</s>", "extra_ids": 4, "legacy": True,
            "model_max_length": 128, "pad_token": "<pad>", "sp_model_kwargs": {},
            "tokenizer_class": "T5Tokenizer", "unk_token": "<unk>",
        }  # fmt: skip
        path = tmp_path / "tokenizer_config.json"
        path.write_text(json.dumps(config), "utf-8")
        tokenizer = AutoTokenizer.from_pretrained(tmp_path)
        assert read_unigram(tmp_path, tokenizer).special == {
            token["content"]: int(number) for number, token in listed.items()
        }
        for change, message in (
            ({"surprise": 1}, "surprise is no key"),
            ({"sp_model_kwargs": {"enable_sampling": True}}, "random splitting"),
        ):
            path.write_text(json.dumps(config | change), "utf-8")
            with pytest.raises(ExportError, match=message):
                read_unigram(tmp_path, tokenizer)

    def test_refusals(self, tmp_path: Path) -> None:
        tokenizer = write_t5_tokenizer(tmp_path, "tokenizer.json", 64)
        path = tmp_path / "tokenizer.json"
        whole = json.loads(path.read_text("utf-8"))

        def refused(message: str, **change: Any) -> None:
            path.write_text(json.dumps(whole | change), "utf-8")
            with pytest.raises(ExportError, match=message) as caught:
                read_unigram(tmp_path, tokenizer)
            assert "\n" not in str(caught.value)

        refused("surprise", surprise=1)
        refused("model.surprise", model=whole["model"] | {"surprise": 1})
        refused("'BPE', not Unigram", model={"type": "BPE", "vocab": {}, "merges": []})
        refused("unk_id", model=whole["model"] | {"unk_id": 10**6})
        refused("vocab", model=whole["model"] | {"vocab": [["a"]]})
        twice = [*whole["model"]["vocab"], ["a", -1.0]]
        refused("a is already defined", model=whole["model"] | {"vocab": twice})
        refused("normalizer and pre-tokenizer", normalizer={"type": "Lowercase"})
        refused("normalizer and pre-tokenizer", pre_tokenizer=None)
        path.write_text("{", "utf-8")
        with pytest.raises(ExportError, match="no JSON"):
            read_unigram(tmp_path, tokenizer)
        path.unlink()
        with pytest.raises(ExportError, match="has none of"):
            read_unigram(tmp_path, tokenizer)
        (tmp_path / "tokenizer_config.json").unlink()
        (tmp_path / "spiece.model").write_bytes(b"\xff\xfe no model")
        with pytest.raises(ExportError, match="no model of SentencePiece"):
            read_unigram(tmp_path, tokenizer)
        (tmp_path / "spiece.model").write_bytes(train_unigram(model_type="bpe", vocab_size=1500))
        with pytest.raises(ExportError, match="another type than Unigram"):
            read_unigram(tmp_path, SimpleNamespace(added_tokens_decoder={}))
