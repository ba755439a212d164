from __future__ import annotations

import numpy as np
import pytest

from gapkit import DotProduct
from gapkit.gaussian_process import tensor_kernels as kernels
from gapkit.gaussian_process.tensor_kernels import tensor_points


def some_points(n: int, size: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    return tensor_points(rng.normal(size=(n, 7)) + 1.0, rng.normal(size=(n, size, 5)))


def naive(a, b, zeta):
    return np.array([[(V @ W.T) * (q @ z) ** (zeta - 1) for W, z in zip(b.V, b.Q)] for V, q in zip(a.V, a.Q)])


@pytest.mark.parametrize("zeta", [1, 2, 4])
@pytest.mark.parametrize("n", [2, 9])
def test_rows_and_their_sums(zeta, n):
    (a, _), (b, _) = some_points(n), some_points(4, seed=1)
    expected = naive(a, b, zeta)
    assert np.allclose(kernels.kernel_rows(a, b, zeta), expected.transpose(0, 2, 1, 3), rtol=1e-13, atol=1e-14)
    summed = expected.sum(axis=0).transpose(1, 0, 2).reshape(3, -1)
    assert np.allclose(kernels.summed_rows(a, b, zeta), summed, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("zeta", [1, 3])
def test_prior_covariances(zeta):
    a, _ = some_points(9)
    parts = [kernels.TensorPoints(a.Q[s], a.V[s]) for s in (slice(0, 4), slice(4, 9))]
    assert np.allclose(kernels.covariance_of_sum(parts, zeta), naive(a, a, zeta).sum(axis=(0, 1)), rtol=1e-12)
    own = kernels.own_covariances(a)
    assert np.allclose(own, [naive(a, a, zeta)[i, i] for i in range(9)], rtol=1e-13, atol=1e-14)
    assert np.linalg.eigvalsh(own).min() > 0


@pytest.mark.parametrize("zeta", [1, 2, 3])
def test_means_and_their_derivatives(zeta):
    rng = np.random.default_rng(3)
    sparse, _ = some_points(4, seed=1)
    alpha = rng.normal(size=12)
    w = kernels.weighted(sparse, alpha)
    p, p_lam = rng.normal(size=(6, 7)) + 1.0, rng.normal(size=(6, 3, 5))
    a, norm = tensor_points(p, p_lam)
    y, A = kernels.mean(a, sparse.Q, w, zeta)
    rows = kernels.kernel_rows(a, sparse, zeta).reshape(18, 12)
    assert np.allclose(y, (rows @ alpha).reshape(6, 3), rtol=1e-12)
    for component in range(3):
        scalar, equivariant = kernels.mean_cotangents(a, norm, sparse.Q, w, zeta, A, component)
        d, d_lam, h = rng.normal(size=p.shape), rng.normal(size=p_lam.shape), 1e-4

        def value(step, d=d, d_lam=d_lam, component=component):
            moved, _ = tensor_points(p + step * d, p_lam + step * d_lam)
            return kernels.mean(moved, sparse.Q, w, zeta)[0][:, component].sum()

        numerical = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)
        exact = np.sum(scalar * d) + np.sum(equivariant * d_lam[:, component])
        assert exact == pytest.approx(numerical, rel=1e-8)


def test_order_zero_is_the_dot_product_kernel():
    rng = np.random.default_rng(0)
    X, Z = rng.normal(size=(5, 7)), rng.normal(size=(3, 7))
    (a, _), (b, _) = tensor_points(X, X[:, None]), tensor_points(Z, Z[:, None])
    expected = DotProduct(zeta=3, delta=1.0)(X, Z)
    assert np.allclose(kernels.kernel_rows(a, b, 3)[:, 0, :, 0], expected, rtol=1e-14, atol=1e-16)
