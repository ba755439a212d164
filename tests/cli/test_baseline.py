"""Baselines from configurations and flags: fitted, stored, reported and used in predictions by the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.io import read, write
from run_gapkit import NOISE, SMALL, Run, assert_refused, fill_folder, gapkit, predictions, small_gap

from gapkit import GAP, ZBL, Ewald, LongRange, read_structures
from gapkit.baselines import Calculator, baseline_to_dict
from gapkit.geometry.distances import shortest_distances
from gapkit.potential.settings import settings_from_dict
from gapkit.report.model_card import recipe

EMT = {"type": "Calculator", "factory": "ase.calculators.emt:EMT"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return fill_folder(tmp_path_factory.mktemp("cli"))


def fit(folder: Path, output: Path, *arguments: object, baseline: list | None = None) -> Run:
    if baseline is not None:
        config = output.with_suffix(".yaml")
        config.write_text(yaml.safe_dump({"baseline": baseline}), encoding="utf-8")
        arguments = ("--config", config, *arguments)
    return gapkit("fit", folder / "train.xyz", "-o", output, *SMALL, *NOISE, *arguments)


def test_the_flag_takes_radii_from_the_data(folder, tmp_path):
    run = fit(folder, tmp_path / "a.gap", "--zbl", "--json", "-q")
    assert run.code == 0
    frames = read_structures(folder / "train.xyz")
    (zbl,) = GAP.load(tmp_path / "a.gap").baseline_
    assert baseline_to_dict(zbl) == baseline_to_dict(ZBL.from_structures(frames))
    assert {pair: radii[1] for pair, radii in zbl.radii.items()} == pytest.approx(
        {pair: 0.95 * r for pair, r in shortest_distances(frames).items()}, abs=1e-4
    )
    assert json.loads(run.out)["baseline"][0]["type"] == "ZBL"
    # it is zero in all frames, so that nothing else changes
    assert predictions(tmp_path / "a.gap") == pytest.approx(predictions(folder / "model.gap"), abs=1e-9)


def test_commands_predict_with_the_baseline(folder, tmp_path):
    """Two atoms at 1 Å: the difference between the models with and without is the repulsion."""
    assert fit(folder, tmp_path / "a.gap", "--zbl").code == 0
    write(tmp_path / "near.xyz", Atoms("CuAu", [[0, 0, 0], [0, 0, 1.0]], cell=[9] * 3))
    found = []
    for model in (tmp_path / "a.gap", folder / "model.gap"):
        assert gapkit("predict", model, tmp_path / "near.xyz", "-o", tmp_path / "out.xyz").code == 0
        found.append(read(tmp_path / "out.xyz"))
    (zbl,) = GAP.load(tmp_path / "a.gap").baseline_
    known = zbl.evaluate(found[0])
    assert known.energy > 100
    energies = [atoms.get_potential_energy() for atoms in found]
    assert energies[0] - energies[1] == pytest.approx(known.energy, abs=1e-6)
    np.testing.assert_allclose(found[0].get_forces() - found[1].get_forces(), known.forces, atol=1e-6)


def test_a_configuration_makes_what_the_library_makes(folder, tmp_path):
    assert fit(folder, tmp_path / "a.gap", baseline=[EMT, {"type": "ZBL", "inner": 0.9, "outer": 1.9}]).code == 0
    known = [Calculator("ase.calculators.emt:EMT"), ZBL(["Au", "Cu"], 0.9, 1.9)]
    gap = small_gap(baseline=known).fit(read_structures(folder / "train.xyz"))
    loaded = GAP.load(tmp_path / "a.gap")
    assert [type(b) for b in loaded.baseline_] == [Calculator, ZBL]
    assert loaded.baseline_[1].radii == known[1].radii
    assert predictions(loaded) == pytest.approx(predictions(gap), abs=1e-9)
    run = gapkit("evaluate", tmp_path / "a.gap", folder / "test.xyz", "--json")
    assert json.loads(run.out)


def test_the_flag_adds_nothing_to_a_zbl_that_is_configured(folder, tmp_path):
    assert fit(folder, tmp_path / "a.gap", "--zbl", baseline=[{"type": "ZBL", "outer": 1.5}]).code == 0
    (zbl,) = GAP.load(tmp_path / "a.gap").baseline_
    assert zbl.outer == 1.5


def test_fit_info_and_report_tell_the_baselines(folder, tmp_path):
    run = fit(folder, tmp_path / "a.gap", "--zbl", baseline=[EMT])
    assert "baseline: Calculator(factory='ase.calculators.emt:EMT'" in run.out
    assert "baseline: ZBL(species=('Cu', 'Au')" in run.out
    shown = next(row for row in gapkit("info", tmp_path / "a.gap").out.splitlines() if row.startswith("Baselines"))
    assert "Calculator(" in shown
    assert "ZBL(" in shown
    header = json.loads(gapkit("info", tmp_path / "a.gap", "--json").out)
    assert [b["type"] for b in header["baseline"]] == ["Calculator", "ZBL"]
    assert "Baselines" not in gapkit("info", folder / "model.gap").out


def test_the_recipe_of_a_model_with_baselines_runs(folder, tmp_path):
    assert fit(folder, tmp_path / "a.gap", "--zbl", baseline=[EMT]).code == 0
    gap = GAP.load(tmp_path / "a.gap")
    lines = recipe(gap).split("\n\n")
    made = lines[1][lines[1].index("gap = ") :].rpartition("gap.fit")[0]
    names: dict = {}
    exec(lines[0] + "\n" + made, names)
    assert list(names["gap"].baseline) == list(gap.baseline)


def test_tuned_configurations_keep_the_baseline(folder, tmp_path):
    flags = [*SMALL, *NOISE, "--zbl", "--vary", "zeta=1,2", "--optimize", "none"]
    assert gapkit("tune", folder / "train.xyz", *flags, "-o", tmp_path / "best.yaml").code == 0
    (stored,) = yaml.safe_load((tmp_path / "best.yaml").read_text(encoding="utf-8"))["baseline"]
    assert ZBL.from_structures(read_structures(folder / "train.xyz")).outer == stored["outer"]
    assert gapkit("fit", folder / "train.xyz", "--config", tmp_path / "best.yaml", "-o", tmp_path / "b.gap").code == 0
    assert GAP.load(tmp_path / "b.gap").baseline_[0].outer == stored["outer"]


def test_long_range_terms_take_their_species_from_the_data():
    settings = settings_from_dict({"terms": [{"type": "Linear", "function": {"type": "LongRange", "powers": [6]}}]})
    assert settings.make_terms(["Cl", "Na"])[0].function == LongRange(["Cl", "Na"], [6])


@pytest.mark.parametrize(
    ("baseline", "match"),
    [
        ([{"type": "ZLB"}], r"baseline\[0\]\.type = 'ZLB' is unknown .*'ZBL'"),
        ([{"species": ["Cu"]}], r"baseline\[0\]\.type = '' is unknown"),
        ([EMT, {"type": "ZBL", "outr": 1.0}], r"baseline\[1\] has no parameter 'outr'"),
        ([{"type": "ZBL"}, {"type": "ZBL"}], "ZBL twice"),
        ([{"type": "ZBL", "inner": 2.0, "outer": 1.0}], "inner must be smaller than outer"),
        ([{"type": "ZBL", "outer": {"Cu-Au": -1.0}}], "must be a distance"),
        ([{"type": "Ewald"}], "charges"),
        ([{"type": "Calculator", "factory": "os:system"}], "must not do without permission"),
        ("ZBL", "baseline = 'ZBL'"),
    ],
)
def test_bad_baselines_are_refused_before_any_work(tmp_path, baseline, match):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"baseline": baseline}), encoding="utf-8")
    run = gapkit("fit", tmp_path / "none.xyz", "-o", tmp_path / "a.gap", "--config", path)
    assert_refused(run, match)


def test_radii_by_pair_need_no_species():
    (zbl,) = settings_from_dict({"baseline": [{"type": "ZBL", "outer": {"Cu-Au": 1.4}}]}).make_baselines(["Au", "Cu"])
    assert zbl.radii["Cu-Au"][1] == 1.4
    (ewald,) = settings_from_dict({"baseline": [{"type": "Ewald", "charges": {"Na": 1, "Cl": -1}}]}).make_baselines()
    assert ewald == Ewald({"Na": 1.0, "Cl": -1.0})
