"""Video encoders and abstractors: of public models, of mPLUG-Owl checkpoints, and of g4v's own folders."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from g4v._files import read_json
from g4v.model.abstractor import VideoAbstractor
from g4v.model.bases.errors import CheckpointError, of_kind, one_line
from g4v.model.bases.hub import fetch_source
from g4v.model.bases.mplug_owl import is_mplug_owl, open_mplug_owl
from g4v.model.bases.tensors import FloatFiles, finite
from g4v.model.bases.video_language import check_video_language, is_video_language, open_video_language
from g4v.model.bases.weight_files import open_weights
from g4v.model.config import (
    MOST_LAYERS,
    MOST_SIZE,
    AbstractorConfig,
    FrameCheckerConfig,
    VideoTowerConfig,
)
from g4v.model.connector import Connector
from g4v.model.frame_checker import FrameChecker
from g4v.model.vision import ClipEncoder, MplugOwlVideoTower, VideoEncoder
from g4v.weights.tensor_shapes import Shapes, check_shapes

_KINDS = ("clip", "clip_vision_model")
# Of a CLIPModel: what is no part of its tower. Positions were stored as numbers by older transformers.
_OTHER_HALF = re.compile(r"text_model\.|text_projection\.|visual_projection\.|logit_scale$|.*\.position_ids$")


def load_connector(folder: Path) -> VideoAbstractor | Connector:
    """What makes video tokens of an encoder's features, in float32, in evaluation mode.

    folder: of `load_abstractor`, or a checkpoint of SmolVLM2, LLaVA-NeXT-Video or Video-LLaVA.
    CheckpointError: as there.
    """
    return open_video_language(folder).connector() if is_video_language(folder) else load_abstractor(folder)


def load_abstractor(folder: Path) -> VideoAbstractor:
    """A video abstractor in float32, in evaluation mode.

    folder: what `VideoAbstractor.save_pretrained` wrote, or an mPLUG-Owl checkpoint. CheckpointError: damaged
    or missing files, weights that are missing, left over or of other shapes.
    """
    if is_mplug_owl(folder):
        return open_mplug_owl(folder).abstractor()
    return _load_own(folder, lambda: _abstractor(folder))


def check_abstractor(folder: Path) -> None:
    """Raises CheckpointError unless the weights of a folder, which are not read, are those of the abstractor
    of its config.json, by names and shapes.
    """
    if is_video_language(folder):
        open_video_language(folder)
    elif not is_mplug_owl(folder):
        _open_own(folder, lambda: _abstractor(folder))


def load_frame_checker(folder: Path) -> FrameChecker:
    """The frame checker that g4v wrote into a folder, in float32, in evaluation mode.

    CheckpointError: damaged or missing files, weights that are missing, left over or of other shapes.
    """
    return _load_own(folder, lambda: FrameChecker(_own_config(folder, FrameCheckerConfig)))


def _abstractor(folder: Path) -> VideoAbstractor:
    return VideoAbstractor(_own_config(folder, AbstractorConfig))


def _own_config(folder: Path, kind: Any) -> Any:
    try:
        return kind.from_file(folder / "config.json")
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{folder}: {one_line(error)}") from None


def _shapes_of(folder: Path, make: Callable[[], Any]) -> Shapes:
    """The shapes that a module's state has by its configuration, without its memory (on the meta device)."""
    try:
        with torch.device("meta"):
            return {name: tuple(tensor.shape) for name, tensor in make().state_dict().items()}
    except CheckpointError:
        raise
    except Exception as error:  # sizes of which PyTorch can make no tensor
        raise CheckpointError(
            f"{folder}: config.json: no such network can be made: {one_line(error)}"
        ) from None


def _open_own(folder: Path, make: Callable[[], Any]) -> FloatFiles:
    """The weights of a module of g4v's own, which are those of its state by names and shapes."""
    files = FloatFiles(folder)
    check_shapes(folder, files.shapes, _shapes_of(folder, make))
    return files


def _load_own(folder: Path, make: Callable[[], Any]) -> Any:
    files, module = _open_own(folder, make), make()
    module.load_state_dict({name: files.read(name) for name in files.shapes})
    return module.eval()


