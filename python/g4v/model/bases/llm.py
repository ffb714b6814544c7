"""Language models: any LlamaForCausalLM by hub name, directory of safetensors, or GGUF file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from g4v._files import read_json
from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.weight_files import check_weights, find_source

ROTARY_FACTORS = "rope_freqs.weight"  # a tensor of GGUF files


def load_llm(source: str | Path, dtype: torch.dtype = torch.float32) -> Any:
    """A `transformers.LlamaForCausalLM` in evaluation mode.

    source: a directory (config.json with model.safetensors, sharded or not), a GGUF file (needs the package
    `gguf`; its weights are dequantised), or a hub name "owner/name", the only case in which the network is
    used. dtype: of the weights in memory. CheckpointError: another architecture, pickles, damaged or missing
    files, weights that are missing, left over or of other shapes.
    """
    from transformers import LlamaForCausalLM

    place, options = _open(source)
    if "gguf_file" in options and has_rotary_factors(Path(source)):
        raise CheckpointError(
            f"{source}: has rotary factors (rope_freqs), which transformers would leave out; use the model's "
            "folder of safetensors"
        )
    model, info = _quietly(
        source,
        lambda: LlamaForCausalLM.from_pretrained(
            place, dtype=dtype, output_loading_info=True, use_safetensors=True, **options
        ),
    )
    extra = [n for n in info.get("unexpected_keys", ()) if not n.endswith("rotary_emb.inv_freq")]
    for kind, names in (
        ("missing", info.get("missing_keys")),
        ("unexpected", extra),
        ("misshapen", info.get("mismatched_keys")),
    ):
        if names:
            first = sorted(n if isinstance(n, str) else n[0] for n in names)[0]
            raise CheckpointError(f"{source}: {kind} tensor {first} ({len(names)} in all)")
    return model.eval()


def read_config(place: Path) -> Any:
    """The `transformers.LlamaConfig` of a folder or GGUF file; CheckpointError as `load_llm`."""
    from transformers import AutoConfig

    folder, options = _open(place, weights=False)
    config = _quietly(place, lambda: AutoConfig.from_pretrained(folder, **options))
    method = getattr(config, "quantization_config", None)
    if method is not None:
        kind = method.get("quant_method") if isinstance(method, dict) else method
        raise CheckpointError(
            f"{place}: the weights are stored as {kind}; save the model with plain floating weights first"
        )
    return config


def load_tokenizer(source: str | Path) -> Any:
    """The `transformers` fast tokenizer of a source of `load_llm`."""
    from transformers import AutoTokenizer

    place, options = _open(source, weights=False)
    tokenizer = _quietly(
        source,
        lambda: AutoTokenizer.from_pretrained(place, use_fast=True, trust_remote_code=False, **options),
    )
    return _as_in_gguf(tokenizer, gguf_fields(Path(source))) if "gguf_file" in options else tokenizer


def _as_in_gguf(tokenizer: Any, fields: dict[str, Any]) -> Any:
    """The tokenizer as the GGUF file describes it, where transformers reads it otherwise."""
    from tokenizers import Tokenizer, pre_tokenizers

    if fields.get("tokenizer.ggml.pre") == "smollm":
        # transformers splits as GPT-2 does; this family takes every digit for itself.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    count = fields.get("tokenizer.ggml.tokens", len(tokenizer))
    if len(tokenizer) <= count:
        return tokenizer
    # GPT-2's <|endoftext|> is added to files that have no such token, and the model no row for it.
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] < count]
    named = {key: token for key, token in tokenizer.special_tokens_map.items() if key != "unk_token"}
    return type(tokenizer)(tokenizer_object=Tokenizer.from_str(json.dumps(state)), unk_token=None, **named)


def gguf_fields(path: Path) -> dict[str, Any]:
    """A GGUF file's metadata, lists by their lengths; CheckpointError: damaged, truncated, or no GGUF."""
    try:
        from gguf import GGUFReader
    except ImportError:
        raise CheckpointError(f"{path}: reading GGUF needs the package gguf: pip install gguf") from None
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise CheckpointError(f"{path}: is not a GGUF file")
        reader = GGUFReader(path)
        fields = {k: f.contents() if len(f.types) == 1 else len(f.data) for k, f in reader.fields.items()}
        if any(not math.prod(int(n) for n in tensor.shape) for tensor in reader.tensors):
            raise ValueError("empty tensor")
    except CheckpointError:
        raise
    except Exception as error:  # the reader's own asserts and numpy's complaints about missing bytes
        raise CheckpointError(f"{path}: damaged or truncated: {one_line(error)}") from None
    return fields


def has_rotary_factors(path: Path) -> bool:
    """Whether a GGUF file changes the rotary frequencies, as Llama 3.1 and later do."""
    from gguf import GGUFReader

    return any(tensor.name == ROTARY_FACTORS for tensor in GGUFReader(path).tensors)


def _open(source: str | Path, weights: bool = True) -> tuple[Path | str, dict[str, Any]]:
    """Where transformers finds `source`, and the options that keep it there."""
    place = find_source(source)
    if isinstance(place, str):
        from transformers import LlamaConfig

        config, _ = _quietly(source, lambda: LlamaConfig.get_config_dict(place))
        _check_architecture(source, config.get("model_type"))
        return place, {}
    if place.is_file():
        if place.suffix.lower() != ".gguf":
            raise CheckpointError(f"{place}: is neither a model directory nor a .gguf file")
        fields = gguf_fields(place)
        _check_architecture(place, fields.get("general.architecture"))
        scaling = fields.get("llama.rope.scaling.type", "none")
        if scaling != "none":
            raise CheckpointError(f"{place}: rope scaling {scaling!r} of a GGUF file is not supported")
        options = {"gguf_file": place.name, "local_files_only": True}
        return place.parent, {**options, **_dequantised()} if weights else options
    config = read_json(place / "config.json", CheckpointError)
    _check_architecture(place, config.get("model_type"))
    if weights:
        check_weights(place)
    return place, {"local_files_only": True}


def _dequantised() -> dict[str, Any]:
    """The option that dequantises the weights of a GGUF file; else newer transformers keep them in blocks."""
    try:
        from transformers import GgufConfig
    except ImportError:  # older ones always dequantise
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}


def _check_architecture(source: str | Path, kind: Any) -> None:
    if kind != "llama":
        hint = "; convert it with python -m g4v.model.bases convert" if kind == "mplug-owl" else ""
        raise CheckpointError(f"{source}: is a {kind!r} model, only LlamaForCausalLM can be used{hint}")


def _quietly(source: str | Path, load: Any) -> Any:
    try:
        return load()
    except Exception as error:  # every library behind transformers has its own classes
        raise CheckpointError(f"{source}: cannot be loaded: {one_line(error)}") from None
