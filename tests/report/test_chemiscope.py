"""The chemiscope file holds the structures and properties that were evaluated."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from example_structures import alloy, labelled
from fake_predictor import make_frames
from run_gapkit import small_gap

from gapkit.errors import InputError
from gapkit.evaluation.compare import evaluate
from gapkit.evaluation.comparison import Evaluation
from gapkit.report.chemiscope import write_chemiscope
from gapkit.uncertainty.extrapolation import extrapolation


def _written(path, frames, found, *rest):
    write_chemiscope(path, frames, found, *rest)
    return json.loads(path.read_text("utf-8"))


def test_every_atom_and_structure_has_its_numbers(tmp_path):
    frames, gap = make_frames(6, seed=2)
    found = evaluate(gap, frames, "all")
    data = _written(tmp_path / "c.json", frames, found)
    forces, energy = found.forces, found.energy.displayed()
    n_atoms = [len(atoms) for atoms in frames]
    assert [structure["size"] for structure in data["structures"]] == n_atoms
    assert len(data["environments"]) == sum(n_atoms)
    for place, at in enumerate(data["environments"]):
        own = (forces.structure == at["structure"]) & (forces.atom == at["center"])
        values = data["properties"]
        assert values["force error"]["values"][place] == pytest.approx(np.linalg.norm(forces.error[own]))
        assert values["force std"]["values"][place] == pytest.approx(np.linalg.norm(forces.std[own]))
    assert data["properties"]["energy error"]["values"] == pytest.approx(np.abs(energy.error).tolist())
    assert data["properties"]["energy error"]["units"] == "meV/atom"
    assert data["properties"]["config type"]["values"] == [atoms.info["config_type"] for atoms in frames]
    first = data["structures"][0]
    positions = np.array([first["x"], first["y"], first["z"]]).T
    assert positions == pytest.approx(frames[0].positions)
    assert np.reshape(first["cell"], (3, 3)) == pytest.approx(frames[0].cell.array)


def test_settings_name_properties_that_exist(tmp_path):
    frames, gap = make_frames(5, seed=6)
    found = evaluate(gap, frames, "all")
    bare = evaluate(gap, frames, False)
    for evaluation in (found, bare, Evaluation(found.energy, None, None, 5)):
        data = _written(tmp_path / "c.json", frames, evaluation)
        for axis in data["settings"]["map"].values():
            assert data["properties"][axis["property"]]["target"] == data["settings"]["target"]


def test_structures_without_all_labels_are_left_out(tmp_path):
    frames, gap = make_frames(6, seed=3)
    found = evaluate(gap, frames, "all")
    part = Evaluation(found.energy.select(found.energy.structure != 2), found.forces, None, 6)
    data = _written(tmp_path / "c.json", frames, part)
    assert [s["size"] for s in data["structures"]] == [len(frames[k]) for k in (0, 1, 3, 4, 5)]
    assert len(data["properties"]["force error"]["values"]) == len(data["environments"])


def test_distance_from_training_and_compression(tmp_path, frames):
    gap = small_gap().fit(frames)
    test = [labelled(alloy(k)) for k in (60, 61)]
    write_chemiscope(tmp_path / "c.json.gz", test, evaluate(gap, test, "all"), gap)
    data = json.loads(gzip.decompress((tmp_path / "c.json.gz").read_bytes()))
    assert data["properties"]["distance from training"]["values"] == pytest.approx(extrapolation(gap, test).reach)


def test_chemiscope_itself_agrees(tmp_path):
    chemiscope = pytest.importorskip("chemiscope", reason="checks the format where chemiscope is installed")
    frames, gap = make_frames(4, seed=4)
    data = _written(tmp_path / "c.json", frames, evaluate(gap, frames, "all"))
    own = chemiscope.create_input(frames, properties=data["properties"], environments=None)
    assert own["properties"] == data["properties"]
    assert [s["names"] for s in own["structures"]] == [s["names"] for s in data["structures"]]


def test_other_names_and_lists_are_refused(tmp_path):
    frames, gap = make_frames(4, seed=5)
    found = evaluate(gap, frames)
    with pytest.raises(InputError, match=r"ends in \.json"):
        write_chemiscope(tmp_path / "c.xyz", frames, found)
    with pytest.raises(InputError, match="the very list"):
        write_chemiscope(tmp_path / "c.json", frames[:2], found)
    with pytest.raises(InputError, match="labels of every kind"):
        write_chemiscope(tmp_path / "c.json", frames, Evaluation(None, None, None, 0))
    assert not list(tmp_path.iterdir())
