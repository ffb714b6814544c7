"""Checkpoints with random weights in the very layouts in which the public models are published."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from string import ascii_letters
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from g4v.model.abstractor import VideoAbstractor
from g4v.model.config import AbstractorConfig, VideoTowerConfig
from g4v.model.vision import MplugOwlVideoTower

OWL = "MAGAer13/mplug-owl-llama-7b-video"
ZEROSCOPE = "cerspense/zeroscope_v2_576w"

TOWER = VideoTowerConfig(
    hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, image_size=32, patch_size=8
)
# 256 of mlp.w1 is what the public video code makes of an intermediate_size of 128.
ABSTRACTOR = AbstractorConfig(
    hidden_size=32,
    num_layers=2,
    num_heads=2,
    intermediate_size=256,
    num_queries=5,
    num_temporal_queries=5,
    memory_size=32,
    output_size=64,
)
# Of MAGAer13/mplug-owl-llama-7b-video itself.
FULL_TOWER = VideoTowerConfig()
FULL_ABSTRACTOR = AbstractorConfig(output_size=4096)
FULL_LLAMA = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 2048,
}
LLAMA = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
}


def train_tokenizer(size: int = 400) -> bytes:
    """The tokenizer.model of a small LLaMA: BPE with byte fallback, as sentencepiece writes it."""
    import sentencepiece

    words = "a the of red blue circle moves left Human: AI: video question answer <video> </video>".split()
    draw = random.Random(3)
    texts = [
        " ".join([*draw.choices(words, k=8), "".join(draw.choices(ascii_letters, k=9))]) for _ in range(999)
    ]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=size,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def write_owl(
    folder: Path,
    tokenizer_model: bytes,
    tower: VideoTowerConfig = TOWER,
    abstractor: AbstractorConfig = ABSTRACTOR,
    llama: dict[str, Any] = LLAMA,
    stated_width: int = 128,
    dtype: torch.dtype = torch.float32,
    hollow: bool = False,
    vocabulary: int | None = None,
) -> Path:
    """MAGAer13/mplug-owl-llama-7b-video: two pickled shards, MplugOwlConfig, and LLaMA's tokenizer.model.

    stated_width: intermediate_size of the abstractor as its config.json has it. hollow: every tensor is zeros
    and one number on disk, for what looks at shapes alone. vocabulary: rows of the embedding, as many as the
    tokenizer has tokens by default.
    """
    import sentencepiece

    folder.mkdir(parents=True)
    size = vocabulary or sentencepiece.SentencePieceProcessor(model_proto=tokenizer_model).vocab_size()
    config = LlamaConfig(vocab_size=size, bos_token_id=1, eos_token_id=2, pad_token_id=0, **llama)
    tensors = {}
    with torch.device("meta" if hollow else "cpu"):
        modules = {
            "vision_model.": MplugOwlVideoTower(tower),
            "abstractor.": VideoAbstractor(abstractor),
            "language_model.": LlamaForCausalLM(config),
        }
    for prefix, module in modules.items():
        for name, tensor in module.state_dict().items():
            public = name if name.endswith("query_tokens") else prefix + name
            if hollow:
                tensors[public] = torch.zeros((), dtype=dtype).expand(tensor.shape)
                continue
            noise = torch.randn_like(tensor) * 0.05 if prefix != "language_model." else 0
            tensors[public] = (tensor + noise).to(dtype)
    names = list(tensors)
    where = {}
    for number, chosen in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
        file = f"pytorch_model-{number:05d}-of-00002.bin"
        torch.save({name: tensors[name] for name in chosen}, folder / file)
        where |= dict.fromkeys(chosen, file)
    _write(folder / "pytorch_model.bin.index.json", {"metadata": {"total_size": 0}, "weight_map": where})
    text = {key: value for key, value in config.to_dict().items() if key != "architectures"}
    about = {
        "architectures": ["MplugOwlForConditionalGeneration"],
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "is_composition": True,
        "model_type": "mplug-owl",
        "num_query_tokens": abstractor.num_queries,
        "text_config": text,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.28.1",
        "use_decoder_only_language_model": True,
        "vision_config": {
            "hidden_size": tower.hidden_size,
            "num_hidden_layers": tower.num_layers,
            "num_attention_heads": tower.num_heads,
            "intermediate_size": tower.intermediate_size,
            "image_size": tower.image_size,
            "patch_size": tower.patch_size,
            "layer_norm_eps": 1e-6,
            "hidden_act": "quick_gelu",
            "num_channels": 3,
            "projection_dim": 768,
            "use_flash_attn": False,
            "model_type": "mplug_owl_vision_model",
        },
        "visual_abstractor_config": {
            "hidden_size": abstractor.hidden_size,
            "num_hidden_layers": abstractor.num_layers,
            "num_attention_heads": abstractor.num_heads,
            "intermediate_size": stated_width,
            "encoder_hidden_size": abstractor.memory_size,
            "layer_norm_eps": 1e-6,
            "attention_probs_dropout_prob": 0.1,
            "model_type": "mplug_owl_visual_abstract",
        },
    }
    _write(folder / "config.json", about)
    pixels = {
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    _write(folder / "preprocessor_config.json", {**pixels, "size": tower.image_size, "do_normalize": True})
    (folder / "tokenizer.model").write_bytes(tokenizer_model)
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    _write(folder / "special_tokens_map.json", special)
    _write(
        folder / "tokenizer_config.json",
        {**special, "tokenizer_class": "LlamaTokenizer", "add_bos_token": True},
    )
    return folder


def write_zeroscope(folder: Path, t2v: Path) -> Path:
    """cerspense/zeroscope_v2_576w: pickles alone, and CLIP's tokenizer as vocab.json and merges.txt.

    t2v: a text-to-video folder of `write_random_checkpoint`, whose networks are taken.
    """
    stems = dict.fromkeys(("unet", "vae"), "diffusion_pytorch_model") | {"text_encoder": "pytorch_model"}
    for part, stem in stems.items():
        (folder / part).mkdir(parents=True)
        (source,) = (t2v / part).glob("*.safetensors")
        tensors, about = load_file(source), json.loads((t2v / part / "config.json").read_text("utf-8"))
        if part == "text_encoder":
            size = _write_clip_tokenizer(folder / "tokenizer")
            (name,) = (name for name in tensors if name.endswith("token_embedding.weight"))
            tensors[name] = torch.randn(size, about["hidden_size"]).to(tensors[name].dtype) * 0.1
            about |= {"vocab_size": size, "bos_token_id": size - 2, "eos_token_id": size - 1}
        torch.save(tensors, folder / part / f"{stem}.bin")
        _write(folder / part / "config.json", about)
    (folder / "scheduler").mkdir()
    scheduler = {
        "_class_name": "DDIMScheduler",
        "_diffusers_version": "0.15.0.dev0",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
    }
    _write(folder / "scheduler" / "scheduler_config.json", scheduler)
    index = {
        "_class_name": "TextToVideoSDPipeline",
        "_diffusers_version": "0.15.0.dev0",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet3DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    _write(folder / "model_index.json", index)
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# model\n", "utf-8")
    return folder


def _write_clip_tokenizer(folder: Path) -> int:
    """CLIP's byte-level vocabulary of 512 letters, some merges and two special tokens; returns its size."""
    from tokenizers.pre_tokenizers import ByteLevel

    folder.mkdir()
    letters = sorted(ByteLevel.alphabet())
    merges = ["r e", "re d</w>", "c i", "b l", "u e</w>", "bl ue</w>"]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *(pair.replace(" ", "") for pair in merges)]
    words.remove("!")
    words = ["!", *words, "<|startoftext|>", "<|endoftext|>"]
    _write(folder / "vocab.json", {word: number for number, word in enumerate(words)})
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", "utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    _write(folder / "special_tokens_map.json", {**special, "pad_token": "!"})
    about = {**special, "pad_token": "!", "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
    _write(folder / "tokenizer_config.json", about)
    return len(words)


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2), "utf-8")
