"""Small random checkpoints in the layouts of mPLUG-Owl and of the authors' delta files."""

import json
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from g4v.model.abstractor import VideoAbstractor
from g4v.model.config import AbstractorConfig, VideoTowerConfig
from g4v.model.vision import MplugOwlVideoTower

TOWER = VideoTowerConfig(
    hidden_size=24, num_layers=2, num_heads=3, intermediate_size=40, image_size=24, patch_size=8
)
ABSTRACTOR = AbstractorConfig(
    hidden_size=24,
    num_layers=2,
    num_heads=3,
    intermediate_size=256,  # what the video code makes of 40
    num_queries=5,
    num_temporal_queries=5,
    memory_size=24,
    output_size=32,
)
LLAMA = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
CONFIG = {
    "model_type": "mplug-owl",
    "num_query_tokens": 5,
    "vision_config": {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 40,
        "image_size": 24,
        "patch_size": 8,
    },
    "visual_abstractor_config": {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 40,
        "encoder_hidden_size": 24,
    },
    "text_config": {"model_type": "llama", **LLAMA},
}


class Owl:
    """The three modules, float64 for the visual ones, and their tensors under the public names."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.tower = MplugOwlVideoTower(TOWER).eval()
        self.abstractor = VideoAbstractor(ABSTRACTOR).eval()
        self.llm = LlamaForCausalLM(LlamaConfig(**LLAMA)).eval()
        with torch.no_grad():
            for module in (self.tower, self.abstractor):
                for parameter in module.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.1)

    def public(self) -> dict[str, torch.Tensor]:
        tensors = {f"vision_model.{n}": t for n, t in self.tower.state_dict().items()}
        for name, tensor in self.abstractor.state_dict().items():
            top = name in ("query_tokens", "temporal_query_tokens")
            tensors[name if top else f"abstractor.{name}"] = tensor
        tensors.update({f"language_model.{n}": t for n, t in self.llm.state_dict().items()})
        # Older releases of transformers stored this buffer.
        tensors["language_model.model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
        return {name: tensor.clone() for name, tensor in tensors.items()}


def is_video_only(name: str) -> bool:
    return "temporal" in name


def write_checkpoint(folder: Path, tensors: dict[str, torch.Tensor], shards: int = 3) -> Path:
    """Pickled shards with their index, config.json, and a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(tensors)
    where = {}
    for i in range(shards):
        file = f"pytorch_model-{i + 1:05d}-of-{shards:05d}.bin"
        chosen = names[i::shards]
        torch.save({name: tensors[name] for name in chosen}, folder / file)
        where.update(dict.fromkeys(chosen, file))
    index = {"metadata": {}, "weight_map": where}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocab[letter] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    fast.save_pretrained(folder)


def lora_tensors(rank: int = 3) -> dict[str, torch.Tensor]:
    """What the authors' code trains in stage 2, under the names that it saves."""
    torch.manual_seed(5)
    tensors = {}
    for layer in range(2):
        for module in ("q_proj", "v_proj"):
            stem = f"model.base_model.model.language_model.model.layers.{layer}.self_attn.{module}"
            tensors[f"{stem}.lora_A.default.weight"] = torch.randn(rank, 32)
            tensors[f"{stem}.lora_B.default.weight"] = torch.randn(32, rank)
    return tensors
