"""python -m g4v.export: turns a training run into a bundle."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

_DESCRIPTION = """\
Writes a bundle (a directory with g4v.json, ONNX graphs and their weights) from a training run: merges the
LoRA adapter, rewrites the abstractor, builds the graphs, and compares each one with PyTorch in float64 while
it is written (a relative error above 1e-4 stops the export). Nothing appears at --out unless all of it is
right, and the same run always gives the same files (but for engines)."""

_EPILOG = """\
a run has these parts (encoder and abstractor may be missing, and so may adapter, frame_checker and t2v):
  g4v_train.json   name, assistant, description, prompt, frames, generation, licences, provenance
  encoder/         CLIPVisionModel or the mPLUG-Owl video tower
  abstractor/      config.json, model.safetensors
  frame_checker/   config.json, model.safetensors
  llm/             LlamaForCausalLM with its tokenizer
  adapter/         a PEFT LoRA folder, merged into llm
  t2v/             a diffusers text-to-video folder (UNet3DConditionModel, AutoencoderKL, CLIPTextModel)

examples:
  python -m g4v.export --preset tiny --checkpoint runs/tiny --out bundles/tiny
  python -m g4v.export --preset small --llm SmolLM2-135M-Instruct.gguf --out bundles/small
  python -m g4v.export --checkpoint runs/mine --llm llama.gguf --adapter lora --adapter style=0.5 --out mine

exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong usage"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m g4v.export",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    from g4v.model.config import PRESETS

    parser.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help="the name that the bundle bears (default: the run's own); all sizes are those of the run",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="RUN",
        help="the training run's directory (default in a clone of the repository: the preset's own weights)",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="the bundle's directory")
    parts = parser.add_argument_group(
        "parts in place of the run's", "X is a folder or a hub name; the network is used for hub names alone"
    )
    parts.add_argument("--llm", metavar="X", help="LlamaForCausalLM, or a GGUF file")
    parts.add_argument(
        "--adapter",
        metavar="A",
        action="append",
        help="PEFT LoRA folder, or FOLDER=WEIGHT; several add up; none leaves the run's adapter",
    )
    parts.add_argument("--vision", metavar="X", help="CLIPVisionModel, or a g4v encoder")
    parts.add_argument("--t2v", metavar="X", help="diffusers text-to-video pipeline")
    video = parser.add_argument_group(
        "videos that are made",
        "defaults of the bundle, and the most frames and the one size that engines take",
    )
    video.add_argument("--frames", type=int, metavar="N", help="of a video (default: the run's)")
    video.add_argument("--video-size", metavar="WxH", help="in pixels (default: the run's)")
    parser.add_argument(
        "--precision",
        action="append",
        metavar="P",
        help="fp32, fp16 or bf16 (neither on the CPU), bf16x2 (encoder and abstractor on the CPU: products "
        "with 16 of float32's 24 bits, where there is AMX), int8 or int4 (weights alone, the decoder's), fp8 "
        "(engines of encoder and UNet), or COMPONENT=P; encoder=int8, abstractor=int8 and unet=int8 round "
        "activations, too (on the CPU alone), and fp8 is for other engines by name; repeatable (default: "
        "fp32 for the CPU, fp16 for all else)",
    )
    parser.add_argument(
        "--target",
        action="append",
        metavar="T",
        help="cpu, cuda (ONNX Runtime's CUDA provider), tensorrt-rtx (engines for NVIDIA GPUs; none is "
        "needed to build them) or tensorrt (engines for the GPU that builds them); repeatable: the bundle "
        "then has a variant for each (default: cpu)",
    )
    engines = parser.add_argument_group(
        "engines",
        "of targets tensorrt-rtx and tensorrt; those of encoder, UNet and autoencoder differ in some bytes "
        "from build to build",
    )
    engines.add_argument(
        "--compute-capability",
        metavar="CC",
        action="append",
        help="of the GPUs to build for, repeatable: 8.6, 8.9, 12.0 or 12.1 for tensorrt-rtx (default: one "
        "engine for all of them); 8.0+ for tensorrt (default: the GPU at hand)",
    )
    engines.add_argument(
        "--builder-optimization-level",
        type=int,
        metavar="0-5",
        help="more takes longer to build and may run faster (default: the library's, 3)",
    )
    engines.add_argument(
        "--workspace", type=int, metavar="MIB", help="scratch memory on the GPU at most (default: no limit)"
    )
    engines.add_argument(
        "--timing-cache",
        metavar="FILE",
        help="where tensorrt keeps its measurements: later builds on the same GPU are faster and choose the "
        "same (without it, two exports for tensorrt may differ)",
    )
    parser.add_argument(
        "--compact",
        action="store_true",
        help="store weights as float16 where that is exact; they are widened when the bundle is loaded",
    )
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        help="text that int8 and int4 weights are fitted to; own: text that the language model writes itself "
        "(the default up to 1 billion weights); none: each weight to the nearest code (the default above)",
    )
    parser.add_argument(
        "--calibration-video",
        metavar="FILE",
        action="append",
        help="video that graphs are compared, their ranges measured and 8-bit products fitted on; repeatable "
        "(default: a few drawn clips)",
    )
    parser.add_argument("--force", action="store_true", help="replace a bundle that exists at --out")
    parser.add_argument(
        "--component",
        action="append",
        metavar="C",
        help="export this component alone (repeatable); with --force a bundle at --out keeps its others",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="write nothing: check the bundle at --out (files against their hashes, graphs against RUN)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="write nothing: say how much disk, memory and time it and a run will take, and what is missing",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    packaged = resources.files("g4v") / "checkpoints" / str(options.preset)
    if options.checkpoint is None and not packaged.is_dir():
        parser.error(
            "--checkpoint is needed: this installation has no weights of the preset (those of tiny and small "
            "are in python/g4v/checkpoints of a clone of the repository)"
        )

    from g4v.errors import Error
    from g4v.export.progress import ProgressLine, quieten

    progress = ProgressLine(options.quiet)

    def report(line: str) -> None:
        progress.clear()
        if not options.quiet:
            print(line, file=sys.stderr, flush=True)

    def fail(line: object) -> int:
        progress.clear()
        print(f"g4v.export: {line}", file=sys.stderr)
        return 1

    # PyTorch then asks for huge pages: an export goes through many times the memory that it holds at once.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # Threads that wait for each other sleep: on a machine with other work to do, waiting awake made the first
    # product of a 7B model take minutes instead of seconds.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        quieten()
        from g4v.export.bundle.export import export_bundle, verify_bundle
        from g4v.export.checkpoint.lora import Adapter
        from g4v.export.checkpoint.overrides import Sources, parse_size
        from g4v.export.components.precision import parse_precisions, parse_targets
        from g4v.export.engines.options import EngineOptions

        adapters = None if options.adapter is None else [Adapter.parse(text) for text in options.adapter]
        size_named = None if options.video_size is None else parse_size(options.video_size)
        parts = (options.llm, adapters, options.vision, options.t2v)
        sources = Sources(*parts, options.frames, size_named)
        engines = EngineOptions.parse(
            options.compute_capability,
            options.builder_optimization_level,
            options.workspace,
            options.timing_cache,
        )
        engines.check(options.target or ())
        engines.check_precisions(
            parse_precisions(options.precision or (), parse_targets(options.target or ()))
        )
        run = options.checkpoint or str(packaged)
        if options.verify:
            verify_bundle(run, options.out, report, sources, options.calibration_video or ())
            report(f"{options.out}: right")
            return 0
        if options.dry_run:
            return _plan(run, sources, options)
        manifest = export_bundle(
            run,
            options.out,
            name=options.preset,
            precision=options.precision or (),
            targets=options.target or (),
            compact=options.compact,
            calibration=options.calibration,
            force=options.force,
            only=options.component,
            sources=sources,
            videos=options.calibration_video or (),
            engines=engines,
            report=report,
            progress=progress,
        )
        size = sum(entry["bytes"] for entry in manifest["files"].values()) / 1e6
        report(f"{options.out}: {len(manifest['files']) + 1} files, {size:.1f} MB")
        return 0
    except Error as error:
        return fail(error)
    except OSError as error:  # such as a disk that became full
        return fail(f"{error.filename or options.out}: {error.strerror or error}")
    except ImportError as error:
        return fail(f'{error}; install the extra: pip install "g4v[export]"')
    except KeyboardInterrupt:
        from g4v.export.bundle.resume import partial_folder

        partial = partial_folder(Path(options.out))
        rest = f"; the same command goes on with what is done in {partial}" if partial.exists() else ""
        return fail(f"cancelled{rest}")


def _plan(run: str, sources: Any, options: argparse.Namespace) -> int:
    from g4v.export.bundle.export import check_place
    from g4v.export.checkpoint.run import Checkpoint
    from g4v.export.components.precision import parse_precisions, parse_targets
    from g4v.export.errors import ExportError
    from g4v.export.plan.export_estimate import describe_plan, missing_packages, plan_export
    from g4v.export.plan.runtime_estimate import describe_run
    from g4v.export.quantisation.calibration import calibration_files
    from g4v.export.verify.sample_clips import check_videos

    check_videos(options.calibration_video or ())
    calibration_files(options.calibration)
    precisions = parse_precisions(options.precision or (), parse_targets(options.target or ()))
    checkpoint = Checkpoint.open(run, sources)
    needs = plan_export(checkpoint, precisions, options.component, options.calibration)
    lines, missing = describe_plan(needs, Path(options.out))
    lines += describe_run(checkpoint, needs)
    missing += missing_packages(precisions, needs)
    try:
        check_place(Path(options.out), options.force)
    except ExportError as error:
        missing.append(str(error))
    print("\n".join(lines))
    for line in missing:
        print(f"g4v.export: missing: {line}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
