"""How well error bars rank errors: retention curves and correlations."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import trapezoid

from gapkit.errors import InputError
from gapkit.evaluation.comparison import Comparison
from gapkit.evaluation.ranking import error_retention, per_atom


def _errors(error, std) -> SimpleNamespace:
    return SimpleNamespace(error=np.asarray(error, dtype=float), std=np.asarray(std, dtype=float))


def _forces(n_structures: int, seed: int = 0) -> Comparison:
    rng = np.random.default_rng(seed)
    rows = [(s, a) for s in range(n_structures) for a in range(1 + s % 3) for _ in range(3)]
    structure, atom = np.array(rows).T
    n = len(rows)
    species, names = np.where(atom == 0, "Si", "O"), np.where(structure % 2 == 0, "bulk", "slab")
    reference, predicted, std = rng.normal(size=n), rng.normal(size=n), rng.uniform(0.1, 1.0, n)
    return Comparison(reference, predicted, std, structure, names, species, "eV/Å", atom)


def test_atoms_equal_an_explicit_loop_in_any_order_of_rows():
    forces = _forces(5)
    order = np.random.default_rng(1).permutation(len(forces))
    fields = {name: x[order] for name, x in vars(forces).items() if isinstance(x, np.ndarray)}
    found = per_atom(Comparison(**(vars(forces) | fields)))
    k = 0
    for s in range(5):
        for a in range(1 + s % 3):
            rows = (forces.structure == s) & (forces.atom == a)
            assert found.error[k] == pytest.approx(np.linalg.norm((forces.predicted - forces.reference)[rows]))
            assert found.std[k] == pytest.approx(np.sqrt(np.sum(forces.std[rows] ** 2)))
            assert (found.structure[k], found.atom[k]) == (s, a)
            assert (found.species[k], found.config_type[k]) == ("Si" if a == 0 else "O", "slab" if s % 2 else "bulk")
            k += 1
    assert k == len(found.error)


def test_values_without_atoms_or_with_half_atoms_are_refused():
    forces = _forces(3)
    with pytest.raises(InputError, match="atom 0 of structure 0 has 2 of 3 force components"):
        per_atom(forces.select(np.arange(len(forces)) > 0))
    with pytest.raises(InputError, match="values in GPa belong to no atoms"):
        per_atom(Comparison(**(vars(forces) | {"atom": None, "unit": "GPa"})))
    with pytest.raises(InputError, match="return_std"):
        per_atom(Comparison(**(vars(forces) | {"std": None})))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 30), st.integers(0, 1000), st.lists(st.floats(0.0, 0.999), min_size=1, max_size=5))
def test_retention_equals_an_explicit_sort(n, seed, removed):
    rng = np.random.default_rng(seed)
    error, std = rng.normal(size=n), rng.permutation(n) + 1.0
    found = error_retention(_errors(error, std), removed)
    for k, fraction in enumerate(removed):
        left = max(1, round((1.0 - fraction) * n))
        kept = sorted(zip(std, error))[:left]
        assert found.rmse[k] == pytest.approx(np.sqrt(np.mean([e**2 for _, e in kept])))
        assert found.oracle[k] == pytest.approx(np.sqrt(np.mean(sorted(e**2 for e in error)[:left])))
        assert found.random[k] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert found.removed == tuple(removed)


def test_equal_standard_deviations_average_over_orders():
    rng = np.random.default_rng(2)
    error, std = rng.normal(size=12), np.repeat([3.0, 1.0, 2.0], 4)
    found = error_retention(_errors(error, std), [k / 12 for k in range(12)])
    squares = []
    for _ in range(4000):
        order = np.lexsort((rng.random(12), std))
        squares.append(np.cumsum(error[order] ** 2)[::-1] / np.arange(12, 0, -1))
    expected, spread = np.mean(squares, axis=0), np.std(squares, axis=0) / np.sqrt(4000)
    np.testing.assert_array_less(np.abs(np.array(found.rmse) ** 2 - expected), 5.0 * spread + 1e-12)


def test_gain_of_oracle_constant_and_misleading_deviations():
    error = np.random.default_rng(3).normal(size=200)
    assert error_retention(_errors(error, np.abs(error) ** 3)).gain == pytest.approx(1.0, abs=1e-12)
    assert error_retention(_errors(error, np.ones(200))).gain == pytest.approx(0.0, abs=1e-12)
    assert error_retention(_errors(error, 1.0 / np.abs(error))).gain < -0.1
    assert error_retention(_errors([1.0, -1.0, 1.0], [1.0, 2.0, 3.0])).gain is None


def test_gain_is_the_ratio_of_areas():
    rng = np.random.default_rng(4)
    std = rng.uniform(0.1, 2.0, 4000)
    errors = _errors(std * rng.normal(size=4000), std)
    found = error_retention(errors, np.linspace(0.0, 0.9999, 2001))
    area, best = (trapezoid(np.subtract(found.random, curve), found.removed) for curve in (found.rmse, found.oracle))
    assert found.gain == pytest.approx(area / best, abs=1e-3)
    assert 0.1 < found.gain < 0.9


@settings(max_examples=60, deadline=None)
@given(
    arrays(float, 15, elements=st.floats(-100.0, 100.0)),
    arrays(float, 15, elements=st.sampled_from([0.5, 1.0, 2.0, 3.0])),
)
def test_no_order_beats_the_oracle(error, std):
    found = error_retention(_errors(error, std))
    assert np.all(np.array(found.oracle) <= np.array(found.rmse) + 1e-9)
    assert found.gain is None or found.gain <= 1.0 + 1e-9
    assert found.rmse[0] == pytest.approx(found.random[0])


def test_nothing_left_is_refused():
    errors = _errors([1.0, 2.0], [1.0, 1.0])
    for bad in (1.0, -0.1, np.nan):
        with pytest.raises(InputError, match=r"must lie in \[0, 1\)"):
            error_retention(errors, [bad])
    with pytest.raises(InputError, match="an error is not finite"):
        error_retention(_errors([1.0, np.nan], [1.0, 1.0]))
    with pytest.raises(InputError, match="positive and finite"):
        error_retention(_errors([1.0, 1.0], [1.0, 0.0]))
