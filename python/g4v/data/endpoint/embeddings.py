"""Vectors of texts from /embeddings, each paid for once."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from g4v.data.endpoint.client import Endpoint, usage_of
from g4v.data.endpoint.completions import estimate_tokens
from g4v.data.endpoint.journal import Journal
from g4v.errors import RuntimeUnavailable

_EMBEDDED_AT_ONCE = 64


def embedding_key(model: str, text: str) -> str:
    """The key of a text's vector in the journal: a hash of model and text."""
    return hashlib.sha256(f"{model}\n{text}".encode()).hexdigest()


async def endpoint_vectors(
    texts: Sequence[str], model: str, endpoint: Endpoint, journal: Journal
) -> np.ndarray:
    """Vectors of the texts, float32 [n, d], from /embeddings; those in the journal are not asked for again.

    RuntimeUnavailable: the answer is not one finite vector for each text. Raises what `Endpoint.post` raises.
    """
    keys = [embedding_key(model, text) for text in texts]
    known = {r.get("key"): r.get("vector") for r in journal.records if r.get("type") == "embedding"}
    missing = [i for i, key in enumerate(keys) if key not in known]
    for start in range(0, len(missing), _EMBEDDED_AT_ONCE):
        part = missing[start : start + _EMBEDDED_AT_ONCE]
        body = {"model": model, "input": [texts[i] for i in part]}
        payload, _ = await endpoint.post("/embeddings", body, sum(estimate_tokens(texts[i]) for i in part))
        vectors = _vectors(payload, len(part))
        usage = usage_of(payload or {})[2]
        for i, vector in zip(part, vectors, strict=True):
            known[keys[i]] = base64.b64encode(vector.astype("<f4").tobytes()).decode()
            record = {"type": "embedding", "key": keys[i], "vector": known[keys[i]], "prompt_tokens": usage}
            usage = 0  # counted once for the request
            journal.add(record)
    rows = [np.frombuffer(base64.b64decode(known[key] or ""), "<f4") for key in keys]
    if len({len(row) for row in rows}) > 1:
        raise RuntimeUnavailable("the endpoint's embeddings have different lengths")
    return np.stack(rows)


def _vectors(payload: dict[str, Any] | None, count: int) -> list[np.ndarray]:
    try:
        rows = sorted((payload or {})["data"], key=lambda row: row["index"])
        vectors = [np.asarray(row["embedding"], np.float32) for row in rows]
    except (KeyError, TypeError, ValueError):
        vectors = []
    if len(vectors) != count or any(v.ndim != 1 or not v.size or not np.isfinite(v).all() for v in vectors):
        raise RuntimeUnavailable(
            "the endpoint's answer to /embeddings is not one finite vector for each text"
        )
    return vectors
