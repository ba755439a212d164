"""Conformal intervals keep their guarantee over many random splits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, betabinom, binom

from gapkit.errors import InputError
from gapkit.evaluation.comparison import Comparison
from gapkit.evaluation.conformal import coverage_range, fit_conformal, structures_needed


def _comparison(error, std=1.0, structure=None, config_type="x", species=None) -> Comparison:
    error = np.asarray(error, dtype=float)
    n = len(error)
    structure = np.arange(n) if structure is None else np.asarray(structure)
    names = np.broadcast_to(np.asarray(config_type), n)
    predicted = np.linspace(-1.0, 1.0, n)
    return Comparison(predicted - error, predicted, np.broadcast_to(std, n), structure, names, species, "eV/Å")


def _skewed(rng, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors that no Gaussian describes: skewed, heavy-tailed, with standard deviations wrong by a factor."""
    std = rng.uniform(0.1, 2.0, n)
    return std * (rng.exponential(size=n) * rng.choice([1.0, 5.0], n) - 0.7), std


@settings(max_examples=100, deadline=None)
@given(st.integers(9, 60), st.integers(0, 1000), st.sampled_from([0.1, 0.25, 0.5, 0.68, 0.8, 0.9]))
def test_factor_is_the_order_statistic(n, seed, level):
    error, std = _skewed(np.random.default_rng(seed), n)
    scores = sorted(np.abs(error) / std)
    exact = Fraction(str(level)) * (n + 1)  # no round-off in the rank
    rank = -(-exact.numerator // exact.denominator)
    for target in ("value", "structure"):
        found = fit_conformal(_comparison(error, std), target=target)
        assert found.factor(level) == pytest.approx(scores[rank - 1], rel=1e-12)


@pytest.mark.parametrize("by", [None, "config_type"])
def test_intervals_equal_crepes(by):
    crepes = pytest.importorskip("crepes")
    rng = np.random.default_rng(1)
    known, new = (
        _comparison(*_skewed(rng, n), config_type=np.where(np.arange(n) % 3 == 0, "bulk", "slab")) for n in (150, 40)
    )
    theirs = crepes.ConformalRegressor()
    theirs.fit(known.error, sigmas=known.std, bins=None if by is None else known.config_type)
    for level in (0.5, 0.9, 0.95):
        expected = theirs.predict_int(
            new.predicted, sigmas=new.std, bins=None if by is None else new.config_type, confidence=level
        )
        lower, upper = fit_conformal(known, by=by).intervals(new, level)
        np.testing.assert_allclose(np.c_[lower, upper], expected, rtol=1e-10)


def test_coverage_is_beta_binomial_over_many_splits():
    rng = np.random.default_rng(2)
    n, m, level, repeats = 40, 60, 0.9, 1500
    inside = []
    for _ in range(repeats):
        known, new = (_comparison(*_skewed(rng, size)) for size in (n, m))
        inside.append(round(m * fit_conformal(known).coverage(new, level)["all"]))
    k = 37  # ceil(0.9 · 41)
    law = betabinom(m, k, n + 1 - k)
    assert np.mean(inside) == pytest.approx(law.mean(), abs=4.0 * law.std() / np.sqrt(repeats))
    assert np.std(inside) == pytest.approx(law.std(), rel=0.1)
    # every quantile of the observed counts within binomial error of the law: 1e-4 on each side
    for count in range(m + 1):
        low, high = binom.ppf([1e-4, 1.0 - 1e-4], repeats, law.cdf(count))
        assert low <= np.sum(np.array(inside) <= count) <= high
    lower, upper = coverage_range(n, m, level)
    held = np.mean((np.array(inside) >= lower * m - 1e-9) & (np.array(inside) <= upper * m + 1e-9))
    assert 0.95 - 0.02 < held < 0.99


def _correlated(rng, n_structures: int, config_type: str = "x") -> Comparison:
    """1 to 12 values per structure that share most of their error, whose scale grows with their number."""
    counts = rng.integers(1, 13, n_structures)
    structure = np.repeat(np.arange(n_structures), counts)
    common = np.repeat(rng.standard_t(3, n_structures) * counts, counts)
    return _comparison(common + rng.normal(size=len(structure)), 1.0, structure, config_type)


@pytest.mark.parametrize(("target", "excess"), [("value", 2.0), ("structure", 1.0)])
def test_structures_are_what_is_exchangeable(target, excess):
    rng = np.random.default_rng(3)
    n, level, repeats = 25, 0.8, 1500
    observed = []
    for _ in range(repeats):
        known, new = _correlated(rng, n), _correlated(rng, 20)
        observed.append(fit_conformal(known, target=target).coverage(new, level)["all"])
    error = 4.0 * np.std(observed) / np.sqrt(repeats)
    assert level - error <= np.mean(observed) <= level + excess / (n + 1) + error


def test_values_of_one_structure_are_not_taken_for_many():
    # 12 structures of 12 equal values: the 12th order statistic of 12 covers 12/13; of 144 "independent" values the
    # 131st would be taken, which is the 11th structure's, and cover 11/13 < 0.9
    rng = np.random.default_rng(4)
    right, wrong, repeats = [], [], 2000
    for _ in range(repeats):
        error = np.repeat(rng.standard_t(3, 12), 12)
        new = _comparison(rng.standard_t(3, 50))
        for found, structure in ((right, np.repeat(np.arange(12), 12)), (wrong, None)):
            found.append(fit_conformal(_comparison(error, 1.0, structure)).coverage(new, 0.9)["all"])
    for found, k in ((right, 12), (wrong, 11)):
        law = betabinom(50, k, 13 - k)
        assert np.mean(found) == pytest.approx(k / 13, abs=4.0 * law.std() / 50 / np.sqrt(repeats))


def test_groups_keep_the_promise_each_for_itself():
    rng = np.random.default_rng(5)
    repeats, level = 800, 0.9
    observed: dict[str, list[float]] = {"bulk": [], "liquid": []}
    marginal: dict[str, list[float]] = {"bulk": [], "liquid": []}
    for _ in range(repeats):
        parts = []
        for m in (60, 40):
            names = np.where(np.arange(m) % 2 == 0, "bulk", "liquid")
            parts.append(_comparison(rng.normal(size=m) * np.where(names == "bulk", 1.0, 6.0), 1.0, None, names))
        for name, x in fit_conformal(parts[0], by="config_type").coverage(parts[1], level).items():
            observed[name].append(x)
        half = fit_conformal(parts[0]).factor(level)
        for name in marginal:
            marginal[name].append(np.mean(np.abs(parts[1].error[parts[1].config_type == name]) <= half))
    law = betabinom(20, 28, 3)  # k = ceil(0.9 · 31) of 30
    for values in observed.values():
        error = 4.0 * law.std() / 20.0 / np.sqrt(repeats)
        assert np.mean(values) == pytest.approx(law.mean() / 20.0, abs=error)
    assert np.mean(marginal["liquid"]) < 0.85  # without groups the hard one pays for the easy one


def test_species_form_groups_with_the_structures_that_hold_them():
    rng = np.random.default_rng(6)
    structure, species = np.repeat(np.arange(30), 2), np.tile(["Si", "O"], 30)
    species[:20] = "Si"
    error = rng.normal(size=60) * np.where(species == "O", 4.0, 1.0)
    found = fit_conformal(_comparison(error, 1.0, structure, "x", species), by="species")
    assert {name: group.n_structures for name, group in found.groups.items()} == {"O": 20, "Si": 30}
    alone = fit_conformal(_comparison(error[species == "O"], 1.0))
    assert found.factor(0.9, "O") == pytest.approx(alone.factor(0.9), rel=1e-12)


def test_largest_score_stands_for_its_structure():
    error = np.array([1.0, 5.0, 2.0, 3.0, 4.0, 0.5])
    found = fit_conformal(_comparison(error, 1.0, [0, 0, 0, 7, 7, 9]), target="structure")
    np.testing.assert_array_equal(found.groups["all"].scores, [0.5, 4.0, 5.0])
    assert [found.factor(p) for p in (0.25, 0.5, 0.75)] == [0.5, 4.0, 5.0]


def test_values_share_the_weight_of_their_structure():
    # structure 0 holds three values of weight 1/9, structure 1 one of weight 1/3
    found = fit_conformal(_comparison([1.0, 3.0, 4.0, 2.0], 1.0, [0, 0, 0, 1]))
    np.testing.assert_allclose(found.groups["all"].cumulative, [1 / 9, 4 / 9, 5 / 9, 6 / 9])
    assert [found.factor(p) for p in (0.1, 0.4, 0.5, 0.6)] == [1.0, 2.0, 3.0, 4.0]


def test_observed_coverage_counts_what_was_promised():
    known = _comparison(np.ones(9))
    new = _comparison([0.5, 0.5, 0.5, 2.0, 0.5, 2.0], 1.0, [0, 0, 0, 0, 1, 2], ["a"] * 4 + ["a", "b"])
    assert fit_conformal(known).coverage(new, 0.9) == {"all": pytest.approx((0.75 + 1.0 + 0.0) / 3)}
    assert fit_conformal(known, target="structure").coverage(new, 0.9) == {"all": pytest.approx(1 / 3)}
    both = _comparison(np.ones(18), config_type=["a", "b"] * 9)
    assert fit_conformal(both, by="config_type").coverage(new, 0.9) == {"a": pytest.approx(1.75 / 2), "b": 0.0}


def test_scale_of_the_standard_deviations_drops_out():
    rng = np.random.default_rng(7)
    error, std = _skewed(rng, 50)
    new = _comparison(*_skewed(rng, 20))
    plain = fit_conformal(_comparison(error, std)).intervals(new, 0.9)
    scaled = Comparison(**(vars(new) | {"std": 7.0 * new.std}))
    np.testing.assert_allclose(fit_conformal(_comparison(error, 7.0 * std)).intervals(scaled, 0.9), plain)


@pytest.mark.parametrize(("level", "needed"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99), (0.01, 1)])
def test_too_few_structures_are_refused_with_the_number_needed(level, needed):
    assert structures_needed(level) == needed
    rng = np.random.default_rng(8)
    assert np.isfinite(fit_conformal(_comparison(rng.normal(size=needed))).factor(level))
    if needed > 1:
        few = fit_conformal(_comparison(rng.normal(size=12 * (needed - 1)), 1.0, np.arange(12 * (needed - 1)) // 12))
        with pytest.raises(InputError, match=f"{needed - 1} structures are too few .* {needed} are needed"):
            few.factor(level)
        with pytest.raises(InputError, match="too few"):
            coverage_range(needed - 1, 10, level)


def test_range_of_coverage_narrows_to_the_level():
    n = 10**5
    lower, upper = coverage_range(n, n, 0.9)
    assert lower == pytest.approx(0.9, abs=4e-3)
    assert upper == pytest.approx(0.9, abs=4e-3)
    # many test structures: the beta law of the coverage given the calibration set
    np.testing.assert_allclose(coverage_range(100, 10**5, 0.9), beta.ppf([0.025, 0.975], 91, 10), atol=1e-3)


def test_impossible_wishes_are_refused():
    known = fit_conformal(_comparison(np.arange(30.0), config_type="bulk"), by="config_type")
    for level in (0.0, 1.0, 90, np.nan, "0.9", None, True):
        with pytest.raises(InputError, match="a probability between 0 and 1"):
            known.factor(level, "bulk")
        with pytest.raises(InputError, match="between 0 and 1"):
            coverage_range(30, 30, level)
    for count in (0, 2.5, "30", None, np.nan):
        with pytest.raises(InputError):
            coverage_range(count, 30, 0.9)
        with pytest.raises(InputError):
            coverage_range(30, count, 0.9)
    with pytest.raises(
        InputError, match=r"the calibration data have no structure of 'bulky' \(did you mean 'bulk'\?\)"
    ):
        known.intervals(_comparison(np.ones(2), config_type="bulky"), 0.5)
    with pytest.raises(InputError, match=r"promised for 'structures' \(did you mean 'structure'\?\)"):
        fit_conformal(_comparison(np.ones(3)), target="structures")
    with pytest.raises(InputError, match="cannot be grouped by 'phase'"):
        fit_conformal(_comparison(np.ones(3)), by="phase")
    with pytest.raises(InputError, match="belong to no species"):
        fit_conformal(_comparison(np.ones(3)), by="species")
    with pytest.raises(InputError, match=r"positive and finite, got 0\.0"):
        fit_conformal(_comparison(np.ones(3), 0.0))
    with pytest.raises(InputError, match="at least one compared value"):
        fit_conformal(_comparison([]))
    with pytest.raises(InputError, match="1 are needed"):
        coverage_range(30, 0, 0.5)
