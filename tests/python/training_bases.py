"""Small random bases, clips and data files for the trainer's tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from g4v.model.config import VideoTowerConfig
from g4v.model.vision import MplugOwlVideoTower

from .base_checkpoints import write_tokenizer
from .video_samples import write_video

TOWER = VideoTowerConfig(
    hidden_size=32, num_layers=1, num_heads=2, intermediate_size=32, image_size=16, patch_size=8
)
LLAMA = LlamaConfig(
    vocab_size=300,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    max_position_embeddings=512,
    bos_token_id=1,
    eos_token_id=2,
)
ROWS = 7


def write_base(folder: Path, seed: int = 0) -> Path:
    """encoder/ and llm/ of random weights, and a short prompt."""
    torch.manual_seed(seed)
    MplugOwlVideoTower(TOWER).save_pretrained(folder / "encoder")
    LlamaForCausalLM(LLAMA).save_pretrained(folder / "llm")
    write_tokenizer(folder / "llm")
    prompt = {"turn_end_id": 2, "bos_id": 1, "system": "S"}
    (folder / "g4v_train.json").write_text(json.dumps({"prompt": prompt}))
    return folder


def write_data(folder: Path, rows: int = ROWS) -> Path:
    """VideoChat rows, each with its own clip of moving gray."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for row in range(rows):
        levels = [20 + 25 * row + 3 * k for k in range(10)]
        frames = [np.full((16, 16, 3), level, np.uint8) for level in levels]
        write_video(folder / f"{row}.mp4", frames)
        # Answers of different lengths: a mean over rows is then not a mean over tokens.
        pairs = [{"q": f"Q{row}", "a": "ab" * (row + 1)}]
        made.append({"video": f"{row}.mp4", "QA": pairs})
    path = folder / "data.json"
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in made) + "\n]\n")
    return path


def options(base: Path, data: Path, out: Path, /, **changes: object) -> list[str]:
    """The command line of a run of a second or two."""
    values = {
        "base": base,
        "data": data,
        "out": out,
        "max_epochs": 2,
        "batch_size": 2,
        "learning_rate": 0.01,
        "num_workers": 0,
        "accelerator": "cpu",
        "devices": 1,
        "max_length": 128,
        "log_every": 1,
        "lora_r": 2,
    }
    words = ["--no-progress"]
    for name, value in (values | changes).items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif value is not None:
            words += [f"--{name}", str(value)]
    return words


def overridden(words: list[str], *more: object) -> list[str]:
    """Returns `words` with `more` in place of the options that both have, each of which has one value."""
    new = [str(word) for word in more]
    options = {word.replace("-", "_") for word in new if word.startswith("--")}
    found = {i for i, word in enumerate(words) if word.replace("-", "_") in options}
    return [word for i, word in enumerate(words) if not {i, i - 1} & found] + new


def config_file(folder: Path, **values: object) -> Path:
    import yaml

    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({"sizes": "tiny", **values}))
    return path
