"""Learning curves: errors and evidence against the number of sparse points, from one fit with the largest.

Farthest points are nested: the first n sparse points of every block are the choice of n. Their rows are columns
of the rows that the largest fit has folded into its factors, [K | y] = Q F, and therefore

    K[:, columns] = Q F[:, columns],      K_mm of the prefix = K_mm[columns, columns]

exactly: each smaller potential is the one that a fit with fewer sparse points would give, for O(groups M n²) instead of
another pass over the data.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from gapkit.checks import is_count, is_list
from gapkit.errors import InputError
from gapkit.evaluation.compare import Rows, evaluate, left_out_values
from gapkit.evaluation.comparison import ErrorRow, Evaluation
from gapkit.fitting.hyperparameters import as_rows, learn_hyperparameters, parse_optimize
from gapkit.fitting.second_pass import Recipe, frame_rows, left_out_of_rows
from gapkit.gaussian_process.conditioning import determined
from gapkit.gaussian_process.leverage import LeftOutLabels
from gapkit.gaussian_process.row_factor import RowFactor
from gapkit.potential.gap import GAP
from gapkit.quantities import FITTED
from gapkit.runtime.tables import aligned
from gapkit.runtime.threads import one_blas_thread, ordered_map
from gapkit.structures.frames import Frame, Frames, FramesOnDisk, Structures
from gapkit.structures.labels import LabelKeys
from gapkit.terms.basis import Basis
from gapkit.terms.protocol import AdditiveTerm

NEAR = 0.05  # relative to the smallest error, within which more sparse points do not pay
_HEAD = ("n_sparse", "columns", "determined", "log evidence", "per label")


@dataclass(frozen=True)
class LearningPoint:
    """One number of sparse points.

    Attributes
    ----------
    n_sparse : int
        Asked for, of each term and species.
    n_columns : int
        Of all terms and species; fewer than asked for where there are fewer environments.
    effective : float
        Effective number of parameters, those that the data determine
        (`gapkit.gaussian_process.conditioning.determined`).
    log_evidence : float
        log p(labels).
    errors : tuple of ErrorRow
        By kind, over all held-out structures.
    """

    n_sparse: int
    n_columns: int
    effective: float
    log_evidence: float
    errors: tuple[ErrorRow, ...]


@dataclass(frozen=True)
class LearningCurve:
    """Errors and evidence against the number of sparse points; made by `learning_curve`.

    Attributes
    ----------
    points : tuple of LearningPoint
        In ascending order.
    held_out : {"test", "left out"}
        Errors are those of test structures, or of each training structure left out of the fit in closed form.
    n_labels : int
        Scalar training labels.
    optimize : tuple of str
        What was learned again for each number of sparse points.
    """

    points: tuple[LearningPoint, ...]
    held_out: str
    n_labels: int
    optimize: tuple[str, ...]

    @property
    def enough(self) -> int:
        """Least number of sparse points with all errors within 5 % of the smallest on the curve."""
        kinds = [min(row.rmse for row in rows) for rows in zip(*(point.errors for point in self.points))]
        near = (all(row.rmse <= (1.0 + NEAR) * best for row, best in zip(point.errors, kinds)) for point in self.points)
        return next((point.n_sparse for point, good in zip(self.points, near) if good), self.points[-1].n_sparse)

    def advice(self) -> str:
        """One sentence: how many sparse points to use."""
        largest = self.points[-1]
        if self.enough == largest.n_sparse and len(self.points) > 1:
            return f"The errors still fall at n_sparse = {largest.n_sparse}: try more, or more training data."
        errors = next(point.errors for point in self.points if point.n_sparse == self.enough)
        text = ", ".join(f"{row.kind} {row.rmse:.3g} {row.unit}" for row in errors)
        return f"n_sparse = {self.enough} is enough: its errors ({text}) are within 5 % of the smallest."

    def table(self) -> str:
        """Aligned plain text: one line per number of sparse points, and the advice."""
        first = self.points[0].errors
        lines = [[*_HEAD, *(text for row in first for text in (f"{row.kind} ({row.unit})", "±"))]]
        for point in self.points:
            own = [str(point.n_sparse), str(point.n_columns), f"{point.effective:.1f}", f"{point.log_evidence:.1f}"]
            errors = [text for row in point.errors for text in (f"{row.rmse:.4g}", _standard_error(row))]
            lines.append([*own, f"{point.log_evidence / self.n_labels:.4f}", *errors])
        whose = "test structures" if self.held_out == "test" else "training structures, each left out of the fit"
        title = f"Root mean square errors of {whose}"
        return "\n".join([title, aligned(lines, "r" * len(lines[0])), self.advice()])

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON data."""
        points = [
            {
                "n_sparse": point.n_sparse,
                "n_columns": point.n_columns,
                "effective_parameters": point.effective,
                "log_evidence": point.log_evidence,
                "errors": {row.kind: row.as_dict() | {"rmse_se": row.rmse_se} for row in point.errors},
            }
            for point in self.points
        ]
        return {
            "points": points,
            "held_out": self.held_out,
            "n_labels": self.n_labels,
            "optimize": list(self.optimize),
            "enough": self.enough,
            "advice": self.advice(),
        }


