"""The weights of a decoder in the layout that the core's own CPU decoder computes with.

One file in the safetensors format, which csrc/decoder/cpu/packed_weights.h maps and reads in place. Rows of
every matrix are in panels of 16, column by column, as csrc/kernels/cpu/linear/packed_matrix.h describes them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from g4v.export.checkpoint.llama import HEAD, LlamaWeights
from g4v.export.quantisation.codes import BITS, Quantised
from g4v.export.quantisation.quantiser import Quantiser
from g4v.export.quantisation.reused_codes import ReusedCodes

PACKED_FORMAT, PACKED_VERSION = "g4v-packed-decoder", "1"
PANEL = 16  # rows of a matrix that lie side by side
_ALIGNMENT = 64  # bytes, of the first tensor
_ENTRY, _METADATA = 160, 512  # bytes that the header has for a tensor, and for the rest: more than it needs
_PRODUCTS = (  # of a layer: names in transformers, and in the file
    (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), ("q", "k", "v")),
    (("self_attn.o_proj",), ("o",)),
    (("mlp.gate_proj", "mlp.up_proj"), ("gate", "up")),
    (("mlp.down_proj",), ("down",)),
)
_DTYPES = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int8": "I8", "uint8": "U8"}


def header_bytes(layers: int) -> int:
    """Returns how much room a file of a decoder with so many layers has for its header."""
    return -(-(8 + (9 * 4 * layers + 8) * _ENTRY + _METADATA) // _ALIGNMENT) * _ALIGNMENT


def packed_name(stem: str) -> str:
    """Returns the name of the file beside the graph `stem`.onnx."""
    return f"{stem}.packed"


def write_packed(
    weights: LlamaWeights,
    folder: Path,
    precision: str,
    stem: str = "decoder",
    quantiser: Quantiser | None = None,
) -> str:
    """Writes `folder`/`stem`.packed and returns its name.

    precision: "fp32": the weights themselves, in 16 bits where these hold a matrix exactly. "int8", "int4":
        codes.
    quantiser: makes the codes, in blocks of 16 or 32; by default they are those of the graph
        `folder`/`stem`.onnx, which must have been written before.
    """
    name = packed_name(stem)
    codes = (quantiser or ReusedCodes(weights, folder, stem, {})) if precision in BITS else None
    layers = weights.config.num_hidden_layers
    frequencies, factor = weights.rotary_frequencies()
    metadata = {
        "format": PACKED_FORMAT,
        "format_version": PACKED_VERSION,
        "norm_epsilon": repr(float(np.float32(weights.config.rms_norm_eps))),
        "intermediate_size": str(weights.config.intermediate_size),
        "rotary_factor": repr(float(np.float32(factor))),
    }
    with _TensorWriter(folder / name, header_bytes(layers), metadata) as file:
        for index in range(layers):
            prefix = f"model.layers.{index}"
            for names, parts in _PRODUCTS:
                full = [f"{prefix}.{part}" for part in names]
                for matrix, part in zip(_matrices(weights, full, codes), parts, strict=True):
                    _add_matrix(file, f"layers.{index}.{part}", matrix)
                for module, part in zip(full, parts, strict=True):
                    if f"{module}.bias" in weights:
                        file.add(f"layers.{index}.{part}.bias", weights.read(f"{module}.bias").numpy())
            for norm, part in (
                ("input_layernorm", "attention_norm"),
                ("post_attention_layernorm", "mlp_norm"),
            ):
                file.add(f"layers.{index}.{part}", weights.read(f"{prefix}.{norm}.weight").numpy())
        for matrix in _matrices(weights, [HEAD], codes):
            _add_matrix(file, "head", matrix)
        file.add("final_norm", weights.read("model.norm.weight").numpy())
        file.add("rotary_frequencies", frequencies.numpy())
    return name


def pack_codes(codes: Quantised) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Returns codes, scales and minima of a matrix as the file has them.

    Codes: uint8 [panels, blocks, 4, 16, 4], two in a byte, of 4 bits; int8 [panels, blocks, block / 4, 16, 4]
    of 8 bits. Scales and minima: [panels, blocks, 16], float16 where that holds both exactly, else float32.
    Minima: what is added to scale * code; None where the codes have no offsets.
    """
    rows, blocks, block = codes.codes.shape
    panels = -(-rows // PANEL)
    zero = 2 ** (codes.bits - 1)
    filled = np.full((panels * PANEL, blocks, block), zero, np.uint8)
    filled[:rows] = codes.codes.numpy()
    scales, minima = codes.scales.numpy(), None if codes.offsets is None else codes.offsets.numpy()
    if minima is not None and codes.bits == 8 and 112 <= filled.min() <= filled.max() <= 143:
        # Codes of 5 bits began at zero in their file: from there on float16 holds the minima, too.
        filled, minima = filled + np.uint8(16), minima - scales * np.float32(16)
    elif minima is not None and codes.bits == 4:
        minima = minima - scales * np.float32(zero)
    grouped = filled.reshape(panels, PANEL, blocks, block // 4, 4).transpose(0, 2, 3, 1, 4)
    if codes.bits == 4:
        packed = grouped[:, :, :4] | (grouped[:, :, 4:] << 4)
    else:
        packed = (grouped ^ 0x80).view(np.int8)
    scales = _panels(scales)
    added = None if minima is None else _panels(minima)
    if all(_is_exact(values) for values in (scales, added) if values is not None):
        scales = scales.astype(np.float16)
        added = None if added is None else added.astype(np.float16)
    return np.ascontiguousarray(packed), scales, added


def pack_floats(matrix: Tensor) -> np.ndarray:
    """Returns a matrix [rows, columns] as [panels, columns, 16]: float16, or the bits of bfloat16 as uint16,
    where one of them holds it exactly, else float32.
    """
    rows, columns = matrix.shape
    panels = -(-rows // PANEL)
    filled = torch.zeros(panels * PANEL, columns)
    filled[:rows] = matrix
    packed = filled.view(panels, PANEL, columns).transpose(1, 2).contiguous()
    if torch.equal((brain := packed.bfloat16()).float(), packed):
        return brain.view(torch.uint16).numpy()
    if torch.equal((half := packed.half()).float(), packed):
        return half.numpy()
    return packed.numpy()


def _matrices(
    weights: LlamaWeights, names: list[str], codes: Quantiser | None
) -> Iterator[Tensor | Quantised]:
    """The matrices of a product, one by one."""
    if codes is None:
        yield from (weights.read(f"{name}.weight") for name in names)
        return
    parts = codes(*names)  # neighbours of one kind are one
    for name in names:
        rows = weights.shapes[f"{name}.weight"][0]
        yield parts[0].rows(0, rows)
        parts[0] = parts[0].rows(rows, len(parts[0].codes))
        if not len(parts[0].codes):
            parts.pop(0)


def _add_matrix(file: _TensorWriter, name: str, matrix: Tensor | Quantised) -> None:
    if isinstance(matrix, Tensor):
        file.add(f"{name}.weights", pack_floats(matrix))
        return
    codes, scales, minima = pack_codes(matrix)
    file.add(f"{name}.weights", codes)
    file.add(f"{name}.scales", scales)
    if minima is not None:
        file.add(f"{name}.minima", minima)


def _panels(values: np.ndarray) -> np.ndarray:
    """[rows, blocks] as [panels, blocks, 16], with zeros for rows that are not there."""
    rows, blocks = values.shape
    panels = -(-rows // PANEL)
    filled = np.zeros((panels * PANEL, blocks), np.float32)
    filled[:rows] = values
    return np.ascontiguousarray(filled.reshape(panels, PANEL, blocks).transpose(0, 2, 1))


def _is_exact(values: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(values.astype(np.float16).astype(np.float32), values))


class _TensorWriter:
    """Writes tensors one after the other; the header, for which room is kept, comes last."""

    def __init__(self, path: Path, start: int, metadata: dict[str, str]) -> None:
        """start: where the first tensor begins."""
        self._file = open(path, "wb")
        self._header: dict[str, Any] = {"__metadata__": metadata}
        self._start = start
        self._file.seek(self._start)

    def __enter__(self) -> _TensorWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        with self._file:
            if kind is None:
                header = json.dumps(self._header, separators=(",", ":")).encode()
                self._file.seek(0)
                self._file.write(struct.pack("<Q", self._start - 8))
                self._file.write(header.ljust(self._start - 8))

    def add(self, name: str, array: np.ndarray) -> None:
        first = self._file.tell() - self._start
        self._file.write(np.ascontiguousarray(array).data)
        self._header[name] = {
            "dtype": _DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [first, first + array.nbytes],
        }
