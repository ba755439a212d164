"""D3 and D4 equal the calculators of their packages and published numbers; refusals."""

from __future__ import annotations

import sys

import laws
import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111, molecule
from ase.units import Bohr
from example_baselines import predictor, salt

from gapkit import InputError
from gapkit.baselines import D3, D4

PUBLISHED = {  # PBE: J. Comput. Chem. 32, 1456 (2011) and J. Chem. Phys. 132, 154104 (2010)
    "bj": {"a1": 0.4289, "a2": 4.4407, "s8": 0.7875},
    "zero": {"rs6": 1.217, "s8": 0.722},
}


def test_d3_equals_the_numbers_of_its_package():
    assert D3("pbe").evaluate(molecule("H2O")).energy == pytest.approx(-0.009781920198843976, rel=1e-9)  # its manual
    assert D3("tpss").evaluate(molecule("H2O")).energy == pytest.approx(-0.011441640787279111, rel=1e-9)


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


@pytest.mark.parametrize(("cell", "pbc"), [(None, True), (None, [True, False, False]), ([[5, 0, 0]] * 3, True)])
def test_d3_refuses_cells_without_volume(cell, pbc):
    with pytest.raises(InputError, match="depend on each other"):
        D3("pbe").evaluate(Atoms("NaCl", [[0, 0, 0], [2.5, 0, 0]], cell=cell, pbc=pbc))


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
