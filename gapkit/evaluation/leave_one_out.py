"""Every training frame predicted without it, in one pass and without a refit: errors, error bars, information.

The sparse points, e0, noises and amplitudes stay as they are; only the weights forget the frame
(`gapkit.gaussian_process.leverage`). Memory: the labels and their predictions, some 40 bytes each, and about 2 kB for
each frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gapkit.covariances.derivative_variance import derivative_variances
from gapkit.covariances.rows import local_rows, prior_energy_variance
from gapkit.errors import InputError
from gapkit.evaluation.compare import Rows, Values, left_out_values
from gapkit.evaluation.comparison import Comparison, Evaluation
from gapkit.evaluation.protocol import FittedPotential
from gapkit.fitting.second_pass import frame_rows, whitened_rows
from gapkit.gaussian_process.leverage import LeftOut, WhitenedRows, without
from gapkit.quantities import COMPARED, FITTED
from gapkit.runtime.progress import progress
from gapkit.runtime.tables import aligned
from gapkit.runtime.threads import ordered_map
from gapkit.structures.duplicates import DuplicateFinder
from gapkit.structures.frames import Frame, Structures
from gapkit.structures.labels import LabelKeys
from gapkit.structures.reference_energies import is_isolated

FloatArray = NDArray[np.float64]
METHODS = ("sor", "dtc")
N_SKETCH = 96  # random projections of a frame's information: overlaps of different frames are good to about 0.1


class FrameWithout(NamedTuple):
    """One training frame, judged by all others.

    Attributes
    ----------
    number : int
        Index of the frame among those given.
    config_type, formula : str
    n_atoms, n_labels : int
    isolated : bool
        A single atom without neighbours: it determines e0 and has no information on the weights.
    leverage : float
        How many parameters the frame alone determines.
    information : float
        Information of the frame on the weights beyond all others, nats.
    z : float
        √(mean square) of the whitened residuals of all labels: about 1 if frame and others agree.
    z_by_kind : dict of str to float
        The same of "energy", "forces" and "stress" alone.
    rmse : dict of str to float
        Errors of the predictions without the frame: eV/atom, eV/Å, GPa.
    log_predictive : float
        log p(labels of the frame | all others).
    decided_alone : bool
        Some direction of the weights is determined by this frame only: its numbers are round-off there.
    """

    number: int
    config_type: str
    formula: str
    n_atoms: int
    n_labels: int
    isolated: bool
    leverage: float
    information: float
    z: float
    z_by_kind: dict[str, float]
    rmse: dict[str, float]
    log_predictive: float
    decided_alone: bool

    @property
    def largest_z(self) -> float:
        """The largest of `z_by_kind`."""
        return max(self.z_by_kind.values(), default=0.0)


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """Training frames, each predicted by a fit without it; made by `leave_one_out`.

    Attributes
    ----------
    frames : tuple of FrameWithout
        All frames with labels, in their order.
    comparisons : dict of str to Comparison
        "energy", "forces", "stress": labels and predictions as in `gapkit.evaluate`, standard deviations with noise.
        Isolated atoms are not among them: e0 holds their energies even when they are left out. They go into
        `calibration`, `fit_recalibration(…, how="leave-one-out")`, `fit_conformal` and plots as they are.
    method : {"sor", "dtc"}
        What the standard deviations include, as in `leave_one_out`.
    duplicates : DuplicateFinder
        Repeated geometries and contradictory labels among the frames.
    sketches : ndarray of float32, shape (n_frames, 96)
        Random projections of each frame's information on the weights; see `overlap`.
    """

    frames: tuple[FrameWithout, ...]
    comparisons: dict[str, Comparison]
    method: str
    duplicates: DuplicateFinder
    sketches: NDArray[np.float32]

    @property
    def log_predictive(self) -> float:
        """Σ log p(labels of frame c | all others), of the sparse model."""
        return float(sum(frame.log_predictive for frame in self.frames))

    @property
    def evaluation(self) -> Evaluation:
        """The comparisons as an `Evaluation`: errors by config type with their own error bars, tables, summaries."""
        energy, forces, stress = map(self.comparisons.get, COMPARED)
        return Evaluation(energy, forces, stress, n_structures=len(self.frames))

    def worst(self, n: int = 10) -> list[FrameWithout]:
        """The `n` frames with the largest z-score of any kind, worst first, isolated atoms excluded."""
        return sorted(
            (frame for frame in self.frames if not frame.isolated), key=lambda frame: (-frame.largest_z, frame.number)
        )[:n]

    def overlap(self, place: int) -> FloatArray:
        """Overlap of the information of the frame at `place` in `frames` with that of each frame, shape (n_frames,).

        The cosine tr(G_c G_d)/(|G_c| |G_d|) of their contributions G = Wᵀ W to the information on the weights: 1 for
        the same environments, rotated or renumbered, 0 for nothing in common; an estimate, good to about 0.1 and
        better near 1.
        """
        length = np.linalg.norm(self.sketches, axis=1).astype(float)
        return self.sketches @ self.sketches[place] / np.maximum(length * length[place], np.finfo(np.float32).tiny)

    def table(self, n: int = 10) -> str:
        """The `n` worst frames and a summary of all frames, as aligned plain text."""
        rows = [_HEAD, *(_cells(frame) for frame in self.worst(n))]
        total = Counter({kind: len(comparison) for kind, comparison in self.comparisons.items()})
        z = ", ".join(f"{kind} {_rms(self._z(kind)):.2f}" for kind in self.comparisons)
        leverage = sum(frame.leverage for frame in self.frames)
        return "\n".join([
            aligned(rows, "rllrrrrrrrl"),
            f"{len(self.frames)} frames left out one by one, {total.total()} labels; log p = {self.log_predictive:.6g} "
            f"({self.log_predictive / max(total.total(), 1):.4g} a label), {leverage:.4g} parameters determined.",
            f"z-scores (root mean square over frames; 1 if the noises are right): {z}.",
        ])  # fmt: skip

    def to_dict(self, n: int = 10) -> dict[str, Any]:
        """Errors, z-scores and the `n` worst frames in plain dicts, lists and numbers, ready for JSON."""
        return {
            "n_frames": len(self.frames),
            "n_labels": sum(frame.n_labels for frame in self.frames),
            "log_predictive": self.log_predictive,
            "effective_parameters": float(sum(frame.leverage for frame in self.frames)),
            "method": self.method,
            "rms_z": {kind: _rms(self._z(kind)) for kind in self.comparisons},
            "errors": self.evaluation.summary(),
            "worst": [frame._asdict() for frame in self.worst(n)],
        }

    def _z(self, kind: str) -> FloatArray:
        return np.array([f.z_by_kind[kind] for f in self.frames if kind in f.z_by_kind and not f.isolated])


def leave_one_out(
    gap: FittedPotential, structures: Structures, keys: LabelKeys | None = None, method: str = "dtc"
) -> LeaveOneOut:
    """Predict every training frame without it, exactly and without a refit.

    Parameters
    ----------
    gap : GAP
        A fitted potential. A recalibration that it carries is not applied.
    structures : sequence of Atoms, path or paths, or iterable of Atoms
        The training frames as they were given to `GAP.fit`, or some of them. Read once; never all in memory.
    keys : LabelKeys, optional
        Where the labels are; found if not given.
    method : {"dtc", "sor"}
        Standard deviations in the comparisons. "dtc": those that a refit would predict, with what the sparse points
        cannot express, so that a recalibration fitted to them suits `GAP.predict`; "sor": without it, as in `frames`,
        and without the mixed second derivatives of the kernel that "dtc" takes for forces and stresses.

    Returns
    -------
    LeaveOneOut

    Raises
    ------
    InputError
        For a frame that is not among the training frames with these very labels, frames without any label, an unknown
        method.

    Notes
    -----
    Rows of every frame as in the second pass of `GAP.fit`, then n_labels n_sparse² + n_labels³ operations a frame.
    The sparse points stay, also those that came from the frame itself: error bars for environments without a sparse
    point are somewhat larger.
    """
    if method not in METHODS:
        raise InputError(f"variance method {method!r} is unknown: use 'dtc' or 'sor'.")
    frames = gap.frames_of(structures, keys)
    gathered = _Gathered()
    known = _trained_on(gap, frames, gathered.duplicates)
    follow = progress(gap.verbose)
    projections = np.random.default_rng(0).standard_normal((2, gap.recipe_.n_sparse, N_SKETCH))
    found = ordered_map(partial(_left_out, gap, method, projections), known)
    for result in follow(found, "leaving out", frames.n_frames):
        gathered.add(result)
    return gathered.result(method)


# ---- one frame


class _LeftOutFrame(NamedTuple):
    """A frame, its summary, its sketch, and its comparisons by kind."""

    frame: Frame
    without: FrameWithout
    sketch: NDArray[np.float32]
    parts: dict[str, Values]


def _trained_on(
    gap: FittedPotential, frames: Iterable[Frame], duplicates: DuplicateFinder
) -> Iterator[tuple[int, Frame]]:
    """Numbered frames, after a check that the model was fitted to them."""
    if not gap.frames_:
        raise InputError("the model file does not identify its training frames: fit again, then leave frames out.")
    left = gap.frames_.copy()
    for index, frame in enumerate(frames):
        name = frame.identity()
        if not left[name]:
            raise InputError(
                f"frame {index} ({frame.atoms.get_chemical_formula()}) is not among the training frames with these "
                "labels, or occurs more often than there: give the frames as they were fitted."
            )
        left[name] -= 1
        duplicates.add(frame.atoms, frame.labels, index)
        yield index, frame


def _left_out(
    gap: FittedPotential, method: str, projections: FloatArray, numbered: tuple[int, Frame]
) -> _LeftOutFrame | None:
    """All results for one frame; None without labels."""
    index, frame = numbered
    rows = frame_rows(gap.recipe_, frame)
    if not rows:
        return None
    own = whitened_rows(gap.recipe_, gap.posterior_, rows)
    out = without(own)
    unexplained = _unexplained(gap, frame, own) if method == "dtc" else {}
    u, v = projections
    sketch = np.einsum("nk,nk->k", own.W.T @ u, own.W.T @ v) / np.sqrt(N_SKETCH)
    parts = _compared(frame, out, unexplained)
    return _LeftOutFrame(frame, _summary(index, frame, out, parts), sketch.astype(np.float32), parts)


def _unexplained(gap: FittedPotential, frame: Frame, own: WhitenedRows) -> dict[str, FloatArray]:
    """Prior variances of the labels that the sparse points cannot express: "dtc" less "sor", whatever the data."""
    atoms, labels = frame
    environments = gap.recipe_.basis.environments(atoms)
    row, prior = local_rows(environments).sum(axis=0), np.zeros(1)
    prior[0] = prior_energy_variance(environments)
    variance = {"energy": gap.posterior_.variance(row[None], prior)}
    if labels.forces is not None or labels.virial is not None:
        found = derivative_variances(environments, gap.posterior_)
        variance |= {"forces": found.forces.ravel(), "virial": found.strain}
    explained, end, rest = own.noise**2 * np.einsum("mn,mn->n", own.W, own.W), 0, {}
    for kind, size in own.parts:
        part, end = explained[end : end + size], end + size
        rest[kind] = np.maximum(variance[kind] - part, 0.0)
    return rest


def _compared(frame: Frame, out: LeftOut, unexplained: Mapping[str, FloatArray]) -> dict[str, Values]:
    """Comparisons by kind; no stress where a prediction has none."""
    found = {}
    for part in out.labels:
        std = np.sqrt(part.std**2 + unexplained.get(part.kind, 0.0))
        values = left_out_values(frame, FITTED[part.kind], part.residual, std)
        if values is not None:
            found[FITTED[part.kind].compared] = values
    return found


def _summary(index: int, frame: Frame, out: LeftOut, parts: Mapping[str, Values]) -> FrameWithout:
    return FrameWithout(
        number=index,
        config_type=str(frame.labels.config_type),
        formula=frame.atoms.get_chemical_formula(),
        n_atoms=len(frame.atoms),
        n_labels=sum(len(part.residual) for part in out.labels),
        isolated=is_isolated(frame.atoms, frame.labels),
        leverage=out.leverage,
        information=out.information,
        z=out.z,
        z_by_kind={FITTED[part.kind].compared: _rms(part.z) for part in out.labels},
        rmse={kind: _rms(part.predicted - part.reference) for kind, part in parts.items()},
        log_predictive=out.log_predictive,
        decided_alone=out.decided_alone,
    )


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else 0.0


# ---- all frames


class _Gathered:
    """Results of the frames so far."""

    def __init__(self) -> None:
        self.duplicates = DuplicateFinder()
        self._frames: list[FrameWithout] = []
        self._sketches: list[NDArray[np.float32]] = []
        self._rows = Rows()

    def add(self, found: _LeftOutFrame | None) -> None:
        """Add one frame; None is one without labels."""
        if found is None:
            return
        self._frames.append(found.without)
        self._sketches.append(found.sketch)
        for kind, values in found.parts.items() if not found.without.isolated else ():
            self._rows.add(found.without.number, found.frame, kind, values)

    def result(self, method: str) -> LeaveOneOut:
        """All of them together."""
        if not self._frames:
            raise InputError("none of the frames to be left out carries a label: give the training frames.")
        comparisons = self._rows.comparisons()
        return LeaveOneOut(tuple(self._frames), comparisons, method, self.duplicates, np.array(self._sketches))


_HEAD = ("frame", "config type", "formula", "atoms", "z", "energy", "forces", "stress", "leverage", "info (nats)", "")


def _cells(frame: FrameWithout) -> tuple[str, ...]:
    z = [f"{frame.z_by_kind[kind]:.2f}" if kind in frame.z_by_kind else "-" for kind in COMPARED]
    note = "decided by this frame alone" if frame.decided_alone else ""
    sizes = (f"{frame.leverage:.3g}", f"{frame.information:.3g}", note)
    return (str(frame.number), frame.config_type, frame.formula, str(frame.n_atoms), f"{frame.z:.2f}", *z, *sizes)
