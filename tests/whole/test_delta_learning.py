"""A potential on top of a semiempirical method: what tblite says comes back, from files and commands as well."""

from __future__ import annotations

import json
from itertools import count

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import molecule
from ase.io import read, write
from expected_warnings import none_too_close
from run_gapkit import assert_refused, gapkit

from gapkit import GAP, SOAP, DotProduct, Term
from gapkit.baselines import Calculator

tblite = pytest.importorskip("tblite.ase", reason="tblite is not installed: pip install tblite")
GFN1 = Calculator("tblite.ase:TBLite", {"method": "GFN1-xTB", "verbosity": 0})
SPECIES = ["H", "O"]


def labelled(atoms: Atoms, method: str = "GFN2-xTB") -> Atoms:
    """With energy and forces of tblite itself."""
    atoms.calc = tblite.TBLite(method=method, verbosity=0)
    atoms.get_forces()
    return atoms


def water(seed: int) -> Atoms:
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=seed)
    return atoms


def new(**changes) -> GAP:
    soap = Term(SOAP(SPECIES, 3.0, n_max=3, l_max=2), DotProduct(2, 1.0), n_sparse=8)
    return GAP([soap], 1e-3, 0.02, verbose=False, **{"baseline": [GFN1], **changes})


@pytest.fixture(scope="module")
def frames() -> list[Atoms]:
    return [labelled(Atoms(s)) for s in SPECIES] + [labelled(water(k)) for k in range(8)]


@pytest.fixture(scope="module")
def gap(frames) -> GAP:
    return new().fit(frames)


def test_the_method_itself_comes_back():
    """Labels of the baseline leave nothing to learn."""
    train = [labelled(water(k), "GFN1-xTB") for k in range(8)]
    p = new(e0={"H": 0.0, "O": 0.0}).fit(train).predict(train)
    np.testing.assert_allclose(p.energy, [a.get_potential_energy() for a in train], atol=1e-6)
    np.testing.assert_allclose(p.forces, [a.get_forces() for a in train], atol=1e-6)


def test_e0_is_the_difference_of_the_atoms_and_forces_are_derivatives(gap, frames):
    for atoms, s in zip(frames, SPECIES):
        assert gap.e0_[s] == pytest.approx(atoms.get_potential_energy() - GFN1.evaluate(atoms).energy, abs=1e-6)
    moved, h = [water(20) for _ in range(3)], 1e-3
    moved[0].positions[1, 2] -= h
    moved[2].positions[1, 2] += h
    p = gap.predict(moved)
    assert p.forces[1][1, 2] == pytest.approx((p.energy[0] - p.energy[2]) / (2 * h), abs=1e-3)


def test_a_good_baseline_helps(gap, frames):
    test = [labelled(atoms) for atoms in none_too_close(gap, map(water, count(30)), 6)]
    truth = np.array([a.get_forces() for a in test])
    errors = [np.abs(np.array(g.predict(test).forces) - truth).mean() for g in (gap, new(baseline=[]).fit(frames))]
    assert errors[0] < 0.7 * errors[1]
    assert errors[0] < 0.5 * np.mean([np.abs(GFN1.evaluate(a).forces - a.get_forces()).mean() for a in test])


def test_model_files_start_it_by_themselves(gap, tmp_path):
    gap.save(tmp_path / "a.gap")
    loaded = GAP.load(tmp_path / "a.gap")
    assert loaded.baseline_ == (GFN1,)
    np.testing.assert_allclose(loaded.predict(water(40)).forces[0], gap.predict(water(40)).forces[0], atol=1e-7)


def test_commands_take_it_from_a_configuration(frames, tmp_path):
    write(tmp_path / "train.xyz", frames)
    known = {"type": "Calculator", "factory": "tblite.ase:TBLite", "parameters": dict(GFN1.parameters)}
    terms = [{"descriptor": {"cutoff": 3.0, "n_max": 3, "l_max": 2}, "kernel": {"zeta": 2}, "n_sparse": 8}]
    config, model = tmp_path / "c.yaml", tmp_path / "a.gap"
    config.write_text(yaml.safe_dump({"baseline": [known], "terms": terms, "energy_noise": 1e-3, "forces_noise": 0.02}))
    run = gapkit("fit", tmp_path / "train.xyz", "-o", model, "--config", config, "-q")
    assert run.code == 0, run.err
    assert GAP.load(model).baseline_ == (GFN1,)
    write(tmp_path / "new.xyz", [water(k) for k in range(50, 53)])
    assert gapkit("predict", model, tmp_path / "new.xyz", "-o", tmp_path / "out.xyz").code == 0
    for atoms in read(tmp_path / "out.xyz", index=":"):
        assert np.abs(atoms.get_forces() - labelled(atoms.copy()).get_forces()).mean() < 0.3
    assert json.loads(gapkit("info", model, "--json").out)["baseline"][0]["factory"] == "tblite.ase:TBLite"
    known["parameters"]["solvation"] = ["alpb", "water"]
    config.write_text(yaml.safe_dump({"baseline": [known], "terms": terms}))
    run = gapkit("fit", tmp_path / "train.xyz", "-o", tmp_path / "b.gap", "--config", config)
    assert_refused(run, r"baseline\[0\] would give .*'solvation'.*GAPKIT_TRUSTED_CALCULATORS")
