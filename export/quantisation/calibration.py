"""Calibration text of GPTQ: token sequences that the decoder's matrices meet in use."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.errors import ExportError

OWN, NONE = "own", "none"  # in place of a file's name
SEQUENCES, LENGTH = 32, 256
_MAX_WEIGHTS = 10**9  # of a model that is loaded whole to write its own text
_SEED = 20231125


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


def calibrate(weights: LlamaWeights, tokenizer: Any, choice: str | None) -> Calibration | None:
    """Returns calibration tokens, or None for the choice "none".

    weights: of the language model.
    tokenizer: of transformers, for the model.
    choice: the path of a UTF-8 text file; "own" for text that the model writes itself; "none"; or None, which
        is "own" for models of up to 1 billion weights, which are loaded whole for it, and "none" above.

    ExportError: the file cannot be read or is too short.
    """
    choice = resolve_choice(weights, choice)
    if choice == NONE:
        return None
    if choice == OWN:
        ids = _own_text(weights, tokenizer.bos_token_id)
        return Calibration(ids, {"text": "written by the model itself", "seed": _SEED, "tokens": ids.numel()})
    length = min(LENGTH, weights.config.max_position_embeddings)
    return _from_file(Path(choice), tokenizer, length)


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


@torch.no_grad()
def _own_text(weights: LlamaWeights, bos: int | None) -> Tensor:
    """Text that the model samples at temperature 1, as in LLM-QAT (Liu et al., 2023, arXiv 2305.17888)."""
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        model: Any = LlamaForCausalLM(weights.config)
    state = {name: weights.read(name) for name in weights.shapes}
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    # Tables that no checkpoint holds are still without values.
    model.model.rotary_emb = type(model.model.rotary_emb)(weights.config)
    frequencies, _ = weights.rotary_frequencies()
    model.model.rotary_emb.inv_freq = frequencies
    model.eval()
    generator = torch.Generator().manual_seed(_SEED)
    length = min(LENGTH, weights.config.max_position_embeddings)
    first = torch.randint(weights.config.vocab_size, (SEQUENCES, 1), generator=generator)
    ids = first if bos is None else torch.full_like(first, bos)
    past = None
    while ids.shape[1] < length:
        result = model(ids if past is None else ids[:, -1:], past_key_values=past, use_cache=True)
        past = result.past_key_values
        chances = result.logits[:, -1].float().softmax(-1)
        ids = torch.cat([ids, torch.multinomial(chances, 1, generator=generator)], 1)
    return ids
