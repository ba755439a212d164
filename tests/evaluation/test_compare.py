"""Labels become rows of a comparison in one way, whoever predicts them, and are read once."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from fake_predictor import make_frames
from labelled_frames import copper_frames

from gapkit import GAP, SOAP, ExtrapolationWarning, Term, evaluate, leave_one_out
from gapkit.errors import InputError
from gapkit.model_selection.learning_curve import left_out_evaluations
from gapkit.structures import label_keys
from gapkit.structures.frames import FramesInMemory, labelled_frames
from gapkit.structures.labels import LabelKeys


@pytest.fixture(scope="module")
def frames():
    return copper_frames(6)


@pytest.fixture(scope="module")
def gap(frames):
    return GAP([Term(SOAP(["Cu"], 4.0, 3, 2), n_sparse=8)], verbose=False).fit(frames)


def test_evaluate_and_both_ways_of_leaving_out_compare_with_the_same_bits(gap, frames):
    """Labels, structures, config types, species and atoms, to the last bit."""
    whole = evaluate(gap, frames).comparisons
    left_out = leave_one_out(gap, frames).comparisons
    (curve,) = left_out_evaluations([gap], gap.frames_of(frames))
    assert list(whole) == list(left_out) == list(curve.comparisons) == ["energy", "forces", "stress"]
    for kind, c in whole.items():
        for other in (left_out[kind], curve.comparisons[kind]):
            assert other.unit == c.unit
            for name in ("reference", "structure", "config_type", "species", "atom"):
                if getattr(c, name) is None:
                    assert getattr(other, name) is None
                else:
                    np.testing.assert_array_equal(getattr(other, name), getattr(c, name))
        np.testing.assert_allclose(left_out[kind].predicted, curve.comparisons[kind].predicted, rtol=1e-6, atol=1e-8)


def test_frames_give_what_their_structures_give():
    frames, gap = make_frames(8)
    given, own = (evaluate(gap, source, "all").comparisons for source in (frames, labelled_frames(frames)))
    for kind, c in given.items():
        for name in ("reference", "predicted", "std", "structure"):
            np.testing.assert_array_equal(getattr(own[kind], name), getattr(c, name))


def test_a_file_is_evaluated_as_what_is_in_it(gap, frames, tmp_path):
    write(tmp_path / "frames.xyz", frames)
    for kind, c in evaluate(gap, tmp_path / "frames.xyz").comparisons.items():
        np.testing.assert_allclose(c.reference, evaluate(gap, frames).comparisons[kind].reference, atol=1e-6)


def test_frames_that_were_labelled_under_other_names_keep_their_labels(gap, frames):
    """Names that only the caller knows are not asked for twice."""
    renamed = []
    for atoms in frames:
        new = atoms.copy()
        new.info |= {"mine": atoms.calc.results["energy"]}
        new.calc = SinglePointCalculator(new, energy=1e3, forces=atoms.calc.results["forces"])
        renamed.append(new)
    keys = LabelKeys(energy="mine", forces="forces")
    expected = evaluate(gap, renamed, keys=keys).energy.reference
    np.testing.assert_array_equal(evaluate(gap, labelled_frames(renamed, keys)).energy.reference, expected)
    np.testing.assert_array_equal(expected, evaluate(gap, frames).energy.reference)


def test_recalibration_reads_each_label_once(gap, monkeypatch):
    held_out = list(copper_frames(26)[6:])
    for atoms in held_out:
        atoms.calc.results.pop("stress", None)
    n, check = [0], label_keys._check

    def counted(*arguments):
        n[0] += 1
        return check(*arguments)

    monkeypatch.setattr(label_keys, "_check", counted)
    with pytest.warns(ExtrapolationWarning, match="closer than any in the training data"):
        gap.recalibrate(held_out)
    gap.recalibration_ = None
    assert n[0] == 2 * len(held_out)


def test_keys_for_labels_that_were_read_are_refused(frames):
    with pytest.raises(InputError, match="have their labels already"):
        labelled_frames(FramesInMemory(frames), LabelKeys("energy"))
