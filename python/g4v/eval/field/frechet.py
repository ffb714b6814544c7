"""The Frechet distance between two sets of features: FID for pictures, FVD for videos."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from g4v.errors import ArgumentError


def frechet_distance(ours: npt.ArrayLike, theirs: npt.ArrayLike) -> float:
    """|m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)) of the Gaussians fitted to features [n1, D] and [n2, D].

    Dowson and Landau 1982; FID of Heusel et al., arXiv 1706.08500; FVD of Unterthiner et al., arXiv 1812.01717.
    Computed in float64. The trace of the root is the sum of the singular values of C1^(1/2) C2^(1/2), which
    are centred features up to a rotation: exact also where there are fewer samples than D, where the usual
    root of a singular matrix is not. Raises `ArgumentError` for fewer than two samples, another D, or NaN.
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
    a = (one - one.mean(axis=0)) / np.sqrt(len(one) - 1)
    b = (other - other.mean(axis=0)) / np.sqrt(len(other) - 1)
    # C = x'x for the scaled x [n, D]; so is C = r'r for the r of x = qr, which is no larger than D by D.
    a, b = (np.linalg.qr(x, mode="r") if len(x) > x.shape[1] else x for x in (a, b))
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(max(0.0, apart @ apart + (a * a).sum() + (b * b).sum() - 2 * root))
