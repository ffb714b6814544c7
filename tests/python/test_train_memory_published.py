"""The estimate of --dry-run on published video language models, against the bytes of tensors that are alive
in a real step on the CPU.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

# Before Lightning, which imports a torchvision that is there, too.
from .. import llava_checkpoint as llava
from .. import smolvlm_checkpoint as smol
from .. import vlm_sizes

pytest.importorskip("lightning", reason="needs the train extra")

from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import LlamaForCausalLM  # noqa: E402

from g4v.model.assistant import Gpt4Video  # noqa: E402
from g4v.model.bases.video_language import open_video_language  # noqa: E402
from g4v.model.prompt import IGNORED, VIDEO_ID  # noqa: E402
from g4v.train.command import main  # noqa: E402
from g4v.train.estimate import find_sizes, plan_work  # noqa: E402
from g4v.train.memory import count_memory  # noqa: E402
from g4v.train.module import StageModule  # noqa: E402
from g4v.train.settings import Settings  # noqa: E402

from .test_train_memory import Alive  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ("smolvlm", *llava.KINDS, "llava_next_video, two layers", "a large tower")
ROWS, FRAMES = 2, 3


@pytest.fixture(scope="module", params=KINDS)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough for the smallest tensors not to matter."""
    folder = tmp_path_factory.mktemp("published") / "base"
    text = {"hidden_size": 96, "intermediate_size": 240, "num_hidden_layers": 4}
    text |= {"num_attention_heads": 6, "num_key_value_heads": 2}
    if request.param == "smolvlm":
        smol.make(folder, seed=3)
    elif request.param in llava.KINDS:
        llava.make(folder, request.param, seed=3, text=text)
    elif request.param == "a large tower":  # the peak is then in it
        vision = {
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
        }
        llava.make(folder, llava.NEXT_VIDEO, seed=3, vision=vision | {"image_size": 140})
    else:
        layers: dict[str, Any] = {"vision_feature_layer": [-1, -2]}
        llava.make(folder, llava.NEXT_VIDEO, seed=3, text=text, **layers)
    return folder


def settings_of(base: Path, frame_tokens: int) -> Settings:
    length = FRAMES * frame_tokens + 60
    return Settings(
        base=str(base), frames=FRAMES, batch_size=ROWS, max_length=length, lora_r=4, accelerator="cpu"
    )


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_estimate_is_within_15_percent(checkpointing: bool, base: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    opened = open_video_language(base)
    settings = settings_of(base, opened.video_tokens)
    llm: Any = LlamaForCausalLM(opened.text_config()).requires_grad_(False)
    if checkpointing:
        llm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    config = LoraConfig(r=4, lora_dropout=0.1, target_modules=["q_proj", "v_proj"])
    adapted: Any = get_peft_model(llm, config)
    connector = opened.connector().requires_grad_(False)
    model = Gpt4Video(opened.encoder(), connector, adapted).train()
    length, tokens = settings.max_length, FRAMES * opened.video_tokens
    ids = torch.randint(3, 300, (ROWS, length))
    ids[:, 4 : 4 + tokens] = VIDEO_ID
    labels = ids.clone()
    labels[:, : 4 + tokens] = IGNORED
    counted = int((labels[:, 1:] != IGNORED).sum())
    module = StageModule(model, settings, 1, 1, tmp_path, {}, lambda *_: None)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    alive = Alive()
    for tensor in model.parameters():
        alive.watch(tensor.data)
    size = opened.image_size
    with alive:
        for _ in range(2):  # Adam's moments are there from the second step on
            # The frames of all rows are one clip, as the trainer's reader has it.
            clips = torch.zeros(1, ROWS * FRAMES, 3, size, size)
            batch = {"ids": ids.clone(), "labels": labels.clone(), "clips": clips}
            del clips
            losses, _, _ = module._token_losses(batch)
            losses.mean().backward()
            del losses, batch
            optimizer.step()
            optimizer.zero_grad()
    sizes = find_sizes(settings)
    work = plan_work(settings, "stage2", sizes.frame_tokens)
    work = replace(work, labels=counted, checkpointing=checkpointing, half=False)
    assert (work.frames, work.rows, work.length) == (FRAMES, ROWS, length)
    estimate = count_memory(sizes, work)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    assert estimate.weights == pytest.approx(weights, rel=1e-3)
    assert estimate.total == pytest.approx(alive.peak, rel=0.15), (estimate, alive.peak)


@pytest.mark.parametrize(
    ("name", "billions", "frames"),
    [("SmolVLM2-256M", "0.257", 8), ("LLaVA-NeXT-Video-7B", "7.059", 8), ("Video-LLaVA-7B", "7.059", 7)],
)
def test_the_dry_run_of_a_published_model_needs_no_weights(
    name: str, billions: str, frames: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parameters are those of docs/export.md and the LoRA's. Video-LLaVA has 257 tokens a frame: no more
    than 7 frames fit into a row of 2,048.
    """
    vlm_sizes.write(tmp_path / "base", name)
    words = ["--base", str(tmp_path / "base"), "--max-length", "2048", "--out", str(tmp_path / "out")]
    assert main(["stage2", *words, "--dry-run", "--device-tflops", "1", "--device-memory", "80"]) == 0
    text = capsys.readouterr().out
    assert f"{billions} B parameters" in text, text
    assert f"x 2048 tokens, {frames} frames" in text and "s a step" in text
    assert not (tmp_path / "out").exists()
