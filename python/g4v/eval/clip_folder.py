"""A CLIP model in a local folder, for CLIPSIM and for features of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from g4v._files import one_line, read_json
from g4v.errors import ArgumentError, RuntimeUnavailable
from g4v.eval.pictures import Frames, crop_to

# Of the pictures OpenAI's CLIP was trained on; a folder's preprocessor_config.json may say otherwise.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_BATCH = 16


class ClipFolder:
    """CLIPModel of a Hugging Face folder with safetensors weights, in float32 on the CPU.

    Raises `ArgumentError` where the folder holds none, `RuntimeUnavailable` without PyTorch or transformers.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import torch
            from transformers import AutoTokenizer, CLIPModel
        except ImportError as error:
            raise RuntimeUnavailable(
                f"{error.name} is missing; install it with: pip install 'g4v[train]'"
            ) from None
        if not (folder / "config.json").is_file():
            raise ArgumentError(f"{folder} is no folder of a CLIP model: config.json is missing")
        self._torch: Any = torch
        try:
            self._model: Any = CLIPModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            ).eval()
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise ArgumentError(
                f"{folder} cannot be loaded as a CLIP model: {one_line(error)[:200]}"
            ) from None
        self._side = int(self._model.config.vision_config.image_size)
        self._mean, self._std = _normalisation(folder)

    def pictures(self, frames: Frames) -> npt.NDArray[np.float64]:
        """Projected features [n, D] of frames uint8 [n, H, W, 3]."""
        found = []
        for i in range(0, len(frames), _BATCH):
            pixels = crop_to(frames[i : i + _BATCH], self._side).astype(np.float32) / 255
            pixels = ((pixels - self._mean) / self._std).transpose(0, 3, 1, 2)
            with self._torch.inference_mode():
                hidden = self._model.vision_model(
                    pixel_values=self._torch.from_numpy(np.ascontiguousarray(pixels))
                )
                found.append(self._model.visual_projection(hidden.pooler_output).double().numpy())
        return np.concatenate(found)

    def texts(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Projected features [n, D]; texts are cut to what the model reads."""
        most = int(self._model.config.text_config.max_position_embeddings)
        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=most, return_tensors="pt"
        )
        with self._torch.inference_mode():
            hidden = self._model.text_model(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            )
            return np.asarray(self._model.text_projection(hidden.pooler_output).double().numpy())


def _normalisation(folder: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean and standard deviation of each channel, float32 [3]."""
    path = folder / "preprocessor_config.json"
    if not path.exists():
        return np.asarray(_MEAN, np.float32), np.asarray(_STD, np.float32)
    values = read_json(path)
    try:
        mean, std = (np.asarray(values[name], np.float32) for name in ("image_mean", "image_std"))
    except (ValueError, KeyError, TypeError) as error:
        raise ArgumentError(f"{path} cannot be used: {error}") from None
    if mean.shape != (3,) or std.shape != (3,) or not (std > 0).all():
        raise ArgumentError(f"{path}: image_mean and image_std must be 3 numbers")
    return mean, std


def clipsim(clip: ClipFolder, videos: Sequence[Frames], captions: Sequence[str]) -> npt.NDArray[np.float64]:
    """Mean cosine of a caption with the frames of its video, float64 [n], -1 to 1.

    videos: uint8 [T, H, W, 3] each. CLIPSIM of Wu et al., arXiv 2104.14806.
    """
    words = clip.texts(captions)
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    scores = []
    for frames, text in zip(videos, words, strict=True):
        features = clip.pictures(frames)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        scores.append(float((features @ text).mean()))
    return np.asarray(scores, np.float64)
