"""Exports a run as a bundle, whole or not at all, and checks bundles."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from g4v.export.bundle.merge import MANIFEST, read_manifest
from g4v.export.bundle.resume import Unfinished, file_entry, fingerprint
from g4v.export.bundle.writer import BundleWriter, Progress, Report
from g4v.export.checkpoint.overrides import NONE, Sources
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.catalog import components_of
from g4v.export.components.precision import parse_precisions, parse_targets
from g4v.export.engines.options import NO_OPTIONS, EngineOptions
from g4v.export.engines.tensorrt import ENGINES, load_library
from g4v.export.errors import ExportError
from g4v.export.plan.export_estimate import check_disk, existing, plan_export
from g4v.export.quantisation.calibration import calibration_files
from g4v.export.report.report import package_versions
from g4v.export.verify.samples import Samples


def export_bundle(
    run: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    precision: str | Sequence[str] = (),
    targets: Sequence[str] = (),
    compact: bool = False,
    calibration: str | None = None,
    force: bool = False,
    only: Collection[str] | None = None,
    sources: Sources = NONE,
    videos: Sequence[str | Path] = (),
    engines: EngineOptions = NO_OPTIONS,
    report: Report = lambda line: None,
    progress: Progress = lambda component, share: None,
) -> dict[str, Any]:
    """Exports the training run `run` as the bundle `out`; returns its manifest.

    name: the manifest's name, by default the run's own. precision: such as "int4" for all components that
    can be written so, or words such as "decoder=int8"; targets: such as "tensorrt-rtx", by default the CPU
    alone (both: g4v.export.components.precision). compact: store weights as
    float16 where that is exact (g4v.export.passes.store_as_float16). calibration: what rounded weights are fitted to: a text
    file, "own" or "none" (g4v.export.quantisation.calibration). force: replace a bundle that exists. only: components to
    export; a bundle that exists keeps its others. sources: parts that take the place of the run's. videos:
    files that real inputs are made from, by default drawn clips (g4v.export.verify.samples). engines: how engines
    are built. report: called with one line per part. progress: called with the component at work and the
    share of everything that is done. ExportError, before anything appears at `out`, if the run is incomplete
    or inconsistent, if a graph differs from PyTorch by more than `verify.TOLERANCE`, if the disk is too
    small, or if `out` exists. The same run gives the same bytes, engines excepted. After a KeyboardInterrupt
    the same call goes on from the components that are whole (g4v.export.bundle.resume).
    """
    precisions = parse_precisions(precision, parse_targets(targets))
    engines.check(targets)
    engines.check_precisions(precisions)
    for target in {target for variants in precisions.values() for target in variants if target in ENGINES}:
        load_library(ENGINES[target])
    out = Path(out).absolute()
    check_place(out, force)
    checkpoint = Checkpoint.open(run, sources)
    samples = Samples(checkpoint, videos)
    old = read_manifest(out) if only is not None and (out / MANIFEST).exists() else None
    needs = plan_export(checkpoint, precisions, only, calibration)
    check_disk(needs, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    settings = {
        "precisions": precisions,
        "compact": compact,
        "calibration": calibration,
        "only": sorted(only or ()),
        "adapters": [adapter.weight for adapter in checkpoint.adapters],
        "video": [sources.frames, sources.video_size],
        "engines": repr(engines),
        "packages": package_versions(),
    }
    files = [*checkpoint.files(), *calibration_files(calibration), *map(Path, videos)]
    unfinished = Unfinished(out, fingerprint(files, settings))
    with unfinished.open():
        writer = BundleWriter(
            checkpoint,
            unfinished,
            precisions,
            compact,
            calibration,
            needs,
            samples,
            report,
            progress,
            engines,
        )
        manifest = writer.write(name or checkpoint.about["name"])
        if old is not None:
            manifest = writer.add_rest(manifest, old, out, name is not None)
        writer.save(manifest)
        _replace(unfinished.folder, out)
    return manifest


def verify_bundle(
    run: str | Path,
    out: str | Path,
    report: Report = lambda line: None,
    sources: Sources = NONE,
    videos: Sequence[str | Path] = (),
) -> dict[str, float]:
    """Checks the files of a bundle against its manifest, and its graphs against the run (and the sources)
    that it was exported from, on random inputs and on the real ones of the export (videos: the files that
    these were made from, where they were not drawn).

    Returns the relative error of every component, and of its variant for CUDA as "unet (cuda)": the larger of
    both. ExportError names the first file or component that is wrong, or a video that is another.
    """
    out = Path(out)
    manifest = read_manifest(out)
    listed = manifest["files"]
    for path, entry in listed.items():
        if not (out / path).is_file() or file_entry(out / path) != entry:
            raise ExportError(f"{out / path}: is missing or damaged: size or SHA-256 differ from {MANIFEST}")
    checkpoint = Checkpoint.open(run, sources)
    used = manifest["provenance"].get("samples", {})
    drawn, filmed = Samples(checkpoint), Samples(checkpoint, videos)
    _check_videos(used, filmed.about.get("videos", []))
    errors = {}
    written = manifest["components"]
    precisions = parse_precisions(())
    for name, component in written.items():
        precisions[name] = {v["target"]: v["precision"] for v in component["variants"]}
    parts = {part.name: part for part in components_of(checkpoint, precisions)}
    for name in written:
        if name not in parts:
            raise ExportError(f"{out}: has {name}, and {run} has not: name the run that it was exported from")
    for name, part in parts.items():
        if name not in written:
            continue
        for target in part.variants:
            label = name if target == "cpu" else f"{name} ({target})"
            if target in ENGINES:
                report(f"{label}: its files are whole; engines run on GPUs alone")
                continue
            # A module that was compared is in float64.
            samples = filmed if "videos" in used.get(name, {}) else drawn
            feeds = samples.feeds(name) if name in used else ()
            module = part.load()
            for key, value in part.describe(module).items():
                there = written[name].get(key)
                if there != value:
                    raise ExportError(
                        f"{out}: {name}.{key} is {there}, and that of {run} is {value}: name the run that it "
                        "was exported from"
                    )
            found = part.compare(module, out, target, feeds)
            errors[label] = max(found.exact, found.real or 0.0)
            real = "" if found.real is None else f" ({found.real:.1e} on real inputs)"
            report(f"{label}: relative error {found.exact:.1e}{real}")
    return errors


def _check_videos(used: dict[str, Any], given: list[dict[str, Any]]) -> None:
    """ExportError where a component was compared on other videos than are given. used: of each component."""
    for name, samples in used.items():
        if samples.get("videos", given) != given:
            named = ", ".join(video["file"] for video in samples["videos"])
            raise ExportError(f"{name} was compared on {named}: name the same with --calibration-video")


def check_place(out: Path, force: bool) -> None:
    """ExportError if no bundle can be put at `out`, or none without `force`."""
    above = existing(out.absolute().parent)
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


def _replace(temporary: Path, out: Path) -> None:
    """Puts the finished folder in place of `out`."""
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    if out.exists():
        out.rename(old)
    try:
        temporary.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
