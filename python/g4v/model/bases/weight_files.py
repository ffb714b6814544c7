"""Weight files of public models: where they are, and the checks before a library opens them."""

from __future__ import annotations

import re
from pathlib import Path

from g4v._files import read_json
from g4v.model.bases.errors import CheckpointError, one_line

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def find_source(source: str | Path) -> Path | str:
    """The Path of a model that exists locally, or its name on the Hugging Face hub; nothing is fetched.

    source: a path, or a hub name "owner/name" given as a string, where no folder "owner" exists here.
    CheckpointError: no such file, or a pickle.
    """
    path = Path(source).expanduser()
    if path.exists():
        refuse_pickle(path)
        return path
    name = str(source)
    is_hub = isinstance(source, str) and _HUB_NAME.fullmatch(name) and not name.endswith(".gguf")
    if not is_hub or Path(name).parts[0] in (".", "..") or Path(name).parent.exists():
        raise CheckpointError(f"{source}: no such file or directory")
    return name


_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
PICKLE_ADVICE = (
    "which can carry code; convert first: python -m g4v.model.bases convert (mPLUG-Owl, GPT4Video), or save "
    "again with save_pretrained(..., safe_serialization=True)"
)


def refuse_pickle(path: Path) -> None:
    """CheckpointError, with the way to convert it, where a file is a pickle by its suffix."""
    if path.is_file() and path.suffix.lower() in _PICKLES:
        raise CheckpointError(f"{path}: is a pickle, {PICKLE_ADVICE}")


def check_weights(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, each with a sound header and its full length.

    CheckpointError: there are none (for a folder of pickles the message says how to convert them), one that
    the index names is missing, or one is truncated.
    """
    index = folder / "model.safetensors.index.json"
    if index.exists():
        files = [folder / name for name in index_files(index)]
    else:
        files = [folder / "model.safetensors"]
        if not files[0].exists():
            if list(folder.glob("*.bin")) or list(folder.glob("*.pt*")):
                raise CheckpointError(f"{folder}: the weights are pickles, {PICKLE_ADVICE}")
            raise CheckpointError(f"{files[0]}: no such file")
    for file in files:
        check_safetensors(file)
    return files


def find_weight_files(folder: Path) -> list[Path]:
    """The weight files of a checkpoint folder: safetensors where there are any, else pickled shards.

    CheckpointError: there are none.
    """
    for stem in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{stem}.index.json"
        if index.exists():
            return [folder / name for name in index_files(index)]
        if (folder / stem).exists():
            return [folder / stem]
    raise CheckpointError(f"{folder}: no model.safetensors, pytorch_model.bin or index of their shards")


def index_files(index: Path) -> list[str]:
    """The distinct file names in a weight index, in order; plain names only."""
    names = read_json(index, CheckpointError).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(n, str) for n in names.values()):
        raise CheckpointError(f"{index}: weight_map is missing or malformed")
    files = sorted(set(names.values()))
    for name in files:
        if Path(name).name != name or name in (".", ".."):
            raise CheckpointError(f"{index}: {name!r} is not a plain file name")
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index.parent / name}: no such file, but the index names it")
    return files


def check_safetensors(path: Path) -> None:
    """CheckpointError unless the file's header is sound and covers the file to its last byte."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt"):
            pass
    except Exception as error:  # safetensors has its own class; a missing file is an OSError
        raise CheckpointError(f"{path}: damaged or truncated: {one_line(error)}") from None
