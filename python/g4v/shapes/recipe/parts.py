"""The parts of the embedded default, by name. Apart from their recipes, so that --help needs no PyTorch."""

from __future__ import annotations

PARTS = (
    "vae",
    "contrastive-images",
    "contrastive-clips",
    "frame-checker",
    "latents",
    "t2v-images",
    "t2v-pairs",
    "t2v-fours",
    "t2v",
    "bindings",
    "base",
    "base-words",
    "stage1",
    "stage2",
)
"""All parts in the order of their training; "latents" is the cache that the UNet learns from."""

LATER = ("encoder-films",)
"""Parts that go on with a finished assistant; trained only where they are asked for by name."""
