"""Names of the files of a graph: STEM.onnx and STEM.data."""

from __future__ import annotations


def stem_of(component: str, target: str) -> str:
    """Returns the stem of a component's files for a target: "unet" for the CPU, "unet.cuda" for CUDA."""
    return component if target == "cpu" else f"{component}.{target}"


def target_of(stem: str) -> str:
    """The target that `stem_of` was given."""
    return stem.partition(".")[2] or "cpu"


def memory_stem(stem: str) -> str:
    """Returns the stem of the graph that computes keys and values of frames for the abstractor `stem`."""
    return f"{stem}_memory"
