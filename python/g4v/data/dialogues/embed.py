"""Embeddings of captions: hashed words, a local model folder, or the endpoint."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from g4v.errors import ArgumentError, RuntimeUnavailable

_WORD = re.compile(r"\w+")
_BATCH, _LONGEST = 32, 128  # texts, tokens


def normalised(vectors: np.ndarray) -> np.ndarray:
    """float32 [n, d] with rows of length 1; ArgumentError for values that are not finite."""
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ArgumentError("the embeddings are not finite vectors of one length")
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def word_vectors(texts: Sequence[str], width: int = 1024) -> np.ndarray:
    """[n, width] without any model: words weighted by how rare they are, hashed into `width` places with a
    sign. Captions are similar as far as they share words.
    """
    words = [Counter(_WORD.findall(text.casefold())) for text in texts]
    spread = Counter(word for counts in words for word in counts)
    vectors = np.zeros((len(texts), width), np.float32)
    for row, counts in enumerate(words):
        for word, count in counts.items():
            place = zlib.crc32(word.encode())
            sign = 1 if place & 0x80000000 else -1
            vectors[row, place % width] += sign * count * math.log((1 + len(texts)) / spread[word])
    return normalised(vectors)


def folder_vectors(folder: Path, texts: Sequence[str]) -> np.ndarray:
    """[n, d] of a sentence-transformers-like folder: tokenizer.json with model.onnx (or onnx/model.onnx),
    else a `transformers` model in safetensors. Pooling follows 1_Pooling/config.json; the mean without one.
    """
    if not (folder / "tokenizer.json").is_file():
        raise ArgumentError(f"{folder} has no tokenizer.json: it is no folder of an embedding model")
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise RuntimeUnavailable("tokenizers is missing; install it with: pip install tokenizers") from None
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises bare Exceptions
        raise ArgumentError(f"{folder / 'tokenizer.json'} cannot be read: {error}") from None
    tokenizer.enable_truncation(_LONGEST)
    tokenizer.enable_padding(pad_id=_pad_id(folder, tokenizer))
    first_only = _pools_first(folder)
    forward = _onnx(folder) or _torch(folder)
    parts = []
    for start in range(0, len(texts), _BATCH):
        encoded = tokenizer.encode_batch(list(texts[start : start + _BATCH]))
        ids = np.array([e.ids for e in encoded], np.int64)
        mask = np.array([e.attention_mask for e in encoded], np.int64)
        hidden = forward(ids, mask)  # [batch, tokens, d], or [batch, d] from a model that pools itself
        if hidden.ndim == 3 and first_only:
            hidden = hidden[:, 0]
        elif hidden.ndim == 3:
            weights = mask[..., None].astype(np.float32)
            hidden = (hidden * weights).sum(1) / np.maximum(weights.sum(1), 1)
        parts.append(hidden)
    return normalised(np.concatenate(parts))


def _pad_id(folder: Path, tokenizer: Any) -> int:
    for token in ("[PAD]", "<pad>", "<|endoftext|>", "</s>"):
        if (number := tokenizer.token_to_id(token)) is not None:
            return int(number)
    return 0


def _pools_first(folder: Path) -> bool:
    try:
        settings = json.loads((folder / "1_Pooling" / "config.json").read_text("utf-8-sig"))
        return bool(settings.get("pooling_mode_cls_token"))
    except (OSError, ValueError, AttributeError):
        return False


def _onnx(folder: Path) -> Any:
    path = next((p for p in (folder / "model.onnx", folder / "onnx" / "model.onnx") if p.is_file()), None)
    if path is None:
        return None
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exception types have no public home
        raise ArgumentError(f"{path} cannot be loaded: {error}") from None
    names = {i.name for i in session.get_inputs()}
    known = {"input_ids", "attention_mask", "token_type_ids"}
    if "input_ids" not in names or names - known:
        raise ArgumentError(f"{path} has the inputs {', '.join(sorted(names))}, not those of a text encoder")

    def forward(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return np.asarray(session.run(None, {n: feeds[n] for n in names})[0])

    return forward


def _torch(folder: Path) -> Any:
    try:
        import torch
        from transformers import AutoModel
    except ImportError:
        raise RuntimeUnavailable(
            'this folder needs PyTorch; install it with: pip install "g4v[train]"'
        ) from None
    try:
        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{folder} cannot be loaded: {str(error).splitlines()[0]}") from None

    def forward(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            out = model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask))
        return out.last_hidden_state.float().numpy()

    return forward
