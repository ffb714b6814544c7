"""Captions through a bundle's tokenizer against transformers' CLIPTokenizer, in the published layout."""

import json
import random
import shutil

import pytest

from g4v._core import Tokenizer
from g4v.export.bundle.tokenizers import write_tokenizers
from g4v.export.checkpoint.run import Checkpoint

from ..python import tokenizer_sources as sources

CAPTIONS = 2500
LENGTH = 16
WORDS = (
    "a the red circle moving left on black background wow stop now don't it's 3 42 1st "
    "caf\u00e9 \u6771\u4eac \u0394x ! !! !!! !? ?! a!b hello! !hello .! !. '! \"! HELLO "
    "World, (blue) star; 100% #tag \U0001f3ac \U0001f3ac! ! !"
).split(" ")


def published(folder, pad):
    """A CLIPTokenizer's folder as Stable Diffusion 2 and ZeroScope have it: vocabulary files and settings."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    state = json.loads(sources.clip().backend_tokenizer.to_str())["model"]
    merges = [
        "#version: 0.2",
        *(pair if isinstance(pair, str) else " ".join(pair) for pair in state["merges"]),
    ]
    (folder / "vocab.json").write_text(json.dumps(state["vocab"]), "utf-8")
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", "utf-8")
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    names = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    special = {name: {"content": content, **flags} for name, content in names.items()}
    (folder / "special_tokens_map.json").write_text(json.dumps(special | {"pad_token": pad}), "utf-8")
    more = {"add_prefix_space": False, "do_lower_case": True, "errors": "replace", "model_max_length": LENGTH}
    added = {name: {"__type": "AddedToken", **token} for name, token in special.items()}
    config = more | added | {"pad_token": pad, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")


def captions(seed):
    rng = random.Random(seed)
    for _ in range(CAPTIONS):
        words = (rng.choice(WORDS) for _ in range(rng.randint(0, 14)))
        yield "".join(rng.choice(["", " ", " ", "  "]) + word for word in words)


@pytest.mark.parametrize("pad", ["!", "<|endoftext|>"])
def test_captions_are_those_of_transformers(pad, run, tmp_path):
    from transformers import CLIPTokenizer

    copy = shutil.copytree(run, tmp_path / "run")
    published(copy / "t2v" / "tokenizer", pad)
    reference = CLIPTokenizer.from_pretrained(copy / "t2v" / "tokenizer")
    assert reference.pad_token == pad and (pad != "!" or reference.pad_token_id == 0)
    spec = write_tokenizers(Checkpoint.open(copy), tmp_path, ["text_encoder"])["text_encoder"]
    assert spec["pad"] == reference.pad_token_id
    ours = Tokenizer((tmp_path / spec["file"]).read_text("utf-8"))
    texts = list(captions(len(pad)))
    assert sum("!" in text for text in texts) > 1000
    options = {"padding": "max_length", "truncation": True, "max_length": LENGTH}
    for text, expected in zip(texts, reference(texts, **options).input_ids, strict=True):
        ids = [
            spec["bos"],
            *ours.encode(text)[: LENGTH - 2],
            spec["eos"],
        ]  # as the runtime cuts and pads them
        assert ids + [spec["pad"]] * (LENGTH - len(ids)) == expected, text
