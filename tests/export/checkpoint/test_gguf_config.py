"""Metadata of GGUF files: every key is obeyed as llama.cpp does, or refused by name; one reader for all."""

from __future__ import annotations

import math

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.components.decoder_graph import export_decoder
from g4v.export.errors import ExportError
from g4v.export.verify.decoder import compare_decoder
from g4v.model.bases import CheckpointError, load_llm, load_tokenizer
from gguf_files import write_gguf

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "head_dim": 16,
}
IDS = torch.arange(60)[None]
KINDS = gguf.GGUFValueType


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "llm")


def save(folder, **options):
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**{**SIZES, **options}, initializer_range=0.3)).save_pretrained(folder)
    file = folder / "model.safetensors"
    noisy = {
        n: t + 0.2 * torch.randn_like(t) if n.endswith("bias") else t for n, t in load_file(file).items()
    }
    save_file(noisy, file, {"format": "pt"})
    return folder


def logits(model):
    with torch.no_grad():
        return model.eval()(IDS).logits


def exported(place):
    weights = LlamaWeights(place)
    model = LlamaForCausalLM(weights.config)
    with torch.no_grad():
        for name, parameter in model.named_parameters(remove_duplicate=False):
            parameter.copy_(weights.read(name))
    return model


def number(name, value):
    kind = (
        KINDS.FLOAT32 if isinstance(value, float) else KINDS.BOOL if isinstance(value, bool) else KINDS.UINT32
    )
    return lambda w: w.add_key_value(f"llama.{name}", value, kind)


def text(name, value):
    return lambda w: w.add_string(f"llama.{name}", value)


def tensor(name, *values):
    return lambda w: w.add_tensor(name, np.array(values, np.float32))


def several(*fields):
    return lambda w: [field(w) for field in fields]


YARN = (text("rope.scaling.type", "yarn"), number("rope.scaling.factor", 4.0))


@pytest.mark.parametrize(
    ("fields", "scale"),
    [
        ((), 1),
        ((number("rope.scale_linear", 4.0),), 4),
        ((number("rope.scaling.factor", 4.0),), 4),
        ((text("rope.scaling.type", "linear"), number("rope.scaling.factor", 4.0)), 4),
        ((text("rope.scaling.type", "linear"), number("rope.scale_linear", 2.0)), 2),
        ((number("rope.scaling.factor", 8.0), number("rope.scale_linear", 2.0)), 8),
        ((text("rope.scaling.type", "none"), number("rope.scaling.factor", 4.0)), 1),
        ((text("rope.scaling.type", "linear"),), 1),
        ((number("rope.scaling.factor", 0.0),), 1),
        ((text("rope.scaling.type", "yarn"),), 1),
    ],
)
def test_scaled_positions_in_every_spelling(folder, tmp_path, fields, scale):
    path = write_gguf(folder, tmp_path / "model.gguf", more=several(*fields))
    rotary = LlamaWeights(path).rotary_frequencies()
    plain = 10000.0 ** -(torch.arange(0, 16, 2) / 16)
    torch.testing.assert_close(rotary[0], plain / scale)
    assert rotary[1] == 1
    export_decoder(LlamaWeights(path), tmp_path)
    config = LlamaConfig(**SIZES, rope_parameters={"rope_type": "linear", "factor": scale, "rope_theta": 1e4})
    reference = LlamaForCausalLM(config)
    reference.load_state_dict(load_file(folder / "model.safetensors"))
    for model in (load_llm(path), exported(path)):
        assert (logits(model) - logits(reference)).abs().max() < 1e-4
    assert compare_decoder(LlamaWeights(path), tmp_path, "fp32").exact < 1e-5


