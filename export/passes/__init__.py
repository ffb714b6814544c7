"""Passes over finished ONNX files."""
