"""The estimate of --dry-run against the bytes of tensors that are alive in a real step on the CPU."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

pytest.importorskip("lightning", reason="needs the train extra")

from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from g4v.model.abstractor import VideoAbstractor  # noqa: E402
from g4v.model.assistant import Gpt4Video  # noqa: E402
from g4v.model.config import AbstractorConfig, VideoTowerConfig  # noqa: E402
from g4v.model.presets import GPT4VIDEO_7B  # noqa: E402
from g4v.model.prompt import IGNORED, VIDEO_ID  # noqa: E402
from g4v.model.vision import MplugOwlVideoTower, build_encoder  # noqa: E402
from g4v.train.command import main  # noqa: E402
from g4v.train.estimate import find_sizes  # noqa: E402
from g4v.train.memory import Sizes, Work, count_memory  # noqa: E402
from g4v.train.module import StageModule  # noqa: E402
from g4v.train.settings import Settings  # noqa: E402


class Alive(TorchDispatchMode):
    """Counts the storages that operations make, while they are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: dict[int, int] = {}

    def watch(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.seen:
            return
        self.seen[key] = storage.nbytes()
        self.now += self.seen[key]
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.forget, key)

    def forget(self, key: int) -> None:
        self.now -= self.seen.pop(key, 0)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in tree_flatten(out)[0]:
            if isinstance(value, torch.Tensor):
                self.watch(value)
        return out


def build(width: int, layers: int, stage: str):
    llama = LlamaConfig(
        vocab_size=512,
        hidden_size=width,
        intermediate_size=width * 5 // 2,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
    )
    seen = AbstractorConfig(
        hidden_size=64, num_layers=2, num_heads=4, intermediate_size=176, num_queries=8,
        num_temporal_queries=8, memory_size=64, output_size=width,
    )  # fmt: skip
    tower = MplugOwlVideoTower(
        VideoTowerConfig(
            hidden_size=64, num_layers=2, num_heads=4, intermediate_size=128, image_size=32, patch_size=4
        )
    )
    llm = LlamaForCausalLM(llama).requires_grad_(False)
    sizes = Sizes(
        hidden=width,
        layers=layers,
        intermediate=width * 5 // 2,
        query_width=width,
        key_width=width // 2,
        vocabulary=512,
        llm_parameters=sum(p.numel() for p in llm.parameters()),
        lora_parameters=layers * 4 * (2 * width + width + width // 2),
        lora_targets=2,
        lora_rank=4,
        abstractor_hidden=64,
        abstractor_layers=2,
        abstractor_intermediate=176,
        queries=16,
        abstractor_parameters=0,
        encoder_parameters=sum(p.numel() for p in tower.parameters()),
        encoder_intermediate=128,
        tokens_per_frame=65,
        image_size=32,
    )
    abstractor = VideoAbstractor(seen).requires_grad_(stage == "stage1")
    sizes = Sizes(
        **{**sizes.__dict__, "abstractor_parameters": sum(p.numel() for p in abstractor.parameters())}
    )
    model = Gpt4Video(tower, abstractor, llm)
    if stage == "stage2":
        config = LoraConfig(r=4, lora_dropout=0.1, target_modules=["q_proj", "v_proj"])
        model.llm = get_peft_model(llm, config)
    return model.train(), sizes


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("width", "layers", "length"), [(96, 4, 96), (160, 6, 160)])
def test_the_estimate_is_within_15_percent(stage, checkpointing, width, layers, length, tmp_path):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, sizes = build(width, layers, stage)
    if checkpointing:
        base = model.llm.get_base_model() if stage == "stage2" else model.llm
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    rows = 3
    ids = torch.randint(3, 512, (rows, length))
    ids[:, 4:13] = VIDEO_ID
    labels = ids.clone()
    labels[:, : length // 2] = IGNORED
    module = StageModule(model, Settings(), 1, 1, tmp_path, {}, lambda *_: None)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained)
    alive = Alive()
    for tensor in model.parameters():
        alive.watch(tensor.data)
    with alive:
        for _ in range(2):  # Adam's moments are there from the second step on
            batch = {"ids": ids.clone(), "labels": labels.clone(), "clips": torch.zeros(rows, 8, 3, 32, 32)}
            losses, _, _ = module._token_losses(batch)
            losses.mean().backward()
            del losses, batch
            optimizer.step()
            optimizer.zero_grad()
    work = Work(
        stage=stage, rows=rows, length=length, labels=int((labels[:, 1:] != IGNORED).sum()), clips=rows,
        frames=8, half=False, checkpointing=checkpointing, cached=False, gpu=False,
    )  # fmt: skip
    estimate = count_memory(sizes, work)
    assert estimate.total == pytest.approx(alive.peak, rel=0.15), (estimate, alive.peak)


