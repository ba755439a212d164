"""Baselines: physics that is already known, subtracted before a fit and added after it, forces and stress included.

E = Σ_i e0[Z_i] + Σ_b E_b + Σ_t Σ_i f_t(x_i): E_b, its forces and its virial are subtracted from the labels before the
fit and added to the predictions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from ase import Atoms

from gapkit.baselines.calculator import Calculator, check_trusted
from gapkit.baselines.dispersion import D3, D4
from gapkit.baselines.electrostatics import Ewald
from gapkit.baselines.properties import Baseline
from gapkit.baselines.zbl import ZBL, warn_of_overlap
from gapkit.checks import build
from gapkit.errors import InputError
from gapkit.structures.labels import Labels
from gapkit.structures.properties import Properties

__all__ = [
    "D3",
    "D4",
    "ZBL",
    "Baseline",
    "Calculator",
    "Ewald",
    "baseline_from_dict",
    "baseline_to_dict",
    "check_baselines",
    "evaluate_baselines",
    "subtract_baseline",
    "warn_of_overlap",
]

BASELINES: dict[str, type] = {"ZBL": ZBL, "D3": D3, "D4": D4, "Ewald": Ewald, "Calculator": Calculator}


def check_baselines(baselines: Sequence[Baseline], numbers: np.ndarray) -> None:
    """Raise `InputError` for invalid baselines, or baselines without parameters for some of the atomic numbers."""
    if not isinstance(baselines, list | tuple) or not all(isinstance(b, tuple(BASELINES.values())) for b in baselines):
        raise InputError(
            f"baseline = {baselines!r} must be a list of {', '.join(BASELINES)}, for example [ZBL(species=['Si'])]."
        )
    for baseline in baselines:
        baseline.validate()
        baseline.check_species(numbers)


def evaluate_baselines(baselines: Sequence[Baseline], atoms: Atoms) -> Properties:
    """The sum of the baselines of a structure.

    Raises
    ------
    InputError
        If one of them cannot treat the structure, or gives no finite numbers for it.
    """
    n = len(atoms)
    total = Properties.zeros(n)
    for baseline in baselines:
        found = baseline.evaluate(atoms)
        if not all(np.isfinite(value).all() for value in found):
            raise InputError(
                f"the baseline {type(baseline).__name__} has no finite energy and forces for "
                f"{atoms.get_chemical_formula()}: check its geometry for atoms on top of each other."
            )
        total = total.plus(found)
    return total


def subtract_baseline(labels: Labels, properties: Properties) -> Labels:
    """The labels less the baseline: energy, forces and virial (-dE/dε), each where it exists."""
    energy = None if labels.energy is None else labels.energy - properties.energy
    forces = None if labels.forces is None else labels.forces - properties.forces
    virial = None if labels.virial is None else labels.virial + properties.strain_derivative
    return replace(labels, energy=energy, forces=forces, virial=virial)


def baseline_to_dict(baseline: Baseline) -> dict[str, Any]:
    """A baseline as JSON-serialisable data, with ``type`` naming its class.

    Raises
    ------
    InputError
        For a `Calculator` that cannot be saved.
    """
    if isinstance(baseline, Calculator):
        baseline.check_saveable()
    values = asdict(baseline)  # type: ignore[call-overload]
    return {"type": type(baseline).__name__, **{name: _plain(value) for name, value in values.items()}}


def baseline_from_dict(
    data: Mapping[str, Any], where: str = "baseline", trusted_calculators: Collection[str] = ()
) -> Baseline:
    """The inverse of `baseline_to_dict`; missing keys take the defaults, unknown ones are refused.

    A `Calculator` is imported only if it and its parameters are harmless
    (`gapkit.baselines.calculator.HARMLESS`) or trusted.

    Parameters
    ----------
    data : mapping
    where : str
        What to call it in errors.
    trusted_calculators : collection of str
        Factories (``"module:name"``) that may be imported and run, with any parameters, if a file asks for it; in
        addition to those in the environment variable ``GAPKIT_TRUSTED_CALCULATORS``, separated by commas.

    Raises
    ------
    InputError
        Naming the key, its value and what was expected; for a calculator that is not trusted.
    """
    baseline: Baseline = build(BASELINES, data, where, "")
    if isinstance(baseline, Calculator):
        check_trusted(baseline, trusted_calculators, where)
    baseline.validate()
    return baseline


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value
