"""Which component can be written for which target, and in which precision."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from g4v.export.errors import ExportError

CPU, CUDA = "cpu", "cuda"  # ONNX Runtime's CPU and CUDA providers
RTX, TENSORRT = "tensorrt-rtx", "tensorrt"
ENGINE_TARGETS = (RTX, TENSORRT)  # targets for which engines are built

# Target -> component -> precisions; the first is the default. int8 and int4 quantise the decoder's weights
# alone (g4v.export.quantisation.gptq); what is computed with them is float32 on the CPU and float16 on CUDA.
# int8 of other components quantises activations too (g4v.export.quantisation.dynamic_int8), and so does fp8
# (g4v.export.passes.fp8). A component that no target can run is written for the CPU, where the core
# then runs it. bf16x2 is float32 but for its products, which are split into products of bfloat16.
_DEVICE: dict[str, tuple[str, ...]] = {
    "encoder": ("fp16", "bf16", "fp32"),
    "abstractor": ("fp16", "bf16", "fp32"),
    "text_encoder": ("fp16", "bf16", "fp32"),
    "unet": ("fp16", "bf16", "fp32"),
    "transformer": ("fp16", "bf16", "fp32"),
    "vae_decoder": ("fp16", "bf16", "fp32"),
    "vae_encoder": ("fp16", "bf16", "fp32"),
}
_ENGINES = {component: (*names, "fp8") for component, names in _DEVICE.items()}
PRECISIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "cpu": {
        "encoder": ("fp32", "bf16x2", "int8"),
        "abstractor": ("fp32", "bf16x2", "int8"),
        "decoder": ("fp32", "int8", "int4"),
        "text_encoder": ("fp32", "int8"),
        "unet": ("fp32", "int8"),
        "transformer": ("fp32", "int8"),
        "vae_decoder": ("fp32",),
        "vae_encoder": ("fp32",),
        "frame_checker": ("fp32",),
    },
    "cuda": {
        **_DEVICE,
        "decoder": ("fp16", "int8", "int4"),
        "unet": ("fp16", "fp32"),
        "vae_decoder": ("fp16", "fp32"),
        "vae_encoder": ("fp16", "fp32"),
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
    ("cuda", "vae_encoder", "bf16"): _NO_CONVOLUTION,
    ("cuda", "encoder", "int8"): ": the CUDA provider has no kernel for MatMulIntegerToFloat",
    ("cuda", "text_encoder", "int8"): ": the CUDA provider has no kernel for MatMulIntegerToFloat",
    ("cuda", "unet", "int8"): ": the CUDA provider has no kernel for MatMulIntegerToFloat",
    ("cuda", "transformer", "int8"): ": the CUDA provider has no kernel for MatMulIntegerToFloat",
    ("cuda", "abstractor", "int8"): ": the CUDA provider has no kernel for DynamicQuantizeMatMul",
}
# Precisions that quantise activations are used only where a component is named: what they cost in accuracy
# depends on the model. "fp8" alone is for encoder and UNet or transformer, which are most of the work of
# engines.
_BY_NAME = {
    (component, "int8") for component in ("encoder", "abstractor", "text_encoder", "unet", "transformer")
}
_BY_NAME |= {(component, "fp8") for component in ("abstractor", "text_encoder", "vae_decoder", "vae_encoder")}
COMPONENTS = tuple(PRECISIONS["cpu"])
Precisions = dict[str, dict[str, str]]
"""The variants of a bundle: component -> target -> precision."""


def parse_targets(words: Sequence[str]) -> tuple[str, ...]:
    """Returns the targets named by `words`, each once, in the order in which they are written.

    Without any word it is the CPU alone. ExportError: there is no such target.
    """
    for word in words:
        if word not in PRECISIONS:
            raise ExportError(f"target {word!r} is not supported (one of {', '.join(PRECISIONS)})")
    return tuple(target for target in PRECISIONS if target in words) or ("cpu",)


def parse_precisions(words: str | Sequence[str], targets: Sequence[str] = ("cpu",)) -> Precisions:
    """Returns the variants of every component for precisions such as "int4" or "decoder=int8".

    words: one precision or several; later ones win. A precision without a component is for all components
        that can be written in it, except for int8 that quantises activations; "fp8" is for encoder and UNet
        or transformer.
    targets: such as ("cpu", "cuda").

    ExportError: there is no such component, or it cannot be written so for any of the targets.
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


def check_packed_alone(precisions: Precisions, only: Collection[str] | None) -> None:
    """Raises ExportError where the decoder's packed weights cannot stand without its graph.

    precisions: the variants of every component. only: components to export; None: all.
    """
    others = sorted({target for variants in precisions.values() for target in variants} - {CPU})
    if others:
        raise ExportError(
            f"--no-decoder-graph is for bundles of the target cpu alone, and {', '.join(others)} is named: a "
            "GPU runs the decoder's graph"
        )
    if only is not None and "decoder" not in only:
        raise ExportError("--no-decoder-graph is of the decoder, which --component leaves out")


def advice(component: str, precision: str) -> str:
    """Returns the end of an error message that names a more exact precision for a component.

    It is empty where there is none, and for the decoder, which is compared on its quantised weights.
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
