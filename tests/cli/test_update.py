"""`gapkit update`: frames added and removed are those of a fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ase.io import read, write
from run_gapkit import NOISE, SMALL, assert_refused, fill_folder, gapkit, predictions

from gapkit import GAP, read_structures


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Also updatable.gap, and half.xyz and rest.xyz, which are train.xyz in two parts."""
    path = fill_folder(tmp_path_factory.mktemp("cli"))
    run = gapkit("fit", path / "train.xyz", "-o", path / "updatable.gap", *SMALL, *NOISE, "--updatable")
    assert run.code == 0
    frames = read(path / "train.xyz", ":")
    write(path / "half.xyz", frames[:3])
    write(path / "rest.xyz", frames[3:])
    return path


def test_frames_come_and_go(folder, tmp_path):
    model, more = tmp_path / "more.gap", tmp_path / "as_before.gap"
    run = gapkit("update", folder / "updatable.gap", "--add", folder / "test.xyz", "-o", model)
    assert run.code == 0, run.err
    for words in ("structures: 8 → 12", "sparse points: 16, as before", f"wrote {model}", "structures of --add"):
        assert words in run.out
    gap = GAP.load(folder / "updatable.gap").partial_fit(read_structures(folder / "test.xyz"))
    assert predictions(model) == pytest.approx(predictions(gap), abs=1e-9)
    assert gapkit("update", model, "--remove", folder / "test.xyz", "-o", more, "-q") == (0, "", "")
    assert predictions(more) == pytest.approx(predictions(folder / "updatable.gap"), abs=1e-7)


def test_several_files_and_json(folder, tmp_path):
    model = tmp_path / "a.gap"
    files = ["--add", folder / "test.xyz", "--remove", folder / "half.xyz", "--remove", folder / "rest.xyz"]
    run = gapkit("update", folder / "updatable.gap", *files, "-o", model, "--json", "-q")
    found = json.loads(run.out)
    assert (found["before"]["structures"], found["after"]["structures"]) == (8, 4)
    assert found["after"]["labels"] == GAP.load(model).posterior_.n_rows
    assert found["model"] == str(model)


def test_sparse_points_and_frames_at_once(folder, tmp_path):
    model, files = tmp_path / "a.gap", ["--train", folder / "half.xyz", "--train", folder / "rest.xyz"]
    run = gapkit(
        "update", folder / "updatable.gap", "--add", folder / "test.xyz", "--add-sparse", 2, *files, "-o", model
    )
    assert run.code == 0, run.err
    assert "sparse points: 16 → 20" in run.out
    gap = GAP.load(folder / "updatable.gap").partial_fit(read_structures(folder / "test.xyz"))
    gap.add_sparse_points(read_structures([folder / "train.xyz", folder / "test.xyz"]), 2)
    assert predictions(model) == pytest.approx(predictions(gap), abs=1e-8)


def test_sparse_points_need_no_factors(folder, tmp_path):
    run = gapkit(
        "update", folder / "model.gap", "--add-sparse", 1, "--train", folder / "train.xyz", "-o", tmp_path / "a.gap"
    )
    assert run.code == 0, run.err
    assert GAP.load(tmp_path / "a.gap").factors_ is not None


def test_labels_under_other_names(folder, tmp_path):
    files = ["--add", folder / "renamed.xyz", "-o", tmp_path / "a.gap"]
    keys = ["--energy-key", "E_total", "--forces-key", "push"]
    assert_refused(gapkit("update", folder / "updatable.gap", *files, "-q"), "no energies.*--energy-key")
    assert gapkit("update", folder / "updatable.gap", *files, *keys, "-q").code == 0
    assert GAP.load(tmp_path / "a.gap").training_["config_types"]["default"]["forces"] == 6


@pytest.mark.parametrize(
    ("model", "arguments", "match"),
    [
        ("model.gap", ["--add", "test.xyz"], r"model.gap' was written without .* gapkit fit --updatable"),
        ("model.gap", ["--add", "test.xyz", "--add-sparse", 1, "--train", "train.xyz"], "gapkit fit --updatable"),
        ("updatable.gap", [], "nothing to update: give --add, --remove or --add-sparse"),
        ("updatable.gap", ["--remove", "test.xyz"], "frame 0 of those to be removed .* not among the training frames"),
        ("updatable.gap", ["--remove", "train.xyz"], "all training frames would be removed"),
        ("updatable.gap", ["--add-sparse", 0, "--train", "train.xyz"], "--add-sparse 0 must be 1 or more"),
        ("updatable.gap", ["--add-sparse", 1], "name their files with --train"),
        ("updatable.gap", ["--add-sparse", 1, "--train", "half.xyz"], "are not the 8 training frames"),
        ("updatable.gap", ["--add", "test.xyz", "--train", "train.xyz"], "--train is for --add-sparse only"),
        ("updatable.gap", ["--add", "none.xyz"], "none.xyz' is missing"),
        ("none.gap", ["--add", "test.xyz"], "there is no model file"),
    ],
)
def test_refusals(folder, tmp_path, model, arguments, match):
    arguments = [folder / a if str(a).endswith(".xyz") else a for a in arguments]
    assert_refused(gapkit("update", folder / model, *arguments, "-o", tmp_path / "a.gap", "-q"), match)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", ["updatable.gap", "test.xyz"])
def test_inputs_are_never_overwritten(folder, output):
    before = (folder / output).read_bytes()
    run = gapkit("update", folder / "updatable.gap", "--add", folder / "test.xyz", "-o", folder / output, "-q")
    assert_refused(run, "is an input and would be overwritten")
    assert (folder / output).read_bytes() == before
