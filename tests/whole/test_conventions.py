"""Signs, units, orders and the noise rule, executed: what the documentation says is what the numbers do."""

from __future__ import annotations

import re

import laws
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from example_structures import alloy, labelled, structures
from places import ROOT
from scipy.optimize import brentq

from gapkit import GAP, SOAP, DotProduct, GAPCalculator, Term
from gapkit.covariances.rows import structure_rows
from gapkit.fitting.noise import noise_std, observations
from gapkit.geometry.neighbourhoods import find_neighbourhoods
from gapkit.quantities import KINDS, UNITS, VOIGT
from gapkit.structures.labels import LabelKeys, read_labels
from gapkit.structures.reading import find_label_keys

VOIGT_NAMES = ("xx", "yy", "zz", "yz", "xz", "xy")


def scaled(atoms: Atoms, factor: float) -> Atoms:
    out = atoms.copy()
    out.set_cell(atoms.cell.array * factor, scale_atoms=True)
    return out


@pytest.fixture(scope="module")
def crystal(gap) -> Atoms:
    """Ordered CuAu at the volume where the fitted pressure vanishes; its shears do not mix."""
    ideal = alloy(0, rattle=0.0, strain=0.0)
    factor = brentq(lambda x: np.trace(gap.predict(scaled(ideal, x)).stress[0]), 0.96, 1.06)
    return scaled(ideal, factor)


# -- signs and units ------------------------------------------------------------------------------------------------


def test_stress_is_positive_under_tension(gap, crystal):
    assert np.trace(gap.predict(scaled(crystal, 1.02)).stress[0]) > 0.01
    assert np.trace(gap.predict(scaled(crystal, 0.98)).stress[0]) < -0.01


def test_stress_has_the_sign_and_unit_of_ase(gap, frames):
    """Against another calculator's stress, eV/Å³, the slope is one; in GPa it would be 160."""
    crystals = [Atoms(a) for a in frames if len(a) == 4]
    for atoms in crystals:
        atoms.calc = EMT()
    theirs = np.array([a.get_stress(voigt=False) for a in crystals])
    ours = np.array(gap.predict(crystals).stress)
    assert 0.8 < np.sum(ours * theirs) / np.sum(theirs**2) < 1.2


def test_pressure_is_minus_the_volume_derivative(gap, crystal):
    """-tr(stress)/3 = p = -dE/dV: eV/Å³ without any further factor."""
    atoms = scaled(crystal, 1.02)
    volume = atoms.get_volume()

    def energy(dv):
        return float(gap.predict(scaled(atoms, (1 + dv / volume) ** (1 / 3))).energy[0])

    np.testing.assert_allclose(np.trace(gap.predict(atoms).stress[0]) / 3, laws.derivative(energy, 0.1), rtol=1e-6)


def test_force_is_minus_the_slope_of_the_energy(gap):
    def dimer(r):
        return gap.predict(Atoms("CuAu", [[0, 0, 0], [0, 0, r]]))

    slope = laws.derivative(lambda h: float(dimer(2.2 + h).energy[0]))
    expected = [[0, 0, slope], [0, 0, -slope]]
    assert abs(slope) > 0.1
    np.testing.assert_allclose(dimer(2.2).forces[0], expected, atol=1e-7)


def test_virial_is_minus_volume_times_stress(frames, soap):
    """A virial label and a stress label with virial = -V stress are one label."""
    fitted = []
    for use_virial in (True, False):
        train = []
        for atoms in frames[:6]:
            copy, stress = Atoms(atoms), atoms.get_stress(voigt=False)
            copy.info["virial" if use_virial else "stress"] = (-atoms.get_volume() if use_virial else 1.0) * stress
            copy.info["energy"] = atoms.get_potential_energy()
            train.append(copy)
        keys = find_label_keys(train)
        expected = -train[0].get_volume() * frames[0].get_stress(voigt=False)
        np.testing.assert_allclose(read_labels(train[0], keys).virial, expected, rtol=1e-12)
        fitted.append(GAP([Term(soap, DotProduct(2), 8)], e0={"Cu": 0.0, "Au": 0.0}, verbose=False).fit(train))
    a, b = (gap.predict(alloy(11)) for gap in fitted)
    np.testing.assert_allclose(a.energy, b.energy, rtol=1e-9)
    np.testing.assert_allclose(a.stress[0], b.stress[0], atol=1e-9)


# -- orders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("component", [3, 4, 5])
def test_voigt_order_by_shearing(gap, crystal, component):
    """A shear in one plane answers in that component, with the slope that the energy's curvature demands."""
    a, b = ("xyz".index(letter) for letter in VOIGT_NAMES[component])
    strain = np.zeros((3, 3))
    strain[a, b] = strain[b, a] = 0.01
    atoms = laws.strained(crystal, strain)
    atoms.calc = GAPCalculator(gap)
    shear = atoms.get_stress()[3:]
    assert np.argmax(np.abs(shear)) == component - 3
    assert np.abs(np.delete(shear, component - 3)).max() < 1e-6 * np.abs(shear).max()
    rise = float(gap.predict(atoms).energy[0] - gap.predict(crystal).energy[0])
    np.testing.assert_allclose(shear[component - 3] * 0.01 * atoms.get_volume(), rise, rtol=0.05)


