"""Does `python -m g4v.train --dry-run` say how much memory a step takes?

    python benchmarks/training_memory.py [--json FILE]

The last two cases are as wide as the paper's assistant (LLaMA-7B, ViT-L/14, the abstractor whole) with fewer
layers of the first two; tests/python/test_train_memory.py has it whole, on tensors without bytes.

Measured: the peak of the process's resident memory (VmHWM of Linux) over two optimiser steps on the CPU, less
what was resident after a first run at a small size, which pages the libraries in. Random weights, float32,
one thread, a fresh process for each case, whose allocator returns freed blocks at once. Not measured: GPUs.
The estimate is `g4v.train.memory`, without slack and CUDA context. The last line is JSON; exit code 1
where an estimate is more than 15% off.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from resident import resident

# name, stage, preset, width, layers, layers of the encoder (None: all), tokens, rows, gradient checkpointing
CASES: list[tuple[str, str, str, int, int, int | None, int, int, bool]] = [
    ("small", "stage1", "tiny", 256, 6, None, 256, 4, False),
    ("small", "stage2", "tiny", 256, 6, None, 256, 4, False),
    ("large", "stage1", "tiny", 448, 8, None, 384, 4, False),
    ("large", "stage2", "tiny", 448, 8, None, 384, 4, False),
    ("large", "stage2", "tiny", 448, 8, None, 384, 4, True),
    ("7B wide", "stage2", "gpt4video-7b", 4096, 1, 2, 512, 1, False),
    ("7B wide", "stage2", "gpt4video-7b", 4096, 2, 2, 512, 1, False),
]
NAMES = ("name", "stage", "preset", "width", "layers", "encoder_layers", "tokens", "rows", "checkpointing")
VOCABULARY = 8192
LIMIT = 0.15


def measure(
    stage: str, preset: str, width: int, layers: int, encoder_layers: int | None, length: int, rows: int,
    checkpointing: bool,
) -> dict:  # fmt: skip
    """Runs two steps in this process."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from g4v.model.abstractor import VideoAbstractor
    from g4v.model.assistant import Gpt4Video
    from g4v.model.presets import PRESETS
    from g4v.model.prompt import IGNORED, VIDEO_ID
    from g4v.model.vision import build_encoder
    from g4v.train.estimate import find_sizes
    from g4v.train.memory import Work, count_memory
    from g4v.train.module import StageModule
    from g4v.train.settings import Settings

    torch.set_num_threads(1)
    torch.manual_seed(0)
    head = 128 if width >= 4096 else 64
    llama = {
        "vocab_size": VOCABULARY,
        "hidden_size": width,
        "intermediate_size": 11008 if width == 4096 else width * 11 // 4,
        "num_hidden_layers": layers,
        "num_attention_heads": width // head,
        "num_key_value_heads": width // head,
    }
    parts = PRESETS[preset]
    if encoder_layers is not None:
        parts = replace(parts, encoder={**parts.encoder, "num_layers": encoder_layers})
    settings = Settings(sizes=preset, llm_sizes=llama)
    sizes = find_sizes(settings)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    llm = LlamaForCausalLM(LlamaConfig(**llama)).requires_grad_(False)
    abstractor = VideoAbstractor(replace(parts.abstractor, output_size=width))
    encoder = build_encoder(parts.encoder_config()).requires_grad_(False)
    sizes = replace(sizes, encoder_parameters=sum(p.numel() for p in encoder.parameters()))
    model = Gpt4Video(encoder, abstractor.requires_grad_(stage == "stage1"), llm).train()
    if checkpointing:
        llm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if stage == "stage2":
        config = LoraConfig(r=settings.lora_r, lora_dropout=0.1, target_modules=list(settings.lora_targets))
        model.llm = get_peft_model(llm, config)
    ids = torch.randint(3, VOCABULARY, (rows, length))
    ids[:, 4 : 4 + abstractor.config.output_tokens] = VIDEO_ID
    labels = ids.clone()
    labels[:, : length // 2] = IGNORED
    module = StageModule(model, settings, 1, 2, Path("."), {}, lambda *_: None)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    image = encoder.image_size
    for _ in range(2):
        batch = {"ids": ids, "labels": labels, "clips": torch.zeros(rows, 8, 3, image, image)}
        losses = module._token_losses(batch)[0]
        losses.mean().backward()
        del losses, batch
        optimizer.step()
        optimizer.zero_grad()
    measured = resident("VmHWM") - before
    counted = int((labels[:, 1:] != IGNORED).sum())
    work = Work(stage, rows, length, counted, rows, 8, False, checkpointing, False, False)
    return {"measured": measured, "estimated": count_memory(sizes, work).total}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="also write the numbers into this file")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is not None:
        _, stage, *case = CASES[options.case]
        measure(stage, "tiny", 64, 1, None, 96, 1, bool(case[-1]))
        print(json.dumps(measure(stage, *case)))  # type: ignore[arg-type]
        return 0
    # glibc keeps freed blocks below a size that grows with use: what it keeps is not what a step needs.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
    results = []
    for number, case in enumerate(CASES):
        command = [sys.executable, __file__, "--case", str(number)]
        output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        found = json.loads(output.splitlines()[-1])
        ratio = found["estimated"] / found["measured"]
        results.append(dict(zip(NAMES, case, strict=True)) | found | {"ratio": round(ratio, 3)})
        print(
            f"{case[0]} {case[1]}, {case[4]} layers{', checkpointed' if case[-1] else ''}: measured "
            f"{found['measured'] / 1e6:6.0f} MB, estimated {found['estimated'] / 1e6:6.0f} MB, "
            f"ratio {ratio:.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    print(json.dumps(results))
    return 0 if all(abs(result["ratio"] - 1) <= LIMIT for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
