"""gapkit's side of the comparison, through its public interface."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

from ase import Atoms

from comparison.recipe import Recipe
from comparison.structures import labelled_frames
from gapkit import GAP, SOAP, DotProduct, GAPCalculator, Predictions, Term
from gapkit.structures.labels import LabelKeys


@lru_cache(maxsize=3)
def fit(recipe: Recipe) -> GAP:
    """The recipe's potential, fitted to energies."""
    soap = SOAP(list(recipe.species), 5.0, recipe.n_max, recipe.l_max, atom_sigma=0.5)
    term = Term(soap, DotProduct(4, delta=1.0), recipe.n_sparse, "random")
    e0 = dict.fromkeys(recipe.species, 0.0)
    gap = GAP([term], energy_noise=0.001, e0=e0, jitter=1e-8, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # many points on one lattice are nearly dependent; time does not mind
        return gap.fit(labelled_frames(recipe.species, recipe.n_sparse), keys=LabelKeys(energy="ref_energy"))


def saved(recipe: Recipe, folder: Path) -> Path:
    """A model file of the recipe for another process."""
    path = folder / f"gapkit_{recipe.name}.gap"
    folder.mkdir(parents=True, exist_ok=True)
    fit(recipe).save(path)
    return path


def calculator(recipe: Recipe, per_atom_std: bool) -> GAPCalculator:
    """The recipe's potential as users of ASE have it; the deviation of every local energy, too, if asked for."""
    return GAPCalculator(fit(recipe), per_atom_std)


def calculate(calculator: GAPCalculator, atoms: Atoms) -> GAPCalculator:
    """Energy, local energies, forces and stress, the neighbour list included: its skin lets it be used again."""
    calculator.calculate(atoms, ["energy", "forces", "stress"])
    return calculator


def predict(gap: GAP, atoms: Atoms) -> Predictions:
    """The same by `GAP.predict`, which searches the neighbours of every structure again."""
    return gap.predict(atoms)


def with_force_variance(gap: GAP, atoms: Atoms) -> Predictions:
    """The same and the standard deviations of the total energy, every force component and the stress."""
    return gap.predict(atoms, return_std="all")
