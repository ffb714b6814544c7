"""Resumes an export that was stopped, from the folder `.NAME.partial` beside the bundle.

    .NAME.partial/bundle/         the files that are written so far
    .NAME.partial/finished.json   a fingerprint of what they were made from, and the components that are done

Only an export of the same files with the same settings resumes it; others start anew.
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

from g4v._files import write_json
from g4v.export.bundle.manifest import file_entry
from g4v.export.errors import ExportError
from g4v.export.report.component_report import ComponentReport

_STATE = "finished.json"


def fingerprint(inputs: Iterable[Path], settings: Mapping[str, Any]) -> str:
    """Returns a SHA-256 of the settings, and of names, sizes and times of change of all input files.

    inputs: files, and folders of which all files count. settings: JSON values.
    """
    seen = []
    for place in inputs:
        files = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
        for file in files:
            status = file.stat()
            seen.append((str(file.absolute()), status.st_size, status.st_mtime_ns))
    text = json.dumps([seen, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def partial_folder(out: Path) -> Path:
    """Returns the folder of an unfinished export to `out`, whether or not there is one."""
    out = out.absolute()
    return out.with_name(f".{out.name}.partial")


class ResumableExport:
    """The folder in which a bundle is written, and the components that are finished in it.

    out: the bundle's place.
    made_from: `fingerprint` of what the bundle is made from.
    folder: attribute, where the bundle's files are written.
    """

    def __init__(self, out: Path, made_from: str) -> None:
        self.place = partial_folder(out)
        self.folder = self.place / "bundle"
        self._made_from = made_from
        self._finished: dict[str, dict[str, Any]] = {}

    @contextmanager
    def open(self) -> Iterator[None]:
        """A context in which the folder exists and belongs to this export.

        After Ctrl-C or a kill the folder stays if a component is finished; after every other end it is
        removed. ExportError: another export is writing in it.
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

    def finished(self, name: str) -> tuple[dict[str, Any], list[ComponentReport]] | None:
        """Returns the manifest's entry and the reports of a finished component; None for others."""
        found = self._finished.get(name)
        if found is None:
            return None
        return found["component"], [ComponentReport(**report) for report in found["reports"]]

    def finish(
        self, name: str, component: dict[str, Any], reports: Iterable[ComponentReport], files: Iterable[str]
    ) -> None:
        """Records that a component is finished, with its manifest's entry, its reports and its files."""
        entries = {file: file_entry(self.folder / file) for file in files}
        self._finished[name] = {
            "component": component,
            "reports": [asdict(report) for report in reports],
            "files": entries,
        }
        state = {"made_from": self._made_from, "finished": self._finished}
        write_json(self.place / _STATE, state, ExportError, indent=None)

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
