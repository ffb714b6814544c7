"""Opens GGUF files: their metadata, their tensors, and what no reader of a Llama can obey."""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from g4v.weights.errors import AGAIN, CheckpointError, one_line


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
    _check_lengths(path)
    return GGUFReader(path)


_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of a value, by its type
_STRING, _LIST = 8, 9
_LONGEST = 1 << 21  # items of a list; no vocabulary has more


def _check_lengths(path: Path) -> None:
    """Walks over the keys of a file: the package takes every length as it stands there, and would make an
    object of each item of a list of 2^40 that is not there.

    CheckpointError: a list is too long. struct.error, OverflowError: the file ends before its keys.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        order = "<" if struct.unpack_from("<I", data, 4)[0] & 0xFFFF else ">"
        version, _, keys = struct.unpack_from(f"{order}IQQ", data, 4)
        if version not in (2, 3):
            return  # the package refuses it
        at = 24
        for _ in range(keys):
            at = _end(path, data, at, _STRING, order)
            (kind,) = struct.unpack_from(f"{order}I", data, at)
            at = _end(path, data, at + 4, kind, order)
            if at > len(data):
                raise CheckpointError(f"{path}: damaged or truncated: it ends before its keys do; {AGAIN}")


def _end(path: Path, data: mmap.mmap, at: int, kind: int, order: str) -> int:
    """Where a value that begins at `at` ends."""
    if kind == _STRING:
        at += 8 + int(struct.unpack_from(f"{order}Q", data, at)[0])
    elif kind == _LIST:
        kind, count = struct.unpack_from(f"{order}IQ", data, at)
        if count > _LONGEST:
            raise CheckpointError(f"{path}: damaged: it has a list of {count} items; {AGAIN}")
        at += 12
        if kind in _BYTES:
            return at + count * _BYTES[kind]
        for _ in range(count):
            at = _end(path, data, at, kind, order)
    else:
        at += _BYTES.get(kind, 0)  # the package refuses an unknown type
    return at


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
