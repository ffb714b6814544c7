"""SmolLM2-135M-Instruct in a GGUF file, with the adapter of `small` merged, as weights to pack.

Codes that the file has are kept; what the adapter changes is rounded to the nearest codes of 8 bits. That is
what `python -m g4v.export --precision int8 --calibration none` makes of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from g4v._files import read_json
from g4v._memory import check_memory
from g4v.weights.errors import CheckpointError, one_line
from g4v.weights.gguf_codes import BlockCodes
from g4v.weights.gguf_metadata import GgufMetadata, read_metadata
from g4v.weights.gguf_tensors import ROTARY_FACTORS, GgufTensors
from g4v.weights.lora import lora_delta
from g4v.weights.packed_file import HEAD
from g4v.weights.round_to_nearest import quantise
from g4v.weights.safetensors_file import read_safetensors
from g4v.weights.tensor_shapes import check_shapes

EMBEDDING = "model.embed_tokens"
MODEL = "SmolLM2-135M-Instruct"
_NEEDED = {  # keys of "llama." that the file must have, with the values of the model that small is for
    "block_count": 30,
    "context_length": 8192,
    "embedding_length": 576,
    "feed_forward_length": 1536,
    "attention.head_count": 9,
    "attention.head_count_kv": 3,
    "attention.layer_norm_rms_epsilon": float(np.float32(1e-5)),
    "rope.freq_base": 100000.0,
}
_ALLOWED = {  # further ones, which say the same
    "vocab_size": 49152,
    "rope.dimension_count": 64,
    "attention.key_length": 64,
    "attention.value_length": 64,
}
_LAYERS, _WIDTH, _MLP = _NEEDED["block_count"], _NEEDED["embedding_length"], _NEEDED["feed_forward_length"]
_HEADS, _KV_HEADS, _HEAD_DIM = 9, 3, 64
_VOCABULARY = 49152
_BITS = 8  # of codes that are made
_PLAIN: dict[str, Any] = {  # settings of a LoRA without anything beside its factors
    "peft_type": "LORA",
    "bias": "none",
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "use_rslora": False,
    "use_dora": False,
}
_FACTOR = "base_model.model.{}.lora_{}.weight"


class SmallSource:
    """The language model of `small`, tensor by tensor (a `g4v.weights.packed_file.PackedSource`).

    path: the GGUF file. adapter: folder of the adapter, as PEFT saves it.
    made: attribute, how the codes of each matrix so far were made, by its name: "kept, Q4_1" or "nearest, 8
        bits".

    CheckpointError: the file is damaged or of another model, or the adapter is no plain LoRA of that model.
    """

    layers = int(_LAYERS)
    intermediate_size = int(_MLP)
    norm_epsilon = float(_NEEDED["attention.layer_norm_rms_epsilon"])

    def __init__(self, path: Path, adapter: Path) -> None:
        _check_model(path, read_metadata(path))
        shapes = _shapes()
        try:
            self._tensors = GgufTensors(path, self.layers, _HEADS, _KV_HEADS, shapes)
        except Exception as error:  # the package's own asserts and NumPy's complaints about missing bytes
            check_memory(error, str(path))
            raise CheckpointError(f"{path}: damaged or truncated: {one_line(error)}") from None
        check_shapes(path, self._tensors.shapes, shapes)
        self._factors, self._scaling = _read_adapter(adapter, shapes)
        self.made: dict[str, str] = {}

    def embedding(self) -> Iterator[np.ndarray]:
        """The token embeddings, some rows at a time, float32 [n, hidden size]."""
        return self._tensors.rows(f"{EMBEDDING}.weight")

    def rotary_frequencies(self) -> tuple[np.ndarray, float]:
        """Angles per position, float32 [head_dim / 2], and 1.

        They are base^(-2 i / head_dim), rounded where transformers rounds them.
        """
        exponents = np.arange(0, _HEAD_DIM, 2, dtype=np.float32) / np.float32(_HEAD_DIM)
        powers = np.power(float(_NEEDED["rope.freq_base"]), exponents.astype(np.float64))
        return np.float32(1) / powers.astype(np.float32), 1.0

    def bias(self, name: str) -> None:
        """The model has none."""
        return None

    def norm(self, name: str) -> np.ndarray:
        """The scale of a norm, float32 [hidden size]."""
        return self._tensors.read(f"{name}.weight")

    def matrices(self, *names: str) -> Iterator[BlockCodes]:
        """The codes of linear layers by their names in transformers, the adapter merged."""
        for name in names:
            codes = self._codes(name)
            self.made[name] = codes.kind if codes.kind.startswith("nearest") else f"kept, {codes.kind}"
            yield codes

    def _codes(self, name: str) -> BlockCodes:
        stored = f"{EMBEDDING if name == HEAD else name}.weight"
        if name in self._factors:
            weight = self._tensors.read(stored).astype(np.float64)
            return quantise(
                (weight + lora_delta(*self._factors[name], self._scaling)).astype(np.float32), _BITS
            )
        kept = self._tensors.codes(stored)
        if kept is not None:
            return kept
        return quantise(self._tensors.read(stored), self._tensors.code_bits(stored) or _BITS)


def _check_model(path: Path, metadata: GgufMetadata) -> None:
    fields = metadata.fields
    kind = fields.get("general.architecture")
    if kind != "llama":
        raise CheckpointError(f"{path}: its architecture is {kind!r:.80}, and {MODEL} is a 'llama'")
    known = {**_NEEDED, **_ALLOWED}
    found = {name.removeprefix("llama."): fields[name] for name in fields if name.startswith("llama.")}
    for name, value in found.items():
        if name not in known or value != known[name]:
            wanted = f", not {known[name]}" if name in known else ", a key that it has not"
            raise CheckpointError(f"{path}: is not {MODEL}: llama.{name} is {value!r:.80}{wanted}")
    for name in _NEEDED:
        if name not in found:
            raise CheckpointError(f"{path}: is not {MODEL}: llama.{name} is missing")
    if ROTARY_FACTORS in metadata.tensors:
        raise CheckpointError(f"{path}: is not {MODEL}: it has rotary factors ({ROTARY_FACTORS})")


def _shapes() -> dict[str, tuple[int, ...]]:
    """The shapes of the model's tensors by their names in transformers; the head is the embedding."""
    keys, width, mlp = _KV_HEADS * _HEAD_DIM, int(_WIDTH), int(_MLP)
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm": (width,),
        "post_attention_layernorm": (width,),
        "self_attn.q_proj": (_HEADS * _HEAD_DIM, width),
        "self_attn.k_proj": (keys, width),
        "self_attn.v_proj": (keys, width),
        "self_attn.o_proj": (width, _HEADS * _HEAD_DIM),
        "mlp.gate_proj": (mlp, width),
        "mlp.up_proj": (mlp, width),
        "mlp.down_proj": (width, mlp),
    }
    shapes: dict[str, tuple[int, ...]] = {
        f"{EMBEDDING}.weight": (_VOCABULARY, width),
        "model.norm.weight": (width,),
    }
    for index in range(int(_LAYERS)):
        shapes |= {f"model.layers.{index}.{name}.weight": shape for name, shape in layer.items()}
    return shapes


