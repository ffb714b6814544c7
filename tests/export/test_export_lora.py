"""The laws of merging a LoRA adapter."""

import json

import pytest
import torch
from g4v.export.errors import ExportError
from g4v.export.lora import merge_lora
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

CONFIG = LlamaConfig(
    vocab_size=30,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=24,
)


def base():
    torch.manual_seed(1)
    return LlamaForCausalLM(CONFIG).eval()


def adapter(folder, **options):
    """Saves a random adapter of `base()`; returns the logits that PEFT computes with it for fixed ids."""
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    model = get_peft_model(base(), LoraConfig(**{**settings, **options})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    return logits(model)


def logits(model):
    with torch.no_grad():
        return model(torch.arange(10)[None]).logits


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"]},
        {"rank_pattern": {"layers.1.self_attn.q_proj": 2}, "alpha_pattern": {"v_proj": 20}},
    ],
    ids=["plain", "rslora", "more-modules", "patterns"],
)
def test_merged_model_equals_peft(tmp_path, options):
    expected = adapter(tmp_path, **options)
    model = base()
    before = logits(model)
    merge_lora(model, tmp_path)
    assert (logits(model) - expected).abs().max() < 1e-5
    assert (before - expected).abs().max() > 1e-2  # the adapter matters


def test_delta_is_scaling_times_product(tmp_path):
    adapter(tmp_path)
    model = base()
    assert merge_lora(model, tmp_path) == 4  # q and v of two layers
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    name = "model.layers.1.self_attn.v_proj"
    a, b = (tensors[f"base_model.model.{name}.lora_{x}.weight"].double() for x in "AB")
    wanted = base().get_submodule(name).weight.double() + 6 / 4 * (b @ a)
    assert torch.equal(model.get_submodule(name).weight, wanted.float())
    assert torch.equal(model.model.layers[0].mlp.up_proj.weight, base().model.layers[0].mlp.up_proj.weight)


def test_merging_an_adapter_of_zeros_changes_nothing(tmp_path):
    get_peft_model(base(), LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path)
    model = base()
    merge_lora(model, tmp_path)
    assert torch.equal(logits(model), logits(base()))


def edit_config(folder, **values):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def edit_tensors(folder, change):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


KEY = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def rename(tensors, new):
    tensors[new] = tensors.pop(KEY)


def move_layer(tensors):
    for key in (KEY, KEY.replace("lora_A", "lora_B")):
        tensors[key.replace("layers.0", "layers.7")] = tensors.pop(key)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: edit_config(f, peft_type="IA3"), "only 'LORA'"),
        (lambda f: edit_config(f, use_dora=True), "use_dora"),
        (lambda f: edit_config(f, r=8), "do not fit rank 8"),
        (lambda f: edit_tensors(f, lambda t: t.pop(KEY)), "only one of its two"),
        (lambda f: edit_tensors(f, move_layer), "layers.7.self_attn.q_proj, which .* does not have"),
        (lambda f: edit_tensors(f, lambda t: rename(t, "stranger")), "unexpected tensor 'stranger'"),
        (lambda f: edit_tensors(f, lambda t: t.update({KEY: torch.ones(4, 15)})), "another model"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"junk"), "cannot be read"),
        (lambda f: (f / "adapter_config.json").write_text("{"), "cannot be read"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_and_changes_nothing(tmp_path, spoil, message):
    adapter(tmp_path)
    spoil(tmp_path)
    model = base()
    with pytest.raises(ExportError, match=message):
        merge_lora(model, tmp_path)
    assert torch.equal(logits(model), logits(base()))
