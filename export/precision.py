"""Which component is written in which precision."""

from __future__ import annotations

from collections.abc import Sequence

from g4v.export.errors import ExportError

# The first is the default. int8 and int4 round weights alone (g4v.export.quantise); what is computed with
# them is float32.
PRECISIONS = {
    "encoder": ("fp32",),
    "abstractor": ("fp32",),
    "decoder": ("fp32", "int8", "int4"),
    "text_encoder": ("fp32",),
    "unet": ("fp32",),
    "vae_decoder": ("fp32",),
    "frame_checker": ("fp32",),
}
NAMES = tuple(dict.fromkeys(name for names in PRECISIONS.values() for name in names))


def parse_precisions(words: str | Sequence[str]) -> dict[str, str]:
    """A word or words such as "int4" and "decoder=int8" -> the precision of every component; later ones win.

    A precision alone is for all components that can be written in it. ExportError: no such component, or one
    that cannot be written so.
    """
    chosen = {component: names[0] for component, names in PRECISIONS.items()}
    for word in [words] if isinstance(words, str) else words:
        component, sign, name = word.rpartition("=")
        if not sign:
            able = [component for component, names in PRECISIONS.items() if name in names]
            if not able:
                raise ExportError(f"precision {name!r} is not supported (one of {', '.join(NAMES)})")
            chosen |= dict.fromkeys(able, name)
        elif component not in PRECISIONS:
            raise ExportError(f"precision of {component!r}: one of {', '.join(PRECISIONS)} must be named")
        elif name not in PRECISIONS[component]:
            known = ", ".join(PRECISIONS[component])
            raise ExportError(f"{component} cannot be written in {name!r} (only in {known})")
        else:
            chosen[component] = name
    return chosen
