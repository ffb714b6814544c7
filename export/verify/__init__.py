"""Compares exported graphs with PyTorch in float64."""
