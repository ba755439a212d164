"""Choice of sparse points: few environments that represent all. k-means is scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from gapkit._numba import sparsification as loops
from gapkit.checks import is_count
from gapkit.errors import InputError, did_you_mean, warn

__all__ = ["Cover", "farthest_points", "select_sparse_points"]

_Array: TypeAlias = NDArray[np.float64]
_Indices: TypeAlias = NDArray[np.int64]

DUPLICATE_DISTANCE = 1e-6  # of unit rows; two such points make K_mm singular to about 1e-12
_RANK_TOLERANCE = 1e-12  # of the largest eigenvalue of XᵀX: below, its directions are round-off
_ROWS_TOGETHER = 1024  # rows of a temporary array


class Cover(NamedTuple):
    """Chosen rows and how near all others are to them.

    Attributes
    ----------
    chosen : ndarray of int64, shape (n_chosen,)
        In order of selection.
    square : ndarray, shape (n,)
        Squared distance of each row to the nearest chosen one.
    nearest : ndarray of int64, shape (n,)
        Which one that is: a place in `chosen`.
    """

    chosen: _Indices
    square: _Array
    nearest: _Indices


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
        The first k of n points are the choice of k points with ``"fps"`` and ``"random"``; with ``"cur"`` once k is at
        least the rank of the features; never with ``"kmeans"``.
    random_state
        Seed of ``"cur"``, ``"kmeans"`` and ``"random"``; None draws differently each time.

    Returns
    -------
    indices
        (n_selected,) int64, in order of selection. If there are fewer than `n_sparse` distinct environments, all of
        them, with a warning.

    Raises
    ------
    InputError
        Unknown method, `n_sparse` below 1, features that are empty, not two-dimensional, NaN or infinite.

    References
    ----------
    FPS for environments: Imbalzano et al., J. Chem. Phys. 148, 241730 (2018). CUR: Mahoney and Drineas, Proc. Natl.
    Acad. Sci. 106, 697 (2009).
    """
    X = check_features(features)
    check_choice(n_sparse, method)
    distinct = find_distinct(X)
    warn_if_few(len(distinct), n_sparse)
    part = X if len(distinct) == len(X) else X[distinct]
    return distinct[choose_distinct(part, n_sparse, method, random_state)]


def check_choice(n_sparse: int, method: str) -> None:
    """Raise `InputError` unless the method is known and the number of sparse points positive."""
    if method not in _METHODS:
        raise InputError(f"unknown sparsification method {method!r}{did_you_mean(str(method), _METHODS)}.")
    if not is_count(n_sparse):
        raise InputError(f"n_sparse must be a whole number of at least 1, got {n_sparse!r}.")


def warn_if_few(n_distinct: int, n_sparse: int) -> None:
    """Warn if there are fewer distinct environments than sparse points."""
    if n_sparse > n_distinct:
        warn(
            f"n_sparse = {n_sparse} exceeds the {n_distinct} distinct environments, which are all selected.",
            UserWarning,
        )


def check_features(features: ArrayLike, first_row: int = 0) -> _Array:
    """C-contiguous float64 rows; `InputError` if they are empty, not two-dimensional, NaN or infinite."""
    X = np.ascontiguousarray(features, dtype=np.float64)
    if X.ndim != 2 or 0 in X.shape:
        raise InputError(f"features must have shape (n, n_features) with at least one row and column, got {X.shape}.")
    if not np.isfinite(X.sum()) and not np.isfinite(X).all():  # the sum makes no array
        row = first_row + int(np.argwhere(~np.isfinite(X))[0, 0])
        raise InputError(f"features are NaN or infinite in row {row}; check the geometry of that environment.")
    return X


def find_distinct(X: _Array) -> _Indices:
    """Ascending indices of rows that are all farther than 1e-6 from one another."""
    direction = X[_farthest_from_mean(X)] - X.mean(axis=0)
    length = np.linalg.norm(direction)
    projection = X @ (direction / length) if length > 0 else np.zeros(len(X))
    order = np.argsort(projection, kind="stable")
    return np.sort(loops.distinct_rows(X, order, projection, DUPLICATE_DISTANCE))


def choose_distinct(X: _Array, n_sparse: int, method: str, random_state: int | None) -> _Indices:
    """`select_sparse_points` of rows that `find_distinct` has passed; at most all of them."""
    return _METHODS[method](X, min(int(n_sparse), len(X)), random_state)