def _standard_error(row: ErrorRow) -> str:
    return "-" if row.rmse_se is None else f"{row.rmse_se:.2g}"


@one_blas_thread()
def learning_curve(
    gap: GAP,
    structures: Structures,
    n_sparse: Sequence[int],
    test: Sequence[Atoms] | None = None,
    *,
    optimize: bool | str | Sequence[str] = False,
    keys: LabelKeys | None = None,
    test_keys: LabelKeys | None = None,
    **fit_options: Any,
) -> LearningCurve:
    """Errors and evidence for several numbers of sparse points, from one fit with the largest.

    Parameters
    ----------
    gap : GAP
        Template of all fits; it is not fitted itself. Its terms must choose nested points, by "fps" or "random"; "cur"
        is allowed, too: its first draws are valid draws, though not those of a smaller fit.
    structures : as for `GAP.fit`
    n_sparse : sequence of int
        Of each term and species.
    test : sequence of Atoms, optional
        Held-out structures, labelled. Without them, each training structure is left out in turn, in closed form
        (`gapkit.gaussian_process.leverage`): one more pass over the data.
    optimize : bool, str or list of {"noise", "delta", "config_type"}
        What to learn again for each number, as for `GAP.fit`; nothing by default.
    keys, test_keys : LabelKeys, optional
        Where the labels are; found if not given.
    **fit_options
        Further arguments of `GAP.fit`, such as ``max_memory``, ``checkpoint`` or ``client``.

    Raises
    ------
    InputError
        For sizes that are not positive, terms whose points are not nested, and as `GAP.fit`.
    """
    sizes = _checked_sizes(n_sparse)
    _check_nested(gap)
    wanted = _wanted(optimize)
    structures = list(structures) if isinstance(structures, Iterator) else structures
    largest = clone(gap).set_params(terms=_with_n_sparse(gap.terms or (), sizes[-1]))
    largest.fit(structures, keys=keys, optimize=wanted, **fit_options)
    fits = [with_fewer_sparse_points(largest, n, wanted) for n in sizes[:-1]] + [largest]
    if test is None:
        found = left_out_evaluations(fits, largest.frames_of(structures, keys))
    else:
        found = [evaluate(fit, test, return_std=False, keys=test_keys) for fit in fits]
    points = tuple(_point(n, fit, evaluation) for n, fit, evaluation in zip(sizes, fits, found))
    return LearningCurve(points, "left out" if test is None else "test", largest.posterior_.n_rows, tuple(wanted))


def _wanted(optimize: bool | str | Sequence[str]) -> list[str]:
    wanted = parse_optimize(optimize)
    for name in ("outliers", "leave_out"):
        if name in wanted:
            raise InputError(f"optimize names {name!r}, which needs the data for each n_sparse: leave it out.")
    return sorted(wanted)


def _checked_sizes(n_sparse: Sequence[int]) -> list[int]:
    sizes = list(n_sparse) if is_list(n_sparse) else []
    if not sizes or not all(map(is_count, sizes)):
        raise InputError(f"n_sparse = {n_sparse!r} must be positive whole numbers, for example 100 200 400.")
    return sorted({int(n) for n in sizes})


def _check_nested(gap: GAP) -> None:
    for t, term in enumerate(gap.terms or ()):
        if not term.nested:
            raise InputError(
                f"terms[{t}] chooses its sparse points by 'kmeans', whose choices are not nested: use 'fps'."
            )


def _with_n_sparse(terms: Sequence[AdditiveTerm], n: int) -> list[AdditiveTerm]:
    """Terms with `n` sparse points per species; those that are explicit features keep theirs."""
    return [term.with_n_sparse(n) for term in terms]


def _point(n_sparse: int, gap: GAP, evaluation: Evaluation) -> LearningPoint:
    posterior = gap.posterior_
    effective = float(determined(posterior.L, posterior.R).sum())
    errors = tuple(row for row in evaluation.rows() if row.config_type is None)
    return LearningPoint(n_sparse, len(posterior.alpha), effective, posterior.log_marginal_likelihood, errors)


