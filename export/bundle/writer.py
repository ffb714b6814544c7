"""Writes the files of a bundle into a folder: components, tokenizers, g4v.json and the report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from g4v._files import write_json
from g4v.export.bundle.component_writer import ComponentWriter
from g4v.export.bundle.manifest import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    check_fit,
    file_entry,
    generation_section,
    provenance_section,
)
from g4v.export.bundle.merge import keep_components, merge_manifests
from g4v.export.bundle.resume import ResumableExport
from g4v.export.bundle.tokenizers import check_vocabularies, write_tokenizers
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.checkpoint.video_lora import PARTS
from g4v.export.components.catalog import components_of
from g4v.export.components.precision import Precisions
from g4v.export.engines.options import NO_OPTIONS, EngineOptions
from g4v.export.errors import ExportError
from g4v.export.plan.export_estimate import ExportEstimate
from g4v.export.report.component_report import ComponentReport
from g4v.export.report.report import read_components, write_report
from g4v.export.verify.samples import Samples

Report = Callable[[str], None]
"""Takes a line for a person."""
Progress = Callable[[str, float], None]
"""Takes the component at work and the share of the whole export that is done, 0 to 1."""


class BundleWriter:
    """Writes a bundle, or some components of it, into the folder of a resumable export.

    checkpoint: the run.
    resumable: has the folder, and the components that an earlier export has finished in it.
    precisions: variants of every component.
    store_as_float16: stores weights for the CPU as float16 where that is exact.
    calibration: of quantised weights, as in `quantisation.calibration.calibrate`.
    estimates: of the components to write; others are left out.
    samples: real inputs.
    report, progress: callbacks.
    engines: options of engines.
    decoder_graph: False: the decoder's packed weights are kept without its graph.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        resumable: ResumableExport,
        precisions: Precisions,
        store_as_float16: bool,
        calibration: str | None,
        estimates: Sequence[ExportEstimate],
        samples: Samples,
        report: Report,
        progress: Progress,
        engines: EngineOptions = NO_OPTIONS,
        decoder_graph: bool = True,
    ) -> None:
        self.checkpoint, self.resumable, self.folder = checkpoint, resumable, resumable.folder
        self.precisions, self.calibration = precisions, calibration
        self.estimates = {estimate.name: estimate for estimate in estimates}
        self.report, self.progress = report, progress
        self.reports: list[ComponentReport] = []
        self._components = ComponentWriter(
            self.folder, self.estimates, samples, engines, store_as_float16, decoder_graph, report
        )
        self._at_work = ""

    def write(self, name: str) -> dict[str, Any]:
        """Writes components and tokenizers, and returns the manifest of a bundle of this name.

        ExportError: a component cannot be exported, or components do not fit together.
        """
        about = self.checkpoint.about
        check_vocabularies(self.checkpoint, self.estimates)
        components = self._write_components()
        check_fit(components)
        tokenizers = write_tokenizers(self.checkpoint, self.folder, components)
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": name,
            "assistant": about["assistant"],
            "description": about["description"],
            "created_by": f"g4v {package_version()}",
            "files": self._files(),
            "components": components,
            "tokenizers": tokenizers,
            "generation": generation_section(self.checkpoint, components),
            "licences": about["licences"],
            "provenance": provenance_section(about["provenance"], self.reports) | self._loras(components),
        }
        if "decoder" in components:
            manifest["prompt"] = self.checkpoint.prompt.to_manifest()
        if "encoder" in components:
            manifest["frame_sampling"] = self.checkpoint.frame_sampling()
        return manifest

    def _loras(self, components: Collection[str]) -> dict[str, Any]:
        """Returns "video_loras" of "provenance", where some were merged."""
        found = {part: self.checkpoint.merged_video_loras(part) for part in PARTS if part in components}
        merged = {part: files for part, files in found.items() if files}
        return {"video_loras": merged} if merged else {}

    def merge(self, manifest: dict[str, Any], old: dict[str, Any], out: Path, named: bool) -> dict[str, Any]:
        """Adds those components of the bundle `out` that were not written anew; returns the whole manifest.

        manifest: of `write`. old: the manifest of `out`. named: the user has given the bundle's name.
        ExportError: a file of `out` is missing, or components do not fit together.
        """
        kept = keep_components(old, out, self.folder, set(self.estimates))
        whole = merge_manifests(old, manifest, kept, named)
        whole["files"] = self._files()
        check_fit(whole["components"])
        written = {report.name for report in self.reports}
        before = [report for report in read_components(out) if report.name not in written]
        self.reports = before + self.reports
        return whole

    def save(self, manifest: dict[str, Any]) -> None:
        """Writes g4v.json and the report. ExportError: they cannot be written."""
        write_json(self.folder / MANIFEST, manifest, ExportError, indent=1)
        write_report(self.folder, manifest["name"], self.reports)

    def _files(self) -> dict[str, Any]:
        return {path.name: file_entry(path) for path in sorted(self.folder.iterdir())}

    def _write_components(self) -> dict[str, Any]:
        every = components_of(self.checkpoint, self.precisions, self._update, self.calibration)
        chosen = [component for component in every if component.name in self.estimates]
        entries: dict[str, Any] = {}
        for index, component in enumerate(chosen, 1):
            name = component.name
            position = f"[{index}/{len(chosen)}] {name}"
            finished = self.resumable.finished(name)
            if finished is not None:
                entries[name], reports = finished
                self.reports += reports
                self.report(f"{position}: is there already")
                continue
            self._at_work = name
            self._update(0)
            entries[name], reports, files = self._components.write(component, position)
            self.reports += reports
            self.resumable.finish(name, entries[name], reports, files)
        return entries

    def _update(self, share: float) -> None:
        """Tells the progress when `share` of the component at work is done."""
        names = {report.name for report in self.reports}
        done = sum(self.estimates[name].seconds for name in names)
        done += share * self.estimates[self._at_work].seconds
        total = sum(estimate.seconds for estimate in self.estimates.values())
        self.progress(self._at_work, done / total)


def package_version() -> str:
    """Returns the version of the installed package g4v."""
    try:
        return version("g4v")
    except PackageNotFoundError:  # run from a source tree
        return "0.1.0"
