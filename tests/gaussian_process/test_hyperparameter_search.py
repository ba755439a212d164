"""Noises and amplitudes from the evidence: gradients, optima, bounds, standard deviations."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from scipy.linalg import block_diag

from gapkit import InputError
from gapkit.gaussian_process import marginal_likelihood
from gapkit.gaussian_process.hyperparameter_search import Amplitude, maximise
from gapkit.gaussian_process.marginal_likelihood import MarginalLikelihood
from gapkit.gaussian_process.posterior import fit_posterior
from gapkit.gaussian_process.row_factor import RowFactor

SIZES = (12, 10, 8)
M = sum(SIZES)
COLUMNS = (np.arange(12), np.arange(12, 22))  # the last eight belong to no amplitude
ROWS = {"many": 60, "more": 100, "few": 5, "some": 14, "none": 0}


def covariance(n, rng, delta=1.0):
    B = rng.normal(size=(n, n + 3)) / np.sqrt(n)
    return delta**2 * B @ B.T


class Problem:
    """Random rows in five groups of many, few and no rows, each row with a scale of its own."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.K_mm = block_diag(*(covariance(n, rng) for n in SIZES))
        self.K = {g: rng.normal(size=(n, M)) for g, n in ROWS.items()}
        self.y = {g: rng.normal(size=n) for g, n in ROWS.items()}
        self.scale = {g: rng.uniform(0.5, 4.0, n) for g, n in ROWS.items()}
        self.noise = np.exp(rng.uniform(-4.0, 1.0, len(ROWS)))
        self.ratios = np.exp(rng.uniform(-1.0, 1.0, len(COLUMNS)))

    def factors(self, folded=False):
        found = {g: RowFactor(M) for g in ROWS}
        for g, factor in found.items():
            for k in range(ROWS[g]):
                factor.add(self.K[g][k : k + 1], self.y[g][k : k + 1], self.scale[g][k])
            if folded:
                factor.factor  # noqa: B018
        return found

    def likelihood(self, **options):
        return MarginalLikelihood(self.K_mm, self.factors(**options), COLUMNS, jitter=0.0)

    def s(self):
        s = np.ones(M)
        for columns, ratio in zip(COLUMNS, self.ratios):
            s[columns] = ratio
        return s

    def dense(self):
        """log p, A and stacked rows by dense algebra, with the amplitudes changed."""
        s = self.s()
        noise = np.concatenate([x * self.scale[g] for g, x in zip(ROWS, self.noise)])
        K = np.vstack(list(self.K.values())) * s**2
        _, log_p, A = naive.posterior(self.K_mm * np.outer(s, s), K, np.concatenate(list(self.y.values())), noise)
        return log_p, A, K / noise[:, None]


@pytest.fixture(params=["Cholesky", "QR"])
def route(request, monkeypatch):
    if request.param == "QR":
        monkeypatch.setattr(marginal_likelihood, "LEAST_ACCURACY", -1.0)
    return request.param


@pytest.mark.parametrize("seed", range(8))
def test_value_and_effective_numbers_equal_dense_algebra(seed, route):
    problem = Problem(seed)
    found = problem.likelihood()(problem.noise, problem.ratios)
    log_p, A, scaled = problem.dense()
    assert found.log_p == pytest.approx(log_p, rel=1e-9)
    owner = np.repeat(np.arange(len(ROWS)), list(ROWS.values()))
    leverage = np.einsum("nm,nm->n", scaled, np.linalg.solve(A, scaled.T).T)
    np.testing.assert_allclose(found.effective, np.bincount(owner, leverage, len(ROWS)), rtol=1e-7, atol=1e-9)
    residual = np.concatenate(list(problem.y.values())) / np.repeat(problem.noise, list(ROWS.values()))
    residual = residual / np.concatenate(list(problem.scale.values()))
    residual = residual - scaled @ np.linalg.solve(A, scaled.T @ residual)
    np.testing.assert_allclose(found.misfit, np.bincount(owner, residual**2, len(ROWS)), rtol=1e-7, atol=1e-9)
    assert found.accuracy < 1e-6 or route == "QR"


