"""Real inputs of every component, for comparing graphs, measuring ranges and calibrating 8-bit products.

    video frames -> pixel_values    by the runtime's own preprocessing
    pixel_values -> features        by the run's encoder: inputs of the abstractor and of the frame checker
    captions, frames -> ...         inputs of the text-to-video model (g4v.export.verify.diffusion_samples)

The clips are drawn by the shapes world (no video comes with the package), or are the user's own. PyTorch
computes the rest in float32, with one module in memory at a time. Where the run lacks what comes before a
component, random numbers of the same size stand in, and `Samples.inputs` says so. Every call gives the same.

Large models get fewer and smaller inputs: an encoder one clip and one frame; a UNet or a transformer clips of
few frames and latents of at most 16x16. The magnitudes of values hardly depend on the sizes of videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from g4v.export.checkpoint.run import Checkpoint
from g4v.export.verify.comparison import Feeds
from g4v.export.verify.diffusion_samples import DiffusionSamples, weights_bytes
from g4v.export.verify.sample_clips import about_clips, captions, check_videos, clips

LARGE = 200e6  # bytes of weight files, above which a component gets fewer and smaller inputs
# What of a component's inputs random numbers may stand in for (`DiffusionSamples.notes`).
_NOTES = {
    "unet": ("text", "latents"),
    "transformer": ("text", "latents"),
    "vae_decoder": ("latents",),
    "text_encoder": ("tokens",),
}


class Samples:
    """Makes real inputs of a run's components when they are asked for, and keeps them.

    checkpoint: the run.
    videos: files that clips are read from; without any, clips are drawn.

    ExportError: a video is missing or cannot be read.
    """

    def __init__(self, checkpoint: Checkpoint, videos: Sequence[str | Path] = ()) -> None:
        self._checkpoint = checkpoint
        self._videos = check_videos(videos)
        self._feeds: dict[str, Feeds] = {}

    @cached_property
    def about(self) -> dict[str, Any]:
        """What the manifest says of clips and captions; the same whichever components are exported."""
        found = about_clips(self._videos)
        if self._checkpoint.has("t2v"):
            found["captions"] = len(captions())
        return found

    def feeds(self, component: str) -> Feeds:
        """Returns inputs of a component by the input names of its float32 graph.

        The abstractor's are those of one graph that reads features. The first two inputs reach every path of
        a graph. The decoder has none: it is calibrated on a text.
        """
        if component not in self._feeds:
            with torch.no_grad():
                self._feeds[component] = self._make(component)
        return self._feeds[component]

    def inputs(self, component: str) -> str:
        """Returns "real", or a line for a person that says which inputs are random numbers, and why."""
        self.feeds(component)
        notes = [self._diffusion.notes.get(part) for part in _NOTES.get(component, ())]
        return "; ".join(filter(None, notes)) or "real"

    def _make(self, component: str) -> Feeds:
        if component == "encoder":
            return [{"pixel_values": pixels} for pixels in self._pixels]
        if component in ("abstractor", "frame_checker"):
            return self._features
        if component == "text_encoder":
            return self._diffusion.texts
        if component in ("unet", "transformer"):
            return self._diffusion.denoising
        if component == "vae_encoder":
            return self._diffusion.vae_images
        return self._diffusion.vae_latents if component == "vae_decoder" else []

    @cached_property
    def _diffusion(self) -> DiffusionSamples:
        return DiffusionSamples(self._checkpoint, self._videos, LARGE)

    @cached_property
    def _pixels(self) -> list[np.ndarray]:
        """float32 [T, 3, S, S]: the first clip, a single frame of another, and the other clips."""
        from g4v._runtime import import_core

        c = self._checkpoint
        size, (mean, std) = c.image_size(), c.image_statistics()
        frames, preprocess = c.compared_frames(), import_core().preprocess
        found = [
            preprocess(clip, size, list(mean), list(std), **c.resizing())
            for clip in clips(self._videos, frames, size)
        ]
        single = found[1 % len(found)][:1]
        few = weights_bytes(c.parts["encoder"]) > LARGE and not self._videos
        return [found[0], single, *([] if few else found[1:])]

    @cached_property
    def _features(self) -> Feeds:
        encoder = self._checkpoint.encoder()
        return [{"features": encoder(torch.from_numpy(pixels)).numpy()} for pixels in self._pixels]
