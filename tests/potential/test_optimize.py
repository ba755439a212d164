"""What a fit learns is a parameter of the estimator: everything that carries parameters carries it."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from labelled_frames import copper_frames
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from gapkit import GAP, SOAP, InputError, Term, suggest
from gapkit.model_selection.search import evidence_score, tune, whole
from gapkit.potential.presets import PRESETS
from gapkit.potential.settings import settings_from_dict

LEARNED = ["noise", "delta"]


@pytest.fixture(scope="module")
def frames():
    return copper_frames(6)


def model(**parameters) -> GAP:
    return GAP([Term(SOAP(["Cu"], 4.0, 3, 2), n_sparse=6)], verbose=False, **parameters)


def test_the_parameter_says_what_fit_learns_and_fit_may_say_otherwise(frames):
    learned, asked = model(optimize=LEARNED).fit(frames), model().fit(frames, optimize=LEARNED)
    np.testing.assert_array_equal(learned.alpha_, asked.alpha_)
    assert learned.noise_ == asked.noise_ != model().fit(frames).noise_
    nothing = model(optimize=LEARNED).fit(frames, optimize=False)
    np.testing.assert_array_equal(nothing.alpha_, model().fit(frames).alpha_)
    assert nothing.optimum_ is None
    assert nothing.optimize == LEARNED


def test_clone_search_and_partial_fit_carry_it(frames):
    gap = clone(model(optimize=LEARNED))
    assert gap.optimize == LEARNED
    assert gap.partial_fit(frames).optimum_ is not None
    search = GridSearchCV(model(), {"optimize": [False, LEARNED]}, scoring=evidence_score, cv=whole(frames))
    search.fit(frames)
    assert search.best_params_ == {"optimize": LEARNED}
    np.testing.assert_array_equal(search.best_estimator_.alpha_, gap.alpha_)


@pytest.mark.parametrize("optimize", [False, True, "noise", LEARNED, ("delta",)])
def test_model_files_carry_it(frames, tmp_path, optimize):
    model(optimize=optimize).fit(frames, optimize=False).save(tmp_path / "a.gap")
    loaded = GAP.load(tmp_path / "a.gap")
    assert loaded.optimize == (list(optimize) if isinstance(optimize, tuple) else optimize)
    assert clone(loaded).fit(frames).noise_ == model(optimize=optimize).fit(frames).noise_


@pytest.mark.parametrize("name", PRESETS)
def test_presets_and_settings_carry_it(name):
    species = ["Na", "Cl"]
    expected = list(PRESETS[name].optimize)
    assert GAP.preset(name, species).optimize == expected
    assert GAP.preset(name, species, optimize=False).optimize is False
    assert settings_from_dict({"preset": name}).parameters()["optimize"] == expected
    own = settings_from_dict(yaml.safe_load(f"{{preset: {name}, optimize: [noise]}}"))
    assert GAP(own.make_terms(species), **own.parameters()).optimize == ["noise"]


def test_suggestions_carry_it(frames):
    found = suggest(frames, verbose=False)
    assert found.gap.optimize == found.settings["optimize"] != []


def test_searches_take_it_unless_told_otherwise(frames):
    space = {"zeta": [2]}
    own = tune(model(optimize=["noise"]), frames, space).best.score
    assert own == tune(model(), frames, space, optimize=["noise"]).best.score
    assert tune(model(), frames, space).best.score == tune(model(), frames, space, optimize=True).best.score > own
    assert tune(model(optimize=["noise"]), frames, space, optimize=False).best.score < own


@pytest.mark.parametrize("bad", ["noises", ["delta", "sigma"], 3, [3]])
def test_what_cannot_be_learned_is_refused(frames, bad):
    with pytest.raises(InputError, match=r"^optimize (names|= 3)"):
        model(optimize=bad).fit(frames)
