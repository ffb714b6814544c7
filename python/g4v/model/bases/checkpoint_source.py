"""What `convert_checkpoint` reads: an mPLUG-Owl checkpoint folder, or a delta file of the authors."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor

from g4v._files import read_json
from g4v.model.bases import layout
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.shards import check_tensors, read_pickle, read_shard
from g4v.model.bases.weight_files import find_weight_files

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)


class CheckpointSource:
    """A checkpoint folder or a delta file (.pth).

    files: its weight files. config: its config.json; empty where a delta has none. options: training options
    that a delta carries, filled by `read`. CheckpointError: no such path, or another kind of model.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise CheckpointError(f"{path}: no such file or directory")
        self.path = path
        self.is_delta = path.is_file()
        self.folder = path.parent if self.is_delta else path
        self.files = [path] if self.is_delta else find_weight_files(path)
        self.options: dict[str, Any] = {}
        beside = self.folder / "config.json"
        self.config = read_json(beside, CheckpointError) if beside.exists() or not self.is_delta else {}
        kind = self.config.get("model_type", "mplug-owl")
        if not self.is_delta and kind != "mplug-owl":
            raise CheckpointError(f"{path}: is a {kind!r} checkpoint, only 'mplug-owl' can be converted")
        layout.check_keys(self.config)

    def read(self, file: Path) -> dict[str, dict[str, Tensor]]:
        """The tensors of one weight file: part ("encoder", "llm", ...) -> name in that part -> tensor."""
        if self.is_delta:
            values = read_pickle(file)
            if not isinstance(values, dict) or "model" not in values:
                raise CheckpointError(f"{file}: is no delta file: 'model' is missing")
            given = values.get("config")
            if isinstance(given, dict):
                self.options = {**given, **getattr(given, "__dict__", {})}
            tensors = check_tensors(file, values["model"])
        else:
            tensors = read_shard(file)
        parts: dict[str, dict[str, Tensor]] = {part: {} for part in layout.PARTS}
        for name, tensor in tensors.items():
            try:
                place = layout.place_tensor(name)
            except CheckpointError as error:
                raise CheckpointError(f"{file}: {error}") from None
            if place and parts[place[0]].setdefault(place[1], tensor) is not tensor:
                raise CheckpointError(f"{file}: tensor {name} is there twice")
        return parts

    def fingerprint(self, *others: Path | None) -> str:
        """SHA-256 of names, sizes, first and last 64 KiB of every file, `others` included, in hexadecimal."""
        digest = hashlib.sha256()
        extra = [f for other in others if other for f in sorted(other.rglob("*")) if f.is_file()]
        beside = [f for name in ("config.json", *TOKENIZER_FILES) if (f := self.folder / name).exists()]
        for file in [*self.files, *beside, *extra]:
            size = file.stat().st_size
            digest.update(f"{file.name}\0{size}\0".encode())
            with file.open("rb") as stream:
                digest.update(stream.read(65536))
                stream.seek(max(0, size - 65536))
                digest.update(stream.read(65536))
        return digest.hexdigest()