def _read_adapter(
    folder: Path, shapes: dict[str, tuple[int, ...]]
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], float]:
    """The factors (A, B) of each module that the adapter changes, and the factor on their product."""
    place = folder / "adapter_config.json"
    config = read_json(place, CheckpointError)
    for key, value in _PLAIN.items():
        if config.get(key) != value:
            raise CheckpointError(f"{place}: {key} is {config.get(key)!r:.80}, not {value!r}")
    path = folder / "adapter_model.safetensors"
    tensors, rank = read_safetensors(path), int(config["r"])
    factors = {}
    for name, (rows, columns) in ((name, shape) for name, shape in shapes.items() if len(shape) == 2):
        module = name.removesuffix(".weight")
        a, b = (tensors.pop(_FACTOR.format(module, factor), None) for factor in "AB")
        if a is None and b is None:
            continue
        if a is None or b is None or (a.shape, b.shape) != ((rank, columns), (rows, rank)):
            raise CheckpointError(f"{path}: the factors of {module} do not fit a weight of {(rows, columns)}")
        factors[module] = a, b
    if tensors or not factors:
        raise CheckpointError(f"{path}: {next(iter(tensors), 'no factor')} belongs to no layer of {MODEL}")
    return factors, float(config["lora_alpha"]) / rank
