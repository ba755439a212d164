"""Quintic Hermite tables: exact for polynomials, and their error where it can be computed by hand."""

import numpy as np
import pytest
from scipy.interpolate import BPoly

from gapkit.geometry.splines import half_way, refined_table


def sampled(n, length=3.0):
    """Of sin(x) and exp(-x)."""
    h = length / n
    x = h * np.arange(n + 1)
    derivatives = [[np.sin(x), np.exp(-x)], [h * np.cos(x), -h * np.exp(-x)], [-h * h * np.sin(x), h * h * np.exp(-x)]]
    middle = x[:-1] + 0.5 * h
    return np.moveaxis(np.array(derivatives), 2, 0), np.stack([np.sin(middle), np.exp(-middle)], axis=1)


def test_half_way_is_scipys_hermite_polynomial():
    y, h = np.random.default_rng(0).normal(size=(8, 3, 2)), 0.3
    derivatives = y / np.array([1.0, h, h * h])[:, None]
    for k in range(2):
        spline = BPoly.from_derivatives(h * np.arange(8), derivatives[:, :, k])
        np.testing.assert_allclose(half_way(y)[:, k], spline(h * (np.arange(7) + 0.5)), rtol=1e-12)


def test_the_error_falls_with_the_sixth_power_of_the_step():
    """f⁽⁶⁾ h⁶/46080 with |f⁽⁶⁾| = |sin|, e⁻ˣ, each largest within a step of where it is one."""
    for n in (6, 12):
        y, exact = sampled(n)
        expected = (3.0 / n) ** 6 / 46080
        np.testing.assert_allclose(np.abs(half_way(y) - exact).max(axis=0), [expected] * 2, rtol=0.25)


@pytest.mark.parametrize("tolerance", [1e-6, 1e-9, 1e-12])
def test_tables_are_as_coarse_as_the_error_allows(tolerance):
    sizes = []

    def sample(n):
        sizes.append(n)
        return sampled(n)

    y, error = refined_table(sample, lambda y0: tolerance * np.abs(y0).max(axis=0), 3.0, 1.0, 10_000)
    assert len(y) == sizes[-1] + 1
    assert error <= tolerance
    y, exact = sampled(sizes[-2])
    assert np.abs(half_way(y) - exact).max() > 0.9 * tolerance


def test_an_error_that_cannot_be_reached_ends_at_the_most_steps():
    y, error = refined_table(sampled, lambda y0: np.zeros(2), 3.0, 1.0, 100)
    assert 100 < len(y) - 1 <= 100 / 0.7 + 1
    assert error > 0.0
