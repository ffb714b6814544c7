"""Fingerprints: short hashes that tell models and their sources apart without reading all weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

from g4v.model.bases.weight_files import find_source

_EDGE = 64 << 10  # bytes


def fingerprint_folder(folder: Path) -> str:
    """16 hexadecimal digits for a model folder: its weight files by size and first and last 64 KiB.

    The files are its safetensors, or its pickles (.bin) where it has none. A safetensors file begins with the
    name, shape and place of every tensor; reading 14 GB at every start would take minutes. OSError.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin")):
        size = path.stat().st_size
        digest.update(f"{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_EDGE))
            file.seek(max(0, size - _EDGE))
            digest.update(file.read(_EDGE))
    return digest.hexdigest()[:16]


def fingerprint_source(source: str) -> str:
    """Tells sources apart: a folder or a file by its content, a hub name by itself.

    CheckpointError: no such file, or a pickle.
    """
    place = find_source(source)
    if isinstance(place, str):
        return f"hub {place}"
    if place.is_dir():
        return fingerprint_folder(place)
    with place.open("rb") as file:
        head = file.read(_EDGE)
    return f"{place.stat().st_size} {hashlib.sha256(head).hexdigest()[:16]}"
