"""The processor's files of a video language model, as transformers reads them.

"video_processor" of processor_config.json, or else video_preprocessor_config.json, or else
preprocessor_config.json. Every key is obeyed, known to change nothing of what becomes of videos, or refused
by name.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g4v._files import read_json
from g4v.model.bases.errors import CheckpointError

PROCESSOR_FILES = ("processor_config.json", "video_preprocessor_config.json", "preprocessor_config.json")
MOST_EDGE = 4096  # of the processor, and of csrc/bundle/manifest_components.cc
MOST_FRAMES = 1024  # as csrc/chat/options.h has it
_RESAMPLING = {1: "lanczos", 3: "bicubic"}  # Pillow's numbers
# Videos are read as RGB, in whole batches of one, and never cut into parts. Whether frames are sampled is
# said by who calls the processor; a chat always does.
_NO_EFFECT = set(
    """
    do_convert_rgb do_pad do_sample_frames return_metadata return_tensors processor_class
    image_processor_type video_processor_type data_format input_data_format device disable_grouping
    default_to_square model_input_names
    """.split()
)
_ON = ("do_resize", "do_rescale", "do_normalize")
_OBEYED = {"resample", "image_mean", "image_std", "rescale_factor", "fps", "num_frames"}
_KINDS = ("video_processor_type", "image_processor_type")


@dataclass(frozen=True)
class ProcessorFiles:
    """whole: the content of processor_config.json, {} without it; place: the file. values: the settings of
    the video processor; path: the file that they are from.
    """

    place: Path
    whole: dict[str, Any]
    path: Path
    values: dict[str, Any]

    def check_whole(self, known: Collection[str]) -> None:
        """CheckpointError names a key of processor_config.json that is not among those known."""
        known = {*known, "processor_class", "video_processor", "image_processor", "chat_template"}
        for key in sorted(set(self.whole) - known):
            value = self.whole[key]
            raise CheckpointError(f"{self.place}: {key} = {value!r:.80} is not supported")

    def check(self, kinds: Collection[str], obeyed: Collection[str], harmless: Collection[str]) -> None:
        """Checks the keys of the video processor.

        kinds: classes that it may be of. obeyed, harmless: keys beside those that every class has.
        CheckpointError names the key.
        """
        path = self.path
        for key in _KINDS:
            found = self.values.get(key)
            if found is not None and str(found).removesuffix("Fast") not in kinds:
                kind = next(kind for kind in kinds if key.startswith("image") == ("Image" in kind))
                raise CheckpointError(f"{path}: {key} is {found!r:.80}: only {kind!r} can be used")
        for key in _ON:
            if self.values.get(key, True) is not True:
                raise CheckpointError(f"{path}: {key} = {self.values[key]!r:.80} is not supported, only true")
        factor = self.values.get("rescale_factor", 1 / 255)
        if not is_number(factor) or not math.isclose(factor, 1 / 255, rel_tol=1e-6):
            raise CheckpointError(f"{path}: rescale_factor = {factor!r:.80} is not supported, only 1/255")
        known = {*_OBEYED, *_NO_EFFECT, *_ON, *obeyed, *harmless}
        for key, value in self.values.items():
            if key not in known and value is not None:
                raise CheckpointError(f"{path}: {key} = {value!r:.80} is not supported")

    def resampling(self, default: int) -> str:
        """The filter of the resizing. CheckpointError: it is none of those that the core has."""
        number = self.values.get("resample", default)
        if number not in _RESAMPLING:
            kinds = ", ".join(f"{number} ({name})" for number, name in _RESAMPLING.items())
            raise CheckpointError(f"{self.path}: resample is {number!r:.80}: only {kinds} can be used")
        return _RESAMPLING[number]

    def channels(self, name: str, default: list[float], above: float = -math.inf) -> list[float]:
        """Three numbers, one for each channel. CheckpointError: they are something else."""
        value = self.values.get(name, default)
        right = isinstance(value, list) and len(value) == 3 and all(map(is_number, value))
        if not right or not all(above < number and abs(number) <= 1e6 for number in value):
            raise CheckpointError(f"{self.path}: {name} is {value!r:.80}, not 3 numbers")
        return [float(number) for number in value]


def read_processor_files(folder: Path) -> ProcessorFiles:
    """The settings of a checkpoint's processor. CheckpointError: there are none, or a file is damaged."""
    place = folder / PROCESSOR_FILES[0]
    whole = read_json(place, CheckpointError) if place.is_file() else {}
    path, values = place, whole.get("video_processor")
    if values is None:
        found = [folder / name for name in PROCESSOR_FILES[1:] if (folder / name).is_file()]
        if not found:
            raise CheckpointError(f"{folder}: none of {', '.join(PROCESSOR_FILES)} is there")
        path = found[0]
        values = read_json(path, CheckpointError)
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: video_processor is not an object")
    return ProcessorFiles(place, whole, path, values)


def edge_of(path: Path, name: str, value: Mapping[str, Any], key: str) -> int:
    """value[key], pixels. CheckpointError: it is out of range."""
    edge = value[key]
    if type(edge) is not int or not 1 <= edge <= MOST_EDGE:
        raise CheckpointError(f"{path}: {name}.{key} is {edge!r:.80}, not a number from 1 to {MOST_EDGE}")
    return edge


def frame_count(path: Path, name: str, value: Any) -> int:
    """A number of frames. CheckpointError: it is out of range."""
    if type(value) is not int or not 1 <= value <= MOST_FRAMES:
        raise CheckpointError(f"{path}: {name} is {value!r:.80}, not a number from 1 to {MOST_FRAMES}")
    return value


def frame_rate(path: Path, name: str, value: Any) -> float:
    """Frames per second. CheckpointError: it is out of range."""
    if not is_number(value) or not 0 < value <= 1000:
        raise CheckpointError(f"{path}: {name} is {value!r:.80}, not a number from 0 to 1000")
    return float(value)


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