def farthest_points(X: _Array, n: int, given: _Indices | None = None) -> Cover:
    """Farthest point sampling from rows X (n_rows, n_features) up to `n` points, O(n_rows n n_features) at worst.

    Starts from the points already `given`, else from the row farthest from the mean. No copy of X is made.
    """
    start = np.array([_farthest_from_mean(X)]) if given is None else given
    chosen = np.empty(n, dtype=np.int64)
    chosen[: len(start)] = start
    cover = Cover(chosen, np.full(len(X), np.inf), np.zeros(len(X), dtype=np.int64))
    loops.farthest_points(X, chosen, len(start), cover.square, cover.nearest)
    return cover


def _farthest_from_mean(X: _Array) -> int:
    return int(np.argmax(loops.squared_distances(X, X.mean(axis=0)[None], np.zeros(len(X), dtype=np.int64))))


def _select_fps(X: _Array, n_sparse: int, random_state: int | None) -> _Indices:
    return farthest_points(X, n_sparse).chosen


def _select_cur(X: _Array, n_sparse: int, random_state: int | None) -> _Indices:
    # Rows drawn with probability ∝ leverage (Mahoney and Drineas). Taking the n largest leverages instead, as
    # scikit-matter's CUR does without recomputation, collects neighbours of the same outliers: on 15 000 silicon SOAP
    # rows, 300 points, ζ = 4, the mean of 1 - k_iᵀ K_mm⁻¹ k_i was 1.2e-4, with draws 1.2e-6, fps 1.4e-6, random 8e-6.
    # Recomputation takes 13 s per 100 points there.
    leverage = leverage_scores(X, n_sparse, X.T @ X)
    gumbel = np.random.default_rng(random_state).gumbel(size=len(X))
    return descending(log_weights(leverage) + gumbel)[:n_sparse]  # descending keys = draws without replacement


def log_weights(leverage: _Array) -> _Array:
    """Logarithms of leverages, of which some may be zero."""
    return np.log(leverage + np.finfo(np.float64).tiny)


def descending(keys: _Array) -> _Indices:
    """Indices from the largest key to the smallest."""
    return np.argsort(-keys, kind="stable")


def leverage_scores(X: _Array, n_directions: int, gram: _Array) -> _Array:
    """Σ_k U_ik² over the leading left singular vectors of X, at most `n_directions` and only the resolved ones.

    `gram` (n_features, n_features) is XᵀX; that of more rows than X gives the leverages of X among these.
    """
    eigenvalues, V = np.linalg.eigh(gram)
    rank = int((eigenvalues > _RANK_TOLERANCE * eigenvalues[-1]).sum())
    leading = slice(len(eigenvalues) - min(rank, n_directions), None)
    scaled = V[:, leading] / np.sqrt(eigenvalues[leading])
    leverage = np.empty(len(X))
    for start in range(0, len(X), _ROWS_TOGETHER):
        U = X[start : start + _ROWS_TOGETHER] @ scaled
        leverage[start : start + _ROWS_TOGETHER] = np.einsum("ik,ik->i", U, U)
    return leverage


def _select_kmeans(X: _Array, n_sparse: int, random_state: int | None) -> _Indices:
    from sklearn.cluster import KMeans

    if n_sparse == len(X):
        return np.arange(len(X))
    # 15 000 × 252 → 1500: the seeding (7 s) decides; three steps then give a smaller inertia (2.5) than MiniBatchKMeans
    # run to its end (2.9 in 14 s)
    clusters = KMeans(n_sparse, n_init=1, max_iter=3, tol=0.0, random_state=random_state)  # a tol takes a copy of X
    with threadpool_limits(1):  # several threads add up the centres in any order
        clusters.fit(X)
    labels = clusters.labels_.astype(np.int64)
    distance = loops.squared_distances(X, clusters.cluster_centers_, labels)
    by_cluster = np.lexsort((distance, labels))  # members of a cluster together, nearest first
    _, first, population = np.unique(labels[by_cluster], return_index=True, return_counts=True)
    nearest = by_cluster[first][np.argsort(-population, kind="stable")]
    # in place of empty clusters: the rows farthest from what is chosen
    return nearest if len(nearest) == n_sparse else farthest_points(X, n_sparse, nearest).chosen


def _select_random(X: _Array, n_sparse: int, random_state: int | None) -> _Indices:
    return np.random.default_rng(random_state).permutation(len(X))[:n_sparse]


_METHODS: dict[str, Callable[[_Array, int, int | None], _Indices]] = {
    "fps": _select_fps,
    "cur": _select_cur,
    "kmeans": _select_kmeans,
    "random": _select_random,
}
