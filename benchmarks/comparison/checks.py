"""Part "checks": do the two sides answer sensibly? Not timed.

Forces against central differences of the energy (three atoms, step 0.01 Å), numbers of neighbours, the errors of both
potentials on the energies of fresh frames of the kind they were fitted to, dscribe's numbers, and the normalised
linear kernel between environments against featomic's with a cosine cutoff function over the whole range, which is
within 0.01 of gapkit's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms

from comparison import descriptor, ours, quip
from comparison.recipe import Recipe
from comparison.settings import Settings
from comparison.structures import crystal, label
from gapkit import SOAP
from gapkit.geometry.neighbourhoods import find_neighbourhoods

Predict = Callable[[Atoms], tuple[float, np.ndarray]]
STEP = 0.01  # Å


def checks(settings: Settings) -> None:
    recipe = Recipe(settings.n_sparse)
    for name, predict in _sides(recipe, settings).items():
        settings.results.measure("checks", f"{name}; {recipe}", lambda p=predict: {"values": _one_side(p)})
    soap = SOAP(["Si"], 5.0, 8, 6, atom_sigma=0.5)
    settings.results.measure("checks", "descriptors; 8, 6", lambda: {"values": _descriptors(soap, crystal(64))})


def _sides(recipe: Recipe, settings: Settings) -> dict[str, Predict]:
    gap = ours.fit(recipe)
    sides: dict[str, Predict] = {"gapkit": lambda a: (gap.predict(a).energy[0], gap.predict(a).forces[0])}
    if quip.installed():
        calculator = quip.load(quip.fit(recipe, settings.work))
        sides["quippy"] = lambda a: (lambda c: (c.results["energy"], c.results["forces"]))(quip.predict(calculator, a))
    return sides


def _one_side(predict: Predict) -> dict[str, float]:
    fresh = [label(crystal(64, seed=1000 + k, rattle=0.1)) for k in range(5)]
    errors = [(predict(atoms)[0] - atoms.info["ref_energy"]) / len(atoms) for atoms in fresh]
    return {
        "force error, eV/Å": force_error(predict, crystal(64)),
        "energy error, meV/atom": 1e3 * float(np.sqrt(np.mean(np.square(errors)))),
    }


def force_error(predict: Predict, atoms: Atoms) -> float:
    """Largest difference between forces and fourth-order differences of the energy, eV/Å."""
    forces, errors = predict(atoms)[1], []
    for i, axis in ((0, 0), (20, 1), (40, 2)):
        difference = {}
        for k in (-2, -1, 1, 2):
            moved = atoms.copy()
            moved.positions[i, axis] += k * STEP
            difference[k] = predict(moved)[0]
        slope = (8 * (difference[1] - difference[-1]) - (difference[2] - difference[-2])) / (12 * STEP)
        errors.append(abs(forces[i, axis] + slope))
    return float(max(errors))


def _descriptors(soap: SOAP, atoms: Atoms) -> dict[str, float]:
    n_pairs = len(find_neighbourhoods(atoms, soap.cutoff).j)
    values = {
        "neighbours, gapkit": n_pairs / len(atoms),
        "features, relative to dscribe": descriptor.check_equal(soap, atoms),
    }
    if quip.installed():
        values["neighbours, quippy"] = quip.count_neighbours(atoms, soap.cutoff)
    if descriptor.featomic_installed():
        values["kernel, against featomic"] = _kernel_difference(soap, atoms)
    return values


def _kernel_difference(soap: SOAP, atoms: Atoms) -> float:
    """Largest difference of the normalised linear kernels of all pairs of environments."""
    calculator = descriptor.featomic_soap(soap.n_max, soap.l_max, smooth_width=soap.cutoff)
    kernels = [_cosine(soap.features(atoms)), _cosine(calculator.compute(atoms).block(0).values)]
    return float(np.abs(kernels[0] - kernels[1]).max())


def _cosine(X: np.ndarray) -> np.ndarray:
    Q = X / np.linalg.norm(X, axis=1, keepdims=True)
    return Q @ Q.T
