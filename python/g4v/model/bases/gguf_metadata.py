"""Opens GGUF files: their metadata, their tensors, and what no reader of a Llama can obey."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from g4v.model.bases.errors import CheckpointError, one_line


@dataclass(frozen=True)
class GgufMetadata:
    """What the head of a GGUF file says.

    fields: every key with its value; a list by its length, but for the short ones of numbers that describe
    the architecture. tensors: the shape of every tensor, [out, in], by its name in the file.
    """

    path: Path
    fields: dict[str, Any]
    tensors: dict[str, tuple[int, ...]]


_SHORT = 1024  # items; a list of tokens is longer than any list of heads


def read_metadata(path: Path) -> GgufMetadata:
    """The metadata of a GGUF file that holds a whole model.

    CheckpointError: damaged, truncated, or no GGUF; a part of a split file; an adapter or another thing that
    is no model.
    """
    try:
        reader = open_reader(path)
        fields = {name: _value(name, field) for name, field in reader.fields.items()}
        tensors = {t.name: tuple(int(size) for size in reversed(t.shape)) for t in reader.tensors}
        if any(not math.prod(shape) for shape in tensors.values()):
            raise ValueError("empty tensor")
    except CheckpointError:
        raise
    except Exception as error:  # the reader's own asserts and numpy's complaints about missing bytes
        raise CheckpointError(f"{path}: damaged or truncated: {one_line(error)}") from None
    _check_whole(path, fields)
    return GgufMetadata(path, fields, tensors)


def open_reader(path: Path) -> Any:
    """The gguf.GGUFReader of a file, whose tensors stay on disk until they are used.

    The last one is kept: the package takes seconds to walk through the words of a vocabulary.
    CheckpointError: no GGUF file. Whatever the package raises for damaged ones.
    """
    try:
        stat = path.stat()
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise CheckpointError(f"{path}: is not a GGUF file")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {one_line(error)}") from None
    return _open_reader(path.resolve(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1)
def _open_reader(path: Path, size: int, time: int) -> Any:
    """size, time: of the file, so that a changed one is opened anew."""
    try:
        from gguf import GGUFReader
    except ImportError:
        raise CheckpointError(f"{path}: reading GGUF needs the package gguf: pip install gguf") from None
    return GGUFReader(path)


def _value(name: str, field: Any) -> Any:
    if len(field.types) == 1:
        return field.contents()
    short = len(field.data) <= _SHORT and not name.startswith("tokenizer.")
    return field.contents() if short else len(field.data)


def _check_whole(path: Path, fields: dict[str, Any]) -> None:
    count = fields.get("split.count", 0)
    if count > 1:
        number = fields.get("split.no", 0) + 1
        raise CheckpointError(
            f"{path}: is part {number} of {count} of a split file; join them first: "
            "llama-gguf-split --merge FIRST_PART WHOLE.gguf"
        )
    kind = fields.get("general.type", "model")
    if kind != "model":
        raise CheckpointError(f"{path}: holds a {kind!r} (general.type), not a model")
