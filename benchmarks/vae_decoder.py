"""How fast does the VAE decoder on the CPU make frames, and in how much memory, beside diffusers?

    python benchmarks/vae_decoder.py [--size 576x320] [--frames 1] [--threads 2] [--rounds 5]
                                     [--json FILE]

An AutoencoderKL of ZeroScope's widths (128, 256, 512, 512; 49.5 million random weights in the decoder),
random latents, float32:

    g4v            the graph of our exporter, with g4v's convolutions
    ONNX Runtime   the same graph with ONNX Runtime's, which stand in where a processor has no vectors
    diffusers      AutoencoderKL.decode, eager

In one process, taking turns in every round: seconds by the clock and of the processor, their medians, and
how many times faster g4v is (median over the rounds). Each alone in a process of its own: peak resident
memory of the whole process. Beside them: the error of the first frame against diffusers in float64 (norm of
the difference over the norm), and how many operations of the formula are made each second of the processor,
as a share of the peak that multiply-adds reach in registers. Winograd's way makes a quarter of the
multiplications, so that its share may be above 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from resident import resident

from g4v._console import machine
from g4v._files import write_json

Latents = npt.NDArray[np.float32]
SCALE = 8  # pixels for one latent
WIDTHS = (128, 256, 512, 512)


def make(folder: Path) -> None:
    """Writes a random VAE, and the graph of its decoder."""
    import torch
    from diffusers import AutoencoderKL

    from g4v.export.components.vae import export_vae_decoder

    torch.manual_seed(20231125)
    down, up = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    vae = AutoencoderKL(3, 3, down, up, WIDTHS, layers_per_block=2, latent_channels=4)
    vae.eval().save_pretrained(folder / "vae")
    export_vae_decoder(vae, folder)


def open_graph(folder: Path, threads: int, own: bool) -> Callable[[Latents], Latents]:
    import onnxruntime

    from g4v.ops import custom_ops_library

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if own:
        options.register_custom_ops_library(custom_ops_library())
    path = folder / "vae_decoder.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def decode(latents: Latents) -> Latents:
        (frames,) = session.run(None, {"latents": latents})
        return np.asarray(frames, np.float32)

    return decode


def open_diffusers(folder: Path, threads: int) -> Callable[[Latents], Latents]:
    import torch
    from diffusers import AutoencoderKL

    torch.set_num_threads(threads)
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()

    @torch.no_grad()
    def decode(latents: Latents) -> Latents:
        frames = vae.decode(torch.from_numpy(latents)).sample.clamp(-1, 1)
        return np.asarray(frames.numpy(), np.float32)

    return decode


PEERS: dict[str, Callable[[Path, int], Callable[[Latents], Latents]]] = {
    "g4v": lambda folder, threads: open_graph(folder, threads, own=True),
    "ONNX Runtime": lambda folder, threads: open_graph(folder, threads, own=False),
    "diffusers": open_diffusers,
}


def exact(folder: Path, latents: Latents) -> npt.NDArray[np.float64]:
    """The frames in float64."""
    import torch
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(folder / "vae").eval().double()
    with torch.no_grad():
        frames: npt.NDArray[np.float64] = vae.decode(torch.from_numpy(latents).double()).sample.numpy()
    return frames.clip(-1, 1)


def operations(folder: Path, pixels: int) -> float:
    """Multiplications and additions of the decoder's products, by the formula, for one frame."""
    from diffusers import AutoencoderKL

    from g4v.export.plan.operations import convolved

    vae = AutoencoderKL.from_pretrained(folder / "vae")
    decoder = {name: tuple(x.shape) for name, x in vae.state_dict().items() if name.startswith("decoder.")}
    return convolved(decoder, len(WIDTHS), pixels)


def time_all(folder: Path, latents: Latents, threads: int, rounds: int) -> dict[str, Any]:
    """Seconds of all peers, by turns, and the error of the first frame."""
    peers = {name: open_peer(folder, threads) for name, open_peer in PEERS.items()}
    expected = exact(folder, latents[:1])
    errors = {
        name: float(np.linalg.norm(decode(latents)[:1] - expected) / np.linalg.norm(expected))
        for name, decode in peers.items()
    }
    clock: dict[str, list[float]] = {name: [] for name in peers}
    processor: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(rounds):
        for name, decode in peers.items():
            start, spent = time.perf_counter(), time.process_time()
            decode(latents)
            clock[name].append(time.perf_counter() - start)
            processor[name].append(time.process_time() - spent)
    found: dict[str, Any] = {}
    for name in peers:
        found[name] = {
            "seconds": round(statistics.median(clock[name]), 2),
            "processor seconds": round(statistics.median(processor[name]), 2),
            "error": float(f"{errors[name]:.1e}"),
        }
        for kind, times in (("faster", clock), ("faster, by processor time", processor)):
            ratios = [other / ours for other, ours in zip(times[name], times["g4v"], strict=True)]
            found[name][f"g4v is {kind}"] = round(statistics.median(ratios), 2)
    return found


def peak_memory(folder: Path, name: str, latents: Path, threads: int) -> int:
    """Bytes that a process of its own has in memory at most, its libraries among them."""
    command = [sys.executable, __file__, "--alone", name, str(folder), str(latents), str(threads)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def alone(name: str, folder: str, latents: str, threads: str) -> None:
    PEERS[name](Path(folder), int(threads))(np.load(latents))
    # Not ru_maxrss: a child begins with its parent's.
    print(resident("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="576x320", help="width and height in pixels")
    parser.add_argument("--frames", type=int, default=1, help="at once, as the runtime takes them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        return alone(*options.alone)
    from g4v import _core

    width, height = map(int, options.size.split("x"))
    shape = (options.frames, 4, height // SCALE, width // SCALE)
    latents = np.random.default_rng(20231125).standard_normal(shape, np.float32)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder)
        np.save(folder / "latents.npy", latents)
        peers = time_all(folder, latents, options.threads, options.rounds)
        for name, found in peers.items():
            found["peak bytes"] = peak_memory(folder, name, folder / "latents.npy", options.threads)
        work = operations(folder, width * height) * options.frames
    peak = _core.testing.multiply_add_peak(1)
    for found in peers.values():
        found["share of multiply-add peak, by processor time"] = round(
            work / found["processor seconds"] / peak, 2
        )
    result = {
        "size": options.size,
        "frames": options.frames,
        "threads": options.threads,
        "rounds": options.rounds,
        "operations": work,
        "multiply-add GFLOP/s of a thread": round(1e-9 * peak, 1),
        "peers": peers,
        "machine": machine(),
    }
    if options.json:
        write_json(options.json, result, indent=1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
