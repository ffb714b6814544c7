"""The cache of latents: clean clips as the autoencoder sees them, from which the UNet learns."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from g4v._files import atomic, write_text
from g4v.shapes.world.render import render
from g4v.shapes.world.world import caption, sample_scene

_SHARD = 512  # clips in one file
_TWO_OBJECTS = 0.7  # share of the clips that show two objects, which are the harder ones


def _fingerprint(model: Any) -> str:
    """SHA-256 of a model's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _fingerprint_of_renderer() -> str:
    """SHA-256 of some clean clips."""
    digest = hashlib.sha256()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        digest.update(render(sample_scene(rng, "train"), rng, clean=True).tobytes())
    return digest.hexdigest()


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def encode_latents(vae: Any, folder: Path, clips: int, seed: int) -> None:
    """Renders clean clips and keeps their latents: `folder`/NNNN.safetensors with `latents` float16
    [512, C, 8, h, w] and a .json with the captions. Shards of the same autoencoder and renderer are kept, so
    a stopped run goes on.
    """
    origin = {"vae": _fingerprint(vae), "renderer": _fingerprint_of_renderer()}
    for shard in range(-(-clips // _SHARD)):
        target = folder / f"{shard:04d}.safetensors"
        if target.exists() and _metadata(target) == origin:
            continue
        rng = np.random.default_rng([seed, shard])
        latents, texts = [], []
        for _ in range(_SHARD):
            scene = sample_scene(rng, "train", background=None)
            frames = torch.from_numpy(render(scene, rng, clean=True)).permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.no_grad():
                latents.append(vae.encode(frames).latent_dist.mean.transpose(0, 1))
            texts.append(caption(scene))
        write_text(folder / f"{shard:04d}.json", json.dumps(texts))
        with atomic(target) as temporary:
            save_file({"latents": torch.stack(latents).half().contiguous()}, temporary, metadata=origin)


class CachedLatents:
    """The latents of a cache; new shards are picked up while a run goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards: list[Tensor] = []
        self.texts: list[list[str]] = []
        self.places: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])  # of one object, of two

    def refresh(self) -> None:
        """Reads shards that were written since the last call."""
        for path in sorted(self.folder.glob("*.safetensors"))[len(self.shards) :]:
            self.shards.append(load_file(path)["latents"])
            self.texts.append(json.loads(path.with_suffix(".json").read_text("utf-8")))
            for row, text in enumerate(self.texts[-1]):
                self.places[" and " in text].append((len(self.shards) - 1, row))

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tensor, list[str]]:
        """Latents float32 [count, C, 8, h, w] and their captions."""
        one, two = self.places
        pools = [(two or one) if rng.random() < _TWO_OBJECTS else (one or two) for _ in range(count)]
        places = [pool[int(rng.integers(len(pool)))] for pool in pools]
        clips = torch.stack([self.shards[shard][row] for shard, row in places])
        return clips.float(), [self.texts[shard][row] for shard, row in places]
