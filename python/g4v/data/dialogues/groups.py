"""Groups of similar captions from their embeddings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from g4v.errors import ArgumentError, RuntimeUnavailable

_NEAR = 32  # neighbours looked at
_BLOCK = 1024  # rows compared at once
EXACT_UP_TO = 20_000  # rows; n^2 products of 20 000 rows take about a minute of one core


def similar_groups(
    vectors: np.ndarray,
    sizes: tuple[int, int] = (2, 3),
    low: float = 0.5,
    high: float = 0.97,
    index: str = "auto",
) -> list[list[int]]:
    """Disjoint groups of rows whose cosine similarities all lie in [low, high].

    vectors: float [n, d], rows of length 1. sizes: the fewest and most rows of a group. `high` keeps out
    captions that say the same. index: "exact", "approximate" (faiss, an HNSW graph) or "auto", which is exact
    up to EXACT_UP_TO rows. The closest pairs are grouped first; the result depends on nothing but the input.
    """
    if not 2 <= sizes[0] <= sizes[1] or not -1 <= low < high <= 1:
        raise ArgumentError("groups need at least two members and a range of similarities within -1 to 1")
    if len(vectors) < 2:
        return []
    vectors = np.ascontiguousarray(vectors, np.float32)
    if index == "auto":
        index = "exact" if len(vectors) <= EXACT_UP_TO else "approximate"
    blocks = {"exact": _exact, "approximate": _approximate}[index](vectors)
    near = np.full((len(vectors), min(_NEAR, len(vectors) - 1)), -1, np.int64)
    best = np.full(len(vectors), -2.0)
    for start, ids, scores in blocks:
        for row, (candidates, values) in enumerate(zip(ids, scores, strict=True), start):
            fits = [
                c for c, s in zip(candidates, values, strict=True) if c not in (-1, row) and low <= s <= high
            ]
            near[row, : len(fits)] = fits[: near.shape[1]]
            best[row] = max((s for c, s in zip(candidates, values, strict=True) if c in fits), default=-2.0)
    free = np.ones(len(vectors), bool)
    groups = []
    for row in np.argsort(-best, kind="stable"):
        if not free[row] or best[row] < low:
            continue
        group = [int(row)]
        for other in near[row]:
            if other < 0 or len(group) == sizes[1]:
                break
            products = vectors[group] @ vectors[other]
            if free[other] and low <= products.min() and products.max() <= high:
                group.append(int(other))
        if len(group) >= sizes[0]:
            free[group] = False
            groups.append(group)
    return groups


_Block = tuple[int, np.ndarray, np.ndarray]


def _exact(vectors: np.ndarray) -> Iterator[_Block]:
    count = min(4 * _NEAR, len(vectors))  # more than are kept: some are too similar
    for start in range(0, len(vectors), _BLOCK):
        scores = vectors[start : start + _BLOCK] @ vectors.T
        ids = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        values = np.take_along_axis(scores, ids, 1)
        order = np.argsort(-values, axis=1, kind="stable")
        yield start, np.take_along_axis(ids, order, 1), np.take_along_axis(values, order, 1)


def _approximate(vectors: np.ndarray) -> Iterator[_Block]:
    # faiss and not hnswlib, whose last release (2023) has no wheels.
    try:
        import faiss
    except ImportError:
        raise RuntimeUnavailable(
            "the approximate index needs faiss; install it with: pip install faiss-cpu, or use --index exact"
        ) from None
    index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 100, 8 * _NEAR
    index.add(vectors)
    for start in range(0, len(vectors), _BLOCK):
        scores, ids = index.search(vectors[start : start + _BLOCK], min(4 * _NEAR, len(vectors)))
        yield start, ids, scores
