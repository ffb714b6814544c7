"""Operations of a video that a transformer and a VAE over time make."""

from __future__ import annotations

from g4v._files import read_json
from g4v.export.checkpoint import ltx, wan
from g4v.export.checkpoint.pipelines import pipeline_of
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.checkpoint.video_sizes import frame_scale, latent_frames, side_steps, vae_scale
from g4v.export.errors import ExportError
from g4v.export.plan.operations import Tensors, causal_convolved, transformed, whole_convolved


class TransformerVideo:
    """A video of the size that a run makes by default.

    latent_frames: of it. latents: places of one of them. tokens: of the transformer, for the whole video.
    chunk_pixels: places of the VAE's last layers that are computed at once: of what one latent frame becomes,
    or of the whole video. width, base: channels of the transformer and of the VAE's last layers. is_whole:
    whether the VAE makes all frames at once.

    ExportError: a configuration cannot be read.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        folder = checkpoint.parts["t2v"]
        video = checkpoint.about["generation"].get("video", {})
        pixels = int(video.get("height", 64)) * int(video.get("width", 64))
        self.latent_frames = latent_frames(folder, int(video.get("frames", 8)))
        self.latents = pixels / vae_scale(folder) ** 2
        high, wide = side_steps(folder)
        self.tokens = self.latent_frames * pixels / (high * wide)
        self.chunk_pixels: float = pixels * frame_scale(folder)
        network, vae = (
            read_json(folder / part / "config.json", ExportError) for part in ("transformer", "vae")
        )
        self.is_whole = pipeline_of(folder) in ltx.PIPELINES
        if self.is_whole:
            self.width = ltx.width(network)
            self.base, patch = ltx.last_layers(vae)
            self.chunk_pixels = pixels * int(video.get("frames", 8)) / patch**2
            self._doubled = ltx.doublings(vae)
            return
        self.width = network.get("num_attention_heads", 40) * network.get("attention_head_dim", 128)
        self.base = vae.get("decoder_base_dim") or vae.get("base_dim", 96)
        self._doubled = wan.frame_halvings(vae)[::-1]

    def step(self, tensors: Tensors, length: int) -> float:
        """Operations of one step for one text of `length` tokens. tensors: shapes of the transformer's."""
        return transformed(tensors, self.tokens, length)

    def decoding(self, tensors: Tensors) -> float:
        """Operations of making all frames of all latents. tensors: shapes of the VAE decoder's."""
        convolved = whole_convolved if self.is_whole else causal_convolved
        return convolved(tensors, self._doubled, self.latents, self.latent_frames)
