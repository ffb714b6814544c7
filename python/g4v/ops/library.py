"""The operators of exported graphs, for sessions that Python code makes."""

from __future__ import annotations


def custom_ops_library() -> str:
    """Path of the library for `onnxruntime.SessionOptions.register_custom_ops_library`.

    With it ONNX Runtime 1.24.1 or newer runs the graphs of a bundle, whose abstractor has the operator
    g4v.CrossAttention.
    """
    from .. import _core

    return _core.__file__
