"""Calibration text of GPTQ: token sequences that the decoder's matrices meet in use."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.errors import ExportError

OWN, NONE = "own", "none"  # in place of a file's name
SEQUENCES, LENGTH = 32, 256
_MAX_WEIGHTS = 10**9  # of a model that writes its own text, which takes long with more


@dataclass(frozen=True)
class Calibration:
    """Calibration tokens.

    ids: int64 [n, L], n sequences of L tokens.
    about: what the manifest says of them: file and SHA-256, or how the model wrote them.
    """

    ids: Tensor
    about: dict[str, Any]


def resolve_choice(weights: LlamaWeights, choice: str | None) -> str:
    """Returns the user's choice of calibration; for None "own", or "none" above 1 billion weights."""
    if choice is not None:
        return choice
    return OWN if sum(math.prod(shape) for shape in weights.shapes.values()) <= _MAX_WEIGHTS else NONE


def calibrate(
    weights: LlamaWeights, tokenizer: Any, choice: str | None, own_text: Callable[[], Calibration]
) -> Calibration | None:
    """Returns calibration tokens, or None for the choice "none".

    weights: of the language model.
    tokenizer: of transformers, for the model.
    choice: the path of a UTF-8 text file; "own" for text that the model writes itself; "none"; or None, which
        is "own" for models of up to 1 billion weights and "none" above.
    own_text: has the model write its text, where that is chosen.

    ExportError: the file cannot be read or is too short.
    """
    choice = resolve_choice(weights, choice)
    if choice == NONE:
        return None
    if choice == OWN:
        return own_text()
    return _from_file(Path(choice), tokenizer, sequence_length(weights))


def sequence_length(weights: LlamaWeights) -> int:
    """Returns how many tokens a calibration sequence of a model has."""
    return min(LENGTH, int(weights.config.max_position_embeddings))


def calibration_files(choice: str | None) -> list[Path]:
    """Returns the file that a choice of `calibrate` names, in a list that is empty for other choices.

    ExportError: there is no such file.
    """
    if choice in (None, OWN, NONE):
        return []
    path = Path(str(choice))
    if not path.is_file():
        raise ExportError(f"{path}: no such file (--calibration takes a text file, {OWN!r} or {NONE!r})")
    return [path]


def _from_file(path: Path, tokenizer: Any, length: int) -> Calibration:
    try:
        data = path.read_bytes()
        text = data.decode()
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ExportError(f"{path}: is no UTF-8 text; --calibration takes a plain text file") from None
    found = tokenizer.encode(text, add_special_tokens=False)
    count = len(found) // length
    if not count:
        raise ExportError(f"{path}: has {len(found)} tokens; --calibration needs at least {length}")
    # Where there is more than needed, parts from all over the text.
    places = torch.linspace(0, count - 1, min(count, SEQUENCES)).long()
    ids = torch.tensor(found[: count * length]).view(count, length)[places]
    about = {"file": path.name, "sha256": hashlib.sha256(data).hexdigest(), "tokens": ids.numel()}
    return Calibration(ids, about)
