"""Writes a published text-to-video model at its real size with random weights, as diffusers lays it out.

    python benchmarks/random_video_model.py OUT [--model wan-2.1-1.3b|ltx-video-2b]

Networks, sizes and scheduler are those of Wan-AI/Wan2.1-T2V-1.3B-Diffusers (a transformer of 1.42 billion
weights, a UMT5-XXL of 5.68 billion) or of Lightricks/LTX-Video 0.9 (1.92 and 4.76 billion); the weights are
drawn so that activations keep their size, in bfloat16 (14 GB). The tokenizer is a small one. No more than one
file of weights is in memory at a time.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
from tests import video_model_sizes as sizes  # noqa: E402 (it is beside the tests)


def draw(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Weights that keep the size of what they multiply; those of norms near 1, of biases near 0."""
    values = torch.randn(shape, generator=generator)
    if len(shape) == 1 or "table" in name or "gamma" in name:
        return 0.02 * values + (name == "latents_std" or ("norm" in name and not name.endswith("bias")))
    if name.endswith("SelfAttention.q.weight"):
        return (
            values * (sizes.T5_XXL["d_model"] * sizes.T5_XXL["d_kv"]) ** -0.5
        )  # scores have no 1/sqrt(d_kv)
    if "embed_tokens" in name or "shared" in name or "relative_attention_bias" in name:
        return values
    return values * shape[1:].numel() ** -0.5


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--model", choices=sizes.NAMES, default=sizes.NAMES[0])
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)

    def write(file: Path, shapes: sizes.Shapes) -> None:
        drawn = {name: draw(name, shape, generator).bfloat16() for name, shape in shapes.items()}
        save_file(drawn, file, {"format": "pt"})

    sizes.write(options.out, options.model, write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
