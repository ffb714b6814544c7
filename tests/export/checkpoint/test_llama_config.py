"""config.json of a Llama: what transformers computes is exported to the number, or refused by name."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from g4v.export.checkpoint.llama import HEAD, LlamaWeights
from g4v.export.components.decoder_graph import export_decoder
from g4v.export.errors import ExportError
from g4v.export.verify.decoder import compare_decoder
from g4v.model.bases import CheckpointError, load_llm

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}
IDS = torch.arange(60)[None]


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SIZES, initializer_range=0.3)).save_pretrained(tmp_path / "llm")
    return tmp_path / "llm"


def configure(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **values}), "utf-8")


def logits(model):
    with torch.no_grad():
        return model.eval()(IDS).logits


def exported(folder):
    weights = LlamaWeights(folder)
    model = LlamaForCausalLM(weights.config)
    if weights.config.tie_word_embeddings:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    with torch.no_grad():
        for name, parameter in model.named_parameters(remove_duplicate=False):
            parameter.copy_(weights.read(name))
    return model


ROPES = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "linear, old spelling": {"type": "linear", "factor": 2},
    "dynamic": {"rope_type": "dynamic", "factor": 3.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "finetuned": True},
    "yarn, all settings": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 16,
        "attention_factor": 1.2,
        "beta_fast": 16,
        "beta_slow": 2,
        "truncate": False,
    },
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
}


@pytest.mark.parametrize("rope", ROPES.values(), ids=ROPES.keys())
@pytest.mark.parametrize("place", ["rope_scaling", "rope_parameters"])
def test_rotary_positions_are_those_of_transformers(folder, rope, place, tmp_path):
    plain = logits(load_llm(folder))
    values = {"rope_parameters": None, "rope_theta": 5000.0, place: rope}
    configure(folder, **values)
    wanted = logits(AutoModelForCausalLM.from_pretrained(folder))
    assert (plain - wanted).abs().max() > 1e-2  # the settings matter
    for model in (load_llm(folder), exported(folder)):
        assert (logits(model) - wanted).abs().max() < 1e-5
    if place == "rope_scaling":
        export_decoder(LlamaWeights(folder), tmp_path)
        assert compare_decoder(LlamaWeights(folder), tmp_path, "fp32").exact < 1e-5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2}}, "rope_type 'longrope' is not supported"),
        ({"rope_scaling": {"rope_type": "ntk", "factor": 2}}, "rope_type 'ntk' is not supported"),
        ({"rope_scaling": {"rope_type": ["linear"], "factor": 2}}, "rope_type .*linear.* is not supported"),
        ({"rope_scaling": {"type": "linear"}}, "rope_type 'linear' needs factor"),
        ({"rope_scaling": {"type": "linear", "factor": "2"}}, "factor is '2', not a number"),
        ({"rope_scaling": {"type": "linear", "factor": -2.0}}, "factor is -2.0, not a number above 0"),
        ({"rope_scaling": {"type": "linear", "factor": float("nan")}}, "factor is nan, not a number"),
        ({"rope_scaling": {"type": "linear", "rope_type": "yarn", "factor": 2}}, "rope_type is both"),
        ({"rope_scaling": {"type": "linear", "factor": 2, "beta_fast": 3}}, "beta_fast = 3 is not supported"),
        ({"rope_scaling": {"factor": 2.0}}, "a factor of 2.0 needs a rope_type"),
        ({"rope_scaling": "linear"}, "rope_scaling is 'linear', not an object"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8}}, "rope_type 'llama3' needs high_freq_factor"),
        ({"rope_scaling": {"rope_theta": 7.0}, "rope_theta": 8.0}, "rope_theta is both"),
        ({"rope_theta": 0}, "rope_theta is both|rope_theta is 0"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5 is not supported"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ({"hidden_size": "32"}, "hidden_size.*expected int"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, not a positive number"),
        ({"num_key_value_heads": 3}, "no multiple of num_key_value_heads, 3"),
        ({"head_dim": 15}, "head_dim is 15: rotary positions need an even number|even rotary dimension"),
        ({"rms_norm_eps": 0.0}, "rms_norm_eps is 0.0, not a number above 0"),
        ({"rms_norm_eps": float("inf")}, "rms_norm_eps is inf, not a number"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings.*expected bool"),
        ({"sliding_window": 16}, "sliding_window = 16 is not supported"),
        ({"layer_types": ["sliding_attention"] * 2}, "layer_types = .* is not supported"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "architectures is .* only LlamaForCausalLM"),
        ({"auto_map": {"AutoModelForCausalLM": "modeling.Mine"}}, "auto_map says .* code of its own"),
        ({"rope_interleaved": True}, "rope_interleaved = True is not supported"),
        ({"embedding_multiplier": 12.0}, "embedding_multiplier = 12.0 is not supported"),
        ({"use_qk_norm": True}, "use_qk_norm = True is not supported"),
        ({"mystery": "x"}, "mystery = 'x' is not supported; take it out of a copy if it changes nothing"),
    ],
    ids=str,
)
def test_what_no_graph_follows_is_refused_by_name(folder, values, message):
    configure(folder, **({"rope_parameters": None} if "rope_scaling" in values else {}), **values)
    for load, error in ((LlamaWeights, ExportError), (load_llm, CheckpointError)):
        with pytest.raises(error, match=message) as caught:
            load(folder)
        assert "\n" not in str(caught.value) and "config.json" in str(caught.value)


def test_keys_that_change_nothing(folder):
    wanted = logits(load_llm(folder))
    configure(
        folder,
        pretraining_tp=2,
        torch_dtype="float16",
        use_cache=False,
        top_p=0.9,
        sliding_window=64,
        mystery=None,
        rope_interleaved=False,
        partial_rotary_factor=1.0,
        hidden_act="swish",
        layer_types=["full_attention"] * 2,
        auto_map={"AutoTokenizer": [None, "tokenization.Mine"]},
    )
    assert torch.equal(logits(load_llm(folder)), wanted)
    assert (logits(exported(folder)) - wanted).abs().max() < 1e-6


def edit(folder, **tensors):
    file = folder / "model.safetensors"
    stored = {**load_file(file), **{name.replace("__", "."): tensor for name, tensor in tensors.items()}}
    save_file({name: tensor for name, tensor in stored.items() if tensor is not None}, file, {"format": "pt"})
    return stored


@pytest.mark.parametrize("case", ["other head", "same head", "head alone", "neither"])
def test_tied_tables(folder, case):
    """transformers ties what is stored once or twice the same, and not what differs."""
    configure(folder, tie_word_embeddings=True)
    stored = load_file(folder / "model.safetensors")
    table = stored["model.embed_tokens.weight"]
    if case == "same head":
        edit(folder, lm_head__weight=table.clone())
    elif case == "head alone":
        edit(folder, model__embed_tokens__weight=None)
    elif case == "neither":
        edit(folder, model__embed_tokens__weight=None, lm_head__weight=None)
        for load in (LlamaWeights, load_llm):
            with pytest.raises(
                (ExportError, CheckpointError), match="missing tensor lm_head.weight, 2 in all"
            ):
                load(folder)
        return
    reference = AutoModelForCausalLM.from_pretrained(folder)
    model = load_llm(folder)
    assert torch.equal(logits(model), logits(reference))
    tied = model.lm_head.weight is model.model.embed_tokens.weight
    assert tied == (case != "other head")
    assert (logits(exported(folder)) - logits(reference)).abs().max() < 1e-5
    model.save_pretrained(folder.parent / "again")  # as a run of the trainer keeps it
    assert torch.equal(logits(load_llm(folder.parent / "again")), logits(reference))
    assert LlamaWeights(folder).config.tie_word_embeddings == tied
    head = LlamaWeights(folder.parent / "again").read(f"{HEAD}.weight")
    assert torch.equal(head, reference.lm_head.weight)


def test_an_untied_model_without_a_head(folder):
    """The message says what to do, and that works."""
    edit(folder, lm_head__weight=None)
    with pytest.raises(CheckpointError, match="missing tensor lm_head.weight, .*tie_word_embeddings must be"):
        load_llm(folder)
    configure(folder, tie_word_embeddings=True)
    assert torch.isfinite(logits(load_llm(folder))).all()


def test_generation_settings_come_along(folder):
    (folder / "generation_config.json").write_text('{"eos_token_id": [5, 7]}')
    assert load_llm(folder).generation_config.eos_token_id == [5, 7]
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="generation_config.json"):
        load_llm(folder)