def _load_tower(folder: Path) -> MplugOwlVideoTower:
    config, files = _own_config(folder, VideoTowerConfig), FloatFiles(folder)
    # Before the tower has memory: what is there must have the sizes of the configuration.
    for name, shape in _shapes_of(folder, lambda: MplugOwlVideoTower(config)).items():
        found = files.shapes.get(name)
        if found is None and ".temporal." not in name:
            raise CheckpointError(f"{folder}: missing tensor {name}")
        if found is not None and math.prod(found) != math.prod(shape):
            raise CheckpointError(f"{folder}: tensor {name} is {found}, not {shape} as config.json says")
    tower = MplugOwlVideoTower(config)
    try:
        tower.load_public({name: files.read(name) for name in files.shapes}, prefix="")
    except ValueError as error:
        raise CheckpointError(f"{folder}: {one_line(error)}") from None
    return tower.eval()


def load_vision(source: str | Path) -> VideoEncoder:
    """A video encoder in float32, in evaluation mode.

    source: a directory (a CLIPVisionModel, a CLIPModel, an mPLUG-Owl, SmolVLM2, LLaVA-NeXT-Video or
    Video-LLaVA checkpoint, of which the vision half is taken, or an encoder that g4v wrote), or a hub name
    "owner/name", the only case in which the network is used.
    CheckpointError: another kind of model, pickles, damaged or missing files, missing weights.
    """
    place = fetch_source(source)
    if is_video_language(place):
        encoder: VideoEncoder = open_video_language(place).encoder()
        return encoder
    if is_mplug_owl(place):
        return open_mplug_owl(place).encoder()
    config = read_json(place / "config.json", CheckpointError)
    if config.get("flavour") == "mplug-owl-video":
        return _load_tower(place)
    check_vision(place)
    return ClipEncoder(_load_clip(place)).eval()


def check_vision(folder: Path) -> None:
    """Raises CheckpointError unless config.json of a folder is that of a tower that `load_vision` reads."""
    config = read_json(folder / "config.json", CheckpointError)
    if is_video_language(folder):
        check_video_language(folder)
        return
    kind = config.get("model_type")
    if kind not in (*_KINDS, "mplug-owl") and config.get("flavour") != "mplug-owl-video":
        raise CheckpointError(f"{folder}: {of_kind(kind)}, only CLIP and mPLUG-Owl towers can be used")


def read_clip_config(folder: Path) -> Any:
    """The `transformers.CLIPVisionConfig` of a folder. CheckpointError: it cannot be read."""
    from transformers import CLIPVisionConfig

    try:
        config = CLIPVisionConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # every library behind transformers has its own classes
        raise CheckpointError(f"{folder}: cannot be loaded: {one_line(error)}") from None
    for name, value in config.to_dict().items():
        most = MOST_LAYERS if name == "num_hidden_layers" else MOST_SIZE
        if type(value) is int and value > most:
            raise CheckpointError(f"{folder}: {name} is {value!r:.80}, but at most {most} are read")
    return config


def _load_clip(folder: Path) -> Any:
    """The CLIPVisionModel, tensor by tensor: nothing is drawn at random, and what is left over is named."""
    from transformers import CLIPVisionModel

    config = read_clip_config(folder)
    try:
        with torch.device("meta"):
            model = CLIPVisionModel(config)
    except Exception as error:  # every library behind transformers has its own classes
        raise CheckpointError(f"{folder}: cannot be loaded: {one_line(error)}") from None
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    files = open_weights(folder)
    stored = {}
    for name in files.shapes:
        if not _OTHER_HALF.match(name):
            bare = name.removeprefix("vision_model.")
            stored[bare if bare in wanted else f"vision_model.{bare}"] = name
    check_shapes(folder, {new: files.shapes[old] for new, old in stored.items()}, wanted)
    tensors = {new: finite(str(folder), old, files.read(old, torch.float32)) for new, old in stored.items()}
    model.load_state_dict(tensors, assign=True)
    for module in model.modules():
        if "position_ids" in module._buffers:  # it is not stored
            module.register_buffer("position_ids", _positions(config), persistent=False)
    return model


def _positions(config: Any) -> torch.Tensor:
    return torch.arange((config.image_size // config.patch_size) ** 2 + 1).expand((1, -1))
