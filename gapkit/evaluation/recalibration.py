"""One factor per kind of label and species on the predictive standard deviations, and where it comes from.

The factor s multiplies the whole predictive standard deviation, s·sqrt(posterior variance + noise²), so it corrects a
misjudged noise and a misjudged amplitude alike and leaves their proportion as fitted. It maximises the likelihood of
labels that the fit has not seen: s² = mean z². A few gross errors raise it; where the z-scores have heavy tails no
factor makes every level of coverage right, but the intervals of `gapkit.evaluation.conformal` do. Alternatives not
taken here: two factors, for posterior variance and noise apart (needs data where one dominates); median abs(z)/0.6745,
which tolerates outliers but promises nothing about them; isotonic maps of the levels (Kuleshov, Fenner and Ermon, ICML
2018), after which the prediction is no longer Gaussian.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gapkit.errors import InputError, did_you_mean, warn
from gapkit.evaluation.calibration import calibration, z_scores
from gapkit.evaluation.compare import evaluate
from gapkit.evaluation.comparison import Comparison
from gapkit.evaluation.leave_one_out import leave_one_out
from gapkit.evaluation.protocol import FittedPotential
from gapkit.quantities import COMPARED
from gapkit.structures.frames import FramesInMemory, Structures, labelled_frames
from gapkit.structures.labels import LabelKeys

FloatArray = NDArray[np.float64]
ORIGINS = ("held-out", "leave-one-out")
MIN_VALUES = 20  # s from n independent values is uncertain by s/√(2n): 16 %
MIN_STRUCTURES = 5
_N_FOLDS = 5
_N_REMEMBERED = 64


class Scores(NamedTuple):
    """Calibration of one group of values, as in `Calibration`; coverage at 50, 68, 90 and 95 %."""

    nll: float
    crps: float
    miscalibration_area: float
    std_z: float
    coverage_50: float
    coverage_68: float
    coverage_90: float
    coverage_95: float


@dataclass(frozen=True)
class ScaleFit:
    """Data that one factor was fitted to, and its effect.

    Attributes
    ----------
    n, n_structures : int
        Values and the structures they come from.
    scale_se : float
        Standard error of the factor; structures are independent, values within one are not.
    before, after : Scores
        With the standard deviations as predicted, and with each value's scaled by the factor that the other four fifths
        of the structures give, so that no value is scored with a factor it has helped to fit. NLL and CRPS in the unit
        of the comparison.
    """

    n: int
    n_structures: int
    scale_se: float
    before: Scores
    after: Scores


@dataclass(frozen=True)
class Provenance:
    """Where the factors come from.

    Attributes
    ----------
    how : {"held-out", "leave-one-out"}
        Whether the labels were kept from the fit, or predicted by fits without their own structure.
    data : str
        The data in words, for example a file name.
    fingerprint : str
        SHA-256 of the labels, whatever the order of the structures.
    date : str
        Day of the fit, ISO 8601.
    fits : dict of str to ScaleFit
        Per factor, keys as in `Recalibration.scales`.
    seen : dict of str to tuple of str
        Per kind, digests of the labels of up to 64 structures: to recognise data that were used here.
    """

    how: str
    data: str
    fingerprint: str
    date: str
    fits: dict[str, ScaleFit]
    seen: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Recalibration:
    """Factors on predictive standard deviations, made by `fit_recalibration`.

    Attributes
    ----------
    scales : dict of str to float
        "energy", "stress" and, per species, "forces/Si" -> factor. Kinds that are missing keep their standard
        deviations.
    provenance : Provenance
    """

    scales: dict[str, float]
    provenance: Provenance

    def factor(self, kind: str, species: str | None = None) -> float:
        """Factor on the standard deviations of "energy" or "stress", or of "forces" on atoms of `species`.

        1 for a kind without factors. A species that was not in the data has the largest factor of the others.

        Raises
        ------
        InputError
            If the kind is unknown, or forces come without a species.
        """
        _check_kind(kind)
        if kind != "forces":
            return self.scales.get(kind, 1.0)
        if species is None:
            raise InputError("the factors of forces differ from species to species: give the species.")
        known = [scale for key, scale in self.scales.items() if key.startswith("forces/")]
        return self.scales.get(f"forces/{species}", max(known, default=1.0))

    def factors(self, kind: str, symbols: Iterable[str]) -> FloatArray:
        """`factor` for each of `symbols`, shape (n,).

        Raises
        ------
        InputError
            As `factor`.
        """
        names, inverse = np.unique(np.asarray(list(symbols), dtype=str), return_inverse=True)
        return np.array([self.factor(kind, str(name)) for name in names], dtype=float)[inverse]

    def apply(self, comparisons: Mapping[str, Comparison]) -> dict[str, Comparison]:
        """The comparisons, kind by kind, with standard deviations multiplied by the factors.

        Raises
        ------
        InputError
            If a kind is unknown.

        Warns
        -----
        UserWarning
            As `warn_if_seen`.
        """
        self.warn_if_seen(comparisons)
        return {kind: self._applied(kind, comparison) for kind, comparison in comparisons.items()}

    def _applied(self, kind: str, comparison: Comparison) -> Comparison:
        if comparison.std is None:
            return comparison
        factor = self.factor(kind) if kind != "forces" else self.factors(kind, _species(comparison))
        return replace(comparison, std=comparison.std * factor)

    def warn_if_seen(self, comparisons: Mapping[str, Comparison]) -> None:
        """Warn if the factors were fitted to some of these labels: their calibration then proves little.

        Labels are recognised in the unit they were fitted in ("eV/atom", "eV/Å", "GPa").

        Warns
        -----
        UserWarning
            If any of the (up to 64) remembered structures is among these.
        """
        for kind, comparison in comparisons.items():
            remembered = set(self.provenance.seen.get(kind, ()))
            again = len(remembered & set(_digests(comparison)))
            if again:
                warn(
                    f"the standard deviations of the {kind} were recalibrated on {again} of these structures (of "
                    f"{len(remembered)} remembered): judge their calibration on other data."
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers, ready for JSON; `from_dict` is the inverse."""
        fits = {
            key: asdict(fit) | {"before": fit.before._asdict(), "after": fit.after._asdict()}
            for key, fit in self.provenance.fits.items()
        }
        seen = {kind: list(digests) for kind, digests in self.provenance.seen.items()}
        return {"scales": dict(self.scales), "provenance": vars(self.provenance) | {"fits": fits, "seen": seen}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recalibration:
        """The inverse of `to_dict`.

        Raises
        ------
        InputError
            If something is missing, or a factor is not positive and finite.
        """
        try:
            scales = {str(key): float(value) for key, value in data["scales"].items()}
            stored = dict(data["provenance"])
            fits = {key: _fit_from_dict(fit) for key, fit in stored["fits"].items()}
            seen = {kind: tuple(digests) for kind, digests in stored["seen"].items()}
            provenance = Provenance(**(stored | {"fits": fits, "seen": seen}))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"this is not a stored recalibration ({type(error).__name__}: {error}): fit and store it again."
            ) from None
        wrong = {key: scale for key, scale in scales.items() if not (np.isfinite(scale) and scale > 0.0)}
        if wrong or not scales:
            raise InputError(f"stored factors must be positive and finite, got {wrong or 'none'}: fit them again.")
        return cls(scales, provenance)


