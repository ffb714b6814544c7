"""Weights and optimiser states as whole tensors, whichever way a strategy has split them between devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
from torch import Tensor, nn

from g4v.train.checkpoint import collect_optimizer, place_optimizer

OptimizerState = dict[str, dict[str, Tensor]]  # parameter name -> key -> tensor


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Name -> copy on the host of every parameter that requires gradients; none may be split."""
    return {n: p.detach().cpu().clone() for n, p in model.named_parameters() if p.requires_grad}


def gather_weights(trainer: L.Trainer, model: nn.Module) -> dict[str, Tensor]:
    """Gathers the trained tensors of a model that is spread over processes. Every process must call this."""
    root = _fsdp_root(trainer)
    if root is not None:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
        whole: Any = get_model_state_dict(root, options=options)
        return {name.removeprefix("model."): tensor for name, tensor in whole.items()}
    if is_deepspeed(trainer):
        import deepspeed

        trained = [p for p in model.parameters() if p.requires_grad]
        with deepspeed.zero.GatheredParameters(trained):
            return trained_tensors(model)
    return trained_tensors(model)


def gather_optimizer(trainer: L.Trainer, module: nn.Module) -> OptimizerState:
    """The optimiser's tensors by parameter name. Every process must call this.

    Empty under DeepSpeed, which keeps them in its own form: a resumed run starts with fresh moments.
    """
    optimizer = trainer.optimizers[0]
    if is_deepspeed(trainer):
        return {}
    root = _fsdp_root(trainer)
    if root is None:
        return collect_optimizer(module, optimizer)
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state: Any = get_optimizer_state_dict(root, optimizer, options=options).get("state", {})
    return dict(state)


def scatter_optimizer(
    trainer: L.Trainer, module: nn.Module, state: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """The inverse of `gather_optimizer`. Every process must call this."""
    optimizer = trainer.optimizers[0]
    root = _fsdp_root(trainer)
    if root is None:
        place_optimizer(module, optimizer, {} if is_deepspeed(trainer) else state)
        return
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_optimizer_state_dict,
        set_optimizer_state_dict,
    )

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    groups = get_optimizer_state_dict(root, optimizer, options=options)["param_groups"]
    whole: Any = {"state": state, "param_groups": groups}
    set_optimizer_state_dict(root, optimizer, whole, options=options)


def is_deepspeed(trainer: L.Trainer) -> bool:
    """Whether DeepSpeed splits the weights, and keeps gradients and moments to itself."""
    return type(trainer.strategy).__name__ == "DeepSpeedStrategy"


def _fsdp_root(trainer: L.Trainer) -> nn.Module | None:
    """FSDP's root module; None where FSDP splits nothing."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    root = trainer.strategy.model
    return root if isinstance(root, FullyShardedDataParallel) else None
