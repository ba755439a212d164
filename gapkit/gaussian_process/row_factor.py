"""One triangular factor per noise group: rows are folded in by QR and not kept.

The rows of a group, unscaled by its noise, become [K | y] → [ R z ; 0 ρ ] (theory: Golub and Van Loan, Matrix
Computations, ch. 5 and 6.5). The factor has the size of the sparse points squared, whatever the number of rows; factors
merge, which is what workers need; and rows can be taken away again, exactly, as a second factor that counts negatively.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg.lapack import dtpqrt

ROWS_TOGETHER = 1024  # rows folded in at one time: many enough for matrix products, few enough for memory
PANEL = 64  # columns of a panel in LAPACK's tpqrt


def fold(factor: np.ndarray, rows: np.ndarray, triangular: bool = False, overwrite: bool = False) -> np.ndarray:
    """Upper triangular F' with F'ᵀF' = FᵀF + rowsᵀ rows, by a QR factorisation that uses the triangle (LAPACK's tpqrt).

    Parameters
    ----------
    factor : ndarray, shape (n, n)
        Upper triangular.
    rows : ndarray, shape (n_rows, n)
    triangular : bool
        `rows` is upper triangular itself, which saves two thirds of the work.
    overwrite : bool
        Work in the memory of both, where they are in Fortran order.
    """
    n = len(factor)
    upper = n if triangular else 0
    own = (np.asfortranarray(factor), np.asfortranarray(rows))
    folded, *_ = dtpqrt(upper, min(PANEL, n), *own, overwrite_a=overwrite, overwrite_b=overwrite)
    return np.asarray(folded)


class RowFactor:
    """Triangular factor of the rows [K | y] seen so far, folded in by QR: memory O(n_sparse²) whatever their number.

    Parameters
    ----------
    n_sparse : int

    Attributes
    ----------
    n_rows : int
        Rows added less rows removed.
    log_scale : float
        Σ log scale of these rows.
    """

    def __init__(self, n_sparse: int) -> None:
        self._factor = np.zeros((n_sparse + 1, n_sparse + 1), order="F")
        self._waiting = np.empty((0, n_sparse + 1), order="F")
        self._n_waiting = 0
        self._removed: RowFactor | None = None
        self.n_rows = 0
        self.log_scale = 0.0

    @property
    def n_sparse(self) -> int:
        """Number of columns of K."""
        return len(self._factor) - 1

    def add(self, K: np.ndarray, y: np.ndarray, scale: float = 1.0) -> None:
        """Add rows K (n, n_sparse) with targets y (n,), whose noise is `scale` times that of the group."""
        start = 0
        while start < len(y):
            stop = start + self._make_room(len(y) - start)
            place = slice(self._n_waiting, self._n_waiting + stop - start)
            np.divide(K[start:stop], scale, out=self._waiting[place, :-1])
            np.divide(y[start:stop], scale, out=self._waiting[place, -1])
            self._n_waiting, start = place.stop, stop
        self.n_rows += len(y)
        self.log_scale += len(y) * float(np.log(scale))

    def _make_room(self, wanted: int) -> int:
        """Number of rows that can be written after those that wait: at least one, at most `wanted`."""
        if self._n_waiting == ROWS_TOGETHER:
            self._fold()
        if len(self._waiting) < min(self._n_waiting + wanted, ROWS_TOGETHER):
            size = min(max(2 * len(self._waiting), self._n_waiting + wanted), ROWS_TOGETHER)
            larger = np.empty((size, self.n_sparse + 1), order="F")
            larger[: self._n_waiting] = self._waiting[: self._n_waiting]
            self._waiting = larger
        return min(wanted, ROWS_TOGETHER - self._n_waiting)

    def _fold(self) -> None:
        if self._n_waiting:
            self._factor = fold(self._factor, self._waiting[: self._n_waiting], overwrite=True)
            self._n_waiting = 0

    def remove(self, K: np.ndarray, y: np.ndarray, scale: float = 1.0) -> None:
        """Take away rows that were added before, with the same numbers and scale."""
        if self._removed is None:
            self._removed = RowFactor(self.n_sparse)
        self._removed.add(K, y, scale)
        self.n_rows -= len(y)
        self.log_scale -= len(y) * float(np.log(scale))

    def merge(self, other: RowFactor) -> None:
        """Add all rows that `other` holds, and remove what it has removed."""
        n_rows = self.n_rows + other.n_rows
        if other._all_wait:
            self.add(other.rows[:, :-1], other.rows[:, -1])
        else:
            self._factor = fold(self.factor, other.factor, triangular=True)
        if other._removed is not None:
            self._removed = self._removed or RowFactor(self.n_sparse)
            self._removed.merge(other._removed)
        self.n_rows, self.log_scale = n_rows, self.log_scale + other.log_scale

    def copy(self) -> RowFactor:
        """An independent copy."""
        return RowFactor.from_state(*self.state())

    def __reduce__(self) -> tuple[Any, ...]:
        """Only the triangle is pickled, and nothing of it before the first rows are folded in."""
        return RowFactor.from_state, self.state()

    def rescale(self, columns: np.ndarray) -> None:
        """Multiply each column of K, (n_sparse,), by a positive number: another amplitude of its term."""
        self.factor[:, :-1] *= columns
        if self._removed is not None:
            self._removed.rescale(columns)

    @property
    def factor(self) -> np.ndarray:
        """F with Fᵀ F = [K | y]ᵀ [K | y] of the rows added, upper triangular, shape (n_sparse + 1, n_sparse + 1)."""
        self._fold()
        return self._factor

    @property
    def rows(self) -> np.ndarray:
        """The fewest known rows with rowsᵀ rows = Fᵀ F, (n, n_sparse + 1): as they came, scaled, or else `factor`."""
        return self._waiting[: self._n_waiting] if self._all_wait else self.factor

    @property
    def _all_wait(self) -> bool:
        """No rows have been folded in yet."""
        return self._removed is None and self.n_rows == self._n_waiting

    @property
    def removed_rows(self) -> np.ndarray | None:
        """The same of the rows removed since; None if there are none."""
        return None if self._removed is None else self._removed.rows

    @property
    def removed(self) -> np.ndarray | None:
        """The same of the rows removed since; None if there are none."""
        return None if self._removed is None else self._removed.factor

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Numbers and arrays from which `from_state` makes the same object, waiting rows included."""
        numbers: dict[str, Any] = {"n_rows": self.n_rows, "log_scale": self.log_scale}
        factor = np.empty(0) if self._all_wait else _packed(self._factor)
        arrays = {"factor": factor, "waiting": self._waiting[: self._n_waiting]}
        if self._removed is not None:
            numbers["removed"], removed = self._removed.state()
            arrays |= {f"removed_{name}": array for name, array in removed.items()}
        return numbers, arrays

    @classmethod
    def from_state(cls, numbers: dict[str, Any], arrays: dict[str, np.ndarray]) -> RowFactor:
        """The inverse of `state`."""
        waiting = arrays["waiting"]
        new = cls(waiting.shape[1] - 1)
        if len(arrays["factor"]):
            new._factor = _unpacked(arrays["factor"], waiting.shape[1])
        new._waiting, new._n_waiting = np.array(waiting, order="F"), len(waiting)
        new.n_rows, new.log_scale = int(numbers["n_rows"]), float(numbers["log_scale"])
        if "removed" in numbers:
            own = {name.removeprefix("removed_"): a for name, a in arrays.items() if name.startswith("removed_")}
            new._removed = cls.from_state(numbers["removed"], own)
        return new


def _packed(factor: np.ndarray) -> np.ndarray:
    """Upper triangle by columns, shape (n (n + 1) / 2,)."""
    return np.concatenate([factor[: k + 1, k] for k in range(len(factor))])


def _unpacked(packed: np.ndarray, n: int) -> np.ndarray:
    factor = np.zeros((n, n), order="F")
    for k in range(n):
        factor[: k + 1, k] = packed[k * (k + 1) // 2 : (k + 1) * (k + 2) // 2]
    return factor
