"""What a report says about baselines and terms, against sums and differences computed here."""

from __future__ import annotations

import json

import numpy as np
import pytest
from example_structures import alloy, labelled
from expected_warnings import overlap
from models_of_terms import MODELS

from gapkit import GAP, ZBL, Pair, evaluate
from gapkit.baselines import Calculator
from gapkit.report.model_card import as_text, describe_model
from gapkit.report.write import write_report

EMT = Calculator("ase.calculators.emt:EMT")
FRAMES = [labelled(alloy(k)) for k in range(8)]


def fitted(baseline, terms=None) -> GAP:
    return GAP(
        terms or MODELS["sum"],
        0.005,
        0.05,
        0.02,
        jitter=1e-9,
        e0={"Cu": 0.0, "Au": 0.0},
        verbose=False,
        baseline=baseline,
    ).fit(FRAMES[:6])


def told(gap: GAP, tmp_path, suffix="json"):
    path = tmp_path / f"report.{suffix}"
    write_report(path, gap, evaluate(gap, FRAMES, return_std=False), frames=FRAMES)
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if suffix == "json" else text


@pytest.fixture(scope="module")
def gap() -> GAP:
    with overlap():
        return fitted([ZBL(["Cu", "Au"], inner=1.0, outer=2.9)])


def test_errors_of_the_baseline_are_those_of_its_forces(gap, tmp_path):
    rows = {row["quantity"].split()[0]: row for row in told(gap, tmp_path)["baseline"]}
    labels = np.concatenate([a.get_forces() for a in FRAMES])
    alone = np.concatenate([gap.baseline_[0].evaluate(a).forces for a in FRAMES])
    p = gap.predict(FRAMES)
    model = np.concatenate(p.forces)
    forces = rows["Forces"]
    assert forces["spread of labels"] == pytest.approx(labels.std())
    assert forces["RMSE of e0 + baselines"] == pytest.approx(np.sqrt(np.mean((alone - labels) ** 2)))
    assert forces["spread of the fitted part"] == pytest.approx((model - alone).std(), rel=1e-6)
    assert forces["RMSE of the model"] == pytest.approx(np.sqrt(np.mean((model - labels) ** 2)))
    explained = 1 - (alone - labels).var() / labels.var()
    assert forces["variance explained by baselines"] == pytest.approx(explained)
    n = np.array([len(a) for a in FRAMES])
    e0 = np.array([sum(gap.e0_[s] for s in a.symbols) for a in FRAMES])
    known = [gap.baseline_[0].evaluate(a).energy for a in FRAMES]
    error = 1000 * (e0 + known - [a.get_potential_energy() for a in FRAMES]) / n
    assert rows["Energy"]["RMSE of e0 + baselines"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert set(rows) == {"Energy", "Forces", "Stress"}


def test_a_perfect_baseline_explains_all_and_a_wrong_one_is_named(tmp_path):
    found = told(fitted([EMT]), tmp_path)
    assert [row["variance explained by baselines"] for row in found["baseline"]] == [pytest.approx(1.0)] * 3
    assert found["parts_notes"] == []
    wrong = told(fitted([Calculator("ase.calculators.lj:LennardJones", {"epsilon": 3.0, "sigma": 2.3})]), tmp_path)
    assert any("explain nothing" in note for note in wrong["parts_notes"])


@pytest.mark.parametrize("suffix", ["html", "md"])
def test_pages_show_every_part(gap, tmp_path, suffix):
    text = told(gap, tmp_path, suffix)
    assert "What the prediction is made of" in text
    for name in ("Baselines alone and with the fit", "What each part contributes", "ZBL", "Pair", "SOAP"):
        assert name in text


def test_one_term_alone_has_no_parts_and_two_have(tmp_path):
    assert "parts" not in told(fitted([], [Pair(["Cu", "Au"])]), tmp_path)
    found = told(fitted([]), tmp_path)
    assert "baseline" not in found
    assert found["parts"][-1]["part"] == "sum"


def test_a_baseline_that_acts_nowhere_is_not_blamed(tmp_path):
    found = told(fitted([ZBL(["Cu", "Au"], inner=0.5, outer=0.9)]), tmp_path)
    assert found["parts_notes"] == [
        "The baselines are zero in all these structures, as a repulsion between closer atoms is."
    ]
    assert {row["role"]: row["forces (eV/Å)"] for row in found["parts"]}["baseline"] == 0.0


def test_features_of_all_species_are_called_so(gap):
    text = describe_model(gap)["Sparse points of the fit"]
    assert "term 6, all species: " in text  # triangles
    assert ", X:" not in text


def test_numbers_in_parameters_have_six_digits():
    term = Pair(["Si"], cutoff=5.0, delta=4.590185882108082, length_scale=1.2345678901e-12)
    assert "cutoff=5.0, cutoff_width=1.0, delta=4.59019, length_scale=1.23457e-12," in as_text(term)
