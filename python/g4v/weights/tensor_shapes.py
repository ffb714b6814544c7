"""Whether files hold the tensors that a module has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from g4v.weights.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]
_NO_HINTS: Mapping[str, str] = {}


def is_table(name: str) -> bool:
    """Whether a tensor is the rotary frequencies, which older releases of transformers stored."""
    return name.endswith("rotary_emb.inv_freq")


def check_shapes(place: Path, found: Shapes, wanted: Shapes, hints: Mapping[str, str] = _NO_HINTS) -> None:
    """Checks names and shapes of the tensors of a module, its tables of rotary frequencies apart.

    found: those in the files. wanted: the module's. hints: what is said of a tensor if it alone is missing.
    CheckpointError: tensors are missing, left over, or of other shapes; it names the first.
    """
    extra = [n for n in found if n not in wanted and not is_table(n)]
    missing = [n for n in wanted if n not in found]
    wrong = [n for n in wanted if n in found and found[n] != wanted[n]]
    for kind, names in (("missing", missing), ("unexpected", extra), ("misshapen", wrong)):
        if names:
            first = min(names)
            shapes = f" ({list(found[first])}, not {list(wanted[first])})" if kind == "misshapen" else ""
            alone = kind == "missing" and len(names) == 1 and first in hints
            hint = f": {hints[first]}" if alone else ""
            raise CheckpointError(f"{place}: {kind} tensor {first}{shapes}, {len(names)} in all{hint}")