@pytest.mark.parametrize("component", [0, 1, 2])
def test_voigt_order_by_stretching(gap, component):
    atoms = laws.strained(alloy(2), np.diag(0.02 * np.eye(3)[component]))
    atoms.calc = GAPCalculator(gap)
    before = gap.predict(alloy(2)).stress[0]
    assert np.argmax(atoms.get_stress()[:3] - np.diag(before)) == component


def test_six_numbers_of_a_label_are_read_in_voigt_order():
    atoms = alloy(0)
    atoms.info["stress"] = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    labels = read_labels(atoms, LabelKeys(stress="stress"))
    virial = -labels.virial / atoms.get_volume()
    for value, (a, b) in zip((1.0, 2.0, 3.0, 4.0, 5.0, 6.0), VOIGT):
        np.testing.assert_allclose(virial[[a, b], [b, a]], value, rtol=1e-12)
    (observation,) = observations(labels, 0.0, 4)
    np.testing.assert_allclose(observation.y, -atoms.get_volume() * atoms.info["stress"])


def test_rows_are_in_the_order_of_their_targets(gap):
    """Forces atom by atom (x y z), virial xx yy zz yz xz xy: rows times weights meet their own targets."""
    atoms = alloy(12)
    p = gap.predict(atoms)
    atoms.calc = SinglePointCalculator(
        atoms, forces=p.forces[0], stress=p.stress[0][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    )
    targets = {o.kind: o.y for o in observations(read_labels(atoms, find_label_keys([atoms])), 0.0, 4)}
    rows = structure_rows(gap.basis_.environments(atoms))
    np.testing.assert_allclose(rows.forces @ gap.alpha_, targets["forces"], atol=1e-9)
    np.testing.assert_allclose(rows.virial @ gap.alpha_, targets["virial"], atol=1e-8)
    assert np.unique(np.round(targets["virial"], 6)).size == 6  # otherwise a wrong order could pass


@pytest.mark.parametrize("name", structures())
def test_pair_vector_points_from_centre_to_neighbour(name):
    """D = r_j - r_i + S @ cell, cell vectors being rows."""
    atoms = structures()[name]
    nb = find_neighbourhoods(atoms, 5.0)
    D = atoms.positions[nb.j] - atoms.positions[nb.i] + nb.S @ atoms.cell.array
    np.testing.assert_allclose(nb.D, D, atol=1e-12)
    assert len(D)


# -- the noise rule -------------------------------------------------------------------------------------------------


def only(atoms: Atoms, kind: str) -> Atoms:
    out = Atoms(atoms)
    out.calc = SinglePointCalculator(out, **{kind: atoms.calc.results[kind]})
    return out


def doubled(atoms: Atoms, kind: str) -> Atoms:
    """A supercell of two, with the label that physics gives it."""
    out, label = atoms.repeat((2, 1, 1)), atoms.calc.results[kind]
    supercell_label = {
        "energy": 2 * label,
        "forces": np.tile(label, (2, 1)) if kind == "forces" else None,
        "stress": label,
    }
    out.calc = SinglePointCalculator(out, **{kind: supercell_label[kind]})
    return out


def energies(frames: list[Atoms], **noise: float) -> np.ndarray:
    """Predicted energy per atom of a potential that sees `frames` through a loud noise."""
    soap = SOAP(["Cu", "Au"], 4.0, n_max=3, l_max=2)
    gap = GAP([Term(soap, DotProduct(2), 6)], e0={"Cu": 0.0, "Au": 0.0}, verbose=False, **noise).fit(frames)
    return gap.predict([alloy(k) for k in range(30, 34)]).energy / 4


@pytest.mark.parametrize(("kind", "parameter"), [("energy", "energy_noise"), ("stress", "virial_noise")])
def test_noise_of_energy_and_virial_grows_with_the_number_of_atoms(frames, kind, parameter):
    """A supercell doubles the row, the target and the noise: it says the same as its primitive cell, exactly once."""
    single = energies([only(a, kind) for a in frames[:5]], **{parameter: 1.0})
    double = energies([doubled(only(a, kind), kind) for a in frames[:5]], **{parameter: 1.0})
    np.testing.assert_allclose(double, single, rtol=1e-7, atol=1e-9)
    other_rule = energies([only(a, kind) for a in frames[:5]], **{parameter: 2**0.5})
    assert np.abs(other_rule - single).max() > 1e-4  # the comparison would notice noise · sqrt(N)


def test_noise_of_forces_is_absolute(frames):
    """A supercell says each force twice, which is one force with noise/sqrt(2), whatever the number of atoms."""
    double = energies([doubled(only(a, "forces"), "forces") for a in frames[:5]], forces_noise=2.0**0.5)
    np.testing.assert_allclose(double, energies([only(a, "forces") for a in frames[:5]], forces_noise=1.0), rtol=1e-7)
    other = energies([only(a, "forces") for a in frames[:5]], forces_noise=2.0**0.5)
    assert np.abs(other - double).max() > 1e-4


@pytest.mark.parametrize(("kind", "label"), [("energy", "energy"), ("forces", "forces"), ("virial", "stress")])
def test_noise_is_a_standard_deviation(frames, kind, label):
    """n identical labels with noise sqrt(n)·σ weigh as much as one with σ (a variance would need n·σ)."""
    bare = [only(a, label) for a in frames[:5]]
    one = energies(bare, **{f"{kind}_noise": 1.0})
    with pytest.warns(UserWarning, match="15 of 20 frames repeat an earlier one"):
        four = energies(4 * bare, **{f"{kind}_noise": 2.0})
    np.testing.assert_allclose(four, one, rtol=1e-7, atol=1e-9)
    assert np.abs(energies(bare, **{f"{kind}_noise": 2.0}) - one).max() > 1e-4


def test_energy_std_is_of_the_total_energy(gap):
    atoms = alloy(7)
    one, two = (gap.predict(a, return_std=True) for a in (atoms, atoms.repeat((1, 1, 2))))
    np.testing.assert_allclose(two.energy_std, 2 * one.energy_std, rtol=1e-6)
    np.testing.assert_allclose(two.local_energies_std[0][:4], one.local_energies_std[0], rtol=1e-6)


def test_energies_contain_e0(gap, frames):
    shifted = [labelled(Atoms(a)) for a in frames]
    for atoms, old in zip(shifted, frames):
        atoms.calc.results["energy"] += (atoms.symbols == "Au").sum() * 100.0
        atoms.info["config_type"] = old.info["config_type"]
    moved = GAP(gap.terms, gap.energy_noise, gap.forces_noise, gap.virial_noise, verbose=False).fit(shifted)
    np.testing.assert_allclose(moved.e0_["Au"] - gap.e0_["Au"], 100.0, atol=1e-9)
    a, b = gap.predict(alloy(5)), moved.predict(alloy(5))
    np.testing.assert_allclose(b.energy - a.energy, 200.0, atol=1e-6)
    np.testing.assert_allclose(b.local_energies[0] - a.local_energies[0], 100.0 * (alloy(5).symbols == "Au"), atol=1e-6)
    np.testing.assert_allclose(b.forces[0], a.forces[0], atol=1e-6)


# -- words ----------------------------------------------------------------------------------------------------------

EXECUTED_ABOVE = {
    "energy": "eV",
    "e0": "eV",
    "forces": "eV/Å",
    "stress": "eV/Å³",
    "virial": "eV",
    "energy_noise": "eV/atom",
    "forces_noise": "eV/Å",
    "virial_noise": "eV/atom",
    "energy_std": "eV",
    "local_energies_std": "eV",
    "delta": "eV",
    "cutoff": "Å",
}


def readme_units() -> dict[str, list[str]]:
    """Columns after the name, of every table row in the README that begins with `name`."""
    readme = ROOT / "README.md"
    lines = readme.read_text(encoding="utf-8").splitlines() if readme.exists() else []
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in rows if re.fullmatch(r"`\w+`", row[0])}


