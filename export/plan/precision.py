"""Which component is written for which target, and in which precision."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from g4v.export.errors import ExportError

# Target -> component -> precisions; the first is the default. int8 and int4 round the decoder's weights alone
# (g4v.export.quantisation.rounding); what is computed with them is float32 on the CPU and float16 on CUDA.
# Other components' int8 quantises activations too (g4v.export.quantisation.dynamic_int8), and so does fp8
# (g4v.export.passes.fp8). A component that no target can run is written for the CPU, where the core then runs
# it. bf16x2 is float32 but for its products (g4v.export.graph.cpu.SplitGemm).
_DEVICE: dict[str, tuple[str, ...]] = {
    "encoder": ("fp16", "bf16", "fp32"),
    "abstractor": ("fp16", "bf16", "fp32"),
    "text_encoder": ("fp16", "bf16", "fp32"),
    "unet": ("fp16", "bf16", "fp32"),
    "vae_decoder": ("fp16", "bf16", "fp32"),
}
_ENGINES = {component: (*names, "fp8") for component, names in _DEVICE.items()}
PRECISIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "cpu": {
        "encoder": ("fp32", "bf16x2", "int8"),
        "abstractor": ("fp32", "bf16x2", "int8"),
        "decoder": ("fp32", "int8", "int4"),
        "text_encoder": ("fp32",),
        "unet": ("fp32", "int8"),
        "vae_decoder": ("fp32",),
        "frame_checker": ("fp32",),
    },
    "cuda": {
        **_DEVICE,
        "decoder": ("fp16", "int8", "int4"),
        "unet": ("fp16", "fp32"),
        "vae_decoder": ("fp16", "fp32"),
        "frame_checker": ("fp16", "bf16", "fp32"),
    },
    "tensorrt-rtx": _ENGINES,
    "tensorrt": _ENGINES,
}
_NO_CONVOLUTION = ": the CUDA provider has no bfloat16 convolution for the graphs' operators"
_REASONS = {
    ("cuda", "decoder", "fp32"): ": the CUDA provider's GroupQueryAttention computes in 16 bits alone",
    ("cuda", "decoder", "bf16"): ": the core keeps keys and values in float16 or float32",
    ("cuda", "unet", "bf16"): _NO_CONVOLUTION,
    ("cuda", "vae_decoder", "bf16"): _NO_CONVOLUTION,
    ("cuda", "encoder", "int8"): ": the CUDA provider has no kernel for MatMulIntegerToFloat",
    ("cuda", "unet", "int8"): ": the CUDA provider has no kernel for MatMulIntegerToFloat",
    ("cuda", "abstractor", "int8"): ": the CUDA provider has no kernel for DynamicQuantizeMatMul",
}
# What rounds activations too is done only where it is asked for by name: its cost depends on the model. Who
# asks for fp8 asks for engines, of which encoder and UNet are most of the work.
_BY_NAME = {(component, "int8") for component in ("encoder", "abstractor", "unet")}
_BY_NAME |= {(component, "fp8") for component in ("abstractor", "text_encoder", "vae_decoder")}
COMPONENTS = tuple(PRECISIONS["cpu"])
Precisions = dict[str, dict[str, str]]
"""Component -> target -> precision: the variants of a bundle."""


def parse_targets(words: Sequence[str]) -> tuple[str, ...]:
    """Names such as "cpu", each once, in the order in which they are written; without any, the CPU alone.
    ExportError: no such target.
    """
    for word in words:
        if word not in PRECISIONS:
            raise ExportError(f"target {word!r} is not supported (one of {', '.join(PRECISIONS)})")
    return tuple(target for target in PRECISIONS if target in words) or ("cpu",)


def parse_precisions(words: str | Sequence[str], targets: Sequence[str] = ("cpu",)) -> Precisions:
    """A word or words such as "int4" and "decoder=int8" -> the variants of every component; later ones win.

    A precision alone is for all that can be written in it, but for an int8 that rounds activations; fp8 alone
    is for encoder and UNet. ExportError: no such component, or one that cannot be written so for any of the
    targets.
    """
    found: Precisions = {}
    for component in COMPONENTS:
        able = [target for target in targets if component in PRECISIONS[target]] or ["cpu"]
        found[component] = {target: PRECISIONS[target][component][0] for target in able}
    for word in [words] if isinstance(words, str) else words:
        component, sign, name = word.rpartition("=")
        if sign and component not in COMPONENTS:
            raise ExportError(f"precision of {component!r}: one of {', '.join(COMPONENTS)} must be named")
        fits = False
        for one in [component] if sign else COMPONENTS:
            for target in found[one]:
                if name in PRECISIONS[target][one] and (sign or (one, name) not in _BY_NAME):
                    found[one][target], fits = name, True
        if not fits:
            raise ExportError(_refusal(component, name, found))
    return found


def advice(component: str, precision: str) -> str:
    """The end of an error's line where that precision is too coarse. The decoder has none: it is compared on
    its rounded weights.
    """
    finer = {"fp8": "fp16"}.get(precision, "fp32")
    if component == "decoder" or precision == finer:
        return ""
    return f"; --precision {component}={finer} is more exact"


def _refusal(component: str, name: str, found: Precisions) -> str:
    wanted = [component] if component else COMPONENTS
    elsewhere = [t for t, parts in PRECISIONS.items() if any(name in parts.get(c, ()) for c in wanted)]
    known = _names(found, wanted)
    tried = {target for one in wanted for target in found[one]}
    hint = f"; --target {elsewhere[0]} can" if elsewhere and elsewhere[0] not in tried else ""
    if component:
        targets = list(found[component])
        reason = next((_REASONS[key] for t in targets if (key := (t, component, name)) in _REASONS), "")
        return (
            f"{component} cannot be written in {name!r} for {' or '.join(targets)} "
            f"(only in {', '.join(known)}){reason}{hint}"
        )
    return f"precision {name!r} is not supported (one of {', '.join(known)}){hint}"


def _names(found: Precisions, components: Collection[str]) -> list[str]:
    names = [n for c in components for t in found[c] for n in PRECISIONS[t][c]]
    return list(dict.fromkeys(names))
