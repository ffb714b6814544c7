"""The frozen parts of a run: found, put into its folder, and loaded from there.

OUT/encoder, OUT/llm, OUT/t2v and OUT/frame_checker are links to the user's folders where those can be
exported as they are, and folders of safetensors where they had to be converted (GGUF files, hub names).
work/bases.json in OUT says what they were taken from; another base in the same OUT is refused.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

import g4v
from g4v._files import read_json as read_config
from g4v.errors import Error
from g4v.model.bases import CheckpointError, load_llm, load_tokenizer, load_vision
from g4v.model.bases.weight_files import check_weights, find_source
from g4v.model.prompt import PromptTemplate, default_system
from g4v.model.vision import VideoEncoder
from g4v.train.errors import TrainingError
from g4v.train.files import fingerprint, read_json, whole_folder, write_json
from g4v.train.settings import Settings

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_PATIENCE = 3600.0  # seconds for which other processes wait while the first converts


def find_part(settings: Settings, part: str) -> str | None:
    """Where a part such as "llm" comes from: its own option, else the base."""
    given = getattr(settings, part)
    if given is not None:
        return str(_embedded(part)) if given == "tiny" else given
    if settings.base is None:
        return None
    base = _embedded() if settings.base == "tiny" else Path(settings.base)
    if not base.is_dir():
        raise TrainingError(f"base {settings.base}: no such folder")
    return str(base / part) if (base / part).is_dir() else None


def _embedded(part: str = "") -> Path:
    """The checked-in weights of the embedded default."""
    folder = Path(g4v.__file__).parent / "checkpoints" / "tiny" / part
    if not folder.is_dir():
        raise TrainingError(
            f"the weights of tiny are not in this installation: name the folder "
            f"python/g4v/checkpoints/tiny{'/' + part if part else ''} of a clone of the repository"
        )
    return folder


def prepare_bases(settings: Settings, first: bool) -> dict[str, str]:
    """Puts the frozen parts into OUT; returns their fingerprints by part.

    first: whether this is the first of all processes; the others wait for it.
    """
    out = Path(settings.out)
    record = out / "work" / "bases.json"
    sources = {part: find_part(settings, part) for part in ("llm", "encoder", "t2v", "frame_checker")}
    if sources["llm"] is None and not (out / "llm").is_dir():
        raise TrainingError("no language model: give --llm (a folder, a GGUF file or a hub name) or --base")
    if not first:
        _wait_for(record)
        return dict(read_json(record)["fingerprints"])
    known = read_json(record) if record.exists() else {"sources": {}, "fingerprints": {}}
    for part, source in sources.items():
        if source is None:
            continue
        mark = source_mark(source)
        if (out / part).exists():
            if known["sources"].get(part) not in (None, mark):
                raise TrainingError(
                    f"{out / part} was taken from another {part} than {source}; choose another --out"
                )
        else:
            _take(part, source, out / part, settings.copy_bases)
        known["sources"][part] = mark
        known["fingerprints"][part] = fingerprint(out / part)
    write_json(record, known)
    return dict(known["fingerprints"])


def source_mark(source: str) -> str:
    """Tells sources apart: a folder or file by its content, a hub name by itself."""
    place = find_source(source)
    if isinstance(place, str):
        return f"hub {place}"
    if place.is_dir():
        return fingerprint(place)
    with place.open("rb") as file:
        head = file.read(64 << 10)
    return f"{place.stat().st_size} {hash_bytes(head)}"


def hash_bytes(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()[:16]


def _wait_for(record: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while not record.exists():
        if time.monotonic() > end:
            raise TrainingError(f"{record}: the first process did not write it within an hour")
        time.sleep(0.5)


def _take(part: str, source: str, target: Path, copy: bool) -> None:
    place = find_source(source)
    if isinstance(place, Path) and place.is_dir():
        if part != "t2v":
            read_config(place / "config.json", CheckpointError)
            check_weights(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not copy:
            try:
                os.symlink(place.resolve(), target, target_is_directory=True)
                return
            except OSError:  # a file system or a user that may not have links
                pass
        with whole_folder(target) as work:
            shutil.copytree(place, work, dirs_exist_ok=True)
    elif part == "llm":
        # Half precision halves the file; the run is trained on these very values.
        model = load_llm(source, torch.float16)
        tokenizer = load_tokenizer(source)
        with whole_folder(target) as work:
            model.save_pretrained(work)
            tokenizer.save_pretrained(work)
    elif part == "encoder":
        encoder = load_vision(source)
        with whole_folder(target) as work:
            encoder.save_pretrained(work)
    else:
        raise TrainingError(f"{source}: {part} must be a local folder")


def load_base_llm(out: Path, dtype: torch.dtype) -> Any:
    return load_llm(out / "llm", dtype)


def load_base_encoder(out: Path, dtype: torch.dtype) -> VideoEncoder | None:
    """In evaluation mode and frozen; None for an assistant without eyes."""
    if not (out / "encoder").is_dir():
        return None
    return load_vision(out / "encoder").to(dtype).requires_grad_(False)


def image_statistics(out: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the encoder's pixels; CLIP's where its folder does not say."""
    path = out / "encoder" / "preprocessor_config.json"
    values = read_json(path) if path.exists() else {}
    return tuple(values.get("image_mean", _CLIP_MEAN)), tuple(values.get("image_std", _CLIP_STD))


def build_template(settings: Settings, tokenizer: Any) -> PromptTemplate:
    """The base run's own template where it has one, else the paper's with the tokenizer's ids; then changes.

    The opening token is there where the tokenizer itself puts one before a text.
    """
    base = find_base_description(settings)
    if base is not None and "prompt" in base:
        values = dict(base["prompt"])
    else:
        end = tokenizer.eos_token_id
        if end is None:
            raise TrainingError("the tokenizer has no end-of-text token; set prompt: {turn_end_id: N}")
        opening = tokenizer("a").input_ids[:1]
        has_bos = tokenizer.bos_token_id is not None and opening == [tokenizer.bos_token_id]
        values = {
            "turn_end_id": end,
            "bos_id": tokenizer.bos_token_id if has_bos else None,
            "system": default_system(settings.assistant),
        }
    values |= settings.prompt
    known = {item.name for item in fields(PromptTemplate)}
    for name, value in values.items():
        if name not in known:
            raise TrainingError(f"prompt: unknown key {name!r} (one of {', '.join(sorted(known))})")
        wanted = _prompt_type(name, value)
        if wanted:
            raise TrainingError(f"prompt: {name} must be {wanted}, not {value!r}")
    return PromptTemplate.from_manifest(values)


def _prompt_type(name: str, value: Any) -> str:
    """What a value of the template must be where it is something else; "" where it fits."""
    if name in ("turn_end_id", "bos_id"):
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        return "" if fits or (name == "bos_id" and value is None) else "the number of a token"
    if name in ("stop", "refusal_openings"):
        fits = isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)
        return "" if fits else "a list of texts"
    return "" if isinstance(value, str) else "a text"


def find_base_description(settings: Settings) -> dict[str, Any] | None:
    """g4v_train.json of the base, where it has one."""
    if settings.base is None:
        return None
    path = (_embedded() if settings.base == "tiny" else Path(settings.base)) / "g4v_train.json"
    return read_json(path) if path.exists() else None


def base_tokenizer(out: Path) -> Any:
    try:
        return load_tokenizer(out / "llm")
    except Error:
        raise
    except Exception as error:  # a folder without tokenizer files, in as many ways as there are tokenizers
        raise TrainingError(f"{out / 'llm'}: no tokenizer: {' '.join(str(error).split())[:200]}") from None
