"""The Frechet distance between two sets of features: FID for pictures, FVD for videos."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from g4v.errors import ArgumentError


def frechet_distance(ours: npt.ArrayLike, theirs: npt.ArrayLike) -> float:
    """|m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)) of the Gaussians fitted to features [n1, D] and [n2, D].

    Dowson and Landau 1982; FID: Heusel et al., arXiv 1706.08500; FVD: Unterthiner et al., arXiv 1812.01717.
    In float64. With C1 = a'a and C2 = b'b the trace of the root is the sum of the singular values of ab', so
    that no root of a matrix is taken: exact also for fewer samples than D, where the usual root of a singular
    matrix is not. Raises `ArgumentError` for fewer than two samples, another D, or NaN.
    """
    one, other = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    for features in (one, other):
        if features.ndim != 2 or len(features) < 2:
            raise ArgumentError(f"features are [n, D] with n of at least 2, not {list(features.shape)}")
        if not np.isfinite(features).all():
            raise ArgumentError("the features have values that are not finite")
    if one.shape[1] != other.shape[1]:
        raise ArgumentError(f"features of {one.shape[1]} and {other.shape[1]} values cannot be compared")
    apart = one.mean(axis=0) - other.mean(axis=0)
    a, b = _root(one), _root(other)
    trace = float((a * a).sum() + (b * b).sum())
    both = float(np.linalg.svd(a @ b.T, compute_uv=False).sum())
    return max(0.0, float(apart @ apart) + trace - 2 * both)


def _root(features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """x with x'x the covariance of features [n, D] (over n - 1); at most D rows."""
    x = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    # x = qr with orthonormal columns in q, so that r'r is x'x.
    return np.asarray(np.linalg.qr(x, mode="r")) if len(x) > x.shape[1] else x
