"""How much memory and time does the export of a LLaMA take, and how does what it writes run?

    python benchmarks/export_llama.py [--layers 32] [--precision int4] [--work DIR] [--run RUN] [--json FILE]

Writes a LLaMA of the 7B model's dimensions (random weights, one float16 shard per layer) and a LoRA adapter
of rank 16, exports them with `python -m g4v.export` in a process of its own, and has the core load the bundle
and answer. Measured: that process's peak resident memory, which counts mapped files, and its time; the errors
that it found; time to load, resident memory and tokens per second of the core. Every weight is read and every
product compared, so fewer layers take the same peak and a share of the time. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from g4v._console import machine
from g4v._files import read_json, write_json

WIDTH, FEED_FORWARD, HEADS, VOCABULARY = 4096, 11008, 32, 32000  # LLaMA-7B
TOKENS = 16


def write_run(run: Path, layers: int) -> None:
    """Writes a training run of a language model and an adapter alone."""
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file
    from transformers import LlamaConfig

    from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint

    write_random_checkpoint(run)
    for part in ("encoder", "abstractor", "frame_checker", "t2v", "adapter"):
        shutil.rmtree(run / part)
    (run / "llm" / "model.safetensors").unlink()
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=FEED_FORWARD,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
    )
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(run / "llm")
    generator = torch.Generator().manual_seed(0)

    def weight(rows: int, columns: int) -> torch.Tensor:
        return torch.empty(rows, columns).normal_(0, 0.02, generator=generator).half()

    names: dict[str, str] = {}
    total = 0

    def save(file: str, tensors: dict[str, torch.Tensor]) -> None:
        nonlocal total
        save_file(tensors, run / "llm" / file)
        names.update(dict.fromkeys(tensors, file))
        total += sum(t.nbytes for t in tensors.values())

    adapter: dict[str, torch.Tensor] = {}
    for index in range(layers):
        start = f"model.layers.{index}."
        shapes = {f"self_attn.{kind}_proj": (WIDTH, WIDTH) for kind in "qkvo"}
        shapes |= {f"mlp.{kind}_proj": (FEED_FORWARD, WIDTH) for kind in ("gate", "up")}
        shapes["mlp.down_proj"] = (WIDTH, FEED_FORWARD)
        tensors = {f"{start}{name}.weight": weight(*shape) for name, shape in shapes.items()}
        norms = ("input_layernorm", "post_attention_layernorm")
        tensors |= {f"{start}{name}.weight": torch.ones(WIDTH).half() for name in norms}
        save(f"model-{index:05}.safetensors", tensors)
        for kind in "qv":
            place = f"base_model.model.{start}self_attn.{kind}_proj.lora_"
            adapter |= {f"{place}A.weight": weight(16, WIDTH), f"{place}B.weight": weight(WIDTH, 16)}
    ends = {name: weight(VOCABULARY, WIDTH) for name in ("model.embed_tokens.weight", "lm_head.weight")}
    save("model-ends.safetensors", {**ends, "model.norm.weight": torch.ones(WIDTH).half()})
    index = {"metadata": {"total_size": total}, "weight_map": names}
    (run / "llm" / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    LoraConfig(r=16, lora_alpha=16, target_modules=["q_proj", "v_proj"]).save_pretrained(run / "adapter")
    save_file(adapter, run / "adapter" / "adapter_model.safetensors")


def export(run: Path, out: Path, precision: str) -> dict[str, Any]:
    words = [sys.executable, "-m", "g4v.export", "--checkpoint", str(run), "--out", str(out)]
    start = time.monotonic()
    process = subprocess.run(
        [*words, "--precision", precision], check=True, stderr=subprocess.PIPE, text=True
    )
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    # The exporter resets the system's measurement of the peak at every step.
    components = read_json(out / "report.json")["components"]
    steps = max(part["peak_bytes"] or 0 for part in components)
    return {
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),  # other work changes it less
        "peak_bytes": max(used.ru_maxrss * 1024, steps),
        "bundle_bytes": sum(file.stat().st_size for file in out.iterdir()),
        "printed": process.stderr.replace(str(out), out.name).splitlines(),
    }


def answer(bundle: Path) -> dict[str, Any]:
    """Loads the bundle in this process and measures it."""
    import g4v

    start = time.monotonic()
    assistant = g4v.load(bundle)
    loaded = time.monotonic()
    *_, done = assistant.chat(seed=0, max_new_tokens=TOKENS).send("What moves here?")
    status = Path("/proc/self/status").read_text().splitlines()
    memory = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in status if line.startswith("Rss")}
    return {
        "load_seconds": round(loaded - start, 2),
        "prompt_tokens": done.prompt_tokens,
        "new_tokens": done.new_tokens,
        "timings": vars(done.timings),
        "resident_anonymous_bytes": memory.get("RssAnon"),
        "resident_mapped_bytes": memory.get("RssFile"),
    }


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--precision", default="int4", choices=["fp32", "int8", "int4"])
    parser.add_argument("--work", type=Path, help="an empty folder with room for run and bundle")
    parser.add_argument("--run", type=Path, help="keep the run here, and use it if it is there")
    parser.add_argument("--json", type=Path, help="also write the numbers into this file")
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        print(json.dumps(answer(options.answer)))
        return 0
    work = Path(tempfile.mkdtemp(dir=options.work))
    try:
        run = options.run or work / "run"
        if not (run / "adapter" / "adapter_model.safetensors").exists():  # which is written last
            write_run(run, options.layers)
        files = (run / "llm").glob("*.safetensors")
        weights = sum(file.stat().st_size for file in files)
        print(f"{weights / 1e9:.2f} GB of weights", flush=True)
        exported = export(run, work / "bundle", options.precision)
        print("\n".join(exported["printed"]), flush=True)
        words = [sys.executable, __file__, "--answer", str(work / "bundle")]
        output = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    finally:
        shutil.rmtree(work)
    found = {
        "machine": machine(),
        "layers": options.layers,
        "precision": options.precision,
        "weights_bytes": weights,
        "export": exported,
        "core": json.loads(output.splitlines()[-1]),
    }
    if options.json:
        write_json(options.json, found)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
