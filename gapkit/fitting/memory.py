"""Estimate of the memory that a fit needs, made before the work."""

from __future__ import annotations

from typing import NamedTuple

from gapkit.errors import InputError, Parameter
from gapkit.gaussian_process.row_factor import ROWS_TOGETHER
from gapkit.runtime.memory import in_words


class RowSizes(NamedTuple):
    """What the memory of the second pass depends on.

    Attributes
    ----------
    n_sparse : int
        Of all terms and species together.
    rows : tuple of int
        Rows of each noise group, as far as known.
    largest_frame : int
        Atoms.
    n_features : int
        Of the longest descriptor.
    n_moved : int
        Centres' tangents held by one thread: rows of the Jacobian of one block of centres.
    """

    n_sparse: int
    rows: tuple[int, ...]
    largest_frame: int
    n_features: int
    n_moved: int

    def factors(self) -> int:
        """One triangular factor per group and the rows that wait to be folded in, bytes."""
        columns = self.n_sparse + 1
        return sum(8 * columns * (columns + min(ROWS_TOGETHER, n)) for n in self.rows)

    def in_flight(self, n_threads: int, ahead: int) -> int:
        """Rows of the structures in progress or waiting to be folded in, and tangents, bytes."""
        one = 8 * (3 * self.largest_frame + 7) * self.n_sparse
        working = 8 * self.n_moved * (self.n_features + self.n_sparse)
        return (1 if n_threads == 1 else ahead + 2) * one + n_threads * working

    def solution(self) -> int:
        """K_mm, L, R, the stacked factor and LAPACK's copies, bytes."""
        return 8 * 7 * (self.n_sparse + 1) ** 2

    def evidence(self) -> int:
        """Whitened factors of all groups, and what an evaluation of the evidence and its check need, bytes."""
        square = 8 * (self.n_sparse + 1) ** 2
        return int(sum(square * min(1.0, 2.0 * n / self.n_sparse) for n in self.rows)) + 7 * square

    def total(self, n_threads: int, ahead: int, optimize: bool) -> int:
        """Peak of the pass and of the solution after it, bytes; `ahead` as in `gapkit.runtime.threads.ordered_map`."""
        after = max(self.solution(), self.evidence() if optimize else 0)
        return self.factors() + max(self.in_flight(n_threads, ahead), after)


def check_budget(needed: int, budget: int | None, sizes: RowSizes) -> None:
    """Raise `InputError` if a fit needs more than it may use."""
    if budget is not None and needed > budget:
        raise InputError(
            f"the fit needs about {in_words(needed)} ({sizes.n_sparse} sparse points, {len(sizes.rows)} noise groups, "
            f"largest frame {sizes.largest_frame} atoms), more than ",
            Parameter("max_memory", in_words(budget), " = "),
            ": use fewer sparse points, noise groups or threads.",
        )
