"""Warnings name the line of the user's code, whatever lies between it and the place where something was found."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from labelled_frames import copper_frames
from sklearn.model_selection import cross_val_score

import gapkit
from gapkit import GAP, SOAP, ZBL, GAPCalculator, Term, evaluate
from gapkit.evaluation.recalibration import Provenance, Recalibration
from gapkit.model_selection.search import evidence_score, whole

TERMS = [Term(SOAP(["Cu"], 4.0, 3, 2), n_sparse=6)]
DIMER = Atoms("Cu2", [[0, 0, 0], [0, 0, 1.0]])


@pytest.fixture(scope="module")
def frames():
    return copper_frames(6)


@pytest.fixture(scope="module")
def gap(frames):
    gap = GAP(TERMS, verbose=False, e0={"Cu": 0.0}).fit(frames)
    gap.recalibration_ = Recalibration({"energy": 2.0}, Provenance("held-out", "", "", "2026-01-01", {}, {}))
    return gap


def many(**parameters):
    return GAP([Term(SOAP(["Cu"], 4.0, 3, 2), n_sparse=500)], verbose=False, **parameters)


CALLS = {
    "e0": (lambda gap, frames: GAP(TERMS, verbose=False).fit(only_forces(frames)), "no frame has an energy"),
    "duplicates": (lambda gap, frames: GAP(TERMS, verbose=False, e0={"Cu": 0.0}).fit([*frames, *frames]), "geometry"),
    "few": (lambda gap, frames: many().fit(frames), "distinct environments"),
    "overlap": (lambda gap, frames: many(baseline=[ZBL(["Cu"], {"Cu-Cu": 1.0}, {"Cu-Cu": 5.0})]).fit(frames), "ZBL"),
    "predict": (lambda gap, frames: gap.predict(DIMER), "closer than any"),
    "calculator": (lambda gap, frames: Atoms(DIMER, calculator=GAPCalculator(gap)).get_forces(), "closer than any"),
    "evaluate": (lambda gap, frames: evaluate(gap, [close(frames[0])]), "closer than any"),
    "score": (lambda gap, frames: gap.score([close(frames[0])]), "closer than any"),
    "partial_fit": (lambda gap, frames: copy.copy(gap).partial_fit([close(frames[0])]), "before this change"),
    "remove": (lambda gap, frames: copy.copy(gap).remove(frames[:1]), "before this change"),
    "add_sparse_points": (lambda gap, frames: copy.copy(gap).add_sparse_points(frames, 1), "before this change"),
    "sklearn": (
        lambda gap, frames: cross_val_score(many(), frames, cv=whole(frames), scoring=evidence_score),
        "distinct environments",
    ),
}


def only_forces(frames):
    found = [atoms.copy() for atoms in frames]
    for atoms, labelled in zip(found, frames):
        atoms.arrays["forces"] = labelled.calc.results["forces"]
    return found


def close(atoms):
    near = atoms.copy()
    near.positions[1] = near.positions[0] + [0.0, 0.0, 1.2]
    near.info["energy"], near.arrays["forces"] = 1.0, np.zeros((len(near), 3))
    return near


@pytest.mark.parametrize("name", CALLS)
def test_warnings_name_the_line_of_the_user(gap, frames, name):
    call, words = CALLS[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(gap, frames)
    own = [entry for entry in caught if words in str(entry.message)]
    assert own
    assert {entry.filename for entry in own} == {__file__}


def test_nobody_counts_frames_by_hand():
    house = Path(gapkit.__file__).parent
    found = [p.name for p in house.rglob("*.py") if "stacklevel" in p.read_text(encoding="utf-8")]
    assert found == ["errors.py"]
