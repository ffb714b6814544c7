"""The cache of encoder features: the encoder is frozen, so each clip is encoded only once.

    CACHE/FINGERPRINT/shard-RANK-00000.safetensors    key of a clip -> float16 [T, N, d]

FINGERPRINT follows from the encoder's weights, the number of frames and the normalisation of pixels: features
of another encoder are never read. A shard is written whole or not at all, so a stopped run goes on with the
clips that are missing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from g4v._files import atomic, one_line
from g4v._memory import check_memory, require_memory_to_save
from g4v.errors import VideoError
from g4v.train.clips import Clip, FrameReader
from g4v.train.errors import TrainingError

SHARD = 64
"""Clips of one shard: 270 MB for 8 frames of ViT-L/14."""


class FeatureCache:
    """Features by key of the clip. Workers may have copies: files are opened where they are read.

    folder: of the caches of all encoders. encoder: fingerprint of the encoder's weights. reader: makes the
    encoder's input.
    """

    def __init__(self, folder: Path, encoder: str, reader: FrameReader) -> None:
        parts = encoder, reader.frames, reader.size, reader.mean, reader.std
        about = repr(parts if reader.sampling is None else (*parts, reader.sampling, reader.resizing))
        self.folder = folder / hashlib.sha256(about.encode()).hexdigest()[:16]
        self.where: dict[str, str] = {}
        self._files: dict[tuple[int, str], Any] = {}  # by process: an open file must not cross a fork
        self.blank_shape: tuple[int, ...] = ()
        self.scan()

    def scan(self) -> None:
        """Reads which clips are there; damaged shards are deleted, and their clips encoded again."""
        self.where.clear()
        for path in sorted(self.folder.glob("shard-*.safetensors")):
            try:
                with safe_open(path, framework="np") as file:
                    for key in file.keys():
                        self.where[key] = path.name
                    self.blank_shape = tuple(file.get_slice(key).get_shape())
            except Exception:  # safetensors has its own class
                path.unlink(missing_ok=True)

    def __contains__(self, clip: Clip) -> bool:
        return clip.key() in self.where

    def __call__(self, clip: Clip) -> npt.NDArray[np.float16]:
        """float16 [T, N, d]. VideoError for a clip that could not be encoded."""
        name = self.where.get(clip.key())
        if name is None:
            raise VideoError(f"{clip} could not be encoded")
        place = (os.getpid(), name)
        if place not in self._files:
            self._files[place] = safe_open(self.folder / name, framework="np")
        found: npt.NDArray[np.float16] = self._files[place].get_tensor(clip.key())
        return found

    def blank(self) -> npt.NDArray[np.float16]:
        """Zeros of the shape of a clip's features, in place of a clip that cannot be read."""
        return np.zeros(self.blank_shape, np.float16)

    def add(self, features: dict[str, Tensor], rank: int) -> None:
        """Writes one shard. TrainingError where the disk is full or may not be written."""
        number = len(list(self.folder.glob(f"shard-{rank}-*.safetensors")))
        while (target := self.folder / f"shard-{rank}-{number:05d}.safetensors").exists():
            number += 1
        try:
            with atomic(target, TrainingError) as temporary:
                require_memory_to_save(target)
                save_file(features, temporary)
        except TrainingError:
            raise
        except Exception as error:  # safetensors has its own class for what the system refused
            check_memory(error, str(target))
            raise TrainingError(f"{target}: cannot be written: {one_line(error)}") from None
        self.where.update(dict.fromkeys(features, target.name))


class _Frames(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Decoding in workers: index -> (key, pixels or None, reason)."""

    def __init__(self, clips: list[Clip], reader: FrameReader) -> None:
        self.clips, self.reader = clips, reader

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[str, Tensor | None, str]:
        clip = self.clips[index]
        try:
            return clip.key(), torch.from_numpy(self.reader(clip)), ""
        except VideoError as error:
            return clip.key(), None, str(error)


def distinct(clips: Iterable[Clip]) -> Iterator[Clip]:
    """Each clip once, in order."""
    return iter(dict.fromkeys(clips))


@torch.no_grad()
def fill_cache(
    cache: FeatureCache,
    clips: list[Clip],
    reader: FrameReader,
    encode: Callable[[Tensor], Tensor],
    num_workers: int,
    rank: int = 0,
    tick: Callable[[int], None] = lambda done: None,
) -> dict[str, str]:
    """Encodes the clips that the cache lacks; returns key -> reason of those that cannot be read.

    encode: float32 [1, T, 3, S, S] -> [1, T, N, d], both on its own device. tick: told how many are done.
    """
    missing = [clip for clip in clips if clip not in cache]
    loader: Any = torch.utils.data.DataLoader(
        _Frames(missing, reader), batch_size=None, num_workers=min(num_workers, len(missing))
    )
    faults: dict[str, str] = {}
    shard: dict[str, Tensor] = {}
    for done, (key, pixels, reason) in enumerate(loader, 1):
        if pixels is None:
            faults[key] = reason
        else:
            features = encode(pixels[None])[0]
            cache.blank_shape = tuple(features.shape)
            # Features beyond half precision's range would come back infinite.
            shard[key] = features.float().clamp(-65504, 65504).half().cpu().contiguous()
        if len(shard) == SHARD:
            cache.add(shard, rank)
            shard = {}
        tick(done)
    if shard:
        cache.add(shard, rank)
    return faults
