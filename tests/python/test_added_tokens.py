"""Added tokens: those that are not special are found in texts, as Hugging Face tokenizers finds them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tokenizers", reason="the reference is Hugging Face tokenizers")
from tokenizers import AddedToken, Tokenizer, pre_tokenizers

from g4v import _core, errors
from g4v.export.checkpoint.tokenizer import caption_backend, load_backend
from g4v.export.components.tokenizer import convert_tokenizer, write_tokenizer
from g4v.export.errors import ExportError
from g4v.export.verify.tokenizer import random_texts, reference_tokenizer, verify_tokenizer
from g4v.model.plain_encoder import plain_encoder

from . import chat_tokenizers as chats
from . import tokenizer_sources as sources

SPACED = ["  ", " red ", "\t\t", "hello w"]
TOKENS = [
    "\u00f6", "<scene>", "<s", "s>x", "Hello", "a", "\u00c4B", "<video>", "e\u0301", "\u2581", "deo>", "|im",
]  # fmt: skip
SCENE = {"content": "<scene>"}
FAMILIES = ["byte_level", "llama3", "qwen2", "legacy", "first", "always"]


def copy(tokenizer: Tokenizer) -> Tokenizer:
    return Tokenizer.from_str(tokenizer.to_str())


def build(family: str) -> Tokenizer:
    if family in ("byte_level", "llama3", "qwen2"):
        return getattr(sources, family)()
    config = json.loads(chats.sentencepiece(metaspace=family != "legacy").to_str())
    if family == "always":
        config["pre_tokenizer"]["prepend_scheme"] = "always"
    return Tokenizer.from_str(json.dumps(config))


def with_random_tokens(tokenizer: Tokenizer, flags: str, seed: int) -> list[str]:
    """Adds tokens, some of them special; returns what was added."""
    rng = random.Random(seed)
    # `tokenizers` panics where one token takes along the white space that another begins with.
    pool = TOKENS if flags == "strip" else TOKENS + SPACED
    chosen = [
        AddedToken(
            token,
            normalized=flags == "normalized" or (flags != "raw" and rng.random() < 0.5),
            lstrip=flags == "strip" and rng.random() < 0.4,
            rstrip=flags == "strip" and rng.random() < 0.4,
            special=len(token) > 1 and rng.random() < 0.2,
        )
        for token in rng.sample(pool, rng.randint(3, 8))
    ]
    tokenizer.add_tokens([token for token in chosen if not token.special])
    tokenizer.add_special_tokens([token for token in chosen if token.special])
    return [token.content for token in chosen]


def load(tokenizer: Any) -> Any:
    return _core.Tokenizer(json.dumps(convert_tokenizer(tokenizer)))


@pytest.mark.parametrize("flags", ["raw", "normalized", "mixed", "strip"])
@pytest.mark.parametrize("family", FAMILIES)
def test_found_as_hugging_face_finds_them(family: str, flags: str, tmp_path: Path) -> None:
    tokenizer = build(family)
    added = with_random_tokens(tokenizer, flags, seed=FAMILIES.index(family))
    write_tokenizer(tokenizer, tmp_path / "t.json")
    assert verify_tokenizer(tmp_path / "t.json", tokenizer, 300, seed=5) == 300
    ours, encode = load(tokenizer), plain_encoder(tokenizer)
    for text in random_texts(200, 6, added):
        assert ours.encode(text, True) == encode(text, True), ascii(text)
        assert ours.encode(text, False) == encode(text, False), ascii(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokens_are_given_and_decoded(family: str) -> None:
    tokenizer = build(family)
    tokenizer.add_tokens(["\u00f6", "<scene>", "  "])
    ours, reference = load(tokenizer), reference_tokenizer(tokenizer)
    for text in ("sch\u00f6n", "<scene> x", "a  b", " <scene>", "x <scene>", " \u00f6"):
        ids = reference.encode(text, add_special_tokens=False).ids
        assert ours.encode(text) == ids
        assert ours.decode(ids) == reference.decode(ids) == tokenizer.decode(ids)
    assert tokenizer.token_to_id("<scene>") in ours.encode("x <scene>")


def test_a_special_token_hides_what_it_overlaps() -> None:
    tokenizer = sources.byte_level()
    tokenizer.add_tokens([AddedToken("s>x", normalized=False)])
    ours = load(tokenizer)
    number = tokenizer.token_to_id("s>x")
    assert number in ours.encode("as>x") and number not in ours.encode("<s>x")
    assert plain_encoder(tokenizer)("<s>x", True) == ours.encode("<s>x")


def test_the_comparison_finds_what_a_file_leaves_out(tmp_path: Path) -> None:
    tokenizer = sources.byte_level()
    tokenizer.add_tokens(["<scene>"])
    values = convert_tokenizer(tokenizer)
    del values["text_tokens"]
    (tmp_path / "t.json").write_text(json.dumps(values), "utf-8")
    with pytest.raises(ExportError, match="the tokenizer differs on"):
        verify_tokenizer(tmp_path / "t.json", tokenizer, 100)


def test_files_without_such_tokens_are_as_before() -> None:
    for family in FAMILIES:
        assert not {"text_tokens", "spaces"} & set(convert_tokenizer(build(family)))


class TestRefused:
    def test_whole_words(self) -> None:
        tokenizer = sources.byte_level()
        tokenizer.add_tokens([AddedToken("word", single_word=True)])
        with pytest.raises(ExportError, match="'word' is found as a whole word only .single_word."):
            convert_tokenizer(tokenizer)

    def test_a_space_before_every_text(self) -> None:
        tokenizer = sources.byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True))
        tokenizer.add_tokens(["word"])
        with pytest.raises(ExportError, match="save it with add_prefix_space=False"):
            convert_tokenizer(tokenizer)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"text_tokens": {}}, "text_tokens"),
            ({"text_tokens": [{"content": "x"}]}, "no token of this file"),
            ({"text_tokens": [{"content": ""}]}, "no token of this file"),
            ({"text_tokens": [{"content": "<s>", "decodes_to": "<s>"}]}, "normalized"),
            ({"text_tokens": [{"content": "<s>", "sticky": True}]}, "sticky"),
            ({"spaces": "never"}, "is none of normalizer, first, always"),
        ],
    )
    def test_damaged_files(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(errors.BundleError, match=message):
            _core.Tokenizer(json.dumps(convert_tokenizer(build("legacy")) | change))


class TestFiles:
    def write(self, folder: Path, config: dict[str, Any], **more: Any) -> Path:
        tokenizer = sources.byte_level()
        tokenizer.add_tokens(["<scene>"])
        state = json.loads(tokenizer.to_str())
        state["model"] |= more.pop("model", {})
        (folder / "tokenizer.json").write_text(json.dumps(state | more), "utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
        return folder

    def test_what_transformers_writes_is_known(self, tmp_path: Path) -> None:
        tokenizer = chats.tokenizer("chatml")
        tokenizer.add_tokens(["<scene>"])
        tokenizer.save_pretrained(tmp_path)
        assert load_backend(tmp_path).token_to_id("<scene>") == tokenizer.convert_tokens_to_ids("<scene>")

    def test_settings_of_transformers_without_effect(self, tmp_path: Path) -> None:
        truncated = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
        config = {"model_max_length": 5, "chat_template": "x", "clean_up_tokenization_spaces": True}
        folder = self.write(tmp_path, config, truncation=truncated)
        ids = load(folder).encode("a red circle moves left")
        assert len(ids) > 3 and ids == plain_encoder(load_backend(folder))("a red circle moves left", True)

    @pytest.mark.parametrize(
        ("config", "more", "message"),
        [
            ({"speed": 1}, {}, "tokenizer_config.json: speed is no key"),
            ({}, {"speed": 1}, "tokenizer.json: speed is no key"),
            ({}, {"model": {"speed": 1}}, "tokenizer.json: model.speed is no key"),
            ({"sp_model_kwargs": {"enable_sampling": True}}, {}, "random splitting"),
            ({"split_special_tokens": True}, {}, "split_special_tokens"),
            ({"added_tokens_decoder": {"1501": {"content": "<new>"}}}, {}, "'<new>' with the id 1501"),
            ({"added_tokens_decoder": {"1500": SCENE | {"lstrip": True}}}, {}, "about lstrip of '<scene>'"),
            ({"added_tokens_decoder": {"1500": SCENE | {"special": True}}}, {}, "about special of"),
        ],
    )  # fmt: skip
    def test_refused_by_name(self, config: Any, more: Any, message: str, tmp_path: Path) -> None:
        with pytest.raises(ExportError, match=message) as caught:
            load_backend(self.write(tmp_path, config, **more))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pad", ["!", "<|endoftext|>"])
def test_captions_are_those_of_transformers(pad: str) -> None:
    """ZeroScope's tokenizer pads with "!", which is a token of its own in every caption."""
    tokenizer = sources.clip()
    tokenizer.add_special_tokens({"pad_token": pad})
    ours = load(caption_backend(tokenizer))
    rng = random.Random(3)
    words = ["a", "red", "circle", "!", "!!", "moves,", "left", "!?", "Hello", "42", "\u6771"]
    for _ in range(300):
        text = "".join(rng.choice(["", " "]) + rng.choice(words) for _ in range(rng.randint(1, 9)))
        made = [tokenizer.bos_token_id, *ours.encode(text), tokenizer.eos_token_id]
        assert made == tokenizer(text).input_ids, text
    number = tokenizer.pad_token_id
    assert (number in ours.encode(f"a {pad}")) == (number in tokenizer.encode("!", add_special_tokens=False))
    assert (number in ours.encode(f"a {pad}")) == (pad == "!")
