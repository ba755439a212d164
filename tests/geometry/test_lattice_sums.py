"""Lattice sums of inverse powers: known sums, any splitting, direct sums; features made of them."""

from __future__ import annotations

from itertools import combinations_with_replacement

import laws
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import Bohr, Hartree
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf, gammainc

from gapkit import InputError
from gapkit.baselines import Ewald
from gapkit.geometry.lattice_sums import lattice_sums
from gapkit.terms.long_range import LongRange

IONS = {"Na": 1.0, "Cl": -1.0}
# Σ (nearest distance / r)⁶ over a lattice: Kittel, Introduction to Solid State Physics, and Lennard-Jones and Ingham
SIXTH = {"fcc": (np.sqrt(0.5), 14.45392), "bcc": (np.sqrt(0.75), 12.25367), "sc": (1.0, 8.401924)}


def triclinic(n: int = 5, seed: int = 0) -> tuple[Atoms, np.ndarray, np.ndarray]:
    """A cell without symmetry, charges that do not add up to zero, and three kinds."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(f"Ne{n}", cell=[[4.1, 0.3, 0], [-1.2, 5.0, 0.4], [0.8, 0.9, 6.3]], pbc=True)
    atoms.set_scaled_positions(np.arange(n)[:, None] / n * [1.0, 2.0, 3.0] + rng.uniform(-0.05, 0.05, (n, 3)))
    return atoms, rng.normal(size=n), np.arange(n) % 3


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


# -- features -----------------------------------------------------------------------------------------------------

SPECIES = ["Na", "Cl", "Ca"]


def mixed() -> Atoms:
    atoms, _, _ = triclinic(7)
    atoms.symbols = ["Na", "Cl", "Na", "Ca", "Cl", "Cl", "Na"]
    return atoms


def linear_energy(features: LongRange, seed: int = 0) -> laws.Predict:
    """Random coefficients make an energy of all features at once."""
    weights = np.random.default_rng(seed).normal(size=features.n_features)

    def predict(atoms):
        values, gradient, strain, _ = features.features(atoms)
        stress = np.tensordot(weights, strain, 1) / atoms.get_volume() if atoms.cell.rank == 3 else None
        return float(weights @ values), -np.tensordot(weights, gradient, 1), stress

    return predict


@pytest.mark.parametrize("width", [0.0, 1.0, 3.0])
def test_features_obey_the_laws(width):
    predict = linear_energy(LongRange(SPECIES, width=width))
    laws.check_forces(predict, mixed())
    laws.check_stress(predict, mixed())
    laws.check_momentum(predict, mixed())
    laws.check_rotation(predict, mixed())
    laws.check_permutation(predict, mixed())
    laws.check_lattice_translation(predict, mixed())
    laws.check_supercell(predict, mixed())
    cluster = mixed()
    cluster.pbc = False
    cluster.cell = None
    laws.check_forces(predict, cluster)
    laws.check_momentum(predict, cluster)


def test_each_feature_is_what_its_name_says():
    features, cluster = LongRange(SPECIES, width=0.9), mixed()
    cluster.pbc = False
    found, r = features.features(cluster), cluster.get_all_distances() + np.eye(7)
    expected = []
    for power in (1, 6):
        f = (erf(r / (np.sqrt(2) * 0.9)) if power == 1 else gammainc(3, r**2 / (2 * 0.81))) / r**power
        for a, b in combinations_with_replacement(SPECIES, 2):
            is_a, is_b = cluster.symbols == a, cluster.symbols == b
            pairs = [(i, j) for i in range(7) for j in range(i) if (is_a[i] and is_b[j]) or (is_b[i] and is_a[j])]
            expected.append(sum(f[i, j] for i, j in pairs))
    np.testing.assert_allclose(found.values, expected, rtol=1e-9)
    assert features.names[1] == "1/r Na-Cl"
    assert features.names[-1] == "1/r⁶ Ca-Ca"
    assert len(features.names) == features.n_features == len(found.values)
    np.testing.assert_allclose(found.local_values.sum(axis=0), found.values, rtol=1e-12)


def test_products_of_charges_make_electrostatics_of_the_features():
    charges = {"Na": 0.8, "Ca": 1.6, "Cl": -4.0 / 3.0}  # 3 Na, 1 Ca, 3 Cl
    atoms, features = mixed(), LongRange(SPECIES, powers=[1], width=np.sqrt(2) * 0.6)
    weights = [charges[a] * charges[b] * Hartree * Bohr for a, b in combinations_with_replacement(SPECIES, 2)]
    p, found = Ewald(charges, width=0.6).evaluate(atoms), features.features(atoms)
    np.testing.assert_allclose(weights @ found.values, p.energy, rtol=1e-9)
    np.testing.assert_allclose(-np.tensordot(weights, found.position_derivatives, 1), p.forces, atol=1e-8)
    np.testing.assert_allclose(np.tensordot(weights, found.strain_derivatives, 1), p.strain_derivative, atol=1e-7)
    np.testing.assert_allclose(found.local_values @ weights, p.local_energies, atol=1e-8)


def test_absent_species_have_no_features():
    found = LongRange(SPECIES).features(Atoms("Na2", [[0, 0, 0], [0, 0, 3.0]]))
    assert np.flatnonzero(found.values).tolist() == [0, 6]


def test_one_atom_cell_has_strain_but_no_force():
    atoms = Atoms("Na", cell=[[3.0, 0.2, 0], [0, 3.3, 0], [0.1, 0, 3.6]], pbc=True)
    predict = linear_energy(LongRange(["Na"]))
    laws.check_stress(predict, atoms)
    np.testing.assert_allclose(predict(atoms)[1], 0, atol=1e-10)


@given(seed=st.integers(0, 1000), width=st.sampled_from([0.0, 0.5, 4.0]))
@settings(max_examples=15, deadline=None)
def test_any_cell_of_one_crystal_has_the_same_energy(seed, width):
    """A unimodular change of cell vectors changes nothing."""
    rng = np.random.default_rng(seed)
    change = np.eye(3, dtype=int)
    change[0, 1], change[2, 0], change[1, 2] = rng.integers(-1, 2, 3)
    change = change if round(abs(np.linalg.det(change))) == 1 else np.eye(3, dtype=int)
    atoms, features = mixed(), LongRange(SPECIES, width=width)
    other = atoms.copy()
    other.set_cell(change @ atoms.cell.array)
    for a, b in zip(features.features(atoms), features.features(other)):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8 * max(1.0, np.abs(a).max()))


@pytest.mark.parametrize(
    ("features", "text"),
    [
        (LongRange([]), "must be a non-empty list of symbols"),
        (LongRange(["Na", "Na"]), "names one species twice"),
        (LongRange(["Qq"]), "unknown species 'Qq'"),
        (LongRange(["Na"], powers=[2]), "powers"),
        (LongRange(["Na"], width=float("inf")), "width"),
        (LongRange(["Na"], tolerance=1.0), "tolerance"),
    ],
)
def test_bad_features_are_refused(features, text):
    with pytest.raises(InputError, match=text):
        features.validate()


def test_unknown_species_are_refused():
    with pytest.raises(InputError, match="add K to LongRange"):
        LongRange(["Na"]).features(Atoms("K"))


@pytest.mark.parametrize("cell", [np.zeros((3, 3)), [[5, 0, 0], [0, 5, 0], [5, 5, 0]]])
def test_cells_without_volume_are_refused(cell):
    atoms = Atoms("NaCl", [[0, 0, 0], [2.5, 0, 0]], cell=cell, pbc=True)
    for evaluate in (Ewald({"Na": 1.0, "Cl": -1.0}).evaluate, LongRange(["Na", "Cl"]).features):
        with pytest.raises(InputError, match="depend on each other"):
            evaluate(atoms)
