"""A complete training run with random weights: for tests, for timing, and as an example of the layout.

    python -m g4v.export.checkpoint.random_checkpoint OUT [--preset tiny] [--seed 0] [--flavour clip]

Its assistant speaks gibberish, but every part has the preset's classes and sizes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from g4v.model.config import PRESETS, FrameCheckerConfig, Preset
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
    """Writes the run into `out` (made if missing, files in it replaced) with float16 weights; returns its
    path.

    vocab_size: tokens of the tokenizer that is trained on `sentences`, at least 259. flavour: of the encoder,
    by default the preset's. The same arguments give the same files.
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
    encoder = _shake(build_encoder(config))
    (encoder.model if flavour == "clip" else encoder).half().save_pretrained(out / "encoder")
    _shake(VideoAbstractor(preset.abstractor)).save_pretrained(out / "abstractor", torch.float16)
    checker = FrameChecker(FrameCheckerConfig(encoder.hidden_size, 16))
    _shake(checker).save_pretrained(out / "frame_checker", torch.float16)

    llm = _shake(LlamaForCausalLM(preset.llama_config(size, **token_ids)))
    llm.half().save_pretrained(out / "llm")
    tokenizer.save_pretrained(out / "llm")
    adapted = get_peft_model(llm.float(), LoraConfig(**preset.lora, task_type="CAUSAL_LM"))
    _shake(adapted, only="lora_B")
    adapted.save_pretrained(out / "adapter")

    t2v = out / "t2v"
    _shake(CLIPTextModel(preset.text_config(size, **token_ids))).half().save_pretrained(t2v / "text_encoder")
    tokenizer.save_pretrained(t2v / "tokenizer")
    _shake(UNet3DConditionModel(**preset.unet)).half().save_pretrained(t2v / "unet")
    _shake(AutoencoderKL(**preset.vae)).half().save_pretrained(t2v / "vae")
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
    (out / "g4v_train.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return out


@torch.no_grad()
def _shake(module: Any, only: str = "") -> Any:
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


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--flavour", choices=["clip", "mplug-owl-video"])
    options = parser.parse_args()
    preset = PRESETS[options.preset]
    print(write_random_checkpoint(options.out, preset, options.seed, flavour=options.flavour))
    return 0


if __name__ == "__main__":
    sys.exit(main())