@pytest.mark.parametrize("settings", [{}, {"yarn_beta_fast": 16.0, "yarn_beta_slow": 2.0}], ids=str)
def test_yarn_is_that_of_llama_cpp(folder, tmp_path, settings):
    """ggml's rope_yarn, written from its published formulas: corrected dimensions, a ramp, a magnitude."""
    fields = [number(f"rope.scaling.{name}", value) for name, value in settings.items()]
    fields += [*YARN, number("rope.scaling.original_context_length", 16)]
    path = write_gguf(folder, tmp_path / "model.gguf", more=several(*fields))
    fast, slow = settings.get("yarn_beta_fast", 32.0), settings.get("yarn_beta_slow", 1.0)
    edges = [16 * math.log(16 / (beta * 2 * math.pi)) / (2 * math.log(1e4)) for beta in (fast, slow)]
    low, high = max(0, math.floor(edges[0])), min(15, math.ceil(edges[1]))
    plain = 1e4 ** -(np.arange(0, 16, 2) / 16)
    ramp = 1 - np.clip((np.arange(8) - low) / max(0.001, high - low), 0, 1)
    wanted = plain / 4 * (1 - ramp) + plain * ramp
    found, magnitude = LlamaWeights(path).rotary_frequencies()
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5)
    assert magnitude == pytest.approx(1 + 0.1 * math.log(4))
    assert (logits(load_llm(path)) - logits(exported(path))).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("options", "skip"),
    [
        ({}, ()),
        ({}, ("head_count_kv",)),
        ({}, ("key_length", "value_length", "rope_dimension_count")),
        ({}, ("rope_freq_base", "vocab_size")),
        ({"num_key_value_heads": 1}, ()),
        ({"attention_bias": True}, ()),
        ({"attention_bias": True, "num_key_value_heads": 1}, ()),
        ({"mlp_bias": True}, ()),
        ({"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}, ("head_count_kv",)),
        ({"head_dim": 32}, ()),
    ],
    ids=str,
)
def test_training_and_export_read_the_same_model(tmp_path, options, skip):
    folder = save(tmp_path / "llm", **options)
    path = write_gguf(folder, tmp_path / "model.gguf", skip=skip)
    wanted = logits(LlamaForCausalLM.from_pretrained(folder))
    trained = load_llm(path)
    assert (logits(trained) - wanted).abs().max() < 1e-5
    assert (logits(exported(path)) - wanted).abs().max() < 1e-5
    trained.save_pretrained(tmp_path / "run")  # as the trainer keeps it
    assert torch.equal(logits(load_llm(tmp_path / "run")), logits(trained))


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (text("rope.scaling.type", "longrope"), "rope scaling 'longrope' of a GGUF file is not supported"),
        (number("attention.sliding_window", 16), "llama.attention.sliding_window = 16 is not supported"),
        (number("expert_count", 8), "llama.expert_count = 8 is not supported"),
        (number("attention.scale", 0.5), "llama.attention.scale = 0.5 is not supported"),
        (number("logit_scale", 2.0), "llama.logit_scale = 2.0 is not supported"),
        (number("attention.clamp_kqv", 8.0), "llama.attention.clamp_kqv = 8.0 is not supported"),
        (number("attention.causal", False), "llama.attention.causal = False is not supported"),
        (number("rope.scaling.attn_factor", 0.7), "llama.rope.scaling.attn_factor = .* is not supported"),
        (number("mystery", 3), "llama.mystery = 3 is not supported"),
        (text("tensor_data_layout", "other"), "llama.tensor_data_layout = 'other' is not supported"),
        (
            lambda w: w.add_array("llama.attention.sliding_window_pattern", [True, False]),
            "llama.attention.sliding_window_pattern differs from layer to layer",
        ),
        (
            lambda w: w.add_uint16("split.count", 3),
            "is part 1 of 3 of .*: llama-gguf-split --merge",
        ),
        (lambda w: w.add_type("adapter"), r"holds a 'adapter' \(general.type\), not a model"),
        (
            tensor("rope_factors_long.weight", *[1] * 8),
            "unexpected tensor rope_f",
        ),
        (
            tensor("rope_freqs.weight", *[0] * 8),
            "numbers that are not positive",
        ),
        (
            tensor("rope_freqs.weight", *[1] * 5),
            "rope_freqs.weight has 5 numbers",
        ),
        (
            tensor("blk.0.attn_q.bias", *[1] * 32),
            "missing tensor model.layers.0",
        ),
        (
            tensor("blk.0.attn_q_norm.weight", *[1] * 16),
            "unexpected tensor blk.0",
        ),
    ],
)
def test_what_is_refused_by_name(folder, tmp_path, field, message):
    path = write_gguf(folder, tmp_path / "model.gguf", more=field)
    for load, error in ((LlamaWeights, ExportError), (load_llm, CheckpointError)):
        with pytest.raises(error, match=message) as caught:
            load(path)
        assert "\n" not in str(caught.value) and "model.gguf" in str(caught.value)


