from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule
from scipy.spatial.transform import Rotation
from tensor_labels import turned, wigner_matrix

from gapkit import SOAP, InputError
from gapkit._numba.kernels import pair_forces
from gapkit.descriptors.lambda_soap import Order, density_cotangent, equivariants, position_gradients
from gapkit.geometry.neighbourhoods import find_neighbourhoods

ORDERS = [Order(0, True), Order(1, False), Order(1, True), Order(2, True), Order(2, False), Order(3, False)]
COMPRESSIONS = ["off", "mu2", "mu1nu1", "crossover"]


def ethanol(seed=1):
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=seed)
    return atoms


def a_soap(compression="off", **parameters):
    return SOAP(["O", "C", "H"], **{"cutoff": 3.5, "n_max": 4, "l_max": 3, "atom_sigma": 0.4, **parameters},
                compression=compression)  # fmt: skip


def features(soap, atoms, order):
    values, state = soap.evaluate(find_neighbourhoods(atoms, soap.cutoff), atoms.numbers)
    return values, equivariants(soap, state, order), state


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_order_zero_is_soap(compression):
    soap = a_soap(compression)
    values, p, _ = features(soap, ethanol(), Order(0, True))
    assert p.shape[1] == 1
    assert np.abs(p[:, 0] - values).max() < 1e-15 * np.abs(values).max()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("sign", [1, -1])
def test_features_turn(order, compression, sign):
    soap, atoms = a_soap(compression), ethanol()
    R = Rotation.random(rng=5).as_matrix()
    _, p, _ = features(soap, atoms, order)
    _, after, _ = features(soap, turned(atoms, sign * R), order)
    inversion = 1 if sign > 0 or order.even else -1
    expected = inversion * np.einsum("ab,ibf->iaf", wigner_matrix(order.order, R), p)
    assert np.abs(p).max() > 0
    assert np.abs(after - expected).max() < 1e-13 * np.abs(p).max()


def rotations(band: int):
    """Rotations and weights that integrate products of Wigner matrices up to `band` exactly."""
    x, w = np.polynomial.legendre.leggauss(band // 2 + 1)
    around = 2 * np.pi * np.arange(band + 1) / (band + 1)
    for cos, weight in zip(x, w):
        for a in around:
            for c in around:
                R = Rotation.from_euler("ZYZ", [a, np.arccos(cos), c]).as_matrix()
                yield R, weight / 2 / len(around) ** 2


@pytest.mark.parametrize("order", [Order(0, True), Order(1, False), Order(1, True), Order(2, True), Order(2, False)])
def test_kernel_is_the_integral_over_rotations(order):
    """k_μμ' = ½ Σ_± ± ∫ dR D_μμ'(R) S(±R)², S being the overlap of both densities: no coupling coefficients at all."""
    soap, (a, b) = a_soap(n_max=2, l_max=2), (ethanol(1), ethanol(2))
    _, p, state = features(soap, a, order)
    _, p_b, _ = features(soap, b, order)
    size = order.size
    K = np.zeros((len(a), size, len(b), size))
    for R, weight in rotations(2 * soap.l_max + order.order):
        D = weight * wigner_matrix(order.order, R)
        for sign in (1, -1):
            _, _, turned_state = features(soap, turned(b, sign * R), Order(0, True))
            S = np.einsum("iclx,jclx->ij", state.c, turned_state.c)
            parity = 1 if sign > 0 or order.even else -1
            K += 0.5 * parity * np.einsum("ij,ab->iajb", S**2, D)
    expected = np.einsum("iaf,jbf->iajb", p, p_b) / (8 * np.pi**2) / size
    assert np.abs(K - expected).max() < 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_position_derivatives(order, compression):
    soap, atoms = a_soap(compression), ethanol()
    rng = np.random.default_rng(0)
    values, p, state = features(soap, atoms, order)
    component = order.size - 1
    scalar, equivariant = rng.normal(size=values.shape), rng.normal(size=p[:, 0].shape)
    c_bar = density_cotangent(soap, state, scalar, order, component, equivariant)
    nb, forces = state.neighbourhoods, np.zeros((len(atoms), 3))
    g = position_gradients(soap, state, c_bar)
    pair_forces(nb.centres, nb.first, nb.j, nb.D, g, forces, np.zeros((3, 3)))
    direction = rng.normal(size=forces.shape)

    def total(h):
        moved = atoms.copy()
        moved.positions += h * direction
        values, p, _ = features(soap, moved, order)
        return np.sum(scalar * values) + np.sum(equivariant * p[:, component])

    h = 1e-4
    numerical = (8 * (total(h) - total(-h)) - (total(2 * h) - total(-2 * h))) / (12 * h)
    assert -np.sum(forces * direction) == pytest.approx(numerical, rel=1e-8)


def test_smooth_at_the_cutoff():
    """A neighbour that comes within the cutoff changes nothing at first, and only in higher than first order."""
    soap = SOAP(["H", "O"], cutoff=3.0, n_max=4, l_max=3, smoothness=2)
    atoms = molecule("H2O")
    for gap, limit in ((1e-3, 1e-9), (1e-2, 1e-5)):
        near, far = atoms.copy(), atoms.copy()
        near.append("O")
        far.append("O")
        near.positions[-1] = atoms.positions[0] + [0, 3.0 - gap, 0]
        far.positions[-1] = atoms.positions[0] + [0, 3.0 + gap, 0]
        change = features(soap, near, Order(1, False))[1][0] - features(soap, far, Order(1, False))[1][0]
        assert np.abs(change).max() < limit * np.abs(features(soap, far, Order(1, False))[1][0]).max()


def test_symmetric_environments_have_no_vector():
    atoms = molecule("CH4")
    soap = SOAP(["C", "H"], cutoff=3.0, n_max=4, l_max=4)
    values, p, _ = features(soap, atoms, Order(1, False))
    assert np.abs(p[0]).max() < 1e-13 * np.abs(values[0]).max()
    assert np.abs(p[1]).max() > 1e-3 * np.abs(values[1]).max()


def test_what_does_not_couple_is_refused():
    with pytest.raises(InputError, match="raise l_max"):
        features(a_soap(l_max=0), ethanol(), Order(1, False))
    with pytest.raises(InputError, match="pseudo-scalars"):
        features(a_soap(), ethanol(), Order(0, False))
