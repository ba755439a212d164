"""ZBL: the universal potential, its smooth end, radii from data, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.constants as si
from ase import Atoms
from example_baselines import salt
from hypothesis import given, settings
from hypothesis import strategies as st

from gapkit import InputError
from gapkit.baselines import ZBL
from gapkit.geometry.distances import distance_warning, short_contacts, shortest_distances


@pytest.mark.parametrize(("a", "b"), [("Si", "Si"), ("H", "O"), ("Na", "Cl"), ("U", "He")])
def test_zbl_is_the_universal_potential_below_the_inner_radius(a, b):
    z, w = (int(Atoms(s).numbers[0]) for s in (a, b))
    zbl = ZBL(sorted({a, b}), inner=1.5, outer=2.0)
    for r in (0.2, 0.55, 1.1, 1.49):
        d = r / (0.4685 / (z**0.23 + w**0.23))
        terms = [(0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162)]
        coulomb = si.e / (4 * np.pi * si.epsilon_0) * 1e10 * z * w / r  # eV
        expected = coulomb * sum(c * np.exp(-x * d) for c, x in terms)
        energy = zbl.evaluate(Atoms([a, b], [[0, 0, 0], [0, r, 0]])).energy
        np.testing.assert_allclose(energy, expected, rtol=1e-7)
        bare = zbl.evaluate(Atoms([a, b], [[0, 0, 0], [0, 0.11, 0]])).energy * 0.11
        assert 0.1 < bare / (coulomb * r) < 1.0  # screening only weakens


def test_zbl_ends_with_zero_slope_and_curvature():
    zbl = ZBL(["Si", "O"], inner={"Si-O": 1.0}, outer={"O-Si": 1.6})

    def energy(r):
        return zbl.evaluate(Atoms("SiO", [[0, 0, 0], [r, 0, 0]])).energy

    for r in (1.6, 1.6 + 1e-12, 1.9):
        p = zbl.evaluate(Atoms("SiO", [[0, 0, 0], [r, 0, 0]]))
        assert not p.energy
        assert not p.forces.any()
        assert not p.strain_derivative.any()
    near, nearer = energy(1.6 - 2e-3), energy(1.6 - 1e-3)
    np.testing.assert_allclose(near / nearer, 8.0, rtol=0.02)  # V ∝ (outer - r)³
    for r in (1.0, 1.6):  # one-sided curvatures agree
        h = 1e-3
        left = energy(r - 2 * h) - 2 * energy(r - h) + energy(r)
        right = energy(r) - 2 * energy(r + h) + energy(r + 2 * h)
        scale = abs(energy(1.2) - 2 * energy(1.2 + h) + energy(1.2 + 2 * h))
        assert abs(left - right) < 0.1 * scale
    assert abs(energy(1.0 - 1e-9) - energy(1.0 + 1e-9)) < 1e-6


def test_zbl_falls_and_depends_on_nothing_but_distance():
    zbl = ZBL(["Cu"])
    energies = [zbl.evaluate(Atoms("Cu2", [[0, 0, 0], [0, 0, r]])).energy for r in np.linspace(0.2, zbl.cutoff, 200)]
    assert (np.diff(energies) < 0).all()
    assert energies[0] > 1000


def test_zbl_leaves_training_frames_alone_and_warns_below_them():
    frames = [salt(seed) for seed in range(5)]
    zbl = ZBL.from_structures(frames, species=["H"])
    zbl.validate()
    assert zbl.species == ("H", "Na", "Cl")
    assert all(zbl.evaluate(atoms).energy == 0 for atoms in frames)
    brute = min(a.get_all_distances(mic=True)[np.ix_(a.symbols == "Na", a.symbols == "Cl")].min() for a in frames)
    assert zbl.shortest["Na-Cl"] == pytest.approx(brute, abs=1e-12)
    assert all(zbl.distance_warning(atoms) is None for atoms in frames)
    pressed = frames[0].copy()
    pressed.set_cell(pressed.cell * 0.6, scale_atoms=True)
    warning = zbl.distance_warning(pressed)
    assert "closer than any in the training data" in warning
    contact = short_contacts(pressed, zbl.shortest)[0]
    assert contact.distance == pytest.approx(pressed.get_distance(contact.i, contact.j, mic=True))
    assert f"atoms {contact.i} and {contact.j} ({contact.pair})" in warning
    assert zbl.evaluate(pressed).energy > 1
    assert zbl.radii["H-H"][1] == pytest.approx(0.62, abs=0.01)  # never seen: covalent radii


def test_shortest_distances_know_images_and_open_boundaries():
    one = Atoms("Cu", cell=[2.5, 3, 4], pbc=True)
    assert shortest_distances([one])["Cu-Cu"] == pytest.approx(2.5)
    assert shortest_distances([Atoms("Cu", cell=[2.5, 3, 4])]) == {}
    assert distance_warning(one, {"Cu-Cu": 2.4, "Au-Cu": 9.0}) is None
    assert "atoms 0 and 0 (Cu-Cu) are 2.500 Å" in distance_warning(one, {"Cu-Cu": 2.6})
    assert distance_warning(one, {}) is None


@given(inner=st.floats(allow_nan=True), outer=st.floats(allow_nan=True))
@settings(max_examples=50, deadline=None)
def test_zbl_with_any_radii_is_refused_or_finite(inner, outer):
    zbl = ZBL(["Si"], inner=inner, outer=outer)
    try:
        zbl.validate()
    except InputError as error:
        assert str(error).startswith(("ZBL's radii of Si-Si", "ZBL: inner = ", "ZBL: outer = "))  # noqa: PT017
        return
    if outer > 50:
        return
    p = zbl.evaluate(Atoms("Si2", [[0, 0, 0], [0, 0, 1.3]]))
    assert np.isfinite(p.energy)
    assert np.isfinite(p.forces).all()


@pytest.mark.parametrize(
    ("zbl", "text"),
    [
        (ZBL("Si"), "must be a non-empty list of symbols"),
        (ZBL([]), "must be a non-empty list of symbols"),
        (ZBL(["Xx"]), "unknown species 'Xx'"),
        (ZBL(["Si"], inner=2.0, outer=1.0), "inner = 2.0 and outer = 1.0"),
        (ZBL(["Si"], outer={"Si-O": 1.0}), "no pair 'Si-O'"),
        (ZBL(["Si", "O"], outer={"Si-O": 1.0, "O-Si": 1.1}), "twice"),
        (ZBL(["Si"], outer={"Si-Si": float("nan")}), r"outer\['Si-Si'\] = nan must be a finite number"),
    ],
)
def test_bad_zbl_is_refused(zbl, text):
    with pytest.raises(InputError, match=text):
        zbl.validate()
