"""What the builders of the components ask for, to be spelled out in the operators of a target.

A builder writes plain ONNX operators through its `GraphWriter`, and asks its `Lowering` for what targets have
operators of their own for: products, norms, activations, attention. One file has each target: cpu.py,
cuda.py, standard.py.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import torch

from g4v.export.graph.dtype import FLOAT32, DType
from g4v.export.graph.writer import Array, GraphWriter


class Int8(Enum):
    """How a builder allows that a product's activations are quantised, where dynamic int8 is asked for
    (g4v.export.quantisation.dynamic_int8).
    """

    PER_TENSOR = "one scale for all values of the input"
    PER_TOKEN = "a scale for each row of the input"


@dataclass(frozen=True)
class Lowering(ABC):
    """How graphs for a target are spelled. `open` gives a copy that writes into the graph `g`; the methods
    that add nodes are called on that copy alone. Values are names in the graph.

    dtype: what is computed in, and how weights are stored.
    """

    dtype: DType = FLOAT32
    g: GraphWriter = field(init=False, repr=False, compare=False)

    # Whether the core can keep what was computed of single frames of a video: on the CPU, without copies.
    caches_frames: ClassVar[bool] = False

    @contextmanager
    def open(self, folder: str | Path, stem: str, refuses_overflow: bool = False) -> Iterator[Lowering]:
        """A copy that writes `stem`.onnx and `stem`.data into `folder`; `g.save()` completes the files.
        refuses_overflow: as in `DType`.
        """
        dtype = self.dtype.refusing_overflow() if refuses_overflow else self.dtype
        with GraphWriter(folder, stem, dtype, self._float32_inputs()) as g:
            bound = copy.copy(self)
            object.__setattr__(bound, "g", g)
            yield bound

    def _float32_inputs(self) -> Mapping[str, int]:
        """Returns operator -> number of its first inputs that must be float32, for `GraphWriter`."""
        return {}

    # Products.

    def matmul(
        self,
        x: str,
        weight: Array,
        bias: Array | None = None,
        *,
        int8: Int8 | None = None,
        many_rows: bool = False,
    ) -> str:
        """x @ weight + bias for x of any rank; `weight` is [in, out], the transpose of a torch Linear's.

        int8: how the product may be quantised, None where it may not. many_rows: x has so many rows that the
        product is bound by arithmetic, and not by reading the weight.
        """
        return self._add_bias(self.g.op("MatMul", x, self.g.weight(weight)), bias)

    def linear(self, x: str, module: torch.nn.Linear, *, bias: bool = True, int8: Int8 | None = None) -> str:
        """A torch Linear; bias=False leaves its bias to a fused operator that follows. int8: see `matmul`."""
        return self.matmul(x, module.weight.t(), module.bias if bias else None, int8=int8)

    def convolution(
        self,
        x: str,
        weight: Array,
        bias: Array | None = None,
        *,
        strides: Sequence[int] = (1, 1),
        pads: Sequence[int] | None = None,
        int8: bool = False,
        many_pixels: bool = True,
    ) -> str:
        """A convolution of x [B, C, H, W] with `weight` [O, C, kh, kw]. pads: top, left, bottom, right; None
        for none. int8: it may be quantised (strides are then 1). many_pixels: x has so many that memory for
        another form of the weights is well spent.
        """
        inputs = [x, self.g.weight(weight)]
        if bias is not None:
            inputs.append(self.g.weight(bias))
        sizes: dict[str, Any] = {"kernel_shape": list(weight.shape[2:]), "strides": list(strides)}
        if pads is not None:
            sizes["pads"] = list(pads)
        return self.g.op("Conv", *inputs, **sizes)

    def norm_silu_convolution(
        self,
        x: str,
        norm: torch.nn.GroupNorm,
        weight: Array,
        bias: Array | None = None,
        *,
        strides: Sequence[int] = (1, 1),
        pads: Sequence[int] | None = None,
        int8: bool = False,
        many_pixels: bool = True,
    ) -> str | None:
        """The convolution of silu(norm(x)), with arguments as in `convolution`. None where the target has no
        operator for all of it.
        """
        return None

    def _add_bias(self, x: str, bias: Array | None) -> str:
        return x if bias is None else self.g.op("Add", x, self.g.weight(bias))

    # Norms.

    def norm(self, kind: str, x: str, scale: Array, shift: Array, **attributes: Any) -> str:
        """A LayerNormalization or an InstanceNormalization; in float32 where the type says so."""
        g = self.g
        if not self._norm_in_float32(x):
            return g.op(kind, x, g.weight(scale), g.weight(shift), **attributes)
        x = g.op("Cast", x, to=FLOAT32.onnx)
        weights = [g.weight(part, float32=True) for part in (scale, shift)]
        return g.downcast(g.op(kind, x, *weights, **attributes))

    def _norm_in_float32(self, x: str) -> bool:
        """Whether a norm of x is computed between casts."""
        return self.dtype.norms_in_float32

    def layer_norm(self, x: str, module: torch.nn.LayerNorm) -> str:
        return self.norm("LayerNormalization", x, module.weight, module.bias, axis=-1, epsilon=module.eps)

    @abstractmethod
    def skip_layer_norm(
        self, x: str, skip: str, norm: torch.nn.LayerNorm, bias: Array | None = None
    ) -> tuple[str, str]:
        """s = x + bias + skip for x [B, S, d]; returns (norm(s), s). s is float32 where `skip` is upcast."""

    def residual_norm(self, x: str, skip: str, norm: torch.nn.LayerNorm, bias: Array) -> tuple[str, str]:
        """Computes s = x + bias + skip for few rows; returns (norm(s), s), as `skip_layer_norm`."""
        return self.skip_layer_norm(x, skip, norm, bias)

    def gated_norm(
        self, x: str, gate: torch.nn.Linear, through: torch.nn.Linear, norm: torch.nn.LayerNorm
    ) -> str:
        """norm(silu(gate(x)) * through(x)) for x [B, S, d]."""
        h = self.g.op("Mul", self.silu(self.linear(x, gate)), self.linear(x, through))
        return self.layer_norm(h, norm)

    def rms_norm(self, x: str, weight: Array, epsilon: float) -> str:
        """x / sqrt(mean(x^2) + epsilon) * weight, over the last axis (Zhang and Sennrich, 2019)."""
        g = self.g
        float32 = self._norm_in_float32(x)
        if float32:
            x = g.op("Cast", x, to=FLOAT32.onnx)
        squares = g.op(
            "Mul", g.op("Mul", x, x), g.weight(torch.tensor(1 / weight.shape[-1]), float32=float32)
        )
        mean = g.op("ReduceSum", squares, g.ints(-1), keepdims=1)
        root = g.op("Sqrt", g.op("Add", mean, g.weight(torch.tensor(epsilon), float32=float32)))
        y = g.op("Mul", g.op("Div", x, root), g.weight(weight, float32=float32))
        return g.downcast(y) if float32 else y

    def channel_norm(self, x: str, weight: Array) -> str:
        """x / ||x|| * weight for x [B, C, H, W], with the Euclidean norm over the channels of each place, at
        least 1e-12. weight: [1, C, 1, 1].
        """
        g = self.g
        float32 = self._norm_in_float32(x) or self.dtype.is_half  # squares leave float16 first
        if float32:
            x = g.op("Cast", x, to=FLOAT32.onnx)
        length = g.op("Sqrt", g.op("ReduceSum", g.op("Mul", x, x), g.ints(1), keepdims=1))
        length = g.op("Clip", length, g.weight(torch.tensor(1e-12), float32=float32))
        y = g.op("Mul", g.op("Div", x, length), g.weight(weight, float32=float32))
        return g.downcast(y) if float32 else y

    def channel_rms_norm(self, x: str, channels: int, epsilon: float) -> str:
        """x / sqrt(mean(x^2) + epsilon) for x [B, C, H, W], over the channels of each place."""
        g = self.g
        float32 = self._norm_in_float32(x) or self.dtype.is_half  # squares leave float16 first
        if float32:
            x = g.op("Cast", x, to=FLOAT32.onnx)
        total = g.op("ReduceSum", g.op("Mul", x, x), g.ints(1), keepdims=1)
        mean = g.op("Mul", total, g.weight(torch.tensor(1 / channels), float32=float32))
        root = g.op("Sqrt", g.op("Add", mean, g.weight(torch.tensor(epsilon), float32=float32)))
        y = g.op("Div", x, root)
        return g.downcast(y) if float32 else y

    # Activations.

    @abstractmethod
    def quick_gelu(self, x: str, alpha: float = 1.702) -> str:
        """x * sigmoid(alpha * x)."""

    def silu(self, x: str) -> str:
        """x * sigmoid(x)."""
        return self.quick_gelu(x, 1.0)

    @abstractmethod
    def gelu(self, x: str, bias: Array) -> str:
        """The exact GELU (by erf) of x + bias."""

    def tanh_gelu(self, x: str, bias: Array) -> str:
        """The approximation of GELU by tanh (Hendrycks and Gimpel, 2016) of x + bias."""
        return self.g.op("Gelu", self.g.op("Add", x, self.g.weight(bias)), approximate="tanh")

    # Attention.

    @abstractmethod
    def attention(self, q: str, k: str, v: str, heads: int, width: int) -> str:
        """Multi-head attention of q [B, S, width] to k and v [B, L, width]: [B, S, width]."""

    @abstractmethod
    def self_attention(
        self,
        x: str,
        weight: Array,
        bias: Array,
        heads: int,
        causal: bool = False,
        *,
        int8: Int8 | None = None,
    ) -> str:
        """Multi-head self-attention without its output product: [B, S, d].

        x: [B, S, d]; weight: [d, 3*d], the columns of all queries, then keys, then values; bias: [3*d]. int8:
        how the product with `weight` may be quantised.
        """

    def rotary(self, x: str, cos: str, sin: str, heads: int, width: int) -> str:
        """x [B, S, width] with neighbours 2i and 2i + 1 of each head turned by an angle (Su et al., 2021).

        cos, sin: [S, width / heads / 2], of each position and pair.
        """
        g, half = self.g, width // heads // 2
        cos, sin = (g.reshape(table, -1, 1, half, 1) for table in (cos, sin))
        pairs = g.reshape(x, 0, -1, heads, half, 2)
        a, b = g.op("Split", pairs, outputs=2, axis=-1, num_outputs=2)
        first = g.op("Sub", g.op("Mul", a, cos), g.op("Mul", b, sin))
        second = g.op("Add", g.op("Mul", a, sin), g.op("Mul", b, cos))
        return g.reshape(g.concat(first, second, axis=-1), 0, -1, width)

    def biased_attention(self, q: str, k: str, v: str, bias: str, heads: int, width: int) -> str:
        """softmax(q k^T + bias) v, head by head and without a scale, as T5 has it: [B, S, width].

        q, k, v: [B, S, width]; bias: [1 or B, heads, S, S].
        """
        g, size = self.g, width // heads
        q, k, v = (g.transpose(g.reshape(part, 0, 0, heads, size), 0, 2, 1, 3) for part in (q, k, v))
        scores = g.op("Add", g.op("MatMul", q, g.transpose(k, 0, 1, 3, 2)), bias)
        mixed = g.op("MatMul", g.op("Softmax", scores, axis=-1), v)
        return g.reshape(g.transpose(mixed, 0, 2, 1, 3), 0, 0, width)

    def memory_attention(self, queries: str, memory: str, heads: int, width: int, layer: int) -> str:
        """Attention of few queries to their own keys and those of a memory: [B, Q, width].

        queries: [B, Q, 3*width], queries, own keys and own values side by side. memory: [B, N, C], of each
        layer its `width` columns of keys, then of values.
        """
        g = self.g
        q, own_keys, own_values = g.op("Split", queries, outputs=3, axis=-1, num_outputs=3)
        start = 2 * layer * width
        keys = g.slice(memory, 2, start, start + width)
        values = g.slice(memory, 2, start + width, start + 2 * width)
        k, v = (g.concat(*pair, axis=1) for pair in ((own_keys, keys), (own_values, values)))
        return self.attention(q, k, v, heads, width)
