"""Intervals with a coverage that is guaranteed for finite data, whatever the distribution of the errors.

Split-conformal prediction (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005); Lei et al.,
J. Am. Stat. Assoc. 113, 1094 (2018)) with the score abs(error)/std: the interval is predicted ± q·std with q an
empirical quantile of the scores of structures that the model was not fitted to.

What is exchangeable is the structure, not the value: the components in one structure are correlated. With K
calibration structures and any further one, all exchangeable, two things can be promised at the level p:

"value"      A value drawn at random from the new structure lies in its interval with a probability of at least p and,
             without ties, at most p + 2/(K + 1). Every structure has the weight 1/(K + 1), shared among its n_c values,
             and the new one that same weight at infinity (Lee, Barber and Willett, arXiv:2306.06342).
"structure"  All values of the new structure lie in their intervals with a probability of at least p and, without ties,
             at most p + 1/(K + 1): the score of a structure is its largest. Wide for large structures.

For energies, one per structure, both are split-conformal prediction as usual. By group (Mondrian; Vovk et al., chapter
4) the promise holds within each config type or species, with the structures of that group alone. No promise holds for
structures of another distribution than the calibration structures (another phase, another temperature), for a model
fitted to some of them, nor for each single structure: it is an average over calibration sets and new structures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom

from gapkit.checks import is_count, is_number
from gapkit.errors import InputError, did_you_mean
from gapkit.evaluation.calibration import group_names, z_scores
from gapkit.evaluation.ranking import checked_std

if TYPE_CHECKING:
    from gapkit.evaluation.comparison import Comparison

FloatArray = NDArray[np.float64]
TARGETS = ("value", "structure")
ALL = "all"
_ROUND_OFF = 1e-9


class Intervals(NamedTuple):
    """Lower and upper ends of the intervals of each value, shape (n,), in the unit of the comparison."""

    lower: FloatArray
    upper: FloatArray


class ScoreDistribution(NamedTuple):
    """Calibration scores of one group.

    Attributes
    ----------
    scores : ndarray, shape (m,)
        abs(error)/std, ascending.
    cumulative : ndarray, shape (m,)
        Sum of their weights up to each; the last is K/(K + 1).
    n_structures : int
        K.
    """

    scores: FloatArray
    cumulative: FloatArray
    n_structures: int


@dataclass(frozen=True, eq=False)
class Conformal:
    """Conformal intervals of one kind of label, made by `fit_conformal`.

    Attributes
    ----------
    groups : dict of str to ScoreDistribution
        Calibration scores per config type or species, or of "all".
    by : {"config_type", "species"} or None
    target : {"value", "structure"}
        What is promised; see `gapkit.evaluation.conformal`.
    """

    groups: Mapping[str, ScoreDistribution]
    by: str | None
    target: str

    def factor(self, level: float, group: str = ALL) -> float:
        """Half-width of the interval of probability `level`, in standard deviations.

        Raises
        ------
        InputError
            If the level lies outside (0, 1), the group is unknown, or it has too few structures: with fewer than
            level/(1 - level) only an infinite interval keeps the promise.
        """
        if not is_number(level) or not 0.0 < level < 1.0:
            raise InputError(f"the level of an interval is a probability between 0 and 1, got {level!r}: 0.9 is 90 %.")
        if group not in self.groups:
            raise InputError(f"the calibration data have no structure of {group!r}{did_you_mean(group, self.groups)}.")
        scores, cumulative, n_structures = self.groups[group]
        needed = structures_needed(level)
        if n_structures < needed:
            raise InputError(
                f"{group}: {n_structures} structures are too few for intervals of {100.0 * level:g} %, "
                f"{needed} are needed: add structures, join groups or lower the level."
            )
        return float(scores[np.searchsorted(cumulative, level - _ROUND_OFF)])

    def intervals(self, comparison: Comparison, level: float) -> Intervals:
        """predicted ± factor·std, for standard deviations made the same way as those of the calibration.

        Parameters
        ----------
        comparison : Comparison
            New values; their `reference` is not used.
        level : float
            Probability between 0 and 1.

        Raises
        ------
        InputError
            As `factor` and `gapkit.evaluation.calibration.z_scores`.
        """
        std, names = checked_std(comparison), _groups(comparison, self.by)
        found, inverse = np.unique(names, return_inverse=True)
        half = np.array([self.factor(level, str(name)) for name in found])[inverse] * std
        return Intervals(comparison.predicted - half, comparison.predicted + half)

    def coverage(self, comparison: Comparison, level: float) -> dict[str, float]:
        """Observed counterpart of the promise, per group of `comparison`.

        For "value" the fraction of values inside their intervals, averaged over structures of equal weight; for
        "structure" the fraction of structures with all values inside.

        Raises
        ------
        InputError
            As `intervals`.
        """
        lower, upper = self.intervals(comparison, level)
        inside = ((comparison.reference >= lower) & (comparison.reference <= upper)).astype(float)
        names = _groups(comparison, self.by)
        observed = {}
        for name in np.unique(names):
            rows = names == name
            _, index = np.unique(comparison.structure[rows], return_inverse=True)
            fractions = np.bincount(index, weights=inside[rows]) / np.bincount(index)
            counted = fractions if self.target == "value" else fractions == 1.0
            observed[str(name)] = float(np.mean(counted))
        return observed


def fit_conformal(comparison: Comparison, by: str | None = None, target: str = "value") -> Conformal:
    """Calibrate intervals on structures that the model was not fitted to.

    Parameters
    ----------
    comparison : Comparison
        One kind of label with predictive standard deviations, on structures exchangeable with new ones.
    by : {"config_type", "species"}, optional
        Calibrate each group separately.
    target : {"value", "structure"}
        Promise the coverage of a value drawn from a new structure, or of all its values at once.

    Returns
    -------
    Conformal

    Raises
    ------
    InputError
        If `by` or `target` is unknown, or as `gapkit.evaluation.calibration.z_scores`.
    """
    if target not in TARGETS:
        raise InputError(f"intervals cannot be promised for {target!r}{did_you_mean(str(target), TARGETS)}.")
    score, names = np.abs(z_scores(comparison)), _groups(comparison, by)
    distribution = _of_values if target == "value" else _of_structures
    groups = {
        str(name): distribution(score[names == name], comparison.structure[names == name]) for name in np.unique(names)
    }
    return Conformal(groups, by, target)


def pack_conformal(found: Mapping[str, Conformal]) -> tuple[dict[str, Any], dict[str, FloatArray]]:
    """JSON data and arrays of intervals by kind of label."""
    header, arrays = {}, {}
    for kind, intervals in found.items():
        groups = {}
        for k, (name, (scores, cumulative, n_structures)) in enumerate(intervals.groups.items()):
            arrays[f"conformal_{kind}_{k}"] = np.stack([scores, cumulative])
            groups[name] = n_structures
        header[kind] = {"by": intervals.by, "target": intervals.target, "groups": groups}
    return header, arrays


def unpack_conformal(header: Mapping[str, Any], arrays: Mapping[str, FloatArray]) -> dict[str, Conformal]:
    """The inverse of `pack_conformal`."""
    found = {}
    for kind, intervals in header.items():
        groups = {
            name: ScoreDistribution(
                arrays[f"conformal_{kind}_{k}"][0], arrays[f"conformal_{kind}_{k}"][1], n_structures
            )
            for k, (name, n_structures) in enumerate(intervals["groups"].items())
        }
        found[kind] = Conformal(groups, intervals["by"], intervals["target"])
    return found


def structures_needed(level: float) -> int:
    """Smallest K with K/(K + 1) ≥ level: fewer calibration structures give no finite interval (0.9: 9; 0.95: 19)."""
    return max(1, int(np.ceil(level / (1.0 - level) - _ROUND_OFF)))


def coverage_range(n_calibration: int, n_test: int, level: float, probability: float = 0.95) -> tuple[float, float]:
    """Where the observed coverage of `n_test` new structures falls with at least `probability`.

    With one score per structure and no ties the number inside is beta-binomial, BetaBin(n_test, k, K + 1 - k) with
    k = ceil((K + 1) level) (Angelopoulos and Bates, arXiv:2107.07511). For the target "value" of structures with many
    values it is a guide only.

    Returns
    -------
    lower, upper : float
        Fractions.

    Raises
    ------
    InputError
        If there are too few calibration structures, no test structures, or a level or probability outside (0, 1).
    """
    if not all(is_number(p) and 0.0 < p < 1.0 for p in (level, probability)):
        raise InputError(
            f"level and probability must lie between 0 and 1, got {level!r} and {probability!r}: 0.9 is 90 %."
        )
    if not is_count(n_test) or not is_count(n_calibration, structures_needed(level)):
        raise InputError(
            f"{n_calibration} calibration and {n_test} test structures are too few, {structures_needed(level)} and 1 "
            "are needed: add structures or lower the level."
        )
    k = np.ceil((n_calibration + 1) * level - _ROUND_OFF)
    ends = betabinom.ppf([(1.0 - probability) / 2.0, (1.0 + probability) / 2.0], n_test, k, n_calibration + 1 - k)
    return float(ends[0] / n_test), float(ends[1] / n_test)


def _groups(comparison: Comparison, by: str | None) -> NDArray[np.str_]:
    return np.full(len(comparison), ALL) if by is None else group_names(comparison, by)


def _of_values(score: FloatArray, structure: NDArray[np.intp]) -> ScoreDistribution:
    """Each value weighs 1/((K + 1) n_c)."""
    _, index, counts = np.unique(structure, return_inverse=True, return_counts=True)
    order = np.argsort(score)
    weights = 1.0 / ((len(counts) + 1.0) * counts[index[order]])
    return ScoreDistribution(score[order], np.cumsum(weights), len(counts))


def _of_structures(score: FloatArray, structure: NDArray[np.intp]) -> ScoreDistribution:
    """The largest score of each structure, of weight 1/(K + 1)."""
    names, index = np.unique(structure, return_inverse=True)
    largest = np.zeros(len(names))
    np.maximum.at(largest, index, score)
    return _of_values(largest, np.arange(len(names)))
