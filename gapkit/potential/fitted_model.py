"""A fitted model as one record, complete before `GAP` adopts it at the end of a fit or an update."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from gapkit.baselines import Baseline
from gapkit.fitting.first_pass import Selection
from gapkit.fitting.noise import Noises
from gapkit.fitting.second_pass import Factors, Recipe
from gapkit.fitting.updates import counted, solve
from gapkit.gaussian_process.posterior import SparsePosterior
from gapkit.potential.prediction import Potential
from gapkit.runtime.threads import ordered_map
from gapkit.terms.basis import Basis
from gapkit.terms.protocol import Folds

Reference = tuple[Atoms, float, np.ndarray]  # a structure, its energy (eV) and forces (eV/Å) by the model


class Origin(NamedTuple):
    """What a model keeps of its training frames and of the choice of its sparse points.

    Attributes
    ----------
    training : dict
        Counts, fingerprint, shortest distances, and the arguments of the fit.
    frames : Counter
        Training frames by their identity.
    selection : mapping
        How the sparse points were chosen.
    """

    training: dict[str, Any]
    frames: Counter[int]
    selection: Selection


class FittedModel(NamedTuple):
    """The attributes of a fitted `GAP`, there each with an underscore at the end."""

    basis: Basis
    e0: dict[str, float]
    noise: Noises
    species: tuple[str, ...]
    factors: Factors
    posterior: SparsePosterior
    alpha: np.ndarray
    folds: Folds
    baseline: tuple[Baseline, ...]
    training: dict[str, Any]
    frames: Counter[int]
    selection: Selection
    references: list[Reference]


def solved(
    recipe: Recipe,
    factors: Factors,
    jitter: float,
    origin: Origin,
    baseline: tuple[Baseline, ...],
    references: Iterable[Atoms],
) -> FittedModel:
    """The model from rows, noises and sparse points; none of these is changed.

    Parameters
    ----------
    recipe : Recipe
    factors : dict of group to RowFactor
    jitter : float
        Added to the sparse points' covariance, relative to its diagonal.
    origin : Origin
    baseline : tuple of Baseline
    references : iterable of Atoms
        A few small training structures, whose predictions the model keeps for the self-test of its file.

    Raises
    ------
    InputError
        As `gapkit.fitting.updates.solve`.
    """
    basis, e0, noises = recipe
    posterior = solve(recipe, factors, jitter)
    species = tuple(chemical_symbols[z] for z in basis.known_numbers(e0))
    folds = basis.fold(posterior.alpha)
    potential = Potential(basis, posterior.alpha, folds, posterior, e0, species, None, baseline)
    return FittedModel(
        basis=basis, e0=e0, noise=noises, species=species, factors=factors, posterior=posterior,
        alpha=posterior.alpha, folds=folds, baseline=baseline, training=origin.training, frames=origin.frames,
        selection=counted(origin.selection, basis),
        references=list(ordered_map(lambda atoms: _reference(potential, atoms), references)),
    )  # fmt: skip


def _reference(potential: Potential, atoms: Atoms) -> Reference:
    found = potential.predict(atoms, std=None)
    return atoms, found["energy"], found["forces"]
