"""The training loop of the parts that only the embedded default has, on Lightning.

These parts are no stage of an assistant and learn from generated batches: autoencoder, encoder and text
encoder, frame checker, text to video, the base language model. Stages 1 and 2 are trained by g4v.train.run.

Every batch and every random number of a step follows from (seed, step) alone, so a run that was stopped and
resumed draws what an unbroken run would have drawn.
"""

from __future__ import annotations

import itertools
import logging
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, IterableDataset

from g4v.train.curves import draw_curves
from g4v.train.muon import matrices_of
from g4v.train.optimizer import build_optimizer


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast a part is trained."""

    steps: int  # optimiser steps in all
    learning_rate: float  # after the warm-up
    warmup: int = 100  # steps of linear warm-up
    decay: float = 0.2  # last part of the run over which the rate falls linearly to a twentieth
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0  # largest norm of the gradient
    ema: float | None = None  # decay of the averaged weights; None keeps none
    muon: bool = False  # Muon for the matrices of linear and convolution layers; AdamW for all else
    seed: int = 0
    checkpoint_every: int = 100  # steps
    threads: int | None = None  # CPU threads; None leaves PyTorch's choice
    minutes: float | None = None  # stop after this much time, to be resumed later


class Part(L.LightningModule):
    """A part that can be trained. Subclasses set `self.model` and give batches and losses."""

    model: Any  # an nn.Module; each subclass has its own attributes
    settings: LoopSettings

    def batch(self, rng: np.random.Generator) -> Any:
        """The host-side data of one step, drawn from rng alone."""
        raise NotImplementedError

    def stream(self, seed: int, first_step: int) -> Iterator[Any]:
        """The batches from `first_step` on."""
        for step in itertools.count(first_step):
            yield self.batch(np.random.default_rng([seed, step]))

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        """The scalar loss of a batch and further figures for the curves."""
        raise NotImplementedError

    def trained_parameters(self) -> list[nn.Parameter]:
        """Parameters that require gradients."""
        return [p for p in self.parameters() if p.requires_grad]

    def attach(self, settings: LoopSettings) -> None:
        """Takes over the settings; called once before the run."""
        self.settings = settings
        self.average: AveragedModel | None = None
        if settings.ema is not None:
            self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))
            self.average.requires_grad_(False)

    def best_model(self) -> nn.Module:
        """The model with averaged weights where they are kept, else with the current ones."""
        best: nn.Module = self.average.module if self.average is not None else self.model
        return best

    def training_step(self, batch: Any, index: int) -> Tensor:
        torch.manual_seed(self.settings.seed * 1_000_003 + self.global_step)
        loss, figures = self.loss(batch)
        self.log("loss", loss.detach(), prog_bar=True)
        for name, value in figures.items():
            self.log(name, value, prog_bar=True)
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        if self.average is not None:
            # A short memory at first, so that early exports are not the random start.
            if self.global_step < 2 / (1 - (self.settings.ema or 0)) and self.global_step % 10 == 0:
                keep = self.global_step / (self.global_step + 20)
                pairs = zip(self.average.module.parameters(), self.model.parameters(), strict=True)
                with torch.no_grad():
                    for mean, now in pairs:
                        mean.lerp_(now, 1 - keep)
            else:
                self.average.update_parameters(self.model)

    def configure_optimizers(self) -> Any:
        s = self.settings
        optimizer = build_optimizer(
            self.trained_parameters(),
            matrices_of(self.model) if s.muon else (),
            learning_rate=s.learning_rate,
            betas=s.betas,
            weight_decay=s.weight_decay,
        )
        falling = max(1, int(s.steps * s.decay))

        def rate(step: int) -> float:
            return min(1.0, (step + 1) / s.warmup) * max(0.05, min(1.0, (s.steps - step) / falling))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Batches(IterableDataset):  # type: ignore[type-arg]
    def __init__(self, part: Part, seed: int, first_step: int) -> None:
        self.part, self.seed, self.first_step = part, seed, first_step

    def __iter__(self) -> Iterator[Any]:
        return self.part.stream(self.seed, self.first_step)


class _StopAfter(Callback):
    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if time.monotonic() > self.end:
            trainer.should_stop = True


def run(part: Part, name: str, folder: Path, settings: LoopSettings, progress: bool = True) -> bool:
    """Trains `part` in `folder` (checkpoints and logs), from its last checkpoint if it has one.

    Returns True when all steps are done, False when the time ran out before. The part then holds the weights.
    """
    # Lightning's advice about workers and loggers does not apply to batches that are drawn in-process.
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    folder.mkdir(parents=True, exist_ok=True)
    part.attach(settings)
    last = folder / "last.ckpt"
    first_step = 0
    if last.exists():
        first_step = int(torch.load(last, map_location="cpu", weights_only=True)["global_step"])
    callbacks: list[Callback] = [
        ModelCheckpoint(
            dirpath=folder,
            filename="last",
            save_top_k=1,
            enable_version_counter=False,
            every_n_train_steps=settings.checkpoint_every,
            save_on_train_epoch_end=False,
        )
    ]
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=10))
    if settings.minutes is not None:
        callbacks.append(_StopAfter(settings.minutes))
    loggers = [
        TensorBoardLogger(folder, name="tensorboard", version=f"from-{first_step}"),
        CSVLogger(folder, name="csv", version=f"from-{first_step}"),
    ]
    trainer = L.Trainer(
        accelerator="auto",
        devices=1,
        max_steps=settings.steps,
        callbacks=callbacks,
        logger=loggers,
        gradient_clip_val=settings.clip,
        log_every_n_steps=10,
        enable_model_summary=False,
        enable_progress_bar=progress,
        use_distributed_sampler=False,
        val_check_interval=None,
    )
    loader = DataLoader(_Batches(part, settings.seed, first_step), batch_size=None)
    if first_step < settings.steps:
        resume = str(last) if last.exists() else None
        trainer.fit(part, loader, ckpt_path=resume, weights_only=True)
        trainer.save_checkpoint(last)
    else:
        state = torch.load(last, map_location="cpu", weights_only=True)["state_dict"]
        part.load_state_dict(state)
    part.eval()
    draw_curves(folder, name)
    return first_step >= settings.steps or trainer.global_step >= settings.steps
