"""The sparse posterior equals dense algebra, streamed in any blocks."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from gapkit import InputError
from gapkit.gaussian_process.posterior import fit_posterior
from gapkit.gaussian_process.row_factor import RowFactor, fold

M, GROUPS = 12, {"a": 0.3, "b": 0.05}


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    B = rng.normal(size=(M, M))
    K_mm = B @ B.T + 0.1 * np.eye(M)
    K = {g: rng.normal(size=(n, M)) for g, n in (("a", 40), ("b", 25))}
    y = {g: rng.normal(size=len(K[g])) for g in K}
    scale = {g: rng.uniform(0.5, 8, len(K[g])) for g in K}
    return K_mm, K, y, scale


def fitted(problem, batch):
    K_mm, K, y, scale = problem
    factors = {g: RowFactor(M) for g in K}
    for g in K:
        for start in range(0, len(K[g]), batch):
            part = slice(start, start + batch)
            for k in range(*part.indices(len(K[g]))):
                factors[g].add(K[g][k : k + 1], y[g][k : k + 1], scale[g][k])
            factors[g].factor  # noqa: B018 - fold now
    return fit_posterior(K_mm, factors, GROUPS, jitter=0.0)


def stacked(problem):
    K_mm, K, y, scale = problem
    noise = np.concatenate([GROUPS[g] * scale[g] for g in K])
    return K_mm, np.vstack(list(K.values())), np.concatenate(list(y.values())), noise


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_streamed_qr_equals_dense_algebra(problem, batch):
    posterior = fitted(problem, batch)
    alpha, log_p, A = naive.posterior(*stacked(problem))
    np.testing.assert_allclose(posterior.alpha, alpha, rtol=1e-9)
    np.testing.assert_allclose(posterior.log_marginal_likelihood, log_p, rtol=1e-11)
    np.testing.assert_allclose(posterior.R.T @ posterior.R, A, rtol=1e-9, atol=1e-9 * A.max())
    np.testing.assert_allclose(posterior.L @ posterior.L.T, problem[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_rows", [1, 5, 40])
def test_fold_keeps_the_gram_matrix(n_rows):
    rng = np.random.default_rng(1)
    rows, before = rng.normal(size=(n_rows, 6)), np.triu(rng.normal(size=(6, 6)))
    F = fold(before, rows)
    np.testing.assert_allclose(F.T @ F, before.T @ before + rows.T @ rows, atol=1e-12)
    np.testing.assert_array_equal(F, np.triu(F))


def test_covariance_equals_its_formula_and_its_diagonal(problem):
    posterior, (K_mm, K_nm, _, noise) = fitted(problem, 5), stacked(problem)
    K_t = np.random.default_rng(2).normal(size=(4, M))
    K_tt = K_t @ np.linalg.solve(K_mm, K_t.T) + np.diag([1.0, 2.0, 0.5, 3.0])
    A = naive.posterior(K_mm, K_nm, np.zeros(len(noise)), noise)[2]
    sor = K_t @ np.linalg.solve(A, K_t.T)
    dtc = K_tt - K_t @ np.linalg.solve(K_mm, K_t.T) + sor
    np.testing.assert_allclose(posterior.covariance(K_t, K_tt), dtc, rtol=1e-8)
    np.testing.assert_allclose(posterior.covariance(K_t, K_tt, "sor"), sor, rtol=1e-8)
    np.testing.assert_allclose(posterior.variance(K_t, np.diag(K_tt)), np.diag(dtc), rtol=1e-8)


def test_sample_moments_match_the_covariance(problem):
    posterior = fitted(problem, 5)
    samples = posterior.sample(40_000, np.random.default_rng(3))
    A_inverse = np.linalg.inv(posterior.R.T @ posterior.R)
    error = np.sqrt(np.outer(np.diag(A_inverse), np.diag(A_inverse)) / 40_000)
    assert np.abs(samples.mean(axis=0) - posterior.alpha).max() < 5 * np.sqrt(np.diag(A_inverse).max() / 40_000)
    assert np.all(np.abs(np.cov(samples.T) - A_inverse) < 8 * error)


def test_more_data_never_raises_the_variance(problem):
    K_mm, K, y, _ = problem
    K_t, K_tt = K["b"][:3], np.einsum("nm,nm->n", K["b"][:3], np.linalg.solve(K_mm, K["b"][:3].T).T)
    variances = []
    for n in (1, 5, 40):
        factor = RowFactor(M)
        factor.add(K["a"][:n], y["a"][:n])
        variances.append(fit_posterior(K_mm, {"a": factor}, {"a": 0.1}, 0.0).variance(K_t, K_tt))
    assert np.all(variances[1] <= variances[0] + 1e-9)
    assert np.all(variances[2] <= variances[1] + 1e-9)


def test_dependent_sparse_points_survive_with_a_message(problem):
    K_mm, K, y, _ = problem
    twice = np.block([[K_mm, K_mm], [K_mm, K_mm]])
    factor = RowFactor(2 * M)
    factor.add(np.hstack([K["a"], K["a"]]), y["a"])
    with pytest.warns(UserWarning, match="nearly dependent: jitter was raised"):
        posterior = fit_posterior(twice, {"a": factor}, {"a": 0.1}, jitter=0.0)
    single = RowFactor(M)
    single.add(K["a"], y["a"])
    reference = fit_posterior(K_mm, {"a": single}, {"a": 0.1}, 0.0)
    assert np.all(np.isfinite(posterior.alpha))
    assert posterior.conditioning.rank == M
    assert len(posterior.conditioning.redundant) == M
    np.testing.assert_allclose(
        np.hstack([K["b"], K["b"]]) @ posterior.alpha, K["b"] @ reference.alpha, rtol=1e-4, atol=1e-5
    )


def test_negative_variance_is_refused_not_hidden(problem):
    posterior = fitted(problem, 5)
    K_t = np.random.default_rng(2).normal(size=(1, M))
    with pytest.raises(InputError, match="negative beyond round-off"):
        posterior.variance(K_t, np.array([-100.0]))


def test_unknown_variance_method_is_refused(problem):
    with pytest.raises(InputError, match="'fitc' is unknown: use 'dtc' or 'sor'"):
        fitted(problem, 5).variance(np.zeros((1, M)), np.zeros(1), "fitc")


def test_weights_that_overflow_are_refused():
    factor = RowFactor(2)
    factor.add(np.eye(2) * 1e300, np.full(2, 1e300))
    with pytest.raises(InputError, match="weights are not finite"), np.errstate(all="ignore"):
        fit_posterior(np.eye(2), {"g": factor}, {"g": 1e-300})


def test_a_triangle_folds_like_the_rows_it_stands_for():
    rng = np.random.default_rng(2)
    rows, before = np.triu(rng.normal(size=(6, 6))), np.triu(rng.normal(size=(6, 6)))
    F = fold(before, rows, triangular=True)
    np.testing.assert_allclose(F.T @ F, before.T @ before + rows.T @ rows, atol=1e-12)


def test_rows_taken_away_again_leave_no_trace(problem):
    K_mm, K, y, scale = problem
    rng = np.random.default_rng(3)
    extra, target = rng.normal(size=(9, M)), rng.normal(size=9)
    factors = {g: RowFactor(M) for g in K}
    factors["a"].add(extra[:4], target[:4], 2.0)
    for g in K:
        for k in range(len(K[g])):
            factors[g].add(K[g][k : k + 1], y[g][k : k + 1], scale[g][k])
    factors["b"].add(extra[4:], target[4:], 0.7)
    factors["a"].remove(extra[:4], target[:4], 2.0)
    factors["b"].remove(extra[4:], target[4:], 0.7)
    found, wanted = fit_posterior(K_mm, factors, GROUPS, jitter=0.0), fitted(problem, 7)
    np.testing.assert_allclose(found.alpha, wanted.alpha, rtol=1e-10)
    np.testing.assert_allclose(found.R.T @ found.R, wanted.R.T @ wanted.R, rtol=1e-10, atol=1e-10)
    assert found.n_rows == wanted.n_rows
    assert found.log_marginal_likelihood == pytest.approx(wanted.log_marginal_likelihood, rel=1e-12)


def test_rows_that_were_never_added_cannot_be_removed(problem):
    K_mm, K, y, _ = problem
    factor = RowFactor(M)
    factor.add(K["a"], y["a"])
    factor.remove(3.0 * K["b"], y["b"])
    with pytest.raises(InputError, match="not among the training frames"):
        fit_posterior(K_mm, {"a": factor}, {"a": 0.01}, jitter=0.0)


def test_merged_factors_equal_one(problem):
    K_mm, K, y, _ = problem
    one, left, right = RowFactor(M), RowFactor(M), RowFactor(M)
    for start in range(0, 40, 8):
        part = slice(start, start + 8)
        one.add(K["a"][part], y["a"][part], 2.0)
        (left if start < 20 else right).add(K["a"][part], y["a"][part], 2.0)
    for factor in (one, right):
        factor.remove(K["a"][24:30], y["a"][24:30], 2.0)
    left.merge(right)
    found, wanted = (fit_posterior(K_mm, {"a": f}, {"a": 0.1}, jitter=0.0) for f in (left, one))
    np.testing.assert_allclose(found.alpha, wanted.alpha, rtol=1e-10)
    assert found.log_marginal_likelihood == pytest.approx(wanted.log_marginal_likelihood, rel=1e-12)


def test_another_amplitude_rescales_the_columns(problem):
    _, K, y, _ = problem
    columns = np.random.default_rng(4).uniform(0.5, 3.0, M)
    before, after = RowFactor(M), RowFactor(M)
    for factor, scaled in ((before, K["a"]), (after, K["a"] * columns)):
        factor.add(scaled, y["a"])
        factor.remove(scaled[3:5], y["a"][3:5])
    before.rescale(columns)
    for name in ("factor", "removed"):
        F, G = getattr(before, name), getattr(after, name)
        np.testing.assert_allclose(F.T @ F, G.T @ G, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_rows", [3, 1023, 1024, 1500])
def test_a_stored_factor_goes_on_as_if_nothing_had_happened(n_rows):
    rng = np.random.default_rng(5)
    K, y, more = rng.normal(size=(n_rows, M)), rng.normal(size=n_rows), rng.normal(size=(1200, M))
    factor = RowFactor(M)
    factor.add(K, y, 3.0)
    factor.remove(K[:2], y[:2], 3.0)
    stored = RowFactor.from_state(*factor.state())
    for f in (factor, stored):
        f.add(more, more[:, 0])
    np.testing.assert_array_equal(stored.factor, factor.factor)
    np.testing.assert_array_equal(stored.removed, factor.removed)
    assert (stored.n_rows, stored.log_scale) == (factor.n_rows, factor.log_scale)


def test_rows_can_be_removed_when_every_target_is_zero(problem):
    K_mm, K, _, _ = problem
    factor = RowFactor(M)
    factor.add(K["a"], np.zeros(40))
    factor.remove(K["a"][:5], np.zeros(5))
    posterior = fit_posterior(K_mm, {"a": factor}, {"a": 0.1}, jitter=0.0)
    np.testing.assert_allclose(posterior.alpha, 0.0, atol=1e-14)
