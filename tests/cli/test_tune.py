"""`gapkit tune`, `learning-curve` and `data`: what the library finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.io import write
from example_structures import alloy
from run_gapkit import NOISE, SMALL, assert_refused, fill_folder, gapkit, predictions, small_gap

from gapkit import GAP, read_structures
from gapkit.active_learning.data_value import which_data_matter
from gapkit.evaluation.leave_one_out import leave_one_out
from gapkit.model_selection.learning_curve import learning_curve
from gapkit.model_selection.search import Between, tune
from gapkit.potential.settings import ModelSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return fill_folder(tmp_path_factory.mktemp("cli"))


# -- tune -------------------------------------------------------------------------------------------------------------


def test_tune_compares_as_the_library_does(folder, tmp_path):
    space = ["--vary", "zeta=1,2", "--vary", "cutoff=3.5,4"]
    run = gapkit("tune", folder / "train.xyz", *SMALL, *NOISE, *space, "-o", tmp_path / "best.yaml", "--json")
    found = json.loads(run.out)
    expected = tune(small_gap(), read_structures(folder / "train.xyz"), {"zeta": [1, 2], "cutoff": [3.5, 4.0]})
    assert [trial["score"] for trial in found["trials"]] == pytest.approx([t.score for t in expected.trials], rel=1e-9)
    full = {"zeta": "terms__0__kernel__zeta", "cutoff": "terms__0__descriptor__cutoff"}
    for trial, other in zip(found["trials"], expected.trials, strict=True):
        assert {full[name]: value for name, value in trial["params"].items()} == other.params
    assert found["best"] == {name: expected.best_params[full[name]] for name in full}
    assert "log evidence" in run.err


def test_the_best_is_a_configuration_that_makes_it(folder, tmp_path):
    path = tmp_path / "best.yaml"
    flags = [*SMALL, *NOISE, "--vary", "zeta=1,3", "--e0", "Cu=0", "--e0", "Au=0.1", "--optimize", "noise"]
    keys = ["--energy-key", "E_total", "--forces-key", "push"]
    run = gapkit("tune", folder / "renamed.xyz", *flags, *keys, "-o", path, "--json")
    best = max(trial["score"] for trial in json.loads(run.out)["trials"])
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert settings["optimize"] == ["noise"]
    assert "species" not in settings["terms"][0]["descriptor"]
    run = gapkit("fit", folder / "renamed.xyz", "--config", path, "-o", tmp_path / "a.gap", "--json", "-q")
    assert json.loads(run.out)["log_marginal_likelihood"] == pytest.approx(best, rel=1e-9)
    assert GAP.load(tmp_path / "a.gap").e0_ == {"Cu": 0.0, "Au": 0.1}


@pytest.mark.parametrize("score", ["loo", "kfold"])
def test_other_scores_and_ranges(folder, tmp_path, score):
    flags = ["--search", "random", "--trials", 2, "--folds", 2, "--score", score, "--vary", "atom-sigma=0.4..0.6"]
    run = gapkit("tune", folder / "train.xyz", *SMALL, *NOISE, *flags, "-o", tmp_path / "best.yaml")
    assert run.code == 0, run.err
    assert "atom_sigma" in run.out
    data = yaml.safe_load((tmp_path / "best.yaml").read_text(encoding="utf-8"))
    assert 0.4 <= data["terms"][0]["descriptor"]["atom_sigma"] <= 0.6


def test_optuna(folder, tmp_path):
    pytest.importorskip("optuna", reason="needs the tune extra")
    flags = ["--search", "optuna", "--trials", 2, "--vary", "delta=log:0.5..5", "--vary", "n_sparse=4..6", "-q"]
    run = gapkit("tune", folder / "train.xyz", *SMALL, *NOISE, *flags, "-o", tmp_path / "best.yaml")
    assert run == (0, "", "")
    assert 4 <= yaml.safe_load((tmp_path / "best.yaml").read_text(encoding="utf-8"))["terms"][0]["n_sparse"] <= 6


def test_trials_that_fail_do_not_end_the_search(folder, tmp_path):
    run = gapkit(
        "tune", folder / "train.xyz", *SMALL, *NOISE, "--vary", "zeta=0,2", "-o", tmp_path / "b.yaml", "--json"
    )
    trials = json.loads(run.out)["trials"]
    assert trials[0]["score"] is None
    assert "zeta = 0" in trials[0]["message"]
    assert json.loads(run.out)["best"] == {"zeta": 2}


def test_values_have_the_type_of_their_parameter():
    from gapkit.cli.tune import space_of

    vary = ["zeta=2,4", "cutoff=4..6", "n-sparse=10..20", "delta=log:1..10", "compression=off,mu2", "energy_noise=0.1"]
    assert space_of(vary, ModelSettings(), "random") == {
        "zeta": [2, 4],
        "cutoff": Between(4.0, 6.0),
        "n_sparse": Between(10, 20, whole=True),
        "delta": Between(1.0, 10.0, log=True),
        "compression": ["off", "mu2"],
        "energy_noise": [0.1],
    }


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], "there is nothing to tune"),
        (["--vary", "cutof=4,5"], r"unknown parameter 'cutof' \(did you mean 'cutoff'"),
        (["--vary", "cutoff"], "'cutoff' has no values"),
        (["--vary", "zeta=2.5"], "zeta=2.5 must be whole numbers, such as"),
        (["--vary", "cutoff=4,long"], "cutoff=4,long must be numbers"),
        (["--vary", "cutoff=nan"], "must be finite"),
        (["--vary", "cutoff=4..5"], "is a range, a grid needs values"),
        (["--vary", "cutoff=5..4", "--search", "random"], "low must be below high"),
        (["--vary", "zeta=2", "--vary", "zeta=3"], "names zeta twice"),
        (["--vary", "species=Si"], "cannot be varied"),
        (["--vary", "zeta=2", "--score", "best"], "--score 'best' is unknown: use evidence, loo, kfold"),
        (["--vary", "zeta=2", "--search", "all"], "--search 'all' is unknown"),
        (["--vary", "zeta=2", "--trials", "0"], "--trials 0 must be 1 or more"),
        (["--vary", "zeta=2", "--optimize", "sigma"], "--optimize 'sigma' is unknown"),
    ],
)
def test_tune_is_refused_before_any_work(tmp_path, arguments, match):
    assert_refused(gapkit("tune", tmp_path / "none.xyz", "-o", tmp_path / "a.yaml", *arguments), match)


# -- learning curve ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held_out", [True, False])
def test_learning_curve_is_that_of_the_library(folder, held_out):
    files = [folder / "train.xyz", *(["--test", folder / "test.xyz"] if held_out else [])]
    run = gapkit("learning-curve", *files, *SMALL[:6], *SMALL[8:], *NOISE, "--n-sparse", "8,4", "--json")
    test = read_structures(folder / "test.xyz") if held_out else None
    expected = learning_curve(small_gap(), read_structures(folder / "train.xyz"), [4, 8], test).to_dict()
    found = json.loads(run.out)
    assert found["held_out"] == ("test" if held_out else "left out")
    assert found["advice"] == expected["advice"]
    assert found["advice"] in run.err
    for one, other in zip(found["points"], expected["points"], strict=True):
        assert one["errors"]["forces"]["rmse"] == pytest.approx(other["errors"]["forces"]["rmse"], rel=1e-8)


def test_learning_curve_as_a_file(folder, tmp_path):
    arguments = ["learning-curve", folder / "train.xyz", *SMALL[:6], *SMALL[8:], *NOISE, "--n-sparse", "3,6"]
    run = gapkit(*arguments, "-o", tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert data["advice"] in run.out
    pytest.importorskip("matplotlib", reason="needs the report extra")
    assert gapkit(*arguments, "-o", tmp_path / "a.png", "-q") == (0, "", "")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert gapkit(*arguments, "-o", tmp_path / "a.html", "-q") == (0, "", "")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    assert data["advice"] in page


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--n-sparse", "4,many"], "--n-sparse 4,many must be whole numbers with commas"),
        (["--n-sparse", "0"], "--n-sparse 0 must be"),
        (["-o", "a.pdf"], r"ends in .html, .png or .json"),
        (["--optimize", "outliers"], "outliers"),
        (["--sparsification", "kmeans", "-q"], "'kmeans', whose choices are not nested"),
    ],
)
def test_learning_curve_is_refused(folder, arguments, match):
    assert_refused(gapkit("learning-curve", folder / "train.xyz", "-q", *arguments), match)


# -- data -------------------------------------------------------------------------------------------------------------


def test_data_are_judged_as_by_the_library(folder, tmp_path):
    pool = [alloy(k) for k in range(40, 44)]
    write(tmp_path / "pool.xyz", pool)
    files = [folder / "model.gap", folder / "train.xyz", "--candidates", tmp_path / "pool.xyz"]
    run = gapkit("data", *files, "-n", 3, "--json")
    gap = GAP.load(folder / "model.gap")
    left_out = leave_one_out(gap, read_structures(folder / "train.xyz"))
    expected = which_data_matter(gap, left_out, read_structures(tmp_path / "pool.xyz"), n=3)
    found = json.loads(run.out)
    assert found["leave_one_out"]["log_predictive"] == pytest.approx(left_out.log_predictive, rel=1e-8)
    assert [c["number"] for c in found["most_wanted"]["choices"]] == [c.number for c in expected.most_wanted.choices]
    assert [r["frame"]["number"] for r in found["redundant"]] == [r.frame.number for r in expected.redundant]
    for words in ("Redundant", "Outliers", "Most wanted next", "left out one by one"):
        assert words in run.err


def test_data_without_candidates_and_quietly(folder):
    run = gapkit("data", folder / "model.gap", folder / "train.xyz")
    assert run.code == 0
    assert "Most wanted" not in run.out
    assert gapkit("data", folder / "model.gap", folder / "train.xyz", "-q") == (0, "", "")


def test_the_cost_of_a_calculation(folder, tmp_path):
    write(tmp_path / "pool.xyz", [alloy(40), alloy(41).repeat((2, 1, 1))])
    costs = {}
    for cost in ("cubed", "linear", "equal"):
        files = [folder / "model.gap", folder / "train.xyz", "--candidates", tmp_path / "pool.xyz"]
        found = json.loads(gapkit("data", *files, "--cost", cost, "--json", "-q").out)
        costs[cost] = {c["n_atoms"]: c["cost"] for c in found["most_wanted"]["choices"]}
    assert costs == {"cubed": {4: 64, 8: 512}, "linear": {4: 4, 8: 8}, "equal": {4: 1, 8: 1}}


def test_a_changed_label_is_seen(folder, tmp_path):
    """A model that was fitted to one wrong energy names the structure that has it."""
    frames = read_structures(folder / "train.xyz")
    frames[2].calc.results["energy"] += 3.0
    write(tmp_path / "wrong.xyz", frames)
    arguments = [*SMALL, "--n-sparse", "2", "--energy-noise", "0.02", "--forces-noise", "1", "--virial-noise", "1"]
    assert gapkit("fit", tmp_path / "wrong.xyz", "-o", tmp_path / "a.gap", *arguments, "-q").code == 0
    found = json.loads(gapkit("data", tmp_path / "a.gap", tmp_path / "wrong.xyz", "--json", "-q").out)
    z = {frame["number"]: frame["z_by_kind"]["energy"] for frame in found["leave_one_out"]["worst"]}
    assert max(z, key=z.get) == 2
    assert np.isfinite(list(z.values())).all()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--rows", "0"], "--rows 0 must be 1 or more"),
        (["--cost", "money"], "--cost 'money' is unknown: use cubed, linear, equal"),
        (["--candidates", "none.xyz"], "none.xyz' is missing"),
    ],
)
def test_data_is_refused(folder, arguments, match):
    assert_refused(gapkit("data", folder / "model.gap", folder / "train.xyz", "-q", *arguments), match)


def test_data_must_be_those_of_the_fit(folder, tmp_path):
    run = gapkit("data", folder / "model.gap", folder / "test.xyz", "-q")
    assert_refused(run, "not among the training frames")
    write(tmp_path / "pool.xyz", Atoms("NiCu", [[0, 0, 0], [0, 0, 2.4]]))
    run = gapkit("data", folder / "model.gap", folder / "train.xyz", "--candidates", tmp_path / "pool.xyz", "-q")
    assert_refused(run, "Ni")


def test_predictions_stay_as_they_are(folder):
    before = predictions(folder / "model.gap")
    gapkit("data", folder / "model.gap", folder / "train.xyz", "-q")
    assert predictions(folder / "model.gap").tobytes() == before.tobytes()