def differences(f, x, h=1e-4):
    """Central differences by the logarithms of x, fourth order."""
    found = []
    for k in range(len(x)):
        values = [f(x * np.exp(np.eye(len(x))[k] * step * h)) for step in (-2, -1, 1, 2)]
        found.append((values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h))
    return np.array(found)


@pytest.mark.parametrize("seed", range(8))
def test_gradients_equal_finite_differences(seed, route):
    problem = Problem(seed)
    likelihood = problem.likelihood()
    found = likelihood(problem.noise, problem.ratios)
    by_noise = differences(lambda x: likelihood(x, problem.ratios).log_p, problem.noise)
    by_ratio = differences(lambda x: likelihood(problem.noise, x).log_p, problem.ratios)
    tolerance = 1e-10 * abs(found.log_p) / 1e-4  # round-off of the differences
    np.testing.assert_allclose(found.d_noise, by_noise, rtol=1e-7, atol=tolerance)
    np.testing.assert_allclose(found.d_amplitude, by_ratio, rtol=1e-7, atol=tolerance)


@pytest.mark.parametrize("seed", range(4))
def test_value_equals_that_of_the_posterior_by_qr(seed):
    problem = Problem(seed)
    factors, s = problem.factors(), problem.s()
    found = MarginalLikelihood(problem.K_mm, factors, COLUMNS, 1e-10)(problem.noise, problem.ratios)
    for factor in factors.values():
        factor.rescale(s**2)
    posterior = fit_posterior(problem.K_mm * np.outer(s, s), factors, dict(zip(ROWS, problem.noise)), 1e-10)
    assert found.log_p == pytest.approx(posterior.log_marginal_likelihood, rel=1e-9)


def test_amplitudes_far_above_tiny_noises_keep_the_digits():
    """eps λ_max(S) > 1: no Cholesky factorisation of S exists in double precision."""
    problem = Problem(0)
    noise, ratios = np.full(len(ROWS), 1e-6), np.array([1e3, 30.0])
    problem.noise, problem.ratios = noise, ratios
    factors, s = problem.factors(), problem.s()
    found = problem.likelihood()(noise, ratios)
    for factor in factors.values():
        factor.rescale(s**2)
    wanted = fit_posterior(problem.K_mm * np.outer(s, s), factors, dict(zip(ROWS, noise)), 0.0)
    assert found.accuracy > 1.0
    assert found.log_p == pytest.approx(wanted.log_marginal_likelihood, rel=1e-7)
    assert found.effective.sum() == pytest.approx(found.effective_columns.sum() + SIZES[2], rel=1e-6)


def test_rows_taken_away_leave_no_trace(route):
    problem = Problem(1)
    rng = np.random.default_rng(9)
    wanted = problem.likelihood()(problem.noise, problem.ratios)
    factors = {g: RowFactor(M) for g in ROWS}
    extra = {g: (rng.normal(size=(n, M)), rng.normal(size=n)) for g, n in (("many", 40), ("more", 4), ("few", 3))}
    for g, rows in extra.items():
        factors[g].add(*rows, 2.0)
    for g in ROWS:
        for k in range(ROWS[g]):
            factors[g].add(problem.K[g][k : k + 1], problem.y[g][k : k + 1], problem.scale[g][k])
    for g, rows in extra.items():
        factors[g].remove(*rows, 2.0)
    found = MarginalLikelihood(problem.K_mm, factors, COLUMNS, 0.0)(problem.noise, problem.ratios)
    for name in ("log_p", "d_noise", "d_amplitude", "effective", "misfit"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-7, atol=1e-8, err_msg=name)


def test_a_factor_of_few_rows_counts_like_the_rows_themselves():
    problem = Problem(2)
    rows, folded = problem.likelihood(), problem.likelihood(folded=True)
    found, wanted = (x(problem.noise, problem.ratios) for x in (folded, rows))
    for name in found._fields:
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-9, atol=1e-10, err_msg=name)