@pytest.mark.parametrize(
    ("skip", "fields", "message"),
    [
        (
            "head_count",
            lambda w: w.add_head_count([2, 1]),
            "attention.head_count differs from layer to layer",
        ),
        ("head_count_kv", lambda w: w.add_head_count_kv([2, 1]), "head_count_kv differs from layer to layer"),
        ("feed_forward_length", lambda w: w.add_feed_forward_length([32, 16]), "feed_forward_length differs"),
        ("value_length", lambda w: w.add_value_length(8), "value_length is 8, other than a head of 16"),
        ("rope_dimension_count", lambda w: w.add_rope_dimension_count(8), "dimension_count is 8, other than"),
        ("vocab_size", lambda w: w.add_vocab_size(61), r"vocab_size is 61, not 60 \(token_embd.weight\)"),
        ("context_length", lambda w: None, "llama.context_length is missing"),
        ("layer_norm_rms_eps", lambda w: None, "layer_norm_rms_epsilon is missing"),
        ("head_count_kv", lambda w: w.add_head_count_kv(3), "no multiple of num_key_value_heads, 3"),
        ("rope_freq_base", lambda w: w.add_rope_freq_base(-1.0), "rope_theta is -1.0, not a number above 0"),
    ],
)
def test_sizes_that_no_llama_has(folder, tmp_path, skip, fields, message):
    path = write_gguf(folder, tmp_path / "model.gguf", skip=(skip,), more=fields)
    for load, error in ((LlamaWeights, ExportError), (load_llm, CheckpointError)):
        with pytest.raises(error, match=message):
            load(path)


def test_keys_that_change_nothing(folder, tmp_path):
    """Heads that are the same in every layer, neutral values, notes of other programs."""
    fields = several(
        lambda w: w.add_head_count_kv([2, 2]),
        number("expert_count", 0),
        number("attention.causal", True),
        number("rope.scaling.finetuned", True),
        text("tensor_data_layout", "Meta AI original pth"),
        lambda w: w.add_string("quantize.imatrix.file", "x.dat"),
        lambda w: w.add_string("general.quantized_by", "somebody"),
        lambda w: w.add_uint16("split.count", 1),
    )
    path = write_gguf(folder, tmp_path / "model.gguf", skip=("head_count_kv",), more=fields)
    wanted = logits(LlamaForCausalLM.from_pretrained(folder))
    assert (logits(load_llm(path)) - wanted).abs().max() < 1e-5
    assert (logits(exported(path)) - wanted).abs().max() < 1e-5


