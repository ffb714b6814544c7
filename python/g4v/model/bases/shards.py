"""Reads weight files one at a time: safetensors, and pickles through PyTorch's weights_only loader alone."""

from __future__ import annotations

import re
import zipfile
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g4v.model.bases.errors import CheckpointError, one_line
from g4v.weights.errors import AGAIN

# The authors save their options as Lightning's dictionary or as argparse's namespace. Both are rebuilt as an
# OrderedDict, so that no code of those packages runs.
_OPTIONS = (
    "argparse.Namespace",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)


_ZIP, _OLD_PICKLE = b"PK\x03\x04", b"\x80"  # how files of torch.save begin, since and before PyTorch 1.6
_LFS = b"version https://git-lfs"


def read_pickle(path: Path) -> Any:
    """What a pickle holds, read with weights_only; tensors stay on disk until used where the file allows it.

    Checksums of the tensors are for `check_checksums`. CheckpointError: damaged, or it wants anything but
    tensors and plain values.
    """
    start = _begin(path)
    zipped = start.startswith(_ZIP)
    if not zipped and not start.startswith(_OLD_PICKLE):
        raise CheckpointError(f"{path}: damaged, or no file of PyTorch; {AGAIN}")
    try:
        allowed: list[Any] = [(OrderedDict, name) for name in _OPTIONS]
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # RuntimeError, UnpicklingError, EOFError, ...: as many as there are faults
        text = one_line(error, 5000)
        culprit = re.search(r"GLOBAL ([\w.]+)|(?:function|class|type) (\S+)", text)
        what = next((g for g in culprit.groups() if g), "") if culprit else ""
        if "Weights only load failed" in text or "weights_only" in text:
            reason = f"it asks for {what}" if what else f"it is damaged or holds more; {AGAIN}"
            raise CheckpointError(f"{path}: refused, only tensors are read from a pickle: {reason}") from None
        raise CheckpointError(f"{path}: damaged or truncated; {AGAIN}") from None


def _begin(path: Path) -> bytes:
    """The first bytes of a weight file. CheckpointError: missing, empty, or a pointer of Git LFS."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    if not start:
        raise CheckpointError(f"{path}: damaged or truncated: it is empty; {AGAIN}")
    if start == _LFS:
        raise CheckpointError(f"{path}: is a pointer of Git LFS and no weights; get them with git lfs pull")
    return start


def check_checksums(path: Path) -> None:
    """CheckpointError where a part of a pickle is not what its checksum says, as after a flipped bit.

    Files of before PyTorch 1.6 have none, and neither have those that were written without
    (torch.serialization.set_crc32_options). A file is read once, and again only when it has changed.
    """
    about = path.stat()
    _check_checksums(path, about.st_size, about.st_mtime_ns)


@lru_cache
def _check_checksums(path: Path, size: int, changed: int) -> None:
    """As `check_checksums`; size and changed tell a file from an earlier one of its name."""
    if not _begin(path).startswith(_ZIP):
        return
    try:
        with zipfile.ZipFile(path) as file:
            entries = sorted(file.infolist(), key=lambda entry: entry.file_size)
            # Where checksums were left out all of them are wrong, also that of a record of one byte.
            for number, entry in enumerate(entries):
                if not _is_whole(file, entry):
                    if number == 0:
                        return
                    name = entry.filename
                    raise CheckpointError(f"{path}: damaged: the checksum of {name} differs; {AGAIN}")
    except (zipfile.BadZipFile, OSError, NotImplementedError, EOFError):
        raise CheckpointError(f"{path}: damaged or truncated; {AGAIN}") from None


def _is_whole(file: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    with file.open(entry) as content:
        try:
            while content.read(1 << 20):
                pass
        except zipfile.BadZipFile:
            return False
    return True


def read_shard(path: Path) -> dict[str, Tensor]:
    """The tensors of one file by name, in their stored dtype."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        check_safetensors(path)
        return load_file(path)
    return check_tensors(path, read_pickle(path))


def check_safetensors(path: Path) -> None:
    """CheckpointError unless the file's header is sound and covers the file to its last byte."""
    from safetensors import safe_open

    _begin(path)
    try:
        with safe_open(path, framework="pt"):
            pass
    except Exception as error:  # safetensors has its own class
        raise CheckpointError(f"{path}: damaged or truncated ({one_line(error)}); {AGAIN}") from None


def check_tensors(path: Path, values: Any) -> dict[str, Tensor]:
    """`values` if it maps names to dense floating or integer tensors; CheckpointError otherwise."""
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: holds a {type(values).__name__}, not named tensors")
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: {name!r} is a {type(value).__name__}, not a tensor")
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            raise CheckpointError(f"{path}: tensor {name} is sparse, quantised or complex")
    return values
