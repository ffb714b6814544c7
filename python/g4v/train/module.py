"""The loss of a stage and its optimiser, on Lightning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from g4v.model.assistant import Gpt4Video
from g4v.model.prompt import IGNORED
from g4v.train.abort import any_process, gather, list_places, stop_together
from g4v.train.batch_sampler import steps_per_epoch
from g4v.train.checkpoint import (
    State,
    collect_optimizer,
    load_checkpoint,
    place_optimizer,
    place_weights,
    save_checkpoint,
)
from g4v.train.errors import TrainingError
from g4v.train.settings import Settings


class StageModule(L.LightningModule):
    """One stage. `model` holds the assistant; its parameters that require gradients are what is trained.

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
        self.rows, self.steps, self.build_loader, self.resume = rows, steps, loader, resume
        self.first_step = 0
        self.faults: dict[tuple[str, str], None] = {}  # in the order in which they were met
        self._state: State | None = None
        self._step_loss: Tensor | None = None
        self._step_places: list[str] = []  # this process's rows of the optimiser step under way
        self._saved = -1
        if resume is not None:
            self._state = load_checkpoint(resume)
            self.first_step = self._saved = self._state.step
            place_weights(self.model, self._state.weights)
            self.faults.update({(place, reason): None for place, reason in self._state.about["faults"]})

    @property
    def step(self) -> int:
        """Optimiser steps since the start of the stage."""
        return self.first_step + self.trainer.global_step

    def train_dataloader(self) -> Any:
        return self.build_loader(self.trainer.world_size, self.trainer.global_rank, self.first_step)

    # The loss.

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
        # Dropout follows from the place in the run, so that a resumed run draws what an unbroken one would.
        torch.manual_seed(hash((self.settings.seed, batch["number"], self.trainer.global_rank)) & 0x7FFFFFFF)
        for fault in batch["faults"]:
            self.faults[tuple(fault)] = None
        if self.settings.on_error == "stop" and any_process(bool(batch["unusable"]), self.device):
            stop_together([f"{place}: {reason}" for place, reason in batch["unusable"]])
        losses, rows, extra = self._token_losses(batch)
        total = losses.sum()
        self._step_places += batch["places"]
        if any_process(not bool(torch.isfinite(total)), self.device):
            self._stop_at(batch, losses.detach(), rows)
        labels = max(1, batch["step_tokens"])
        self._log_loss(total.detach() / labels, index)
        share = self.trainer.world_size * self.settings.accumulate_grad_batches
        loss = total * (share / labels)
        return loss if extra is None else loss + 0.0 * extra

    def _token_losses(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Losses float32 [labels] with their rows int64 [labels], and a zero that keeps the abstractor in the
        graph where the batch has no clip (every process must take part in every reduction).
        """
        ids, labels = batch["ids"], batch["labels"]
        tokens = self._video_tokens(batch)
        extra = None
        if "clips" not in batch and tokens is not None:
            extra, tokens = tokens.sum(), None
        embeds = self.model.embed(ids, tokens)
        base = self.model.llm.get_base_model() if hasattr(self.model.llm, "peft_config") else self.model.llm
        hidden = base.model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        # Logits of the supervised positions alone: of a whole batch they would take most of the memory.
        counted = labels[:, 1:] != IGNORED
        logits = base.lm_head(hidden[:, :-1][counted])
        losses = F.cross_entropy(logits.float(), labels[:, 1:][counted], reduction="none")
        return losses, counted.nonzero()[:, 0], extra

    def _video_tokens(self, batch: dict[str, Any]) -> Tensor | None:
        abstractor = self.model.abstractor
        if abstractor is None:
            return None
        if "clips" in batch:
            clips = batch["clips"]
            if clips.dim() == 4:  # features; pixels have five
                dtype = next(abstractor.parameters()).dtype
                return self.model.encode_video(features=clips.to(dtype))
            return self._encode(clips)
        if not next(abstractor.parameters()).requires_grad:
            return None
        weight = abstractor.query_tokens
        blank = torch.zeros(
            1,
            self.settings.frames,
            1,
            abstractor.config.memory_size,
            device=weight.device,
            dtype=weight.dtype,
        )
        return self.model.encode_video(features=blank)

    def _encode(self, pixels: Tensor) -> Tensor:
        assert self.model.encoder is not None
        with torch.no_grad():
            dtype = next(self.model.encoder.parameters()).dtype
            features = self.model.encoder(pixels.to(dtype))
        return self.model.encode_video(features=features)

    def _stop_at(self, batch: dict[str, Any], losses: Tensor, rows: Tensor) -> None:
        bad = sorted(set(rows[~torch.isfinite(losses)].tolist()))
        value = "NaN" if gather([True] if torch.isnan(losses).any() else []) else "infinite"
        stop_together(
            [batch["places"][row] for row in bad],
            lambda places: (
                f"step {batch['step'] + 1}: the loss is {value} on {list_places(places)}; {self._kept()}"
            ),
        )

    def _kept(self) -> str:
        return (
            f"the last good checkpoint is of step {self._saved}" if self._saved >= 0 else "nothing was saved"
        )

    def _log_loss(self, part: Tensor, index: int) -> None:
        before = self._step_loss
        self._step_loss = part if before is None else before + part
        if (index + 1) % self.settings.accumulate_grad_batches == 0:
            # The mean over processes of `world` times each one's part is the sum of the parts.
            self.log(
                "loss", self._step_loss * self.trainer.world_size, prog_bar=True, sync_dist=True, batch_size=1
            )
            self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"], batch_size=1)
            self._step_loss = None

    # The optimiser.

    def configure_optimizers(self) -> Any:
        s = self.settings
        trained = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=s.learning_rate)
        size = s.batch_size * s.accumulate_grad_batches * self.trainer.world_size
        per_epoch = steps_per_epoch(self.rows, size)

        def rate(done: int) -> float:
            step = self.first_step + done
            left = (self.steps - step) / max(1.0, s.cooldown * self.steps)
            return min(1.0, max(0.0, left)) * s.gamma ** (step // per_epoch)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # Checkpoints.

    def on_train_start(self) -> None:
        if self._state is not None:
            self._restore_optimizer(self._state)
            scaler = self._state.about.get("precision")
            if scaler:
                self.trainer.precision_plugin.load_state_dict(scaler)
            self._state = None

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """A loss can be finite and its gradient not: its step would spoil the weights unseen."""
        places, self._step_places = self._step_places, []
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        # A scale of the loss overflows on purpose now and then, and leaves out the step; DeepSpeed keeps
        # gradients to itself.
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None or self._partitioned():
            return
        finite = not gradients or bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients)))
        if any_process(not finite, self.device):
            stop_together(
                places,
                lambda rows: (
                    f"step {self.step + 1}: the gradient is not finite on {list_places(rows)}; {self._kept()}"
                ),
            )

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        if (index + 1) % self.settings.accumulate_grad_batches == 0:
            if self.step % self.settings.checkpoint_every == 0 and self.step != self._saved:
                self.save()

    def save(self) -> None:
        """Writes a checkpoint; every process must call this."""
        weights, optimizer = self.trained_tensors(), self._collect_optimizer()
        faults = self.all_faults()
        reasons = [f"step {self.step}: {name} is not finite; {self._kept()}" for name in _spoilt(weights)[:1]]
        if not reasons and self.trainer.is_global_zero:
            about = {
                "config": self.about,
                "faults": faults,
                "precision": self.trainer.precision_plugin.state_dict(),
            }
            try:
                save_checkpoint(self.folder, State(self.step, weights, optimizer, about))
            except TrainingError as error:
                reasons = [str(error)]
        if any_process(bool(reasons), self.device):
            stop_together(reasons)
        self._saved = self.step
        for logger in self.trainer.loggers:
            logger.save()

    def all_faults(self) -> list[tuple[str, str]]:
        """Of all processes, each once."""
        return gather(list(self.faults))

    def _sharded(self) -> nn.Module | None:
        """FSDP's root module; None where every process holds all weights."""
        from torch.distributed.fsdp import FullyShardedDataParallel

        root = self.trainer.strategy.model
        return root if isinstance(root, FullyShardedDataParallel) else None

    def trained_tensors(self) -> dict[str, Tensor]:
        """Name within `model` -> trained tensor, whole, on the host."""
        root = self._sharded()
        if root is not None:
            from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

            options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
            whole = get_model_state_dict(root, options=options)
            return {name.removeprefix("model."): tensor for name, tensor in whole.items()}
        if self._partitioned():
            import deepspeed

            trained = [p for p in self.model.parameters() if p.requires_grad]
            with deepspeed.zero.GatheredParameters(trained):
                return trained_tensors(self.model)
        return trained_tensors(self.model)

    def _partitioned(self) -> bool:
        return type(self.trainer.strategy).__name__ == "DeepSpeedStrategy"

    def _collect_optimizer(self) -> dict[str, dict[str, Tensor]]:
        optimizer = self.trainer.optimizers[0]
        if self._partitioned():
            return {}  # DeepSpeed keeps it in its own form: a resumed run starts with fresh moments
        root = self._sharded()
        if root is None:
            return collect_optimizer(self, optimizer)
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        return dict(get_optimizer_state_dict(root, optimizer, options=options).get("state", {}))

    def _restore_optimizer(self, state: State) -> None:
        optimizer = self.trainer.optimizers[0]
        root = self._sharded()
        if root is None:
            place_optimizer(self, optimizer, {} if self._partitioned() else state.optimizer)
            return
        from torch.distributed.checkpoint.state_dict import (
            StateDictOptions,
            get_optimizer_state_dict,
            set_optimizer_state_dict,
        )

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        groups = get_optimizer_state_dict(root, optimizer, options=options)["param_groups"]
        whole = {"state": state.optimizer, "param_groups": groups}
        set_optimizer_state_dict(root, optimizer, whole, options=options)


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Name -> copy on the host of every parameter that requires gradients."""
    return {n: p.detach().cpu().clone() for n, p in model.named_parameters() if p.requires_grad}


def _spoilt(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors with numbers that are not finite."""
    return [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
