"""An export on its way: a folder beside the bundle, `.NAME.partial`, that a stopped export goes on from.

    .NAME.partial/bundle/         the files that are written so far
    .NAME.partial/finished.json   what they were made from, and the components that are whole

It is taken up again only by an export of the same files with the same settings.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from g4v.export.errors import ExportError
from g4v.export.report.report import PartReport

_STATE = "finished.json"


def file_entry(path: Path) -> dict[str, Any]:
    """What the manifest says of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def fingerprint(sources: Iterable[Path], settings: Mapping[str, Any]) -> str:
    """Of the settings and of all files in `sources` (folders or files): names, sizes and times of change."""
    seen = []
    for source in sources:
        files = sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]
        for file in files:
            status = file.stat()
            seen.append((str(file.absolute()), status.st_size, status.st_mtime_ns))
    text = json.dumps([seen, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def partial_folder(out: Path) -> Path:
    """Where an export to `out` is on its way."""
    out = out.absolute()
    return out.with_name(f".{out.name}.partial")


class Unfinished:
    """folder: where the bundle is being written."""

    def __init__(self, out: Path, made_from: str) -> None:
        self.place = partial_folder(out)
        self.folder = self.place / "bundle"
        self._made_from = made_from
        self._finished: dict[str, dict[str, Any]] = {}

    @contextmanager
    def open(self) -> Iterator[None]:
        """Keeps the folder where it is worth going on from, that is after Ctrl-C or a kill between two
        components; takes it away after every other end. ExportError if another export is writing it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._read()
            try:
                yield
            except KeyboardInterrupt:
                if not self._finished:
                    shutil.rmtree(self.place, ignore_errors=True)
                raise
            except BaseException:
                shutil.rmtree(self.place, ignore_errors=True)
                raise
            shutil.rmtree(self.place, ignore_errors=True)

    def __len__(self) -> int:
        return len(self._finished)

    def take(self, name: str) -> tuple[dict[str, Any], list[PartReport]] | None:
        """The manifest's entry and the reports of a component that is there already, None for others."""
        found = self._finished.get(name)
        if found is None:
            return None
        return found["component"], [PartReport(**report) for report in found["reports"]]

    def note(
        self, name: str, component: dict[str, Any], parts: Iterable[PartReport], files: Iterable[str]
    ) -> None:
        """A component is whole."""
        entries = {file: file_entry(self.folder / file) for file in files}
        self._finished[name] = {
            "component": component,
            "reports": [asdict(part) for part in parts],
            "files": entries,
        }
        temporary = self.place / (_STATE + ".tmp")
        state = {"made_from": self._made_from, "finished": self._finished}
        temporary.write_text(json.dumps(state), "utf-8")
        temporary.replace(self.place / _STATE)

    def _read(self) -> None:
        try:
            state = json.loads((self.place / _STATE).read_text("utf-8"))
            if state["made_from"] == self._made_from:
                self._finished = {
                    name: found
                    for name, found in state["finished"].items()
                    if all(
                        (self.folder / file).is_file() and file_entry(self.folder / file) == entry
                        for file, entry in found["files"].items()
                    )
                }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._finished = {}
        kept = {file for found in self._finished.values() for file in found["files"]}
        for path in self.folder.iterdir():
            if path.name not in kept:
                path.unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            import fcntl
        except ImportError:  # Windows has no such locks
            yield
            return
        handle = os.open(self.place, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ExportError(
                    f"{self.place}: another export is writing there; wait for it, or name another folder"
                ) from None
            yield
        finally:
            os.close(handle)
