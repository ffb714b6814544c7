"""Models of the Hugging Face hub: which of their files are taken, and where they come to lie.

Only what is read is downloaded: configurations, tokenizers, and each weight once. The files stay in the hub's
own cache, so that a second call needs no network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from g4v.errors import Error
from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.weight_files import WeightName, find_source

_WEIGHTS = (".safetensors", ".bin")  # the first that a folder has is taken
_OTHERS = (".json", ".model", ".txt", ".jinja")
_CARD = "README.md"  # the licence stands in it
Check = Callable[[Path], None]
Enough = Callable[[Path], bool]

_REASONS = {  # by the class of an error of the hub's client or of the network below it
    "GatedRepoError": "its owner gives it to whom asks on its page; then log in (hf auth login)",
    "RepositoryNotFoundError": "the hub has no model of this name, or it is private (hf auth login)",
    "RemoteEntryNotFoundError": "the hub's model has no such file",
    "OfflineModeIsEnabled": "it is not in the cache, and HF_HUB_OFFLINE forbids the network",
    "LocalEntryNotFoundError": "it is not in the cache, and the hub cannot be reached",
    "ConnectionError": "the hub cannot be reached",
    "ConnectError": "the hub cannot be reached",
    "ConnectTimeout": "the hub cannot be reached",
    "ReadTimeout": "the hub does not answer",
    "Timeout": "the hub does not answer",
}


def fetch_source(
    source: str | Path,
    variant: str | None = None,
    folders: Collection[str] = (".",),
    check: Check | None = None,
    enough: Enough | None = None,
) -> Path:
    """The folder or file of a model: of this machine, or downloaded from the Hugging Face hub.

    source: a path, or a hub name "owner/name"; only for the latter the network is used. variant, folders: as
    for `choose_files`. check, enough: as for `download`. CheckpointError: there is no such file, or it cannot
    be downloaded.
    """
    place = find_source(source)
    return place if isinstance(place, Path) else download(place, variant, folders, check, enough)


def fetch_configuration(source: str | Path) -> Path:
    """The folder or file of a model, of which only config.json need be there: nothing else is downloaded.

    source, errors: as for `fetch_source`.
    """
    place = find_source(source)
    if isinstance(place, Path):
        return place
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(place, "config.json")).parent
    except Exception as error:  # of the hub's client and of the network below it
        raise CheckpointError(f"{place}: config.json cannot be downloaded: {_reason(error)}") from None


def download(
    name: str,
    variant: str | None = None,
    folders: Collection[str] = (".",),
    check: Check | None = None,
    enough: Enough | None = None,
) -> Path:
    """Downloads a model into the hub's cache and returns its folder; arguments and errors as `fetch_source`.

    Without a network the files of an earlier call are taken. check: called with the folder when all but the
    weights are there; what it raises spares the download of gigabytes that cannot be used. enough: called
    with it then; where it is true, no weights are downloaded.
    """
    from huggingface_hub import HfApi, snapshot_download

    try:
        files = HfApi().list_repo_files(name)
    except Exception as error:  # of the hub's client and of the network below it
        if found := _cached(name):
            return found
        raise CheckpointError(f"{name}: cannot be downloaded: {_reason(error)}") from None
    wanted = choose_files(files, variant, folders)
    if not any(file.endswith(_WEIGHTS) for file in wanted):
        raise CheckpointError(f"{name}: the hub has no safetensors and no .bin of a model under this name")
    small = [file for file in wanted if not file.endswith(_WEIGHTS)]
    try:
        if small and (check is not None or enough is not None):
            place = Path(snapshot_download(name, allow_patterns=[_escaped(file) for file in small]))
            if check is not None:
                check(place)
            if enough is not None and enough(place):
                return place
        return Path(snapshot_download(name, allow_patterns=[_escaped(file) for file in wanted]))
    except Error:
        raise
    except Exception as error:
        raise CheckpointError(f"{name}: cannot be downloaded: {_reason(error)}") from None


def _cached(name: str) -> Path | None:
    """The folder that an earlier call has downloaded; not all files of the model need be there."""
    from huggingface_hub import try_to_load_from_cache

    for file in (
        "config.json",
        "model_index.json",
        "adapter_config.json",
        "g4v_train.json",
        "conversion.json",
    ):
        if isinstance(path := try_to_load_from_cache(name, file), str):
            return Path(path).parent
    return None


def choose_files(
    files: Iterable[str], variant: str | None = None, folders: Collection[str] = (".",)
) -> list[str]:
    """Which files of a model are read, sorted.

    files: all of its files, as paths with "/". folders: those that are looked into, "." for the model's own.
    In each folder the weights of `variant` are taken, or where there are none of it, those without one, or
    where all are of variants (such as "fp16"), those of the first; of these the safetensors, or where there
    are none, the .bin. The model card is taken; code, pictures and other formats are left.
    """
    inside: dict[str, list[str]] = {}
    for file in sorted(files):
        path = PurePosixPath(file)
        if (path.suffix in (*_WEIGHTS, *_OTHERS) and str(path.parent) in folders) or file == _CARD:
            inside.setdefault(str(path.parent), []).append(path.name)
    chosen: list[str] = []
    for folder, names in inside.items():
        weights = choose_weights(names, variant)
        for name in names:
            is_other = not name.endswith(_WEIGHTS) and WeightName.parse(name) is None
            if name in weights or is_other:
                chosen.append(name if folder == "." else f"{folder}/{name}")
    return sorted(chosen)


def choose_weights(names: Iterable[str], variant: str | None = None) -> set[str]:
    """Which of the files of one folder hold its weights, with the index of their shards; variant as for
    `choose_files`."""
    found: dict[str, dict[Any, set[str]]] = {}  # by what they hold, then by rank
    for name in names:
        about = WeightName.parse(name)
        if about:
            found.setdefault(about.stem, {}).setdefault(about.rank(variant), set()).add(name)
    return {name for ranked in found.values() for name in ranked[min(ranked)]}


def _escaped(name: str) -> str:
    """The pattern that matches this one name."""
    return re.sub(r"([*?\[])", r"[\1]", name)


def _reason(error: Exception) -> str:
    """What went wrong, in one line; the client's own words are addresses and advice about its interface."""
    # By name: the client's classes have moved between its releases. The first that fits counts.
    names = {kind.__name__ for kind in type(error).__mro__}
    for kind, reason in _REASONS.items():
        if kind in names:
            return reason
    return one_line(error, 160).rstrip(".")
