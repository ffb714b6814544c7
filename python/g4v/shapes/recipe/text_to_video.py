"""The text-to-video model: a UNet that denoises latents of clean clips, and the text encoder that guides it.

Velocity prediction (Salimans and Ho, 2022) on a schedule that ends in pure noise (Lin et al., 2023). The loss
weights the objects, which are a small part of a picture and most of its caption. The text encoder starts from
the run on single pictures, which teach it no motion, and goes on learning here. Motion is learned from the
first and the last frame of a clip, then from more frames: with eight at once the word, the frame's number and
the place only help together, and 1,300 steps taught none of it; with two, 300 did. Which of two objects is
what has its own task (g4v.shapes.recipe.phrases).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from g4v.model.presets import Preset
from g4v.shapes.recipe.latents import CachedLatents
from g4v.shapes.recipe.loop import Part
from g4v.shapes.recipe.phrases import PhraseReader, find_phrases
from g4v.shapes.recipe.tokenizers import encode_captions

_APART = 0.7  # root mean square over channels by which an object's latents differ from the background's
_OBJECT_WEIGHT = 12.0  # largest further weight of an object's latents in the loss
# Further weight of what differs from frame to frame in the error: pictures have taught the rest, and motion
# is a small part of a clip's variance. Whether it speeds the learning of motion was not measured.
_CHANGE_WEIGHT = 3.0
_PHRASE_WEIGHT = 0.1  # of the text encoder's own task


def object_mask(latents: Tensor) -> Tensor:
    """Where clean latents [B, C, T, h, w] of unit variance are not background: [B, T, h, w] of 0 and 1."""
    background = latents.flatten(2).median(2).values[..., None, None, None]
    return ((latents - background).square().mean(1).sqrt() > _APART).float()


def count_looks(frames: int, shared_noise: float) -> float:
    """How many independent noisy views of a scene its frames give, where they share part of the noise.

    shared_noise: share of the noise's variance that all frames have in common; 0 gives `frames`, 1 gives 1.
    """
    return frames / (1 + (frames - 1) * shared_noise)


def object_weight(latents: Tensor, alpha: Tensor, looks: float) -> Tensor:
    """Weights [B, T, h, w] of mean 1 that make up for the small area of what a caption speaks about.

    alpha [B] is the signal's share of the variance. The weight follows the share that all looks together
    give, because where the place of an object cannot be seen in the noisy latents, weighting by place would
    teach to see one everywhere.
    """
    seen = looks * alpha / (1 + (looks - 1) * alpha)
    weight = 1 + _OBJECT_WEIGHT * seen.view(-1, 1, 1, 1) * object_mask(latents)
    return weight / weight.mean((1, 2, 3), keepdim=True)


def shifted_steps(alphas: Tensor, looks: float) -> Tensor:
    """int64 [steps]: for each step of the schedule the one with a `looks` times lower signal-to-noise ratio.

    Under such noise a clip shows what a picture shows at the step itself (the shift of Esser et al., 2024,
    for larger pictures).
    """
    ratio = alphas / (1 - alphas).clamp(min=1e-8)
    # The ratios fall; searchsorted wants them rising.
    above = len(ratio) - torch.searchsorted(ratio.flip(0), ratio / looks, right=True)
    return above.clamp(max=len(ratio) - 1)


def draw_noise(rng: np.random.Generator, shape: torch.Size, shared: float) -> Tensor:
    """Normal noise [B, C, T, h, w] of unit variance, `shared` of which all frames of a clip have in common
    (the mixed noise of Ge et al., 2023): noise that looks like an object in one frame does so in all.
    """
    own = rng.standard_normal(tuple(shape), dtype=np.float32)
    common = rng.standard_normal((*shape[:2], 1, *shape[3:]), dtype=np.float32)
    return torch.from_numpy(np.sqrt(1 - shared) * own + np.sqrt(shared) * common).float()


def few_frames(frames: int, of: int) -> NDArray[np.int64]:
    """int64 [frames]: which of `of` frames to keep, evenly apart, the first and the last among them."""
    return np.linspace(0, of - 1, frames).round().astype(np.int64)


def _for_training(model: nn.Module) -> None:
    """Takes out of a UNet what makes its training slower on a CPU, by a fifth with the sizes of `tiny`:
    dropout (every clip is drawn anew under other noise; there is nothing to overfit to) and the fused
    attention, which is made for longer sequences and wider heads.
    """
    from diffusers.models.attention_processor import AttnProcessor

    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, nn.Identity())
    model.set_attn_processor(AttnProcessor())  # type: ignore[operator]


class TextToVideoPart(Part):
    """The UNet and its text encoder, `clips` latents a step.

    latents: folder of the cache. scaling_factor: of the autoencoder. frames: 1 trains on single frames (many
    different pictures), more on so many frames of a clip. shared_noise: share of the noise's variance that
    all frames of a clip have in common. drop_text: share of the captions that are left out, for guidance.
    """

    def __init__(
        self,
        preset: Preset,
        tokenizer: Any,
        latents: Path,
        scaling_factor: float,
        frames: int,
        clips: int,
        shared_noise: float = 0.0,
        drop_text: float = 0.1,
    ) -> None:
        super().__init__()
        from diffusers import DDIMScheduler, UNet3DConditionModel
        from transformers import CLIPTextModel

        text = CLIPTextModel(
            preset.text_config(len(tokenizer), bos_token_id=1, eos_token_id=2, pad_token_id=0)
        )
        unet: Any = UNet3DConditionModel(**preset.unet)
        self.model = nn.ModuleDict(
            {
                "unet": unet,
                "text_encoder": text,
                "phrases": PhraseReader(text.config.hidden_size),
            }
        )
        _for_training(self.model["unet"])
        schedule = DDIMScheduler.from_config(preset.scheduler)
        self.alphas: Tensor
        self.register_buffer("alphas", schedule.alphas_cumprod.clone(), persistent=False)
        self.shared_noise = shared_noise if frames > 1 else 0.0
        self.looks = count_looks(frames, self.shared_noise)
        self.steps = shifted_steps(schedule.alphas_cumprod, self.looks)
        self.tokenizer, self.frames, self.clips, self.drop_text = tokenizer, frames, clips, drop_text
        self.scaling_factor = scaling_factor
        self.length = int(preset.text_encoder["max_position_embeddings"])
        self.data = CachedLatents(latents)
        self.draws = 0

    def batch(self, rng: np.random.Generator) -> Any:
        if self.draws % 100 == 0:
            self.data.refresh()
        self.draws += 1
        latents, texts = self.data.draw(rng, self.clips)
        if self.frames == 1:
            chosen = torch.from_numpy(rng.integers(latents.shape[2], size=len(latents)))
            latents = latents[torch.arange(len(latents)), :, chosen][:, :, None]
        else:
            latents = latents[:, :, few_frames(self.frames, latents.shape[2])]
        texts = ["" if rng.random() < self.drop_text else text for text in texts]
        # Each part of the schedule once in every batch: a steadier gradient than independent draws. The
        # noisier half has three times the share of the other: there the caption decides what is seen.
        steps = np.sqrt((np.arange(self.clips) + rng.random(self.clips)) / self.clips) * len(self.alphas)
        noise = draw_noise(rng, latents.shape, self.shared_noise)
        return (
            latents * self.scaling_factor,
            encode_captions(self.tokenizer, texts, self.length),
            self.steps[rng.permutation(steps.astype(np.int64))],
            noise,
            find_phrases(self.tokenizer, texts),
        )

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        latents, ids, steps, noise, phrases = batch
        alpha = self.alphas[steps].view(-1, 1, 1, 1, 1)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
        context = self.model["text_encoder"](input_ids=ids).last_hidden_state
        predicted = self.model["unet"](noisy, steps, encoder_hidden_states=context).sample
        weight = object_weight(latents, self.alphas[steps], self.looks)
        missed = predicted - velocity
        change = missed - missed.mean(2, keepdim=True)
        squares = missed.square().mean(1) + _CHANGE_WEIGHT * change.square().mean(1)
        error = (squares * weight).mean((1, 2, 3))
        loss, right = self.model["phrases"](context, phrases)
        figures = {"error_high": float(error.detach()[steps > 700].mean()), "phrases_right": float(right)}
        return error.mean() + _PHRASE_WEIGHT * loss, figures
