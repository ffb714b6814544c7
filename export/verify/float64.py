"""Runs a module in float64 in the memory of one of its layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

# Weights of a layer that is widened only while it runs. Smaller ones stay wide all the time: modules ask for
# the type of a neighbour's weights, or of their own first ones, to decide in which they compute.
_LARGE = 1 << 20


@contextmanager
def in_float64(model: nn.Module) -> Iterator[None]:
    """Every module of `model` computes in float64; its weights, of any floating type, come back as they were.

    For modules whose large weights are used by the module that owns them alone.
    """
    stored: list[tuple[nn.Module, dict[str, Tensor], dict[str, Tensor]]] = []
    handles = []
    seen: set[int] = set()
    for module in model.modules():
        own = [p for p in (*module._parameters.values(), *module._buffers.values()) if p is not None]
        floating = [p for p in own if p.is_floating_point()]
        if not floating:
            continue
        large = sum(p.numel() for p in floating) >= _LARGE
        if large and not any(id(p) in seen for p in floating):
            handles.append(module.register_forward_pre_hook(_widen(stored)))
            handles.append(module.register_forward_hook(_narrow(stored), always_call=True))
        else:
            _put_wide(module, stored)
        seen.update(map(id, floating))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        while stored:
            _put_back(stored)


def _put_wide(module: nn.Module, stored: list) -> None:
    parameters, buffers = dict(module._parameters), dict(module._buffers)
    stored.append((module, parameters, buffers))
    for name, value in parameters.items():
        if value is not None and value.is_floating_point():
            module._parameters[name] = nn.Parameter(value.detach().double(), requires_grad=False)
    for name, value in buffers.items():
        if value is not None and value.is_floating_point():
            module._buffers[name] = value.double()


def _put_back(stored: list) -> None:
    module, parameters, buffers = stored.pop()
    module._parameters.update(parameters)
    module._buffers.update(buffers)


def _widen(stored: list) -> Any:
    return lambda module, _: _put_wide(module, stored)


def _narrow(stored: list) -> Any:
    return lambda module, *_: _put_back(stored)