def fit_recalibration(
    comparisons: Mapping[str, Comparison], how: str, data: str = "", date: str | None = None
) -> Recalibration:
    """Fit one factor for the energies, one for the stresses, and one for the forces on each species.

    Parameters
    ----------
    comparisons : mapping of kind to Comparison
        ``evaluate(gap, frames, "all").comparisons`` for frames that the model was not fitted to, or leave-one-out
        predictions, of a model without recalibration. Kinds without standard deviations are left out.
    how : {"held-out", "leave-one-out"}
        How the labels were kept from the fit that predicted them.
    data : str
        The data in words.
    date : str, optional
        Today's if not given.

    Returns
    -------
    Recalibration

    Raises
    ------
    InputError
        If `how` or a kind is unknown; no kind has standard deviations; one is not positive and finite; a factor would
        come from fewer than 20 values or 5 structures; or all but a few errors are zero.
    """
    if not isinstance(comparisons, Mapping):
        raise InputError(
            f"comparisons must map kinds to comparisons, got {type(comparisons).__name__}: "
            "pass evaluate(gap, frames, 'all').comparisons."
        )
    check_origin(how)
    parts = dict(_parts(comparisons))
    if not parts:
        raise InputError(
            f"nothing to recalibrate: of {len(comparisons)} kinds of labels none has standard deviations; "
            "evaluate with return_std='all'."
        )
    found = {key: _fit_scale(key, part) for key, part in parts.items()}
    used = {kind: comparison for kind, comparison in comparisons.items() if comparison.std is not None}
    digests = {kind: sorted(_digests(comparison)) for kind, comparison in used.items()}
    everything = "".join(sorted(digest for kind in used for digest in _digests(used[kind], skip_constant=False)))
    provenance = Provenance(
        how=how,
        data=data,
        fingerprint=hashlib.sha256(everything.encode()).hexdigest(),
        date=datetime.now(UTC).date().isoformat() if date is None else date,
        fits={key: fit for key, (_, fit) in found.items()},
        seen={kind: tuple(names[:_N_REMEMBERED]) for kind, names in digests.items()},
    )
    return Recalibration({key: scale for key, (scale, _) in found.items()}, provenance)


