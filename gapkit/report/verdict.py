"""An evaluation in plain words: are the error bars honest, and what is the potential not to be trusted for?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from gapkit.evaluation.calibration import calibration, z_scores
from gapkit.evaluation.comparison import Comparison, Evaluation
from gapkit.evaluation.ranking import per_atom, rank_correlation
from gapkit.quantities import COMPARED

if TYPE_CHECKING:
    from gapkit.potential.gap import GAP
    from gapkit.uncertainty.extrapolation import Extrapolation

FloatArray = NDArray[np.float64]
LEVELS = ("bad", "note", "good")  # in the order of the verdict
LONGEST = 16  # names of config types in one sentence
WEAK = 0.3  # rank correlation below which std does not separate good values from bad
FEW_ATOMS, FEW_STRUCTURES = 30, 10  # below, a rank correlation means nothing
SURE = 0.01  # significance of a common sign
MOSTLY = 0.5  # share of the noise in the predictive variance
BEYOND = 0.05  # share of atoms beyond the training range


class Finding(NamedTuple):
    """One finding of the verdict.

    Attributes
    ----------
    level : {"good", "note", "bad"}
    kind : str
        "energy", "forces", "stress", or "" for all.
    config_types : tuple of str
        Config types concerned; empty for all.
    text : str
        A sentence or two.
    distrust : str
        What the potential is not to be trusted for because of it, or nothing.
    """

    level: str
    kind: str
    config_types: tuple[str, ...]
    text: str
    distrust: str = ""


class Verdict(NamedTuple):
    """All findings: those over all of a kind first, then what is bad."""

    findings: tuple[Finding, ...]

    @property
    def not_trusted(self) -> tuple[str, ...]:
        """What the potential is not to be trusted for."""
        return tuple(dict.fromkeys(finding.distrust for finding in self.findings if finding.distrust))


def judge(gap: GAP, evaluation: Evaluation, environments: Extrapolation | None = None) -> Verdict:
    """Judge the error bars of every kind of label, over all and within each config type.

    A factor between errors and error bars counts if it exceeds 20 % and twice its own uncertainty, structures counted
    (three times within a config type, as there are many); a common sign of the errors if a t-test of the structures'
    mean errors is significant at 1 % and the mean is a fifth of the RMSE of the whole set.

    Parameters
    ----------
    gap : GAP
        The potential; its noises and training data are used.
    evaluation : Evaluation
        With standard deviations, as far as they are to be judged.
    environments : Extrapolation, optional
        The evaluated structures against the training environments, from
        `gapkit.uncertainty.extrapolation.extrapolation`.
    """
    findings: list[Finding] = []
    scored = {kind: c for kind, c in evaluation.comparisons.items() if has_std(c)}
    overall = [_overall(kind, comparison) for kind, comparison in scored.items()]
    findings += _scales(scored)
    for kind, comparison in evaluation.comparisons.items():
        findings += _signs(kind, comparison)
    for kind, comparison in scored.items():
        findings += _ranks(kind, comparison)
    findings += _misspecified(gap, scored) + _untrained(gap, evaluation)
    findings += _beyond_training(evaluation, environments) + _missing(evaluation, scored)
    return Verdict((*overall, *sorted(findings, key=lambda finding: LEVELS.index(finding.level))))


def has_std(comparison: Comparison | None) -> bool:
    """Whether its standard deviations can be judged: there are some, and all are positive."""
    return comparison is not None and comparison.std is not None and bool(np.all(comparison.std > 0.0))


def zero_by_symmetry(comparison: Comparison) -> NDArray[np.bool_]:
    """Rows of config types whose reference values vanish beside all others: they test no error bar."""
    scale = np.sqrt(np.mean(comparison.reference**2))
    rows = np.zeros(len(comparison), dtype=bool)
    for _, part, own in _parts(comparison):
        rows[own] = np.sqrt(np.mean(part.reference**2)) < 1e-3 * scale
    return rows


def _parts(comparison: Comparison) -> Iterator[tuple[str, Comparison, NDArray[np.bool_]]]:
    for name in np.unique(comparison.config_type):
        own = comparison.config_type == name
        yield str(name), comparison.select(own), own


def _informative(comparison: Comparison) -> Iterator[tuple[str, Comparison]]:
    """Config types whose values are not zero by symmetry."""
    idle = zero_by_symmetry(comparison)
    return ((name, part) for name, part, own in _parts(comparison) if not np.any(idle[own]))


def _n_structures(comparison: Comparison) -> int:
    return len(np.unique(comparison.structure))


def _listed(names: Mapping[str, str] | tuple[str, ...]) -> str:
    """ "a (1.3), b (2)" or "a and b"."""
    items = [f"{n} ({x})" for n, x in names.items()] if isinstance(names, Mapping) else list(names)
    if len(items) > LONGEST:
        items = [*items[: LONGEST - 1], f"{len(items) - LONGEST + 1} others"]
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


# ---- size of the error bars


def _direction(scale: float, n_structures: int, sure: float) -> int:
    """1 if error bars are too small, -1 if too large, 0 if neither is certain; `scale` = √(mean z²).

    `sure` counts the standard errors 1/√(2n) that it takes.
    """
    margin = max(0.2, sure / np.sqrt(2.0 * n_structures))
    return int(scale > 1.0 + margin) - int(scale < 1.0 / (1.0 + margin))


def _overall(kind: str, comparison: Comparison) -> Finding:
    scored = calibration(comparison.select(~zero_by_symmetry(comparison)) if kind != "energy" else comparison)
    direction, n = _direction(scored.scale, scored.n_structures, 2.0), scored.n_structures
    inside = f"{100.0 * scored.coverage[0.9]:.0f} % of the values lie inside their 90 % interval"
    counted = f"{scored.n} values of {n} structure{'s' if n != 1 else ''}"
    head = f"Error bars of {COMPARED[kind].plural}"
    if direction == 0:
        note = "" if n >= FEW_STRUCTURES else " So few structures prove little."
        return Finding(
            "good" if not note else "note", kind, (), f"{head} are honest on the whole: {inside} ({counted}).{note}"
        )
    if direction > 0:
        text = f"{head} are too small: multiply them by {scored.scale:.2g}. {inside} ({counted})."
        return Finding("bad", kind, (), text, f"error bars of {COMPARED[kind].plural} as they are")
    text = f"{head} are too large, on the safe side: errors are {scored.scale:.2g} times what they promise. {inside}."
    text += " So few structures prove little." if n < FEW_STRUCTURES else ""
    return Finding("note", kind, (), text)


def _scales(scored: Mapping[str, Comparison]) -> list[Finding]:
    """Config types whose error bars are too small, and those where they are too large."""
    findings = []
    for direction, level, word in ((1, "bad", "small"), (-1, "note", "large")):
        found = {kind: _scaled(comparison, direction) for kind, comparison in scored.items()}
        found = {kind: names for kind, names in found.items() if names}
        if not found:
            continue
        text = "; ".join(f"{COMPARED[kind].plural} of {_listed(names)}" for kind, names in found.items())
        text = f"Too {word} error bars by config type, with the factor that would mend them: {text}."
        whom = [f"{COMPARED[kind].plural} of {_listed(tuple(names))}" for kind, names in found.items()]
        distrust = f"error bars as they are, of {'; '.join(whom)}" if direction > 0 else ""
        everyone = tuple(sorted({name for names in found.values() for name in names}))
        findings.append(Finding(level, "", everyone, text, distrust))
    return findings


def _scaled(comparison: Comparison, direction: int) -> dict[str, str]:
    """Config types with a factor in that direction, and the factor."""
    found = {}
    for name, part in _informative(comparison):
        scale = float(np.sqrt(np.mean(z_scores(part) ** 2)))
        if _direction(scale, _n_structures(part), 3.0) == direction:
            found[name] = f"× {scale:.2g}"
    return found


# ---- errors with one sign


def _signs(kind: str, comparison: Comparison) -> list[Finding]:
    """Config types whose errors have one sign: they do not average out."""
    if kind == "forces":
        return []
    shown, found = comparison.displayed(), {}
    for name, part, _ in _parts(shown):
        mean = _structure_means(part)
        rmse = np.sqrt(np.mean(shown.error**2))
        if len(mean) < 3 or np.ptp(mean) == 0.0 or abs(mean.mean()) < 0.2 * rmse:
            continue
        if ttest_1samp(mean, 0.0).pvalue < SURE:
            found[name] = f"{mean.mean():+.2g} {shown.unit}".replace("-", "−")
    if not found:
        return []
    what = "Energies" if kind == "energy" else "Stresses (mean of the six components)"
    text = f"{what} are off in one direction, which no average over structures removes: {_listed(found)}."
    distrust = f"{COMPARED[kind].plural} of {_listed(tuple(found))} beside those of other structures"
    return [Finding("bad", kind, tuple(found), text, distrust)]


def _structure_means(comparison: Comparison) -> FloatArray:
    """Mean error of each structure."""
    _, index = np.unique(comparison.structure, return_inverse=True)
    return np.asarray(np.bincount(index, weights=comparison.error) / np.bincount(index))


# ---- large error bars at large errors


def _ranks(kind: str, comparison: Comparison) -> list[Finding]:
    if kind == "forces" and comparison.atom is not None:
        return _atom_ranks(comparison)
    rho = rank_correlation(np.abs(comparison.error), np.asarray(comparison.std))
    if rho is None or _n_structures(comparison) < FEW_STRUCTURES:
        return []
    return [_rank_finding(kind, rho, "structures")]


def _rank_finding(kind: str, rho: float, whom: str) -> Finding:
    plural = COMPARED[kind].plural
    if rho >= WEAK:
        quality = "reliably" if rho >= 0.6 else "roughly"
        text = f"Over all {whom}, error bars of {plural} point {quality} at large errors (rank correlation {rho:.2f})."
        return Finding("good" if rho >= 0.6 else "note", kind, (), text)
    text = f"Over all {whom}, error bars of {plural} do not point at large errors (rank correlation {rho:.2f})."
    return Finding("bad", kind, (), text, f"telling good {plural} from bad ones by their error bars")


def _atom_ranks(comparison: Comparison) -> list[Finding]:
    """Of all atoms, and within config types."""
    atoms = per_atom(comparison)
    found, findings = {}, []
    rho = rank_correlation(atoms.error, atoms.std)
    if rho is not None and len(atoms.error) >= FEW_ATOMS:
        findings.append(_rank_finding("forces", rho, "atoms"))
    for name, part in _informative(comparison):
        own = per_atom(part)
        rho = rank_correlation(own.error, own.std)
        if rho is not None and rho < WEAK and len(own.error) >= FEW_ATOMS:
            found[name] = f"{rho:.2f}".replace("-", "−")
    if found:
        text = (
            "Within some config types the error bar of a force does not tell which atoms are wrong (rank correlation "
            f"below {WEAK:g}): {_listed(found)}. Take it as one number for all their atoms."
        )
        distrust = f"telling good atoms from bad ones within {_listed(tuple(found))}"
        findings.append(Finding("bad", "forces", tuple(found), text, distrust))
    return findings


# ---- where the posterior is known to mislead


def _misspecified(gap: GAP, scored: Mapping[str, Comparison]) -> list[Finding]:
    """Config types where the noise, not the posterior, makes up the predictive variance."""
    kinds = [kind for kind in ("energy", "forces") if kind in scored]  # the noise of a stress depends on the volume
    found = {kind: _noise_shares(gap, kind, scored[kind]) for kind in kinds}
    whom = "; ".join(f"{COMPARED[kind].plural} of {_listed(shares)}" for kind, shares in found.items() if shares)
    if not whom:
        return []
    text = (
        "Most of the predictive variance is the noise that was given to the config type or learned for it, not the "
        f"posterior: {whom}. Labels from first principles have little noise of their own; the rest is what no weights "
        "of this model can fit. The posterior alone (the stds of predictions without labels, samples, error bars "
        "propagated to properties) leaves that part out and is too small there (arXiv:2502.07104)."
    )
    names = tuple(sorted({name for shares in found.values() for name in shares}))
    return [Finding("bad", "", names, text, f"posterior error bars, without noise, of {_listed(names)}")]


def _noise_shares(gap: GAP, kind: str, comparison: Comparison) -> dict[str, str]:
    found = {}
    for name, part in _informative(comparison):
        variance = np.asarray(part.std) ** 2
        share = float(_noise(gap, kind, name, part) ** 2 * len(part) / variance.sum())
        if share > MOSTLY:
            found[name] = f"{100.0 * min(share, 1.0):.0f} %"
    return found


def _noise(gap: GAP, kind: str, config_type: str, part: Comparison) -> float:
    """Noise of the labels, recalibrated as the model is; root of the mean square over species."""
    noise = gap.noise_std(kind, config_type)
    recalibration = gap.recalibration_
    if recalibration is None:
        return noise
    if kind == "energy" or part.species is None:
        return noise * float(recalibration.factor(kind))
    return noise * float(np.sqrt(np.mean(recalibration.factors(kind, part.species) ** 2)))


# ---- data


def _untrained(gap: GAP, evaluation: Evaluation) -> list[Finding]:
    trained = gap.training_.get("config_types")
    new = tuple(name for name in evaluation.config_types if trained and name not in trained)
    if not new:
        return []
    text = f"No training structure is of the config type {_listed(new)}; the noise of another one stands in."
    return [Finding("note", "", new, text)]


def _beyond_training(evaluation: Evaluation, environments: Extrapolation | None) -> list[Finding]:
    """Config types with atoms beyond the training range."""
    if environments is None:
        return []
    found = {}
    for name, rows in rows_by_config_type(evaluation, environments).items():
        beyond = environments.summary(rows)
        share = np.nanmax([beyond.far, beyond.uncertain])
        if share > BEYOND:
            found[name] = f"{100.0 * share:.0f} % of the atoms"
    if not found:
        text = "The structures hold hardly any environments beyond the range of the training environments."
        return [Finding("good", "", (), text)]
    text = f"Environments beyond the range of the training environments: {_listed(found)}. Predictions extrapolate."
    return [Finding("bad", "", tuple(found), text, f"structures such as {_listed(tuple(found))}, without new data")]


def rows_by_config_type(evaluation: Evaluation, environments: Extrapolation) -> dict[str, NDArray[np.bool_]]:
    """Config type of the evaluated structures -> its atoms among `environments`, shape (n_atoms,)."""
    names: dict[int, str] = {}
    for comparison in evaluation.comparisons.values():
        names |= dict(zip(comparison.structure.tolist(), comparison.config_type.tolist()))
    own = np.array([names.get(structure, "") for structure in environments.structure.tolist()])
    return {str(name): own == name for name in np.unique(own) if name}


def _missing(evaluation: Evaluation, scored: Mapping[str, Comparison]) -> list[Finding]:
    without = tuple(COMPARED[kind].plural for kind in evaluation.comparisons if kind not in scored)
    if not without:
        return []
    text = f"No error bars of {_listed(without)} were evaluated; evaluate with return_std='all'."
    return [Finding("note", "", (), text)]
