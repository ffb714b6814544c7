"""Files that are there whole or not at all, and JSON files that say what is wrong with them.

Everything that g4v writes goes through `atomic` or `atomic_folder`: to a temporary name beside the target,
which is renamed when all of it is on disk. A reader of the target sees the old content or the new one, and
a write that fails (full disk, Ctrl-C) leaves the old one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from g4v._console import printable
from g4v.errors import ArgumentError, Error, OutputError


def one_line(error: BaseException) -> str:
    """What an exception says, in one line; its class where it says nothing."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, Error):
        return error.strerror
    return printable(str(error)) or type(error).__name__


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str], error: type[Error] = OutputError) -> Iterator[Path]:
    """Gives a temporary path in the folder of `path`; when the block ends, that file becomes `path`.

    The file is written to disk (fsync) before it is renamed. The folder is made where it is missing. Whatever
    is raised inside leaves `path` as it was and no temporary file; an OSError is raised as `error`, with one
    line that names the file and the reason.
    """
    target = Path(path)
    temporary = _beside(target, "tmp")
    try:
        _make_folder(target.parent)
        yield temporary
        _sync(temporary)
        temporary.replace(target)
    except OSError as fault:
        if isinstance(fault, Error):
            raise
        raise error(f"{target}: cannot be written: {one_line(fault)}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str], error: type[Error] = OutputError) -> Iterator[Path]:
    """Gives an empty temporary folder beside `path`; when the block ends, that folder becomes `path`.

    A folder that stood there is replaced, a link to one is replaced and its target kept. Whatever is raised
    inside leaves `path` as it was; an OSError, and what safetensors raises where the system refuses to write,
    is raised as `error`, with one line that names the folder and the reason.
    """
    target = Path(path)
    temporary = _beside(target, "tmp")
    try:
        _make_folder(temporary)
        yield temporary
        replace_folder(temporary, target)
    except Error:
        raise
    except Exception as fault:
        if not isinstance(fault, OSError) and type(fault).__name__ != "SafetensorError":
            raise
        raise error(f"{target}: cannot be written: {one_line(fault)}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(source: Path, target: Path) -> None:
    """Puts the folder `source` in place of `target`, which may be missing, a folder, or a link to one.

    Both are on one file system. Where the last rename fails, what stood at `target` is put back. OSError.
    """
    old = _beside(target, "old")
    if target.is_symlink():
        target.unlink()
    elif target.exists():
        target.rename(old)
    try:
        source.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def make_folder(path: str | os.PathLike[str], error: type[Error] = OutputError) -> None:
    """Makes a folder and its parents where they are missing; `error` says why it cannot be made."""
    try:
        _make_folder(Path(path))
    except OSError as fault:
        raise error(f"{path}: cannot be made: {one_line(fault)}") from None


def write_bytes(path: str | os.PathLike[str], data: bytes, error: type[Error] = OutputError) -> None:
    """Writes a file, whole or not at all; `error` says why it cannot be written."""
    with atomic(path, error) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str, error: type[Error] = OutputError) -> None:
    """Writes a UTF-8 file, whole or not at all; `error` says why it cannot be written."""
    write_bytes(path, text.encode("utf-8"), error)


def write_json(
    path: str | os.PathLike[str], value: Any, error: type[Error] = OutputError, indent: int | None = 2
) -> None:
    """Writes `value` as UTF-8 JSON with a final newline, whole or not at all.

    A name of a file that is no UTF-8 is written with escapes (\\udcXX), which Python reads back as that name.
    ValueError: a number is NaN or infinite, which JSON does not have. `error`: the file cannot be written.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        data = json.dumps(value, indent=indent, allow_nan=False).encode("ascii")
    write_bytes(path, data + b"\n", error)


def read_json(path: str | os.PathLike[str], error: type[Error] = ArgumentError) -> dict[str, Any]:
    """The JSON object in a UTF-8 file, with or without a byte order mark.

    `error` in one line: no such file, no JSON, or not an object.
    """
    try:
        value = json.loads(Path(path).read_text("utf-8-sig"))
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as fault:
        raise error(f"{path}: cannot be read: {one_line(fault)}") from None
    if not isinstance(value, dict):
        raise error(f"{path}: is not a JSON object")
    return value


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, 64 hexadecimal digits. OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _beside(target: Path, suffix: str) -> Path:
    """A name in the folder of `target` that no other thread or process takes."""
    return target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.{suffix}")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # "File exists" would not say that it is no folder
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
