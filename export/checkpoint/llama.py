"""A LlamaForCausalLM whose weights are read tensor by tensor, with its adapters merged.

Nothing here holds the model: a 7B checkpoint is exported with the memory of a few of its matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from g4v.export.checkpoint.lora import Adapter, Merge
from g4v.export.errors import ExportError
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.gguf_codes import BlockCodes
from g4v.model.bases.llm import read_config
from g4v.model.bases.tensors import check_shapes, llama_shapes, open_tensors

EMBEDDING = "model.embed_tokens"
HEAD = "lm_head"


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except CheckpointError as error:
        raise ExportError(str(error)) from None


class LlamaWeights:
    """The weights of the Llama at `place` (folder or GGUF file) after its adapters.

    shapes: of all tensors by their names in transformers, the head's also where it is the embedding's.
    ExportError: damaged files, missing tensors, other shapes, or adapters that do not fit.
    """

    def __init__(self, place: Path, adapters: Sequence[Adapter] = ()) -> None:
        with _reported():
            self.config: Any = read_config(place)
            skeleton, self.shapes = llama_shapes(self.config)
            self._files = open_tensors(place, self.config, self.shapes)
            self._tied = bool(self.config.tie_word_embeddings)
            wanted = dict(self.shapes)
            found = dict(self._files.shapes)
            if self._tied:  # some files repeat the embedding; it counts once
                del wanted[f"{HEAD}.weight"]
                found.pop(f"{HEAD}.weight", None)
            check_shapes(place, found, wanted)
        self._merge = Merge(skeleton, adapters)

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def read(self, name: str) -> Tensor:
        """One tensor, float32; ExportError if it cannot be read or holds numbers that are not finite."""
        module, _, kind = name.rpartition(".")
        with _reported():
            tensor = self._files.read(self._stored(name))
        return self._merge.apply(module, tensor) if kind == "weight" else tensor

    def code_bits(self, module: str) -> int | None:
        """Bits of `codes`, without reading them; None where there are none."""
        changed = module in self._merge.names
        return None if changed else self._files.code_bits(self._stored(f"{module}.weight"))

    def codes(self, module: str) -> BlockCodes | None:
        """The codes in which the files hold the weight of a linear layer; None where they hold numbers, or
        where an adapter changes it.
        """
        if self.code_bits(module) is None:
            return None
        with _reported():
            return self._files.codes(self._stored(f"{module}.weight"))

    def _stored(self, name: str) -> str:
        return f"{EMBEDDING}.weight" if self._tied and name == f"{HEAD}.weight" else name

    def layer(self, index: int) -> dict[str, Tensor]:
        """The tensors of one layer by their names in it, such as "mlp.up_proj.weight"."""
        prefix = f"model.layers.{index}."
        return {name.removeprefix(prefix): self.read(name) for name in self.shapes if name.startswith(prefix)}

    def products(self) -> list[str]:
        """The linear layers but the head."""
        return [name.removesuffix(".weight") for name in self.shapes if name.endswith("_proj.weight")]

    def rotary_frequencies(self) -> tuple[Tensor, float]:
        """Angles per position, float32 [head_dim / 2], and the factor on their cosines and sines."""
        from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

        rotary: Any = LlamaRotaryEmbedding(self.config)
        frequencies = rotary.inv_freq.float()
        factors = getattr(self._files, "rope_factors", None)
        return frequencies if factors is None else frequencies / factors, float(rotary.attention_scaling)
