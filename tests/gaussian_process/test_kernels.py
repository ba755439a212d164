"""Kernels and their slopes against differences; refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import rbf_kernel

from gapkit import DotProduct, InputError, SquaredExponential
from gapkit.gaussian_process.kernels import contract_folded, contract_gradient, inner_products, points

KERNELS = [
    DotProduct(1, 0.7),
    DotProduct(2, 2.0),
    DotProduct(3),
    DotProduct(4, 5.0),
    DotProduct(7),
    SquaredExponential(0.3),
    SquaredExponential(1.2, 3.0),
]


def rows(n, seed=0, n_features=9):
    return np.abs(np.random.default_rng(seed).normal(size=(n, n_features)))


def unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@pytest.mark.parametrize("kernel", KERNELS)
def test_values_equal_the_formula(kernel):
    X, Z = rows(5), rows(7, 1)
    if isinstance(kernel, DotProduct):
        expected = kernel.delta**2 * (unit(X) @ unit(Z).T) ** kernel.zeta
    else:
        expected = kernel.delta**2 * rbf_kernel(unit(X), unit(Z), gamma=0.5 / kernel.length_scale**2)
    np.testing.assert_allclose(kernel(X, Z), expected, rtol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_symmetric_positive_semidefinite_with_diagonal_delta_squared(kernel):
    X = rows(30)
    K = kernel(X, X)
    np.testing.assert_allclose(K, K.T, rtol=1e-13)
    assert np.linalg.eigvalsh(K).min() > -1e-10 * K.max()
    np.testing.assert_allclose(kernel.diag(X), kernel.delta**2, rtol=1e-13)
    np.testing.assert_allclose(np.diag(K), kernel.diag(X), rtol=1e-13)


@pytest.mark.parametrize("kernel", KERNELS)
def test_slope_is_the_derivative_of_the_value(kernel):
    S = np.linspace(0.05, 0.95, 40).reshape(8, 5)
    K, slope = kernel.value_and_slope(S)
    np.testing.assert_allclose(K, kernel.value(S), rtol=1e-13)
    h = 1e-5
    np.testing.assert_allclose(slope, (kernel.value(S + h) - kernel.value(S - h)) / (2 * h), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_contracted_gradient_equals_finite_differences(kernel):
    X, Z, alpha = rows(4), unit(rows(6, 2)), np.random.default_rng(3).normal(size=6)
    Q, norm = points(X)
    e, x_bar = contract_gradient(kernel, inner_products(Q, Z), Q, norm, Z, alpha)
    np.testing.assert_allclose(e, kernel(X, Z) @ alpha, rtol=1e-12)
    h = 1e-5
    for i in range(4):
        for x in range(X.shape[1]):
            step = np.zeros_like(X)
            step[i, x] = h
            expected = ((kernel(X + step, Z) - kernel(X - step, Z)) @ alpha)[i] / (2 * h)
            np.testing.assert_allclose(x_bar[i, x], expected, rtol=1e-6, atol=1e-8 * np.abs(x_bar).max())


@given(st.floats(0.01, 100), st.integers(0, 10))
@settings(max_examples=20, deadline=None)
def test_scale_of_a_descriptor_does_not_matter(factor, seed):
    X, Z = rows(3, seed), rows(3, seed + 1)
    np.testing.assert_allclose(DotProduct(4)(factor * X, Z), DotProduct(4)(X, Z), rtol=1e-12)


def test_zero_features_give_zero_not_nan():
    X = np.vstack([np.zeros(9), rows(2)])
    assert np.all(np.isfinite(DotProduct(2)(X, X)))
    (Q, norm), Z = points(X), unit(rows(3))
    e, x_bar = contract_gradient(DotProduct(2), inner_products(Q, Z), Q, norm, Z, np.ones(3))
    assert e[0] == 0.0
    assert np.all(np.isfinite(x_bar))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (DotProduct(0), "zeta = 0 must be a positive integer"),
        (DotProduct(2.5), "zeta = 2.5 must be a positive integer"),
        (DotProduct(delta=0.0), "delta = 0.0 eV must be a positive number"),
        (DotProduct(delta=float("nan")), "delta = nan eV"),
        (SquaredExponential(length_scale=-1.0), "length_scale = -1.0 must be a positive number"),
    ],
)
def test_impossible_parameters_are_refused(kernel, message):
    with pytest.raises(InputError, match=message):
        kernel.validate()


@pytest.mark.parametrize("m", [6, 40])
@pytest.mark.parametrize("kernel", [*KERNELS, DotProduct(1, 3.0)])
def test_folded_sum_is_the_sum(kernel, m):
    """Energies and gradients, wherever folding saves operations."""
    X, Z, alpha = rows(5), unit(rows(m, 2)), np.random.default_rng(3).normal(size=m)
    (Q, norm), fold = points(X), kernel.fold(Z, alpha)
    zeta = getattr(kernel, "zeta", None)
    assert (fold is not None) == (zeta == 1 or (zeta == 2 and X.shape[1] < 2 * m))
    if fold is not None:
        e, x_bar = contract_gradient(kernel, inner_products(Q, Z), Q, norm, Z, alpha)
        e_folded, x_bar_folded = contract_folded(fold, Q, norm)
        np.testing.assert_allclose(e_folded, e, rtol=0, atol=1e-13 * np.abs(e).max() * m)
        np.testing.assert_allclose(x_bar_folded, x_bar, rtol=0, atol=1e-13 * np.abs(x_bar).max() * m)
