"""How far environments lie from the sparse points, by distance and by variance."""

from __future__ import annotations

import json

import expected_warnings
import numpy as np
import pytest
from ase.data import chemical_symbols
from example_structures import alloy, labelled, structures
from run_gapkit import small_gap

from gapkit import GAP, Pair
from gapkit.errors import InputError
from gapkit.evaluation.compare import evaluate
from gapkit.geometry.neighbourhoods import find_neighbourhoods
from gapkit.report.write import write_report
from gapkit.uncertainty.extrapolation import QUANTILE, extrapolation


@pytest.fixture(scope="module")
def fitted(frames):
    return small_gap().fit(frames)


def _features(gap, atoms, number):
    """Normalised features of the atoms of one species, in their order."""
    soap = gap.terms_[0].descriptor
    nb = find_neighbourhoods(atoms, soap.cutoff).select(np.flatnonzero(atoms.numbers == number))
    values, _ = soap.evaluate(nb, atoms.numbers)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_reach_is_the_distance_from_the_nearest_sparse_point(fitted):
    atoms = alloy(77)
    found = extrapolation(fitted, [alloy(76), atoms])
    for block in fitted.blocks_:
        X = block.X
        between = np.linalg.norm(X[:, None] - X, axis=2) + np.diag(np.full(len(X), np.inf))
        limit = np.quantile(between.min(axis=1), QUANTILE)
        Q = _features(fitted, atoms, block.key)
        nearest = np.linalg.norm(Q[:, None] - X, axis=2).min(axis=1)
        own = (found.structure == 1) & (found.species == chemical_symbols[block.key])
        assert found.reach[own] == pytest.approx(nearest / limit, rel=1e-6)


def test_spread_is_the_std_beside_that_at_the_sparse_points(fitted):
    atoms = alloy(78)
    found = extrapolation(fitted, atoms)
    std = fitted.predict(atoms, return_std="local").local_energies_std[0]
    limits = {}
    for block, symbol in zip(fitted.blocks_, ("Cu", "Au")):
        K = np.zeros((len(block.X), fitted.blocks_[-1].columns.stop))
        K[:, block.columns] = fitted.terms_[0].kernel.value(block.X @ block.X.T)
        at_points = fitted.posterior_.variance(K, np.diag(K[:, block.columns]).copy())
        limits[symbol] = np.quantile(np.sqrt(at_points), QUANTILE)
    expected = [s / limits[symbol] for s, symbol in zip(std, atoms.symbols)]
    assert found.spread == pytest.approx(expected, rel=1e-6)


def test_training_frames_lie_within_and_a_compressed_crystal_beyond(fitted, frames):
    inside = extrapolation(fitted, frames).summary()
    squeezed = alloy(79)
    squeezed.set_cell(0.8 * squeezed.cell.array, scale_atoms=True)
    with expected_warnings.extrapolation(fitted, squeezed):
        outside = extrapolation(fitted, squeezed).summary()
    assert inside.far < 0.05
    assert outside.far == 1.0
    assert outside.largest_reach > 2.0 * inside.largest_reach
    assert inside.n_atoms == sum(len(atoms) for atoms in frames)


def test_several_terms_have_a_reach_but_no_spread(gap, frames):
    found = extrapolation(gap, frames[:3])
    assert np.all(np.isfinite(found.reach))
    assert np.all(np.isnan(found.spread))
    assert np.isnan(found.summary().uncertain)


def test_terms_without_descriptors_are_passed_over(tmp_path, frames):
    pairs = Pair(["Au", "Cu"], cutoff=4.0, delta=1.0)
    test = [labelled(alloy(k)) for k in (80, 81)]
    alone = GAP([pairs], verbose=False).fit(frames)
    with pytest.raises(InputError, match="no term with a descriptor"):
        extrapolation(alone, test)
    both = GAP([pairs, *small_gap().terms], verbose=False).fit(frames)
    found = extrapolation(both, test)
    assert found.reach == pytest.approx(extrapolation(small_gap().fit(frames), test).reach)
    for gap in (alone, both):
        write_report(tmp_path / "r.json", gap, evaluate(gap, test, "all"), frames=test)
        data = json.loads((tmp_path / "r.json").read_text("utf-8"))
        assert ("extrapolation" in data) == (gap is both)


def test_one_sparse_point_reaches_everywhere(frames):
    alone = small_gap().set_params(terms__0__n_sparse=1).fit(frames)
    found = extrapolation(alone, list(structures().values())[:2])
    assert np.all(found.reach == 0.0)


def test_nothing_to_compare_is_refused(fitted):
    with pytest.raises(InputError, match="at least one"):
        extrapolation(fitted, [])
