"""Pairs: the dense Gaussian process of distances, a Morse crystal, tables that keep their bound, refusals."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import naive
import naive_terms
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator
from example_structures import alloy, labelled
from models_of_terms import MODELS, PAIR, S, fitted

from gapkit import GAP, InputError, Pair
from gapkit.geometry.neighbourhoods import find_neighbourhoods

WITH_PAIRS = [name for name, terms in MODELS.items() if any(isinstance(term, Pair) for term in terms)]


def test_pairs_are_the_dense_gaussian_process_of_all_pairs():
    """The grid of sparse points loses nothing: mean and variance are those of the kernel between all distances."""
    term, rng = replace(PAIR, species=["Cu"], n_sparse=18), np.random.default_rng(0)
    r, new = rng.uniform(2.2, 4.55, 30), rng.uniform(2.2, 4.55, 10)
    dimers = [Atoms("Cu2", [[0, 0, 0], [0, 0, x]]) for x in [*r, *new]]
    X = term.select(reduce(term.merge, [term.offered(find_neighbourhoods(a, 4.6), a.numbers) for a in dimers]), 0)
    phi = np.array([term.features(X, find_neighbourhoods(a, 4.6), a.numbers).local.sum(axis=0) for a in dimers])
    x = np.array([*r, *new])
    w, t = naive_terms.taper(x, 4.6, 1.5).astype(float), naive_terms.transformed(term, x).astype(float)
    dense = w[:, None] * w * np.exp(-0.5 * ((t[:, None] - t) / 1.3) ** 2)
    np.testing.assert_allclose(phi @ phi.T, dense, atol=1e-7)
    y, noise = np.sin(3 * r) * w[:30], np.full(30, 0.01)
    mean, cov = naive.dense_gp(dense[:30, :30], dense[30:, :30], dense[30:, 30:], y, noise)
    weights, _, A = naive.posterior(np.eye(len(X)), phi[:30], y, noise)
    np.testing.assert_allclose(phi[30:] @ weights, mean, atol=1e-5)
    np.testing.assert_allclose(
        np.sqrt(np.diag(phi[30:] @ np.linalg.solve(A, phi[30:].T))), np.sqrt(np.diag(cov)), atol=1e-5
    )


def test_pairs_learn_a_pair_potential():
    """A Morse crystal: forces of 0.8 eV/Å in a new frame, to 1 meV/Å."""

    def frame(seed):
        atoms = alloy(seed, rattle=0.15)
        atoms.symbols[:] = "Cu"
        atoms.calc = MorsePotential(epsilon=0.4, r0=2.6, rho0=4.0, rcut1=1.3, rcut2=1.7)
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        return atoms

    term = Pair(["Cu"], 4.6, 0.2, delta=1.0, length_scale=0.3, transform="distance")
    gap = GAP([term], 1e-5, 1e-4, 1e-4, e0={"Cu": 0.0}, verbose=False).fit([frame(k) for k in range(15)])
    new = frame(99)
    p = gap.predict(new, return_std="all")
    error = p.forces[0] - new.get_forces()
    assert np.abs(error).max() < 1e-3
    assert np.abs(new.get_forces()).max() > 0.5


@pytest.mark.parametrize("model", WITH_PAIRS)
def test_folded_pairs_are_as_exact_as_they_say(model):
    gap = fitted(model)
    for block in gap.blocks_:
        term = gap.terms_[block.term]
        if not isinstance(term, Pair):
            continue
        fold = gap.folds_[block[:2]]
        assert fold.error < 1e-9
        weights = term.delta**2 * gap.alpha_[block.columns]
        for x in np.random.default_rng(0).uniform(1.0, term.cutoff, 50):
            atoms = Atoms("CuAu", [[0, 0, 0], [0, 0, x]])
            nb = find_neighbourhoods(atoms, term.cutoff)
            exact = term.features(block.X, nb, atoms.numbers).local.sum(axis=0) @ weights
            energy = term.evaluate_fold(fold, nb, atoms.numbers).local_energies.sum()
            assert abs(energy - exact) <= 3 * fold.error + 1e-10


@pytest.mark.parametrize(
    ("term", "words"),
    [
        (Pair([]), "non-empty"),
        (Pair("Cu"), "non-empty"),
        (Pair(["Cx"]), "unknown species"),
        (Pair(["X"]), "unknown species"),
        (Pair(["Cu", "Cu"]), "twice"),
        (Pair(S, cutoff=-1.0), "cutoff = -1.0"),
        (Pair(S, cutoff=float("nan")), "cutoff"),
        (Pair(S, cutoff_width=9.0), "cutoff_width"),
        (Pair(S, transform="invers"), "inverse"),
        (Pair(S, n_sparse=1), "n_sparse = 1"),
        (Pair(S, shortest=7.0), "shortest"),
        (Pair(S, delta=0.0), "delta"),
    ],
)
def test_impossible_pairs_are_refused(term, words):
    with pytest.raises(InputError, match=words):
        GAP([term], verbose=False).fit([labelled(alloy(0))])
