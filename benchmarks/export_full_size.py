"""What does it take to export the encoder, the abstractor and the text-to-video model at their real sizes?

    python benchmarks/export_full_size.py [PART ...] [--target cpu|tensorrt-rtx] [--precision fp32|fp16|int8]
        [--t2v DIR] [--work DIR] [--json FILE]

Writes a training run of the 7B preset without its language model's layers: ViT-L/14 as the video tower, the
abstractor, and text encoder, UNet (1.41 billion weights) and VAE of ZeroScope, with random float16 weights
whose activations keep their size. Each part is then exported with `python -m g4v.export` in a process of its
own, for the CPU or as an engine of TensorRT for RTX, which is built without a GPU. Measured: error of the
graph against PyTorch in float64 (the largest difference over the largest value), the process's peak resident
memory, which counts mapped files, its time, and what `--dry-run` estimated. Inputs: clips of 1, 2 and 8
frames for encoder and abstractor; two texts; one denoising step on latents of 8x8 for 2 videos of 4 frames
and on 8x12 for one frame; 3 latents of 8x8 for the VAE; and real inputs (g4v.export.verify.samples), whose
error is the norm of the difference over that of the result. With --t2v the parts are those of another
text-to-video model, such as random_video_model.py writes. With --json the parts are added to those in FILE.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from g4v._console import machine
from g4v._files import read_json, write_json

PARTS = ("encoder", "abstractor", "text_encoder", "vae_decoder", "unet", "transformer")
ZEROSCOPE = PARTS[:5]
OTHER = ("text_encoder", "vae_decoder", "transformer")  # of a model with a video transformer
_MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stderr=subprocess.PIPE, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss * 1024, used.ru_utime + used.ru_stime)
sys.stderr.write(done.stderr)
sys.exit(done.returncode)
"""
_SIZES = {"width": 576, "height": 320, "frames": 8}  # of the videos that an engine is built for


def write_run(run: Path) -> None:
    """A run of the 7B preset, its language model cut down to one narrow layer."""
    import torch
    from diffusers import AutoencoderKL, UNet3DConditionModel
    from transformers import CLIPTextModel

    from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint
    from g4v.model.abstractor import VideoAbstractor
    from g4v.model.presets import PRESETS
    from g4v.model.vision import build_encoder

    real = PRESETS["gpt4video-7b"]
    write_random_checkpoint(run, replace(PRESETS["tiny"], frames=real.frames))
    shutil.rmtree(run / "frame_checker")  # it goes with tiny's encoder
    t2v = run / "t2v"
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    makers = {
        run / "encoder": lambda: build_encoder(real.encoder_config()),
        run / "abstractor": lambda: VideoAbstractor(real.abstractor),
        t2v / "text_encoder": lambda: CLIPTextModel(real.text_config(49408, **tokens)),
        t2v / "unet": lambda: UNet3DConditionModel(**real.unet),
        t2v / "vae": lambda: AutoencoderKL(**real.vae),
    }
    for folder, make in makers.items():
        shutil.rmtree(folder)
        with torch.device("meta"):
            module: Any = make()
        module = module.half().to_empty(device="cpu")
        for name, buffer in module.named_buffers():  # of the text encoder, which no checkpoint holds
            assert name.endswith("position_ids"), name
            buffer.copy_(torch.arange(buffer.numel()).view_as(buffer))
        draw_weights(module)
        if folder.name == "abstractor":
            module.save_pretrained(folder, torch.float16)
        else:
            module.save_pretrained(folder)
    about = read_json(run / "g4v_train.json")
    about["generation"]["video"].update(_SIZES)
    write_json(run / "g4v_train.json", about)


def draw_weights(module: Any) -> None:
    """Norms near 1, and matrices that keep the size of what they multiply."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            fan_in = weight[0].numel() if weight.ndim > 1 else 1
            spread = 0.02 if weight.ndim == 1 or "embed" in name else fan_in**-0.5
            weight.normal_(0, spread, generator=generator)
            if weight.ndim == 1 and name.endswith("weight"):
                weight.add_(1)


def export(model: list[str], out: Path, part: str, target: str, precision: str | None) -> dict[str, Any]:
    """model: words that name the checkpoint."""
    words = [sys.executable, "-m", "g4v.export", *model, "--out", str(out)]
    words += ["--component", part, "--target", target]
    words += ["--precision", f"{part}={precision}"] if precision else []
    plan = subprocess.run([*words, "--dry-run"], stdout=subprocess.PIPE, text=True).stdout.splitlines()
    start = time.monotonic()
    # The system tells the peak of the largest child so far: each export has a parent of its own.
    process = subprocess.run([sys.executable, "-c", _MEASURE, *words], capture_output=True, text=True)
    seconds = time.monotonic() - start
    if process.returncode:
        raise SystemExit(process.stderr)
    peak, cpu_seconds = process.stdout.split()[-2:]
    (component,) = read_json(out / "report.json")["components"]
    return {
        "part": part,
        "target": target,
        "precision": component["precision"],
        "weights": component["weights"],
        "relative_error": component["relative_error"],
        "real_error": component["real_error"],
        "largest_of_float16": max(component["largest"].values()) / 65504,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(float(cpu_seconds), 1),  # other work on the machine changes it less
        # The exporter resets the system's measurement of the peak at every step.
        "peak_bytes": max(int(peak), component["peak_bytes"] or 0),
        "bytes": component["bytes"],
        "steps": component["steps"],
        "planned": [line for line in plan if line.startswith((part, "memory of the export", "time"))],
    }


def add_rows(path: Path, found: dict[str, Any], name: str, keys: tuple[str, ...]) -> None:
    """Adds the rows found[name] to those of the JSON file; rows of the same `keys` are replaced."""
    if path.exists():
        new = [tuple(row.get(key) for key in keys) for row in found[name]]
        before = read_json(path)[name]
        found[name] = [row for row in before if tuple(row.get(key) for key in keys) not in new] + found[name]
    write_json(path, found, indent=1)


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all of the model)"
    )
    parser.add_argument("--target", default="cpu", choices=["cpu", "tensorrt-rtx"])
    parser.add_argument("--precision", choices=["fp32", "fp16", "int8"], help="default: the target's own")
    parser.add_argument("--t2v", type=Path, help="a text-to-video model in place of ZeroScope")
    parser.add_argument("--work", type=Path, help="a folder with room for run (5 GB) and bundle")
    parser.add_argument("--run", type=Path, help="keep the run here, and use it if it is there")
    parser.add_argument("--json", type=Path, help="also write the numbers into this file")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_run(options.write)
        return 0
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"{part!r} is none of {', '.join(PARTS)}")
    work = Path(tempfile.mkdtemp(dir=options.work))
    rows = []
    try:
        run = options.run or work / "run"
        if not options.t2v and not (run / "g4v_train.json").exists():
            # In a process of its own, whose memory it gives back.
            subprocess.run([sys.executable, __file__, "--write", str(run)], check=True)
        model = ["--t2v", str(options.t2v)] if options.t2v else ["--checkpoint", str(run)]
        name = options.t2v.name if options.t2v else "zeroscope"
        for part in options.parts or (OTHER if options.t2v else ZEROSCOPE):
            row = {"model": name} | export(model, work / part, part, options.target, options.precision)
            shutil.rmtree(work / part)
            print(json.dumps(row), flush=True)
            rows.append({**row, "load_average": machine()["load_average"]})
    finally:
        shutil.rmtree(work)
    found = {"machine": machine(), "exports": rows}
    if options.json:
        add_rows(options.json, found, "exports", ("model", "part", "target", "precision"))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
