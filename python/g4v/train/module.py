"""A stage as a Lightning module: its loss, its optimiser, its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from g4v.model.assistant import Gpt4Video
from g4v.train.abort import abort, any_process, gather, list_places
from g4v.train.average import WeightAverage
from g4v.train.batch_sampler import steps_per_epoch
from g4v.train.checkpoint import State, load_checkpoint, place_weights, save_checkpoint
from g4v.train.errors import TrainingError
from g4v.train.gathering import gather_optimizer, gather_weights, is_deepspeed, scatter_optimizer
from g4v.train.optimizer import learning_rate_factor, stage_optimizer
from g4v.train.settings import Settings
from g4v.train.token_loss import token_losses


class StageModule(L.LightningModule):
    """One stage. The parameters of `model` that require gradients are what is trained.

    rows: of the data, for the learning rate's epochs. steps: of the optimiser in all. folder: of the
    checkpoints. about: configuration that a checkpoint must share with this run. loader: builds the batches
    for (world size, rank, first step). resume: the checkpoint to go on from.

    The loss of a step is the mean over the labels of all its rows, on whichever process and in whichever
    backward pass they are: Lightning divides by the number of passes and averages over processes, which is
    undone here.
    """

    def __init__(
        self,
        model: Gpt4Video,
        settings: Settings,
        rows: int,
        steps: int,
        folder: Path,
        about: dict[str, Any],
        loader: Callable[[int, int, int], Any],
        resume: Path | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.settings, self.folder, self.about = settings, folder, about
        self.rows, self.steps, self.build_loader = rows, steps, loader
        self.first_step = 0
        self.faults: dict[tuple[str, str], None] = {}  # in the order in which they were met
        self.average = None if settings.ema is None else WeightAverage(settings.ema)
        self.saved_step = -1  # of the last checkpoint; -1 without one
        self._state: State | None = None
        self._step_loss: Tensor | None = None
        self._step_places: list[str] = []  # this process's rows of the optimiser step under way
        self._deadline = float("inf")
        if resume is not None:
            self._state = load_checkpoint(resume)
            self.first_step = self.saved_step = self._state.step
            place_weights(self.model, self._state.weights)
            if self.average is not None:
                self.average.restore(self._state.average, self._weights())
            self.faults.update({(place, reason): None for place, reason in self._state.about["faults"]})

    @property
    def step(self) -> int:
        """Optimiser steps since the start of the stage."""
        return self.first_step + self.trainer.global_step

    def train_dataloader(self) -> Any:
        """The batches of this process from the first step of this start on."""
        return self.build_loader(self.trainer.world_size, self.trainer.global_rank, self.first_step)

    # The loss.

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
        """Scalar loss of a micro-batch of `g4v.train.rows.RowBatches`."""
        # Dropout follows from the place in the run, so that a resumed run draws what an unbroken one would.
        torch.manual_seed(hash((self.settings.seed, batch["number"], self.trainer.global_rank)) & 0x7FFFFFFF)
        for place, reason in batch["faults"]:
            self.faults[place, reason] = None
        if self.settings.on_error == "stop" and any_process(bool(batch["unusable"]), self.device):
            abort([f"{place}: {reason}" for place, reason in batch["unusable"]])
        losses, rows, extra = self._token_losses(batch)
        total = losses.sum()
        self._step_places += batch["places"]
        if any_process(not bool(torch.isfinite(total)), self.device):
            self._abort_at(batch, losses.detach(), rows)
        labels = batch["step_weight"] or 1.0
        self._log_loss(total.detach() / labels, index)
        share = self.trainer.world_size * self.settings.accumulate_grad_batches
        loss = total * (share / labels)
        return loss if extra is None else loss + 0.0 * extra

    def _token_losses(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor | None]:
        return token_losses(self.model, batch, self.settings.frames)

    def _abort_at(self, batch: dict[str, Any], losses: Tensor, rows: Tensor) -> None:
        bad = sorted(set(rows[~torch.isfinite(losses)].tolist()))
        value = "NaN" if gather([True] if torch.isnan(losses).any() else []) else "infinite"
        abort(
            [batch["places"][row] for row in bad],
            lambda places: (
                f"step {batch['step'] + 1}: the loss is {value} on {list_places(places)}; {self._kept()}"
            ),
        )

    def _kept(self) -> str:
        step = self.saved_step
        return f"the last good checkpoint is of step {step}" if step >= 0 else "nothing was saved"

    def _log_loss(self, part: Tensor, index: int) -> None:
        self._step_loss = part if self._step_loss is None else self._step_loss + part
        if self._ends_step(index):
            # The mean over processes of `world` times each one's part is the sum of the parts.
            self.log(
                "loss", self._step_loss * self.trainer.world_size, prog_bar=True, sync_dist=True, batch_size=1
            )
            self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"], batch_size=1)
            self._step_loss = None

    def _ends_step(self, index: int) -> bool:
        return (index + 1) % self.settings.accumulate_grad_batches == 0

    # The optimiser.

    def configure_optimizers(self) -> Any:
        """The optimiser, and its learning rate by step of the whole stage."""
        s = self.settings
        optimizer = stage_optimizer(self, s)
        per_epoch = steps_per_epoch(
            self.rows, s.batch_size * s.accumulate_grad_batches * self.trainer.world_size
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda done: learning_rate_factor(s, self.first_step + done, self.steps, per_epoch)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Restores the optimiser of the checkpoint, and starts the clock of `settings.minutes`."""
        if self.settings.minutes is not None:
            self._deadline = time.monotonic() + 60 * self.settings.minutes
        if self._state is not None:
            scatter_optimizer(self.trainer, self, self._state.optimizer)
            scaler = self._state.about.get("precision")
            if scaler:
                self.trainer.precision_plugin.load_state_dict(scaler)
            self._state = None
        if self.average is not None:
            self.average.restore(self.average.tensors, self._weights())

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Aborts where a gradient is not finite: even a finite loss can have one, and its step spoil all."""
        places, self._step_places = self._step_places, []
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        # A scale of the loss overflows on purpose now and then, and leaves out the step; DeepSpeed keeps
        # gradients to itself.
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None or is_deepspeed(self.trainer):
            return
        finite = not gradients or bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients)))
        if any_process(not finite, self.device):
            abort(
                places,
                lambda rows: (
                    f"step {self.step + 1}: the gradient is not finite on {list_places(rows)}; {self._kept()}"
                ),
            )

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        """After an optimiser step: averages the weights, saves a checkpoint, looks at the clock."""
        if not self._ends_step(index):
            return
        if self.average is not None:
            self.average.update(self._weights(), self.step)
        if self.step % self.settings.checkpoint_every == 0 and self.step != self.saved_step:
            self.save()
        if self.settings.minutes is not None:
            self.trainer.should_stop = any_process(time.monotonic() > self._deadline, self.device)

    # Checkpoints.

    def save(self) -> None:
        """Writes a checkpoint; every process must call this. Aborts where it cannot be written."""
        weights, optimizer = self.trained_tensors(), gather_optimizer(self.trainer, self)
        faults = self.all_faults()
        reasons = [f"step {self.step}: {name} is not finite; {self._kept()}" for name in _spoilt(weights)[:1]]
        if not reasons and self.trainer.is_global_zero:
            about = {
                "config": self.about,
                "faults": faults,
                "precision": self.trainer.precision_plugin.state_dict(),
            }
            average = {} if self.average is None else self.average.on_host()
            try:
                save_checkpoint(self.folder, State(self.step, weights, optimizer, about, average))
            except TrainingError as error:
                reasons = [str(error)]
        if any_process(bool(reasons), self.device):
            abort(reasons)
        self.saved_step = self.step
        for logger in self.trainer.loggers:
            logger.save()

    def all_faults(self) -> list[tuple[str, str]]:
        """(place, reason) of all processes, each once; every process must call this."""
        return gather(list(self.faults))

    def trained_tensors(self) -> dict[str, Tensor]:
        """Name within `model` -> trained tensor, whole, on the host; every process must call this."""
        return gather_weights(self.trainer, self.model)

    def _weights(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def _spoilt(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors with numbers that are not finite."""
    return [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
