"""Adapters that were trained on another vocabulary than the base model's, and tables of their own."""

from __future__ import annotations

import copy
import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.adapter import Adapter
from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.decoder_graph import export_decoder, write_embedding
from g4v.export.errors import ExportError
from g4v.export.verify.decoder import compare_decoder

IDS = torch.arange(30)[None]
pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's advice on tied weights and embeddings


def base(folder=None, tied=False, rows=30):
    torch.manual_seed(1)
    sizes = {"vocab_size": 30, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(**sizes, intermediate_size=24, max_position_embeddings=64, tie_word_embeddings=tied)
    model = LlamaForCausalLM(config).eval()
    if folder is not None:
        model.save_pretrained(folder)
    if rows != 30:
        model.resize_token_embeddings(rows, mean_resizing=False)
    return model


@torch.no_grad()
def logits(model, ids=IDS):
    return model.eval()(ids).logits


def adapter(folder, model, seed=0, **options):
    """Saves a random adapter; returns what PEFT computes with it."""
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    model = get_peft_model(model, LoraConfig(**copy.deepcopy({**settings, **options})))  # PEFT changes them
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    return model


def exported(weights):
    """The model that the exporter writes, with a head of its own."""
    model = LlamaForCausalLM(
        type(weights.config)(**{**weights.config.to_dict(), "tie_word_embeddings": False})
    )
    model.load_state_dict({name: weights.read(name) for name in weights.shapes})
    return model


BOTH = {"modules_to_save": ["embed_tokens", "lm_head"]}


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("rows", [33, 64, 28])
@pytest.mark.parametrize(
    "options",
    [
        BOTH,
        {**BOTH, "use_dora": True},
        {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
        {**BOTH, "ensure_weight_tying": True},
    ],
    ids=str,
)
def test_another_vocabulary_gives_the_logits_of_peft(tmp_path, options, rows, tied):
    base(tmp_path / "llm", tied)
    ids = torch.arange(rows)[None]
    wanted = logits(adapter(tmp_path / "lora", base(tied=tied, rows=rows), **options), ids)
    weights = LlamaWeights(tmp_path / "llm", [Adapter(tmp_path / "lora")])
    assert weights.config.vocab_size == rows
    assert wanted.shape[-1] == rows and (logits(exported(weights), ids) - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("options", [BOTH, {}, {"modules_to_save": ["embed_tokens"]}], ids=str)
def test_tables_that_peft_saves_unasked(tmp_path, options, tied):
    """Where the base model can be found, PEFT compares vocabularies and stores the tables beside."""
    base(tmp_path / "llm", tied)
    model = LlamaForCausalLM.from_pretrained(tmp_path / "llm")
    model.resize_token_embeddings(33, mean_resizing=False)
    model = adapter(tmp_path / "lora", model, **options)
    assert len(load_file(tmp_path / "lora" / "adapter_model.safetensors")) > 4
    weights = LlamaWeights(tmp_path / "llm", [Adapter(tmp_path / "lora")])
    assert (logits(exported(weights)) - logits(model)).abs().max() < 1e-5


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_tied_tables_grow_together(tmp_path, target):
    base(tmp_path / "llm", tied=True)
    model = adapter(tmp_path / "lora", base(tied=True, rows=33), target_modules=[target])
    weights = LlamaWeights(tmp_path / "llm", [Adapter(tmp_path / "lora")])
    assert (logits(exported(weights)) - logits(model)).abs().max() < 1e-5


def test_the_graph_of_a_larger_vocabulary(tmp_path):
    base(tmp_path / "llm")
    adapter(tmp_path / "lora", base(rows=37), **BOTH)
    weights = LlamaWeights(tmp_path / "llm", [Adapter(tmp_path / "lora")])
    export_decoder(weights, tmp_path)
    write_embedding(weights, tmp_path / "embedding.bin")
    assert (tmp_path / "embedding.bin").stat().st_size == 37 * 32 * 4
    assert compare_decoder(weights, tmp_path, "fp32").exact < 1e-5


def test_another_adapter_may_stand_beside(tmp_path):
    """One brings factors and the tables below them, the other changes the layers alone."""
    base(tmp_path / "llm")
    adapter(tmp_path / "a", base(rows=33), target_modules=["q_proj", "embed_tokens", "lm_head"])
    adapter(tmp_path / "b", base(rows=33), seed=1, target_modules=["q_proj", "up_proj"])
    peft = PeftModel.from_pretrained(base(rows=33), tmp_path / "a", adapter_name="a")
    peft.load_adapter(tmp_path / "b", "b")
    peft.base_model.set_adapter(["a", "b"])
    weights = LlamaWeights(tmp_path / "llm", [Adapter(tmp_path / "b"), Adapter(tmp_path / "a")])
    assert (logits(exported(weights)) - logits(peft)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("tied", "options"),
    [
        (False, {"modules_to_save": ["embed_tokens"]}),
        (False, {"modules_to_save": ["lm_head"]}),
        (True, {"modules_to_save": ["embed_tokens"]}),
        (False, {"target_modules": ["q_proj", "embed_tokens"]}),
    ],
    ids=str,
)
def test_half_of_a_vocabulary_is_refused_with_advice_that_works(tmp_path, tied, options):
    base(tmp_path / "llm", tied)
    adapter(tmp_path / "lora", base(tied=tied, rows=33), **options)
    with pytest.raises(
        ExportError, match="33 rows of .*must hold both: train it with modules_to_save"
    ) as found:
        LlamaWeights(tmp_path / "llm", [Adapter(tmp_path / "lora")])
    assert "30 rows" in str(found.value) and "\n" not in str(found.value)


def test_two_vocabularies_are_refused(tmp_path):
    base(tmp_path / "llm")
    for name, rows in (("a", 33), ("b", 34)):
        adapter(tmp_path / name, base(rows=rows), target_modules=["embed_tokens", "lm_head"])
    with pytest.raises(ExportError, match="b: has 34 tokens, and .*a has 33"):
        LlamaWeights(tmp_path / "llm", [Adapter(tmp_path / "a"), Adapter(tmp_path / "b")])


def test_adapters_in_pickles(tmp_path):
    base(tmp_path / "llm")
    model = adapter(tmp_path / "lora", base(), **BOTH)
    file = tmp_path / "lora" / "adapter_model.safetensors"
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()
    weights = LlamaWeights(tmp_path / "llm", [Adapter(tmp_path / "lora")])
    assert weights.tokenizer_place == tmp_path / "llm"
    assert (logits(exported(weights)) - logits(model)).abs().max() < 1e-5
    file.with_suffix(".bin").unlink()
    with pytest.raises(ExportError, match="lora: no adapter_model.safetensors, adapter_model.bin"):
        LlamaWeights(tmp_path / "llm", [Adapter(tmp_path / "lora")])


def test_the_adapters_tokenizer_goes_into_the_bundle(run, tmp_path):
    """Three tokens more: they are in the tokenizer of the bundle."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(copy / "llm")
    tokenizer.add_tokens(["<one>", "<two>", "<three>"])
    model = LlamaForCausalLM.from_pretrained(copy / "llm", dtype=torch.float32)
    own = model.config.vocab_size
    model.resize_token_embeddings(own + 3, mean_resizing=False)
    adapter(copy / "adapter", model, **BOTH)
    with pytest.raises(ExportError, match=f"{own + 3} tokens, the model {own}, but no tokenizer"):
        Checkpoint.open(copy).tokenizer("decoder")
    tokenizer.save_pretrained(copy / "adapter")  # as the message says
    export_bundle(copy, tmp_path / "bundle", only={"decoder"})
    manifest = json.loads((tmp_path / "bundle" / "g4v.json").read_text("utf-8"))
    assert manifest["components"]["decoder"]["vocab_size"] == own + 3
    written = (tmp_path / "bundle" / "tokenizer.json").read_text("utf-8")
    assert all(f'"{token}"' in written for token in ("<one>", "<two>", "<three>"))
