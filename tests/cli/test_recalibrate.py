"""`gapkit recalibrate`: honest standard deviations from the command line."""

from __future__ import annotations

import json

import pytest
from ase.io import write
from copper_models import model
from labelled_frames import copper_frames
from run_gapkit import assert_refused, gapkit

from gapkit import GAP


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recalibrate")
    frames = copper_frames(40)
    write(folder / "train.xyz", frames[:20])
    write(folder / "new.xyz", frames[20:])
    write(folder / "few.xyz", frames[20:22])
    model().fit(folder / "train.xyz").save(folder / "cu.gap", updatable=True)
    return folder


def test_held_out_structures_give_factors_that_predictions_use(folder, tmp_path):
    out = tmp_path / "honest.gap"
    run = gapkit("recalibrate", folder / "cu.gap", folder / "new.xyz", "-o", out)
    assert run.code == 0, run.err
    assert "forces/Cu: standard deviations × " in run.out
    before, after = GAP.load(folder / "cu.gap"), GAP.load(out)
    atoms = copper_frames(2)[1]
    ratio = after.predict(atoms, True).energy_std / before.predict(atoms, True).energy_std
    assert ratio == pytest.approx(after.recalibration_.factor("energy"))
    assert after.recalibration_.provenance.data == "new.xyz"
    assert after.factors_ is not None  # it can still be updated


def test_training_structures_are_left_out_one_by_one(folder, tmp_path):
    out = tmp_path / "honest.gap"
    run = gapkit("recalibrate", folder / "cu.gap", folder / "train.xyz", "-o", out, "--leave-one-out", "--json")
    assert run.code == 0, run.err
    scales = json.loads(run.out)["recalibration"]["scales"]
    assert set(scales) >= {"energy", "forces/Cu"}
    assert scales["energy"] == GAP.load(out).recalibration_.factor("energy")


@pytest.mark.parametrize(
    ("data", "flags", "match"),
    [
        ("train.xyz", [], "training"),
        ("new.xyz", ["--leave-one-out"], "training frames|training structures"),
        ("few.xyz", [], "too few"),
    ],
)
def test_refusals(folder, tmp_path, data, flags, match):
    out = tmp_path / "no.gap"
    assert_refused(gapkit("recalibrate", folder / "cu.gap", folder / data, "-o", out, "-q", *flags), match)
    assert not out.exists()


def test_the_model_is_not_overwritten(folder):
    args = ("recalibrate", folder / "cu.gap", folder / "new.xyz", "-o", folder / "cu.gap", "-q")
    assert_refused(gapkit(*args), "would be overwritten")
