"""`LongRange` as a function of a structure: the laws, direct sums, and electrostatics made of its features."""

from __future__ import annotations

from itertools import combinations_with_replacement

import laws
import numpy as np
import pytest
from ase import Atoms
from ase.units import Bohr, Hartree
from example_structures import triclinic
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf, gammainc

from gapkit import InputError
from gapkit.baselines import Ewald
from gapkit.terms.long_range import LongRange

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