# -- the search -------------------------------------------------------------------------------------------------------

NOISE = {("energy", "bulk"): 0.01, ("forces", "bulk"): 0.2, ("forces", "surface"): 0.7, ("virial", "all"): 0.05}
N_ROWS = (90, 900, 300, 60)
DELTA, START = {"first": 2.5, "second": 0.8}, {"first": 1.0, "second": 3.0}
TERM = {"first": slice(0, 20), "second": np.arange(20, 32)}
AMPLITUDES = [Amplitude(name, START[name], TERM[name]) for name in DELTA]


def drawn(seed, noise=NOISE, n_rows=N_ROWS):
    """K_mm and factors built with START of labels drawn from the model with `noise` and DELTA."""
    rng = np.random.default_rng(seed)
    K_mm = block_diag(*(covariance(n, rng, delta) for n, delta in zip((20, 12), START.values())))
    L = np.linalg.cholesky(K_mm)
    beta = rng.normal(size=32) * np.repeat([DELTA[name] / START[name] for name in DELTA], (20, 12))
    factors = {}
    for (group, sigma), n in zip(noise.items(), n_rows):
        G = rng.normal(size=(n, 32))
        factors[group] = RowFactor(32)
        factors[group].add(G @ L.T, G @ beta + sigma * rng.normal(size=n))
    return K_mm, factors


def at_start(factors):
    return dict.fromkeys(factors, 0.05)


def test_what_the_data_were_drawn_with_is_found_within_the_stated_uncertainty():
    off = []
    for seed in range(12):
        K_mm, factors = drawn(seed)
        found = maximise(K_mm, factors, at_start(factors), AMPLITUDES, n_starts=1, prior_width=None)
        off += [np.log(h.value / (NOISE | DELTA)[h.key]) / h.std_log for h in found.hyperparameters]
        assert abs(found.difference) < 1e-8 * abs(found.log_evidence)
    assert np.abs(off).max() < 4.5  # of 72
    assert 0.75 < np.sqrt(np.mean(np.square(off))) < 1.3


def test_the_optimum_is_stationary_and_its_curvature_is_that_of_dense_algebra():
    K_mm, factors = drawn(0)
    found = maximise(K_mm, factors, at_start(factors), AMPLITUDES, prior_width=2.0)
    x = np.log([h.value for h in found.hyperparameters])
    start = np.log([h.start for h in found.hyperparameters])
    likelihood = MarginalLikelihood(K_mm, factors, [np.arange(32)[c] for c in TERM.values()], 1e-10)

    def log_posterior(logs):
        ratios = np.exp(logs[4:]) / list(START.values())
        return likelihood(np.exp(logs[:4]), ratios).log_p - 0.5 * np.sum(((logs - start) / 2.0) ** 2)

    h, n = 1e-3, len(x)
    E = h * np.eye(n)
    hessian = [
        [
            (
                log_posterior(x + E[i] + E[j]) - log_posterior(x + E[i] - E[j])
                - log_posterior(x - E[i] + E[j]) + log_posterior(x - E[i] - E[j])
            ) / (4 * h * h) for j in range(n)
        ] for i in range(n)
    ]  # fmt: skip
    slope = np.array([(log_posterior(x + e) - log_posterior(x - e)) / (2 * h) for e in E])
    std = np.sqrt(np.diag(np.linalg.inv(-np.array(hessian))))
    assert np.abs(slope * std).max() < 0.01  # of a standard deviation
    np.testing.assert_allclose([q.std_log for q in found.hyperparameters], std, rtol=0.01)


def test_all_starts_lead_to_one_optimum_and_the_table_says_so():
    K_mm, factors = drawn(3)
    found = maximise(K_mm, factors, at_start(factors), AMPLITUDES, n_starts=4)
    assert len(found.start_values) == 4
    assert found.spread < 1e-4
    assert found.n_evaluations < 80
    assert found.log_evidence > found.log_evidence_before
    assert found.notes() == ()
    table = found.table()
    for text in ("energy_noise[bulk]", "virial_noise ", "eV/Å", "first", "4 starts agree"):
        assert text in table
    alone = maximise(K_mm, factors, at_start(factors), AMPLITUDES, n_starts=1).table()
    assert "evaluations; checked to" in alone
    assert "agree" not in alone


