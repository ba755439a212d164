"""Sparse points from a stream of environments, in bounded memory: a pool that is thinned out whenever it is full."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gapkit._numba import sparsification as loops
from gapkit.errors import InputError
from gapkit.gaussian_process.sparsification import (
    DUPLICATE_DISTANCE,
    check_choice,
    check_features,
    choose_distinct,
    descending,
    farthest_points,
    find_distinct,
    leverage_scores,
    log_weights,
    warn_if_few,
)
from gapkit.runtime.threads import one_blas_thread

__all__ = ["POOL_BYTES", "PoolReport", "SparsePool", "default_capacity", "pool_bytes"]

POOL_BYTES = 2**29  # of the rows that a pool holds unless a capacity is given
_KEPT = 4  # times n_sparse: rows that a full pool keeps for fps; and the least capacity
_GROWTH = 1.25
_ROWS_TOGETHER = 1024  # rows moved or multiplied at one time


class PoolReport(NamedTuple):
    """Report on a choice of sparse points.

    Attributes
    ----------
    method : str
    n_selected, n_seen, n_zero : int
        Sparse points; environments seen; those of zero features (no neighbours), which are left out.
    n_distinct : int
        Environments to choose from at the end, without copies.
    n_reductions : int
        How often the pool was full and had to be thinned out.
    exact : bool
        The choice is that of `select_sparse_points` from all environments at once (without copies).
    covering_radius : float or None
        No environment seen is farther from its nearest sparse point, as a distance of normalised features (0 to 2):
        the largest such distance if `exact`, else an upper bound. Known for "fps" only.
    """

    method: str
    n_selected: int
    n_seen: int
    n_zero: int
    n_distinct: int
    n_reductions: int
    exact: bool
    covering_radius: float | None

    def __str__(self) -> str:
        how = "exact" if self.exact else f"from a pool that was thinned out {self.n_reductions} times"
        text = f"{self.n_selected} sparse points of {self.n_seen} environments by {self.method} ({how})"
        if self.n_zero:
            text += f"; {self.n_zero} without neighbours left out"
        if self.covering_radius is not None:
            within = "all lie within" if self.exact else "all lie within at most"
            text += f"; {within} {self.covering_radius:.3g} of a sparse point"
        return text


def default_capacity(n_features: int, n_sparse: int, n_bytes: int = POOL_BYTES) -> int:
    """Rows of `n_features` numbers that `n_bytes` hold, but no fewer than 4 `n_sparse`."""
    return max(n_bytes // (8 * n_features), _KEPT * n_sparse)


def pool_bytes(n_rows: int, n_features: int, n_sparse: int, method: str = "fps") -> int:
    """Peak memory of a pool that holds `n_rows` rows, `choose` included, bytes.

    The rows themselves and 56 bytes for each (fingerprint, bound, order, distances), the sparse points, two blocks of
    temporary rows; for "cur" five matrices (n_features, n_features); for "kmeans" a second pool and more centres.
    """
    row = 8 * n_features
    total = n_rows * (row + 56) + n_sparse * row + 2 * min(n_rows, _ROWS_TOGETHER) * row
    if method == "cur":
        total += 5 * n_features * row
    if method == "kmeans":
        total += n_rows * row + 3 * n_sparse * row
    return total


class SparsePool:
    """Chooses sparse points from a stream of environments of one species.

    Up to `capacity` rows are held as they are; as long as no more have come, exact copies not counted, `choose` gives
    exactly the points of `gapkit.gaussian_process.sparsification.select_sparse_points`. Whenever the pool is full,
    exact copies are dropped first; if more than half is still there, it is thinned out:

    ========  =============================  ==================================================  ======================
    method    a full pool keeps              then the choice is                                  first k of n = choice
                                                                                                 of k
    ========  =============================  ==================================================  ======================
    fps       4 n_sparse farthest points,    farthest points of those kept; the covering radius  yes
              and the distances of the       is at most 2 r(n_sparse) + 2 Σ r(4 n_sparse), one
              environments of each           summand per reduction; the report has the bound
    random    the half whose fingerprints    uniform among all different environments, exactly   yes
              are smallest
    cur       the half whose draws with      draws by the leverages among all environments, for  from the rank of the
              the leverages so far came out  XᵀX is exact; only a row that was dropped while    features on
              largest                        its leverage was small and that would be drawn now
                                             is missing
    kmeans    as random                      k-means of a uniform sample of half the capacity    no
    ========  =============================  ==================================================  ======================

    Here r(k) is the smallest covering radius that any k points of space could reach: farthest points are within twice
    of it (Gonzalez, Theor. Comput. Sci. 38, 293 (1985)), and as r of a part is at most r of the whole, farthest points
    of parts stand for the whole (composable core-sets: Indyk, Mahabadi, Mahdian and Mirrokni, Proc. PODS, 100 (2014);
    Ceccarello, Pietracaprina and Pucci, Proc. VLDB Endow. 12, 766 (2019)). The smallest of random fingerprints are a
    uniform sample of different rows whatever their order and number (Cohen, J. Comput. Syst. Sci. 55, 441 (1997));
    with weights: Efraimidis and Spirakis, Inf. Process. Lett. 97, 181 (2006).

    The result depends neither on how the stream is cut into calls of `add` nor on threads. A pool can be pickled.

    Parameters
    ----------
    n_sparse : int
    method : {"fps", "cur", "kmeans", "random"}
    random_state : int or None
        Seed; None draws one. Pools that are to be merged need the same seed.
    capacity : int, optional
        Rows held at most, no fewer than 4 `n_sparse`; by default what `POOL_BYTES` hold (`default_capacity`).

    Raises
    ------
    InputError
        Unknown method, or numbers that are not positive.
    """

    def __init__(
        self, n_sparse: int, method: str = "fps", random_state: int | None = 0, capacity: int | None = None
    ) -> None:
        check_choice(n_sparse, method)
        if capacity is not None and capacity < 1:
            raise InputError(f"capacity = {capacity} must be a positive number of rows; leave it out for the default.")
        if random_state is not None and random_state < 0:
            raise InputError(f"random_state = {random_state} must not be negative.")
        self.n_sparse, self.method = int(n_sparse), method
        self.random_state = int(np.random.SeedSequence().generate_state(1)[0] if random_state is None else random_state)
        self.capacity = None if capacity is None else max(int(capacity), _KEPT * self.n_sparse)
        self.n_seen = self.n_zero = self.n_reductions = 0
        self._rows = _Rows()
        self._gram: NDArray[np.float64] | None = None  # XᵀX of the rows that are or were in the pool and marked ("cur")

    @property
    def n_rows(self) -> int:
        """Rows held now."""
        return self._rows.n

    def add(self, Q: ArrayLike) -> None:
        """Add normalised rows Q (n, n_features), in the order of the stream; they are copied.

        Raises
        ------
        InputError
            Not two-dimensional, NaN or infinite, or another number of features than before.
        """
        if np.shape(Q)[0:1] == (0,):
            return
        X = check_features(Q, self.n_seen)
        self._rows.set_width(X.shape[1])
        self.n_seen += len(X)
        zero = ~X.any(axis=1)
        if zero.any():
            self.n_zero += int(zero.sum())
            X = X[~zero]
        with np.errstate(over="ignore"):  # on purpose; only seen without the compiler
            keys = loops.fingerprints(X.view(np.uint64), np.uint64(self.random_state))
        self._append(X, keys, np.zeros(len(X)))

    def merge(self, other: SparsePool) -> None:
        """Add all that `other` holds, as if its stream came after this one.

        Raises
        ------
        InputError
            If the two pools were made with different parameters.
        """
        own = (self.n_sparse, self.method, self.random_state)
        if own != (other.n_sparse, other.method, other.random_state):
            raise InputError(
                f"pools of (n_sparse, method, random_state) = {own} and "
                f"{(other.n_sparse, other.method, other.random_state)} cannot be merged: give both the same."
            )
        if other._rows.n_features:
            self._rows.set_width(other._rows.n_features)
        self.n_seen += other.n_seen
        self.n_zero += other.n_zero
        self.n_reductions += other.n_reductions
        if other._gram is not None:
            self._gram = other._gram + (0.0 if self._gram is None else self._gram)
        if other._rows.n_features:
            self._append(other._rows.X, other._rows.keys, other._rows.marks)

    def thin(self) -> None:
        """If rows were dropped before, drop as many as a reduction may, so that fewer are sent to another worker."""
        if self.n_reductions:
            half = (self.capacity or 0) // 2
            self._reduce(min(_KEPT * self.n_sparse, half) if self.method == "fps" else half)

    @one_blas_thread()
    def choose(self) -> tuple[NDArray[np.float64], PoolReport]:
        """The sparse points (n_selected, n_features) in order of selection, and a report.

        If all environments are zero, one of them is chosen. May be called again after more rows.

        Raises
        ------
        InputError
            If there is no environment.
        """
        if not self.n_seen:
            raise InputError("there is no environment to choose sparse points from: give frames first.")
        if not self.n_rows:
            return np.zeros((1, self._rows.n_features)), self._report(1, 1, 0.0 if self.method == "fps" else None)
        if self.n_reductions and self.method in ("random", "kmeans"):
            self._keep_smallest()
        self._rows.trim()
        self._keep_distinct()
        warn_if_few(self.n_rows, self.n_sparse)
        chosen, radius = self._choose_distinct(min(self.n_sparse, self.n_rows))
        return self._rows.X[chosen], self._report(len(chosen), self.n_rows, radius)

    def _keep_distinct(self) -> None:
        """Of rows nearer than 1e-6 to one another keep one; it also represents what the others represented."""
        distinct = find_distinct(self._rows.X)
        if self.method == "fps" and self.n_reductions and len(distinct) < self.n_rows:
            dropped = np.delete(self._rows.marks, distinct)
            self._rows.marks[:] = np.maximum(self._rows.marks, dropped.max() + DUPLICATE_DISTANCE)
        self._rows.keep(distinct)

    def _choose_distinct(self, n: int) -> tuple[NDArray[np.int64], float | None]:
        """Indices of `n` of the rows, which are distinct, and the covering radius."""
        X = self._rows.X
        if self.method == "fps":
            cover = farthest_points(X, n)
            return cover.chosen, float((np.sqrt(cover.square) + self._rows.marks).max())
        if self.method == "cur" and self.n_reductions:
            return descending(self._draws(n))[:n], None
        return choose_distinct(X, n, self.method, self.random_state), None

    def _report(self, n_selected: int, n_distinct: int, radius: float | None) -> PoolReport:
        seen = (self.n_seen, self.n_zero, n_distinct, self.n_reductions, not self.n_reductions)
        return PoolReport(self.method, n_selected, *seen, radius)

    def _append(self, X: NDArray[np.float64], keys: NDArray[np.uint64], marks: NDArray[np.float64]) -> None:
        """Add rows as far as there is room, then thin out the pool, and so on."""
        capacity = self.capacity = self.capacity or default_capacity(X.shape[1], self.n_sparse)
        start = 0
        while start < len(X):
            if self.n_rows == capacity:
                self._reduce(capacity // 2)
            part = slice(start, start + capacity - self.n_rows)
            self._rows.append(X[part], keys[part], marks[part], capacity)
            start = part.stop

    @one_blas_thread()
    def _reduce(self, half: int) -> None:
        """Drop copies; if more than `half` of the pool is left, thin it out."""
        self._rows.drop_copies()
        if self.n_rows <= half:
            return
        self.n_reductions += 1
        if self.method == "fps":
            self._keep_farthest(min(_KEPT * self.n_sparse, half))
        elif self.method == "cur":
            self._rows.keep(np.sort(descending(self._draws(self.n_sparse))[:half]))
        else:
            self._keep_smallest()

    def _keep_farthest(self, n: int) -> None:
        """Core-set: each row kept is marked with how far the rows that it represents may be from it."""
        rows = self._rows
        cover = farthest_points(rows.X, n)
        reach = np.sqrt(cover.square) + rows.marks
        marks = np.zeros(n)
        np.maximum.at(marks, cover.nearest, reach)
        rows.marks[cover.chosen] = marks
        rows.keep(np.unique(cover.chosen))

    def _keep_smallest(self) -> None:
        """Uniform sample of different rows: those with the smallest fingerprints, half as many as the pool holds."""
        self._rows.drop_copies()
        n = (self.capacity or 0) // 2
        if self.n_rows > n:
            self._rows.keep(np.sort(np.argpartition(self._rows.keys, n)[:n]))

    def _draws(self, n_directions: int) -> NDArray[np.float64]:
        """log leverage among all rows added + a Gumbel number for each row; the largest are drawn."""
        rows = self._rows
        new = np.flatnonzero(rows.marks == 0.0)
        gram = np.zeros((rows.n_features, rows.n_features)) if self._gram is None else self._gram
        for start in range(0, len(new), _ROWS_TOGETHER):
            part = rows.X[new[start : start + _ROWS_TOGETHER]]
            gram += part.T @ part
        rows.marks[new] = 1.0
        self._gram = gram
        uniform = ((rows.keys >> np.uint64(11)) + 0.5) * 2.0**-53
        return log_weights(leverage_scores(rows.X, n_directions, gram)) - np.log(-np.log(uniform))


class _Rows:
    """Rows, their fingerprints and a mark for each, in arrays that grow and shrink in place.

    The mark is, for "fps", how far from the row an environment that it represents may be; for "cur" 1 once the row is
    counted in XᵀX.
    """

    def __init__(self) -> None:
        self.n = 0
        self._X, self._keys, self._marks = np.empty((0, 0)), np.empty(0, dtype=np.uint64), np.empty(0)

    def __getstate__(self) -> dict[str, Any]:
        return {"n": self.n, "_X": self.X, "_keys": self.keys, "_marks": self.marks}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.n = state["n"]
        # arrays that came through Dask own no memory: they can be neither resized nor written
        self._X, self._keys, self._marks = (np.require(state[k], None, ["O", "W"]) for k in ("_X", "_keys", "_marks"))

    @property
    def n_features(self) -> int:
        return self._X.shape[1]

    @property
    def X(self) -> NDArray[np.float64]:
        return self._X[: self.n]

    @property
    def keys(self) -> NDArray[np.uint64]:
        return self._keys[: self.n]

    @property
    def marks(self) -> NDArray[np.float64]:
        return self._marks[: self.n]

    def set_width(self, n_features: int) -> None:
        if self.n_features not in (0, n_features):
            raise InputError(f"features have {n_features} columns, those before had {self.n_features}.")
        if self.n_features == 0:
            self._X = np.empty((0, n_features))

    def append(
        self, X: NDArray[np.float64], keys: NDArray[np.uint64], marks: NDArray[np.float64], capacity: int
    ) -> None:
        start, stop = self.n, self.n + len(X)
        if stop > len(self._X):
            self._resize(min(max(stop, int(_GROWTH * start)), capacity))
        self._X[start:stop], self._keys[start:stop], self._marks[start:stop] = X, keys, marks
        self.n = stop

    def _resize(self, n: int) -> None:
        """In place where the system can: large arrays move by their pages, without a copy."""
        self._X.resize((n, self.n_features), refcheck=False)
        self._keys.resize(n, refcheck=False)
        self._marks.resize(n, refcheck=False)

    def trim(self) -> None:
        self._resize(self.n)

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Keep only these, in ascending order; moved within the arrays, a few at a time."""
        if len(rows) < self.n:
            for array in (self._X, self._keys, self._marks):
                for start in range(0, len(rows), _ROWS_TOGETHER):
                    part = rows[start : start + _ROWS_TOGETHER]
                    array[start : start + len(part)] = array[part]
        self.n = len(rows)

    def drop_copies(self) -> None:
        """Of rows with one fingerprint the first stays, with the largest mark."""
        _, first, which = np.unique(self.keys, return_index=True, return_inverse=True)
        marks = np.zeros(len(first))
        np.maximum.at(marks, which, self.marks)
        self._marks[first] = marks
        self.keep(np.sort(first))
