"""Which lowering a component's graph is written with."""

from __future__ import annotations

from g4v.export.graph.cpu import CPU, CpuLowering, SplitGemm
from g4v.export.graph.cuda import TARGET as CUDA
from g4v.export.graph.cuda import CudaLowering
from g4v.export.graph.dtype import BFLOAT16, FLOAT16, FLOAT32
from g4v.export.graph.lowering import Lowering
from g4v.export.graph.standard import StandardLowering
from g4v.export.quantisation.dynamic_int8 import DynamicInt8

_DTYPES = {"fp32": FLOAT32, "fp16": FLOAT16, "bf16": BFLOAT16}
BF16X3 = CpuLowering(split_gemm=SplitGemm(3, everywhere=True))
BF16X2 = CpuLowering(split_gemm=SplitGemm(2, everywhere=True))
INT8 = CpuLowering(int8=DynamicInt8())


def lowering_for(component: str, target: str, precision: str) -> Lowering:
    """How a component's graph is spelled; all three as in g4v.export.components.precision.PRECISIONS."""
    # Engines in fp8 are quantised from float16 (g4v.export.passes.fp8); what is computed with the decoder's
    # rounded weights is float16, too.
    dtype = _DTYPES.get(precision, FLOAT16)
    if target == CUDA:
        return CudaLowering(dtype)
    if target != "cpu":
        return StandardLowering(dtype)
    # The decoder's builder quantises weights itself, and is compared with the quantised ones.
    if component == "decoder":
        return CPU
    # The abstractor's builder says itself which products are split. The UNet would be 1.14 times faster with
    # all of them split, and take more memory; the others were not measured.
    plain = BF16X3 if component == "encoder" else CPU
    return {"int8": INT8, "bf16x2": BF16X2}.get(precision, plain)
