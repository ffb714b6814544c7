"""Names of the files of a graph: STEM.onnx and STEM.data."""

from __future__ import annotations


def stem_of(component: str, target: str) -> str:
    """Of a component's graph for a target: "unet" for the CPU, else such as "unet.cuda"."""
    return component if target == "cpu" else f"{component}.{target}"


def target_of(stem: str) -> str:
    """The target that `stem_of` was given."""
    return stem.partition(".")[2] or "cpu"


def memory_stem(stem: str) -> str:
    """Of the graph that computes the abstractor's memory of single frames, beside the abstractor's `stem`."""
    return f"{stem}_memory"
