"""Sizes of g4v's own networks: abstractor, frame checker, video tower.

The parts that come from transformers and diffusers are described by their own configuration objects. Sizes of
whole assistants are in `g4v.model.presets`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

FLAVOURS = ("clip", "mplug-owl-video")


def _from_dict(cls: type, values: dict[str, Any], where: str) -> Any:
    """Builds the dataclass `cls`; ValueError names unknown and missing keys and `where` they were read."""
    known = {item.name for item in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}")
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None


@dataclass(frozen=True)
class AbstractorConfig:
    """Sizes of `VideoAbstractor`."""

    hidden_size: int = 1024  # width of the queries
    num_layers: int = 6
    num_heads: int = 16
    intermediate_size: int = 2816  # width of the gated MLP
    num_queries: int = 64  # spatial queries, and rows of the output (vit_eos comes on top)
    num_temporal_queries: int = 64  # equal to num_queries: the two halves are added
    # Width of the encoder's tokens, equal to hidden_size: queries and memory go through one key projection.
    memory_size: int = 1024
    output_size: int = 4096  # width of the language model's embeddings
    layer_norm_eps: float = 1e-5
    ffn_layer_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.memory_size != self.hidden_size:
            raise ValueError(f"memory_size {self.memory_size} must equal hidden_size {self.hidden_size}")
        if self.num_temporal_queries != self.num_queries:
            raise ValueError("num_temporal_queries must equal num_queries")
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}"
            )

    @property
    def output_tokens(self) -> int:
        """Rows that one video takes in the prompt: the queries and vit_eos."""
        return self.num_queries + 1

    @classmethod
    def from_file(cls, path: str | Path) -> AbstractorConfig:
        """Reads config.json. ValueError: an unknown key, or sizes that do not fit each other."""
        return _from_dict(cls, json.loads(Path(path).read_text("utf-8-sig")), str(path))


@dataclass(frozen=True)
class FrameCheckerConfig:
    """Sizes of `FrameChecker`, and the share of unsafe frames that withholds a video."""

    hidden_size: int = 1024  # width of the encoder's tokens
    intermediate_size: int = 256
    # Share of unsafe frames above which a video is withheld; the authors' rule is more than 4 of 10.
    withhold_above: float = 0.4

    @classmethod
    def from_file(cls, path: str | Path) -> FrameCheckerConfig:
        """Reads config.json. ValueError: an unknown key."""
        return _from_dict(cls, json.loads(Path(path).read_text("utf-8-sig")), str(path))


@dataclass(frozen=True)
class VideoTowerConfig:
    """Sizes of `MplugOwlVideoTower`."""

    hidden_size: int = 1024
    num_layers: int = 24
    num_heads: int = 16
    intermediate_size: int = 4096
    image_size: int = 224  # pixels, square
    patch_size: int = 14
    layer_norm_eps: float = 1e-6
    temporal_layer_norm_eps: float = 1e-5
    flavour: str = "mplug-owl-video"

    def __post_init__(self) -> None:
        if self.flavour != "mplug-owl-video":
            raise ValueError(f"flavour must be 'mplug-owl-video', not {self.flavour!r}")
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}"
            )
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )

    @property
    def tokens_per_frame(self) -> int:
        """Patches of a frame, and the class token."""
        return (self.image_size // self.patch_size) ** 2 + 1

    @classmethod
    def from_file(cls, path: str | Path) -> VideoTowerConfig:
        """Reads config.json. ValueError: an unknown key, or sizes that do not fit each other."""
        return _from_dict(cls, json.loads(Path(path).read_text("utf-8-sig")), str(path))