def labelled_comparisons(
    gap: FittedPotential, data: Structures | Mapping[str, Comparison], how: str, keys: LabelKeys | None
) -> Mapping[str, Comparison]:
    """Comparisons of all kinds, without factors, of a fitted potential with the labels of `data`.

    Parameters
    ----------
    gap : GAP
        Its own factors, if there are any, are left out.
    data, how, keys
        As in `GAP.recalibrate`.

    Raises
    ------
    InputError
        As `GAP.recalibrate`.
    """
    check_origin(how)
    if not isinstance(data, Mapping):
        return _held_out(gap, data, keys) if how == "held-out" else leave_one_out(gap, data, keys).comparisons
    if gap.recalibration_ is not None:
        raise InputError(
            "this model has been recalibrated and its factors may be in these comparisons: set "
            "recalibration_ = None and compare again, or give labelled frames."
        )
    return data


def _held_out(gap: FittedPotential, data: Structures, keys: LabelKeys | None) -> dict[str, Comparison]:
    """Comparisons of frames that were not trained on."""
    frames = FramesInMemory.of(labelled_frames(data, keys))
    known = sum(frame.identity() in gap.frames_ for frame in frames)
    if known:
        raise InputError(
            f"{known} of the {frames.n_frames} frames to recalibrate on are training frames, whose errors are too "
            "small: leave them out."
        )
    raw = copy.copy(gap)
    raw.recalibration_ = None
    return evaluate(raw, frames, "all").comparisons


def check_origin(how: str) -> None:
    """Raise `InputError` unless labels were kept from the fit in one of the known ways."""
    if how not in ORIGINS:
        raise InputError(
            f"labels to recalibrate on must be 'held-out' or 'leave-one-out', got {how!r}: "
            "errors on training labels are too small."
        )


def _check_kind(kind: str) -> None:
    if kind not in COMPARED:
        raise InputError(f"there are no labels of kind {kind!r}{did_you_mean(str(kind), COMPARED)}.")


def _species(comparison: Comparison) -> NDArray[np.str_]:
    if comparison.species is None:
        raise InputError("these forces belong to no species: compare them with gapkit.evaluation.compare.evaluate.")
    return comparison.species


def _parts(comparisons: Mapping[str, Comparison]) -> Iterator[tuple[str, Comparison]]:
    """Key and values of each factor."""
    for kind, comparison in comparisons.items():
        _check_kind(kind)
        if comparison.std is None:
            continue
        if kind != "forces":
            yield kind, comparison
            continue
        species = _species(comparison)
        for name in np.unique(species):
            yield f"forces/{name}", comparison.select(species == name)


def _fit_scale(key: str, part: Comparison) -> tuple[float, ScaleFit]:
    """s² = Σz²/n, its standard error from the scatter of the structures' sums, and the scores before and after."""
    _, index = np.unique(part.structure, return_inverse=True)
    counts = np.bincount(index).astype(float)
    n, n_structures = len(part), len(counts)
    if n < MIN_VALUES or n_structures < MIN_STRUCTURES:
        raise InputError(
            f"{key}: {n} values of {n_structures} structures are too few to fit a factor to, {MIN_VALUES} values of "
            f"{MIN_STRUCTURES} structures are needed: add labelled structures, or leave these values out."
        )
    squares = np.bincount(index, weights=z_scores(part) ** 2)
    square = squares.sum() / n
    fold = np.arange(n_structures) % _N_FOLDS
    others = [np.sum(squares[fold != k]) / np.sum(counts[fold != k]) for k in range(_N_FOLDS)]
    if not min(others) > 0.0:
        raise InputError(f"{key}: all but a few errors are zero, so no factor fits them: give other structures.")
    scatter = np.sum((squares - square * counts) ** 2) * n_structures / (n_structures - 1.0)
    scaled = replace(part, std=part.std * np.sqrt(others)[fold][index])
    return float(np.sqrt(square)), ScaleFit(
        n=n,
        n_structures=n_structures,
        scale_se=float(np.sqrt(scatter) / n / (2.0 * np.sqrt(square))),
        before=_scores(part),
        after=_scores(scaled),
    )


def _scores(part: Comparison) -> Scores:
    scored = calibration(part, (0.5, 0.68, 0.9, 0.95))
    return Scores(scored.nll, scored.crps, scored.miscalibration_area, scored.std_z, *scored.coverage.values())


def _fit_from_dict(data: Mapping[str, Any]) -> ScaleFit:
    return ScaleFit(**(dict(data) | {"before": Scores(**data["before"]), "after": Scores(**data["after"])}))


def _digests(comparison: Comparison, skip_constant: bool = True) -> list[str]:
    """A digest of each structure's labels; constant ones (no force in a perfect crystal) identify no structure."""
    order = np.argsort(comparison.structure, kind="stable")
    starts = np.flatnonzero(np.diff(comparison.structure[order])) + 1
    labels = np.split(comparison.reference[order], starts) if len(order) else []
    kept = [x for x in labels if len(x) == 1 or not skip_constant or np.ptp(x) > 0.0]
    return [hashlib.sha256(x.tobytes()).hexdigest()[:16] for x in kept]
