"""One stage, from its settings to its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.utilities import rank_zero_only

from g4v._console import report_warning
from g4v._files import one_line, read_json
from g4v.train.assembly import load_assembly
from g4v.train.bases import check_stage, prepare_bases
from g4v.train.batch_sampler import steps_per_epoch
from g4v.train.checkpoint import check_same, find_checkpoint, load_step, sweep
from g4v.train.clips import Clip
from g4v.train.curves import draw_curves
from g4v.train.datasets import open_rows
from g4v.train.errors import TrainingError
from g4v.train.gathering import trained_tensors
from g4v.train.loggers import build_loggers, silence_libraries
from g4v.train.outputs import write_outputs, write_report
from g4v.train.settings import Settings
from g4v.train.stage import Stage
from g4v.train.strategies import build_strategy, choose_precision, parse_devices
from g4v.train.trainable_modules import dtype_of

# Settings that decide what is learned; a run may only go on with the same ones.
_DECIDING = (
    "data split frames max_length supervise learning_rate gamma cooldown gradient_clip seed lora_r "
    "lora_alpha lora_dropout lora_targets"
).split()
# Of these only what is not the default is recorded: runs that began before they existed can go on.
_DECIDING_LATER = (
    "mixture leave_out longer_clips optimizer adam_beta2 weight_decay warmup ema opening_weights"
).split()
_SEARCHED = 1000  # rows among which there must be one whose video is there


def run_stage(settings: Settings, stage: str) -> bool:
    """Trains one stage and writes its result into OUT (`settings.out`).

    Goes on from the last checkpoint in work/STAGE of OUT where `settings.resume` is set, and trains nothing
    where the stage is finished. The result is written when all steps are done, and also where
    `settings.minutes` ended the run before: as far as it has come. Returns whether all steps are done.

    TrainingError and other g4v errors: one line that says what is wrong. KeyboardInterrupt: stopped by the
    user; the last checkpoint is there.
    """
    silence_libraries()
    # All of these raise before Lightning starts processes or a model is loaded.
    strategy, devices = build_strategy(settings), parse_devices(settings.devices)
    precision = choose_precision(settings)
    first = is_first_process()
    check_stage(settings, stage)
    folder = Path(settings.out) / "work" / stage
    last = find_checkpoint(folder)
    if last is not None and not settings.resume and first:
        raise TrainingError(f"{last} is there already: give --resume to go on from it, or another --out")
    trainer = _build_trainer(settings, strategy, devices, precision, build_loggers(folder, load_step(last)))
    fingerprints = prepare_bases(settings, first)
    # FSDP joins the weights of a layer in one buffer, which has one type.
    dtype = torch.float32 if settings.strategy == "fsdp" else dtype_of(precision)
    assembly = load_assembly(settings, stage, fingerprints, dtype)
    rows = open_rows(settings, stage, assembly.template)
    _check_clips(settings, stage, [rows[i].clips for i in islice(range(len(rows)), _SEARCHED)])
    steps = count_steps(settings, len(rows), trainer.world_size)
    about = _deciding(settings)
    size = settings.batch_size * settings.accumulate_grad_batches * trainer.world_size
    about |= {"rows": len(rows), "rows_per_step": size, "bases": fingerprints, "stage": stage}
    if last is not None:
        check_same(last, read_json(last / "state.json", TrainingError)["config"], about)
    if first:
        sweep(folder)
    module = Stage(assembly, settings, rows, folder, about, steps, last)
    done = module.first_step
    if done < steps:
        trainer.fit(module)
        if trainer.interrupted:
            raise KeyboardInterrupt
        done = module.step
        if done != module.saved_step:
            module.save()
        faults, tensors = module.all_faults(), module.trained_tensors()
    else:
        faults, tensors = list(module.faults), trained_tensors(module.model)
    if module.average is not None:
        tensors = module.average.on_host()
    if trainer.is_global_zero:
        write_outputs(settings, assembly, tensors, rows, done)
        draw_curves(folder, stage)
        report = write_report(folder, rows, faults)
        count = rows.left_out + len(faults)
        if count:
            report_warning(f"{stage}: {count} rows were left out or cut, see {report}", "g4v.train")
    if trainer.world_size > 1 and torch.distributed.is_initialized():
        torch.distributed.barrier()
    return done >= steps


def _check_clips(settings: Settings, stage: str, clips: Sequence[Sequence[Clip]]) -> None:
    """TrainingError: the first rows, with these clips each, leave nothing to learn from."""
    if stage == "stage1" and not any(clips):
        raise TrainingError(f"stage1 learns from videos, and the first rows of {settings.data[0]} have none")
    if all(clips) and not any(clip.is_there() for row in clips for clip in row):
        raise TrainingError(
            f"{clips[0][0]} is missing, as are all others of the first rows; --video-root names their folder"
        )


def count_steps(settings: Settings, rows: int, processes: int) -> int:
    """Optimiser steps of a stage on so many rows and processes."""
    size = settings.batch_size * settings.accumulate_grad_batches * processes
    return settings.max_steps or steps_per_epoch(rows, size) * settings.max_epochs


def is_first_process() -> bool:
    """Whether this is the first of all processes of a run, the one that writes and speaks."""
    only_first: Any = rank_zero_only  # a function with an attribute, of which its type knows nothing
    return bool(only_first.rank == 0)


def _deciding(settings: Settings) -> dict[str, Any]:
    """What a checkpoint records of the settings, as JSON holds it."""
    defaults = Settings()
    names = [item.name for item in fields(Settings)]
    later = [name for name in names if name in _DECIDING_LATER]
    changed = [name for name in later if getattr(settings, name) != getattr(defaults, name)]
    values = {name: getattr(settings, name) for name in (*_DECIDING, *changed)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _build_trainer(
    settings: Settings, strategy: Any, devices: Any, precision: str, loggers: list[Any]
) -> L.Trainer:
    """TrainingError where Lightning refuses what it is asked for: no such device here, for one."""
    chosen: Any = precision
    try:
        return L.Trainer(
            accelerator=settings.accelerator,
            devices=devices,
            num_nodes=settings.num_nodes,
            strategy=strategy,
            precision=chosen,
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
