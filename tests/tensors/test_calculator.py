from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.morse import MorsePotential
from ase.units import Bohr
from ase.vibrations import Infrared
from tensor_labels import molecules

from gapkit import SOAP, InputError, TensorCalculator, TensorGAP, TensorTerm
from gapkit.tensors.spectra import infrared_intensities


@pytest.fixture(scope="module")
def models():
    terms = [TensorTerm(SOAP(["H", "O"], 3.5, 4, 3, 0.4, 2), 2, n_sparse=10)]
    frames = molecules(["H2O"], 20)
    parameters = {"terms": terms, "noise": 0.01, "verbose": False, "unit": "a.u."}
    return {name: TensorGAP(target=name, **parameters).fit(frames) for name in ("dipole", "polarizability")}


def test_dipole_in_units_of_ase(models):
    atoms = Atoms(molecules(["H2O"], 1, seed=3)[0])
    atoms.calc = TensorCalculator(dipole=models["dipole"], polarizability=models["polarizability"])
    expected = models["dipole"].predict(atoms).values[0] * Bohr
    assert np.allclose(atoms.get_dipole_moment(), expected)
    assert "polarizability" not in atoms.calc.results
    assert np.allclose(atoms.calc.polarizability, models["polarizability"].predict(atoms).values[0] * Bohr**3)
    atoms.positions[0] += 0.1
    assert not np.allclose(atoms.get_dipole_moment(), expected)
    std = atoms.calc.uncertainty()
    assert std["dipole"].shape == (3,)
    assert np.all(std["dipole"] > 0)
    assert atoms.calc.derivatives()["dipole"].shape == (3, 3, 3)


def test_infrared_of_ase_works_unchanged(models, tmp_path, monkeypatch):
    """Finite differences of ASE and the exact derivatives give the same intensities."""
    monkeypatch.chdir(tmp_path)
    atoms = molecule("H2O")
    atoms.calc = TensorCalculator(MorsePotential(epsilon=2.0, r0=1.2, rho0=3.0), dipole=models["dipole"])
    infrared = Infrared(atoms, delta=0.002, nfree=4)
    infrared.run()
    infrared.read()
    intensities = np.array(infrared.intensities)
    data = infrared.get_vibrations()
    exact = infrared_intensities(atoms.calc.derivatives(atoms)["dipole"], data.get_modes())
    assert intensities.max() > 1e-3
    assert np.allclose(exact, intensities, rtol=1e-4, atol=1e-4 * intensities.max())


def test_energies_pass_through(models):
    atoms = molecule("H2O")
    morse = MorsePotential()
    atoms.calc = TensorCalculator(morse, dipole=models["dipole"])
    assert atoms.get_potential_energy() == morse.get_potential_energy(molecule("H2O"))
    assert np.array_equal(atoms.get_forces(), morse.get_forces(molecule("H2O")))
    assert atoms.get_dipole_moment().shape == (3,)


def test_model_files(models, tmp_path):
    models["dipole"].save(tmp_path / "mu.gap")
    atoms = molecule("H2O")
    atoms.calc = TensorCalculator(dipole=tmp_path / "mu.gap")
    expected = TensorCalculator(dipole=models["dipole"])
    assert np.allclose(atoms.get_dipole_moment(), expected.get_dipole_moment(atoms))


def test_refusals(models):
    with pytest.raises(InputError, match="give one"):
        TensorCalculator()
    with pytest.raises(InputError, match="a model of polarizability"):
        TensorCalculator(dipole=models["polarizability"])
    gap = TensorGAP(models["dipole"].terms, noise=0.01, verbose=False).fit(molecules(["H2O"], 12))
    with pytest.raises(InputError, match="does not know the unit"):
        TensorCalculator(dipole=gap)
    atoms = molecule("SiH4")
    atoms.calc = TensorCalculator(dipole=models["dipole"])
    with pytest.raises(InputError, match="unknown to the training frames"):
        atoms.get_dipole_moment()
    with pytest.raises(InputError, match="needs a structure"):
        TensorCalculator(dipole=models["dipole"]).uncertainty()
