"""Whether a bundle can be put where the user wants it."""

from __future__ import annotations

import os
from pathlib import Path

from g4v.export.bundle.manifest import MANIFEST
from g4v.export.errors import ExportError
from g4v.export.plan.disk import nearest_folder


def check_place(out: Path, force: bool) -> None:
    """Raises ExportError if no bundle can be written at `out`; force: a bundle there may be replaced."""
    above = nearest_folder(out.absolute().parent)
    if not above.is_dir():
        raise ExportError(f"{out}: cannot be made, since {above} is a file")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ExportError(f"{out}: cannot be made, since {above} is not writable")
    if not out.exists():
        return
    if not out.is_dir():
        raise ExportError(f"{out}: exists and is no directory")
    if not any(out.iterdir()):
        return
    if not force:
        raise ExportError(f"{out}: exists already (--force replaces it)")
    if not (out / MANIFEST).is_file():
        raise ExportError(f"{out}: is no bundle, so --force does not replace it")
