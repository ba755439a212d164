from __future__ import annotations

import json
import sys

import laws
import numpy as np
import pytest
import scipy.constants as si
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import Calculator as ASECalculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr
from hypothesis import given, settings
from hypothesis import strategies as st

from gapkit import InputError
from gapkit.baselines import (
    D3,
    D4,
    ZBL,
    Calculator,
    Ewald,
    baseline_from_dict,
    baseline_to_dict,
    check_baselines,
    evaluate_baselines,
    subtract_baseline,
)
from gapkit.geometry.distances import distance_warning, short_contacts, shortest_distances
from gapkit.structures.labels import read_labels
from gapkit.structures.reading import find_label_keys

IONS = {"Na": 1.0, "Cl": -1.0}
WIDE = {"Na-Na": 4.4, "Cl-Na": 3.4, "Cl-Cl": 4.1}  # Å: switches within reach of every pair of the crystal
REPULSION = ZBL(["Na", "Cl"], inner=1.5, outer=WIDE)
BASELINES = {
    "ZBL": REPULSION,
    "D3": D3(),
    "D3zero": D3("pbe", "zero"),
    "Ewald": Ewald(IONS),
    "Ewald_clouds": Ewald(IONS, width=0.9),
    "LJ": Calculator("ase.calculators.lj:LennardJones", {"sigma": 2.2, "epsilon": 0.02, "rc": 5.0, "smooth": True}),
}


def salt(seed: int = 0, symbols: str = "NaCl") -> Atoms:
    """Eight ions, rattled and sheared."""
    atoms = bulk(symbols, "rocksalt", a=5.3, cubic=True)
    strain = [[0.02, 0.05, -0.03], [0, -0.01, 0.04], [0, 0, 0.03]]
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.15, seed=seed)
    return atoms


def predictor(*baselines) -> laws.Predict:
    def predict(atoms):
        p = evaluate_baselines(baselines, atoms)
        return p.energy, p.forces, p.strain_derivative / atoms.get_volume() if atoms.cell.rank == 3 else None

    return predict


@pytest.mark.parametrize("name", BASELINES)
class TestLaws:
    def test_forces_and_stress_are_derivatives(self, name):
        laws.check_forces(predictor(BASELINES[name]), salt())
        laws.check_stress(predictor(BASELINES[name]), salt())

    def test_symmetries(self, name):
        predict = predictor(BASELINES[name])
        laws.check_momentum(predict, salt())
        laws.check_rotation(predict, salt())
        laws.check_permutation(predict, salt())
        laws.check_lattice_translation(predict, salt())

    def test_supercell(self, name):
        laws.check_supercell(predictor(BASELINES[name]), salt())

    def test_local_energies_add_up_and_belong_to_their_atoms(self, name):
        order = np.random.default_rng(0).permutation(8)
        p, shuffled = BASELINES[name].evaluate(salt()), BASELINES[name].evaluate(salt()[order])
        np.testing.assert_allclose(p.local_energies.sum(), p.energy, rtol=1e-13)
        np.testing.assert_allclose(shuffled.local_energies, p.local_energies[order], rtol=1e-8, atol=1e-9)
        assert np.ptp(p.local_energies) > 1e-4  # no equal shares

    def test_shape_and_symmetry_of_results(self, name):
        p = BASELINES[name].evaluate(salt())
        assert isinstance(p.energy, float)
        assert p.forces.shape == (8, 3)
        np.testing.assert_allclose(p.strain_derivative, p.strain_derivative.T, atol=1e-9)

    def test_molecule_and_its_strain(self, name):
        atoms = Atoms("NaCl2Na", [[0, 0, 0], [2.3, 0.1, 0], [0.9, 2.2, 0.7], [2.9, 2.0, -0.4]])
        laws.check_forces(predictor(BASELINES[name]), atoms)
        strain = np.array([[0.3, 0.7, -0.2], [0.7, -0.5, 0.1], [-0.2, 0.1, 0.4]])

        def energy(h):
            moved = atoms.copy()
            moved.positions = atoms.positions @ (np.eye(3) + h * strain)
            return BASELINES[name].evaluate(moved).energy

        slope = np.sum(BASELINES[name].evaluate(atoms).strain_derivative * strain)
        np.testing.assert_allclose(slope, laws.derivative(energy, 2e-3), atol=1e-8, rtol=1e-8)

    def test_round_trip_through_json(self, name):
        data = json.loads(json.dumps(baseline_to_dict(BASELINES[name])))
        back = baseline_from_dict(data)
        assert baseline_to_dict(back) == data
        assert back.evaluate(salt()).energy == BASELINES[name].evaluate(salt()).energy


