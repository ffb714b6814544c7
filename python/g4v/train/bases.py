"""The frozen parts of a run: found, put into its folder, and loaded from there.

OUT/encoder, OUT/llm, OUT/t2v and OUT/frame_checker are links to the user's folders where those can be
exported as they are, and folders of safetensors where they had to be converted (GGUF files, hub names).
work/bases.json in OUT says what they were taken from; another base in the same OUT is refused.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch

import g4v
from g4v._files import atomic_folder, read_json, write_json
from g4v.errors import Error
from g4v.model.bases import CheckpointError, load_llm, load_tokenizer, load_vision
from g4v.model.bases.video_language import is_video_language, open_video_language
from g4v.model.bases.video_language_checkpoint import VideoLanguageCheckpoint
from g4v.model.bases.weight_files import check_weights, find_source
from g4v.model.clip_features import ClipFeatures
from g4v.model.siglip import SiglipEncoder
from g4v.model.vision import VideoEncoder
from g4v.train.errors import TrainingError
from g4v.train.fingerprints import fingerprint_folder, fingerprint_source
from g4v.train.settings import Settings

FROZEN = ("llm", "encoder", "t2v", "frame_checker")
_PUBLISHED = ("llm", "encoder", "abstractor")  # parts of a published video language model
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_PATIENCE = 3600.0  # seconds for which other processes wait while the first one converts


def find_part(settings: Settings, part: str) -> str | None:
    """Where a part such as "llm" comes from: its own option, else the base; None where neither has it.

    TrainingError: there is no such base.
    """
    given: str | None = getattr(settings, part)
    if given is not None:
        return str(_embedded(part)) if given == "tiny" else given
    if settings.base is None:
        return None
    base = _embedded() if settings.base == "tiny" else Path(settings.base)
    if not base.is_dir():
        raise TrainingError(f"base {settings.base}: no such folder")
    if part in _PUBLISHED and is_video_language(base):
        return str(base)
    return str(base / part) if (base / part).is_dir() else None


def published_base(settings: Settings) -> VideoLanguageCheckpoint | None:
    """The published video language model that tower, connector and language model are taken of; None where
    they are not.

    TrainingError: only some of the three are. CheckpointError: it is damaged, or not supported.
    """
    sources = {part: find_part(settings, part) for part in _PUBLISHED}
    places = {part: Path(source) for part, source in sources.items() if source is not None}
    found = [part for part in places if places[part].is_dir() and is_video_language(places[part])]
    if not found:
        return None
    folder = places[found[0]].resolve()
    if any(part not in places or places[part].resolve() != folder for part in _PUBLISHED):
        title = open_video_language(folder).title
        raise TrainingError(
            f"{sources[found[0]]}: tower, connector and language model of {title} belong together; give "
            "--base without --encoder, --abstractor and --llm"
        )
    return open_video_language(folder)


def check_stage(settings: Settings, stage: str) -> None:
    """Raises TrainingError where the base leaves the stage nothing to train."""
    if stage == "stage1" and (published := published_base(settings)) is not None:
        raise TrainingError(
            f"base {settings.base}: stage 1 trains a new abstractor, and the connector of {published.title} "
            "is trained already; train stage2"
        )


def find_base_description(settings: Settings) -> dict[str, Any] | None:
    """g4v_train.json of the base; None where it has none."""
    if settings.base is None:
        return None
    path = (_embedded() if settings.base == "tiny" else Path(settings.base)) / "g4v_train.json"
    return read_json(path, TrainingError) if path.exists() else None


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

    A part that has no source but stands in OUT already is taken as it is. first: whether this is the first of
    all processes; the others wait for it. TrainingError: no language model, or OUT holds a part that was
    taken from elsewhere.
    """
    out = Path(settings.out)
    record = out / "work" / "bases.json"
    published = published_base(settings)
    if published is not None:
        published.require_weights()
    frozen = FROZEN if published is None else (*FROZEN, "abstractor")
    sources = {part: find_part(settings, part) for part in frozen}
    if sources["llm"] is None and not (out / "llm").is_dir():
        asked = "give --llm (a folder, a GGUF file or a hub name)"
        if settings.base is not None:
            raise TrainingError(f"base {settings.base}: has no folder llm: name another run, or {asked} too")
        raise TrainingError(f"no language model: {asked} or --base")
    if not first:
        _wait_for(record)
        return dict(read_json(record, TrainingError)["fingerprints"])
    known = read_json(record, TrainingError) if record.exists() else {"sources": {}, "fingerprints": {}}
    for part, source in sources.items():
        if source is None:
            if (out / part).is_dir():
                known["fingerprints"][part] = fingerprint_folder(out / part)
            continue
        origin = fingerprint_source(source)
        if (out / part).exists():
            if known["sources"].get(part) not in (None, origin):
                raise TrainingError(
                    f"{out / part} was taken from another {part} than {source}; choose another --out"
                )
        elif published is not None and part in _PUBLISHED:
            _take_published(published.folder, part, out, settings.copy_bases)
        else:
            _take(part, source, out / part, settings.copy_bases)
        known["sources"][part] = origin
        known["fingerprints"][part] = fingerprint_folder(out / part)
    write_json(record, known, TrainingError)
    return dict(known["fingerprints"])


