"""Builds ONNX graphs node by node, with their weights as external data.

The graphs are written directly instead of being traced: they then hold the fused operators that ONNX Runtime
has for these models, load without optimisation work, and come out the same on every run.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from g4v.export.quantisation.codes import Quantised

ONNX_OPSET = 20
IR_VERSION = 10
MICROSOFT = "com.microsoft"  # ONNX Runtime's contributed operators
# Operators of ours, which sessions outside the core get from g4v.ops.custom_ops_library().
OWN = "g4v"
KERNEL_HEAD_SIZES = (32, 64, 80, 96, 128)  # as in csrc/kernels/cross_attention.h
TILED = "MatMul"  # of ours
QUANTISED = "MatMulNBits"
# Its accuracy level at which activations are rounded to 8 bits, block by block, and products are those of
# integers. At level 0 the weights are widened instead, as g4v.export.verify.partition has it to compare exactly.
ROUNDED_ACTIVATIONS = 4
OFFSETS = ".offsets"  # ends the name of the offsets of codes, after that of the codes
INT_MAX = 2**63 - 1
_INLINE_BYTES = 256  # smaller constants stay in the graph file: shapes and scalars are folded only from there
ALIGNMENT = 64  # bytes, of every tensor in the data file

_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "int8": TensorProto.INT8,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
}

Array = np.ndarray | torch.Tensor


def numpy32(tensor: Array) -> np.ndarray:
    """A contiguous array; floating types become float32."""
    array = tensor.detach().cpu().float().numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)
    return np.ascontiguousarray(array.astype(np.float32) if array.dtype.kind == "f" else array)


def _model(nodes: list, name: str, inputs: list, outputs: list, initializers: list) -> onnx.ModelProto:
    own = any(node.domain == OWN for node in nodes)
    tiled = any(node.domain == OWN and node.op_type == TILED for node in nodes)
    return helper.make_model(
        helper.make_graph(nodes, name, inputs, outputs, initializers),
        producer_name="g4v",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", ONNX_OPSET)]
        + [helper.make_opsetid(domain, 1) for domain in (MICROSOFT, OWN) if domain == MICROSOFT or own],
        functions=[_tiled_function()] if tiled else [],
    )


def _tiled_function() -> onnx.FunctionProto:
    """What sessions put in place of g4v's product where the processor has no kernel for it."""
    product = helper.make_node("MatMul", ["x", "weight"], ["out"])
    opset = helper.make_opsetid("", ONNX_OPSET)
    return helper.make_function(OWN, TILED, ["x", "weight"], ["out"], [product], [opset], ["pieces"])