def test_sums_and_labels_less_their_own_baseline_are_zero():
    both = [REPULSION, Ewald(IONS)]
    total, parts = evaluate_baselines(both, salt()), [b.evaluate(salt()) for b in both]
    for value, first, second in zip(total, *parts):
        np.testing.assert_allclose(value, first + second, rtol=1e-13, atol=1e-13)
    atoms = salt()
    stress = total.strain_derivative[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / atoms.get_volume()
    atoms.calc = SinglePointCalculator(atoms, energy=total.energy, forces=total.forces, stress=stress)
    rest = subtract_baseline(read_labels(atoms, find_label_keys([atoms])), total)
    assert abs(rest.energy) < 1e-12
    np.testing.assert_allclose(rest.forces, 0, atol=1e-12)
    np.testing.assert_allclose(rest.virial, 0, atol=1e-10)
    assert np.abs(total.strain_derivative).max() > 1  # a wrong sign would show


def test_missing_labels_stay_missing():
    atoms = Atoms("Na")
    atoms.info["energy"] = -1.0
    labels = read_labels(atoms, find_label_keys([atoms]))
    rest = subtract_baseline(labels, REPULSION.evaluate(atoms))
    assert rest.forces is None
    assert rest.virial is None
    assert rest.energy == -1.0


@pytest.mark.parametrize("name", ["ZBL", "D3", "LJ"])
def test_slabs_and_wires_do_not_depend_on_vectors_that_are_not_periodic(name):
    for pbc in ([True, True, False], [True, False, False]):
        slab = salt()
        slab.pbc = pbc
        slab.positions += [0, 0, 40.0]  # outside the cell
        bare = slab.copy()
        bare.cell[~np.array(pbc)] = 0.0
        tall = slab.copy()
        tall.cell[2] *= 3
        laws.check_forces(predictor(BASELINES[name]), bare)
        for other in (slab, tall):
            for a, b in zip(BASELINES[name].evaluate(bare), BASELINES[name].evaluate(other)):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def test_one_atom_cells():
    atoms = Atoms("Na", cell=[[2.9, 0.1, 0], [0, 3.1, 0.2], [0.1, 0, 3.0]], pbc=True)
    for baseline in (REPULSION, D3()):
        laws.check_stress(predictor(baseline), atoms)
        np.testing.assert_allclose(baseline.evaluate(atoms).forces, 0, atol=1e-9)
        assert abs(baseline.evaluate(atoms).energy) > 1e-3


# -- ZBL ----------------------------------------------------------------------------------------------------------


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


# -- dispersion ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "pbc"), [(None, True), (None, [True, False, False]), ([[5, 0, 0]] * 3, True)])
def test_d3_refuses_cells_without_volume(cell, pbc):
    with pytest.raises(InputError, match="depend on each other"):
        D3("pbe").evaluate(Atoms("NaCl", [[0, 0, 0], [2.5, 0, 0]], cell=cell, pbc=pbc))


def test_d3_equals_the_numbers_of_its_package():
    assert D3("pbe").evaluate(molecule("H2O")).energy == pytest.approx(-0.009781920198843976, rel=1e-9)  # its manual
    assert D3("tpss").evaluate(molecule("H2O")).energy == pytest.approx(-0.011441640787279111, rel=1e-9)


PUBLISHED = {  # PBE: J. Comput. Chem. 32, 1456 (2011) and J. Chem. Phys. 132, 154104 (2010)
    "bj": {"a1": 0.4289, "a2": 4.4407, "s8": 0.7875},
    "zero": {"rs6": 1.217, "s8": 0.722},
}


@pytest.mark.parametrize("three_body", [False, True])
@pytest.mark.parametrize(("damping", "name"), [("bj", "d3bj"), ("zero", "d3zero")])
def test_d3_equals_the_calculator_of_its_package(damping, name, three_body):
    from dftd3.ase import DFTD3

    cutoffs = {"disp2": 60 * Bohr, "disp3": 40 * Bohr, "cn": 40 * Bohr, "width2": 6 * Bohr, "width3": 6 * Bohr}
    for atoms in (salt(), molecule("CH3CH2OH")):
        if three_body and atoms.pbc.any():
            continue  # slow
        p = D3("pbe", damping, three_body).evaluate(atoms)
        tweaks = {**PUBLISHED[damping], "s9": 1.0 if three_body else 0.0}
        atoms.calc = DFTD3(damping=name, realspace_cutoff=cutoffs, params_tweaks=tweaks)
        np.testing.assert_allclose(p.energy, atoms.get_potential_energy(), rtol=1e-9)
        np.testing.assert_allclose(p.forces, atoms.get_forces(), atol=1e-10)
        if atoms.pbc.all():
            stress = p.strain_derivative / atoms.get_volume()
            np.testing.assert_allclose(stress, atoms.get_stress(voigt=False), atol=1e-10)
            atoms.calc = DFTD3(damping=name, params_tweaks=tweaks)
            np.testing.assert_allclose(p.energy, atoms.get_potential_energy(), rtol=1e-3)  # its sudden end


def test_d4_equals_the_calculator_of_its_package_and_is_conservative():
    from dftd4.ase import DFTD4

    atoms = molecule("CH3CH2OH")
    p = D4("pbe").evaluate(atoms)
    laws.check_forces(predictor(D4("pbe")), atoms)
    atoms.calc = DFTD4(method="pbe")
    np.testing.assert_allclose(p.energy, atoms.get_potential_energy(), rtol=1e-9)
    np.testing.assert_allclose(p.forces, atoms.get_forces(), atol=1e-9)


@pytest.mark.slow
def test_d4_in_a_crystal_has_exact_derivatives():
    laws.check_forces(predictor(D4("pbe", three_body=False)), salt(), n=2)
    laws.check_stress(predictor(D4("pbe", three_body=False)), salt())
    twice = D4("pbe", three_body=False).evaluate(salt().repeat((2, 1, 1))).energy
    np.testing.assert_allclose(twice, 2 * D4("pbe", three_body=False).evaluate(salt()).energy, rtol=1e-6)  # its charges


def test_bad_dispersion_is_refused(monkeypatch):
    for baseline, text in (
        (D3("nope"), "D3 has no parameters for functional = 'nope' with bj damping"),
        (D3("pbe", "zeros"), "damping = 'zeros' is unknown .did you mean 'zero'"),
        (D4("nope"), "D4 has no parameters for functional = 'nope'"),
    ):
        with pytest.raises(InputError, match=text):
            baseline.validate()
    for baseline in (D3(), D4()):
        with pytest.raises(InputError, match="no parameters for Rf: it ends at Lr"):
            baseline.check_species(np.array([6, 104]))
    with pytest.raises(InputError, match="D4 needs three periodic directions or none"):
        D4().evaluate(fcc111("Cu", (1, 1, 2), vacuum=5))
    for package, baseline in (("dftd3", D3()), ("dftd4", D4())):
        monkeypatch.setitem(sys.modules, f"{package}.interface", None)
        with pytest.raises(InputError, match=rf"needs the package {package}: pip install 'gapkit\[dispersion\]'"):
            baseline.validate()


# -- calculators --------------------------------------------------------------------------------------------------


def test_calculator_gives_the_calculators_numbers(frames):
    atoms = frames[0].copy()
    p = Calculator(EMT).evaluate(atoms)
    atoms.calc = EMT()
    assert p.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-14)
    np.testing.assert_allclose(p.forces, atoms.get_forces(), atol=1e-12)
    np.testing.assert_allclose(p.strain_derivative, atoms.get_stress(voigt=False) * atoms.get_volume(), atol=1e-12)
    np.testing.assert_allclose(p.local_energies, atoms.get_potential_energies(), atol=1e-12)


