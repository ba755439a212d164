"""Jitter, pivots, rank and redundant sparse points."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gapkit.errors import InputError
from gapkit.gaussian_process.conditioning import Conditioning, conditioning, determined, explain, factorise
from gapkit.gaussian_process.posterior import fit_posterior
from gapkit.gaussian_process.row_factor import RowFactor

EPS = np.finfo(float).eps


def unit_rows(n, n_features, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, n_features))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def fitted(K_mm, K_nm, y, noise, jitter=1e-10):
    factor = RowFactor(len(K_mm))
    factor.add(K_nm, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit_posterior(K_mm, {"all": factor}, {"all": noise}, jitter)


def linear_regression(X, Z, y, noise, Z_t):
    """Mean and log likelihood of y = Z w + noise, w standard normal within the span of the rows of X; dense algebra."""
    _, s, Vt = np.linalg.svd(X, full_matrices=False)
    B = Vt[s > 1e-9 * max(s.max(), 1e-300)].T
    prior = Z @ B @ B.T @ Z.T + noise**2 * np.eye(len(Z))
    solved = np.linalg.solve(prior, y)
    log_p = -0.5 * (y @ solved + np.linalg.slogdet(prior)[1] + len(y) * np.log(2 * np.pi))
    return Z_t @ B @ B.T @ Z.T @ solved, log_p


# rows of a few whole numbers: copies, zeros, sums of others, more points than features
adversarial = st.tuples(st.integers(1, 14), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.int8, shape, elements=st.integers(-2, 2))
)


@given(adversarial, st.sampled_from([1e-5, 1.0, 1e5]), st.sampled_from([0.0, 1e-13, 1e-10]), st.integers(0, 5))
@settings(max_examples=120, deadline=None)
def test_any_sparse_points_give_the_potential_of_their_span(X, amplitude, jitter, seed):
    rng = np.random.default_rng(seed)
    X = amplitude * X.astype(float)
    Z, Z_t = (amplitude * rng.normal(size=(n, X.shape[1])) for n in (9, 4))
    y, noise = amplitude * rng.normal(size=9), 0.3 * amplitude
    posterior = fitted(X @ X.T, Z @ X.T, y, noise, jitter)
    mean, log_p = linear_regression(X, Z, y, noise, Z_t)
    np.testing.assert_allclose(posterior.mean(Z_t @ X.T), mean, atol=1e-5 * amplitude)
    assert posterior.log_marginal_likelihood == pytest.approx(log_p, abs=1e-4)
    assert np.isfinite(posterior.alpha).all()
    assert posterior.conditioning.rank == np.linalg.matrix_rank(X)


@given(adversarial, st.integers(1, 4), st.floats(-3, 3))
@settings(max_examples=60, deadline=None)
def test_the_factor_is_that_of_the_matrix_with_its_jitter(X, power, decade):
    K = (X @ X.T.astype(float)) ** power * 10.0**decade
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        L, jitter = factorise(K, 0.0)
    variance = np.diag(K)
    scale = max(K.max(), 1e-300)
    np.testing.assert_allclose(L @ L.T, K + np.diag(np.where(variance > 0, jitter * variance, 1.0)), atol=1e-14 * scale)
    assert np.all(np.diag(L) > 0)
    assert jitter <= 1e-12


@given(adversarial, st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_amplitudes_change_nothing_but_the_scale(X, seed):
    K = X @ X.T.astype(float)
    D = 2.0 ** np.random.default_rng(seed).integers(-20, 20, len(K))  # powers of two: no round-off
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (L, jitter), (scaled, same) = factorise(K, 0.0), factorise(D[:, None] * K * D, 0.0)
    alive = np.diag(K) > 0
    np.testing.assert_allclose(scaled[alive], (D[:, None] * L)[alive], rtol=1e-12)
    assert jitter == same
    found, other = conditioning(K, 0.0), conditioning(D[:, None] * K * D, 0.0)
    assert (found.rank, found.redundant) == (other.rank, other.redundant)


def test_copies_and_zeros_are_named_and_leaving_them_out_restores_the_rank():
    X = unit_rows(8, 12)
    X[3], X[5], X[6] = X[1], 0.0, X[0] + 0.5 * X[2]
    K = X @ X.T
    found = conditioning(K, 1e-10)
    assert found.rank == 5
    assert 5 in found.redundant
    assert len(set(found.redundant) & {1, 3}) == 1
    assert len(set(found.redundant) & {0, 2, 6}) == 1
    left = np.delete(np.arange(8), found.redundant)
    again = conditioning(K[np.ix_(left, left)], 1e-10)
    assert (again.rank, again.redundant) == (5, ())


def test_pivots_are_the_variance_that_others_leave_open():
    X = unit_rows(6, 9)
    K = 7.0 * X @ X.T
    found = conditioning(K, 0.0)
    left_open = 1.0 / (np.diag(np.linalg.inv(K)) * np.diag(K))  # 1 - R² of each point on all others
    assert found.smallest_pivot >= left_open.min() * (1 - 1e-12)
    assert found.smallest_pivot <= 1.0
    pair = conditioning(np.array([[4.0, 1.2], [1.2, 1.0]]), 0.0)
    assert pair.smallest_pivot == pytest.approx(1 - 0.6**2, rel=1e-14)


def test_the_spectrum_counts_every_point_once_by_decade():
    K = np.eye(7)
    for k, pivot in ((1, 0.5), (3, 2e-3), (5, 0.0)):  # correlations that leave this much open
        K[k, k - 1] = K[k - 1, k] = np.sqrt(1 - pivot)
    found = conditioning(K, 0.0)
    assert found.spectrum == {"1e+00": 4, "1e-01": 1, "1e-03": 1, "0": 1}
    assert found.smallest_pivot == pytest.approx(2e-3, rel=1e-9)


def test_every_raise_of_the_jitter_is_recorded():
    twice = np.ones((60, 60))
    with pytest.warns(UserWarning, match="jitter was raised from 0 to 1e-13"):
        L, used = factorise(twice, 0.0)
    found = conditioning(twice, used, 0.0)
    np.testing.assert_allclose(found.raises, [1e-14, 1e-13], rtol=1e-12)
    assert np.diag(L).min() ** 2 > 60 * EPS
    assert conditioning(twice, 1e-10, 1e-10).raises == ()
    assert conditioning(twice, 1e-10).raises == ()


def test_no_points_with_variance_at_all():
    posterior = fitted(np.zeros((3, 3)), np.zeros((5, 3)), np.ones(5), 0.1)
    np.testing.assert_array_equal(posterior.alpha, 0.0)
    assert posterior.conditioning[:4] == (0, 3, 0.0, (0, 1, 2))
    assert posterior.log_marginal_likelihood == pytest.approx(
        5 * (np.log(10) - 50 - 0.5 * np.log(2 * np.pi)), rel=1e-12
    )


def test_a_matrix_that_is_no_covariance_is_refused():
    with pytest.raises(InputError, match="cannot be factorised even with jitter 1e-4"):
        factorise(np.array([[1.0, 2.0], [2.0, 1.0]]), 1e-10)
    with pytest.raises(InputError, match="not finite: check the amplitudes"):
        factorise(np.array([[1.0, np.nan], [np.nan, 1.0]]), 1e-10)


def test_effective_parameters_are_the_trace_of_the_smoother():
    rng = np.random.default_rng(0)
    B = rng.normal(size=(7, 7))
    K_mm, K_nm, noise = B @ B.T + 0.1 * np.eye(7), rng.normal(size=(20, 7)), 0.7
    posterior = fitted(K_mm, K_nm, rng.normal(size=20), noise, 0.0)
    shares = determined(posterior.L, posterior.R)
    A = K_mm + K_nm.T @ K_nm / noise**2
    assert shares.sum() == pytest.approx(np.trace(K_nm @ np.linalg.solve(A, K_nm.T)) / noise**2, rel=1e-10)
    assert np.all((shares >= 0) & (shares <= 1))


def test_shares_of_independent_blocks_add_up_to_their_own():
    rng = np.random.default_rng(1)
    K = [np.cov(rng.normal(size=(n, 30))) for n in (4, 3)]
    rows = [rng.normal(size=(12, n)) for n in (4, 3)]
    y = rng.normal(size=12)
    apart = [fitted(k, r, y, 0.5, 0.0) for k, r in zip(K, rows)]
    both = np.block([[rows[0], np.zeros((12, 3))], [np.zeros((12, 4)), rows[1]]])
    zero = np.zeros((4, 3))
    together = fitted(np.block([[K[0], zero], [zero.T, K[1]]]), both, np.tile(y, 2), 0.5, 0.0)
    shares = determined(together.L, together.R)
    for part, posterior in zip((slice(0, 4), slice(4, 7)), apart):
        assert shares[part].sum() == pytest.approx(determined(posterior.L, posterior.R).sum(), rel=1e-10)


def test_the_explanation_names_blocks_points_jitter_and_parameters():
    X = unit_rows(12, 20)
    X[4], X[9], X[11] = X[2], X[7], X[7]
    K = np.zeros((12, 12))
    K[:6, :6], K[6:, 6:] = X[:6] @ X[:6].T, X[6:] @ X[6:].T
    columns = {"term 1, Cu": slice(0, 6), "term 1, Au": slice(6, 12)}
    posterior = fitted(K, np.random.default_rng(0).normal(size=(30, 12)), np.ones(30), 0.1, 0.0)
    found = posterior.conditioning
    text = explain(found, columns, determined(posterior.L, posterior.R))
    assert text[0] == "Of 12 sparse points 9 are independent."
    assert text[1].startswith("term 1, Cu: 1 of 6 sparse points adds nothing to the others (number ")
    assert text[1].split("number ")[1][0] in "24"
    assert "term 1, Au: 2 of 6 sparse points add nothing" in text[2]
    assert "n_sparse = 4 would do" in text[2]
    assert set(text[2].split("number ")[1].split(")")[0].split(", ")) < {"1", "3", "5"}
    assert "because with 0 a pivot" in text[3]
    assert "share of a point's variance" in text[4]
    assert "of 12 parameters: " in text[5]
    assert "of 6 in term 1, Au" in text[5]


def test_nothing_is_said_of_blocks_without_redundant_points():
    X = unit_rows(4, 9)
    found = conditioning(X @ X.T, 1e-10, 1e-10)
    text = explain(found, {"term 1, Si": slice(0, 4)})
    assert len(text) == 3
    assert text[0].startswith("All 4 sparse points are independent")
    assert text[1] == "Jitter 1e-10 on the diagonal was enough to factorise their covariance."


def test_it_survives_a_model_file():
    found = conditioning(np.ones((3, 3)), 1e-13, 0.0)
    stored = json.loads(json.dumps(found._asdict()))
    assert Conditioning(**{**stored, "redundant": tuple(stored["redundant"])}) == found
    old = {key: stored[key] for key in ("rank", "n_sparse", "smallest_pivot", "redundant", "jitter")}
    assert explain(Conditioning(**old), {"all": slice(0, 3)})[0] == "Of 3 sparse points 1 are independent."
