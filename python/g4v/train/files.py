"""Files that are there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from g4v.model.bases.errors import one_line
from g4v.train.errors import TrainingError

_EDGE = 64 << 10


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that becomes it; what stood there before is replaced.

    TrainingError where it cannot be written, a full disk included; `target` is then as it was.
    """
    work = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(parents=True)
        yield work
        old = target.with_name(f".{target.name}.{os.getpid()}.old")
        if target.is_symlink():
            target.unlink()
        elif target.exists():
            target.rename(old)
        work.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    except TrainingError:
        raise
    except Exception as error:  # safetensors has its own class for what the system refused
        if not isinstance(error, OSError) and type(error).__name__ != "SafetensorError":
            raise
        raise TrainingError(f"{target}: cannot be written: {one_line(error)}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_json(path: Path, values: Any) -> None:
    """TrainingError where it cannot be written; the file is then as it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")
        temporary.replace(path)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written: {one_line(error)}") from None
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; TrainingError otherwise."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: cannot be read: {one_line(error)}") from None
    if not isinstance(values, dict):
        raise TrainingError(f"{path}: is not a JSON object")
    return values


def fingerprint(folder: Path) -> str:
    """Of a model folder: its weight files by size and by their first and last 64 KiB.

    Beginnings hold every tensor's name, shape and place; reading 14 GB at every start would take minutes.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_EDGE))
            file.seek(max(0, size - _EDGE))
            digest.update(file.read(_EDGE))
    return digest.hexdigest()[:16]