def build_llama_7b(stage: str, half: bool, checkpointing: bool) -> Gpt4Video:
    """The paper's assistant at full size, on no device: ViT-L/14, 6 layers of abstractor, LLaMA-7B."""
    with torch.device("meta"):
        torch.set_default_dtype(torch.bfloat16 if half else torch.float32)
        try:
            llm = LlamaForCausalLM(GPT4VIDEO_7B.llama_config(32_000)).requires_grad_(False)
            tower = build_encoder(GPT4VIDEO_7B.encoder_config()).requires_grad_(False)
        finally:
            torch.set_default_dtype(torch.float32)
        abstractor = VideoAbstractor(GPT4VIDEO_7B.abstractor).requires_grad_(stage == "stage1")
        if checkpointing:
            llm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if stage == "stage2":
            config = LoraConfig(r=16, lora_alpha=16, lora_dropout=0.1, target_modules=["q_proj", "v_proj"])
            llm = get_peft_model(llm, config)
        return Gpt4Video(tower, abstractor, llm)


def pretend(model: torch.nn.Module) -> None:
    """Puts tensors of no bytes, which say that they are on the CPU, where those of the meta device are."""
    for module in model.modules():
        for store in (module._parameters, module._buffers):
            for name, tensor in store.items():
                if tensor is not None:
                    new = torch.empty(tensor.shape, dtype=tensor.dtype)
                    weight = torch.nn.Parameter(new, requires_grad=tensor.requires_grad)
                    store[name] = weight if store is module._parameters else new


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "half", "checkpointing"),
    [
        ("stage1", True, True),
        ("stage2", True, True),
        ("stage2", True, False),
    ],
)
def test_the_estimate_at_full_size_is_within_15_percent(stage, half, checkpointing):
    """Two steps of the paper's assistant, each operation of them, on tensors that have sizes and no bytes."""
    rows, length, start = 4, 512, 256
    model = build_llama_7b(stage, half, checkpointing)
    alive = Alive()
    with FakeTensorMode():
        pretend(model)
        model.train()
        base = model.llm.get_base_model() if stage == "stage2" else model.llm
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
        for tensor in model.parameters():
            alive.watch(tensor.data)
        with alive:
            for _ in range(2):
                with torch.autocast("cpu", torch.bfloat16, enabled=half):
                    pixels = torch.zeros(rows, 8, 3, 224, 224)
                    with torch.no_grad():
                        features = model.encoder(pixels.to(next(model.encoder.parameters()).dtype))
                    tokens = model.encode_video(features=features)
                    # As Gpt4Video.embed and StageModule have it, whose masks would have to be numbers.
                    embeds = base.get_input_embeddings()(torch.zeros(rows, length, dtype=torch.int64))
                    mask = torch.zeros(rows, length, 1, dtype=torch.bool)
                    embeds = embeds.masked_scatter(mask, tokens.to(embeds.dtype))
                    hidden = base.model(inputs_embeds=embeds, use_cache=False).last_hidden_state
                    logits = base.lm_head(hidden[:, start:-1].reshape(-1, hidden.shape[-1]))
                    labels = torch.zeros(len(logits), dtype=torch.int64)
                    loss = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none").mean()
                del pixels, features, tokens, embeds, hidden, logits
                loss.backward()
                del loss
                optimizer.step()
                optimizer.zero_grad()
    sizes = find_sizes(Settings(sizes="gpt4video-7b"))
    work = Work(
        stage=stage, rows=rows, length=length, labels=len(labels), clips=rows, frames=8, half=half,
        checkpointing=checkpointing, cached=False, gpu=False,
    )  # fmt: skip
    estimate = count_memory(sizes, work)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    assert estimate.weights == pytest.approx(weights, rel=1e-3) and weights > 14e9
    assert estimate.total == pytest.approx(alive.peak, rel=0.15), (estimate, alive.peak)


def test_strategies_share_what_they_say():
    _, sizes = build(96, 2, "stage2")
    work = Work("stage2", 2, 64, 64, 2, 8, True, True, False, True)
    one, ddp = count_memory(sizes, work), count_memory(sizes, work, "ddp", 4)
    fsdp = count_memory(sizes, work, "fsdp", 4)
    assert ddp.weights == one.weights and ddp.activations == fsdp.activations
    assert fsdp.optimizer * 4 == one.optimizer and fsdp.weights < 2 * one.weights / 4 + 10
    cached = Work("stage2", 2, 64, 64, 2, 8, True, True, True, True)
    assert count_memory(sizes, cached).weights < one.weights


def test_the_dry_run_reads_no_weights_and_says_what_fits(capsys):
    words = ["--preset", "gpt4video-7b", "--devices", "8", "--dry-run", "--device-tflops", "300"]
    assert main(["stage2", *words, "--device-memory", "20", "--no-gradient-checkpointing"]) == 0
    text = capsys.readouterr().out
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "7.1" in lines["stage2:"] and "8.39 M" in lines["stage2:"]  # LLaMA-7B; LoRA of rank 16
    assert "does not fit" in lines["ddp"] and "does not fit" not in lines["deepspeed"]
    assert "s a step" in text
