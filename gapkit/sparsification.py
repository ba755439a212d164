"""Choose the sparse points: few environments that stand for all (scikit-matter, scikit-learn)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from numbers import Integral
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gapkit._numba.sparsification import distinct_rows
from gapkit.errors import InputError, did_you_mean

__all__ = ["select_sparse_points"]

_Array: TypeAlias = NDArray[np.float64]
_Indices: TypeAlias = NDArray[np.int64]

_DUPLICATE_DISTANCE = 1e-6  # of unit rows; two such points make K_mm singular to about 1e-12
_RANK_TOLERANCE = 1e-12  # of the largest eigenvalue of XᵀX: below, its directions are round-off


def select_sparse_points(
    features: ArrayLike, n_sparse: int, method: str = "fps", random_state: int | None = 0
) -> _Indices:
    """Indices of the environments to use as sparse points.

    Environments nearer than 1e-6 to one another count as one, so that the sparse points are all distinct.

    Parameters
    ----------
    features
        (n, n_features), normalised rows (unit length) of the environments of one species.
    n_sparse
        Number of sparse points.
    method
        ``"fps"``: farthest point sampling, starting from the row farthest from the mean, no randomness.
        ``"cur"``: drawn without replacement, with probabilities proportional to the leverage scores.
        ``"kmeans"``: the real environment nearest to the centre of each cluster, largest cluster first.
        ``"random"``: uniform without replacement.
    random_state
        Seed of ``"cur"``, ``"kmeans"`` and ``"random"``; None draws anew each time.

    Returns
    -------
    indices
        (n_selected,) int64, in order of selection. If there are fewer than `n_sparse` distinct environments, all of
        them, in ascending order, with a warning.

    Raises
    ------
    InputError
        Unknown method, `n_sparse` below 1, features that are empty, not two-dimensional, NaN or infinite.

    References
    ----------
    FPS for environments: Imbalzano et al., J. Chem. Phys. 148, 241730 (2018). CUR: Mahoney and Drineas, Proc. Natl.
    Acad. Sci. 106, 697 (2009).
    """
    X = _checked(features)
    if method not in _METHODS:
        raise InputError(f"unknown sparsification method {method!r}{did_you_mean(str(method), _METHODS)}.")
    if isinstance(n_sparse, bool) or not isinstance(n_sparse, Integral) or n_sparse < 1:
        raise InputError(f"n_sparse must be a whole number of at least 1, got {n_sparse!r}.")
    distinct = _find_distinct(X)
    if n_sparse > len(distinct):
        warnings.warn(
            f"n_sparse = {n_sparse} exceeds the {len(distinct)} distinct environments, which are all selected.",
            UserWarning,
            stacklevel=2,
        )
    if n_sparse >= len(distinct):
        return distinct
    return distinct[_METHODS[method](X[distinct], int(n_sparse), random_state)]


def _checked(features: ArrayLike) -> _Array:
    X = np.ascontiguousarray(features, dtype=np.float64)
    if X.ndim != 2 or 0 in X.shape:
        raise InputError(f"features must have shape (n, n_features) with at least one row and column, got {X.shape}.")
    if not np.isfinite(X).all():
        row = int(np.argwhere(~np.isfinite(X))[0, 0])
        raise InputError(f"features are NaN or infinite in row {row}; check the geometry of that environment.")
    return X


def _find_distinct(X: _Array) -> _Indices:
    """Ascending indices of rows that are all farther than `_DUPLICATE_DISTANCE` from one another."""
    direction = X[_farthest_from_mean(X)] - X.mean(axis=0)
    length = np.linalg.norm(direction)
    projection = X @ (direction / length) if length > 0 else np.zeros(len(X))
    order = np.argsort(projection, kind="stable")
    return np.sort(distinct_rows(X, order, projection, _DUPLICATE_DISTANCE))


def _farthest_from_mean(X: _Array) -> int:
    return int(np.argmax(((X - X.mean(axis=0)) ** 2).sum(axis=1)))


def _select_fps(X: _Array, n_sparse: int, random_state: int | None) -> _Indices:
    # VoronoiFPS selects the same points as FPS, but skips by the triangle inequality what cannot have come nearer:
    # 15 000 × 252 → 1500 on one core takes 0.5 s (silicon SOAP) to 2.7 s (random unit rows), FPS 5.2 s.
    # The fixed full_fraction replaces a choice by stopwatch, which would not be reproducible.
    from skmatter.sample_selection import VoronoiFPS

    selector = VoronoiFPS(n_to_select=n_sparse, initialize=_farthest_from_mean(X), full_fraction=0.1)
    # a column of zeros changes no distance, but scikit-matter refuses a single feature (a pair distance)
    padded = X if X.shape[1] > 1 else np.hstack([X, np.zeros_like(X)])
    return selector.fit(padded).selected_idx_.astype(np.int64)


def _select_cur(X: _Array, n_sparse: int, random_state: int | None) -> _Indices:
    # Rows drawn with probability ∝ leverage (Mahoney and Drineas). Taking the n largest leverages instead, as
    # scikit-matter's CUR does without recomputation, collects neighbours of the same outliers: on 15 000 silicon SOAP
    # rows, 300 points, ζ = 4, the mean of 1 - k_iᵀ K_mm⁻¹ k_i was 1.2e-4, with draws 1.2e-6, fps 1.4e-6, random 8e-6.
    # Recomputation takes 13 s per 100 points there.
    leverage = _leverage_scores(X, n_sparse)
    gumbel = np.random.default_rng(random_state).gumbel(size=len(X))
    keys = np.log(leverage + np.finfo(np.float64).tiny) + gumbel  # descending keys = draws without replacement
    return np.argsort(-keys, kind="stable")[:n_sparse]


def _leverage_scores(X: _Array, n_directions: int) -> _Array:
    """Σ_k U_ik² over the leading left singular vectors of X, at most `n_directions` and only the resolved ones."""
    eigenvalues, V = np.linalg.eigh(X.T @ X)
    rank = int((eigenvalues > _RANK_TOLERANCE * eigenvalues[-1]).sum())
    leading = slice(len(eigenvalues) - min(rank, n_directions), None)
    return ((X @ V[:, leading]) ** 2 / eigenvalues[leading]).sum(axis=1)


def _select_kmeans(X: _Array, n_sparse: int, random_state: int | None) -> _Indices:
    from sklearn.cluster import KMeans

    # 15 000 × 252 → 1500: the seeding (7 s) decides; three steps then give a smaller inertia (2.5) than MiniBatchKMeans
    # run to its end (2.9 in 14 s)
    clusters = KMeans(n_sparse, n_init=1, max_iter=3, random_state=random_state).fit(X)
    distance = ((X - clusters.cluster_centers_[clusters.labels_]) ** 2).sum(axis=1)
    by_cluster = np.lexsort((distance, clusters.labels_))  # members of a cluster together, nearest first
    _, first, population = np.unique(clusters.labels_[by_cluster], return_index=True, return_counts=True)
    nearest = by_cluster[first][np.argsort(-population, kind="stable")]
    return _filled(X, nearest, n_sparse)


def _filled(X: _Array, chosen: _Indices, n_sparse: int) -> _Indices:
    """Replace empty clusters: append the rows farthest from what is chosen, until there are `n_sparse`."""
    selected = chosen.tolist()
    nearest = np.full(len(X), np.inf)
    if len(selected) < n_sparse:
        for row in selected:
            nearest = np.minimum(nearest, ((X - X[row]) ** 2).sum(axis=1))
    while len(selected) < n_sparse:
        selected.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, ((X - X[selected[-1]]) ** 2).sum(axis=1))
    return np.array(selected, dtype=np.int64)


def _select_random(X: _Array, n_sparse: int, random_state: int | None) -> _Indices:
    return np.random.default_rng(random_state).permutation(len(X))[:n_sparse]


_METHODS: dict[str, Callable[[_Array, int, int | None], _Indices]] = {
    "fps": _select_fps,
    "cur": _select_cur,
    "kmeans": _select_kmeans,
    "random": _select_random,
}