def test_the_posterior_is_that_of_the_rescaled_factors():
    K_mm, factors = drawn(4)
    found = maximise(K_mm, factors, at_start(factors), AMPLITUDES)
    root = np.sqrt(found.column_scale)
    np.testing.assert_allclose(root[[0, -1]], [found.amplitudes[name] / START[name] for name in DELTA], rtol=1e-12)
    for factor in factors.values():
        factor.rescale(found.column_scale)
    wanted = fit_posterior(K_mm * np.outer(root, root), factors, found.noise, 1e-10)
    np.testing.assert_allclose(found.posterior.alpha, wanted.alpha, rtol=1e-9, atol=1e-11)
    assert found.log_evidence == pytest.approx(wanted.log_marginal_likelihood, rel=1e-9)
    assert found.posterior.n_rows == sum(N_ROWS)


def test_a_bound_that_holds_the_optimum_back_is_named():
    K_mm, factors = drawn(5)
    bounds = {("forces", "bulk"): (0.01, 0.1), "second": (1.0, 10.0), "virial": (1e-3, 1.0)}
    result = maximise(K_mm, factors, at_start(factors), AMPLITUDES, bounds=bounds)
    found = {h.name: h for h in result.hyperparameters}
    assert found["forces_noise[bulk]"].at_bound == "high"
    assert found["forces_noise[bulk]"].value == pytest.approx(0.1, rel=1e-9)
    assert found["second"].at_bound == "low"
    assert found["virial_noise"].at_bound == found["first"].at_bound == ""
    assert (found["virial_noise"].low, found["virial_noise"].unit) == (1e-3, "eV/atom")
    assert any("forces_noise[bulk] lies at its upper bound" in note for note in result.notes())
    assert "at its lower bound" in result.table()


def test_what_is_fixed_stays_to_the_last_bit():
    K_mm, factors = drawn(6)
    fixed = [("virial", "all"), "first"]
    found = maximise(K_mm, factors, at_start(factors), AMPLITUDES, fixed=fixed)
    values = {h.key: h for h in found.hyperparameters}
    for key, start in ((fixed[0], 0.05), ("first", 1.0)):
        assert values[key].value == pytest.approx(start, rel=1e-14)
        assert values[key].fixed
    free = maximise(K_mm, factors, at_start(factors), AMPLITUDES)
    assert free.log_evidence > found.log_evidence


def test_nothing_to_look_for_is_a_fit():
    K_mm, factors = drawn(6)
    found = maximise(K_mm, factors, NOISE, fixed=list(NOISE))
    assert found.noise == pytest.approx(NOISE, rel=1e-14)
    assert found.log_evidence == found.log_evidence_before


def test_a_noise_without_labels_is_called_undetermined():
    K_mm, factors = drawn(7)
    factors["virial", "empty"] = RowFactor(32)
    for width, std in ((None, np.log(1e5) / np.sqrt(12.0)), (1.5, 1.5)):
        found = maximise(K_mm, factors, at_start(factors), AMPLITUDES, prior_width=width)
        empty = found.hyperparameters[4]
        assert empty.name == "virial_noise[empty]"
        assert not empty.determined
        assert empty.value == pytest.approx(0.05, rel=1e-6)
        assert empty.std_log == pytest.approx(std, rel=0.01)
        assert found.notes()[0].startswith("virial_noise[empty] is not determined by the data (0 labels)")


def test_the_prior_pulls_towards_the_start_and_vanishes_with_data():
    K_mm, factors = drawn(8)
    free, weak, strong = (
        maximise(K_mm, factors, at_start(factors), AMPLITUDES, prior_width=width) for width in (None, 2.3, 0.02)
    )
    for a, b, c in zip(free.hyperparameters, weak.hyperparameters, strong.hyperparameters):
        assert abs(np.log(b.value / a.value)) < 0.5 * a.std_log
        assert abs(np.log(c.value / c.start)) < abs(np.log(a.value / a.start))
        assert c.std_log < min(0.021, a.std_log)


