"""Writes ONNX graphs node by node, with their weights as external data.

Graphs are written directly instead of being traced: they then hold the fused operators that ONNX Runtime has
for these models, load without optimisation work, and come out the same on every run.

    builder (g4v.export.components)   the mathematics of a model
    Lowering (g4v.export.graph.lowering)   spells what a builder asks for in operators of a target
    GraphWriter                       nodes, constants, the data file
    DType (g4v.export.graph.dtype)    how a weight is stored
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from g4v.export.errors import ExportError
from g4v.export.graph.dtype import BFLOAT16, FLOAT32, DType
from g4v.export.graph.onnx_file import ALIGNMENT
from g4v.export.graph.operators import make_model
from g4v.export.graph.shapes import infer_shapes

_INLINE_BYTES = 256  # smaller constants stay in the graph file: shapes and scalars are folded only from there
_INT_MAX = 2**63 - 1
_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "int8": TensorProto.INT8,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
}
_NONE: Mapping[str, int] = MappingProxyType({})
T = TypeVar("T")

Array = np.ndarray | torch.Tensor


def numpy32(tensor: Array) -> np.ndarray:
    """A contiguous array; floating types become float32."""
    array = tensor.detach().cpu().float().numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)
    return np.ascontiguousarray(array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array)


class GraphWriter:
    """One ONNX graph that is being written. Values are strings, the names of tensors in the graph.

    Weights go to `stem`.data as they are added, so that never more than one of them is in memory; `save`
    writes `stem`.onnx beside it.

    dtype: of the values and weights. Inputs and outputs that are declared as float32 are cast from and to it.
    float32_inputs: operators that the target has in float32 alone, with the number of their floating inputs;
    these are cast, and the result is cast back.
    """

    def __init__(
        self,
        folder: str | Path,
        stem: str,
        dtype: DType = FLOAT32,
        float32_inputs: Mapping[str, int] = _NONE,
    ) -> None:
        self.folder = Path(folder)
        self.stem = stem
        self.dtype = dtype
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._float32_inputs = float32_inputs
        self._upcast: set[str] = set()  # values that are float32 in a graph of 16 bits
        self._constants: dict[tuple, str] = {}
        self._once: dict[Hashable, Any] = {}
        self._count = 0
        self._data = open(self.folder / f"{stem}.data", "wb")

    def __enter__(self) -> GraphWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._data.close()

    @property
    def files(self) -> list[str]:
        """Names of the graph and of its data file."""
        return [f"{self.stem}.onnx", f"{self.stem}.data"]

    def save(self, shapes: bool = False) -> None:
        """Writes the graph and closes the data file. shapes: with the symbolic shapes of inner values
        (g4v.export.graph.shapes).
        """
        self._data.close()
        model = make_model(self.stem, self.nodes, self.inputs, self.outputs, self.initializers)
        if shapes:
            model.graph.value_info.extend(infer_shapes(model))
        (self.folder / f"{self.stem}.onnx").write_bytes(model.SerializeToString(deterministic=True))

    # Inputs, outputs and nodes.

    def input(self, name: str, dtype: str, shape: Sequence[int | str], keep_float32: bool = False) -> str:
        """Declares an input; strings in `shape` are dynamic dimensions. float32 inputs are cast to the
        graph's type, except where keep_float32: they are then as after `upcast`.
        """
        self.inputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], list(shape)))
        if keep_float32 and self.dtype.is_half:
            self._upcast.add(name)
        return self.downcast(name) if dtype == "float32" and not keep_float32 else name

    def output(self, name: str, value: str, dtype: str, shape: Sequence[int | str]) -> None:
        """Declares the output `name`, computed as `value` (a value may already bear the name)."""
        if self.dtype.is_half and dtype == "float32":
            self.op("Cast", value, outputs=[name], to=TensorProto.FLOAT)
        elif value != name:
            self.nodes.append(helper.make_node("Identity", [value], [name], name=self.new_name("Identity")))
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
        count = self._float32_inputs.get(kind, 0)
        if count == 0 or inputs[0] in self._upcast:
            return self._node(kind, inputs, outputs, domain, attributes)
        cast = [self._node("Cast", [x], 1, "", {"to": TensorProto.FLOAT}) for x in inputs[:count]]
        return self.downcast(self._node(kind, [*cast, *inputs[count:]], outputs, domain, attributes))

    def _node(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: int | Sequence[str],
        domain: str,
        attributes: Mapping[str, Any],
    ) -> Any:
        name = self.new_name(kind)
        if isinstance(outputs, int):
            names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        else:
            names = list(outputs)
        node = helper.make_node(kind, list(inputs), names, name=name, domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(node)
        if kind != "Cast" and inputs and inputs[0] in self._upcast:
            self._upcast.update(filter(None, names))
        return names[0] if outputs == 1 else names

    def new_name(self, kind: str) -> str:
        """A name that no node or constant has yet."""
        self._count += 1
        return f"{kind}_{self._count}"

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returns, which is called once for a key: for nodes that several others share."""
        if key not in self._once:
            self._once[key] = make()
        found: T = self._once[key]
        return found

    # Types.

    def downcast(self, x: str) -> str:
        """A float32 value in the graph's type; the value itself in a float32 graph."""
        if not self.dtype.is_half:
            return x
        made: str = self.op("Cast", x, to=self.dtype.onnx)
        return made

    def upcast(self, x: str) -> str:
        """A value in float32; so are then values that are computed from it, until `downcast`."""
        if not self.dtype.is_half:
            return x
        made: str = self.op("Cast", x, to=TensorProto.FLOAT)
        self._upcast.add(made)
        return made

    def is_upcast(self, x: str) -> bool:
        """Whether a value is float32 in a graph of 16 bits."""
        return x in self._upcast

    # Constants.

    def weight(self, tensor: Array, name: str | None = None, float32: bool = False) -> str:
        """Adds a constant: of the graph's type (from any floating type), int32, int64, int8 or uint8. Small
        ones are shared. float32: of that type in every graph.
        """
        array = numpy32(tensor)
        if array.dtype == np.float32 and not float32:
            try:
                array = self.dtype.convert(array)
            except ExportError as error:
                raise ExportError(f"{self.stem}: {error}") from None
        if array.nbytes > _INLINE_BYTES or name is not None:
            return self._add(array, name or self.new_name("weight"))
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._add(array, self.new_name("const"))
        return self._constants[key]

    def gathered(self, table: torch.Tensor, ids: str) -> str:
        """Rows of a table [N, D], in the graph's type. In a float32 graph one of bfloat16 is stored so, and
        its rows are cast.
        """
        if self.dtype.is_half or table.dtype != torch.bfloat16:
            rows: str = self.op("Gather", self.weight(table), ids)
            return rows
        bits = table.detach().cpu().contiguous().view(torch.int16).numpy()
        stored = self._add(bits.view(BFLOAT16.numpy), self.new_name("weight"))
        cast: str = self.op("Cast", self.op("Gather", stored, ids), to=TensorProto.FLOAT)
        return cast

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

    # Shorthands of standard operators.

    def reshape(self, x: str, *shape: int) -> str:
        """Reshape to constant dimensions; 0 keeps the input's, one -1 is inferred."""
        return self.op("Reshape", x, self.ints(*shape))

    def transpose(self, x: str, *order: int) -> str:
        return self.op("Transpose", x, perm=list(order))

    def slice(self, x: str, axis: int, start: int, end: int = _INT_MAX) -> str:
        return self.op("Slice", x, self.ints(start), self.ints(end), self.ints(axis))

    def dimension(self, x: str, axis: int) -> str:
        """One dimension of x as an int64 vector of length 1."""
        return self.op("Shape", x, start=axis, end=axis + 1)

    def concat(self, *values: str, axis: int) -> str:
        return self.op("Concat", *values, axis=axis)
