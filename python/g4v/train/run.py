"""One stage, from its settings to its result."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader
from transformers.utils import logging as transformers_logging

from g4v.eval.progress import Progress
from g4v.model.bases.errors import one_line
from g4v.shapes.recipe.loop import draw_curves
from g4v.train.assembly import Stage, assemble
from g4v.train.bases import prepare_bases
from g4v.train.batch_sampler import Order, steps_per_epoch
from g4v.train.checkpoint import check_same, find_checkpoint, load_step, sweep
from g4v.train.datasets import Rows, open_rows
from g4v.train.errors import TrainingError
from g4v.train.features import FeatureCache, distinct, fill_cache
from g4v.train.files import read_json
from g4v.train.module import StageModule, trained_tensors
from g4v.train.outputs import write_report, write_results
from g4v.train.rows import RowBatches
from g4v.train.settings import Settings
from g4v.train.strategies import build_strategy, choose_precision, parse_devices
from g4v.train.trainable_modules import dtype_of

# Settings that decide what is learned; a run may only go on with the same ones.
_DECIDING = (
    "data split frames max_length supervise learning_rate gamma cooldown gradient_clip seed lora_r "
    "lora_alpha lora_dropout lora_targets"
).split()


def run_stage(settings: Settings, stage: str) -> None:
    """Trains one stage and writes its result; does nothing where it is finished and `resume` is set."""
    _quieten()
    # All of these raise before Lightning starts processes or a model is loaded.
    strategy, devices = build_strategy(settings), parse_devices(settings.devices)
    precision = choose_precision(settings)
    first = rank_zero_only.rank == 0
    folder = Path(settings.out) / "work" / stage
    last = find_checkpoint(folder)
    if last is not None and not settings.resume and first:
        raise TrainingError(f"{last} is there already: give --resume to go on from it, or another --out")
    done = load_step(last)
    loggers = [
        kind(folder, name=name, version=f"from-{done}", first_step=done)
        for kind, name in ((_TensorBoard, "tensorboard"), (_Table, "csv"))
    ]
    trainer = _build_trainer(settings, strategy, devices, precision, loggers)
    marks = prepare_bases(settings, first)
    # FSDP joins the weights of a layer in one buffer, which has one type.
    dtype = torch.float32 if settings.strategy == "fsdp" else dtype_of(precision)
    parts = assemble(settings, stage, marks, dtype)
    rows = open_rows(settings, stage, parts.template)
    if stage == "stage1" and not any(row.clips for row in _some(rows)):
        raise TrainingError(f"stage1 learns from videos, and the first rows of {settings.data[0]} have none")
    size = settings.batch_size * settings.accumulate_grad_batches * trainer.world_size
    per_epoch = steps_per_epoch(len(rows), size)
    steps = settings.max_steps or per_epoch * settings.max_epochs
    about = {name: _plain(getattr(settings, name)) for name in _DECIDING}
    # Only where they are given: runs that began before these settings existed can go on.
    about |= {
        name: _plain(getattr(settings, name)) for name in ("mixture", "leave_out") if getattr(settings, name)
    }
    about |= {"rows": len(rows), "rows_per_step": size, "bases": marks, "stage": stage}
    if last is not None:
        check_same(last, read_json(last / "state.json")["config"], about)
    if first:
        sweep(folder)
    module = _Stage(parts, settings, rows, folder, about, steps, last)
    if module.first_step < steps:
        trainer.fit(module)
        if trainer.interrupted:
            raise KeyboardInterrupt
        if module.step != module._saved:
            module.save()
        faults, tensors = module.all_faults(), module.trained_tensors()
    else:
        faults, tensors = list(module.faults), trained_tensors(module.model)
    if trainer.is_global_zero:
        write_results(settings, parts, tensors, rows, max(steps, module.first_step))
        draw_curves(folder, stage)
        report = write_report(folder, rows, faults)
        count = rows.left_out + len(faults)
        if count:
            print(f"g4v.train: {stage}: {count} rows were left out or cut, see {report}", file=sys.stderr)
    if trainer.world_size > 1 and torch.distributed.is_initialized():
        torch.distributed.barrier()


def _build_trainer(
    settings: Settings, strategy: Any, devices: Any, precision: str, loggers: list[Any]
) -> L.Trainer:
    """TrainingError where Lightning refuses what it is asked for: no such device here, for one."""
    try:
        return L.Trainer(
            accelerator=settings.accelerator,
            devices=devices,
            num_nodes=settings.num_nodes,
            strategy=strategy,
            precision=precision,
            max_epochs=1,  # of Lightning's: one pass over the micro-batches of all our epochs
            accumulate_grad_batches=settings.accumulate_grad_batches,
            gradient_clip_val=settings.gradient_clip,
            log_every_n_steps=settings.log_every,
            logger=loggers,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=settings.progress,
            callbacks=[TQDMProgressBar(refresh_rate=10)] if settings.progress else [],
            use_distributed_sampler=False,
        )
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        raise TrainingError(
            f"accelerator {settings.accelerator}, devices {settings.devices}, strategy {settings.strategy}, "
            f"precision {precision}: {one_line(error)}"
        ) from None


class _Offset:
    """A logger that counts steps from the start of the stage, Lightning from that of the process.

    A log that cannot be written costs one line and not the run: the next checkpoint says whether the disk is
    still full.
    """

    def __init__(self, *arguments: Any, first_step: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.first_step = first_step
        self.warned = self.broken = False

    def _try(self, write: Callable[..., Any], *arguments: Any) -> None:
        if self.broken:
            return
        try:
            write(*arguments)
        except (OSError, ValueError) as error:  # ValueError is what Lightning makes of TensorBoard's
            cause = error.__context__ if isinstance(error, ValueError) else error
            if not isinstance(cause, OSError):
                raise
            self.broken = isinstance(self, TensorBoardLogger)  # its thread that writes has ended
            if not self.warned:
                print(
                    f"g4v.train: warning: the {self.name} log cannot be written: {one_line(cause)}",
                    file=sys.stderr,
                )
            self.warned = True

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        self._try(super().log_metrics, metrics, (step or 0) + self.first_step)  # type: ignore[misc]

    def log_hyperparams(self, *arguments: Any, **_: Any) -> None:
        self._try(super().log_hyperparams, *arguments)  # type: ignore[misc]

    def save(self) -> None:
        self._try(super().save)  # type: ignore[misc]

    def finalize(self, status: str) -> None:
        self._try(super().finalize, status)  # type: ignore[misc]


class _TensorBoard(_Offset, TensorBoardLogger):
    pass


class _Table(_Offset, CSVLogger):
    pass


class _Stage(StageModule):
    """Adds the data: the batches of this process, and the cache of features, filled before the first step."""

    def __init__(
        self,
        parts: Stage,
        settings: Settings,
        rows: Rows,
        folder: Path,
        about: dict[str, Any],
        steps: int,
        resume: Path | None,
    ) -> None:
        super().__init__(parts.model, settings, len(rows), steps, folder, about, self._loader, resume)
        self.parts, self.data = parts, rows
        self.read_clip: Callable[..., Any] = parts.reader or _no_eyes
        self.blank: Callable[[], Any] = parts.reader.blank if parts.reader else _no_eyes

    def setup(self, stage: str) -> None:
        if self.settings.feature_cache is None or self.parts.reader is None or self.model.encoder is None:
            return
        rank, world = self.trainer.global_rank, self.trainer.world_size
        cache = FeatureCache(
            Path(self.settings.feature_cache), self.parts.marks["encoder"], self.parts.reader
        )
        device = self.trainer.strategy.root_device
        encoder = self.model.encoder.to(device)
        dtype = next(encoder.parameters()).dtype
        clips = list(distinct(clip for index in range(len(self.data)) for clip in self.data[index].clips))
        own = [clip for clip in clips[rank::world] if clip not in cache]
        shown = Progress("encoding clips", len(own)) if own and self.settings.progress and not rank else None
        with shown or nullcontext():
            reasons = fill_cache(
                cache,
                own,
                self.parts.reader,
                lambda pixels: encoder(pixels.to(device, dtype)),
                self.settings.num_workers,
                rank,
                lambda _: shown.step() if shown else None,
            )
        self.trainer.strategy.barrier()
        cache.scan()
        if not cache.where:
            raise TrainingError(
                f"not one of {len(clips)} clips can be read: {next(iter(reasons.values()), '')}"
            )
        self.read_clip, self.blank = _Cached(cache, reasons), cache.blank
        self.model.encoder = None  # frees its memory

    def _loader(self, world: int, rank: int, first_step: int) -> Any:
        s = self.settings
        order = Order(
            len(self.data),
            s.batch_size,
            s.accumulate_grad_batches,
            world,
            rank,
            s.seed,
            first_step,
            self.steps,
        )
        batches = RowBatches(self.data, self.parts.rows, self.read_clip, self.blank)
        return DataLoader(
            batches,
            batch_size=None,
            sampler=order,  # type: ignore[arg-type]
            num_workers=s.num_workers,
            prefetch_factor=4 if s.num_workers else None,
            pin_memory=torch.cuda.is_available() and s.accelerator != "cpu",
        )


class _Cached:
    """Reads features; a clip that could not be encoded is refused with the reason of that time."""

    def __init__(self, cache: FeatureCache, reasons: dict[str, str]) -> None:
        self.cache, self.reasons = cache, reasons

    def __call__(self, clip: Any) -> Any:
        reason = self.reasons.get(clip.key())
        if reason is not None:
            from g4v.errors import VideoError

            raise VideoError(reason)
        return self.cache(clip)


def _no_eyes(*_: Any) -> Any:
    raise AssertionError("rows with clips are refused by the row encoder of an assistant without eyes")


def _some(rows: Rows) -> Any:
    return (rows[index] for index in range(min(len(rows), 1000)))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _quieten() -> None:
    # Lightning's advice about workers and loggers does not apply here.
    warnings.filterwarnings("ignore", module="lightning")
    # DDP's about tensors of one row, and names that transformers keeps until its next release.
    warnings.filterwarnings("ignore", message="Grad strides do not match|.*gradient_checkpointing")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    threading.excepthook = _skip_disk_errors


def _skip_disk_errors(about: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread dies of a full disk with a traceback; its logger says the same in one line."""
    theirs = type(about.thread).__module__.partition(".")[0] == "tensorboard"
    if not (theirs and isinstance(about.exc_value, OSError)):
        threading.__excepthook__(about)
