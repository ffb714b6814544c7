"""Reads the weights of a LlamaForCausalLM tensor by tensor, with LoRA adapters merged.

The model is never in memory as a whole: a 7B checkpoint is exported with the memory of a few of its matrices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from g4v.export.checkpoint.adapter import Adapter
from g4v.export.checkpoint.lora import LoraMerge
from g4v.export.checkpoint.threads import threads_for
from g4v.export.errors import ExportError
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.llama_files import EMBEDDING, HEAD, LlamaFiles
from g4v.weights.gguf_codes import BlockCodes

__all__ = ["EMBEDDING", "HEAD", "LlamaWeights"]


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except CheckpointError as error:
        raise ExportError(str(error)) from None


class LlamaWeights:
    """The weights of a Llama model after its adapters are merged; they stay in their files until read.

    place: the model's folder or GGUF file.
    adapters: LoRA adapters to merge.
    config: attribute, the LlamaConfig of transformers.
    shapes: attribute, the shape of every tensor by its name in transformers, such as "lm_head.weight", which
        is listed also where it is tied to the embedding.

    ExportError: files are damaged, tensors are missing or of other shapes, or an adapter does not fit.
    """

    def __init__(self, place: Path, adapters: Sequence[Adapter] = ()) -> None:
        with _reported():
            self._files = LlamaFiles(place)
        self.config: Any = self._files.config
        self.shapes = self._files.shapes
        self._merge = LoraMerge(self._files.skeleton, adapters)
        self._place, self._own_rows = place, self.config.vocab_size
        if self._merge.vocabulary is not None:
            self.config.vocab_size = self._merge.vocab_size
            for name in (EMBEDDING, HEAD):
                self.shapes[f"{name}.weight"] = (self.config.vocab_size, self.config.hidden_size)

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    @property
    def tokenizer_place(self) -> Path:
        """The folder or GGUF file of the tokenizer; of the adapter that was trained on another vocabulary.

        ExportError: such an adapter has more tokens than the model, and no tokenizer.
        """
        folder = self._merge.vocabulary
        if folder is None or any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model")):
            return folder or self._place
        if self.config.vocab_size > self._own_rows:
            raise ExportError(
                f"{folder}: has embeddings of {self.config.vocab_size} tokens, the model "
                f"{self._own_rows}, but no tokenizer.json: put the tokenizer that it was trained with into it"
            )
        return self._place  # the rows that were cut off stood for no token

    def read(self, name: str) -> Tensor:
        """Reads one tensor by its name in transformers and returns it as float32, adapters merged.

        ExportError: it cannot be read, or holds numbers that are not finite.
        """
        module, _, kind = name.rpartition(".")
        with threads_for(math.prod(self.shapes.get(name, ()))):
            with _reported():
                tensor = self._files.read(name)
            return self._merge.apply(module, tensor) if kind == "weight" else tensor

    def code_bits(self, module: str) -> int | None:
        """Returns the bits per weight of `codes` without reading them; None where `codes` returns None."""
        changed = module in self._merge.names
        return None if changed else self._files.code_bits(f"{module}.weight")

    def codes(self, module: str) -> BlockCodes | None:
        """Returns the quantised codes of a linear layer as the file stores them.

        module: name of the layer, such as "model.layers.0.mlp.up_proj". None is returned where the file
        stores floating-point numbers, or where an adapter changes the weight.
        """
        if self.code_bits(module) is None:
            return None
        with _reported():
            return self._files.codes(f"{module}.weight")

    def layer(self, index: int) -> dict[str, Tensor]:
        """Reads all tensors of one decoder layer, by names without prefix such as "mlp.up_proj.weight"."""
        prefix = f"model.layers.{index}."
        return {name.removeprefix(prefix): self.read(name) for name in self.shapes if name.startswith(prefix)}

    def products(self) -> list[str]:
        """Returns the names of all linear layers except the head, such as "model.layers.0.mlp.up_proj"."""
        return [name.removesuffix(".weight") for name in self.shapes if name.endswith("_proj.weight")]

    def rotary_frequencies(self) -> tuple[Tensor, float]:
        """Returns angles per position, float32 [head_dim / 2], and the factor on their cosines and sines."""
        from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

        rotary: Any = LlamaRotaryEmbedding(self.config)
        frequencies = rotary.inv_freq.float()
        factors = self._files.rope_factors
        return frequencies if factors is None else frequencies / factors, float(rotary.attention_scaling)
