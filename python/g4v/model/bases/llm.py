"""Language models: any LlamaForCausalLM by hub name, folder of weights, or GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.gguf_tokenizer import load_gguf_tokenizer
from g4v.model.bases.hub import fetch_source
from g4v.model.bases.llama_files import EMBEDDING, HEAD, LlamaFiles, read_config
from g4v.model.bases.mplug_owl import is_mplug_owl, load_owl_tokenizer

__all__ = ["load_llm", "load_tokenizer", "read_config"]


def load_llm(source: str | Path, dtype: torch.dtype = torch.float32) -> Any:
    """A `transformers.LlamaForCausalLM` in evaluation mode, filled tensor by tensor.

    source: a folder (config.json with safetensors, or with pickles where there are none, sharded or not), a
    GGUF file (needs the package `gguf`; its weights are dequantised), or a hub name "owner/name", the only
    case in which the network is used. The tensors are those that an export of the same source reads.
    dtype: of the weights in memory.

    CheckpointError: another architecture, damaged or missing files, a key of the configuration that is not
    supported, weights that are missing, left over, of other shapes, or not finite.
    """
    place = fetch_source(source)
    weights = LlamaFiles(place)
    if weights.rope_factors is not None:
        raise CheckpointError(
            f"{source}: has rotary factors (rope_freqs) that no configuration of transformers can say; use "
            "the model's folder of safetensors"
        )
    model = weights.skeleton
    for name in weights.shapes:
        module = model.get_submodule(name.rpartition(".")[0])
        if name == f"{HEAD}.weight" and weights.tied:
            module.weight = model.get_submodule(EMBEDDING).weight
            continue
        parameter = torch.nn.Parameter(weights.read(name).to(dtype))
        setattr(module, name.rpartition(".")[2], parameter)
    model.model.rotary_emb = type(model.model.rotary_emb)(weights.config)
    model.config.dtype = dtype
    _set_generation(model, place)
    return model.eval()


def load_tokenizer(source: str | Path) -> Any:
    """The `transformers` fast tokenizer of a source of `load_llm`.

    Where there is a tokenizer.json, it is that one, as an export takes it. CheckpointError: it cannot be
    loaded.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    place = fetch_source(source)
    read_config(place)
    if place.is_file():
        return load_gguf_tokenizer(place)
    try:
        if is_mplug_owl(place):
            return load_owl_tokenizer(place)
        if (place / "tokenizer.json").is_file():
            # The classes of single models build another one of its vocabulary: a Llama's of before 2024 then
            # gives other tokens for texts that begin with spaces, or hold several in a row.
            return PreTrainedTokenizerFast.from_pretrained(place, local_files_only=True)
        return AutoTokenizer.from_pretrained(
            place, use_fast=True, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # every library behind transformers has its own classes
        raise CheckpointError(f"{source}: cannot be loaded: {one_line(error)}") from None


def _set_generation(model: Any, place: Path) -> None:
    """The settings of `generate` that stand beside the weights."""
    if not (place / "generation_config.json").is_file():
        return
    from transformers import GenerationConfig

    try:
        model.generation_config = GenerationConfig.from_pretrained(place, local_files_only=True)
    except Exception as error:  # a damaged file, or settings that contradict each other
        raise CheckpointError(f"{place / 'generation_config.json'}: {one_line(error)}") from None
