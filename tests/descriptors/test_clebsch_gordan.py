from __future__ import annotations

import naive
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tensor_labels import wigner_matrix

from gapkit.descriptors.clebsch_gordan import clebsch_gordan, real_coupling

TRIPLES = [(a, b, l) for a in range(4) for b in range(4) for l in range(abs(a - b), a + b + 1)]


def test_known_values():
    assert clebsch_gordan(1, 1, 1, -1, 0, 0) == pytest.approx(np.sqrt(1 / 3), abs=1e-16)
    assert clebsch_gordan(1, 0, 1, 0, 0, 0) == pytest.approx(-np.sqrt(1 / 3), abs=1e-16)
    assert clebsch_gordan(2, 1, 1, -1, 1, 0) == pytest.approx(np.sqrt(3 / 10), abs=1e-16)
    assert clebsch_gordan(1, 0, 1, 0, 1, 0) == 0.0
    assert clebsch_gordan(1, 1, 1, 1, 1, 2) == 0.0


def test_all_values_are_those_of_wigners():
    wigners = pytest.importorskip("wigners")
    for a, b, l in [(*t,) for t in TRIPLES] + [(6, 6, 2), (6, 5, 1), (9, 8, 3)]:
        for m in range(-a, a + 1):
            for k in range(-b, b + 1):
                if abs(m + k) <= l:
                    expected = wigners.clebsch_gordan(a, m, b, k, l, m + k)
                    assert clebsch_gordan(a, m, b, k, l, m + k) == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize(("a", "b", "l"), TRIPLES)
def test_rows_are_orthonormal(a, b, l):
    C = real_coupling(a, b, l).reshape(2 * l + 1, -1)
    assert np.abs(C @ C.T - np.eye(2 * l + 1)).max() < 1e-14


@pytest.mark.parametrize(("a", "b", "l"), TRIPLES)
def test_coupling_turns(a, b, l):
    R = Rotation.random(rng=3).as_matrix()
    turned = np.einsum("xyz,ya,zb->xab", real_coupling(a, b, l), wigner_matrix(a, R), wigner_matrix(b, R))
    expected = np.einsum("xy,yab->xab", wigner_matrix(l, R), real_coupling(a, b, l))
    assert np.abs(turned - expected).max() < 1e-12


def test_exchange_changes_the_sign_of_odd_couplings():
    for a, b, l in TRIPLES:
        swapped = real_coupling(b, a, l).transpose(0, 2, 1)
        # i^(a+b-l) and the symmetry (-1)^(a+b-l) of the complex coefficients
        assert np.abs(swapped - (-1) ** (a + b - l) * real_coupling(a, b, l)).max() < 1e-14


def test_scalars_are_plain_dot_products():
    for l in range(5):
        assert np.abs(real_coupling(l, l, 0)[0] - np.eye(2 * l + 1) / np.sqrt(2 * l + 1)).max() < 1e-15


def test_harmonics_are_those_of_sphericart():
    """Order and signs of l = 1 (y, z, x) and all others, as e3nn's and sphericart's tables have them."""
    sphericart = pytest.importorskip("sphericart")
    D = np.random.default_rng(0).normal(size=(20, 3))
    expected = sphericart.SolidHarmonics(4).compute(D)
    assert np.abs(np.array([naive.real_harmonics(4, d) for d in D]) - expected).max() < 1e-12
