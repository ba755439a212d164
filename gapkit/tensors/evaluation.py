"""A `TensorGAP` against labels: held-out frames, or training frames each predicted by a fit without it.

Spherical parts are compared order by order, as each has its own noise and amplitude; their components are independent
of the origin and have one noise, so that error bars of one order can be judged together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.linalg import cho_solve, solve_triangular

from gapkit.descriptors.lambda_soap import Order
from gapkit.evaluation.calibration import Calibration, calibration
from gapkit.evaluation.comparison import Comparison
from gapkit.gaussian_process.leverage import factor_without
from gapkit.runtime.tables import aligned
from gapkit.runtime.threads import one_blas_thread, ordered_map
from gapkit.tensors.fit import frame_rows
from gapkit.tensors.frames import TensorFrame, TensorFrames
from gapkit.tensors.rows import scales

if TYPE_CHECKING:
    from gapkit.tensors.tensor_gap import TensorGAP


@dataclass(frozen=True)
class TensorEvaluation:
    """References and predictions of every spherical order.

    Attributes
    ----------
    orders : mapping of int to Comparison
        By λ; one row per component, `std` being that of a new label, noise included.
    rmse : float
        Root mean square of the error's norm (of the vector or tensor, per structure or atom), in `unit`.
    deviation : float
        The same of the labels about their mean: of vectors about zero.
    unit : str
    n_structures : int
    """

    orders: Mapping[int, Comparison]
    rmse: float
    deviation: float
    unit: str
    n_structures: int

    @property
    def relative(self) -> float:
        """`rmse` as a fraction of `deviation`."""
        return self.rmse / self.deviation if self.deviation else float("nan")

    def calibrations(self) -> dict[int, Calibration]:
        """Coverage, scores and rank correlation of the error bars of each order."""
        return {lam: calibration(comparison) for lam, comparison in self.orders.items()}

    def summary(self) -> dict[str, Any]:
        """Plain data."""
        orders = {}
        for lam, found in self.calibrations().items():
            error = self.orders[lam].error
            orders[str(lam)] = {
                "rmse": float(np.sqrt(np.mean(error**2))), "mae": float(np.abs(error).mean()), "n": found.n,
                "coverage": {str(level): value for level, value in found.coverage.items()}, "std_z": found.std_z,
                "rank_correlation": found.rank_correlation,
            }  # fmt: skip
        own = {"rmse": self.rmse, "deviation": self.deviation, "relative": self.relative, "unit": self.unit}
        return {**own, "n_structures": self.n_structures, "orders": orders}

    def table(self) -> str:
        """Plain text."""
        rows = [["λ", "RMSE", "MAE", "50 %", "68 %", "90 %", "95 %", "std z", "rank"]]
        for lam, found in self.summary()["orders"].items():
            rank = found["rank_correlation"]
            covered = [f"{100 * value:.0f} %" for value in found["coverage"].values()]
            ends = [f"{found['std_z']:.2f}", "–" if rank is None else f"{rank:.2f}"]
            rows.append([lam, f"{found['rmse']:.4g}", f"{found['mae']:.4g}", *covered, *ends])
        first = (
            f"RMSE {self.rmse:.4g} {self.unit}, {100 * self.relative:.2g} % of the labels' deviation "
            f"{self.deviation:.4g} {self.unit}; components of each order, and how many lie within the error bars:"
        )
        return first.replace("  ", " ") + "\n" + aligned(rows, "r" * len(rows[0]))


def evaluate(gap: TensorGAP, structures: Any, key: str | None = None) -> TensorEvaluation:
    """Predictions of labelled frames that the model was not fitted to.

    Parameters
    ----------
    gap : TensorGAP
    structures, key
        As `TensorGAP.fit`.

    Raises
    ------
    InputError
        As `TensorGAP.predict`, and if there is no label.
    """
    field = gap.field_

    def single(frame: TensorFrame) -> _Found:
        own, structure = field.structure(frame.atoms)
        predicted, variances = field.parts(own, structure), {}
        for order, C in field.part_covariances(structure).items():
            noise = gap.noise_[order.order]
            variances[order] = np.maximum(np.einsum("...dd->...d", C), 0.0) + noise**2
        return _Found(frame.parts, predicted, variances)

    return _gathered(gap, ordered_map(single, _frames(gap, structures, key)))


@one_blas_thread()
def leave_one_out(gap: TensorGAP, structures: Any, key: str | None = None) -> TensorEvaluation:
    """Training frames, each predicted by a fit without it: no refit (see `gapkit.gaussian_process.leverage`).

    Sparse points, noises, amplitudes and offsets stay as they are.

    Parameters
    ----------
    gap : TensorGAP
    structures, key
        The training frames.

    Raises
    ------
    InputError
        If there is no label.
    """
    field = gap.field_
    columns = [model.columns for model in gap.models_]

    def single(frame: TensorFrame) -> _Found:
        predicted, variances = {}, {}
        found = frame_rows(field.target, field.terms, columns, field.offsets, frame)
        for model, rows in zip(gap.models_, found):
            order, posterior = model.columns.order, model.posterior
            K = rows.K * scales(model.columns, model.deltas)
            W = solve_triangular(posterior.R, K.T / model.noise, trans="T", check_finite=False)
            C, _ = factor_without(W.T @ W)
            residual = cho_solve((C, True), rows.y - K @ posterior.alpha, check_finite=False)
            shape = frame.parts[order].shape
            inverse = cho_solve((C, True), np.eye(len(residual)), check_finite=False)
            predicted[order] = frame.parts[order] - residual.reshape(shape)
            variances[order] = model.noise**2 * np.diag(inverse).reshape(shape)
        return _Found(frame.parts, predicted, variances)

    return _gathered(gap, ordered_map(single, _frames(gap, structures, key)))


class _Found(NamedTuple):
    """The spherical parts of one frame."""

    reference: dict[Order, np.ndarray]
    predicted: dict[Order, np.ndarray]
    variance: dict[Order, np.ndarray]


def _frames(gap: TensorGAP, structures: Any, key: str | None) -> TensorFrames:
    return TensorFrames(structures, gap.target_, gap.field_.convention, key, gap.label_key_)


def _gathered(gap: TensorGAP, frames: Iterable[_Found]) -> TensorEvaluation:
    found = list(frames)
    orders, target = {}, gap.target_
    errors = [target.values({o: predicted[o] - reference[o] for o in predicted}) for reference, predicted, _ in found]
    labels = [target.values({o: reference[o] for o in predicted}) for reference, predicted, _ in found]
    for model in gap.models_:
        order = model.columns.order
        orders[order.order] = _comparison(gap.unit or "", [tuple(part[order] for part in f) for f in found])
    stacked = [np.reshape(x, (-1, 3**target.rank)) for x in labels]
    everything, wrong = np.concatenate(stacked), np.concatenate([np.reshape(x, (-1, 3**target.rank)) for x in errors])
    centre = 0.0 if target.rank == 1 else everything.mean(axis=0)
    deviation = np.sqrt(np.mean(np.sum((everything - centre) ** 2, axis=1)))
    rmse = np.sqrt(np.mean(np.sum(wrong**2, axis=1)))
    return TensorEvaluation(orders, float(rmse), float(deviation), gap.unit or "", len(found))


def _comparison(unit: str, parts: list[tuple[np.ndarray, ...]]) -> Comparison:
    sizes = [part[0].size for part in parts]
    reference, predicted, variance = (np.concatenate([part[k].ravel() for part in parts]) for k in range(3))
    structure = np.repeat(np.arange(len(parts)), sizes)
    kind = np.full(len(reference), "default")
    return Comparison(reference, predicted, np.sqrt(variance), structure, kind, None, unit)
