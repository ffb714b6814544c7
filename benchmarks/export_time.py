"""How long does the export of `small` take, and how well does the decoder that comes of it predict a text?

    python benchmarks/export_time.py LLM [--python NAME=PYTHON ...] [--runs 1] [--json FILE]

LLM is the language model of `small`, SmolLM2-135M-Instruct as a GGUF file. `python -m g4v.export --preset
small --precision decoder=int4` runs with the default calibration in a process of its own: seconds by the
clock, processor seconds of all cores, and the peak of memory and the steps of the decoder as report.json
has them. --python names the interpreter of another environment, such as one with an older g4v; all are run in
turn, --runs times. One more export, in float32, is what perplexities are compared with. passage.txt and the
pages of docs/, none of which the export reads, go through each bundle's decoder as the core runs it
(activations in 8 bits), in windows of 256 tokens that step together. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from g4v._console import machine
from g4v._files import read_json, write_json

ROOT = Path(__file__).resolve().parents[1]
WINDOW, WINDOWS = 256, 40  # tokens, and how many of docs/ at most


def export(python: str, llm: Path, out: Path, precision: str) -> dict[str, Any]:
    """One export in a process of its own, and what it cost."""
    command = [python, "-m", "g4v.export", "--preset", "small", "--llm", str(llm.absolute())]
    command += ["--precision", f"decoder={precision}", "--out", str(out), "--force", "--quiet"]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=out.parent)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    report = read_json(out / "report.json")
    decoder = next(part for part in report["components"] if part["name"] == "decoder")
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_bytes": max(step["peak_bytes"] or 0 for part in report["components"] for step in part["steps"]),
        "load_average": os.getloadavg()[0],
        "decoder_steps": {step["name"]: step["seconds"] for step in decoder["steps"]},
        "decoder_steps_cpu": {step["name"]: step["cpu_seconds"] for step in decoder["steps"]},
    }


def perplexities(bundle: Path, texts: dict[str, list[int]], threads: int) -> dict[str, float]:
    """The perplexity of the bundle's decoder on each text."""
    import numpy as np

    from g4v._runtime import import_core

    sizes = read_json(bundle / "g4v.json")["components"]["decoder"]
    names = ("vocab_size", "hidden_size", "layers", "heads", "kv_heads", "head_dim")
    file = str(bundle / sizes["variants"][0]["packed"])
    model = import_core().CpuModel(
        file, **{name: sizes[name] for name in names}, context_length=WINDOW, threads=threads
    )
    embedding = np.fromfile(bundle / sizes["embedding"]["file"], np.float32).reshape(-1, sizes["hidden_size"])
    found = {}
    for text, ids in texts.items():
        windows = [ids[i : i + WINDOW + 1] for i in range(0, len(ids) - 1, WINDOW)][:WINDOWS]
        caches = [model.new_cache() for _ in windows]
        losses = []
        for place in range(WINDOW):
            live = [(cache, ids) for cache, ids in zip(caches, windows, strict=True) if place + 1 < len(ids)]
            rows = [(cache, embedding[ids[place : place + 1]]) for cache, ids in live]
            for (_, ids), row in zip(live, model.step(rows) if rows else (), strict=True):
                row = row - row.max()
                losses.append(float(np.log(np.exp(row).sum(dtype=np.float64)) - row[ids[place + 1]]))
        found[text] = float(np.exp(np.mean(losses)))
    return found


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("llm", type=Path, metavar="LLM")
    parser.add_argument(
        "--python", action="append", metavar="NAME=PYTHON", help="repeatable (default: this one)"
    )
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="of the perplexities alone")
    parser.add_argument("--json", type=Path, help="also write the numbers into this file")
    options = parser.parse_args()
    given = options.python or [f"g4v={sys.executable}"]
    pythons = dict(name_and_python.split("=", 1) for name_and_python in given)

    from g4v.model.bases.llm import load_tokenizer

    tokenizer = load_tokenizer(options.llm)
    pages = [ROOT / "benchmarks" / "passage.txt"], sorted((ROOT / "docs").glob("*.md"))
    texts = {
        name: tokenizer.encode("\n".join(page.read_text("utf-8") for page in files), add_special_tokens=False)
        for name, files in zip(("passage", "docs"), pages, strict=True)
    }
    exports: dict[str, dict[str, Any]] = {name: {"runs": []} for name in pythons}
    with tempfile.TemporaryDirectory() as work:
        plain = Path(work) / "float32"
        export(sys.executable, options.llm, plain, "fp32")
        wanted = perplexities(plain, texts, options.threads)
        for _ in range(options.runs):
            for name, python in pythons.items():
                out = Path(work) / name
                exports[name]["runs"].append(export(python, options.llm, out, "int4"))
                print(name, exports[name]["runs"][-1], flush=True)
        for name, row in exports.items():
            for key in ("seconds", "cpu_seconds"):
                row[key] = statistics.median(run[key] for run in row["runs"])
            row["perplexity"] = perplexities(Path(work) / name, texts, options.threads)
            row["perplexity_ratio"] = {
                text: value / wanted[text] for text, value in row["perplexity"].items()
            }
            told = ", ".join(f"{text} {ratio - 1:+.2%}" for text, ratio in row["perplexity_ratio"].items())
            print(f"{name} {row['seconds']:6.1f} s, {row['cpu_seconds']:6.1f} s of CPU; perplexity {told}")
    found = {
        "machine": machine(),
        "llm": options.llm.name,
        "tokens": {name: min(len(ids) - 1, WINDOW * WINDOWS) for name, ids in texts.items()},
        "float32_perplexity": wanted,
        "exports": exports,
    }
    if options.json:
        write_json(options.json, found, indent=1)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