@pytest.mark.parametrize("name", EXECUTED_ABOVE)
def test_the_readme_states_the_same_units(name):
    table = readme_units()
    if table:
        assert table[name][1] == EXECUTED_ABOVE[name]


def test_the_readme_states_the_same_rules():
    table = {name: " ".join(cells) for name, cells in readme_units().items()}
    if table:
        for name, words in {
            "stress": ["(1/V) dE/dε", "positive under tension", "xx yy zz yz xz xy"],
            "virial": ["−V · stress"],
            "forces": ["−dE/dr", "(n_atoms, 3)"],
            "energy_noise": ["standard deviation", "energy_noise · N"],
            "virial_noise": ["standard deviation", "virial_noise · N"],
            "forces_noise": ["standard deviation", "each component"],
            "energy_std": ["total energy"],
        }.items():
            assert [word for word in words if word not in table[name]] == []


def test_docstrings_and_messages_state_the_same_units(gap, tmp_path):
    assert {f"{kind}_noise": unit for kind, unit in UNITS.items()} == {
        name: unit for name, unit in EXECUTED_ABOVE.items() if name.endswith("_noise")
    }
    assert tuple(VOIGT_NAMES) == tuple("xyz"[a] + "xyz"[b] for a, b in VOIGT)
    assert "eV/atom, eV/Å, eV/atom" in GAP.__doc__
    assert "positive under tension" in GAPCalculator.__doc__
    assert " ".join(VOIGT_NAMES) in GAPCalculator.__doc__
    assert [noise_std(kind, getattr(gap, f"{kind}_noise"), "any") for kind in KINDS] == [0.005, 0.05, 0.02]