def _wait_for(record: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while not record.exists():
        if time.monotonic() > end:
            raise TrainingError(f"{record}: the first process did not write it within an hour")
        time.sleep(0.5)


def _take_published(folder: Path, part: str, out: Path, copy: bool) -> None:
    """Links a part in the run `out` to the folder of a published checkpoint, or to the one copy of it."""
    if copy and part != "llm":
        folder = out / "llm"  # the first of the parts
    elif copy:
        with atomic_folder(out / part, TrainingError) as work:
            shutil.copytree(folder, work, dirs_exist_ok=True)
        return
    if not _link(folder, out / part):
        raise TrainingError(f"{out / part}: no link can be made there, which a published base needs")


def _take(part: str, source: str, target: Path, copy: bool) -> None:
    """Links, copies or converts a source into the folder `target`."""
    place = find_source(source)
    if isinstance(place, Path) and place.is_dir():
        if part != "t2v":
            read_json(place / "config.json", CheckpointError)
            check_weights(place)
        if not copy and _link(place, target):
            return
        with atomic_folder(target, TrainingError) as work:
            shutil.copytree(place, work, dirs_exist_ok=True)
    elif part == "llm":
        # Half precision halves the file; the run is trained on these very values.
        model = load_llm(source, torch.float16)
        tokenizer = load_tokenizer(source)
        with atomic_folder(target, TrainingError) as work:
            model.save_pretrained(work)
            tokenizer.save_pretrained(work)
    elif part == "encoder":
        encoder = load_vision(source)
        if isinstance(encoder, SiglipEncoder | ClipFeatures):
            raise TrainingError(f"{source}: is a video language model; give its folder as --base")
        with atomic_folder(target, TrainingError) as work:
            encoder.save_pretrained(work)
    else:
        raise TrainingError(f"{source}: {part} must be a local folder")


def _link(place: Path, target: Path) -> bool:
    """Whether `target` could be made a link to `place`: some file systems and users may not have links."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(place.resolve(), target, target_is_directory=True)
    except OSError:
        return False
    return True


def load_base_llm(out: Path, dtype: torch.dtype) -> Any:
    """OUT/llm as a LlamaForCausalLM whose weights have `dtype`."""
    return load_llm(out / "llm", dtype)


def load_base_encoder(out: Path, dtype: torch.dtype) -> VideoEncoder | None:
    """OUT/encoder, frozen, in evaluation mode, weights in `dtype`; None for an assistant without vision."""
    if not (out / "encoder").is_dir():
        return None
    encoder: VideoEncoder = load_vision(out / "encoder")
    return encoder.to(dtype).requires_grad_(False)


def image_statistics(out: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel that the encoder's pixels (0 to 1) are normalised with.

    CLIP's where OUT/encoder does not say.
    """
    path = out / "encoder" / "preprocessor_config.json"
    values = read_json(path, TrainingError) if path.exists() else {}
    return tuple(values.get("image_mean", _CLIP_MEAN)), tuple(values.get("image_std", _CLIP_STD))


def base_tokenizer(out: Path) -> Any:
    """The tokenizer of OUT/llm, as transformers loads it. TrainingError: it has none that can be read."""
    try:
        return load_tokenizer(out / "llm")
    except Error:
        raise
    except Exception as error:  # a folder without tokenizer files, in as many ways as there are tokenizers
        raise TrainingError(f"{out / 'llm'}: no tokenizer: {' '.join(str(error).split())[:200]}") from None
