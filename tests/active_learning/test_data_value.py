"""Planted copies and planted errors are found, and nothing else is accused."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from copper_models import model
from labelled_frames import copper_frames
from scipy.linalg import solve_triangular

from gapkit import InputError
from gapkit.active_learning.acquisition import most_wanted
from gapkit.active_learning.data_value import which_data_matter
from gapkit.evaluation.leave_one_out import leave_one_out
from gapkit.fitting.second_pass import frame_rows
from gapkit.structures.frames import labelled_frames

N = 24


def changed(atoms, energy=0.0, forces=0.0, stress=0.0):
    """The same geometry, energy (eV), forces (eV/Å) and stress (eV/Å³) changed; forces in random directions."""
    new, rng = atoms.copy(), np.random.default_rng(5)
    results = dict(atoms.calc.results)
    if "energy" in results:
        results["energy"] = results["energy"] + energy
    results["forces"] = results["forces"] + forces * rng.choice([-1.0, 1.0], (len(atoms), 3))
    if "stress" in results:
        results["stress"] = results["stress"] + stress * rng.choice([-1.0, 1.0], 6)
    new.calc = SinglePointCalculator(new, **results)
    return new


@pytest.fixture(scope="module")
def frames():
    """Labels drawn from the model's own prior with just the noises of the fit: nothing is wrong with them."""
    frames, rng = copper_frames(N), np.random.default_rng(1)
    gap = model(e0={"Cu": 0.0}).fit(frames)
    weights = solve_triangular(gap.posterior_.L.T, rng.normal(size=gap.recipe_.n_sparse))  # covariance K_mm⁻¹
    for frame, atoms in zip(labelled_frames(frames), frames):
        y = [
            part.K @ weights + gap.recipe_.noises.std(part.group) * part.scale * rng.normal(size=len(part.y))
            for part in frame_rows(gap.recipe_, frame)
        ]
        results = {"energy": float(y[0][0]), "forces": y[1].reshape(-1, 3)}
        if len(y) == 3:
            results["stress"] = -y[2] / atoms.get_volume()
        atoms.calc = SinglePointCalculator(atoms, **results)
    return frames


def judged(frames, **options):
    gap = model(e0={"Cu": 0.0}).fit(frames)
    return which_data_matter(gap, leave_one_out(gap, frames, method="sor"), **options)


def test_nothing_is_wrong_with_sound_data(frames):
    found = judged(frames)
    assert found.outliers == ()
    assert "Outliers: none." in found.table()
    assert found.messages == ()
    assert all(1.0 <= z < 1.5 for z in found.usual_z.values())


@pytest.mark.parametrize(
    ("error", "kinds"),
    [
        ({"energy": 0.3}, ("energy",)),
        ({"forces": 0.6}, ("forces",)),
        ({"stress": 0.05}, ("stress",)),
        ({"energy": 0.5, "forces": 1.0, "stress": 0.05}, ("energy", "forces", "stress")),
    ],
)
def test_a_planted_error_is_found_with_its_kind(frames, error, kinds):
    planted = [*frames[:7], changed(frames[7], **error), *frames[8:]]
    outlier = judged(planted).outliers[0]
    assert outlier.frame.number == 7
    assert outlier.kinds == kinds
    word = "all its labels" if len(kinds) == 3 else f"its {kinds[0]} alone"
    assert outlier.reason.startswith(word)
    assert outlier.excess > 3


def test_a_config_type_with_larger_noise_is_no_heap_of_outliers(frames):
    """All "bulk" forces of several times the noise: told once, as a noise; a gross error among them is still found."""
    many, rng = copper_frames(36), np.random.default_rng(3)
    for atoms in many:
        size = 0.6 if atoms.info["config_type"] == "bulk" else 0.0
        noise = size * rng.normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, forces=0.01 * rng.normal(size=(len(atoms), 3)) + noise)
    found = judged(many)
    assert found.outliers == ()
    assert [message for message in found.messages if "noise of their own" in message and "'bulk'" in message]
    many[4] = changed(many[4], forces=6.0)
    assert judged(many).outliers[0].frame.number == 4  # it may bend the model at others


@pytest.mark.filterwarnings("ignore:.*frames")
def test_contradictory_labels_name_each_other(frames):
    found = judged([*frames, changed(frames[4], energy=0.1)])
    reasons = {entry.frame.number: entry.reason for entry in found.outliers}
    assert reasons[4].startswith(f"frame {N} has the same geometry")
    assert reasons[N].startswith("frame 4 has the same geometry")
    assert any("contradict" in message for message in found.messages)


@pytest.mark.filterwarnings("ignore:.*frames")
def test_copies_are_redundant_and_only_one_of_them_is_named(frames):
    """Ten copies of one frame: each is worth little next to the others."""
    copies = [changed(frames[5], energy=1e-9 * k) for k in range(1, 10)]
    found = judged([*frames, *copies])
    alike = {5, *range(N, N + 9)}
    first = found.redundant[0]
    assert first.frame.number in alike
    assert first.like in alike - {first.frame.number}
    assert first.overlap == pytest.approx(1.0, abs=1e-5)
    assert len(alike & {entry.frame.number for entry in found.redundant}) == 1
    assert f"frame {first.like} (overlap" in found.table()


def test_taking_a_redundant_frame_out_changes_least(frames):
    """Information is the fall of log|A| without the frame, by refits."""
    gap = model().fit(frames)
    found = which_data_matter(gap, leave_one_out(gap, frames), n=3)
    whole = np.log(np.abs(np.diag(gap.posterior_.R))).sum()
    for entry in found.redundant:
        k = entry.frame.number
        without = copy.deepcopy(gap).remove([frames[k]])
        fall = whole - np.log(np.abs(np.diag(without.posterior_.R))).sum()
        assert entry.per_label * entry.frame.n_labels == pytest.approx(fall, rel=1e-6)
    worth = [entry.per_label for entry in found.redundant]
    assert worth == sorted(worth)


def test_candidates_are_ranked_as_by_themselves(frames):
    gap = model().fit(frames[:8])
    loo = leave_one_out(gap, frames[:8])
    found = which_data_matter(gap, loo, frames[8:], n=2, targets="energy")
    assert found.most_wanted == most_wanted(gap, frames[8:], 2, targets="energy")
    assert "Most wanted next: 2 of 16 candidates" in found.table()
    data = json.loads(json.dumps(found.to_dict()))
    assert set(data) == {"redundant", "outliers", "most_wanted", "usual_z", "messages"}
    with pytest.raises(InputError, match="n = 0"):
        which_data_matter(gap, loo, n=0)
