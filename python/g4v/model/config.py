"""Sizes of g4v's own networks: abstractor, frame checker, video tower.

The parts that come from transformers and diffusers are described by their own configuration objects. Sizes of
whole assistants are in `g4v.model.presets`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from g4v._files import read_json

FLAVOURS = ("clip", "mplug-owl-video")


MOST_LAYERS = 1000  # each is made before it is known whether its weights are there
MOST_SIZE = 1 << 24  # as in g4v.json


def _read(cls: type, path: str | Path) -> Any:
    """The dataclass `cls` of a JSON file; ValueError names the file, and the key that is unknown or wrong."""
    values, kinds = read_json(path), {item.name: str(item.type) for item in fields(cls)}
    for name, value in values.items():
        if name not in kinds:
            raise ValueError(f"{path}: unknown key {name!r}")
        wanted = _fault(name, kinds[name], value)
        if wanted:
            raise ValueError(f"{path}: {name} is {value!r:.80} but must be {wanted}")
    try:
        return cls(**values)
    except ValueError as error:  # sizes that do not fit each other
        raise ValueError(f"{path}: {error}") from None


def _fault(name: str, kind: str, value: Any) -> str:
    """What a value must be; "" where it is that. kind: "int", "float" or "str"."""
    if kind == "str":
        return "" if isinstance(value, str) else "a text"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "float":
        return "" if number and 0 < value < MOST_SIZE else "a number above 0"
    most = MOST_LAYERS if name == "num_layers" else MOST_SIZE
    return "" if number and isinstance(value, int) and 1 <= value <= most else f"an integer from 1 to {most}"


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
        return _read(cls, path)


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
        return _read(cls, path)


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
        return _read(cls, path)
