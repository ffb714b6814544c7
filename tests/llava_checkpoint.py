"""Random checkpoints of LLaVA-NeXT-Video and Video-LLaVA, made by transformers, and what their processors make of
videos.
"""

# ruff: noqa: E501
from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from .python import chat_tokenizers
from .smolvlm_checkpoint import _KEPT, film  # noqa: F401 (torchvision must stay importable)

NEXT_VIDEO, VIDEO_LLAVA = "llava_next_video", "video_llava"
KINDS = (NEXT_VIDEO, VIDEO_LLAVA)
IMAGE, PATCH, WIDTH, LAYERS = 56, 14, 32, 3
TOKENS = {NEXT_VIDEO: 4, VIDEO_LLAVA: 17}  # of a frame
MEAN, STD = [0.48, 0.45, 0.4], [0.26, 0.25, 0.27]

# As the published models have it.
VICUNA = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'video') %}{{ '<video>\n' }}{% endfor %}"
    "{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}{% endfor %}"
    "{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
# Of the Mistral model: an answer ends with a token.
INST = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'video') %}{{ '<video>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] }}{% endfor %}"
    "{{ ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'][0]['text'] + '</s>' }}{% else %}{{ raise_exception('no system text') }}{% endif %}"
    "{% endfor %}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'video') %}{{ '<video>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] }}{% endfor %}"
    "{{ '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tokenizer(style: str = "legacy") -> Any:
    """A tokenizer with the tokens of images and videos.

    style: "legacy", Llama's with a space before every text behind a special token; "first", before the first
    text alone; "bytes", of another model, which has no such space.
    """
    from transformers import PreTrainedTokenizerFast

    if style == "bytes":
        source = chat_tokenizers.backend("chatml")
        bos, eos = "<s>", "<|im_end|>"
    else:
        source = chat_tokenizers.sentencepiece(metaspace=style == "first")
        bos, eos = "<s>", "</s>"
    copy = Tokenizer.from_str(source.to_str())
    chat_tokenizers.with_special(copy, ["<image>", "<video>"])
    if style != "bytes":
        copy.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=copy, bos_token=bos, eos_token=eos, pad_token=eos)


def video_settings(image: int = IMAGE, shortest: int | None = None, **changes: Any) -> dict[str, Any]:
    """The settings of a video processor as transformers 5 writes them."""
    return {
        **dict.fromkeys(("do_convert_rgb", "do_normalize", "do_rescale", "do_resize"), True),
        "do_center_crop": True,
        "do_sample_frames": False,
        "crop_size": {"height": image, "width": image},
        "size": {"shortest_edge": image if shortest is None else shortest},
        "image_mean": MEAN,
        "image_std": STD,
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "return_metadata": False,
    } | changes


def write_processor(folder: Path, kind: str, **changes: Any) -> None:
    """processor_config.json. changes: of the settings of the video processor."""
    names = {NEXT_VIDEO: "LlavaNextVideo", VIDEO_LLAVA: "VideoLlava"}
    images = {NEXT_VIDEO: "LlavaNextImageProcessor", VIDEO_LLAVA: "VideoLlavaImageProcessor"}
    settings = video_settings(**changes) | {"video_processor_type": f"{names[kind]}VideoProcessor"}
    whole = {
        "image_processor": {"image_processor_type": images[kind]},
        "image_token": "<image>",
        "num_additional_image_tokens": 1,
        "patch_size": PATCH,
        "processor_class": f"{names[kind]}Processor",
        "video_processor": settings,
        "video_token": "<video>",
        "vision_feature_select_strategy": "default",
    }
    (folder / "processor_config.json").write_text(json.dumps(whole), "utf-8")


def classes(kind: str) -> tuple[Any, Any, Any]:
    """The configuration, the model and the processor of transformers."""
    import transformers

    name = {NEXT_VIDEO: "LlavaNextVideo", VIDEO_LLAVA: "VideoLlava"}[kind]
    return (
        getattr(transformers, f"{name}Config"),
        getattr(transformers, f"{name}ForConditionalGeneration"),
        getattr(importlib.import_module(f"transformers.models.{kind}.processing_{kind}"), f"{name}Processor"),
    )


def make(
    folder: Path,
    kind: str,
    seed: int = 0,
    style: str = "legacy",
    template: str | None = VICUNA,
    text: dict[str, Any] | None = None,
    vision: dict[str, Any] | None = None,
    **changes: Any,
) -> Any:
    """Writes a checkpoint; returns its model, float32. changes: of the whole configuration."""
    config_class, model_class, _ = classes(kind)
    words = tokenizer(style)
    words.chat_template = template
    size = (len(words) + 63) // 64 * 64
    config = config_class(
        text_config={
            "model_type": "llama",
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "vocab_size": size,
            "max_position_embeddings": 4096,
            "bos_token_id": words.bos_token_id,
            "eos_token_id": words.eos_token_id,
            **(text or {}),
        },
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": WIDTH,
            "intermediate_size": 64,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 2,
            "image_size": IMAGE,
            "patch_size": PATCH,
            **(vision or {}),
        },
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        **changes,
    )
    torch.manual_seed(seed)
    model = model_class(config).eval()
    with torch.no_grad():  # so that answers depend on what is asked, and on the frames
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.mul_(6 if "language_model" in name or "lm_head" in name else 4)
            elif name.endswith("bias"):
                weight.normal_(0, 0.1)
    model.generation_config.eos_token_id = words.eos_token_id
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    write_processor(folder, kind, image=(vision or {}).get("image_size", IMAGE))
    return model


def processor(folder: Path, kind: str) -> Any:
    """transformers' processor of a checkpoint, but for images; without what it needs the test is skipped."""
    pytest.importorskip("torchvision")
    from transformers import PreTrainedTokenizerFast

    config_class, _, processor_class = classes(kind)
    name = {NEXT_VIDEO: "LlavaNextVideo", VIDEO_LLAVA: "VideoLlava"}[kind]
    module = importlib.import_module(f"transformers.models.{kind}.video_processing_{kind}")
    videos = getattr(module, f"{name}VideoProcessor").from_pretrained(folder)
    whole = json.loads((folder / "processor_config.json").read_text("utf-8"))
    settings = {
        key: value for key, value in whole.items() if not key.endswith(("_processor", "processor_class"))
    }
    words = PreTrainedTokenizerFast.from_pretrained(folder)
    images: Any = {NEXT_VIDEO: "LlavaNextImageProcessor", VIDEO_LLAVA: "VideoLlavaImageProcessor"}[kind]
    import transformers

    return processor_class(
        video_processor=videos,
        image_processor=getattr(transformers, images)(),
        tokenizer=words,
        chat_template=words.chat_template,
        **settings,
    )


def inputs(made: Any, question: str, frames: np.ndarray, system: str | None = None) -> Any:
    """What a processor makes of a question about frames, which it takes as they are."""
    messages: list[dict[str, Any]] = []
    if system is not None:
        messages.append({"role": "system", "content": [{"type": "text", "text": system}]})
    content = [{"type": "video"}, {"type": "text", "text": question}]
    messages.append({"role": "user", "content": content})
    text = made.apply_chat_template(messages, add_generation_prompt=True)
    return made(text=[text], videos=[frames], return_tensors="pt")
