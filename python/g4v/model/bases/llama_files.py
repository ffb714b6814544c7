"""A Llama on disk, from a folder or a GGUF file: one reader for training and export."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g4v._memory import check_memory
from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.gguf_config import read_gguf_config, read_rotary_factors
from g4v.model.bases.llama_config import read_llama_config
from g4v.model.bases.mplug_owl import is_mplug_owl, open_mplug_owl
from g4v.model.bases.tensors import FloatFiles, GgufFile, TensorFiles
from g4v.model.bases.video_language import is_video_language, open_video_language, read_text_config
from g4v.weights.gguf_codes import BlockCodes
from g4v.weights.gguf_metadata import read_metadata
from g4v.weights.packed_file import HEAD
from g4v.weights.tensor_shapes import check_shapes

EMBEDDING = "model.embed_tokens"
__all__ = ["EMBEDDING", "HEAD", "LlamaFiles", "llama_shapes", "open_tensors", "read_config"]

_TABLES = (f"{EMBEDDING}.weight", f"{HEAD}.weight")


def read_config(place: Path) -> Any:
    """The `transformers.LlamaConfig` of a folder or a GGUF file.

    CheckpointError: it is missing or damaged, is of another model, or has a key or value that the exported
    graph would not follow.
    """
    if place.is_dir() and is_video_language(place):
        return read_text_config(place)
    if place.is_dir():
        return open_mplug_owl(place).config("llm") if is_mplug_owl(place) else read_llama_config(place)
    if place.suffix.lower() != ".gguf":
        raise CheckpointError(f"{place}: is neither a model directory nor a .gguf file")
    return read_gguf_config(place)


class LlamaFiles:
    """The weights of a Llama in their files, by the names of transformers; each is read when asked for.

    config: attribute, the LlamaConfig; its tie_word_embeddings is false where a file has a head of its own.
    skeleton: attribute, a LlamaForCausalLM of these sizes without memory (on the meta device).
    shapes: attribute, of every tensor by its name, such as "lm_head.weight", which is listed also where it is
        tied to the embedding.
    tied: attribute, whether the head is the embedding.
    rope_factors: attribute, float32 [head_dim / 2]: what the rotary frequencies of `config` are divided by
        beside; None where the configuration says all.

    CheckpointError: damaged files, tensors that are missing, left over or of other shapes than the
    configuration's, or a configuration that `read_config` refuses.
    """

    def __init__(self, place: Path) -> None:
        self.config: Any = read_config(place)
        self.skeleton, self.shapes = llama_shapes(self.config)
        self._files = open_tensors(place, self.config, self.shapes)
        self._stands_for: dict[str, str] = {}
        self._check(place)
        self.tied = bool(self._stands_for)
        self.rope_factors = _rope_factors(place, self.config)

    def read(self, name: str) -> Tensor:
        """A copy of one tensor in float32. CheckpointError: it cannot be read, or a number is not finite."""
        return self._files.read(self._stands_for.get(name, name))

    def code_bits(self, name: str) -> int | None:
        """Bits (4 or 8) of the codes that a quantised matrix is stored as; None where it is not so stored."""
        return self._files.code_bits(self._stands_for.get(name, name))

    def codes(self, name: str) -> BlockCodes | None:
        """The codes that a quantised matrix is stored as; None where it is not so stored."""
        return self._files.codes(self._stands_for.get(name, name))

    def _check(self, place: Path) -> None:
        """Checks names and shapes, and finds out whether the head is the embedding, as transformers does.

        Where both are stored and differ, tie_word_embeddings is wrong; where one is, it stands for the other.
        """
        wanted, found = dict(self.shapes), self._files.shapes
        stored = [name for name in _TABLES if name in found]
        if self.config.tie_word_embeddings and len(stored) == 1:
            (there,) = stored
            (absent,) = set(_TABLES) - {there}
            self._stands_for = {absent: there}
            del wanted[absent]
        check_shapes(
            place, found, wanted, {_TABLES[1]: "tie_word_embeddings must be true if it is the embedding"}
        )
        if self.config.tie_word_embeddings and len(stored) == 2:
            if isinstance(self._files, FloatFiles) and self._files.equal(*_TABLES):
                self._stands_for = {_TABLES[1]: _TABLES[0]}
            else:
                self.config.tie_word_embeddings = False
                self.skeleton, self.shapes = llama_shapes(self.config)


def _rope_factors(place: Path, config: Any) -> Tensor | None:
    if place.is_dir() or config.rope_parameters["rope_type"] == "llama3":
        return None
    factors = read_rotary_factors(read_metadata(place))
    return None if factors is None else torch.from_numpy(factors).float()


def open_tensors(place: Path, config: Any, names: Collection[str]) -> TensorFiles:
    """The weights of the Llama at `place`, a folder or a GGUF file; CheckpointError if they are damaged.

    names: those that transformers has for the tensors of this model.
    """
    if place.is_dir() and is_video_language(place):
        return open_video_language(place).language_model()
    if place.is_dir():
        return open_mplug_owl(place).language_model() if is_mplug_owl(place) else FloatFiles(place)
    try:
        return GgufFile(place, config, names)
    except Exception as error:  # the reader's own asserts and numpy's complaints about missing bytes
        check_memory(error, str(place))
        raise CheckpointError(f"{place}: damaged or truncated: {one_line(error)}") from None


def llama_shapes(config: Any) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """A LlamaForCausalLM without memory (on the meta device), and the shapes of its tensors by name."""
    from transformers import LlamaForCausalLM

    try:
        with torch.device("meta"):
            model = LlamaForCausalLM(config)
    except Exception as error:  # sizes of which PyTorch can make no tensor
        place = config.name_or_path
        raise CheckpointError(f"{place}: no model of these sizes can be made: {one_line(error)}") from None
    named = model.named_parameters(remove_duplicate=False)
    return model, {name: tuple(parameter.shape) for name, parameter in named}