# ---- prefixes


@one_blas_thread()
def with_fewer_sparse_points(gap: GAP, n_sparse: int, optimize: bool | str | Sequence[str] = False) -> GAP:
    """The potential with the first `n_sparse` sparse points of each term and species, without reading the data.

    Cost O(groups M n²) from M sparse points to n, plus that of `optimize`.

    Parameters
    ----------
    gap : GAP
        Fitted, with its row factors; not changed.
    n_sparse : int
    optimize : bool, str or list of {"noise", "delta", "config_type"}
        What to learn again, as for `GAP.fit`.

    Raises
    ------
    InputError
        If the model was loaded without its row factors, or `n_sparse` is not positive.
    """
    check_is_fitted(gap, "posterior_")
    (n,) = _checked_sizes([n_sparse])
    basis = _prefix(gap.basis_, n)
    columns = _columns(gap.basis_, basis)
    factors = {group: _selected(factor, columns) for group, factor in gap._own_factors().items()}
    wanted = frozenset(_wanted(optimize))
    recipe, factors, optimum = learn_hyperparameters(
        gap.recipe_._replace(basis=basis), factors, gap.jitter, wanted, FramesOnDisk(()), gap.random_state
    )
    small = copy.copy(gap)
    small.terms = _with_n_sparse(gap.terms or (), n)
    small.optimum_, small.hyperparameters_ = optimum, as_rows(optimum)
    asked = gap.training_.get("fit", {}) | {"optimize": sorted(wanted)}
    small._become(gap._solved(recipe, factors, {"fit": asked}, gap.frames_))
    return small


def _prefix(basis: Basis, n: int) -> Basis:
    """The first `n` points of each block; explicit features stay."""
    points = {(t, key): basis.terms[t].first_points(X, n) for (t, key), X in basis.points.items()}
    return Basis.of_points(basis.terms, points)


def _columns(basis: Basis, prefix: Basis) -> np.ndarray:
    """Columns of the points of a prefix among all columns."""
    pairs = zip(basis.blocks, prefix.blocks, strict=True)
    return np.concatenate([b.columns.start + np.arange(part.columns.stop - part.columns.start) for b, part in pairs])


def _selected(factor: RowFactor, columns: np.ndarray) -> RowFactor:
    """The factor of the same rows with only some of their columns."""
    new = RowFactor(len(columns))
    new.add(factor.rows[:, columns], factor.rows[:, -1])
    if factor.removed_rows is not None:
        new.remove(factor.removed_rows[:, columns], factor.removed_rows[:, -1])
    new.n_rows, new.log_scale = factor.n_rows, factor.log_scale
    return new


# ---- training frames left out


def left_out_evaluations(fits: Sequence[GAP], frames: Frames) -> list[Evaluation]:
    """Each training frame predicted by fits without it, in one pass for all prefixes of the last of `fits`.

    Memory: two numbers per label and fit.
    """
    largest = fits[-1].recipe_
    views = [(_columns(largest.basis, fit.basis_), _amplitude_ratios(largest, fit.recipe_)) for fit in fits]

    def leave_out(frame: Frame) -> tuple[Frame, list[tuple[LeftOutLabels, ...]]]:
        rows = frame_rows(largest, frame)
        found = []
        for fit, (columns, ratios) in zip(fits, views):
            own = [part._replace(K=part.K[:, columns] * ratios) for part in rows]
            found.append(left_out_of_rows(fit.recipe_, fit.posterior_, own).labels if own else ())
        return frame, found

    rows, n_labelled = [Rows() for _ in fits], 0
    for k, (frame, found) in enumerate(ordered_map(leave_out, frames)):
        n_labelled += any(found)
        for own, labels in zip(rows, found):
            for part in labels:
                if (values := left_out_values(frame, FITTED[part.kind], part.residual)) is not None:
                    own.add(k, frame, FITTED[part.kind].compared, values)
    return [own.evaluation(n_labelled) for own in rows]


def _amplitude_ratios(largest: Recipe, small: Recipe) -> np.ndarray:
    """(δ/δ of the largest fit)² of each column."""
    ratios = [new.delta / old.delta for new, old in zip(small.basis.terms, largest.basis.terms)]
    columns = ((b.columns.stop - b.columns.start, ratios[b.term]) for b in small.basis.blocks)
    return np.concatenate([np.full(n, ratio**2) for n, ratio in columns])