def sentencepiece(w, **flags):
    """The vocabulary of a SentencePiece BPE: bytes, letters, and merges that its scores imply."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = ["▁", "a", "b", "▁a", "ab", "▁ab"]
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list([*pieces, *words])
    w.add_token_scores([0.0] * len(pieces) + [-float(i) for i in range(len(words))])
    w.add_token_types([2, 3, 3, *[6] * 256, *[1] * len(words)])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    for name, value in flags.items():
        w.add_key_value(f"tokenizer.ggml.{name}", value, KINDS.BOOL)


@pytest.mark.parametrize("prefix", [None, True, False])
@pytest.mark.parametrize("bos", [None, True, False])
def test_flags_of_a_sentencepiece_tokenizer(tmp_path, prefix, bos):
    folder = save(tmp_path / "llm", vocab_size=265)
    flags = {"add_space_prefix": prefix, "add_bos_token": bos}
    flags = {name: value for name, value in flags.items() if value is not None}
    path = write_gguf(folder, tmp_path / "model.gguf", more=lambda w: sentencepiece(w, **flags))
    tokenizer = load_tokenizer(path)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode("ab", add_special_tokens=False))
    assert tokens == (["ab"] if prefix is False else ["▁ab"])
    assert tokenizer.encode("") == ([] if bos is False else [1])
    for words in ("ab", "a  b\n", *([" ab"] if prefix is False else [])):
        ids = tokenizer.encode(words, add_special_tokens=False)
        assert tokenizer.decode(ids) == words, words


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (lambda w: w.add_remove_extra_whitespaces(True), "remove_extra_whitespaces = True is not supported"),
        (lambda w: w.add_precompiled_charsmap(b"abc"), "precompiled_charsmap = .* is not supported"),
        (
            lambda w: w.add_string("tokenizer.ggml.mystery", "x"),
            "ggml.mystery = 'x' is not supported",
        ),
    ],
)
def test_tokenizers_that_are_refused(tmp_path, field, message):
    folder = save(tmp_path / "llm", vocab_size=265)
    path = write_gguf(folder, tmp_path / "model.gguf", more=several(sentencepiece, field))
    with pytest.raises(CheckpointError, match=message):
        load_tokenizer(path)


def byte_level(w, pre):
    letters = sorted(gguf_alphabet())
    w.add_tokenizer_model("gpt2")
    if pre is not None:
        w.add_tokenizer_pre(pre)
    w.add_token_list(["<pad>", *letters, "12", "123", "Ġ1", "he", "xyz"])
    w.add_token_types([3, *[1] * (len(letters) + 5)])
    w.add_token_merges(["Ġ 1", "1 2", "12 3", "h e"])


def gguf_alphabet():
    from tokenizers import pre_tokenizers

    return pre_tokenizers.ByteLevel.alphabet()


@pytest.mark.parametrize(
    ("pre", "tokens"),
    [
        ("gpt-2", ["he", "Ġ1", "2", "3", "4"]),
        ("smollm", ["he", "Ġ", "1", "2", "3", "4"]),
        ("starcoder", ["he", "Ġ", "1", "2", "3", "4"]),
        ("llama-bpe", ["he", "Ġ", "123", "4"]),
    ],
)
def test_how_text_is_split_before_merges(tmp_path, pre, tokens):
    folder = save(tmp_path / "llm", vocab_size=262)
    path = write_gguf(folder, tmp_path / "model.gguf", more=lambda w: byte_level(w, pre))
    tokenizer = load_tokenizer(path)
    ids = tokenizer.encode("he 1234", add_special_tokens=False)
    assert tokenizer.convert_ids_to_tokens(ids) == tokens and tokenizer.decode(ids) == "he 1234"
    whole = tokenizer.convert_ids_to_tokens(tokenizer.encode("xyz", add_special_tokens=False))
    assert whole == (["xyz"] if pre == "llama-bpe" else ["x", "y", "z"])


@pytest.mark.parametrize("pre", [None, "default", "tekken", "mystery"])
def test_unknown_splits_are_refused(tmp_path, pre):
    folder = save(tmp_path / "llm", vocab_size=262)
    path = write_gguf(folder, tmp_path / "model.gguf", more=lambda w: byte_level(w, pre))
    with pytest.raises(CheckpointError, match="tokenizer.ggml.pre is .*known are .*gpt-2"):
        load_tokenizer(path)
