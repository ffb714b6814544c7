"""Exports a training run as a bundle, whole or not at all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from g4v._files import replace_folder
from g4v._memory import memory_errors
from g4v.export.bundle.manifest import MANIFEST, read_manifest
from g4v.export.bundle.place import check_place
from g4v.export.bundle.resume import ResumableExport, fingerprint
from g4v.export.bundle.writer import BundleWriter, Progress, Report
from g4v.export.checkpoint.overrides import NO_OVERRIDES, Overrides
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.checkpoint.text_to_video import check_weights
from g4v.export.components.precision import check_packed_alone, parse_precisions, parse_targets
from g4v.export.engines.options import NO_OPTIONS, EngineOptions
from g4v.export.engines.tensorrt import ENGINES, load_library
from g4v.export.plan.context import check_system
from g4v.export.plan.disk import check_disk
from g4v.export.plan.export_estimate import estimate_export
from g4v.export.quantisation.calibration import calibration_files
from g4v.export.report.report import package_versions
from g4v.export.verify.samples import Samples


@memory_errors("the export")
def export_bundle(
    run: str | Path | None,
    out: str | Path,
    *,
    name: str | None = None,
    precision: str | Sequence[str] = (),
    targets: Sequence[str] = (),
    store_as_float16: bool = False,
    calibration: str | None = None,
    force: bool = False,
    only: Collection[str] | None = None,
    overrides: Overrides = NO_OVERRIDES,
    videos: Sequence[str | Path] = (),
    engines: EngineOptions = NO_OPTIONS,
    decoder_graph: bool = True,
    report: Report = lambda line: None,
    progress: Progress = lambda component, share: None,
) -> dict[str, Any]:
    """Exports the training run `run` as the bundle `out` and returns the bundle's manifest.

    run: a training run, a published checkpoint, or None (`Checkpoint.open`).
    out: the bundle's folder.
    name: of the bundle; by default the run's own.
    precision: such as "int4" for all components that can be written so, or words such as "decoder=int8".
    targets: such as "cuda" or "tensorrt-rtx"; by default the CPU. Both are described in
        g4v.export.components.precision.
    store_as_float16: stores weights for the CPU as float16 where that is exact.
    calibration: text for GPTQ: a file, "own" or "none" (g4v.export.quantisation.calibration).
    force: replaces a bundle that exists.
    only: components to export; a bundle that exists keeps its others. By default all.
    overrides: parts and settings in place of the run's.
    videos: files from which real inputs are made; by default drawn clips (g4v.export.verify.samples).
    engines: options of building engines.
    decoder_graph: False: the decoder's graph is made and compared, and then not kept: the bundle has the
        packed weights alone, which the core runs on the CPU. For bundles of the target "cpu" alone.
    report: called with each line for a person.
    progress: called with the component at work and the share of the whole export that is done, 0 to 1.

    ExportError: the run is incomplete or inconsistent, a graph differs from PyTorch by more than its
    tolerance, the disk is too small, or `out` exists. MemoryError: there is not enough memory. Nothing then
    appears at `out`.

    The same run gives the same bytes, except for engines. After a KeyboardInterrupt the same call resumes
    behind the components that are finished (g4v.export.bundle.resume).
    """
    precisions = parse_precisions(precision, parse_targets(targets))
    engines.check(targets)
    engines.check_precisions(precisions)
    if not decoder_graph:
        check_packed_alone(precisions, only)
    for target in {target for variants in precisions.values() for target in variants if target in ENGINES}:
        load_library(ENGINES[target])
    out = Path(out).absolute()
    check_place(out, force)
    checkpoint = Checkpoint.open(run, overrides)
    checkpoint.require_weights()
    for note in checkpoint.notes:
        report(f"{checkpoint.run}: {note}")
    samples = Samples(checkpoint, videos)
    old = read_manifest(out) if only is not None and (out / MANIFEST).exists() else None
    if checkpoint.has("t2v"):
        check_weights(checkpoint.parts["t2v"], checkpoint.variant)
    if only is None or "decoder" in only:
        check_system(checkpoint)
    estimates = estimate_export(checkpoint, precisions, only, calibration, decoder_graph)
    check_disk(estimates, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    settings = {
        "precisions": precisions,
        "store_as_float16": store_as_float16,
        "calibration": calibration,
        "only": sorted(only or ()),
        "adapters": [adapter.weight for adapter in checkpoint.adapters],
        "video": [overrides.frames, overrides.video_size],
        "system": overrides.system,
        "template": overrides.template,
        "variant": overrides.variant,
        "video_to_video": overrides.video_to_video,
        "video_loras": [lora.weight for lora in checkpoint.video_loras],
        "engines": repr(engines),
        "decoder_graph": decoder_graph,
        "packages": package_versions(),
    }
    files = [*checkpoint.files(), *calibration_files(calibration), *map(Path, videos)]
    resumable = ResumableExport(out, fingerprint(files, settings))
    with resumable.open():
        writer = BundleWriter(
            checkpoint,
            resumable,
            precisions,
            store_as_float16,
            calibration,
            estimates,
            samples,
            report,
            progress,
            engines,
            decoder_graph,
        )
        manifest = writer.write(name or checkpoint.about["name"])
        if old is not None:
            manifest = writer.merge(manifest, old, out, name is not None)
        writer.save(manifest)
        replace_folder(resumable.folder, out)
    if "decoder" not in manifest["components"] and "video" in manifest["generation"]:
        report(f"{out}: makes videos and does not chat: g4v generate --bundle {out} CAPTION")
    return manifest
