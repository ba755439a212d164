from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tensor_labels import turned_value, wigner_matrix

from gapkit import InputError
from gapkit.descriptors.lambda_soap import Order
from gapkit.tensors.targets import TARGETS, Target, target_named


def a_value(target: Target, n: int = 4, seed: int = 0) -> np.ndarray:
    T = np.random.default_rng(seed).normal(size=(n, *target.shape))
    if target.is_symmetric:
        T = T + T.transpose(0, 2, 1)
    if target.traceless:
        T -= np.trace(T, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)
    return T


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda t: t.name)
def test_parts_hold_everything(target):
    T = a_value(target)
    parts = target.parts(T)
    assert [part.shape[-1] for part in parts.values()] == [order.size for order in target.orders]
    assert np.allclose(target.values(parts), T, atol=1e-14)
    assert np.isclose(sum(np.sum(part**2) for part in parts.values()), np.sum(T**2), rtol=1e-13)


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda t: t.name)
def test_parts_turn_as_harmonics(target):
    R, T = Rotation.random(rng=1).as_matrix(), a_value(target)
    before, after = target.parts(T), target.parts(turned_value(T, R, target.rank))
    for order, part in before.items():
        assert np.allclose(after[order], part @ wigner_matrix(order.order, R).T, atol=1e-12)


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda t: t.name)
def test_covariances_are_those_of_draws(target):
    rng, chol, parts = np.random.default_rng(2), {}, {}
    for order in target.orders:
        A = rng.normal(size=(order.size, order.size))
        chol[order], parts[order] = A, A @ A.T
    covariance = target.covariance(parts)
    d = len(target.components)
    assert covariance.shape == (d, d)
    draws = {order: rng.normal(size=(200_000, order.size)) @ A.T for order, A in chol.items()}
    T = target.values(draws).reshape(200_000, -1)
    places = [0, 4, 8, 5, 2, 1] if target.is_symmetric else range(3**target.rank)
    assert np.allclose(np.cov(T[:, places].T), covariance, atol=0.02 * np.abs(covariance).max())
    assert np.allclose(target.std(covariance).ravel(), T.std(axis=0), rtol=0.02)


def test_parity_of_true_and_pseudo_tensors():
    assert TARGETS["dipole"].orders == (Order(1, False),)
    assert TARGETS["polarizability"].orders == (Order(0, True), Order(2, True))
    assert TARGETS["born_charges"].orders == (Order(0, True), Order(1, True), Order(2, True))
    assert Target("magnetic_moment", 1, pseudo=True).orders == (Order(1, True),)
    assert Target("gyration", 2, pseudo=True, symmetric=False).orders == (Order(1, False), Order(2, False))


def test_names():
    assert target_named("mu").name == "dipole"
    assert target_named("Born_Charges").name == "born_charges"
    with pytest.raises(InputError, match="did you mean 'dipole'"):
        target_named("dipol")
    with pytest.raises(InputError, match="pseudo-scalar"):
        target_named(Target("chirality", 0, pseudo=True))
    with pytest.raises(InputError, match="rank"):
        target_named(Target("octupole", 3))
    with pytest.raises(InputError, match="is unknown"):
        TARGETS["dipole"].unit_size("parsec")
