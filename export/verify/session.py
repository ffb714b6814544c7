"""Opens exported graphs in ONNX Runtime's CPU provider, with g4v's own operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from g4v.export.graph.stems import memory_stem
from g4v.export.verify.half_precision import emulated
from g4v.ops import custom_ops_library


def open_session(path: Path, as_written: bool) -> Any:
    """Returns an onnxruntime.InferenceSession of the CPU provider for the graph file `path`.

    as_written: True runs the graph without any optimisation. Each weight is then converted to float32 when it
    is used, where the optimiser would keep converted copies of all of them in memory.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.register_custom_ops_library(custom_ops_library())
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Every input has its own shapes; from the second run on a pattern would hold all of its memory at once.
    options.enable_mem_pattern = False
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def open_for_comparison(folder: Path, stem: str) -> Any:
    """Returns a session that computes `folder`/`stem`.onnx as its target does.

    A graph for the CPU runs as it will run there. One for a GPU, or from which an engine is built, runs as
    written, with the results of 16-bit operators rounded (`half_precision.emulated`).
    """
    with emulated(folder / f"{stem}.onnx") as path:
        return open_session(path, as_written="." in stem)


def memory_of(folder: Path, stem: str) -> str | None:
    """Returns the stem of the graph whose output the abstractor's graph `stem` reads.

    None where `stem` reads the encoder's features itself.
    """
    memory = memory_stem(stem)
    return memory if (folder / f"{memory}.onnx").exists() else None
