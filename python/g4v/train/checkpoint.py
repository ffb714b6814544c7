"""Checkpoints of a stage, in OUT: trained tensors and the optimiser's as safetensors, the rest as JSON.

    work/STAGE/step-00000200/weights.safetensors    by parameter name
                             average.safetensors    their moving averages, where the run keeps them
                             optimizer.safetensors  "NAME\\0KEY", KEY one of the optimiser's
                             state.json             step, configuration, faults, scale of the loss

A checkpoint is written to a temporary folder that is then renamed, and older ones go only after that: a kill
or a full disk leaves the last good one. Nothing is pickled.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from g4v._files import atomic_folder, one_line, read_json, write_json
from g4v._memory import check_memory, memory_errors, require_memory_to_save
from g4v.train.errors import TrainingError

_SEPARATOR = "\0"
_AVERAGE = "average.safetensors"


@dataclass(frozen=True)
class State:
    """What a run goes on from.

    step: optimiser steps done. weights: parameter name -> tensor. optimizer: parameter name -> key ->
    tensor. about: what state.json says beside the step: "config", "faults", "precision". average: parameter
    name -> moving average; empty where the run keeps none.
    """

    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]]
    about: dict[str, Any]
    average: dict[str, Tensor] = field(default_factory=dict)


def collect_optimizer(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """Parameter name -> key -> the optimiser's tensor, on the host."""
    names = {id(p): name for name, p in module.named_parameters()}
    found: dict[str, dict[str, Tensor]] = {}
    for parameter, values in optimizer.state.items():
        tensors = {k: v.detach().cpu() for k, v in values.items() if isinstance(v, Tensor)}
        found[names[id(parameter)]] = tensors
    return found


def place_optimizer(
    module: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """The inverse of `collect_optimizer`, onto the devices of the parameters."""
    parameters = dict(module.named_parameters())
    for name, values in state.items():
        parameter = parameters[name]
        # Optimisers keep their count of steps on the host.
        optimizer.state[parameter] = {
            key: tensor.clone() if key == "step" else tensor.to(parameter.device, copy=True)
            for key, tensor in values.items()
        }


def save_checkpoint(folder: Path, state: State) -> Path:
    """Writes a checkpoint below `folder`, removes the older ones and returns its path.

    TrainingError: it cannot be written (no space, for one); the message names the last good one.
    """
    target = folder / f"step-{state.step:08d}"
    tensors = {
        f"{name}{_SEPARATOR}{key}": tensor.contiguous()
        for name, values in state.optimizer.items()
        for key, tensor in values.items()
    }
    try:
        _check_space(folder, [*state.weights.values(), *state.average.values(), *tensors.values()])
        with memory_errors(f"the checkpoint {target}"), atomic_folder(target, TrainingError) as work:
            require_memory_to_save(target)
            save_file({n: t.contiguous() for n, t in state.weights.items()}, work / "weights.safetensors")
            if state.average:
                save_file({n: t.contiguous() for n, t in state.average.items()}, work / _AVERAGE)
            save_file(tensors, work / "optimizer.safetensors")
            write_json(work / "state.json", {"step": state.step, **state.about}, TrainingError)
    except TrainingError as error:
        last = find_checkpoint(folder)
        kept = f"the last good checkpoint is {last}" if last else "there is no earlier checkpoint"
        raise TrainingError(f"{error}; {kept}") from None
    for old in _checkpoints(folder):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)
    return target


def _check_space(folder: Path, tensors: list[Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    need = sum(t.numel() * t.element_size() for t in tensors) + (1 << 20)
    free = shutil.disk_usage(folder).free
    if free < need:
        raise TrainingError(
            f"{folder}: a checkpoint needs {need / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free"
        )


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").exists())


def sweep(folder: Path) -> None:
    """Removes the temporary folders of a killed process."""
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)


def find_checkpoint(folder: Path) -> Path | None:
    """The latest whole checkpoint below `folder`; None where there is none."""
    found = _checkpoints(folder)
    return found[-1] if found else None


def load_step(path: Path | None) -> int:
    """The step of a checkpoint; 0 without one."""
    return 0 if path is None else int(read_json(path / "state.json", TrainingError)["step"])


def load_checkpoint(path: Path) -> State:
    """Reads a checkpoint. TrainingError: it is damaged."""
    about = read_json(path / "state.json", TrainingError)
    try:
        weights = load_file(path / "weights.safetensors")
        flat = load_file(path / "optimizer.safetensors")
        optimizer: dict[str, dict[str, Tensor]] = {}
        for name, tensor in flat.items():
            parameter, key = name.split(_SEPARATOR)
            optimizer.setdefault(parameter, {})[key] = tensor
        average = load_file(path / _AVERAGE) if (path / _AVERAGE).exists() else {}
        return State(int(about.pop("step")), weights, optimizer, about, average)
    except Exception as error:  # safetensors has its own class
        check_memory(error, str(path))
        raise TrainingError(f"{path}: is damaged: {one_line(error)}; delete it and train again") from None


def place_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies the tensors into the parameters of the same names; TrainingError where they differ."""
    wanted = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if set(wanted) != set(weights):
        name = min(set(wanted) ^ set(weights))
        raise TrainingError(f"the checkpoint does not fit: {name} is in only one of the two")
    with torch.no_grad():
        for name, parameter in wanted.items():
            if parameter.shape != weights[name].shape:
                raise TrainingError(
                    f"the checkpoint does not fit: {name} is {list(weights[name].shape)}, not "
                    f"{list(parameter.shape)}"
                )
            parameter.copy_(weights[name])


def check_same(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """TrainingError where the checkpoint at `path` was written with other settings (name -> value)."""
    for name in sorted(set(old) | set(new)):
        if old.get(name) != new.get(name):
            raise TrainingError(
                f"{path} was written with {name} {old.get(name)!r}, this run has {new.get(name)!r}: give the "
                f"same, or another --out"
            )
