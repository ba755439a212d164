"""Labels less their baselines, in memory, from files and from iterators."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from example_structures import labelled, structures

from gapkit import InputError
from gapkit.baselines import ZBL, Calculator
from gapkit.baselines.residual_labels import less_baseline
from gapkit.structures.frames import labelled_frames

NAMES = ("alloy", "slab", "cluster")
EMT = Calculator("ase.calculators.emt:EMT")
REPULSION = ZBL(["Cu", "Au"], inner=1.0, outer=3.2)


def given() -> list[Atoms]:
    return [labelled(structures()[name]) for name in NAMES]


def test_the_method_that_made_the_labels_leaves_nothing():
    for rest in less_baseline(labelled_frames(given()), [EMT]):
        assert abs(rest.labels.energy) < 1e-12
        np.testing.assert_allclose(rest.labels.forces, 0, atol=1e-12)
        np.testing.assert_allclose(0 if rest.labels.virial is None else rest.labels.virial, 0, atol=1e-12)


def test_each_walk_gives_the_same_and_digests_of_given_labels(tmp_path):
    write(tmp_path / "frames.xyz", given())
    for source in (given(), tmp_path / "frames.xyz", iter(given())):
        frames = labelled_frames(source)
        rests = less_baseline(frames, [REPULSION])
        first, second = list(rests), list(rests)
        assert rests.n_frames == 3
        for a, b, original in zip(first, second, frames):
            assert a.labels.energy == b.labels.energy
            assert (a.labels.forces == b.labels.forces).all()
            known = REPULSION.evaluate(original.atoms)
            assert a.labels.energy == original.labels.energy - known.energy != original.labels.energy
            np.testing.assert_array_equal(a.labels.forces, original.labels.forces - known.forces)
            assert a.digest("x") == original.digest("x")
            assert a.identity() == original.identity() == pickle.loads(pickle.dumps(a)).identity()


def test_frames_in_memory_are_evaluated_once(monkeypatch):
    calls = []
    evaluate = ZBL.evaluate
    monkeypatch.setattr(ZBL, "evaluate", lambda self, atoms: calls.append(atoms) or evaluate(self, atoms))
    rests = less_baseline(labelled_frames(given()), [REPULSION])
    next(iter(rests))  # a pass that ends early
    list(rests)
    before = len(calls)
    list(rests)
    assert len(calls) == before
    assert before >= 3


def test_no_baseline_changes_nothing():
    frames = labelled_frames(given())
    assert less_baseline(frames, []) is frames


def test_a_frame_without_baseline_is_named():
    frames = labelled_frames([*given(), Atoms("Na", info={"energy": 1.0})])
    with pytest.raises(InputError, match="frame 3: the structure holds Na but ZBL's species are Cu, Au"):
        list(less_baseline(frames, [REPULSION]))
