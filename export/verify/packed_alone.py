"""Compares packed weights that have no graph beside them with PyTorch in float64, layer by layer.

What the file's codes stand for must be near the weights that they were made from. The core's own decoder is
then compared with transformers in float64 on exactly these weights: what differs is float32's rounding and,
where weights are codes, that of activations to 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from g4v.export.checkpoint.llama import HEAD, LlamaWeights
from g4v.export.errors import InaccurateError
from g4v.export.quantisation.codes import BITS
from g4v.export.verify.comparison import INT8_NORM_TOLERANCE, TOLERANCE
from g4v.export.verify.decoder import CHUNKS, Reference, check_rounding, embed_text
from g4v.export.verify.error_measures import Comparison, norm_error, relative_error
from g4v.export.verify.packed import run_packed

_PARTS = {  # of a layer: the matrix in the file -> its module in transformers
    **{part: f"self_attn.{part}_proj" for part in "qkvo"},
    **{part: f"mlp.{part}_proj" for part in ("gate", "up", "down")},
}


@torch.no_grad()
def compare_packed(
    weights: LlamaWeights,
    path: Path,
    precision: str,
    progress: Callable[[float], None] = lambda share: None,
    text: Sequence[int] = (),
) -> Comparison:
    """Compares prompts and single steps of the core's own decoder with PyTorch and returns the errors.

    weights: of the decoder that was exported.
    path: the packed weights.
    precision: "fp32", "int8" or "int4".
    progress: called with the share that is done, 0 to 1.
    text: as in `verify.decoder.compare_decoder`.

    ExportError: codes are not those of the weights. InaccurateError: the file is damaged or of another
    decoder, or what the core computes is off by more than its roundings can be.
    """
    embeds, layers = embed_text(weights, text), weights.config.num_hidden_layers
    quantised = precision in BITS
    original, exact = Reference(weights, embeds, torch.float32), Reference(weights, embeds, torch.float64)
    try:
        with safe_open(path, "pt") as file:
            for index in range(layers):
                progress(index / layers)
                tensors = weights.layer(index)
                if quantised:
                    original.step(index, tensors)
                for part, module in _PARTS.items():
                    key = f"{module}.weight"
                    tensors[key] = _checked(file, f"layers.{index}.{part}", tensors[key])
                exact.step(index, tensors)
            head = weights.read(f"{HEAD}.weight")
            wanted = exact.logits(_checked(file, "head", head))
    except (SafetensorError, OSError) as fault:
        raise InaccurateError(f"decoder: {path.name} cannot be read: {fault}") from None
    own = run_packed(path, weights.config, embeds.numpy(), CHUNKS)
    off = norm_error(own, wanted) if quantised else relative_error(own, wanted)
    most = INT8_NORM_TOLERANCE if quantised else TOLERANCE
    if not off <= most:
        raise InaccurateError(f"decoder: {path.name} is {off:.1e} off, which is more than {most:.1e}")
    if not quantised:
        return Comparison(off, None, None)
    before = original.logits(head)
    return Comparison(off, norm_error(own, before), None, norm_error(wanted.numpy(), before))


def read_matrix(file: safe_open, name: str, rows: int) -> tuple[Tensor, int | None]:
    """Returns a matrix of a file of packed weights as float32 [rows, columns], and the bits of its codes.

    The bits are None where the file holds the weights themselves. csrc/kernels/cpu/linear/packed_matrix.h
    has the layout.
    """
    stored = file.get_tensor(f"{name}.weights")
    if stored.is_floating_point():
        return stored.float().transpose(1, 2).flatten(0, 1)[:rows], None
    bits = 4 if stored.dtype == torch.uint8 else 8
    codes = torch.cat([stored & 15, stored >> 4], 2) if bits == 4 else stored
    codes = codes.permute(0, 3, 1, 2, 4).flatten(3).flatten(0, 1).float()  # [panels * 16, blocks, block]
    scales = _by_rows(file.get_tensor(f"{name}.scales"))
    if f"{name}.minima" in file.keys():  # noqa: SIM118 (it is no mapping)
        minima = _by_rows(file.get_tensor(f"{name}.minima"))
    else:
        minima = -8 * scales if bits == 4 else torch.zeros_like(scales)
    return (codes * scales[..., None] + minima[..., None]).flatten(1)[:rows], bits


def _by_rows(values: Tensor) -> Tensor:
    """[panels, blocks, 16] as float32 [panels * 16, blocks]."""
    return values.float().transpose(1, 2).flatten(0, 1)


def _checked(file: safe_open, name: str, weight: Tensor) -> Tensor:
    """What the file holds of a matrix, which must be near `weight`, or equal to it where it has no codes."""
    found, bits = read_matrix(file, name, len(weight))
    found = found[:, : weight.shape[1]]  # the last block of codes may be longer
    if bits is not None:
        check_rounding(name, found, weight, bits)
    elif not torch.equal(found, weight):
        raise InaccurateError(f"decoder: {name} in the packed weights is not that of the checkpoint")
    return found
