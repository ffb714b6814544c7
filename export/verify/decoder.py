"""Compares a decoder's graph with PyTorch in float64, layer by layer, with one layer in memory at a time.

The graph is cut behind every layer. While a part of it runs in ONNX Runtime, the same layer of transformers
runs in float64 on the same input: on the checkpoint's weights and, where they are quantised, on the weights
that the graph's own codes stand for. Quantised weights must also be near those that they were made from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from g4v.export.checkpoint.llama import EMBEDDING, HEAD, LlamaWeights
from g4v.export.errors import ExportError, InaccurateError
from g4v.export.graph.dtype import FLOAT32, DType
from g4v.export.graph.operators import SKIP_RMS_NORM
from g4v.export.quantisation.codes import BITS
from g4v.export.quantisation.matmul_nbits import MATMUL_NBITS, read_codes
from g4v.export.verify.error_measures import Comparison, norm_error, relative_error
from g4v.export.verify.float64 import upcast_to_float64
from g4v.export.verify.packed import check_packed, run_packed
from g4v.export.verify.partition import Partition

CHUNKS = [24, 7, 1, 1, 5]  # one prefill, one that continues, and single steps
_SEED = 20231125
# Largest norm of the rounding error over that of the matrix, by bits: at worst, one value of a block sets the
# step and the other 31 are half a step off. Normal weights have .083 and .005, weights of another model 1.4.
# Codes of GPTQ are farther off: at most .17 and .011 in the first layers of SmolLM2-135M.
_LARGEST_ROUNDING = {4: 0.35, 8: 0.03}
_PRODUCTS = (  # of a layer, in the order of the graph
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)
_ROWS = 8192  # of the output head that are upcast at once, and of the embedding that are compared


@torch.no_grad()
def compare_decoder(
    weights: LlamaWeights,
    folder: Path,
    precision: str,
    progress: Callable[[float], None] = lambda share: None,
    stem: str = "decoder",
    dtype: DType = FLOAT32,
    text: Sequence[int] = (),
    packed: Path | None = None,
) -> Comparison:
    """Compares prompts and single steps of the decoder's graph with PyTorch and returns the errors.

    weights: of the decoder that was exported.
    folder, stem: the graph, `folder`/`stem`.onnx.
    precision: "fp32", "fp16", "int8" or "int4".
    progress: called with the share that is done, 0 to 1.
    dtype: the graph's, also of keys and values.
    text: token ids of a text, repeated where it is short; without any, random tokens are taken.
    packed: the file of the core's own decoder, which is compared too; None: there is none.

    ExportError: the graph has other layers, or its codes are not those of the weights.
    InaccurateError: the packed weights are not those of the graph.
    """
    config = weights.config
    embeds = embed_text(weights, text)
    quantised = precision in BITS
    partition = Partition(folder, stem, _EndOfLayer(), dtype.onnx)
    if len(partition) != config.num_hidden_layers + 1:
        raise ExportError(f"{folder}: {stem}.onnx has not the layers of the checkpoint")
    # What rounding changes is far above the errors of float32.
    original = Reference(weights, embeds, torch.float32)
    exact = Reference(weights, embeds, torch.float64)
    plain = _GraphRun(partition, embeds, config, dtype.name, exact=True)
    as_written = _GraphRun(partition, embeds, config, dtype.name, exact=False) if quantised else None
    for index in range(config.num_hidden_layers):
        progress(index / config.num_hidden_layers)
        tensors = weights.layer(index)
        if as_written is not None:
            original.step(index, tensors)
            _put_codes(partition, index, tensors, _PRODUCTS)
            as_written.step(index)
        exact.step(index, tensors)
        plain.step(index)
    del tensors
    head = {f"{HEAD}.weight": weights.read(f"{HEAD}.weight")}
    wanted_before = original.logits(head[f"{HEAD}.weight"]) if quantised else None
    if quantised:
        _put_codes(partition, len(partition) - 1, head, ((HEAD,),))
    wanted = exact.logits(head[f"{HEAD}.weight"])
    found = plain.logits()
    error, real = relative_error(found, wanted), norm_error(found, wanted) if text else None
    if packed is not None:
        own = run_packed(packed, config, embeds.numpy(), CHUNKS)
        if as_written is None:
            error = max(error, relative_error(own, wanted))
        else:
            check_packed(packed, own, as_written.logits(), wanted)
    if as_written is None or wanted_before is None:
        return Comparison(error, None, real)
    by_weights = norm_error(wanted.numpy(), wanted_before)
    return Comparison(error, norm_error(as_written.logits(), wanted_before), real, by_weights)


def embed_text(weights: LlamaWeights, text: Sequence[int]) -> Tensor:
    """Returns the embeddings that decoders are compared on, float32 [sum of `CHUNKS`, d].

    text: token ids of a text, repeated where it is short; without any, random tokens are taken.
    """
    if text:
        ids = torch.tensor(text).repeat(-(-sum(CHUNKS) // len(text)))[: sum(CHUNKS)]
    else:
        generator = torch.Generator().manual_seed(_SEED)
        ids = torch.randint(weights.config.vocab_size, (sum(CHUNKS),), generator=generator)
    return weights.read(f"{EMBEDDING}.weight")[ids]


def check_embedding(weights: LlamaWeights, path: Path) -> None:
    """Raises InaccurateError if the file of the embedding is not that of the weights, row by row.

    The graph begins behind it: `compare_decoder` does not see it. path: float32 [V, d], row-major, or float16
    where the bundle is stored in that.
    """
    wanted = weights.read(f"{EMBEDDING}.weight").numpy()
    dtype = {4: "<f4", 2: "<f2"}.get(path.stat().st_size // wanted.size, "")
    right = path.stat().st_size % wanted.size == 0 and dtype != ""
    if right:
        found = np.memmap(path, dtype, "r", shape=wanted.shape)
        for start in range(0, len(wanted), _ROWS):
            rows = slice(start, start + _ROWS)
            right = right and np.array_equal(found[rows], wanted[rows].astype(dtype, copy=False))
    if not right:
        raise InaccurateError(f"decoder: {path.name} does not hold the embedding of the checkpoint")


class _EndOfLayer:
    """True for every second norm with a skip: the one behind the feed-forward part."""

    def __init__(self) -> None:
        self._norms = 0

    def __call__(self, node: Any) -> bool:
        self._norms += node.op_type == SKIP_RMS_NORM
        return node.op_type == SKIP_RMS_NORM and self._norms % 2 == 0


class Reference:
    """The Llama of transformers in `dtype`, one layer after the other.

    weights: of the decoder. embeds: float32 [sum of `CHUNKS`, d], what it reads.
    """

    def __init__(self, weights: LlamaWeights, embeds: Tensor, dtype: torch.dtype) -> None:
        self.weights, self.dtype, self.x = weights, dtype, embeds.to(dtype)[None]
        count = len(embeds)
        frequencies, scaling = weights.rotary_frequencies()
        angles = torch.arange(count)[:, None].double() * frequencies.double()
        angles = torch.cat([angles, angles], -1)[None]
        self.rotary = (angles.cos() * scaling).to(dtype), (angles.sin() * scaling).to(dtype)
        self.mask = torch.full((count, count), float("-inf"), dtype=dtype).triu(1)[None, None]

    def step(self, index: int, tensors: dict[str, Tensor]) -> None:
        """Takes the values through a layer. tensors: its weights, by names without prefix."""
        from transformers.models.llama.modeling_llama import LlamaDecoderLayer

        with torch.device("meta"):
            layer: Any = LlamaDecoderLayer(self.weights.config, index)
        layer.load_state_dict(tensors, assign=True)
        given = {"position_embeddings": self.rotary, "attention_mask": self.mask}
        with upcast_to_float64(layer) if self.dtype == torch.float64 else nullcontext():
            result = layer.eval()(self.x, **given)
        self.x = result[0] if isinstance(result, tuple) else result

    def logits(self, head: Tensor) -> Tensor:
        """The logits behind the last token of every chunk, float64 [len(CHUNKS), V]. head: [V, d]."""
        ends = torch.tensor(CHUNKS).cumsum(0) - 1
        x = self.x[0, ends].double()
        x = x * (x.square().mean(-1, keepdim=True) + self.weights.config.rms_norm_eps).rsqrt()
        x = x * self.weights.read("model.norm.weight").double()
        return torch.cat([F.linear(x, rows.double()) for rows in head.split(_ROWS)], -1)


class _GraphRun:
    """Runs the chunks through the graph, part by part."""

    def __init__(self, partition: Partition, embeds: Tensor, config: Any, dtype: str, exact: bool) -> None:
        """dtype: of keys and values."""
        self.partition, self.dtype, self.exact = partition, np.dtype(dtype), exact
        self.cache = (1, config.num_key_value_heads, len(embeds) + 8, config.head_dim)
        ends = np.cumsum(CHUNKS)
        self.values = [
            {
                "inputs_embeds": embeds[None, end - length : end].numpy(),
                "seqlens_k": np.array([end - 1], np.int32),
                "total_sequence_length": np.array(end, np.int32),
            }
            for length, end in zip(CHUNKS, ends, strict=True)
        ]

    def step(self, index: int) -> None:
        session = self.partition.session(index, self.exact)
        names = [value.name for value in session.get_inputs()]
        results = [value.name for value in session.get_outputs()]
        caches = {name: np.zeros(self.cache, self.dtype) for name in names if name.startswith("past_key")}
        for values in self.values:
            feeds = {name: caches[name] if name in caches else values[name] for name in names}
            made = dict(zip(results, session.run(results, feeds), strict=True))
            caches = {name: made.pop(name.replace("past_key_values", "present")) for name in caches}
            values.update(made)

    def logits(self) -> np.ndarray:
        """The logits behind the last token of every chunk, float32 [len(CHUNKS), V]."""
        self.step(len(self.partition) - 1)
        return np.concatenate([values["logits"][0] for values in self.values])


def check_rounding(name: str, rounded: Tensor, weight: Tensor, bits: int) -> None:
    """Raises ExportError where what codes stand for is farther from the weight than rounding can be.

    rounded, weight: float32 [out, in]. bits: of a code, 4 or 8.
    """
    near = rounded.shape == weight.shape
    if not near or not (rounded - weight).norm() <= _LARGEST_ROUNDING[bits] * weight.norm():
        raise ExportError(f"decoder: the codes of {name} are not those of its weights")


def _put_codes(
    partition: Partition, index: int, tensors: dict[str, Tensor], products: tuple[tuple[str, ...], ...]
) -> None:
    """Puts what the codes in a part stand for in place of the weights."""
    nodes = partition.nodes(index, MATMUL_NBITS)
    for names in products:
        left = list(names)
        while left:  # a product is as many nodes as its matrices have kinds of codes
            codes = read_codes(partition.file, next(nodes), tensors[f"{left[0]}.weight"].shape[1])
            rows = codes.dequantised()
            while len(rows):
                part = tensors[f"{left[0]}.weight"]
                rounded, rows = rows[: len(part)], rows[len(part) :]
                check_rounding(f"{left[0]} in layer {index}", rounded, part, codes.bits)
                tensors[f"{left.pop(0)}.weight"] = rounded