def test_a_class_is_stored_by_its_name():
    assert Calculator(EMT) == Calculator("ase.calculators.emt:EMT")
    assert Calculator(LennardJones, {"sigma": 2.0}).factory == "ase.calculators.lj:LennardJones"


def test_reused_calculators_give_the_same(frames):
    fresh, kept = Calculator(EMT), Calculator(EMT, reuse=True)
    for atoms in (frames[0], frames[1], frames[0]):
        for a, b in zip(fresh.evaluate(atoms), kept.evaluate(atoms)):
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)


def test_structures_keep_their_own_calculator(frames):
    atoms = frames[0].copy()
    atoms.calc = LennardJones()
    before = atoms.positions.copy()
    Calculator(EMT).evaluate(atoms)
    assert isinstance(atoms.calc, LennardJones)
    assert (atoms.positions == before).all()


def test_tight_binding_through_its_name():
    pytest.importorskip("tblite")
    xtb = baseline_from_dict(
        {
            "type": "Calculator",
            "factory": "tblite.ase:TBLite",
            "parameters": {"method": "GFN2-xTB", "verbosity": 0, "accuracy": 0.01},
        }
    )
    atoms = molecule("H2O")
    assert xtb.evaluate(atoms).energy == pytest.approx(-137.96777625, abs=1e-5)  # its manual
    np.testing.assert_allclose(
        xtb.evaluate(atoms).forces[0], laws.finite_difference_forces(predictor(xtb), atoms, [0])[0], atol=1e-6
    )


