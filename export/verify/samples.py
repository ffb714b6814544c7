"""Real inputs of every component, for comparing graphs, measuring ranges and calibrating 8-bit products.

    video frames -> pixel_values      by the runtime's own preprocessing
    captions -> input_ids             as the runtime cuts and pads them, the negative prompt beside each
    pixel_values -> features          by the run's encoder: the abstractor's and the frame checker's
    frames -> latents                 by the VAE's own encoder: the VAE decoder's, and, with noise added at
                                      steps of the run's scheduler, the UNet's, beside the text's states

The clips are drawn by the shapes world (no video comes with the package), or the user's own. PyTorch computes
the rest in float32, one module in memory at a time. Where the run lacks what comes before a component, random
numbers of the same size stand in, and `Samples.inputs` says so. Everything is the same on every call.

Of large models fewer and smaller inputs are made: an encoder's are one clip and one frame; a UNet's are
clips of few frames and latents of at most 16x16. The sizes of values hardly depend on those of videos.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from g4v.export.checkpoint.run import Checkpoint, read_json, vae_scale
from g4v.export.errors import ExportError
from g4v.export.verify.comparison import Feeds
from g4v.export.verify.sample_clips import SEED, about_clips, captions, check_videos, clips, fitted

_LARGE = 200e6  # bytes of weight files, above which a component gets fewer and smaller inputs
_SMALL_VIDEO = (4, 16)  # frames, and rows and columns of latents at most, of a large UNet's
_STEPS = 5  # time steps of a denoising run that the UNet sees; 3 where it is large


class Samples:
    """videos: files in place of the drawn clips. ExportError: one that is missing or cannot be read."""

    def __init__(self, checkpoint: Checkpoint, videos: Sequence[str | Path] = ()) -> None:
        self._checkpoint = checkpoint
        self._videos = check_videos(videos)
        self._notes: dict[str, str] = {}
        self._kept: dict[str, Feeds] = {}

    @cached_property
    def about(self) -> dict[str, Any]:
        """What the manifest says of the clips and captions; the same whichever components are asked for."""
        found = about_clips(self._videos)
        if self._checkpoint.has("t2v"):
            found["captions"] = len(captions())
        return found

    def feeds(self, component: str) -> Feeds:
        """Inputs by the names of the component's float32 graph (the abstractor's as one graph, of features);
        the first two reach every path of it. None for the decoder, whose calibration has its own text.
        """
        if component not in self._kept:
            make: dict[str, Callable[[], Feeds]] = {
                "encoder": self._pixels,
                "abstractor": self._features,
                "frame_checker": self._features,
                "text_encoder": self._texts,
                "unet": self._denoising,
                "vae_decoder": self._vae_latents,
            }
            with torch.no_grad():
                self._kept[component] = make.get(component, list)()
        return self._kept[component]

    def inputs(self, component: str) -> str:
        """What the inputs are, in a line for a person: "real", or what of them is not, and why."""
        self.feeds(component)
        parts = {"unet": ("text", "latents"), "vae_decoder": ("latents",), "text_encoder": ("tokens",)}
        notes = [self._notes[part] for part in parts.get(component, ()) if part in self._notes]
        return "; ".join(notes) or "real"

    def _large(self, *folders: Path) -> bool:
        return sum(file.stat().st_size for f in folders for file in f.glob("*.safetensors")) > _LARGE

    # Pixels and features.

    def _pixels(self) -> Feeds:
        return [{"pixel_values": pixels} for pixels in self._clips]

    @cached_property
    def _clips(self) -> list[np.ndarray]:
        """float32 [T, 3, S, S]: the first clip, a single frame of another, and the other clips."""
        from g4v._runtime import import_core

        c = self._checkpoint
        size, (mean, std) = c.image_size(), c.image_statistics()
        frames, preprocess = int(c.about["frames"]), import_core().preprocess
        found = [preprocess(clip, size, list(mean), list(std)) for clip in clips(self._videos, frames, size)]
        single = found[1 % len(found)][:1]
        few = self._large(c.parts["encoder"]) and not self._videos
        return [found[0], single, *([] if few else found[1:])]

    def _features(self) -> Feeds:
        if "features" not in self._kept:
            encoder = self._checkpoint.encoder()
            made = [encoder(torch.from_numpy(pixels)).numpy() for pixels in self._clips]
            self._kept["features"] = [{"features": features} for features in made]
        return self._kept["features"]

    # Texts, latents and what the UNet is given of both.

    @property
    def _video(self) -> dict[str, Any]:
        video: dict[str, Any] = self._checkpoint.about["generation"].get("video", {})
        return video

    @property
    def _vae(self) -> dict[str, Any]:
        return read_json(self._checkpoint.parts["t2v"] / "vae" / "config.json")

    @property
    def _scaling_factor(self) -> float:
        """Of latents, to about unit variance for the UNet; diffusers' default is Stable Diffusion's."""
        return float(self._vae.get("scaling_factor", 0.18215))

    def _texts(self) -> Feeds:
        """input_ids int64 [2, L]: the negative prompt and a caption."""
        place = self._checkpoint.parts["t2v"]
        config = read_json(place / "text_encoder" / "config.json")
        length = int(config.get("max_position_embeddings", 77))
        texts = captions()
        try:
            tokenizer = self._checkpoint.tokenizer("text_encoder")
            if tokenizer.pad_token_id is None:
                raise ExportError(f"{place / 'tokenizer'}: has no pad token")
        except ExportError:
            self._notes["tokens"] = "random token ids (the run has no tokenizer for texts that can be used)"
            generator = torch.Generator().manual_seed(SEED)
            most = int(config["vocab_size"])
            return [
                {"input_ids": torch.randint(most, (2, length), generator=generator).numpy()} for _ in texts
            ]
        begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]

        def padded(text: str) -> list[int]:
            ids = tokenizer.encode(text, add_special_tokens=False)[: length - len(begin) - len(end)]
            ids = [*begin, *ids, *end]
            return [*ids, *[tokenizer.pad_token_id] * (length - len(ids))]

        negative = padded(str(self._video.get("negative_prompt", "")))
        return [{"input_ids": np.array([negative, padded(text)], np.int64)} for text in texts]

    @cached_property
    def _states(self) -> list[Tensor]:
        """float32 [2, L, D] of each text."""
        texts = self.feeds("text_encoder")
        place = self._checkpoint.parts["t2v"]
        try:
            model = self._checkpoint.text_encoder().float()
            if "tokens" in self._notes:
                self._notes["text"] = self._notes["tokens"]
            return [model(torch.from_numpy(ids["input_ids"])).last_hidden_state for ids in texts]
        except ExportError:
            # What the last norm of a text encoder leaves is about of unit variance.
            self._notes["text"] = "random text states (the run has no text encoder that can be read)"
            width = int(read_json(place / "unet" / "config.json")["cross_attention_dim"])
            shape, generator = (*texts[0]["input_ids"].shape, width), torch.Generator().manual_seed(SEED)
            return [torch.randn(shape, generator=generator) for _ in texts]

    @cached_property
    def _latents(self) -> list[Tensor]:
        """float32 [F, C, h, w] of each clip, scaled to about unit variance as the UNet takes them."""
        place = self._checkpoint.parts["t2v"]
        channels, scale = int(self._vae["latent_channels"]), vae_scale(place)
        frames = int(self._video.get("frames", 8))
        height, width = (max(1, int(self._video.get(key, 64)) // scale) for key in ("height", "width"))
        if self._large(place / "unet", place / "vae"):
            frames, most = min(frames, _SMALL_VIDEO[0]), _SMALL_VIDEO[1]
            height, width = min(height, most), min(width, most)
        size = scale * max(height, width)
        made = [
            fitted(clip, scale * height, scale * width)
            for clip in clips(self._videos, frames, size, clean=True)
        ]
        try:
            if not self._encodes(place / "vae"):
                raise ExportError(f"{place / 'vae'}: has no weights of the encoder")
            vae = self._checkpoint.vae().float()
        except ExportError:
            # The scaling factor of a latent diffusion model is chosen so that scaled latents have unit
            # variance (Rombach et al., 2022, appendix G).
            self._notes["latents"] = "random latents (the run has no VAE encoder that can be read)"
            generator = torch.Generator().manual_seed(SEED)
            return [torch.randn(frames, channels, height, width, generator=generator) for _ in made]
        return [vae.encode(clip).latent_dist.mean * self._scaling_factor for clip in made]

    @staticmethod
    def _encodes(folder: Path) -> bool:
        from safetensors import safe_open

        for file in folder.glob("*.safetensors"):
            try:
                with safe_open(file, framework="pt") as opened:
                    if any(name.startswith("encoder.") for name in opened.keys()):  # noqa: SIM118
                        return True
            except Exception as error:  # safetensors raises its own class
                raise ExportError(f"{file}: damaged or truncated: {error}") from None
        return False

    def _vae_latents(self) -> Feeds:
        found = [(latents / self._scaling_factor).contiguous().numpy() for latents in self._latents]
        return [{"latents": latents} for latents in (found[0], found[-1][:1], *found[1:])]

    def _denoising(self) -> Feeds:
        """Both texts of a guided step on the same noised latents, first the noisiest, then the cleanest."""
        states, latents = self._states, self._latents
        large = self._large(self._checkpoint.parts["t2v"] / "unet")
        steps, add_noise = self._schedule()
        places = np.linspace(0, len(steps) - 1, 3 if large else _STEPS).round().astype(int)
        generator = torch.Generator().manual_seed(SEED)
        shared = float(self._video.get("shared_noise", 0.0))
        found = []
        for number, place in enumerate(dict.fromkeys([places[0], places[-1], *places[1:-1]])):
            clean = latents[number % len(latents)].transpose(0, 1)  # [C, F, h, w]
            own = torch.randn(clean.shape, generator=generator)
            common = torch.randn(clean[:, :1].shape, generator=generator)
            noise = (1 - shared) ** 0.5 * own + shared**0.5 * common
            noised = add_noise(clean[None], noise[None], steps[place][None])
            sample = noised.expand(2, -1, -1, -1, -1).contiguous()
            text = states[number % len(states)]
            found.append(
                {
                    "sample": sample.numpy(),
                    "timestep": np.array([int(steps[place])], np.int64),
                    "encoder_hidden_states": text.numpy(),
                }
            )
        return found

    def _schedule(self) -> tuple[Tensor, Callable[..., Tensor]]:
        """The time steps of the run's own denoising, and how its schedule adds noise."""
        from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

        settings = self._checkpoint.scheduler()
        kind = settings.pop("type")
        if kind == "ddim":
            scheduler = DDIMScheduler(**settings)
        else:
            unknown = ("set_alpha_to_one", "clip_sample")
            scheduler = DPMSolverMultistepScheduler(
                **{key: value for key, value in settings.items() if key not in unknown}
            )
        scheduler.set_timesteps(int(self._video.get("steps", 20)))
        return scheduler.timesteps, scheduler.add_noise
