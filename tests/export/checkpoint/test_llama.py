"""A Llama that is read tensor by tensor: what it reads, what it refuses, and how much memory it takes."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.components.decoder_graph import export_decoder
from g4v.export.errors import ExportError
from g4v.export.verify.decoder import compare_decoder
from g4v.model.bases import CheckpointError, load_llm
from gguf_files import write_gguf

SIZES = {
    "vocab_size": 280,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def save(folder, seed=0, **options):
    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(**{**SIZES, **options})).save_pretrained(folder, max_shard_size="40KB")
    return folder


@pytest.mark.parametrize(
    "options", [{}, {"tie_word_embeddings": True}, {"attention_bias": True, "mlp_bias": True}], ids=str
)
def test_every_tensor_is_that_of_transformers(tmp_path, options):
    folder = save(tmp_path / "llm", **options)
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    weights, wanted = LlamaWeights(folder), load_llm(folder).state_dict()
    assert set(weights.shapes) == set(wanted)
    for name, tensor in wanted.items():
        read = weights.read(name)
        assert read.dtype == torch.float32 and torch.equal(read, tensor), name
    layer = weights.layer(1)
    assert torch.equal(layer["mlp.down_proj.weight"], wanted["model.layers.1.mlp.down_proj.weight"])
    assert len(layer) == sum(name.startswith("model.layers.1.") for name in wanted)


def edit(folder, change):
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)


def configure(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **values}), "utf-8")


NORM = "model.norm.weight"


def put(tensors, name, tensor):
    if name in tensors:
        tensors[name] = tensor


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: edit(f, lambda t: t.pop(NORM, None)), "missing tensor model.norm.weight, 1 in all"),
        (lambda f: edit(f, lambda t: put(t, NORM, torch.ones(31))), r"misshapen .* \(\[31\], not \[32\]\)"),
        (lambda f: edit(f, lambda t: put(t, NORM, torch.ones(32).long())), "stored as int64"),
        (lambda f: edit(f, lambda t: put(t, NORM, torch.full((32,), torch.nan))), "numbers .* not finite"),
        (lambda f: edit(f, lambda t: t.update(stranger=torch.ones(1)) if NORM in t else None), "stranger"),
        (lambda f: configure(f, quantization_config={"quant_method": "gptq"}), "stored as gptq"),
        (lambda f: configure(f, model_type="mistral"), "'mistral' model, only LlamaForCausalLM"),
        (lambda f: (f / "config.json").unlink(), "config.json: no such file"),
        (lambda f: next(f.glob("model-*")).unlink(), "no such file, but the index names it"),
    ],
)
def test_what_is_refused(tmp_path, spoil, message):
    folder = save(tmp_path / "llm")
    spoil(folder)
    with pytest.raises(ExportError, match=message):
        LlamaWeights(folder).read(NORM)


def test_rotary_factors_of_a_gguf_file(tmp_path):
    """llama.cpp's converter stores what Llama 3 does to its frequencies as factors."""
    folder = save(tmp_path / "llm", rope_parameters=LLAMA3)
    wanted = LlamaWeights(folder).rotary_frequencies()[0]
    plain = 10000.0 ** -(torch.arange(0, 16, 2) / 16)
    assert not torch.allclose(wanted, plain)
    path = write_gguf(folder, tmp_path / "model.gguf", rope_factors=(plain / wanted).numpy())
    weights = LlamaWeights(path)
    torch.testing.assert_close(weights.rotary_frequencies()[0], wanted)
    export_decoder(weights, tmp_path)
    assert compare_decoder(LlamaWeights(folder), tmp_path, "fp32").exact < 1e-5
    ids = torch.arange(40)[None]
    torch.testing.assert_close(load_llm(path)(ids).logits, load_llm(folder)(ids).logits, atol=1e-5, rtol=0)


def test_rotary_factors_that_no_configuration_can_say(tmp_path):
    """The export divides by them; a run of the trainer is a folder, whose config.json could not keep them."""
    folder = save(tmp_path / "llm")
    factors = torch.linspace(1, 3, 8)
    path = write_gguf(folder, tmp_path / "model.gguf", rope_factors=factors.numpy())
    plain = LlamaWeights(folder).rotary_frequencies()[0]
    torch.testing.assert_close(LlamaWeights(path).rotary_frequencies()[0], plain / factors)
    with pytest.raises(CheckpointError, match="rotary factors .* that no configuration"):
        load_llm(path)


_MEASURE = """
import resource, sys
from pathlib import Path
from g4v.export.components.decoder_graph import export_decoder, write_embedding
from g4v.export.verify.decoder import compare_decoder
from g4v.export.checkpoint.llama import LlamaWeights
import onnxruntime, torch
torch.set_num_threads(1)
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
folder = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
weights = LlamaWeights(folder / "llm")
export_decoder(weights, folder, "int4")
write_embedding(weights, folder / "embedding.bin")
print(compare_decoder(weights, folder, "int4").exact)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["safetensors", "pickle"])
def test_memory_is_that_of_a_layer(tmp_path, layout):
    """24 layers of 8 MB in float32: the export may take a few of them, not the 185 MB of the model."""
    sizes = {"hidden_size": 384, "intermediate_size": 1152, "num_hidden_layers": 24, "head_dim": 64}
    save(tmp_path / "llm", **sizes, num_attention_heads=6, num_key_value_heads=6)
    total = sum(file.stat().st_size for file in (tmp_path / "llm").glob("*.safetensors"))
    assert total > 180e6
    if layout == "pickle":  # one file, which is mapped
        files = list((tmp_path / "llm").glob("*.safetensors"))
        tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
        torch.save(tensors, tmp_path / "llm" / "pytorch_model.bin")
        for file in (*files, tmp_path / "llm" / "model.safetensors.index.json"):
            file.unlink()
    words = [sys.executable, "-c", _MEASURE, str(tmp_path)]
    error, grown = map(
        float, subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    )
    assert error < 1e-4 and grown < 0.5 * total
