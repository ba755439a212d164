"""Triplets: tables that keep their bound and conserve energy, refusals."""

from __future__ import annotations

from dataclasses import replace

import laws
import numpy as np
import pytest
from example_structures import alloy, labelled
from models_of_terms import GEOMETRIES, TRIPLET, S, fitted

from gapkit import GAP, InputError, Triplet
from gapkit.geometry.neighbourhoods import find_neighbourhoods


@pytest.mark.parametrize("step", [0.1, 0.05])
def test_tabulated_triplets_are_as_exact_as_they_say_and_conservative(step):
    gap, atoms = fitted("triplet"), GEOMETRIES["alloy"]
    (block,), term = gap.blocks_, replace(TRIPLET, table=step)
    weights, nb = term.delta**2 * gap.alpha_, find_neighbourhoods(atoms, term.cutoff)
    fold = term.fold_features(block.X, weights)
    exact = TRIPLET.evaluate_fold(TRIPLET.fold_features(block.X, weights), nb, atoms.numbers)
    table = term.evaluate_fold(fold, nb, atoms.numbers)
    n_triplets = sum(n * (n - 1) // 2 for n in np.diff(nb.first))
    assert np.abs(table.local_energies.sum() - exact.local_energies.sum()) <= 1.5 * n_triplets * fold.error
    assert np.abs(table.forces - exact.forces).max() <= 1.5 * n_triplets * fold.error * 8 / step
    assert 10 < replace(term, table=2 * step).fold_features(block.X, weights).error / fold.error < 24  # fourth order

    def predict(moved):
        values = term.evaluate_fold(fold, find_neighbourhoods(moved, term.cutoff), moved.numbers)
        return values.local_energies.sum(), values.forces, None

    laws.check_forces(predict, atoms, atol=2e-5)
    np.testing.assert_allclose(table.forces.sum(axis=0), 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("term", "words"),
    [
        (Triplet(S, length_scale=0.0), "length_scale"),
        (Triplet(S, n_sparse=0), "n_sparse = 0"),
        (Triplet(S, table=0.9), "table"),
    ],
)
def test_impossible_triplets_are_refused(term, words):
    with pytest.raises(InputError, match=words):
        GAP([term], verbose=False).fit([labelled(alloy(0))])
