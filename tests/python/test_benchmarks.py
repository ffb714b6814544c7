"""Benchmarks that are cheap enough to run: what they say is in README.md, so they must not rot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lightning", reason="needs the train extra")

from transformers import AutoTokenizer, LlamaForCausalLM  # noqa: E402

from . import training_bases as made  # noqa: E402
from .base_checkpoints import write_tokenizer  # noqa: E402

FOLDER = Path(__file__).parents[2] / "benchmarks"
TEMPLATE = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}[assistant]"


def run(name: str, *arguments: object) -> dict[str, Any]:
    """The JSON in a benchmark's last line."""
    done = subprocess.run(
        [sys.executable, FOLDER / name, *map(str, arguments)],
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_training_memory():
    found = run("training_memory.py", "--case", 0)
    assert found["measured"] > 50e6
    assert found["estimated"] == pytest.approx(found["measured"], rel=0.15)


@pytest.mark.slow
def test_dialogues_of_a_server_that_is_not_ours(tmp_path):
    """`transformers serve` speaks the protocol as others understand it; its random model is all nonsense."""
    for package in ("fastapi", "uvicorn", "openai", "aiohttp", "datasketch"):
        pytest.importorskip(package, reason="needs the extra serving of transformers and data of g4v")
    torch.manual_seed(0)
    LlamaForCausalLM(made.LLAMA).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path)
    found = run("dialogues_server.py", tmp_path, "--max-tokens", 8)
    planned = sum(found["planned"].values())
    assert found["asked_for_twice"] == 0 and found["failed_requests"] == {}
    assert found["answers"] == planned and found["accepted"] == 0
    assert sum(found["rejected"].values()) >= found["answers"]
    assert found["completion_tokens"] <= 8 * found["answers"] and found["prompt_tokens"] > 100


@pytest.mark.slow
def test_a_step_of_unet_graphs():
    """On the small UNet of the repository."""
    tiny = FOLDER.parent / "python" / "g4v" / "checkpoints" / "tiny"
    limits = {"float32": 1e-5, "float16, engine": 1e-2}
    words = ["--run", tiny, "--size", "64x64", "--frames", 4, "--graphs", *limits]
    found = run("unet_step.py", *words)["steps"]
    errors = {step["graph"]: step["norm error"] for step in found if step["graph"] != "PyTorch"}
    assert set(errors) == set(limits)
    assert all(1e-9 < errors[name] < limit for name, limit in limits.items()), errors
