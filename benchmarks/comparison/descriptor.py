"""Part "descriptor": power spectra against dscribe and featomic, and gapkit's whole call against gradients alone.

dscribe computes the same numbers (asserted to 1e-10 of the largest; to 1e-9 at n_max 12, where dscribe's own sums of
terms of 1e5 cancel in double precision); featomic has another radial basis of the same
size and cutoff, and its output is not normalised. featomic's gradients are those by positions and strain, which a
potential would still have to contract.
"""

from __future__ import annotations

import importlib.util
from functools import partial

import numpy as np
from ase import Atoms

from comparison import ours
from comparison.recipe import Recipe
from comparison.results import Row
from comparison.settings import Settings
from comparison.structures import crystal, moving
from comparison.timing import Call, interleave
from gapkit import SOAP

VALUES, GRADIENTS = "values", "E+F+S against gradients"
TOLERANCE = {8: 1e-10, 12: 1e-9}  # by n_max, of dscribe's largest feature


def descriptor(settings: Settings) -> None:
    for n_max in (8, 12):
        _row(settings, Recipe(settings.n_sparse, n_max=n_max), VALUES, _value_calls)
    _row(settings, Recipe(settings.n_sparse, n_species=4), VALUES, _value_calls)
    _row(settings, Recipe(settings.n_sparse), GRADIENTS, _gradient_calls)


def _row(settings: Settings, recipe: Recipe, what: str, make_calls) -> Row:
    atoms = crystal(settings.atoms, recipe.species)

    def run() -> Row:
        return {"engines": interleave(make_calls(recipe, atoms), moving(atoms), settings.repeats, settings.budget)}

    basis = f"{', '.join(recipe.species)}; {recipe.n_max}, {recipe.l_max}"
    label = f"{len(atoms)} atoms; {basis}; " + (what if what == VALUES else f"M = {recipe.n_sparse}; {what}")
    fields = {"atoms": len(atoms), "n_max": recipe.n_max, "n_species": recipe.n_species, "what": what}
    return settings.results.measure("descriptor", label, run, **fields)


def _value_calls(recipe: Recipe, atoms: Atoms) -> dict[str, Call]:
    soap = SOAP(list(recipe.species), 5.0, recipe.n_max, recipe.l_max, atom_sigma=0.5)
    theirs = soap.dscribe(periodic=True)
    check_equal(soap, atoms)
    calls: dict[str, Call] = {"gapkit": soap.create, "dscribe": theirs.create}
    if featomic_installed():
        calls["featomic"] = partial(_compute, featomic_soap(recipe.n_max, recipe.l_max), gradients=None)
    return calls


def check_equal(soap: SOAP, atoms: Atoms) -> float:
    """Largest difference from dscribe's periodic power spectrum relative to its largest feature; asserted small."""
    reference = soap.dscribe(periodic=True).create(atoms)
    error = float(np.abs(soap.create(atoms) - reference).max() / np.abs(reference).max())
    assert error <= TOLERANCE[soap.n_max], f"power spectra differ from dscribe's by {error:.1e}"
    return error


def _gradient_calls(recipe: Recipe, atoms: Atoms) -> dict[str, Call]:
    calls: dict[str, Call] = {"gapkit": partial(ours.predict, ours.fit(recipe))}
    if featomic_installed():
        calculator = featomic_soap(recipe.n_max, recipe.l_max)
        calls["featomic"] = partial(_compute, calculator, gradients=["positions", "strain"])
    return calls


def _compute(calculator, atoms: Atoms, gradients: list[str] | None):
    return calculator.compute(atoms, gradients=gradients)


def featomic_installed() -> bool:
    return importlib.util.find_spec("featomic") is not None


def featomic_soap(n_max: int, l_max: int, smooth_width: float = 0.5):
    """featomic's power spectrum with the same sizes; its ``max_radial`` counts from zero."""
    import featomic

    return featomic.SoapPowerSpectrum(
        cutoff={"radius": 5.0, "smoothing": {"type": "ShiftedCosine", "width": smooth_width}},
        density={"type": "Gaussian", "width": 0.5},
        basis={
            "type": "TensorProduct",
            "max_angular": l_max,
            "radial": {"type": "Gto", "max_radial": n_max - 1},
            "spline_accuracy": 1e-8,
        },
    )
