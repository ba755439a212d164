"""Searches for cutoffs, exponents and sparse points: by the evidence, frames left out, or cross-validation."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from scipy.linalg import cho_factor, cho_solve
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV, cross_val_score

from gapkit import GAP, SOAP, DotProduct, InputError, Term
from gapkit.fitting.second_pass import frame_rows
from gapkit.model_selection.search import Between, evidence_score, left_out_score, tune, whole
from gapkit.structures.frames import labelled_frames
from gapkit.structures.labels import LabelKeys

CUTOFF, ZETA = "terms__0__descriptor__cutoff", "terms__0__kernel__zeta"


@pytest.fixture(scope="module")
def base(soap):
    return GAP([Term(soap, DotProduct(2), 5)], 0.01, 0.1, 0.05, e0={"Cu": 0.0, "Au": 0.0}, verbose=False)


@pytest.fixture(scope="module")
def few(frames):
    return frames[:6]


def test_a_grid_finds_what_single_fits_say(base, few):
    found = tune(base, few, {CUTOFF: [3.5, 4.5], ZETA: [1, 2]})
    assert len(found.trials) == 4
    for trial in found.trials:
        alone = GAP(**base.get_params(deep=False)).set_params(**trial.params).fit(few, optimize=True)
        assert trial.score == pytest.approx(alone.posterior_.log_marginal_likelihood, rel=1e-12)
        assert trial.seconds > 0.0
    assert found.best.score == max(trial.score for trial in found.trials)
    assert base.set_params(**found.best_params) is base
    table = found.table().splitlines()
    assert len(table) == 5
    assert "log evidence" in table[0]
    assert table[1].split()[-2] == "0"  # the best first


def test_the_template_stays_unfitted_and_unchanged(base, few):
    before = base.get_params()
    tune(base, few, {ZETA: [1, 3]}, optimize=False)
    assert base.get_params() == before
    assert not hasattr(base, "posterior_")


def test_learned_noises_never_lower_the_evidence(base, few):
    given, learned = (tune(base, few, {ZETA: [1, 2]}, optimize=o) for o in (False, True))
    for a, b in zip(given.trials, learned.trials):
        assert b.score > a.score


def test_a_short_name_means_all_terms(frames):
    terms = [Term(SOAP(["Cu", "Au"], c, n_max=2, l_max=1), DotProduct(1), 4) for c in (3.0, 4.0)]
    found = tune(GAP(terms, verbose=False), frames, {"cutoff": [3.5], "n_sparse": [3]}, optimize=False)
    assert found.best_params == {
        f"terms__{t}__{name}": v for name, v in (("descriptor__cutoff", 3.5), ("n_sparse", 3)) for t in (0, 1)
    }


def test_left_out_score_is_that_of_dense_gaussians(base, few):
    """log p(y_c | y_others) of the joint Gaussian of all labels, once for each frame."""
    gap = GAP(**base.get_params(deep=False)).fit(few)
    K, y, noise, owner = [], [], [], []
    for c, frame in enumerate(labelled_frames(few)):
        for part in frame_rows(gap.recipe_, frame):
            K.append(part.K)
            y.append(part.y)
            noise.append(np.full(len(part.y), gap.noise_.std(part.group) * part.scale))
            owner.append(np.full(len(part.y), c))
    K, y, noise, owner = np.vstack(K), np.concatenate(y), np.concatenate(noise), np.concatenate(owner)
    K_mm = gap.posterior_.L @ gap.posterior_.L.T
    C = K @ np.linalg.solve(K_mm, K.T) + np.diag(noise**2)
    wanted = 0.0
    for c in range(len(few)):
        own, rest = owner == c, owner != c
        G = cho_solve(cho_factor(C[np.ix_(rest, rest)]), np.column_stack([C[np.ix_(rest, own)], y[rest]]))
        residual = y[own] - C[np.ix_(own, rest)] @ G[:, -1]
        S = C[np.ix_(own, own)] - C[np.ix_(own, rest)] @ G[:, :-1]
        wanted -= 0.5 * (residual @ np.linalg.solve(S, residual) + np.linalg.slogdet(2 * np.pi * S)[1])
    assert left_out_score(gap, few) == pytest.approx(wanted, rel=1e-6)
    assert tune(base, few, {ZETA: [2]}, score="loo", optimize=False).best.score == pytest.approx(wanted, rel=1e-6)


@pytest.fixture(scope="module")
def renamed(few):
    """The same labels under names that nothing finds, beside wrong ones that discovery would take."""
    structures = []
    for atoms in few:
        new = atoms.copy()
        new.info["mine"], new.arrays["pulls"] = atoms.calc.results["energy"], atoms.calc.results["forces"]
        new.calc = SinglePointCalculator(new, energy=100.0, forces=atoms.calc.results["forces"] + 1.0)
        structures.append(new)
    return structures


@pytest.mark.parametrize("score", ["evidence", "loo", "kfold"])
def test_every_score_reads_the_labels_that_the_keys_name(base, few, renamed, score):
    """The same labels give the same scores, to the last bit."""
    plain = LabelKeys("energy", "forces")
    options = {"score": score, "n_folds": 3, "optimize": False}
    named = tune(base, renamed, {ZETA: [1, 2]}, keys=LabelKeys("mine", "pulls"), **options)
    expected = tune(base, few, {ZETA: [1, 2]}, keys=plain, **options)
    assert [trial.score for trial in named.trials] == [trial.score for trial in expected.trials]
    assert np.isfinite(named.best.score)


def test_score_of_a_potential_takes_keys_and_frames(base, few, renamed):
    keys = LabelKeys("mine", "pulls")
    gap = clone(base).fit(few, keys=LabelKeys("energy", "forces"))
    assert gap.score(renamed, keys=keys) == gap.score(few) == gap.score(labelled_frames(renamed, keys))
    assert gap.score(renamed, keys=keys) > gap.score(renamed) + 0.5
    with pytest.raises(InputError, match="score needs frames with forces or energies"):
        gap.score(renamed, keys=LabelKeys())


def test_kfold_is_scikit_learns(base, few):
    found = tune(base, few, {ZETA: [1, 2]}, score="kfold", n_folds=3.0, optimize=False, random_state=5)
    folds = KFold(3, shuffle=True, random_state=5)
    for trial in found.trials:
        alone = GAP(**base.get_params(deep=False)).set_params(**trial.params)
        assert trial.score == pytest.approx(np.mean(cross_val_score(alone, few, cv=folds)), rel=1e-12)
    assert "RMSE" in found.table()


def test_random_search_stays_inside_and_repeats_itself(base, few):
    space = {CUTOFF: Between(3.2, 4.8), "n_sparse": Between(4, 8, log=True, whole=True), ZETA: [1, 2]}
    first, again = (tune(base, few, space, search="random", n_trials=5, optimize=False) for _ in range(2))
    assert [t.params for t in first.trials] == [t.params for t in again.trials]
    assert len(first.trials) == 5
    for trial in first.trials:
        assert 3.2 <= trial.params[CUTOFF] <= 4.8
        assert trial.params["terms__0__n_sparse"] in range(4, 9)
    assert len(tune(base, few, {ZETA: [1, 2]}, search="random", optimize=False).trials) == 2


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("whole_numbers", [False, True])
def test_samples_fill_their_range(log, whole_numbers):
    rng = np.random.RandomState(0)
    x = np.array([Between(1, 100, log, whole_numbers).rvs(rng) for _ in range(2000)])
    assert (x >= 1).all()
    assert (x <= 100).all()
    assert np.median(x) == pytest.approx(10 if log else 50.5, rel=0.15)
    assert (np.unique(x).size < 101) == whole_numbers


def test_a_trial_that_cannot_be_fitted_is_named_and_passed_over(base, few):
    found = tune(base, few, {CUTOFF: [4.5, -1.0]}, optimize=False)
    assert found.best_params == {CUTOFF: 4.5}
    bad = found.trials[1]
    assert bad.score == -np.inf
    assert "cutoff" in bad.message
    assert bad.message in found.table()
    with pytest.raises(InputError, match=r"none of the 1 trials could be fitted; the first failed: .*cutoff"):
        tune(base, few, {CUTOFF: [-1.0]})


def test_files_and_iterators(base, few, tmp_path):
    write(tmp_path / "train.xyz", few)
    options = {"space": {ZETA: [1, 2]}, "optimize": False}
    wanted = tune(base, few, **options)
    for source in (tmp_path / "train.xyz", iter(few)):
        assert [t.score for t in tune(base, source, **options).trials] == pytest.approx(
            [t.score for t in wanted.trials]
        )


@pytest.mark.parametrize("scoring", [evidence_score, left_out_score])
def test_scikit_learns_searches_take_the_scores(base, few, scoring):
    grid = GridSearchCV(base, {ZETA: [1, 2]}, scoring=scoring, cv=whole(few)).fit(few, optimize=True)
    score = {evidence_score: "evidence", left_out_score: "loo"}[scoring]
    own = tune(base, few, {ZETA: [1, 2]}, score=score)
    np.testing.assert_allclose(grid.cv_results_["mean_test_score"], [t.score for t in own.trials], rtol=1e-10)
    assert grid.best_params_ == own.best_params
    assert grid.best_estimator_.predict(few[0]).energy.shape == (1,)


def test_scikit_learns_random_search_takes_ranges(base, few):
    search = RandomizedSearchCV(base, {CUTOFF: Between(3.5, 4.5)}, n_iter=3, cv=2, random_state=0).fit(few)
    assert 3.5 <= search.best_params_[CUTOFF] <= 4.5
    assert np.all(search.cv_results_["mean_test_score"] < 0.0)


def test_optuna_goes_where_it_is_better(base, few):
    pytest.importorskip("optuna")
    space = {CUTOFF: Between(3.2, 4.8), ZETA: [1, 2], "n_sparse": Between(4, 8, whole=True)}
    found = tune(base, few, space, search="optuna", n_trials=6, optimize=False)
    assert len(found.trials) == 6
    alone = GAP(**base.get_params(deep=False)).set_params(**found.best_params).fit(few)
    assert found.best.score == pytest.approx(alone.posterior_.log_marginal_likelihood, rel=1e-12)


def test_without_optuna_one_sentence_says_so(base, few, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(InputError, match="needs Optuna: pip install optuna"):
        tune(base, few, {ZETA: [1]}, search="optuna")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {}}, "search space is empty"),
        ({"space": {"cutof": [4.0]}}, "no parameter 'cutof' .did you mean 'cutoff'"),
        ({"space": {ZETA: []}}, "give a list of at least one"),
        ({"space": {ZETA: "12"}}, "give a list of at least one"),
        ({"space": {CUTOFF: Between(4.0, 5.0)}}, "a grid needs values"),
        ({"space": {CUTOFF: Between(5.0, 4.0)}, "search": "random"}, "low must be below high"),
        ({"space": {CUTOFF: Between(0.0, 4.0, log=True)}, "search": "random"}, "be positive"),
        ({"score": "evidenz"}, "did you mean 'evidence'"),
        ({"search": "grit"}, "did you mean 'grid'"),
        ({"n_trials": 0}, "n_trials = 0 must be"),
        ({"n_folds": 1}, "n_folds = 1 must be"),
        ({"structures": "train.xyz", "score": "kfold"}, "needs the frames in memory"),
        ({"score": "kfold", "n_folds": 1000}, "n_folds = 1000 is more than the"),
        ({"space": {"n_sparse": Between(4.5, 4.8, whole=True)}, "search": "random"}, "whole numbers need whole ends"),
    ],
)
def test_what_cannot_be_searched_is_refused(base, few, changes, message):
    given = {"structures": few, "space": {ZETA: [1, 2]}} | changes
    with pytest.raises(InputError, match=message):
        tune(base, **given)
