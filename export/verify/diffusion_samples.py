"""Real inputs of the text-to-video components: token ids, noised latents and clean latents.

captions -> input_ids     as the runtime cuts and pads them, the negative prompt beside each
frames -> images          as the VAE's encoder takes them
frames -> latents         by that encoder: inputs of the VAE decoder, and, with noise added at steps
                          of the run's scheduler, of UNet or transformer, beside the states of a text
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
from g4v.export.checkpoint import ltx, ltx_sampling
from g4v.export.checkpoint.captions import Captions, read_captions
from g4v.export.checkpoint.pipelines import denoiser_of, pipeline_of
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.checkpoint.samplers import SAMPLERS
from g4v.export.checkpoint.video_sizes import frame_scale, latent_frames, side_steps, vae_scale
from g4v.export.errors import ExportError
from g4v.export.verify.causal_vae import chunk_feeds, decode_chunk, empty_caches
from g4v.export.verify.float64 import computing_in, feed_forwards
from g4v.export.verify.ltx import whole_feeds
from g4v.export.verify.sample_clips import SEED, captions, clips, resized
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.weight_files import open_weights

_SMALL_VIDEO = (4, 16)  # of a large network: frames, and rows and columns of latents at most
_STEPS = 5  # time steps of a denoising run that the UNet sees; 3 where it is large
_FEW_TEXTS = 2  # of a large text encoder

Inputs = Sequence[Mapping[str, np.ndarray]]


def weights_bytes(*folders: Path) -> int:
    """Returns the size of all weight files in the folders, in bytes."""
    files = [
        file for folder in folders for file in folder.iterdir() if file.suffix in (".safetensors", ".bin")
    ]
    return sum(file.stat().st_size for file in files)


def _text_feed(ids: np.ndarray, lengths: Sequence[int], masked: bool) -> dict[str, np.ndarray]:
    """Inputs of the text encoder. ids: [B, L]; lengths: of each row without its padding."""
    feed = {"input_ids": ids}
    if masked:
        places = np.arange(ids.shape[1])
        feed["attention_mask"] = (places < np.array(lengths)[:, None]).astype(np.int64)
    return feed


class DiffusionSamples:
    """Makes inputs of text encoder, UNet and the VAE's two halves from captions and clips.

    checkpoint: a run with a text-to-video model.
    videos: files that clips are read from; drawn clips without any.
    large: bytes of weight files above which a component gets fewer and smaller inputs.
    notes: attribute, what random numbers stand in for, by "tokens", "text" and "latents": a line each.
    """

    def __init__(self, checkpoint: Checkpoint, videos: Sequence[Path], large: float) -> None:
        self.notes: dict[str, str] = {}
        self._lengths: list[list[int]] = []  # of each text's two rows without their padding
        self._checkpoint, self._videos, self._large = checkpoint, videos, large
        self._folder = checkpoint.parts["t2v"]
        self._denoiser = denoiser_of(self._folder)
        self._pipeline = pipeline_of(self._folder)
        self._is_ltx = self._pipeline in ltx.PIPELINES
        self._is_causal = self._denoiser == "transformer" and not self._is_ltx  # its VAE is one over time

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
        """input_ids int64 [2, L] for each caption: the negative prompt and the caption; and attention_mask
        int64 [2, L] where the text encoder takes one. Of a large one few captions; and where nothing comes of
        padding, as little of it as the two need.
        """
        config = self._config("text_encoder")
        length, masked, zeroed = self._captions
        large = weights_bytes(self._folder / "text_encoder") > self._large
        texts = captions()[: _FEW_TEXTS if large else None]
        try:
            tokenizer = self._checkpoint.tokenizer("text_encoder")
            if tokenizer.pad_token_id is None:
                raise ExportError(f"{self._folder / 'tokenizer'}: has no pad token")
        except ExportError:
            self.notes["tokens"] = "random token ids (the run has no tokenizer for texts that can be used)"
            generator = torch.Generator().manual_seed(SEED)
            size = int(config["vocab_size"])
            drawn = [torch.randint(size, (2, length), generator=generator).numpy() for _ in texts]
            return [_text_feed(ids, [length, length], masked) for ids in drawn]
        begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]

        def cut(text: str) -> list[int]:
            ids = tokenizer.encode(text, add_special_tokens=False)[: length - len(begin) - len(end)]
            return [*begin, *ids, *end]

        negative, found = cut(str(self._video.get("negative_prompt", ""))), []
        for text in texts:
            rows = [negative, cut(text)]
            self._lengths.append([len(row) for row in rows])
            most = max(map(len, rows)) if large and masked and zeroed else length
            padded = [[*row, *[tokenizer.pad_token_id] * (most - len(row))] for row in rows]
            found.append(_text_feed(np.array(padded, np.int64), [len(row) for row in rows], masked))
        return found

    @property
    def _captions(self) -> Captions:
        return read_captions(self._folder)

    @cached_property
    def vae_latents(self) -> Inputs:
        """latents float32 [F, C, h, w] as the VAE decoder takes them; the second is of a single frame. Of a
        causal VAE the first two latents of each clip, as the chunks that they are; of LTX-Video's with its
        other inputs.
        """
        if self._is_causal:
            return self._chunks()
        if self._is_ltx:
            vae = self._checkpoint.vae().float()
            step = float(self._video.get("decode_timestep", 0.0))
            wholes = [ltx.denormalised(vae, latents) for latents in self._latents]
            parts = (wholes[0], wholes[-1][:1], *wholes[1:])
            return [whole_feeds(vae, latents.contiguous(), step) for latents in parts]
        found = [(latents / self._scaling_factor).contiguous().numpy() for latents in self._latents]
        return [{"latents": latents} for latents in (found[0], found[-1][:1], *found[1:])]

    def _chunks(self) -> Inputs:
        vae, found = self._checkpoint.vae().float(), []
        mean, std = (torch.tensor(part).reshape(1, -1, 1, 1) for part in self._statistics(vae))
        for clip in self._latents:
            latents = clip * std + mean
            caches = empty_caches(vae, *latents.shape[2:])
            for place, frame in enumerate(latents[:2]):
                found.append(chunk_feeds(frame[None], caches, place == 0))
                caches = decode_chunk(vae, frame[None], caches, place == 0)[1]
        return found

    @staticmethod
    def _statistics(vae: Any) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel of a causal VAE's latents."""
        return list(vae.config.latents_mean), list(vae.config.latents_std)

    @cached_property
    def vae_images(self) -> Inputs:
        """images float32 [F, 3, H, W] as the VAE encoder takes them; the second is of a single frame."""
        found = [clip.contiguous().numpy() for clip in self._clips]
        return [{"images": images} for images in (found[0], found[-1][:1], *found[1:])]

    @cached_property
    def denoising(self) -> Inputs:
        """Inputs of UNet or transformer in a guided step: both texts on the same noised latents.

        The first is at the noisiest time step, the second at the cleanest.
        """
        states, latents = self._states, self._latents
        large = weights_bytes(self._folder / self._denoiser) > self._large
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
            given = {
                "sample": noised.expand(2, -1, -1, -1, -1).contiguous().numpy(),
                "timestep": np.array([float(steps[place])], np.float32),
                "encoder_hidden_states": states[number % len(states)].numpy(),
            }
            if self._is_ltx:
                given |= self._of_ltx(number % len(states), noised.shape[2])
            found.append(given)
        return found

    def _of_ltx(self, text: int, frames: int) -> dict[str, np.ndarray]:
        """What LTX-Video's transformer reads beside the others' inputs."""
        ids = self.texts[text]["input_ids"]
        rows = self._lengths[text] if self._lengths else [ids.shape[1]] * len(ids)
        places = np.arange(ids.shape[1])
        between, fps = frame_scale(self._folder), float(self._video.get("fps", 25))
        return {
            "encoder_attention_mask": (places < np.array(rows)[:, None]).astype(np.int64),
            "frame_seconds": ltx_sampling.frame_seconds(self._pipeline, frames, between, fps),
        }

    def _encode(self, model: Any, feed: Mapping[str, np.ndarray]) -> Tensor:
        """float32 [2, L, D] of a text, as the denoising network takes them."""
        given = {name: torch.from_numpy(value) for name, value in feed.items()}
        states: Tensor = model(**given).last_hidden_state
        if not self._captions.zero_padding:
            return states
        states = states * given["attention_mask"][..., None]
        return torch.nn.functional.pad(states, (0, 0, 0, self._captions.length - states.shape[1]))

    @cached_property
    def _states(self) -> list[Tensor]:
        """float32 [2, L, D] of each text."""
        texts = self.texts
        try:
            model = self._checkpoint.text_encoder()
            if "tokens" in self.notes:
                self.notes["text"] = self.notes["tokens"]
            with computing_in(torch.float32, model, whole=feed_forwards(model)):
                return [self._encode(model, feed) for feed in texts]
        except ExportError:
            # The last norm of a text encoder leaves states of about unit variance.
            self.notes["text"] = "random text states (the run has no text encoder that can be read)"
            width = self._text_width
            shape, generator = (*texts[0]["input_ids"].shape, width), torch.Generator().manual_seed(SEED)
            return [torch.randn(shape, generator=generator) for _ in texts]

    @property
    def _text_width(self) -> int:
        """Width of the states of a text; the defaults are diffusers'."""
        config = self._config(self._denoiser)
        if self._is_ltx:
            return ltx.text_width(config)
        return int(config.get("text_dim", 4096) if self._is_causal else config["cross_attention_dim"])

    @property
    def _tokens(self) -> int:
        """Latents of a video of the run's own size."""
        height, width = (int(self._video.get(key, 64)) for key in ("height", "width"))
        frames = latent_frames(self._folder, int(self._video.get("frames", 8)))
        return frames * height * width // vae_scale(self._folder) ** 2

    @property
    def _latent_channels(self) -> int:
        """The defaults are diffusers'."""
        if self._is_ltx:
            return ltx.latent_channels(self._vae)
        return int(self._vae.get("z_dim", 16) if self._is_causal else self._vae["latent_channels"])

    @cached_property
    def _latents(self) -> list[Tensor]:
        """float32 [F, C, h, w] of each clip, scaled to about unit variance as they are denoised."""
        made, scale = self._clips, vae_scale(self._folder)
        try:
            if not self._has_encoder(self._folder / "vae"):
                raise ExportError(f"{self._folder / 'vae'}: has no weights of the encoder")
            vae = self._checkpoint.vae().float()
        except ExportError:
            # The scaling factor of a latent diffusion model is chosen so that scaled latents have unit
            # variance (Rombach et al., 2022, appendix G).
            self.notes["latents"] = "random latents (the run has no VAE encoder that can be read)"
            generator = torch.Generator().manual_seed(SEED)
            channels = self._latent_channels
            shapes = [
                (latent_frames(self._folder, len(c)), channels, c.shape[2] // scale, c.shape[3] // scale)
                for c in made
            ]
            return [torch.randn(shape, generator=generator) for shape in shapes]
        if self._is_ltx:
            encoded = (vae.encode(clip.transpose(0, 1)[None]).latent_dist.mean[0] for clip in made)
            return [ltx.normalised(vae, latents.transpose(0, 1)) for latents in encoded]
        if self._is_causal:
            mean, std = (torch.tensor(part).reshape(1, -1, 1, 1) for part in self._statistics(vae))
            means = (vae.encode(clip.transpose(0, 1)[None]).latent_dist.mean[0] for clip in made)
            return [(latents.transpose(0, 1) - mean) / std for latents in means]
        return [vae.encode(clip).latent_dist.mean * self._scaling_factor for clip in made]

    @cached_property
    def _clips(self) -> list[Tensor]:
        """float32 [F, 3, H, W] of each clip, -1 to 1."""
        scale, frames = vae_scale(self._folder), int(self._video.get("frames", 8))
        step = frame_scale(self._folder)
        height, width = (max(1, int(self._video.get(key, 64)) // scale) for key in ("height", "width"))
        if weights_bytes(self._folder / self._denoiser, self._folder / "vae") > self._large:
            # Of a causal VAE the first latent, and one that has all frames.
            frames, edge = min(frames, _SMALL_VIDEO[0] if step == 1 else step + 1), _SMALL_VIDEO[1]
            patches = [side // scale for side in side_steps(self._folder)]
            height, width = (
                max(patch, min(side, edge) // patch * patch)
                for side, patch in zip((height, width), patches, strict=True)
            )
        size = scale * max(height, width)
        return [
            resized(clip, scale * height, scale * width)
            for clip in clips(self._videos, frames, size, clean=True)
        ]

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
        count = int(self._video.get("steps", 20))
        if settings.get("use_linear_quadratic_sigmas"):
            scheduler.set_timesteps(sigmas=ltx_sampling.linear_quadratic_sigmas(count))
        elif self._is_ltx:
            levels = np.linspace(1.0, 1 / count, count)
            scheduler.set_timesteps(sigmas=levels, mu=ltx_sampling.time_shift(settings, self._tokens))
        else:
            scheduler.set_timesteps(count)
        train = settings["num_train_timesteps"]
        alphas = None if flow else diffusers.DDIMScheduler.from_config(settings).alphas_cumprod

        def noised(clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
            if alphas is None:
                sigma = timestep / train
                return (1 - sigma) * clean + sigma * noise
            alpha = alphas[int(timestep.round())]
            return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise

        return scheduler.timesteps, noised
