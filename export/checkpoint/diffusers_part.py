"""What the exporter knows of one folder of a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

_NOTHING: Mapping[str, tuple[Any, ...]] = MappingProxyType({})


class Part(NamedTuple):
    """One folder of a text-to-video model.

    names: of its class, in config.json and model_index.json. stem: of its weight files. obeyed: keys that the
    class, or the exporter, reads. accepted: values that the graphs and the runtime can express, of the obeyed
    keys that take more in the libraries; of a list each element. needed: keys that must be there.
    """

    names: tuple[str, ...]
    stem: str
    obeyed: frozenset[str]
    accepted: Mapping[str, tuple[Any, ...]] = _NOTHING
    needed: tuple[str, ...] = ()
