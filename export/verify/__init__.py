"""Compares exported graphs and tokenizers with PyTorch and transformers, on random and on real inputs."""