class WithoutStress(ASECalculator):
    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=None, system_changes=()):
        self.results = {"energy": np.nan, "forces": np.zeros((len(atoms), 3))}


def test_bad_calculators_are_refused():
    with pytest.raises(InputError, match=r"EMT fails for ClNa \(NotImplementedError: No EMT-potential for"):
        Calculator(EMT).evaluate(Atoms("NaCl", [[0, 0, 0], [2, 0, 0]]))
    with pytest.raises(InputError, match="lacks a property"):
        Calculator(WithoutStress).evaluate(salt())
    with pytest.raises(InputError, match="no finite energy and forces"):
        evaluate_baselines([Calculator(WithoutStress)], molecule("H2O"))
    for factory, text in (
        ("EMT", "must be 'module:name'"),
        ("ase.calculators.emt:", "must be 'module:name'"),
        ("ase.calculators.emt:ETM", "does not exist"),
        ("no_such_package:EMT", "cannot be imported"),
        ("builtins:dict", "is no ASE calculator"),
    ):
        with pytest.raises(InputError, match=text):
            Calculator(factory).validate()
    with pytest.raises(InputError, match=r"cannot be made with \{'sigma': 1\}"):
        Calculator("ase.calculators.tip3p:TIP3P", {"sigma": 1}).evaluate(salt())


def test_what_no_file_can_name_is_not_saved():
    local = Calculator(lambda: EMT())
    assert local.evaluate(bulk("Cu")).energy == Calculator(EMT).evaluate(bulk("Cu")).energy
    with pytest.raises(InputError, match="no importable name"):
        baseline_to_dict(local)
    with pytest.raises(InputError, match="cannot be saved"):
        baseline_to_dict(Calculator(EMT, {"nl": object()}))


