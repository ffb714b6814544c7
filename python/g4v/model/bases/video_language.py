"""Published video language models: SmolVLM2, LLaVA-NeXT-Video and Video-LLaVA.

Wherever a folder of an encoder, a connector or a language model is read, the folder of such a checkpoint may
stand, as that of mPLUG-Owl's may.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.llava import LlavaCheckpoint
from g4v.model.bases.llava_config import is_llava, read_llava_config
from g4v.model.bases.processor_files import PROCESSOR_FILES
from g4v.model.bases.smolvlm import SmolVlmCheckpoint
from g4v.model.bases.smolvlm_config import is_smolvlm, read_smolvlm_config
from g4v.model.bases.video_language_checkpoint import VideoLanguageCheckpoint
from g4v.model.bases.weight_files import find_weight_files

TITLES = "SmolVLM2, LLaVA-NeXT-Video or Video-LLaVA"


def is_video_language(folder: Path) -> bool:
    """Whether config.json of a folder names the architecture of such a model. CheckpointError: damaged."""
    return is_smolvlm(folder) or is_llava(folder)


def check_video_language(folder: Path) -> None:
    """Checks config.json alone, whatever else may be missing. CheckpointError: a setting is not supported."""
    read_text_config(folder)


def read_text_config(folder: Path) -> Any:
    """The LlamaConfig of such a checkpoint. CheckpointError: a setting of the whole is not supported."""
    return read_smolvlm_config(folder).text if is_smolvlm(folder) else read_llava_config(folder).text


def open_video_language(folder: Path) -> VideoLanguageCheckpoint:
    """The checkpoint in a folder, whose weights may be missing. The last ones are kept while their files stay
    as they are: each part has a reader of its own.

    CheckpointError: as of the class.
    """
    files = [folder / "config.json", *(folder / name for name in PROCESSOR_FILES)]
    try:
        files += find_weight_files(folder)
    except CheckpointError:
        pass  # the class says of it
    stats = [(file, file.stat()) for file in files if file.is_file()]
    return _open(folder, tuple((file.name, stat.st_size, stat.st_mtime_ns) for file, stat in stats))


@lru_cache(maxsize=4)  # a run has a link for each of the parts
def _open(folder: Path, files: tuple[tuple[str, int, int], ...]) -> VideoLanguageCheckpoint:
    """files: name, size and time of each, so that a changed checkpoint is opened anew."""
    return SmolVlmCheckpoint(folder) if is_smolvlm(folder) else LlavaCheckpoint(folder)
