"""Noises to start from: those of a preset, less where labels spread less, more for config types with large forces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from gapkit.potential.presets import WHY, preset_settings
from gapkit.quantities import UNITS
from gapkit.structures.statistics import DataFacts

SHARES = {"energy": 0.02, "forces": 0.05, "virial": 0.05}  # of the spread of the labels, which noises do not exceed
LEAST = {"energy": 1e-5, "forces": 5e-4, "virial": 1e-4}  # labels are seldom converged better
ROUGH = 4.0  # times the usual noise: a config type for which `SHARES` gives more gets noises of its own


class SuggestedNoises(NamedTuple):
    """Noises by the names of `GAP`'s parameters, and the reason for each."""

    by_kind: dict[str, float | dict[str, float]]
    why: dict[str, str]

    @property
    def groups(self) -> int:
        """Different noises of one kind of label."""
        return max(len(noise) if isinstance(noise, dict) else 1 for noise in self.by_kind.values())


def suggested_noises(preset: str, facts: DataFacts) -> SuggestedNoises:
    """Noises for data, starting from those of a preset.

    Config types with much larger forces get noises in proportion: otherwise the other frames would pay for the errors
    of these, which are hard to describe.
    """
    settings = preset_settings(preset)
    rough = _rough_types(settings["forces_noise"], facts)
    found: dict[str, float | dict[str, float]] = {}
    why = {}
    for kind, share in SHARES.items():
        name = f"{kind}_noise"
        usual, own = float(settings[name]), share * facts.spread[kind]
        value = _rounded(max(own, LEAST[kind])) if 0 < own < usual else usual
        found[name] = _by_type(value, usual, rough, facts) if rough and facts.labelled[kind] else value
        why[name] = f"{UNITS[kind]}; {WHY.get(f'{name} {preset}', WHY['noises'])}"
        if not facts.labelled[kind]:
            why[name] = f"{UNITS[kind]}; there are no such labels"
        elif rough:
            why[name] = f"{UNITS[kind]}; more for config types with larger forces, in proportion to them"
        elif value < usual:
            floor = "" if value > LEAST[kind] else ", but not below the usual convergence of labels"
            limit = f"{100 * share:.0f} % of the labels' spread, {facts.spread[kind]:.2g}{floor}"
            why[name] = f"{UNITS[kind]}; {limit}; {usual:g} is usual"
    return SuggestedNoises(found, why)


def _rough_types(usual: float, facts: DataFacts) -> dict[str, float]:
    """Config types with forces beyond `ROUGH`, and the factors; none if all are."""
    share = SHARES["forces"] / usual
    factors = {name: share * float(np.sqrt(total / n)) for name, (total, n) in facts.forces_by_type.items()}
    rough = {name: factor for name, factor in factors.items() if factor > ROUGH}
    return rough if len(rough) < len(factors) else {}


def _by_type(value: float, usual: float, rough: Mapping[str, float], facts: DataFacts) -> dict[str, float]:
    """`value` by default and the usual noise times each rough type's factor; frames without a type are "default"."""
    noises = {"default": value} | {name: _rounded(factor * usual) for name, factor in rough.items()}
    if "default" not in rough:
        return noises
    return noises | {name: value for name in facts.config_types if name not in rough}


def _rounded(value: float) -> float:
    return float(f"{value:.1g}")
