"""Why are videos of two objects of `tiny` wrong? Each oracle takes one part of the way out of the question.

    python benchmarks/video_oracles.py [--checkpoint DIR] [--n 32] [--objects 2] [--json FILE]

The same captions (held-out triples) all the time; the clips are judged as in `python -m g4v.eval shapes`.

    renderer        the true clip itself: what the clip checker makes of what is right
    autoencoder     the true clip through the autoencoder: what its 8x8 latents lose
    text            a linear map of the text encoder's states, fitted on captions of seen triples, reads
                    colour, shape and motion of each object off the last token of its phrase
    from step K     sampling begins with the true latents under the noise of step K of 20, not with pure
                    noise: places, and from some step on colours and shapes, are given
    guidance G      from pure noise, with another guidance scale
    N steps         from pure noise, with another number of steps

Whatever oracle lifts the share of right videos most shows which part limits them. `faults` counts, for
sampling as it is, what is wrong in the videos that are not right. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from g4v._console import ProgressBar, machine
from g4v._files import write_json
from g4v.eval.metrics import Rate
from g4v.shapes.eval.clip_checker import CheckResult, check
from g4v.shapes.eval.generation import right
from g4v.shapes.recipe.phrases import PhraseReader, find_phrases
from g4v.shapes.recipe.text_to_video import draw_noise
from g4v.shapes.recipe.tiny_text_to_video import SHARED_NOISE
from g4v.shapes.recipe.tokenizers import encode_captions, load_tokenizer
from g4v.shapes.world.render import render
from g4v.shapes.world.world import COLOURS, MOTIONS, SHAPES, Scene, caption, sample_scene

STEPS, GUIDANCE = 20, 2.0  # those of the embedded bundle
BATCH = 16
PARTS = ("count", "colour", "shape", "motion")


class Model:
    """The text-to-video part of a checkpoint, in PyTorch."""

    def __init__(self, checkpoint: Path) -> None:
        from diffusers import AutoencoderKL, DDIMScheduler, UNet3DConditionModel
        from transformers import CLIPTextModel

        folder = checkpoint / "t2v"
        given: dict[str, Any] = {"torch_dtype": torch.float32, "local_files_only": True}
        self.vae: Any = AutoencoderKL.from_pretrained(folder / "vae", **given).eval()
        self.unet: Any = UNet3DConditionModel.from_pretrained(folder / "unet", **given).eval()
        self.text: Any = CLIPTextModel.from_pretrained(
            folder / "text_encoder", dtype=torch.float32, local_files_only=True
        ).eval()
        self.scheduler: Any = DDIMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
        self.tokenizer = load_tokenizer(folder / "tokenizer")
        self.length = int(self.text.config.max_position_embeddings)

    def states(self, texts: list[str]) -> torch.Tensor:
        """[B, L, D] of the captions."""
        ids = encode_captions(self.tokenizer, texts, self.length)
        return self.text(input_ids=ids).last_hidden_state

    def encode(self, clips: np.ndarray) -> torch.Tensor:
        """uint8 [B, T, H, W, 3] -> scaled latents [B, C, T, h, w]."""
        pixels = torch.from_numpy(clips).flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents = self.vae.encode(pixels).latent_dist.mean * self.vae.config.scaling_factor
        return latents.unflatten(0, clips.shape[:2]).transpose(1, 2)

    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """Scaled latents [B, C, T, h, w] -> uint8 [B, T, H, W, 3]."""
        flat = latents.transpose(1, 2).flatten(0, 1) / self.vae.config.scaling_factor
        pixels = self.vae.decode(flat).sample.permute(0, 2, 3, 1)
        pixels = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels.unflatten(0, (latents.shape[0], latents.shape[2])).numpy()

    def sample(
        self,
        texts: list[str],
        noise: torch.Tensor,
        clean: torch.Tensor,
        first: int,
        guidance: float,
        steps: int,
    ) -> np.ndarray:
        """Clips [B, T, H, W, 3] of the captions; `first` steps are skipped by the true latents `clean`."""
        context = self.states(texts + [""] * len(texts))
        self.scheduler.set_timesteps(steps)
        times = self.scheduler.timesteps[first:]
        latents = (
            noise if first == 0 else self.scheduler.add_noise(clean, noise, times[:1].expand(len(texts)))
        )
        for time in times:
            both = self.unet(torch.cat([latents] * 2), time, encoder_hidden_states=context).sample
            asked, free = both.chunk(2)
            latents = self.scheduler.step(free + guidance * (asked - free), time, latents).prev_sample
        return self.decode(latents)


def scenes(count: int, objects: int, split: str, seed: int) -> list[Scene]:
    """Scenes whose background is open or told, as in the evaluation."""
    return [sample_scene(np.random.default_rng([seed, i]), split, objects, None) for i in range(count)]


def judge(clips: np.ndarray, wanted: list[Scene]) -> tuple[Rate, list[CheckResult]]:
    """How many are right in number, colour, shape and motion."""
    found = [check(clip, scene) for clip, scene in zip(clips, wanted, strict=True)]
    rate = Rate()
    for result in found:
        rate.add(right(result))
    return rate, found


def read_text(model: Model, wanted: list[Scene], objects: int) -> dict[str, Rate]:
    """What a linear map reads off the last token of each phrase."""
    reader = PhraseReader(model.text.config.hidden_size)
    seen = [caption(scene) for scene in scenes(2000, objects, "train", 77)]
    phrases = find_phrases(model.tokenizer, seen)
    states = torch.cat([model.states(seen[i : i + 200]) for i in range(0, len(seen), 200)])
    optimizer = torch.optim.Adam(reader.parameters(), 0.05)
    with torch.enable_grad():
        for _ in range(300):
            loss, _ = reader(states, phrases)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    texts = [caption(scene) for scene in wanted]
    phrases = find_phrases(model.tokenizer, texts)
    logits = reader.linear(model.states(texts)[phrases.rows, phrases.columns])
    sizes = [len(names) for names in (COLOURS, SHAPES, MOTIONS)]
    rates = {name: Rate() for name in ("colour", "shape", "motion")}
    for name, part, target in zip(rates, logits.split(sizes, 1), phrases.classes.unbind(1), strict=True):
        for ok in (part.argmax(1) == target).tolist():
            rates[name].add(ok)
    return rates


@torch.no_grad()
def measure(model: Model, count: int, objects: int) -> dict[str, Any]:
    """The share of right clips under each oracle, with its 95% interval."""
    wanted = scenes(count, objects, "test", 5)
    texts = [caption(scene) for scene in wanted]
    clips = np.stack([render(s, np.random.default_rng([6, i]), clean=True) for i, s in enumerate(wanted)])
    clean = model.encode(clips)
    noise = draw_noise(np.random.default_rng(7), clean.shape, SHARED_NOISE)
    runs = {"as it is": (0, GUIDANCE, STEPS)}
    runs |= {f"from step {first} of {STEPS}": (first, GUIDANCE, STEPS) for first in (1, 2, 4, 6, 8, 10)}
    runs |= {f"guidance {scale}": (0, scale, STEPS) for scale in (1.0, 3.0, 4.0, 6.0)}
    runs |= {f"{steps} steps": (0, GUIDANCE, steps) for steps in (10, 50)}
    out: dict[str, Any] = {}

    def keep(name: str, rate: Rate) -> None:
        low, high = rate.interval
        out[name] = {"right": rate.value, "low": low, "high": high, "count": rate.total}
        print(f"{name:20} {rate.value:6.1%}  ({low:.0%} to {high:.0%})", flush=True)

    keep("renderer", judge(clips, wanted)[0])
    keep("autoencoder", judge(model.decode(clean), wanted)[0])
    for name, rate in read_text(model, wanted, objects).items():
        keep(f"text, {name}", rate)
    faults: dict[str, int] = {}
    with ProgressBar("oracles", len(runs), lines=True) as progress:
        for name, (first, guidance, steps) in runs.items():
            made = [
                model.sample(
                    texts[i : i + BATCH], noise[i : i + BATCH], clean[i : i + BATCH], first, guidance, steps
                )
                for i in range(0, count, BATCH)
            ]
            rate, found = judge(np.concatenate(made), wanted)
            keep(name, rate)
            if name == "as it is":
                wrong = [result for result in found if not right(result)]
                faults = {part: sum(not getattr(r, f"{part}_ok") for r in wrong) for part in PARTS}
                out["faults"] = faults | {"wrong": len(wrong)}
                print("faults", out["faults"], flush=True)
            progress.step()
    return out


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, default=Path("python/g4v/checkpoints/tiny"))
    parser.add_argument("--n", type=int, default=32, help="captions")
    parser.add_argument("--objects", type=int, default=2, choices=(1, 2))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = measure(Model(arguments.checkpoint), arguments.n, arguments.objects)
    result = {"machine": machine(), "objects": arguments.objects, "oracles": found}
    if arguments.json:
        write_json(arguments.json, result)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
