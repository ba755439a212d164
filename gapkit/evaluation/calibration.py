"""Are the predicted standard deviations honest? Scores and calibration of Gaussian predictive distributions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from gapkit.errors import InputError, did_you_mean
from gapkit.evaluation.ranking import checked_std, per_atom, rank_correlation
from gapkit.quantities import COMPARED

if TYPE_CHECKING:
    from gapkit.evaluation.comparison import Comparison

FloatArray = NDArray[np.float64]
LEVELS = (0.5, 0.68, 0.9, 0.95)
GROUPINGS = ("config_type", "species")


@dataclass(frozen=True)
class Calibration:
    """How well N(predicted, std²) describes the reference values.

    Attributes
    ----------
    n, n_structures : int
        Values compared, and the structures they come from.
    mean_z, std_z : float
        Mean and standard deviation of z = (reference - predicted)/std; 0 and 1 if calibrated.
    coverage : dict of float to float
        Nominal level of the central interval -> fraction of values inside it.
    coverage_se : dict of float to float
        Binomial standard error sqrt(p (1 - p)/n_structures) at the nominal level p. Values of one structure are
        correlated, so structures are counted, not values: exact for energies, conservative for force components.
    miscalibration_area : float
        Area between the coverage curve and the diagonal; 0 is perfect, 0.5 the worst possible.
    nll : float
        Mean negative log likelihood per value (natural logarithm, values in `unit`).
    crps : float
        Mean continuous ranked probability score, in `unit`; the mean absolute error if every std were 0.
    sharpness : float
        sqrt(mean std²) in `unit`.
    rank_correlation : float or None
        Spearman correlation of abs(error) and std; None if either is constant or there are fewer than three values.
    atom_rank_correlation : float or None
        The same of the atoms' error vectors (`per_atom`); None for other labels than forces.
    scale : float
        sqrt(mean z²): the one factor on every std that maximises the likelihood of these values.
    unit : str
        Unit of the compared values.
    """

    n: int
    n_structures: int
    mean_z: float
    std_z: float
    coverage: dict[float, float]
    coverage_se: dict[float, float]
    miscalibration_area: float
    nll: float
    crps: float
    sharpness: float
    rank_correlation: float | None
    atom_rank_correlation: float | None
    scale: float
    unit: str


def z_scores(comparison: Comparison) -> FloatArray:
    """Standardised residuals (reference - predicted)/std, shape (n,); positive where the model predicts too low.

    Raises
    ------
    InputError
        If there is no standard deviation, no value, a standard deviation that is not positive and finite, or a label
        or prediction that is not finite.
    """
    z = (comparison.reference - comparison.predicted) / checked_std(comparison)
    wrong = np.flatnonzero(~np.isfinite(z))
    if len(wrong):
        raise InputError(f"the label or the prediction of value {wrong[0]} is not finite: remove or repair it.")
    return z


def coverage(z: ArrayLike, levels: Iterable[float] = LEVELS) -> dict[float, float]:
    """Fraction of `z` inside the central interval of a standard normal, for each nominal level.

    Parameters
    ----------
    z : array_like, shape (n,)
        Standardised residuals.
    levels : iterable of float
        Nominal probabilities between 0 and 1.

    Returns
    -------
    dict
        Nominal level -> observed fraction, in the order of `levels`.

    Raises
    ------
    InputError
        If `z` is empty or not finite, or a level lies outside [0, 1].
    """
    probability = np.sort(_central_probability(_checked_z(z)))
    nominal = [float(level) for level in levels]
    outside = [level for level in nominal if not 0.0 <= level <= 1.0]
    if outside:
        raise InputError(f"coverage levels are probabilities between 0 and 1, got {outside}: write 0.9 for 90 %.")
    observed = np.searchsorted(probability, nominal, side="right") / len(probability)
    return dict(zip(nominal, observed.tolist()))


def calibration(comparison: Comparison, levels: Iterable[float] = LEVELS) -> Calibration:
    """Score the predictive distributions N(predicted, std²) of one kind of label.

    Coverage and scoring rules follow Gneiting and Raftery, J. Am. Stat. Assoc. 102, 359 (2007); the coverage curve and
    its area Kuleshov, Fenner and Ermon, ICML (2018); the closed form of the CRPS of a Gaussian Gneiting, Raftery,
    Westveld and Goldman, Mon. Weather Rev. 133, 1098 (2005).
    `scale` is fitted to the values it is reported for: to recalibrate, fit it on one set and score on another.

    Parameters
    ----------
    comparison : Comparison
        One kind of label with predictive standard deviations.
    levels : iterable of float
        Nominal levels of `coverage`.

    Raises
    ------
    InputError
        As `z_scores` and `coverage`.
    """
    std = checked_std(comparison)
    z = z_scores(comparison)
    observed = coverage(z, levels)
    n_structures = len(np.unique(comparison.structure))
    return Calibration(
        n=len(z),
        n_structures=n_structures,
        mean_z=float(z.mean()),
        std_z=float(z.std()),
        coverage=observed,
        coverage_se={p: float(np.sqrt(p * (1.0 - p) / n_structures)) for p in observed},
        miscalibration_area=_miscalibration_area(z),
        nll=float(np.mean(0.5 * z**2 + np.log(std) + 0.5 * np.log(2.0 * np.pi))),
        crps=float(np.mean(_crps(z, std))),
        sharpness=float(np.sqrt(np.mean(std**2))),
        rank_correlation=rank_correlation(np.abs(comparison.error), std),
        atom_rank_correlation=_atom_rank_correlation(comparison),
        scale=float(np.sqrt(np.mean(z**2))),
        unit=comparison.unit,
    )


def calibration_by(comparison: Comparison, by: str, levels: Iterable[float] = LEVELS) -> dict[str, Calibration]:
    """`calibration` of each group of values.

    Parameters
    ----------
    comparison : Comparison
        One kind of label with predictive standard deviations.
    by : {"config_type", "species"}
        Species exist for forces.
    levels : iterable of float
        Nominal levels of `coverage`.

    Returns
    -------
    dict
        Name of the group -> its calibration, in alphabetical order.

    Raises
    ------
    InputError
        As `calibration` and `group_names`.
    """
    names, levels = group_names(comparison, by), tuple(levels)
    checked_std(comparison)
    return {str(name): calibration(comparison.select(names == name), levels) for name in np.unique(names)}


def group_names(comparison: Comparison, by: str) -> NDArray[np.str_]:
    """Config type or species of each value, shape (n,).

    Raises
    ------
    InputError
        If `by` is unknown, or the values belong to no atoms and so have no species.
    """
    if by not in GROUPINGS:
        raise InputError(f"values cannot be grouped by {by!r}{did_you_mean(str(by), GROUPINGS)}.")
    names = comparison.config_type if by == "config_type" else comparison.species
    if names is None:
        raise InputError(f"values in {comparison.unit} belong to no species: group them by 'config_type'.")
    return names


def calibration_in_words(comparison: Comparison, kind: str = "energy") -> str:
    """Two sentences on whether the predicted standard deviations of a kind of label are honest.

    Parameters
    ----------
    comparison : Comparison
    kind : {"energy", "forces", "stress"}

    Raises
    ------
    InputError
        If the kind is unknown, or as `z_scores`.
    """
    if kind not in COMPARED:
        raise InputError(f"there are no labels of kind {kind!r}{did_you_mean(kind, COMPARED)}.")
    scored, plural = calibration(comparison), COMPARED[kind].values
    inside, expected_spread = 100.0 * scored.coverage[0.9], 100.0 * scored.coverage_se[0.9]
    # a standard deviation from n values is itself uncertain by 1/√(2n), and a fifth does not matter
    margin = max(0.2, 2.0 / np.sqrt(2.0 * scored.n_structures))
    verdict = "honest"
    if scored.scale > 1.0 + margin:
        verdict = f"too small: errors are {scored.scale:.1f} times what they promise"
    elif scored.scale < 1.0 / (1.0 + margin):
        verdict = f"too large: errors are {scored.scale:.1g} times what they promise"
    judgement = f"are {verdict}" if scored.n_structures > 1 else "cannot be judged: one structure proves nothing"
    return (
        f"Error bars of the {plural} {judgement}. {inside:.0f} % of {scored.n} {plural} lie inside their 90 % "
        f"interval (90 ± {expected_spread:.0f} % if calibrated); z-scores have mean {scored.mean_z:.2f} and standard "
        f"deviation {scored.std_z:.2f} (0 and 1)."
    )


def _checked_z(z: ArrayLike) -> FloatArray:
    values = np.asarray(z, dtype=float).ravel()
    if len(values) == 0 or not np.all(np.isfinite(values)):
        n_bad = int(np.count_nonzero(~np.isfinite(values)))
        raise InputError(f"coverage needs finite z-scores, got {len(values)} of which {n_bad} are not: remove them.")
    return values


def _central_probability(z: FloatArray) -> FloatArray:
    """Level of the smallest central interval that holds z: uniform on [0, 1] if z is standard normal."""
    return 1.0 - 2.0 * norm.sf(np.abs(z))


def _miscalibration_area(z: FloatArray) -> float:
    """∫ |observed(p) - p| dp, exactly: the mean distance of the ordered levels u from their steps [a, b]."""
    u = np.sort(_central_probability(z))
    edges = np.linspace(0.0, 1.0, len(u) + 1)
    from_a, from_b = u - edges[:-1], u - edges[1:]
    return float(0.5 * np.sum(from_a * np.abs(from_a) - from_b * np.abs(from_b)))


def _crps(z: FloatArray, std: FloatArray) -> FloatArray:
    """σ [z (2 Φ(z) - 1) + 2 φ(z) - 1/√π]."""
    return std * (z * (2.0 * norm.cdf(z) - 1.0) + 2.0 * norm.pdf(z) - 1.0 / np.sqrt(np.pi))


def _atom_rank_correlation(comparison: Comparison) -> float | None:
    """None for values without atoms and where only some components of an atom were selected."""
    if comparison.atom is None or len(comparison) % 3:
        return None
    try:
        atoms = per_atom(comparison)
    except InputError:
        return None
    return rank_correlation(atoms.error, atoms.std)
