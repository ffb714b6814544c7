"""Writes ONNX graphs node by node."""