def test_files_start_no_code_without_consent(tmp_path, monkeypatch):
    module = tmp_path / "side_effect.py"
    module.write_text("raise RuntimeError('was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    data = {"type": "Calculator", "factory": "side_effect:Anything", "parameters": {}}
    with pytest.raises(InputError, match=r"must not do by itself.*trusted_calculators=\['side_effect:Anything'\]"):
        baseline_from_dict(data)
    assert "side_effect" not in sys.modules
    data = {"type": "Calculator", "factory": f"{__name__}:WithoutStress"}
    assert baseline_from_dict(data, trusted_calculators=[f"{__name__}:WithoutStress"]) == Calculator(WithoutStress)


LJ = "ase.calculators.lj:LennardJones"


@pytest.mark.parametrize(
    ("factory", "parameters", "named"),
    [
        ("ase.calculators.emt:EMT", {"restart": "x"}, "'restart' = 'x'"),
        ("ase.calculators.emt:EMT", {"parameters": "x"}, "'parameters' = 'x'"),  # ASE reads that file
        (LJ, {"sigma": 2.0, "directory": "x"}, "'directory' = 'x'"),
        (LJ, {"label": "x/y"}, "'label' = 'x/y'"),
        (LJ, {"sigma": {"path": "x"}}, "'sigma' = {'path': 'x'}"),
        (LJ, {"sigma": [[2.0]]}, r"'sigma' = \[\[2.0\]\]"),
        ("ase.calculators.morse:MorsePotential", {"neighbor_list": "x"}, "'neighbor_list' = 'x'"),
        ("tblite.ase:TBLite", {"solvation": ["alpb", "water"]}, "'solvation' = "),
        ("tblite.ase:TBLite", {"method": "GFN1-xTB", "xtb_config": {"file": "x"}}, "'xtb_config' = "),
        ("tblite.ase:TBLite", {"verbosity": 0, "charge": 50}, "'charge' = 50"),
        ("tblite.ase:TBLite", {"method": {"hamiltonian": 1}}, "'method' = "),
    ],
)
def test_files_give_harmless_calculators_harmless_parameters_only(factory, parameters, named):
    data = {"type": "Calculator", "factory": factory, "parameters": parameters}
    with pytest.raises(InputError, match=rf"^baseline would give '{factory}' the parameter {named}") as caught:
        baseline_from_dict(data)
    cures = f"trusted_calculators=['{factory}'] in Python", f"GAPKIT_TRUSTED_CALCULATORS={factory} in the environment"
    assert all(cure in str(caught.value) for cure in cures)


def test_trust_allows_any_parameter(tmp_path, monkeypatch):
    data = {"type": "Calculator", "factory": LJ, "parameters": {"sigma": 2.0, "directory": str(tmp_path)}}
    wanted = Calculator(LJ, data["parameters"])
    assert baseline_from_dict(data, trusted_calculators=[LJ]) == wanted
    monkeypatch.setenv("GAPKIT_TRUSTED_CALCULATORS", f"ase.calculators.emt:EMT, {LJ}")
    assert baseline_from_dict(data) == wanted
    monkeypatch.setenv("GAPKIT_TRUSTED_CALCULATORS", f"{LJ}s")
    with pytest.raises(InputError, match="must not do by itself"):
        baseline_from_dict(data)


def test_names_that_are_bytes_are_checked_too(tmp_path, monkeypatch):
    """YAML has them (!!binary), and they become texts."""
    (tmp_path / "side_effect.py").write_text("raise RuntimeError('was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="must not do by itself"):
        baseline_from_dict({"type": "Calculator", "factory": b"side_effect:Anything"})
    assert "side_effect" not in sys.modules


# -- plain data ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (3, "baseline = 3 must be a mapping"),
        ({}, "baseline.type = '' is unknown"),
        ({"type": "zbl", "species": ["Si"]}, "did you mean 'ZBL'"),
        ({"type": "ZBL"}, "species"),
        ({"type": "ZBL", "species": ["Si"], "innr": 1.0}, "no parameter 'innr' .did you mean 'inner'"),
        ({"type": "ZBL", "species": ["Si"], "outer": "wide"}, "outer"),
        ({"type": "ZBL", "species": ["Si"], "outer": 0.0}, "radii of Si-Si"),
        ({"type": "Ewald", "charges": {"Na": "one"}}, "baseline.charges.Na = 'one'"),
        ({"type": "Ewald", "charges": {}}, "must map symbols to charges"),
        ({"type": "D3", "damping": "nothing"}, "baseline.damping = 'nothing'"),
        ({"type": "Calculator"}, "factory"),
        ({"type": "Calculator", "factory": 3}, "factory"),
    ],
)
def test_bad_data_is_refused(data, text):
    with pytest.raises(InputError, match=text):
        baseline_from_dict(data)


def test_lists_of_baselines_are_checked():
    check_baselines([REPULSION, Ewald(IONS)], np.array([11, 17]))
    check_baselines([], np.array([11]))
    for bad in (REPULSION, [EMT()], "ZBL"):
        with pytest.raises(InputError, match="must be a list of ZBL, D3, D4, Ewald, Calculator"):
            check_baselines(bad, np.array([11]))
    for baseline, text in ((REPULSION, "add K to ZBL"), (Ewald(IONS), "add K to Ewald")):
        with pytest.raises(InputError, match=text):
            check_baselines([baseline], np.array([11, 19]))
        with pytest.raises(InputError, match=text):
            baseline.evaluate(Atoms("K"))
