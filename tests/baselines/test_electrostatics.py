"""Ewald: Madelung constants, another code, free molecules, clouds of charge, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import Bohr, Hartree

from gapkit import InputError
from gapkit.baselines import Ewald

IONS = {"Na": 1.0, "Cl": -1.0, "Cs": 1.0, "Zn": 2.0, "S": -2.0, "Ca": 2.0, "F": -1.0}
# nearest-neighbour distance times the potential at a unit charge: Crandall and Delord, J. Phys. A 20, 2279 (1987)
MADELUNG = {
    "NaCl": ("rocksalt", 0.5, 1.74756459463318),
    "CsCl": ("cesiumchloride", np.sqrt(3) / 2, 1.76267477307099),
    "ZnS": ("zincblende", np.sqrt(3) / 4, 1.63805505338879 * 4),
}


@pytest.mark.parametrize("symbols", MADELUNG)
def test_madelung_constants(symbols):
    structure, nearest, constant = MADELUNG[symbols]
    atoms = bulk(symbols, structure, a=5.0)
    p = Ewald(IONS).evaluate(atoms)
    expected = -constant * Hartree * Bohr / (5.0 * nearest)
    np.testing.assert_allclose(p.energy, expected, rtol=1e-9)
    np.testing.assert_allclose(p.local_energies, expected / 2, rtol=1e-9)
    np.testing.assert_allclose(p.strain_derivative, -expected / 3 * np.eye(3), atol=1e-8)  # E ∝ 1/length
    np.testing.assert_allclose(p.forces, 0, atol=1e-10)


def test_a_neutral_molecule_in_a_large_cell_is_the_free_molecule():
    atoms = Atoms("CaF2", [[0, 0, 0], [0, 0.8, 2.0], [0, -0.8, -2.0]])  # no dipole
    free = Ewald(IONS).evaluate(atoms)
    atoms.set_cell([70, 70, 70])
    atoms.pbc = True
    boxed = Ewald(IONS).evaluate(atoms)
    np.testing.assert_allclose(boxed.energy, free.energy, atol=2e-4)
    np.testing.assert_allclose(boxed.forces, free.forces, atol=2e-4)
    np.testing.assert_allclose(boxed.strain_derivative, free.strain_derivative, atol=1e-3)


def test_sums_agree_with_matscipy(monkeypatch):
    matscipy = pytest.importorskip("matscipy.calculators.ewald")
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True).repeat((2, 2, 2))
    atoms.rattle(0.1, seed=1)
    p = Ewald(IONS).evaluate(atoms)
    monkeypatch.setattr(np, "int", int, raising=False)  # it uses this name, gone from NumPy 1.24 on
    atoms.set_array("charge", np.array([IONS[s] for s in atoms.symbols]))
    atoms.calc = matscipy.Ewald()
    atoms.calc.set(accuracy=1e-10, cutoff=10.0, verbose=False)
    np.testing.assert_allclose(p.energy, atoms.get_potential_energy(), rtol=1e-6)
    np.testing.assert_allclose(p.forces, atoms.get_forces(), atol=1e-5)
    stress = p.strain_derivative / atoms.get_volume()
    np.testing.assert_allclose(stress, atoms.get_stress(voigt=False), atol=1e-6)


def test_clouds_attract_less_when_they_overlap():
    close, apart = (Atoms("NaCl", [[0, 0, 0], [0, 0, r]]) for r in (0.3, 8.0))
    points, clouds = Ewald(IONS), Ewald(IONS, width=0.5)
    assert clouds.evaluate(close).energy > 0.5 * points.evaluate(close).energy
    np.testing.assert_allclose(clouds.evaluate(apart).energy, points.evaluate(apart).energy, rtol=1e-12)
    limit = Hartree * Bohr * -np.sqrt(2 / np.pi) / (np.sqrt(2) * 0.5)  # at r = 0
    np.testing.assert_allclose(clouds.evaluate(Atoms("NaCl", [[0, 0, 0], [0, 0, 0.101]])).energy, limit, rtol=0.01)


@pytest.mark.parametrize(
    ("ewald", "text"),
    [
        (Ewald({}), "must map symbols to charges"),
        (Ewald({"Qq": 1.0}), "unknown species 'Qq'"),
        (Ewald({"Na": float("nan")}), "must be a finite number"),
        (Ewald({"Na": "1"}), "must be a finite number"),
        (Ewald(IONS, width=-1.0), "width = -1.0"),
        (Ewald(IONS, tolerance=0.0), "tolerance = 0.0"),
    ],
)
def test_bad_parameters_are_refused(ewald, text):
    with pytest.raises(InputError, match=text):
        ewald.validate()
