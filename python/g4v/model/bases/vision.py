"""Video encoders and abstractors: of public models, of mPLUG-Owl checkpoints, and of g4v's own folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from g4v._files import read_json
from g4v.model.abstractor import VideoAbstractor
from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.mplug_owl import MplugOwlCheckpoint, is_mplug_owl
from g4v.model.bases.weight_files import check_weights, find_source
from g4v.model.vision import ClipEncoder, MplugOwlVideoTower, VideoEncoder

_KINDS = ("clip", "clip_vision_model")
# What may be left over: the text half, and the positions that transformers stored as numbers until 4.31.
_LEFT_OVER = re.compile(
    r"text_model\..*|(text|visual)_projection\.weight|logit_scale|(.*\.)?embeddings\.position_ids"
)


def load_abstractor(folder: Path) -> VideoAbstractor:
    """A video abstractor in float32, in evaluation mode.

    folder: what `VideoAbstractor.save_pretrained` wrote, or an mPLUG-Owl checkpoint. CheckpointError: damaged
    or missing files, weights that are missing, left over or of other shapes.
    """
    if is_mplug_owl(folder):
        return MplugOwlCheckpoint(folder).abstractor()
    try:
        return VideoAbstractor.from_pretrained(folder)
    except (ValueError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{folder}: {one_line(error)}") from None


def load_vision(source: str | Path) -> VideoEncoder:
    """A video encoder in float32, in evaluation mode.

    source: a directory (a CLIPVisionModel, a CLIPModel or mPLUG-Owl checkpoint, of which the vision half is
    taken, or an encoder that g4v wrote), or a hub name "owner/name", the only case in which the network is
    used.
    CheckpointError: another kind of model, pickles, damaged or missing files, weights that are missing, left
    over or of other shapes.
    """
    place = find_source(source)
    options: dict[str, Any] = {}
    if isinstance(place, Path):
        if is_mplug_owl(place):
            return MplugOwlCheckpoint(place).encoder()
        config = read_json(place / "config.json", CheckpointError)
        check_weights(place)
        options["local_files_only"] = True
        if config.get("flavour") == "mplug-owl-video":
            try:
                return MplugOwlVideoTower.from_pretrained(place)
            except (ValueError, OSError) as error:
                raise CheckpointError(f"{place}: {one_line(error)}") from None
        kind = config.get("model_type")
        if kind not in _KINDS:
            raise CheckpointError(
                f"{source}: is a {kind!r} model, only CLIP and mPLUG-Owl towers can be used"
            )
    from transformers import CLIPVisionModel

    read: Any = CLIPVisionModel.from_pretrained  # its annotations do not know output_loading_info
    try:
        model, info = read(
            place,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that their names are among the information
            use_safetensors=True,
            **options,
        )
    except Exception as error:  # every library behind transformers has its own classes
        raise CheckpointError(f"{source}: cannot be loaded: {one_line(error)}") from None
    for kind in ("missing", "mismatched", "unexpected"):
        names = [name if isinstance(name, str) else name[0] for name in info.get(f"{kind}_keys", ())]
        if kind == "unexpected":
            names = [name for name in names if not _LEFT_OVER.fullmatch(name)]
        if names:
            raise CheckpointError(f"{source}: {kind} tensor {min(names)} ({len(names)} in all)")
    return ClipEncoder(model).eval()
