"""python -m g4v.export: turns a training run into a bundle."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from g4v import _start
from g4v._command import run_program
from g4v._console import ProgressBar, report_error, write
from g4v._memory import memory_errors
from g4v.export.bundle.command_line import make_parser

if TYPE_CHECKING:
    from g4v.export.checkpoint.overrides import Overrides


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    base = options.base
    if base is None and options.preset is not None:
        packaged = resources.files("g4v") / "checkpoints" / options.preset
        if not packaged.is_dir():
            parser.error(
                f"--base is needed: this installation has no weights of {options.preset} (those of tiny and "
                "small are in python/g4v/checkpoints of a clone of the repository)"
            )
        base = str(packaged)
    if base is None and options.llm is None and options.t2v is None:
        parser.error("--base is needed: a run, or a published checkpoint (or --preset, or the parts alone)")

    from g4v.errors import Error

    bar = ProgressBar(quiet=options.quiet)

    def fail(line: object, code: int = 1) -> int:
        bar.clear()
        _print_error(line)
        return code

    # PyTorch then asks for huge pages: an export goes through many times the memory that it holds at once.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # Threads that wait for each other sleep: on a machine with other work to do, waiting awake made the first
    # product of a 7B model take minutes instead of seconds.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        with memory_errors("the export"):
            return _run(options, base, bar)
    except (Error, MemoryError) as error:
        return fail(error)
    except OSError as error:  # such as a disk that became full
        return fail(f"{error.filename or options.out}: {error.strerror or error}")
    except ImportError as error:
        return fail(f'{error}; install the extra: pip install "g4v[export]"')
    except KeyboardInterrupt:
        from g4v.export.bundle.resume import partial_folder

        partial = partial_folder(Path(options.out))
        rest = f"; the same command goes on with what is done in {partial}" if partial.exists() else ""
        return fail(f"interrupted{rest}", 130)


def _run(options: argparse.Namespace, run: str | None, bar: ProgressBar) -> int:
    with _start.importing():
        from g4v.export.checkpoint.libraries import quiet_libraries

        quiet_libraries()
        from g4v.export.bundle.export import export_bundle
        from g4v.export.bundle.verify import verify_bundle
        from g4v.export.checkpoint.overrides import Overrides, parse_adapters, parse_size, read_system
        from g4v.export.checkpoint.video_lora import VideoLora
        from g4v.export.components.precision import parse_precisions, parse_targets
        from g4v.export.engines.options import EngineOptions

    def report(line: str) -> None:
        bar.clear()
        if not options.quiet:
            write(sys.stderr, f"{line}\n")

    overrides = Overrides(
        llm=options.llm,
        adapters=None if options.adapter is None else parse_adapters(options.adapter),
        vision=options.vision,
        t2v=options.t2v,
        frames=options.frames,
        video_size=None if options.video_size is None else parse_size(options.video_size),
        system=None if options.system is None else read_system(options.system),
        template=options.template,
        variant=options.variant,
        mix=options.mix,
        video_to_video=options.video_to_video,
        video_loras=[VideoLora.parse(text) for text in options.video_lora or ()],
    )
    engines = EngineOptions.parse(
        options.compute_capability,
        options.builder_optimization_level,
        options.workspace,
        options.timing_cache,
    )
    engines.check(options.target or ())
    engines.check_precisions(parse_precisions(options.precision or (), parse_targets(options.target or ())))
    if options.verify:
        verify_bundle(run, options.out, report, overrides, options.calibration_video or ())
        report(f"{options.out}: right")
        return 0
    if options.dry_run:
        return _dry_run(run, overrides, options)
    manifest = export_bundle(
        run,
        options.out,
        name=options.preset,
        precision=options.precision or (),
        targets=options.target or (),
        store_as_float16=options.store_as_float16,
        calibration=options.calibration,
        force=options.force,
        only=options.component,
        overrides=overrides,
        videos=options.calibration_video or (),
        engines=engines,
        decoder_graph=options.decoder_graph,
        report=report,
        progress=lambda component, share: bar.update(share, component),
    )
    size = sum(entry["bytes"] for entry in manifest["files"].values()) / 1e6
    report(f"{options.out}: {len(manifest['files']) + 1} files, {size:.1f} MB")
    return 0


def _dry_run(run: str | None, overrides: Overrides, options: argparse.Namespace) -> int:
    """Prints what the export would need; 1 if something is missing."""
    from g4v.export.bundle.place import check_place
    from g4v.export.checkpoint.run import Checkpoint
    from g4v.export.components.precision import check_packed_alone, parse_precisions, parse_targets
    from g4v.export.errors import ExportError
    from g4v.export.plan.context import check_system
    from g4v.export.plan.dry_run import describe_export, missing_packages
    from g4v.export.plan.export_estimate import estimate_export
    from g4v.export.plan.runtime_estimate import describe_run
    from g4v.export.quantisation.calibration import calibration_files
    from g4v.export.verify.sample_clips import check_videos

    check_videos(options.calibration_video or ())
    calibration_files(options.calibration)
    precisions = parse_precisions(options.precision or (), parse_targets(options.target or ()))
    if not options.decoder_graph:
        check_packed_alone(precisions, options.component)
    checkpoint = Checkpoint.open(run, overrides, weights=False)
    if options.component is None or "decoder" in options.component:
        check_system(checkpoint)
    estimates = estimate_export(
        checkpoint, precisions, options.component, options.calibration, options.decoder_graph
    )
    lines, missing = describe_export(estimates, Path(options.out))
    lines += describe_run(checkpoint, estimates, options.decoder_graph)
    missing += missing_packages(precisions, estimates)
    try:
        check_place(Path(options.out), options.force)
    except ExportError as error:
        missing.append(str(error))
    write(sys.stdout, "\n".join(lines) + "\n")
    for line in missing:
        _print_error(f"missing: {line}")
    return 1 if missing else 0


def _print_error(line: object) -> None:
    report_error(str(line), "g4v.export")


if __name__ == "__main__":
    sys.exit(run_program(main, "g4v.export"))
