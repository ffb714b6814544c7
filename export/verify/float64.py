"""A PyTorch module runs in another type than that of its weights, one layer of it in that type at a time.

float64 is the reference of comparisons.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from g4v.export.checkpoint.mapped import give_back

# Weights of a layer that is upcast only while it runs. Smaller layers stay in float64 all the time: modules
# ask for the type of a neighbour's weights, or of their own first ones, to decide in which type they compute.
_LARGE = 1 << 20


def feed_forwards(model: nn.Module) -> list[nn.Module]:
    """The feed-forward layers of a T5 encoder, none of another model: they ask for the type of the weight
    of their last product before they compute it.
    """
    return [module for module in model.modules() if type(module).__name__.endswith("ActDense")]


@contextmanager
def upcast_to_float64(model: nn.Module, whole: Collection[nn.Module] = ()) -> Iterator[None]:
    """A context in which every module of `model` computes in float64; arguments as for `computing_in`."""
    with computing_in(torch.float64, model, whole):
        yield


@contextmanager
def computing_in(dtype: torch.dtype, model: nn.Module, whole: Collection[nn.Module] = ()) -> Iterator[None]:
    """A context in which every module of `model` computes in float32 or float64.

    Weights of any floating type are upcast, large ones only while their module runs. At the end they are as
    they were, and mapped ones are given back after each use. Each large weight must be used only by the
    module that owns it.

    whole: modules of which all parts are upcast while they run.
    """
    stored: list[tuple[nn.Module, dict[str, Tensor], dict[str, Tensor]]] = []
    handles = []
    seen: set[int] = set()
    for module in whole:
        parts = [part for part in module.modules() if part._parameters]
        handles.append(module.register_forward_pre_hook(_upcast_before(stored, parts, dtype)))
        handles.append(module.register_forward_hook(_restore_after(stored, len(parts)), always_call=True))
    of_whole = {part for module in whole for part in module.modules()}
    for module in model.modules():
        if module in of_whole:
            continue
        own = [p for p in (*module._parameters.values(), *module._buffers.values()) if p is not None]
        floating = [p for p in own if p.is_floating_point()]
        if not floating:
            continue
        large = sum(p.numel() for p in floating) >= _LARGE
        if large and isinstance(module, nn.Embedding):  # few of its rows are used
            handles.append(module.register_forward_hook(_upcast_output(dtype)))
        elif large and not any(id(p) in seen for p in floating):
            handles.append(module.register_forward_pre_hook(_upcast_before(stored, [module], dtype)))
            handles.append(module.register_forward_hook(_restore_after(stored, 1), always_call=True))
        else:
            _upcast(module, stored, dtype)
        seen.update(map(id, floating))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        while stored:
            _restore(stored)


def _upcast(module: nn.Module, stored: list[Any], dtype: torch.dtype) -> None:
    parameters, buffers = dict(module._parameters), dict(module._buffers)
    stored.append((module, parameters, buffers))
    for name, parameter in parameters.items():
        if parameter is not None and parameter.is_floating_point():
            module._parameters[name] = nn.Parameter(parameter.detach().to(dtype), requires_grad=False)
    for name, buffer in buffers.items():
        if buffer is not None and buffer.is_floating_point():
            module._buffers[name] = buffer.to(dtype)


def _restore(stored: list[Any]) -> None:
    module, parameters, buffers = stored.pop()
    module._parameters.update(parameters)
    module._buffers.update(buffers)


def _upcast_output(dtype: torch.dtype) -> Any:
    def upcast(module: nn.Module, _: Any, found: Tensor) -> Tensor:
        found = found.to(dtype)
        give_back(module)
        return found

    return upcast


def _upcast_before(stored: list[Any], parts: Collection[nn.Module], dtype: torch.dtype) -> Any:
    def upcast(*_: Any) -> None:
        for part in parts:
            _upcast(part, stored, dtype)
            give_back(part)

    return upcast


def _restore_after(stored: list[Any], count: int) -> Any:
    def restore(*_: Any) -> None:
        for _part in range(count):
            _restore(stored)

    return restore
