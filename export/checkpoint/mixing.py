"""Whether parts were trained together: a tower and a language model belong to the abstractor between them."""

from __future__ import annotations

from pathlib import Path

import torch

from g4v.export.checkpoint.base import Base
from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.checkpoint.overrides import Overrides
from g4v.export.errors import ExportError
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.vision import check_vision

_COMPARED = "model.layers.0.self_attn.q_proj.weight"
# Between a copy in 4 bits, which passes (the tests have one), and weights of another training: about 0.
_LEAST_CORRELATION = 0.95


def check_mix(base: Base, named: dict[str, Path], overrides: Overrides) -> None:
    """Raises ExportError where a part was not trained with the others, unless `overrides.mix` is set.

    named: folders of the parts that the user names. A language model that is a quantised or further tuned
    copy of the base's own is none of these.
    """
    if overrides.mix:
        return
    if "encoder" in named:
        try:
            check_vision(named["encoder"])
        except CheckpointError as error:
            raise ExportError(str(error)) from None
    has_adapter = base.folder is not None and (base.folder / "adapter").is_dir()
    bound = [part for part in ("abstractor", "frame_checker") if part in base.parts]
    if "encoder" in named and "encoder" in base.parts and bound and not _same_place(base, named, "encoder"):
        raise ExportError(
            f"{overrides.vision}: the {bound[0].replace('_', ' ')} of {base.name} was trained with another "
            "tower and will not understand this one; leave --vision out, or say --mix if it is wanted"
        )
    if "llm" not in named or "llm" not in base.parts or _same_place(base, named, "llm"):
        return
    merged = has_adapter and overrides.adapters is None
    if (merged or "abstractor" in base.parts) and not same_model(base.parts["llm"], named["llm"]):
        what = "abstractor" if "abstractor" in base.parts else "adapter"
        raise ExportError(
            f"{overrides.llm}: the {what} of {base.name} was trained with another language model; leave "
            "--llm out, or say --mix if it is wanted"
        )


def _same_place(base: Base, named: dict[str, Path], part: str) -> bool:
    return base.parts[part].resolve() == named[part].resolve()


def same_model(one: Path, other: Path) -> bool:
    """Whether two language models are copies of each other, up to rounding or further tuning.

    Compares the sizes of all layers and the numbers of one matrix. ExportError: one cannot be read.
    """
    first, second = LlamaWeights(one), LlamaWeights(other)
    sizes = [
        {name: shape for name, shape in weights.shapes.items() if name.startswith("model.layers.")}
        for weights in (first, second)
    ]
    if sizes[0] != sizes[1]:
        return False
    a, b = first.read(_COMPARED).flatten(), second.read(_COMPARED).flatten()
    return bool(torch.corrcoef(torch.stack([a, b]))[0, 1] >= _LEAST_CORRELATION)
