"""Real inputs of the text-to-video components: token ids, noised latents and clean latents.

captions -> input_ids     as the runtime cuts and pads them, the negative prompt beside each
frames -> latents         by the VAE's own encoder: inputs of the VAE decoder, and, with noise added at steps
                          of the run's scheduler, of the UNet, beside the states of a text
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from g4v._files import read_json
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.checkpoint.samplers import SAMPLERS
from g4v.export.checkpoint.text_to_video import vae_scale
from g4v.export.errors import ExportError
from g4v.export.verify.sample_clips import SEED, captions, clips, resized
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.weight_files import open_weights

_SMALL_VIDEO = (4, 16)  # of a large UNet: frames, and rows and columns of latents at most
_STEPS = 5  # time steps of a denoising run that the UNet sees; 3 where it is large

Inputs = Sequence[Mapping[str, np.ndarray]]


def weights_bytes(*folders: Path) -> int:
    """Returns the size of all weight files in the folders, in bytes."""
    files = [
        file for folder in folders for file in folder.iterdir() if file.suffix in (".safetensors", ".bin")
    ]
    return sum(file.stat().st_size for file in files)


class DiffusionSamples:
    """Makes inputs of text encoder, UNet and VAE decoder from captions and clips.

    checkpoint: a run with a text-to-video model.
    videos: files that clips are read from; drawn clips without any.
    large: bytes of weight files above which a component gets fewer and smaller inputs.
    notes: attribute, what random numbers stand in for, by "tokens", "text" and "latents": a line each.
    """

    def __init__(self, checkpoint: Checkpoint, videos: Sequence[Path], large: float) -> None:
        self.notes: dict[str, str] = {}
        self._checkpoint, self._videos, self._large = checkpoint, videos, large
        self._folder = checkpoint.parts["t2v"]

    @property
    def _video(self) -> dict[str, Any]:
        video: dict[str, Any] = self._checkpoint.about["generation"].get("video", {})
        return video

    @property
    def _vae(self) -> dict[str, Any]:
        return self._config("vae")

    def _config(self, part: str) -> dict[str, Any]:
        return read_json(self._folder / part / "config.json", ExportError)

    @property
    def _scaling_factor(self) -> float:
        """Brings latents to about unit variance for the UNet; diffusers' default is Stable Diffusion's."""
        return float(self._vae.get("scaling_factor", 0.18215))

    @cached_property
    def texts(self) -> Inputs:
        """input_ids int64 [2, L] for each caption: the negative prompt and the caption."""
        config = self._config("text_encoder")
        length = int(config.get("max_position_embeddings", 77))
        texts = captions()
        try:
            tokenizer = self._checkpoint.tokenizer("text_encoder")
            if tokenizer.pad_token_id is None:
                raise ExportError(f"{self._folder / 'tokenizer'}: has no pad token")
        except ExportError:
            self.notes["tokens"] = "random token ids (the run has no tokenizer for texts that can be used)"
            generator = torch.Generator().manual_seed(SEED)
            size = int(config["vocab_size"])
            return [
                {"input_ids": torch.randint(size, (2, length), generator=generator).numpy()} for _ in texts
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
    def vae_latents(self) -> Inputs:
        """latents float32 [F, C, h, w] as the VAE decoder takes them; the second is of a single frame."""
        found = [(latents / self._scaling_factor).contiguous().numpy() for latents in self._latents]
        return [{"latents": latents} for latents in (found[0], found[-1][:1], *found[1:])]

    @cached_property
    def denoising(self) -> Inputs:
        """Inputs of the UNet in a guided step: both texts on the same noised latents.

        The first is at the noisiest time step, the second at the cleanest.
        """
        states, latents = self._states, self._latents
        large = weights_bytes(self._folder / "unet") > self._large
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
            noised = add_noise(clean[None], noise[None], steps[place].float())
            found.append(
                {
                    "sample": noised.expand(2, -1, -1, -1, -1).contiguous().numpy(),
                    "timestep": np.array([float(steps[place])], np.float32),
                    "encoder_hidden_states": states[number % len(states)].numpy(),
                }
            )
        return found

    @cached_property
    def _states(self) -> list[Tensor]:
        """float32 [2, L, D] of each text."""
        texts = self.texts
        try:
            model = self._checkpoint.text_encoder().float()
            if "tokens" in self.notes:
                self.notes["text"] = self.notes["tokens"]
            return [model(torch.from_numpy(ids["input_ids"])).last_hidden_state for ids in texts]
        except ExportError:
            # The last norm of a text encoder leaves states of about unit variance.
            self.notes["text"] = "random text states (the run has no text encoder that can be read)"
            width = int(self._config("unet")["cross_attention_dim"])
            shape, generator = (*texts[0]["input_ids"].shape, width), torch.Generator().manual_seed(SEED)
            return [torch.randn(shape, generator=generator) for _ in texts]

    @cached_property
    def _latents(self) -> list[Tensor]:
        """float32 [F, C, h, w] of each clip, scaled to about unit variance as the UNet takes them."""
        channels, scale = int(self._vae["latent_channels"]), vae_scale(self._folder)
        frames = int(self._video.get("frames", 8))
        height, width = (max(1, int(self._video.get(key, 64)) // scale) for key in ("height", "width"))
        if weights_bytes(self._folder / "unet", self._folder / "vae") > self._large:
            frames, edge = min(frames, _SMALL_VIDEO[0]), _SMALL_VIDEO[1]
            height, width = min(height, edge), min(width, edge)
        size = scale * max(height, width)
        made = [
            resized(clip, scale * height, scale * width)
            for clip in clips(self._videos, frames, size, clean=True)
        ]
        try:
            if not self._has_encoder(self._folder / "vae"):
                raise ExportError(f"{self._folder / 'vae'}: has no weights of the encoder")
            vae = self._checkpoint.vae().float()
        except ExportError:
            # The scaling factor of a latent diffusion model is chosen so that scaled latents have unit
            # variance (Rombach et al., 2022, appendix G).
            self.notes["latents"] = "random latents (the run has no VAE encoder that can be read)"
            generator = torch.Generator().manual_seed(SEED)
            return [torch.randn(frames, channels, height, width, generator=generator) for _ in made]
        return [vae.encode(clip).latent_dist.mean * self._scaling_factor for clip in made]

    def _has_encoder(self, folder: Path) -> bool:
        try:
            stored = open_weights(folder, "diffusion_pytorch_model", self._checkpoint.variant).shapes
        except CheckpointError as error:
            raise ExportError(str(error)) from None
        return any(name.startswith("encoder.") for name in stored)

    def _schedule(self) -> tuple[Tensor, Callable[[Tensor, Tensor, Tensor], Tensor]]:
        """The time steps of the run's own denoising, and the noised latents that its model reads at one: of
        clean latents, noise and the time step.
        """
        import diffusers

        settings = self._checkpoint.scheduler()
        if settings.get("timestep_spacing") == "default":
            del settings["timestep_spacing"]
        kind, flow = settings.pop("type"), settings["prediction_type"] == "flow_prediction"
        changes = {"use_flow_sigmas": True, "flow_shift": settings.get("shift", 1.0)} if flow else {}
        made: Any = getattr(diffusers, SAMPLERS[kind].diffusers)
        scheduler = made.from_config(settings | changes)  # it leaves other classes' keys out
        scheduler.set_timesteps(int(self._video.get("steps", 20)))
        train = settings["num_train_timesteps"]
        alphas = None if flow else diffusers.DDIMScheduler.from_config(settings).alphas_cumprod

        def noised(clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
            if alphas is None:
                sigma = timestep / train
                return (1 - sigma) * clean + sigma * noise
            alpha = alphas[int(timestep.round())]
            return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise

        return scheduler.timesteps, noised
