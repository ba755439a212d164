"""Any ASE calculator as a baseline: its numbers, its name in files, and what files may not start."""

from __future__ import annotations

import sys

import laws
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator as ASECalculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from example_baselines import predictor, salt

from gapkit import InputError
from gapkit.baselines import Calculator, baseline_from_dict, baseline_to_dict, evaluate_baselines

LJ = "ase.calculators.lj:LennardJones"


class WithoutStress(ASECalculator):
    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=None, system_changes=()):
        self.results = {"energy": np.nan, "forces": np.zeros((len(atoms), 3))}


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
        ("builtins:dict", "not an ASE calculator"),
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
    with pytest.raises(InputError, match=r"without permission.*trusted_calculators=\['side_effect:Anything'\]"):
        baseline_from_dict(data)
    assert "side_effect" not in sys.modules
    data = {"type": "Calculator", "factory": f"{__name__}:WithoutStress"}
    assert baseline_from_dict(data, trusted_calculators=[f"{__name__}:WithoutStress"]) == Calculator(WithoutStress)


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
    with pytest.raises(InputError, match="must not do without permission"):
        baseline_from_dict(data)


def test_names_that_are_bytes_are_checked_too(tmp_path, monkeypatch):
    """YAML has them (!!binary), and they become texts."""
    (tmp_path / "side_effect.py").write_text("raise RuntimeError('was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="must not do without permission"):
        baseline_from_dict({"type": "Calculator", "factory": b"side_effect:Anything"})
    assert "side_effect" not in sys.modules