def with_outliers(seed, ratio):
    """Forces of 30 frames, 9 components each, in groups of their own for the last 12, with other noise for two."""
    rng = np.random.default_rng(seed)
    K_mm = covariance(20, rng)
    L, beta = np.linalg.cholesky(K_mm), rng.normal(size=20)
    ordinary = ("forces", "all")
    factors, parents = {ordinary: RowFactor(20)}, {}
    for frame in range(30):
        G = rng.normal(size=(9, 20))
        noise = 0.1 * (ratio if frame in (20, 27) else 1.0)
        group = ("forces", "all", frame) if frame >= 18 else ordinary
        if group != ordinary:
            factors[group], parents[group] = RowFactor(20), ordinary
        factors[group].add(G @ L.T, G @ beta + noise * rng.normal(size=9))
    return K_mm, factors, parents


def test_outliers_are_found_and_only_they():
    K_mm, factors, parents = with_outliers(0, 20.0)
    found = maximise(K_mm, factors, dict.fromkeys(factors, 0.3), parents=parents)
    assert {h.key[2] for h in found.outliers} == {20, 27}
    for h in found.outliers:
        assert h.name == f"forces_noise[all, {h.key[2]}]"
        assert abs(np.log(h.value / 20.0)) < 0.5 + 4 * h.std_log  # the prior prefers small ratios
        assert found.noise[h.key] == pytest.approx(h.value * found.noise["forces", "all"])
    ordinary = [h for h in found.hyperparameters if h.what == "ratio" and h not in found.outliers]
    assert [h.value for h in ordinary] == [1.0] * 10
    assert abs(np.log(found.noise["forces", "all"] / 0.1)) < 4 * found.hyperparameters[0].std_log
    assert "forces_noise[all, 20]" in found.table()
    assert "forces_noise[all, 19]" not in found.table()


def test_without_outliers_frames_of_their_own_change_nothing():
    K_mm, factors, parents = with_outliers(1, 1.0)
    found = maximise(K_mm, factors, dict.fromkeys(factors, 0.3), parents=parents)
    assert found.outliers == ()
    together = RowFactor(20)
    for factor in factors.values():
        together.merge(factor)
    one = maximise(K_mm, {("forces", "all"): together}, {("forces", "all"): 0.3})
    assert found.noise["forces", "all"] == pytest.approx(one.noise["forces", "all"], rel=1e-4)
    assert found.log_evidence == pytest.approx(one.log_evidence, abs=1e-4)
    assert abs(found.difference) < 1e-8 * abs(found.log_evidence)


# -- labels that make no sense ----------------------------------------------------------------------------------------


def rows(K, y):
    factor = RowFactor(K.shape[1])
    factor.add(K, y)
    return factor


@pytest.mark.parametrize("case", ["exact", "contradictory", "copies", "zero rows", "zero labels", "one row", "gone"])
def test_degenerate_labels_never_give_nan(case):
    rng = np.random.default_rng(0)
    K_mm, K, y = covariance(10, rng), rng.normal(size=(30, 10)), rng.normal(size=30)
    factor = {
        "exact": lambda: rows(K, K @ np.ones(10)),
        "contradictory": lambda: rows(np.vstack([K, K]), np.concatenate([y, y + 1e3])),
        "copies": lambda: rows(np.tile(K[:1], (30, 1)), np.full(30, y[0])),
        "zero rows": lambda: rows(0.0 * K, y),
        "zero labels": lambda: rows(K, 0.0 * y),
        "one row": lambda: rows(K[:1], y[:1]),
        "gone": lambda: rows(K, y),
    }[case]()
    if case == "gone":
        factor.remove(K, y)
    other = rows(rng.normal(size=(20, 10)), rng.normal(size=20))
    factors = {("energy", "all"): factor, ("forces", "all"): other}
    found = maximise(
        K_mm, factors, {("energy", "all"): 1e-3, ("forces", "all"): 0.1}, [Amplitude("δ", 1.0, slice(None))]
    )
    for h in found.hyperparameters:
        assert np.isfinite([h.value, h.std_log, h.effective]).all()
        assert h.low <= h.value * (1 + 1e-9)
        assert h.value <= h.high * (1 + 1e-9)
        assert h.std_log >= 0.0
    assert np.isfinite(found.log_evidence)
    assert abs(found.difference) < max(1e-7 * abs(found.log_evidence), 10 * found.accuracy)
    if case == "exact":
        assert found.hyperparameters[0].at_bound == "low"
    if case == "contradictory":
        assert found.hyperparameters[0].at_bound == "high"
    assert "nan" not in found.table().lower()


