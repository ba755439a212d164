"""Model files of earlier versions of gapkit load, predict what they predicted then, and keep every array.

`stored/version_*.gap` were saved by gapkit while its modules still lay in one folder: version 1 of the file format
with one term, version 2 with six terms, a baseline, recalibration, conformal intervals and row factors. Beside each,
`*.json` holds what it predicted for `example_structures.structures()` then, as hexadecimal floats.
"""

from __future__ import annotations

import json
from pathlib import Path

import laws
import numpy as np
import pytest
from example_structures import structures

from gapkit import GAP
from gapkit.runtime.archive import read_model

STORED = Path(__file__).parent / "stored"
MODELS = sorted(path.stem for path in STORED.glob("*.gap"))
GEOMETRIES = structures()


def stored_predictions(model: str, geometry: str) -> dict[str, np.ndarray]:
    """Flat arrays by the name of the prediction; there is no stress without a cell."""
    data = json.loads((STORED / f"{model}.json").read_text(encoding="utf-8"))[geometry]
    return {name: np.array([float.fromhex(x) for x in np.atleast_1d(values)]) for name, values in data.items()}


@pytest.fixture(scope="module", params=MODELS)
def model(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def loaded(model) -> GAP:
    return GAP.load(STORED / f"{model}.gap", self_test=True)


def test_both_versions_are_there():
    assert [read_model(STORED / f"{model}.gap")[0]["version"] for model in MODELS] == [1, 2]


@pytest.mark.parametrize("name", GEOMETRIES)
def test_predictions_are_those_that_were_stored(model, loaded, name):
    """To what processors differ by: the same bits where they were stored.

    Between three instruction sets forces and stresses differed by 1e-11 of a component and standard deviations, small
    differences of large variances, by 2e-9 of themselves; energies by a third of the round-off that the sum
    of weights allows, because weights of both signs nearly cancel.
    """
    expected, p = stored_predictions(model, name), loaded.predict(GEOMETRIES[name], return_std="all")
    assert set(expected) >= {"energy", "forces", "energy_std", "forces_std"}
    assert ("stress" in expected) == (p.stress[0] is not None)
    for quantity, values in expected.items():
        now, scale = np.ravel(getattr(p, quantity)[0]), np.abs(values).max()
        if quantity == "energy":
            atol = laws.predictor(loaded).round_off
        elif quantity in ("forces", "stress"):
            atol = 1e-11 * max(scale, 1.0)  # of forces that vanish by symmetry, 1e-11 eV/Å
        else:
            atol = 2e-8 * scale
        np.testing.assert_allclose(now, values, rtol=0, atol=atol, err_msg=quantity)


def test_saved_again_every_array_is_the_same_to_the_bit(model, loaded, tmp_path):
    updatable = loaded.factors_ is not None
    loaded.save(tmp_path / "again.gap", updatable)
    GAP.load(tmp_path / "again.gap").save(tmp_path / "twice.gap", updatable)
    first, again, twice = (
        read_model(path)[1] for path in (STORED / f"{model}.gap", tmp_path / "again.gap", tmp_path / "twice.gap")
    )
    assert set(again) - set(first) <= {"frames"}  # which version 1 lacks
    assert set(twice) == set(again) >= set(first)
    for name, array in again.items():
        for other in (first.get(name, array), twice[name]):
            assert other.dtype == array.dtype
            assert other.tobytes() == array.tobytes(), name
