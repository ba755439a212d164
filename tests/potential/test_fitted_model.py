"""A model is made before the estimator becomes it: what fails leaves the estimator as it was."""

from __future__ import annotations

import numpy as np
import pytest
from labelled_frames import copper_frames
from sklearn.exceptions import NotFittedError

from gapkit import GAP, SOAP, Pair, Term
from gapkit.errors import InputError
from gapkit.potential import fitted_model


@pytest.fixture(scope="module")
def frames():
    return copper_frames(6)


@pytest.fixture
def gap():
    return GAP([Term(SOAP(["Cu"], 4.0, 3, 2), n_sparse=6), Pair(["Cu"], 4.0)], verbose=False)


CHANGES = {
    "fit": lambda gap, frames: gap.fit(frames[:3], optimize=["noise"]),
    "partial_fit": lambda gap, frames: gap.partial_fit(frames[5:]),
    "remove": lambda gap, frames: gap.remove(frames[4:5]),
    "add_sparse_points": lambda gap, frames: gap.add_sparse_points(frames[:5], 2),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("step", ["solve", "counted", "_reference"])
def test_a_change_that_fails_leaves_the_model_as_it_was(gap, frames, monkeypatch, change, step):
    gap.fit(frames[:5])
    before, energies = dict(vars(gap)), gap.predict(frames).energy

    def broken(*arguments):
        raise InputError("it fails")

    with monkeypatch.context() as patch:
        patch.setattr(fitted_model, step, broken)
        with pytest.raises(InputError, match="it fails"):
            CHANGES[change](gap, frames)
    assert vars(gap).keys() == before.keys()
    assert all(vars(gap)[name] is value for name, value in before.items())
    np.testing.assert_array_equal(gap.predict(frames).energy, energies)
    CHANGES[change](gap, frames)
    assert np.any(gap.predict(frames).energy != energies)


def test_a_first_fit_that_fails_leaves_the_estimator_unfitted(gap, frames, monkeypatch):
    before = dict(vars(gap))
    monkeypatch.setattr(fitted_model, "solve", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        gap.fit(frames)
    assert vars(gap) == before
    with pytest.raises(NotFittedError):
        gap.predict(frames)


def test_the_record_is_what_the_estimator_has(gap, frames):
    gap.fit(frames)
    assert {f"{name}_" for name in fitted_model.FittedModel._fields} <= vars(gap).keys()
    assert gap.recipe_.n_sparse == len(gap.alpha_) == gap.posterior_.alpha.size