class Graph:
    """One ONNX graph in the making. Values are strings, the names of tensors in the graph.

    Weights go to `stem`.data as they are added, so that a graph never holds more than one of them in memory;
    `save` writes `stem`.onnx beside it.
    """

    real = TensorProto.FLOAT  # the type of what is computed
    real_name = "float32"
    refuses_large = False  # ExportError for weights beyond the real type, which else are written in float32
    keeps_frames = True  # runs where the core can keep what was computed of single frames of a video
    tiles = True  # runs on processors that may have the tiles of g4v's own product
    pieces = 3  # of bfloat16 that it takes a value of float32 as (csrc/kernels/tiled_product.h)
    fewest_tiled = 1 << 18  # weights of a matrix below which ONNX Runtime's product is as fast

    def __init__(self, folder: str | Path, stem: str) -> None:
        self.folder = Path(folder)
        self.stem = stem
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._constants: dict[tuple, str] = {}
        self._data = open(self.folder / f"{stem}.data", "wb")
        self._count = 0

    def __enter__(self) -> Graph:
        return self

    def __exit__(self, *_: object) -> None:
        self._data.close()

    @property
    def files(self) -> list[str]:
        return [f"{self.stem}.onnx", f"{self.stem}.data"]

    def _new_name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """Declares an input; strings in `shape` are dynamic dimensions."""
        self.inputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], list(shape)))
        return name

    def output(self, name: str, value: str, dtype: str, shape: Sequence[int | str]) -> None:
        """Declares the output `name`, computed as `value` (a value may already bear the name)."""
        if value != name:
            self.nodes.append(helper.make_node("Identity", [value], [name], name=self._new_name("Identity")))
        self.outputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], list(shape)))

    def op(
        self,
        kind: str,
        *inputs: str,
        outputs: int | Sequence[str] = 1,
        domain: str = "",
        **attributes: Any,
    ) -> Any:
        """Adds a node; returns its output, or a list where `outputs` is a list or more than one."""
        name = self._new_name(kind)
        if isinstance(outputs, int):
            names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        else:
            names = list(outputs)
        node = helper.make_node(kind, list(inputs), names, name=name, domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def weight(self, tensor: Array, name: str | None = None, wide: bool = False) -> str:
        """Adds a constant: of the graph's real type (from any floating type), int32, int64 or uint8. Small
        ones are shared. wide: float32 in every graph.
        """
        return self._constant(numpy32(tensor), name)

    def narrow(self, x: str) -> str:
        """A float32 value in the graph's real type."""
        return x

    def wide(self, x: str) -> str:
        """A value in float32; `skip_layer_norm` keeps sums with it so."""
        return x

    def _constant(self, array: np.ndarray, name: str | None) -> str:
        if array.nbytes <= _INLINE_BYTES and name is None:
            key = (str(array.dtype), array.shape, array.tobytes())
            if key not in self._constants:
                self._constants[key] = self._add(array, self._new_name("const"))
            return self._constants[key]
        return self._add(array, name or self._new_name("weight"))

    def _add(self, array: np.ndarray, name: str) -> str:
        tensor = TensorProto(name=name, data_type=_TYPES[str(array.dtype)], dims=array.shape)
        if array.nbytes <= _INLINE_BYTES:
            tensor.raw_data = array.tobytes()
        else:
            self._data.write(b"\0" * (-self._data.tell() % ALIGNMENT))
            place = {"location": f"{self.stem}.data", "offset": self._data.tell(), "length": array.nbytes}
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
            self._data.write(array.reshape(-1).view(np.uint8).data)
        self.initializers.append(tensor)
        return name

    def ints(self, *values: int) -> str:
        """A constant int64 vector."""
        return self.weight(np.array(values, np.int64))

    def save(self, shapes: bool = False) -> None:
        """Writes the graph and closes the data file; `shapes` adds symbolic shapes of inner values."""
        self._data.close()
        model = _model(self.nodes, self.stem, self.inputs, self.outputs, self.initializers)
        if shapes:
            model.graph.value_info.extend(self._intermediate_shapes())
        (self.folder / f"{self.stem}.onnx").write_bytes(model.SerializeToString(deterministic=True))

    def _intermediate_shapes(self) -> list[onnx.ValueInfoProto]:
        """Symbolic shapes of the values inside the graph, such as ["batch*frames", 96, "height", "width"].

        With them ONNX Runtime sees which buffers are of one size: a large graph loads several times faster
        (its planner compares every value with every free buffer otherwise) and reuses memory.
        """
        from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

        # External weights become inputs of a copy: their shapes are enough.
        inline = [t for t in self.initializers if t.data_location != TensorProto.EXTERNAL]
        external = [
            helper.make_tensor_value_info(t.name, t.data_type, list(t.dims))
            for t in self.initializers
            if t.data_location == TensorProto.EXTERNAL
        ]
        model = _model(
            self._nodes_of_known_shapes(), self.stem, [*self.inputs, *external], self.outputs, inline
        )
        logging.getLogger("onnxruntime.tools.symbolic_shape_infer").setLevel(logging.ERROR)
        inferred = SymbolicShapeInference.infer_shapes(model)
        shapes = {info.name: info for info in inferred.graph.value_info}
        # The inference leaves out the fused sums, which are shaped like what they sum.
        for node in self.nodes:
            if node.op_type == "SkipLayerNormalization" and node.output[0] in shapes:
                info = onnx.ValueInfoProto()
                info.CopyFrom(shapes[node.output[0]])
                info.name = node.output[3]
                shapes[info.name] = info
        made = {name for node in self.nodes for name in node.output}
        declared = {info.name for info in self.outputs}
        return [shapes[name] for name in sorted(made - declared) if name in shapes]

    def _nodes_of_known_shapes(self) -> list[onnx.NodeProto]:
        """The nodes as ONNX Runtime's inference of shapes knows them."""
        return self.nodes

    # Shorthands for what most graphs are made of.

    def matmul(self, x: str, weight: Array, bias: Array | None = None) -> str:
        """x @ weight + bias, where `weight` is [in, out] (the transpose of a torch Linear's)."""
        x = self.op("MatMul", x, self.weight(weight))
        return x if bias is None else self.op("Add", x, self.weight(bias))

    def tiled_matmul(self, x: str, weight: Array, bias: Array | None = None) -> str:
        """The same for many rows of x, by g4v's own operator (csrc/ort/custom_ops.h), which is faster on
        processors with tiles of bfloat16; of three pieces it is as exact.
        """
        if not self.tiles or weight.shape[0] * weight.shape[1] < self.fewest_tiled:
            return Graph.matmul(self, x, weight, bias)
        x = self.op(TILED, x, self.weight(weight), domain=OWN, pieces=self.pieces)
        return x if bias is None else self.op("Add", x, self.weight(bias))

    def rounded_matmul(self, x: str, weight: Array, bias: Array | None = None) -> str:
        """A product that an 8-bit graph may round (g4v.export.quantisation.dynamic_int8)."""
        return self.tiled_matmul(x, weight, bias)

    def rounded_rows(self, x: str, weight: Array, bias: Array | None = None) -> str:
        """The same, with a scale for each row of x."""
        return self.matmul(x, weight, bias)

    def linear(self, x: str, module: torch.nn.Linear, bias: bool = True) -> str:
        """A torch Linear; bias=False leaves its bias to a fused operator that follows."""
        return self.matmul(x, module.weight.t(), module.bias if bias else None)

    def rounded_linear(self, x: str, module: torch.nn.Linear, bias: bool = True) -> str:
        """A torch Linear that an 8-bit graph may round, as `rounded_rows`."""
        return self.rounded_rows(x, module.weight.t(), module.bias if bias else None)

    def quantised_matmul(self, x: str, weight: Quantised, bias: Array | None = None) -> str:
        """x @ weight.T + bias, where x is [1, S, in] if `weight` has offsets, and `weight` is [out, in].

        What offsets add is their product with the sums of x over each block. (MatMulNBits takes them, too, as
        zero points in floating point, but then widens all weights on every call: 30 times slower on a CPU.)
        """
        packed = self.weight(weight.packed(), self._new_name("codes"))
        y = self.op(
            QUANTISED,
            x,
            packed,
            self.weight(weight.scales),
            domain=MICROSOFT,
            K=weight.columns,
            N=len(weight.codes),
            bits=weight.bits,
            block_size=weight.block,
            accuracy_level=ROUNDED_ACTIVATIONS,
        )
        if weight.offsets is not None:
            blocks = self.reshape(x, 0, 0, -1, weight.block)
            sums = self.op("ReduceSum", blocks, self.ints(3), keepdims=0)
            added = self.op("MatMul", sums, self.weight(weight.offsets.t(), packed + OFFSETS))
            y = self.op("Add", y, added)
        return y if bias is None else self.op("Add", y, self.weight(bias))

    def convolution(
        self, x: str, weight: Array, bias: Array | None, strides: Sequence[int], pads: Sequence[int]
    ) -> str:
        """A convolution of x [B, C, H, W] with `weight` [O, C, kh, kw]. pads: top, left, bottom, right."""
        inputs = [x, self.weight(weight)]
        if bias is not None:
            inputs.append(self.weight(bias))
        shape = list(weight.shape[2:])
        return self.op("Conv", *inputs, kernel_shape=shape, strides=list(strides), pads=list(pads))

    def rounded_convolution(self, x: str, weight: Array, bias: Array | None, pads: Sequence[int]) -> str:
        """One with strides of 1 that an 8-bit graph may round (g4v.export.quantisation.dynamic_int8)."""
        return self.convolution(x, weight, bias, (1, 1), pads)

    def layer_norm(self, x: str, module: torch.nn.LayerNorm) -> str:
        return self.norm("LayerNormalization", x, module.weight, module.bias, axis=-1, epsilon=module.eps)

    def norm(self, kind: str, x: str, scale: Array, shift: Array, **attributes: Any) -> str:
        """A LayerNormalization or an InstanceNormalization."""
        return self.op(kind, x, self.weight(scale), self.weight(shift), **attributes)

    def skip_layer_norm(
        self, x: str, skip: str, norm: torch.nn.LayerNorm, bias: Array | None = None
    ) -> tuple[str, str]:
        """s = x + bias + skip for 3-D x; returns (norm(s), s)."""
        return self._fused_skip(x, skip, norm, bias)

    def _fused_skip(
        self, x: str, skip: str, norm: torch.nn.LayerNorm, bias: Array | None, wide: bool = False
    ) -> tuple[str, str]:
        inputs = [x, skip, self.weight(norm.weight, wide=wide), self.weight(norm.bias, wide=wide)]
        if bias is not None:
            inputs.append(self.weight(bias, wide=wide))
        name = self._new_name("SkipLayerNorm")
        self.op(
            "SkipLayerNormalization",
            *inputs,
            outputs=[f"{name}.norm", "", "", f"{name}.sum"],
            domain=MICROSOFT,
            epsilon=norm.eps,
        )
        return f"{name}.norm", f"{name}.sum"

    def residual_norm(self, x: str, skip: str, norm: torch.nn.LayerNorm, bias: Array) -> tuple[str, str]:
        """As skip_layer_norm, by g4v's own operator, which is several times faster on a CPU."""
        inputs = [x, skip, *(self.weight(w) for w in (norm.weight, norm.bias, bias))]
        name = self._new_name("SkipNorm")
        outputs = [f"{name}.norm", f"{name}.sum"]
        self.op("SkipNorm", *inputs, outputs=outputs, domain=OWN, epsilon=norm.eps)
        return outputs[0], outputs[1]

    def gated_norm(
        self, x: str, gate: torch.nn.Linear, through: torch.nn.Linear, norm: torch.nn.LayerNorm
    ) -> str:
        """norm(silu(gate(x)) * through(x)) for 3-D x: one product, and one pass over what comes out of it."""
        h = self.tiled_matmul(x, torch.cat([gate.weight, through.weight]).t())
        inputs = [h, *map(self.weight, (norm.weight, norm.bias, torch.cat([gate.bias, through.bias])))]
        return self.op("GatedNorm", *inputs, domain=OWN, epsilon=norm.eps)

    def gated_norm_by_parts(
        self, x: str, gate: torch.nn.Linear, through: torch.nn.Linear, norm: torch.nn.LayerNorm
    ) -> str:
        """The same of operators that every engine has."""
        h = self.op("Mul", self.silu(self.linear(x, gate)), self.linear(x, through))
        return self.layer_norm(h, norm)

    def quick_gelu(self, x: str, alpha: float = 1.702) -> str:
        """x * sigmoid(alpha * x)."""
        return self.op("QuickGelu", x, domain=MICROSOFT, alpha=alpha)

    def silu(self, x: str) -> str:
        return self.quick_gelu(x, 1.0)

    def gelu(self, x: str, bias: Array) -> str:
        """The exact GELU of x + bias."""
        return self.op("BiasGelu", x, self.weight(bias), domain=MICROSOFT)

    def attention(self, q: str, k: str, v: str, heads: int, width: int) -> str:
        """Multi-head attention of q [B, S, width] to k and v [B, L, width]: [B, S, width]."""
        return self.op("MultiHeadAttention", q, k, v, domain=MICROSOFT, num_heads=heads)

    def memory_attention(self, queries: str, memory: str, heads: int, width: int, layer: int) -> str:
        """Attention of few queries to their own keys and a memory's: [B, Q, width].

        queries: [B, Q, 3*width], queries, own keys and own values side by side. memory: [B, N, C], of each
        layer its `width` columns of keys, then of values. Both are read in place by g4v's own operator
        (csrc/ort/custom_ops.h), where it has a kernel for the size of a head.
        """
        if width // heads not in KERNEL_HEAD_SIZES:
            return self.memory_attention_by_parts(queries, memory, heads, width, layer)
        return self.op(
            "CrossAttention",
            queries,
            memory,
            domain=OWN,
            num_heads=heads,
            key_column=2 * layer * width,
            value_column=(2 * layer + 1) * width,
        )

    def memory_attention_by_parts(self, queries: str, memory: str, heads: int, width: int, layer: int) -> str:
        """The same of operators that every engine has."""
        q, own_keys, own_values = self.op("Split", queries, outputs=3, axis=-1, num_outputs=3)
        start = 2 * layer * width
        keys = self.slice(memory, 2, start, start + width)
        values = self.slice(memory, 2, start + width, start + 2 * width)
        joined = [self.concat(*pair, axis=1) for pair in ((own_keys, keys), (own_values, values))]
        return self.attention(q, *joined, heads, width)

    def self_attention(self, x: str, weight: Array, bias: Array, heads: int, causal: bool = False) -> str:
        """Multi-head self-attention without its output product.

        x: [B, S, d]; weight: [d, 3*d], the columns of all queries, then keys, then values; bias: [3*d].
        """
        return self.op(
            "Attention",
            x,
            self.weight(weight),
            self.weight(bias),
            domain=MICROSOFT,
            num_heads=heads,
            unidirectional=int(causal),
        )

    def biased_attention(self, parts: Sequence[str], bias: Array, heads: int, causal: bool) -> str:
        """The same of queries, keys and values without their biases [3*d]."""
        return self.op(
            "MultiHeadAttention",
            *parts,
            self.weight(bias),
            domain=MICROSOFT,
            num_heads=heads,
            unidirectional=int(causal),
        )

    def rounded_attention(self, x: str, weight: Array, bias: Array, heads: int, causal: bool = False) -> str:
        """`self_attention` with a product that an 8-bit graph may round, as `rounded_rows`."""
        return self.self_attention(x, weight, bias, heads, causal)

    def reshape(self, x: str, *shape: int) -> str:
        """Reshape to constant dimensions; 0 keeps the input's, one -1 is inferred."""
        return self.op("Reshape", x, self.ints(*shape))

    def transpose(self, x: str, *order: int) -> str:
        return self.op("Transpose", x, perm=list(order))

    def slice(self, x: str, axis: int, start: int, end: int = INT_MAX) -> str:
        return self.op("Slice", x, self.ints(start), self.ints(end), self.ints(axis))

    def dimension(self, x: str, axis: int) -> str:
        """One dimension of x as an int64 vector of length 1."""
        return self.op("Shape", x, start=axis, end=axis + 1)

    def concat(self, *values: str, axis: int) -> str:
        return self.op("Concat", *values, axis=axis)
