"""Random SmolVLM2 checkpoints, made by transformers, and what its processor makes of videos."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

IMAGE, PATCH, SCALE = 64, 8, 2
_TEXT = "You are provided the following series of frames from a video. User: Assistant: Frame from what moves"
_SPECIAL = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", "<row_1_col_1>")


def _torchvision() -> list[Any]:
    """Makes torchvision importable, if it is installed; returns what must stay alive for it.

    transformers' video processor resizes with it, and nothing else of it is needed. Of a build that does not
    find its operators (one for GPUs on a machine without) the two that it looks for at once are declared, and
    never called.
    """
    if importlib.util.find_spec("torchvision") is None:
        return []
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401

        return [library]
    return []


_KEPT = _torchvision()


def video_processor(folder: Path) -> Any:
    """transformers' processor of a checkpoint; without what it needs the test is skipped."""
    for name in ("num2words", "torchvision"):
        pytest.importorskip(name)
    from transformers import SmolVLMProcessor

    return SmolVLMProcessor.from_pretrained(folder)


def tokenizer() -> Any:
    """A byte-level BPE tokenizer as SmolLM2's, with the tokens of SmolVLM2."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([_TEXT] * 4, trainer)
    made.add_special_tokens(list(_SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        unk_token="<|endoftext|>",
        pad_token="<|im_end|>",
    )


def processor_settings(image: int, longest: int, tokens: int) -> dict[str, Any]:
    """processor_config.json as transformers 5 writes it."""
    shared: dict[str, Any] = {
        **dict.fromkeys(("do_convert_rgb", "do_normalize", "do_pad", "do_rescale", "do_resize"), True),
        "image_mean": [0.5, 0.45, 0.4],
        "image_std": [0.5, 0.55, 0.6],
        "max_image_size": {"longest_edge": image},
        "resample": 1,
        "rescale_factor": 0.00392156862745098,
        "size": {"longest_edge": longest},
    }
    images = {**shared, "do_image_splitting": True, "image_processor_type": "SmolVLMImageProcessor"}
    sampling = {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": longest}}
    videos = {
        **shared,
        "do_sample_frames": False,
        "fps": 1,
        "num_frames": 64,
        "return_metadata": False,
        "video_processor_type": "SmolVLMVideoProcessor",
        "video_sampling": sampling,
    }
    return {
        "image_processor": images,
        "image_seq_len": tokens,
        "processor_class": "SmolVLMProcessor",
        "video_processor": videos,
    }


def make(folder: Path, seed: int = 0, real: bool = False) -> Any:
    """Writes a checkpoint; returns its model, float32. real: the widths of SmolVLM2-256M, of few layers."""
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    words = tokenizer()
    end, image_token = (words.convert_tokens_to_ids(f"<{name}>") for name in ("end_of_utterance", "image"))
    text: dict[str, Any] = {
        "model_type": "llama",
        "hidden_size": 576 if real else 48,
        "intermediate_size": 1536 if real else 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 9 if real else 3,
        "num_key_value_heads": 3 if real else 1,
        "head_dim": 64 if real else 16,
        "vocab_size": 49280 if real else 512,
        "max_position_embeddings": 8192,
        "pad_token_id": 2,
        "eos_token_id": end,
        "rope_theta": 100000.0,
    }
    vision = {
        "hidden_size": 768 if real else 32,
        "intermediate_size": 3072 if real else 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 12 if real else 2,
        "image_size": 512 if real else IMAGE,
        "patch_size": 16 if real else PATCH,
    }
    scale = 4 if real else SCALE
    config = SmolVLMConfig(
        text_config=text, vision_config=vision, scale_factor=scale, image_token_id=image_token
    )
    torch.manual_seed(seed)
    model = SmolVLMForConditionalGeneration(config).eval()
    with torch.no_grad():  # so that answers depend on what is asked, and on the frames
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and not real:
                weight.mul_(6 if "text_model" in name or "lm_head" in name else 4)
    model.save_pretrained(folder)
    size, longest = vision["image_size"], 2048 if real else 100
    side = size // (vision["patch_size"] * scale)
    words.save_pretrained(folder)
    settings = processor_settings(size, longest, side * side)
    (folder / "processor_config.json").write_text(json.dumps(settings), "utf-8")
    return model


def film(frames: int, seed: int = 0, height: int = 48, width: int = 64) -> np.ndarray:
    """Soft random pictures, uint8 [T, H, W, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (frames, 6, 8, 3)).astype(np.uint8)
    return np.ascontiguousarray(coarse.repeat(height // 6, 1).repeat(width // 8, 2))


def conversation(question: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": question}]}]


def inputs(made: Any, question: str, video: np.ndarray, fps: float) -> Any:
    """What the processor makes of a question about a film that it samples itself."""
    from transformers.video_utils import VideoMetadata

    text = made.apply_chat_template(conversation(question), add_generation_prompt=True)
    about = VideoMetadata(total_num_frames=len(video), fps=fps, duration=len(video) / fps)
    return made(
        text=[text], videos=[video], video_metadata=[about], do_sample_frames=True, return_tensors="pt"
    )
