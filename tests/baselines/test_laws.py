"""Every baseline and their sums obey the laws of a potential; labels lose them; data name them."""

from __future__ import annotations

import json

import laws
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from example_baselines import BASELINES, IONS, REPULSION, predictor, salt

from gapkit import InputError
from gapkit.baselines import (
    D3,
    Ewald,
    baseline_from_dict,
    baseline_to_dict,
    check_baselines,
    evaluate_baselines,
    subtract_baseline,
)
from gapkit.structures.labels import read_labels
from gapkit.structures.reading import find_label_keys


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
