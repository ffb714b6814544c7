"""g4v's ONNX operators for ONNX Runtime sessions that are made in Python."""

from __future__ import annotations


def custom_ops_library() -> str:
    """Path of a library with g4v's ONNX operators, which the abstractor of a bundle contains.

    Give it to `onnxruntime.SessionOptions.register_custom_ops_library`; then ONNX Runtime 1.24.1 or newer
    runs the graphs of a bundle.
    """
    from .. import _core

    return _core.__file__
