from __future__ import annotations

import json

import numpy as np
import pytest
from ase.io import read, write
from run_gapkit import assert_refused, gapkit
from tensor_labels import molecules

from gapkit import TensorGAP

SMALL = ["--cutoff", "3.5", "--n-max", "4", "--l-max", "3", "--n-sparse", "8", "--atom-sigma", "0.4"]


def reduced(frames):
    """Labels of usual names; those of atoms as columns of nine numbers."""
    for atoms in frames:
        atoms.info = {"REF_mu": atoms.info["dipole"], "alpha": atoms.info["polarizability"].ravel()}
        atoms.arrays["bec"] = atoms.arrays.pop("born_charges").reshape(len(atoms), 9)
        del atoms.arrays["charges"]
    return frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tensors")
    write(path / "train.xyz", reduced(molecules(["CH3OH"], 12)))
    write(path / "test.xyz", reduced(molecules(["CH3OH"], 5, seed=3)))
    for target in ("dipole", "polarizability", "born_charges"):
        run = gapkit("fit", path / "train.xyz", "--target", target, "-o", path / f"{target}.gap", *SMALL)
        assert run.code == 0, run.err
        assert "each predicted without it" in run.out
    return path


def test_the_model_is_that_of_the_library(folder):
    gap = TensorGAP.load(folder / "dipole.gap")
    assert gap.label_key_ == "REF_mu"
    assert gap.terms[0].descriptor.l_max == 3
    test = read(folder / "test.xyz", ":")
    own = TensorGAP(gap.terms, "dipole", verbose=False).fit(read(folder / "train.xyz", ":"))
    assert np.allclose(own.predict(test).values, gap.predict(test).values, rtol=1e-8)


@pytest.mark.parametrize("target", ["dipole", "polarizability", "born_charges"])
def test_predict_and_read_again(folder, tmp_path, target):
    model, output = folder / f"{target}.gap", tmp_path / "out.xyz"
    run = gapkit("predict", model, folder / "test.xyz", "-o", output, "--std")
    assert run.code == 0, run.err
    gap = TensorGAP.load(model)
    gap.verbose = False
    expected = gap.predict(read(folder / "test.xyz", ":"), return_std=True)
    for atoms, value, std in zip(read(output, ":"), expected.values, expected.std):
        places = [atoms.info, atoms.arrays, getattr(atoms.calc, "results", {})]
        for name, wanted in ((target, value), (f"{target}_std", std)):
            found = next(place[name] for place in places if name in place)
            assert np.allclose(np.ravel(found), np.ravel(wanted), atol=1e-6)
    found = gap.evaluate(output)  # its own predictions under a usual name
    assert found.rmse < 1e-6 or target != "dipole"


def test_evaluate_and_info(folder):
    run = gapkit("evaluate", folder / "polarizability.gap", folder / "test.xyz")
    assert run.code == 0
    assert "of the labels' deviation" in run.out
    data = json.loads(gapkit("evaluate", folder / "dipole.gap", folder / "test.xyz", "--json").out)
    assert set(data["orders"]) == {"1"}
    assert data["n_structures"] == 5
    run = gapkit("info", folder / "born_charges.gap")
    assert "one of each atom" in run.out
    assert "λ = 1" in run.out
    assert json.loads(gapkit("info", folder / "dipole.gap", "--json").out)["target"]["rank"] == 1


def test_options_reach_the_model(folder, tmp_path):
    run = gapkit(
        "fit", folder / "train.xyz", "--target", "dipole", "-o", tmp_path / "a.gap", *SMALL, "--label-key", "REF_mu",
        "--label-noise", "0.02", "--unit", "a.u.", "--charge", "1", "--label-origin", "centre_of_mass", "--zeta", "1",
        "--seed", "3", "--json",
    )  # fmt: skip
    assert run.code == 0, run.err
    assert json.loads(run.out)["noise"] == {"1": 0.02}
    gap = TensorGAP.load(tmp_path / "a.gap")
    assert (gap.unit, gap.charge, gap.label_origin, gap.terms[0].zeta) == ("a.u.", 1.0, "centre_of_mass", 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "dipol"], "did you mean 'dipole'"),
        (["--unit", "a.u."], "say which one with --target"),
        (["--target", "dipole", "--energy-noise", "0.1"], "--energy-noise do not go with --target"),
        (["--target", "dipole", "--updatable"], "--updatable do not go"),
        (["--target", "dipole", "--energy-key", "E"], "--energy-key do not go"),
        (["--target", "dipole", "--label-key", "MU"], "none of the 12 frames has a label 'MU'"),
        (["--target", "dielectric"], "none of the 12 frames"),
        (["--target", "dipole", "--optimize", "nois"], "optimize names 'nois'"),
        (["--target", "dipole", "--zeta", "0"], "zeta"),
        (["--target", "dipole", "--charge", "1"], "say the unit"),
    ],
)
def test_refusals(folder, tmp_path, arguments, words):
    run = gapkit("fit", folder / "train.xyz", "-o", tmp_path / "a.gap", *arguments, "-q")
    assert_refused(run, words)
    assert not list(tmp_path.iterdir())


def test_wrong_models_are_refused(folder, tmp_path):
    assert_refused(gapkit("evaluate", folder / "dipole.gap", folder / "test.xyz", "--energy-key", "E"), "leave it out")
    assert_refused(gapkit("update", folder / "dipole.gap", "--add", folder / "test.xyz"), "not a gapkit model file")
    other = molecules(["NH3"], 1)[0]
    write(tmp_path / "other.xyz", reduced([other]))
    run = gapkit("predict", folder / "dipole.gap", tmp_path / "other.xyz", "-o", tmp_path / "out.xyz")
    assert_refused(run, r"frame 0 of other.xyz: .*unknown to the training frames")
    assert not (tmp_path / "out.xyz").exists()