def test_copies_of_sparse_points_survive_with_a_message():
    K_mm, factors = drawn(2)
    twice = np.block([[K_mm, K_mm], [K_mm, K_mm]])
    doubled = {}
    for group, factor in factors.items():
        F = factor.factor
        doubled[group] = rows(np.hstack([F[:, :-1], F[:, :-1]]), F[:, -1])
        doubled[group].n_rows = factor.n_rows
    amplitude = [Amplitude("δ", 1.0, slice(None))]
    with pytest.warns(UserWarning, match="nearly dependent: jitter was raised"):
        found = maximise(twice, doubled, at_start(factors), amplitude, jitter=0.0)
    single = maximise(K_mm, factors, at_start(factors), amplitude)
    assert found.log_evidence == pytest.approx(single.log_evidence, abs=0.05)
    for key in NOISE:
        assert found.noise[key] == pytest.approx(single.noise[key], rel=1e-3)
    assert found.amplitudes["δ"] == pytest.approx(single.amplitudes["δ"], rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fixed": ["frist"]}, "no noise or amplitude 'frist'.*did you mean 'first'"),
        ({"bounds": {("forces", "bulk"): (0.1, 1.0)}}, "bounds 0.1 to 1 of .* hold its start 0.05"),
        ({"bounds": {"amplitude": (0.0, 10.0)}}, "must be positive"),
        ({"noise": {}}, "start of .* give a positive number"),
        ({"prior_width": -1.0}, "prior_width = -1.0 must be positive"),
        ({"n_starts": 0}, "n_starts = 0 must be at least 1"),
        ({"amplitudes": AMPLITUDES[:1] * 2}, "same name"),
        ({"amplitudes": [AMPLITUDES[0], Amplitude("x", 1.0, slice(0, 3))]}, "belongs to two amplitudes"),
        ({"amplitudes": [Amplitude("x", 1.0, np.arange(99))]}, "beyond the existing 32"),
        ({"amplitudes": [Amplitude("x", -1.0, slice(0, 3))]}, "start of x is -1.0"),
        ({"parents": {("forces", "bulk"): ("forces", "new")}}, "no noise or amplitude"),
        (
            {"parents": {("forces", "bulk"): ("virial", "all"), ("virial", "all"): ("forces", "surface")}},
            "has a parent itself",
        ),
        ({"K_mm": np.full((32, 32), np.nan)}, "covariance of the sparse points holds numbers that are not finite"),
        ({"K_mm": np.eye(5)}, "beyond the existing 5|has 32 columns and K_mm 5"),
    ],
)
def test_what_cannot_be_used_is_refused(changes, message):
    K_mm, factors = drawn(0)
    given = {"K_mm": K_mm, "factors": factors, "noise": at_start(factors), "amplitudes": AMPLITUDES} | changes
    with pytest.raises(InputError, match=message):
        maximise(**given)


def test_labels_that_are_not_finite_are_refused():
    K_mm, factors = drawn(0)
    factors["forces", "bulk"].add(np.ones((1, 32)), np.array([np.inf]))
    with pytest.raises(InputError, match="a row factor holds numbers that are not finite"), np.errstate(all="ignore"):
        maximise(K_mm, factors, at_start(factors))
