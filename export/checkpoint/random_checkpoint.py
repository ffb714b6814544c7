"""Writes a training run with random weights, as `python -m g4v.export.random_checkpoint` does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from g4v._files import write_json
from g4v.model.config import FrameCheckerConfig
from g4v.model.presets import PRESETS, Preset
from g4v.model.prompt import PromptTemplate, default_system
from g4v.model.vision import build_encoder

PAD, BOS, EOS = 0, 1, 2

_SENTENCES = (
    "What moves here? A red circle moves left on a black background.",
    "Show me a green star growing and a blue square moving up.",
    "Here is a video: <video> an orange triangle spinning on a navy background </video>",
    "I'm sorry, but I can't help with that. Shall we talk about something else?",
    default_system("GPT4Video"),
)


def write_random_checkpoint(
    out: str | Path,
    preset: Preset = PRESETS["tiny"],
    seed: int = 0,
    vocab_size: int = 384,
    flavour: str | None = None,
    sentences: Iterable[str] = _SENTENCES,
) -> Path:
    """Writes a training run with random float16 weights into the folder `out` and returns its path.

    The folder is made if it is missing; files of a run in it are replaced. The run has every part: encoder,
    abstractor, frame checker, language model, LoRA adapter and text-to-video model.

    preset: sizes and classes of the parts.
    seed: of PyTorch's generator; the same arguments give the same files.
    vocab_size: number of tokens of the tokenizer, which is trained on `sentences`; at least 259.
    flavour: "clip" or "mplug-owl-video", the class of the encoder; None takes the preset's.
    sentences: training text of the tokenizer.
    """
    from diffusers import AutoencoderKL, DDIMScheduler, UNet3DConditionModel
    from peft import LoraConfig, get_peft_model
    from transformers import CLIPTextModel, CLIPVisionConfig, LlamaForCausalLM

    from g4v.model.abstractor import VideoAbstractor
    from g4v.model.frame_checker import FrameChecker

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    tokenizer = _train_tokenizer(sentences, vocab_size)
    size = len(tokenizer)
    token_ids = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}

    config = preset.encoder_config()
    if (flavour or preset.flavour) == "clip" and preset.flavour != "clip":
        config = CLIPVisionConfig(
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            intermediate_size=config.intermediate_size,
            image_size=config.image_size,
            patch_size=config.patch_size,
        )
    encoder = _add_noise(build_encoder(config))
    (encoder.model if flavour == "clip" else encoder).half().save_pretrained(out / "encoder")
    _add_noise(VideoAbstractor(preset.abstractor)).save_pretrained(out / "abstractor", torch.float16)
    checker = FrameChecker(FrameCheckerConfig(encoder.hidden_size, 16))
    _add_noise(checker).save_pretrained(out / "frame_checker", torch.float16)

    llm = _add_noise(LlamaForCausalLM(preset.llama_config(size, **token_ids)))
    llm.half().save_pretrained(out / "llm")
    tokenizer.save_pretrained(out / "llm")
    adapted = get_peft_model(llm.float(), LoraConfig(**preset.lora, task_type="CAUSAL_LM"))
    _add_noise(adapted, only="lora_B")
    adapted.save_pretrained(str(out / "adapter"))

    t2v = out / "t2v"
    _add_noise(CLIPTextModel(preset.text_config(size, **token_ids))).half().save_pretrained(
        t2v / "text_encoder"
    )
    tokenizer.save_pretrained(t2v / "tokenizer")
    _add_noise(UNet3DConditionModel(**preset.unet)).half().save_pretrained(t2v / "unet")
    _add_noise(AutoencoderKL(**preset.vae)).half().save_pretrained(t2v / "vae")
    DDIMScheduler.from_config(preset.scheduler).save_pretrained(t2v / "scheduler")

    edge = preset.vae.get("sample_size", 256)
    about = {
        "name": f"{preset.name}-random",
        "assistant": "g4v",
        "description": "Random weights: every part has its real shape, nothing has been learned.",
        "prompt": PromptTemplate(turn_end_id=EOS, bos_id=BOS, system=default_system("g4v")).to_manifest(),
        "frames": preset.frames,
        "generation": {
            "text": {"max_new_tokens": 32},
            "video": {
                "frames": 8,
                "width": edge,
                "height": edge,
                "fps": 8,
                "steps": 4,
                "guidance_scale": 4.0,
            },
        },
        "licences": [{"component": "all", "licence": "Apache-2.0"}],
        "provenance": {"weights": f"random, seed {seed}"},
    }
    write_json(out / "g4v_train.json", about)
    return out


@torch.no_grad()
def _add_noise(module: Any, only: str = "") -> Any:
    """Adds noise to every parameter whose name contains `only`; sets evaluation mode."""
    for name, parameter in module.named_parameters():
        if only in name:
            parameter.add_(torch.randn_like(parameter) * 0.03)
    return module.eval()


def _train_tokenizer(sentences: Iterable[str], vocab_size: int) -> Any:
    """A byte-level BPE as a `transformers` fast tokenizer, with <pad>, <s> and </s> as its first ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
