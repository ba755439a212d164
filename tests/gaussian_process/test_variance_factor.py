"""Per-atom variances by one factor equal the formula, whatever is known and of how many species and terms."""

from __future__ import annotations

import numpy as np
import pytest
from example_structures import structures

from gapkit import InputError
from gapkit.covariances.rows import local_rows
from gapkit.gaussian_process.posterior import PANEL, variance_factor


def gaussian(M: int, n_rows: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """L, R of a random positive definite K_mm and `n_rows` data, and K_mm."""
    rng = np.random.default_rng(seed)
    B = rng.normal(size=(M, M))
    K = B @ B.T / M + 0.1 * np.eye(M)
    rows = rng.normal(size=(n_rows, M)) @ K / noise
    return np.linalg.cholesky(K), np.linalg.cholesky(K + rows.T @ rows).T, K


@pytest.mark.parametrize("M", [5, PANEL - 1, PANEL, 2 * PANEL + 7])
@pytest.mark.parametrize("n_rows", [0, 3, 400])
def test_equals_the_formula(M, n_rows):
    L, R, K = gaussian(M, n_rows, 0.3)
    k = K[: min(M, 9)] + 0.01
    factor = variance_factor(L, R, np.arange(M))
    reference = 2.0 - np.einsum("nm,mn->n", k, np.linalg.solve(K, k.T) - np.linalg.solve(R.T @ R, k.T))
    np.testing.assert_allclose(factor.variance(k, np.full(len(k), 2.0)), reference, rtol=1e-8, atol=1e-10)
    taught = min(M, n_rows)  # no more than there are data, but for round-off
    assert taught <= len(factor.C) <= taught + 2


@pytest.mark.parametrize("tolerance", [1e-8, 1e-3, 0.1])
def test_truncation_stays_within_its_stated_bound(tolerance):
    M = 60
    L, R, K = gaussian(M, 200, 1000.0)  # much noise: most directions are hardly known
    exact, short = variance_factor(L, R, np.arange(M)), variance_factor(L, R, np.arange(M), tolerance)
    k, prior = K, np.diag(K)  # |L⁻¹k|² = k_ii: the worst case
    error = (short.variance(k, prior) - exact.variance(k, prior)) / prior
    assert np.all(error >= -1e-12)
    assert error.max() <= short.error + 1e-12
    if tolerance > 1e-4:
        assert len(short.C) < len(exact.C)
        assert error.max() > 0.0


@pytest.mark.parametrize("name", structures())
def test_local_std_of_a_potential_with_two_terms_and_species(gap, name):
    atoms = structures()[name]
    K = local_rows(gap.basis_.environments(atoms))
    prior = np.full(len(atoms), sum(term.kernel.delta**2 for term in gap.terms_))
    expected = gap.posterior_.variance(K, prior)
    p = gap.predict(atoms, return_std="local")
    np.testing.assert_allclose(p.local_energies_std[0] ** 2, expected, rtol=1e-6, atol=1e-10)
    assert p.energy_std is None
    np.testing.assert_array_equal(p.forces[0], gap.predict(atoms).forces[0])


@pytest.mark.parametrize("name", structures())
def test_all_deviations_have_the_shape_of_what_they_belong_to(gap, name):
    p = gap.predict([structures()[name]] * 2, return_std="all")
    for mean, std in ((p.forces, p.forces_std), (p.stress, p.stress_std), (p.local_energies, p.local_energies_std)):
        for x, dx in zip(mean, std):
            assert (x is None and dx is None) or (x.shape == dx.shape and np.all(dx >= 0))
    np.testing.assert_allclose(p.energy_std, gap.predict([structures()[name]] * 2, return_std=True).energy_std)
    if p.stress[0] is not None:
        np.testing.assert_array_equal(p.stress_std[0], p.stress_std[0].T)


def test_unknown_return_std_is_refused(gap):
    with pytest.raises(InputError, match="return_std = 'atoms' is unknown: use True, False, 'local' or 'all'"):
        gap.predict(structures()["alloy"], return_std="atoms")
