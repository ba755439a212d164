from __future__ import annotations

import numpy as np
import pytest
from tensor_labels import molecules

from gapkit import SOAP, InputError, TensorGAP, TensorTerm

pytestmark = pytest.mark.filterwarnings("ignore:n_sparse = ")  # small sets have fewer environments

NAMES = ["CH3OH", "NH3"]


def new(target="polarizability"):
    terms = [TensorTerm(SOAP(["H", "C", "N", "O"], 3.5, 3, 2, 0.4, 2), 2, 1.0, 5)]
    return TensorGAP(terms, target, noise=0.02, offsets={"H": 1.0, "C": 2.0, "N": 2.5, "O": 3.0}, verbose=False)


@pytest.mark.parametrize("target", ["polarizability", "born_charges"])
def test_added_and_removed_frames(target):
    """All frames at once, in two parts, and too many with some taken out: one model."""
    frames, test = molecules(NAMES, 16), molecules(["CH3OH"], 3, seed=4)
    start = new(target).fit(frames)
    before = start.predict(test, return_std=True)
    start.remove(frames[8:])
    assert start.n_structures_ == 8
    away = start.predict(test, return_std=True)
    start.partial_fit(frames[8:])
    after = start.predict(test, return_std=True)
    for a, b, c in zip(before.values, away.values, after.values):
        assert np.abs(a - b).max() > 1e-4 * np.abs(a).max()
        assert np.abs(a - c).max() < 1e-7 * np.abs(a).max()
    for a, c in zip(before.covariance, after.covariance):
        assert np.allclose(a, c, rtol=1e-5, atol=1e-7 * np.abs(a).max())


def test_without_a_model_it_fits():
    frames = molecules(NAMES, 6)
    one, other = new().partial_fit(frames), new().fit(frames)
    assert np.array_equal(one.predict(frames).values, other.predict(frames).values)


def test_files_continue(tmp_path):
    frames = molecules(NAMES, 10)
    gap = new().fit(frames[:6])
    gap.save(tmp_path / "a.gap", updatable=True)
    gap.save(tmp_path / "b.gap")
    again = TensorGAP.load(tmp_path / "a.gap").partial_fit(frames[6:])
    expected = gap.partial_fit(frames[6:]).predict(frames).values
    assert np.allclose(again.predict(frames).values, expected, rtol=1e-12)
    bare = TensorGAP.load(tmp_path / "b.gap")
    with pytest.raises(InputError, match="without its row factors"):
        bare.partial_fit(frames[6:])
    with pytest.raises(InputError, match="without its row factors"):
        bare.save(tmp_path / "c.gap", updatable=True)


def test_refusals():
    gap = new().fit(molecules(["NH3"], 4))
    before = gap.predict(molecules(["NH3"], 1)).values
    with pytest.raises(InputError, match="unknown to the training frames"):
        gap.partial_fit(molecules(["CH3OH"], 1))
    with pytest.raises(InputError, match="not among the training frames"):
        gap.remove(molecules(["NH3"], 6, seed=3))
    assert np.array_equal(gap.predict(molecules(["NH3"], 1)).values, before)
