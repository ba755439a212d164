"""Lattice sums of inverse powers: known sums, any splitting, direct sums."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from example_structures import triclinic
from scipy.special import erf, gammainc

from gapkit import InputError
from gapkit.baselines import Ewald
from gapkit.geometry.lattice_sums import lattice_sums
from gapkit.terms.long_range import LongRange

IONS = {"Na": 1.0, "Cl": -1.0}
# Σ (nearest distance / r)⁶ over a lattice: Kittel, Introduction to Solid State Physics, and Lennard-Jones and Ingham
SIXTH = {"fcc": (np.sqrt(0.5), 14.45392), "bcc": (np.sqrt(0.75), 12.25367), "sc": (1.0, 8.401924)}


@pytest.mark.parametrize("structure", SIXTH)
def test_sums_of_inverse_sixth_powers_of_lattices(structure):
    nearest, constant = SIXTH[structure]
    atoms = bulk("Ar", structure, a=4.0)
    sums = lattice_sums(atoms, np.ones(1), np.zeros(1, dtype=int), 1, 6, tolerance=1e-13)
    np.testing.assert_allclose(sums.potential[0, 0] * (4.0 * nearest) ** 6, constant, rtol=1e-6)
    energy = 0.5 * sums.potential[0, 0]
    np.testing.assert_allclose(sums.strain[0, 0], -2 * energy * np.eye(3), rtol=1e-9, atol=1e-14)  # E ∝ 1/length⁶


@pytest.mark.parametrize("power", [1, 6])
@pytest.mark.parametrize("width", [0.0, 0.7, 2.5])
def test_splitting_has_no_influence(power, width):
    atoms, charges, kinds = triclinic()
    reference = lattice_sums(atoms, charges, kinds, 3, power, width, splitting=0.5)
    for splitting in (0.27, 0.9, None):
        sums = lattice_sums(atoms, charges, kinds, 3, power, width, splitting=splitting)
        a = min(splitting or 0.9, 1 / (np.sqrt(2) * width) if width else 9.0)
        for value, expected in zip(sums, reference):
            np.testing.assert_allclose(value, expected, rtol=0, atol=4e-10 * max(a, 0.5) ** power)


@pytest.mark.parametrize("power", [1, 6])
def test_tolerance_bounds_the_error(power):
    atoms, charges, kinds = triclinic()
    exact = lattice_sums(atoms, charges, kinds, 3, power, tolerance=1e-14)
    for tolerance in (1e-4, 1e-7, 1e-10):
        sums = lattice_sums(atoms, charges, kinds, 3, power, tolerance=tolerance)
        for value, expected in zip(sums, exact):
            assert np.abs(value - expected).max() < 4 * tolerance


@pytest.mark.parametrize("power", [1, 6])
@pytest.mark.parametrize("width", [0.0, 0.8])
def test_molecules_are_direct_sums(power, width):
    atoms, charges, kinds = triclinic()
    atoms.pbc = False
    r = atoms.get_all_distances() + np.eye(5)
    damping = 1.0
    if width:
        damping = erf(r / (np.sqrt(2) * width)) if power == 1 else gammainc(3, r**2 / (2 * width**2))
    f = damping / r**power * (1 - np.eye(5))
    sums = lattice_sums(atoms, charges, kinds, 3, power, width)
    np.testing.assert_allclose(sums.potential, f @ (charges[:, None] * np.eye(3)[kinds]), rtol=1e-9, atol=1e-13)
    nearest = np.argmin(r + 9 * np.eye(5), axis=1)
    assert (nearest != np.arange(5)).all()


def test_what_has_no_energy_is_refused():
    with pytest.raises(InputError, match=r"periodic cell Na has the charge 1 e.*pbc=False to isolated atoms"):
        Ewald(IONS).evaluate(Atoms("Na", cell=[20, 20, 20], pbc=True))
    assert Ewald(IONS).evaluate(Atoms("Na")).energy == 0
    slab = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    slab.pbc = [True, True, False]
    for what in (Ewald(IONS).evaluate, LongRange(["Na", "Cl"]).features):
        with pytest.raises(InputError, match=r"needs three periodic directions or none, not pbc = .*vacuum"):
            what(slab)
    with pytest.raises(InputError, match="reciprocal vectors"):
        lattice_sums(Atoms("NaCl", [[0, 0, 0], [5, 5, 5]], cell=[900, 900, 900], pbc=True), np.array([1.0, -1.0]),
                     np.zeros(2, dtype=int), 1, splitting=2.0)  # fmt: skip


@pytest.mark.parametrize("cell", [np.zeros((3, 3)), [[5, 0, 0], [0, 5, 0], [5, 5, 0]]])
def test_cells_without_volume_are_refused(cell):
    atoms = Atoms("NaCl", [[0, 0, 0], [2.5, 0, 0]], cell=cell, pbc=True)
    for evaluate in (Ewald({"Na": 1.0, "Cl": -1.0}).evaluate, LongRange(["Na", "Cl"]).features):
        with pytest.raises(InputError, match="depend on each other"):
            evaluate(atoms)
