"""Features in 64 bits of mantissa: how exact gapkit is, and where dscribe is not.

dscribe's α and β, as the doubles they are, define the basis; everything after them is recomputed.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

import naive
import numpy as np
import pytest
from ase import Atoms
from example_structures import structures
from five_species import FIVE, five_species, relative

from gapkit import SOAP
from gapkit.descriptors.soap import COMPRESSIONS

pytestmark = pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="no extended precision on this machine")

GEOMETRIES = {**structures(), "silicon": five_species(1), "three_species": five_species(3)}
BASES = [  # n_max, l_max, cutoff, sigma
    (1, 0, 3.0, 0.3),
    (4, 3, 4.2, 0.5),
    (8, 6, 5.0, 0.5),
    (11, 6, 5.0, 0.5),
    (12, 6, 5.0, 0.5),
    (12, 8, 6.0, 0.5),
    (12, 6, 4.0, 0.5),
    (6, 10, 6.0, 0.8),
]
EXACT = 2e-12  # of the largest feature: p is quadratic in ρ, and the table of ρ keeps 1e-12
PI = Decimal("3.14159265358979323846264338327950288419716939937510")


def descriptor(atoms: Atoms, basis) -> SOAP:
    n_max, l_max, cutoff, sigma = basis
    return SOAP(sorted(set(atoms.symbols)), cutoff, n_max, l_max, sigma)


def test_the_twins_harmonics_equal_scipy():
    D = np.random.default_rng(0).uniform(-2, 2, (20, 3))
    reference = np.array([naive.real_harmonics(10, d) for d in D])
    S = naive.solid_harmonics(10, D.astype(naive.WIDE)).astype(float)
    np.testing.assert_allclose(S, reference, rtol=1e-12, atol=1e-12 * np.abs(reference).max(axis=1).min())


def decimal_gaussians(soap: SOAP, l: int, r: float) -> list[Decimal]:
    """`naive.gaussians` at one distance, k = 1 … n_max, by Python's decimal arithmetic."""
    sigma, x = Decimal(soap.atom_sigma), Decimal(r) / Decimal(soap.cutoff)
    w = 1 + 2 * x**3 - 3 * x**2
    out = []
    for alpha in map(Decimal, soap.dscribe(False)._alphas[l].tolist()):
        f = 1 / (1 + 2 * sigma**2 * alpha)
        height = (2 * PI * sigma**2) ** Decimal("1.5") * f ** (l + Decimal("1.5"))
        out.append(w * height * (-alpha * f * Decimal(r) ** 2).exp())
    return out


@pytest.mark.parametrize(("cutoff", "error"), [(5.0, "3e-13"), (4.0, "3e-12")])
def test_the_twins_radial_functions_to_fifty_digits(cutoff, error):
    """The worst cancellation, n_max = 12: errors are below 10 ε Σ_k |term| and as small as stated of the maximum."""
    soap = SOAP(["Si"], cutoff=cutoff, n_max=12, l_max=6)
    r = [0.0, 0.7, 1.9, 2.35, 3.1, 3.8]
    rho, beta = naive.radial_functions(soap, np.array(r, dtype=naive.WIDE)), soap.dscribe(False)._betas
    epsilon = Decimal(str(np.finfo(naive.WIDE).eps))
    with localcontext(prec=50):
        for l in range(soap.l_max + 1):
            g = [decimal_gaussians(soap, l, x) for x in r]
            for n in range(soap.n_max):
                terms = [[b * value for b, value in zip(map(Decimal, beta[l, n].tolist()), row)] for row in g]
                errors = [abs(Decimal(str(a)) - sum(t)) for a, t in zip(rho[:, l, n], terms)]
                assert all(e <= 10 * epsilon * sum(map(abs, t)) for e, t in zip(errors, terms))
                assert max(errors) <= Decimal(error) * max(abs(sum(t)) for t in terms)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("basis", BASES)
def test_features_of_every_basis_size_are_exact(basis, name):
    atoms = GEOMETRIES[name]
    soap = descriptor(atoms, basis)
    assert relative(soap.create(atoms), naive.features(soap, atoms)) <= EXACT


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("smoothness", [1, 2, 3])
def test_features_of_every_compression_and_weighting_are_exact(compression, smoothness):
    atoms = five_species(3)
    weights = {"Si": 1.3, "O": 0.4, "Ge": 0.9}
    soap = SOAP(FIVE[:3], 4.2, 4, 3, smoothness=smoothness, compression=compression, species_weights=weights)
    assert relative(soap.create(atoms), naive.features(soap, atoms)) <= EXACT


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("basis", [b for b in BASES if b[0] == 12])
def test_nearer_to_the_exact_features_than_dscribe(basis, name):
    """n_max = 12, |β| up to 7e5: the whole difference to dscribe is dscribe's."""
    atoms = GEOMETRIES[name]
    soap = descriptor(atoms, basis)
    exact = naive.features(soap, atoms)
    theirs = np.atleast_2d(soap.dscribe(bool(atoms.pbc.any())).create(atoms))
    assert relative(soap.create(atoms), exact) < 0.01 * relative(theirs, exact)


def test_one_rounding_before_the_radial_sum_costs_what_dscribe_loses():
    """Why dscribe is off: Σ_k β_lnk (Σ_j …)_k of terms that cancel, |β| = 2e5, from sums of 16 digits."""
    atoms = five_species(1)
    soap = SOAP(["Si"], 5.0, 12, 6)
    engine, exact = soap.dscribe(True), naive.features(soap, atoms)
    sums = naive.density_coefficients(soap, atoms, radial=naive.gaussians)
    beta = np.repeat(engine._betas.astype(naive.WIDE), 2 * np.arange(soap.l_max + 1) + 1, axis=0)

    def error(precision):
        c = np.einsum("izmk,mnk->izmn", sums.astype(precision).astype(naive.WIDE), beta)
        return relative(naive.power_spectrum(soap, c)[0], exact)

    assert error(naive.WIDE) < 1e-13
    assert error(float) > 1e-11
