"""The command line beside the library: fits, evaluations and predictions are the same numbers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from example_structures import alloy
from run_gapkit import NOISE, SMALL, Run, assert_refused, fill_folder, gapkit, predictions, small_gap

from gapkit import GAP, SOAP, DotProduct, Term, read_structures
from gapkit.evaluation.compare import evaluate
from gapkit.gaussian_process.conditioning import explain
from gapkit.runtime.archive import read_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return fill_folder(tmp_path_factory.mktemp("cli"))


# -- fit --------------------------------------------------------------------------------------------------------------


def test_fit_makes_the_potential_that_the_library_makes(folder):
    fitted = small_gap().fit(read_structures(folder / "train.xyz"))
    assert predictions(folder / "model.gap") == pytest.approx(predictions(fitted), abs=1e-12)


def test_fit_says_what_it_took_and_what_came_out(folder):
    text = (folder / "fit.txt").read_text(encoding="utf-8")
    gap = GAP.load(folder / "model.gap")
    condition = gap.posterior_.conditioning
    for words in (
        "energy: 'energy' of a calculator",
        "isolated_atom",
        "cutoff=4.0",
        explain(condition, {})[0],
        "sparse points of Cu: 8 sparse points of",
        "memory: estimated",
        f"log evidence: {gap.posterior_.log_marginal_likelihood:.2f}",
        f"Cu {gap.e0_['Cu']:.6f} eV",
        "errors on the training structures",
        f"wrote {folder / 'model.gap'}",
    ):
        assert words in text


def test_fit_as_json_and_quietly(folder, tmp_path):
    run = gapkit("fit", folder / "train.xyz", "-o", tmp_path / "a.gap", *SMALL, *NOISE, "--json", "--quiet")
    found = json.loads(run.out)
    gap = GAP.load(tmp_path / "a.gap")
    assert run.err == ""
    assert found["e0"] == gap.e0_
    assert found["training"] == gap.training_
    assert found["log_marginal_likelihood"] == gap.posterior_.log_marginal_likelihood
    assert found["errors"] == evaluate(gap, read_structures(folder / "train.xyz")).summary()


def test_labels_under_other_names(folder, tmp_path):
    model = tmp_path / "a.gap"
    assert_refused(
        gapkit("fit", folder / "renamed.xyz", "-o", model, "-q"), r"no energies.*has E_total, .*push.*--energy-key"
    )
    run = gapkit("fit", folder / "renamed.xyz", "-o", model, *SMALL, "--energy-key", "E_total", "--forces-key", "push")
    assert run.code == 0
    assert GAP.load(model).training_["config_types"]["default"] == {
        "frames": 6, "atoms": 24, "energy": 6, "forces": 6, "virial": 0
    }  # fmt: skip
    run = gapkit("fit", folder / "renamed.xyz", "-o", model, *SMALL, "--energy-key", "E_total", "--forces-key", "")
    assert GAP.load(model).training_["config_types"]["default"]["forces"] == 0


def test_e0_and_seed_are_passed_on(folder, tmp_path):
    arguments = [*SMALL, "--sparsification", "random", "--seed", "7", "--e0", "Cu=-0.5", "--e0", "Au=0.25", "-q"]
    assert gapkit("fit", folder / "train.xyz", "-o", tmp_path / "a.gap", *arguments) == Run(0, "", "")
    gap = GAP.load(tmp_path / "a.gap")
    assert gap.e0_ == {"Cu": -0.5, "Au": 0.25}
    assert gap.random_state == 7
    assert gap.terms[0].sparsification == "random"


def test_more_sparse_points_than_environments_is_a_warning(folder, tmp_path):
    run = gapkit(
        "fit",
        folder / "test.xyz",
        "-o",
        tmp_path / "a.gap",
        *SMALL,
        "--n-sparse",
        "999",
        "--e0",
        "Cu=0",
        "--e0",
        "Au=0",
    )
    assert run.code == 0
    assert re.search(r"^warning: n_sparse = 999 exceeds the \d+ distinct", run.err, re.MULTILINE)
    assert "Traceback" not in run.err


def test_an_older_model_is_replaced(folder, tmp_path):
    model = tmp_path / "a.gap"
    model.write_text("something else")
    assert gapkit("fit", folder / "train.xyz", "-o", model, *SMALL, *NOISE).code == 0
    assert predictions(model) == pytest.approx(predictions(folder / "model.gap"), abs=1e-12)
    assert [p.name for p in tmp_path.iterdir()] == ["a.gap"]


# -- evaluate, predict, info ------------------------------------------------------------------------------------------


def test_evaluate_as_json_is_the_summary_and_nothing_else(folder):
    run = gapkit("evaluate", folder / "model.gap", folder / "test.xyz", "--json")
    expected = evaluate(GAP.load(folder / "model.gap"), read_structures(folder / "test.xyz")).summary()
    assert run.code == 0
    assert json.loads(run.out) == expected
    assert expected["energy"]["unit"] == "meV/atom"
    assert list(expected["by_config_type"]) == ["bulk", "other"]


def test_evaluate_prints_the_table_and_calibration(folder):
    run = gapkit("evaluate", folder / "model.gap", folder / "test.xyz")
    table = evaluate(GAP.load(folder / "model.gap"), read_structures(folder / "test.xyz")).table()
    assert table in run.out
    assert "90 % interval" in run.out


def test_evaluate_writes_a_report(folder, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the report extra")
    pytest.importorskip("jinja2", reason="needs the report extra")
    report = tmp_path / "report.html"
    run = gapkit("evaluate", folder / "model.gap", folder / "test.xyz", "--report", report, "--json")
    assert json.loads(run.out)["forces"]["n"] == 48
    assert "model.gap on test.xyz" in report.read_text(encoding="utf-8")


def test_predict_writes_what_the_library_predicts(folder, tmp_path):
    out = tmp_path / "out.xyz"
    assert gapkit("predict", folder / "model.gap", folder / "test.xyz", "-o", out, "--std").code == 0
    written, given_frames = read(out, ":"), read_structures(folder / "test.xyz")
    p = GAP.load(folder / "model.gap").predict(given_frames, return_std=True)
    for k, atoms in enumerate(written):
        assert atoms.get_potential_energy() == pytest.approx(p.energy[k], abs=1e-9)
        assert atoms.get_forces() == pytest.approx(p.forces[k], abs=1e-7)
        assert atoms.get_stress(voigt=False) == pytest.approx(p.stress[k], abs=1e-9)
        assert atoms.info["energy_std"] == pytest.approx(p.energy_std[k], rel=1e-9)
        assert atoms.arrays["local_energies_std"] == pytest.approx(p.local_energies_std[k], abs=1e-7)
        assert atoms.info["config_type"] == given_frames[k].info["config_type"]
        assert atoms.positions == pytest.approx(given_frames[k].positions, abs=1e-7)


def test_predict_as_json(folder, tmp_path):
    out = tmp_path / "out.xyz"
    run = gapkit("predict", folder / "model.gap", folder / "test.xyz", "-o", out, "--json")
    assert json.loads(run.out) == {"output": str(out), "n_structures": 4}


def test_predict_keeps_labels_with_other_names(folder, tmp_path):
    out = tmp_path / "out.xyz"
    assert gapkit("predict", folder / "model.gap", folder / "renamed.xyz", "-o", out).code == 0
    for before, after in zip(read(folder / "renamed.xyz", ":"), read(out, ":")):
        assert after.info["E_total"] == before.info["E_total"]
        assert np.array_equal(after.arrays["push"], before.arrays["push"])
        assert "energy_std" not in after.info
        assert "local_energies_std" not in after.arrays


def test_predictions_stand_alone_under_the_plain_names(folder, tmp_path):
    bare = alloy(5)
    bare.info |= {"energy": 1.0, "free_energy": 2.0, "virial": np.eye(3), "energy_std": 3.0}
    bare.arrays["forces"] = np.ones((4, 3))
    write(tmp_path / "in.xyz", bare)
    assert gapkit("predict", folder / "model.gap", tmp_path / "in.xyz", "-o", tmp_path / "out.xyz").code == 0
    (read_again,) = read_structures(tmp_path / "out.xyz")
    expected = GAP.load(folder / "model.gap").predict(read_again)  # positions are rounded in the file
    assert read_again.get_potential_energy() == pytest.approx(expected.energy[0], abs=1e-9)
    assert read_again.get_stress(voigt=False) == pytest.approx(expected.stress[0], abs=1e-9)
    assert "energy_std" not in read_again.info


def test_predict_an_isolated_atom_and_a_molecule_without_a_cell(folder, tmp_path):
    write(tmp_path / "in.xyz", [Atoms("Cu"), Atoms("CuAu", [[0, 0, 0], [0, 0, 2.6]])])
    assert gapkit("predict", folder / "model.gap", tmp_path / "in.xyz", "-o", tmp_path / "out.xyz", "--std").code == 0
    atom, dimer = read(tmp_path / "out.xyz", ":")
    expected = GAP.load(folder / "model.gap").predict(Atoms("Cu")).energy[0]
    assert atom.get_potential_energy() == pytest.approx(expected, abs=1e-9)
    assert np.array_equal(atom.get_forces(), np.zeros((1, 3)))
    assert dimer.get_forces().sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-7)
    assert "stress" not in dimer.calc.results


def test_predict_reads_what_ase_reads(folder, tmp_path):
    write(tmp_path / "POSCAR", alloy(60, rattle=0.0))
    assert gapkit("predict", folder / "model.gap", tmp_path / "POSCAR", "-o", tmp_path / "out.xyz").code == 0
    assert len(read(tmp_path / "out.xyz")) == 4


def test_predictions_fail_as_a_whole(folder, tmp_path):
    write(tmp_path / "in.xyz", [alloy(1), Atoms("CuH", [[0, 0, 0], [0, 0, 1.5]])])
    run = gapkit("predict", folder / "model.gap", tmp_path / "in.xyz", "-o", tmp_path / "out.xyz")
    assert_refused(run, "holds H")
    assert [p.name for p in tmp_path.iterdir()] == ["in.xyz"]


def test_info(folder):
    run = gapkit("info", folder / "model.gap")
    for words in ("format 3", "cutoff=4.0", "DotProduct(zeta=2", "Training frames", "Au", "gapkit"):
        assert words in run.out
    assert "are independent" in run.out
    header, _ = read_model(folder / "model.gap")
    found = json.loads(gapkit("info", folder / "model.gap", "--json").out)
    assert found == {name: header[name] for name in found}
    assert {"e0", "species", "terms", "parameters", "training", "conditioning", "saved"} <= set(found)


# -- help -------------------------------------------------------------------------------------------------------------


COMMANDS = ("fit", "evaluate", "predict", "info", "demo", "update", "tune", "learning-curve", "data")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_parses(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    run = gapkit(command, "--help")
    assert run.code == 0
    example = re.search(rf"Example: gapkit {command} .+", run.out)
    assert example
    for flag in re.findall(r"--?[a-z][a-z-]*", example[0]):
        assert flag in run.out.replace(example[0], "")


def test_defaults_in_the_help_are_those_of_the_library(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = gapkit("fit", "--help").out
    soap, gap, term = SOAP(["Si"]), GAP(), Term(SOAP(["Si"]))
    defaults = {
        name: getattr(soap, name) for name in ("cutoff", "n_max", "l_max", "atom_sigma", "smoothness", "compression")
    }
    defaults |= {name: getattr(gap, name) for name in ("energy_noise", "forces_noise", "virial_noise")}
    defaults |= {"zeta": DotProduct().zeta, "delta": DotProduct().delta, "seed": gap.random_state}
    defaults |= {"n_sparse": term.n_sparse, "sparsification": term.sparsification}
    for name, value in defaults.items():
        flag = f"--{name.replace('_', '-')}"
        assert re.search(rf"{flag} [^[]*\[default: \({re.escape(str(value))}\)\]", text), (flag, value)


def test_alone_it_explains_itself():
    run = gapkit()
    assert run.code == 0
    for command in COMMANDS:
        assert command in run.out


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "gapkit", "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"gapkit \d+\.\d+\.\d+\S*\n", done.stdout)
    done = subprocess.run([sys.executable, "-m", "gapkit", "info", "none.gap"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: there is no model file 'none.gap'.\n"


def test_demo_reports_its_failed_checks_by_the_exit_code(monkeypatch):

    from gapkit.cli import demo

    monkeypatch.setattr(demo, "run_demo", lambda *_, **__: SimpleNamespace(failures=("the total energy drifts.",)))
    assert gapkit("demo").code == 1
    monkeypatch.setattr(demo, "run_demo", lambda *_, **__: SimpleNamespace(failures=()))
    assert gapkit("demo").code == 0
