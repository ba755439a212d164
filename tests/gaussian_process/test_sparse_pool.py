"""Candidates thinned out in bounded memory still cover the data."""

from __future__ import annotations

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_sparsification import covering_radius

from gapkit.errors import InputError
from gapkit.gaussian_process.sparse_pool import SparsePool, default_capacity, pool_bytes
from gapkit.gaussian_process.sparsification import leverage_scores, select_sparse_points

METHODS = ["fps", "cur", "kmeans", "random"]


def unit_rows(n, n_features=6, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, n_features))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def pooled(X, cuts, n_sparse, method, seed=0, capacity=None):
    pool = SparsePool(n_sparse, method, seed, capacity)
    for part in np.split(X, cuts):
        pool.add(part)
    return pool


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", [0, 5])
def test_a_pool_that_was_never_full_chooses_from_all(method, seed):
    X = unit_rows(90)
    X[40:55] = X[10:25]
    sparse, report = pooled(X, [1, 1, 30, 77], 20, method, seed).choose()
    np.testing.assert_array_equal(sparse, X[select_sparse_points(X, 20, method, seed)])
    assert report.exact
    assert (report.n_seen, report.n_distinct, report.n_selected, report.n_reductions) == (90, 75, 20, 0)


@pytest.mark.parametrize("method", METHODS)
def test_copies_take_no_room(method):
    X = unit_rows(90)
    many = np.vstack([X[np.random.default_rng(k).permutation(90)] for k in range(9)])
    sparse, report = pooled(np.vstack([X, many]), [100, 333], 15, method, capacity=200).choose()
    np.testing.assert_array_equal(sparse, X[select_sparse_points(X, 15, method)])
    assert report.exact
    assert report.n_seen == 900


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 500), max_size=8))
def test_the_way_a_stream_is_cut_changes_nothing(method, cuts):
    X = unit_rows(500)
    sparse, report = pooled(X, sorted(cuts), 10, method, capacity=80).choose()
    expected, other = pooled(X, [], 10, method, capacity=80).choose()
    np.testing.assert_array_equal(sparse, expected)
    assert report == other
    assert not report.exact


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("capacity", [None, 60])
def test_merged_pools_choose_from_the_streams_of_both(method, capacity):
    X = unit_rows(300)
    one = pooled(X[:120], [7], 8, method, capacity=capacity)
    one.merge(pickle.loads(pickle.dumps(pooled(X[120:], [100], 8, method, capacity=capacity))))
    sparse, report = one.choose()
    assert report.n_seen == 300
    assert report.exact == (capacity is None)
    if capacity is None:
        np.testing.assert_array_equal(sparse, X[select_sparse_points(X, 8, method)])
    assert all((row == X).all(axis=1).any() for row in sparse)
    assert len(np.unique(sparse, axis=0)) == 8


@pytest.mark.parametrize("n_sparse", [5, 12])
def test_the_covering_radius_is_exact_or_an_upper_bound_within_its_guarantee(n_sparse):
    X = unit_rows(600, 3)
    report = pooled(X, [], n_sparse, "fps").choose()[1]
    best = covering_radius(X, select_sparse_points(X, n_sparse))
    assert report.covering_radius == pytest.approx(best, rel=1e-12)
    sparse, report = pooled(X, [], n_sparse, "fps", capacity=100).choose()
    rows = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in sparse]
    # farthest points of all are no better than the best possible, of which the guarantee speaks
    kept = covering_radius(X, select_sparse_points(X, min(4 * n_sparse, 50)))
    assert report.n_reductions > 3
    assert covering_radius(X, rows) <= report.covering_radius <= 2 * best + 2 * report.n_reductions * kept
    assert covering_radius(X, rows) <= 1.5 * best


def test_the_bound_holds_for_environments_nearer_than_the_tolerance():
    rng = np.random.default_rng(1)
    X = np.repeat(unit_rows(60, 3), 6, axis=0)
    X = (X + rng.uniform(-1e-8, 1e-8, X.shape))[rng.permutation(len(X))]
    sparse, report = pooled(X, [], 5, "fps", capacity=40).choose()
    rows = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in sparse]
    assert covering_radius(X, rows) <= report.covering_radius


@pytest.mark.parametrize("method", ["fps", "random"])
def test_the_first_points_are_the_choice_of_fewer(method):
    X = unit_rows(200)
    many = pooled(X, [], 40, method).choose()[0]
    np.testing.assert_array_equal(many[:15], pooled(X, [], 15, method).choose()[0])
    everything = pooled(X[:20], [], 20, method).choose()[0]
    np.testing.assert_array_equal(everything[:9], pooled(X[:20], [], 9, method).choose()[0])


def test_cur_is_nested_from_the_rank_on():
    X = unit_rows(200, 6)
    np.testing.assert_array_equal(pooled(X, [], 40, "cur").choose()[0][:7], pooled(X, [], 7, "cur").choose()[0])


def test_random_beyond_capacity_is_uniform_over_different_rows():
    X = unit_rows(60, 3)
    stream = np.vstack([X, X[:20], X[:20], X[:20]])  # copies must not count
    n_draws, counts = 1500, np.zeros(60)
    for seed in range(n_draws):
        sparse, report = pooled(stream, [], 3, "random", seed, capacity=12).choose()
        assert report.n_reductions
        counts += (sparse[:, None] == X).all(axis=2).sum(axis=0)
    assert counts.sum() == 3 * n_draws
    p = 3 / 60
    assert np.all(np.abs(counts - n_draws * p) < 4.5 * np.sqrt(n_draws * p * (1 - p)))


def test_random_does_not_depend_on_the_order_of_a_long_stream():
    X = unit_rows(400)
    kept = []
    for order in (np.arange(400), np.random.default_rng(2).permutation(400)):
        pool = pooled(X[order], [], 5, "random", capacity=40)
        pool.choose()
        kept.append(np.unique(pool._rows.X, axis=0))
    np.testing.assert_array_equal(*kept)


def test_cur_beyond_capacity_draws_by_the_leverage_among_all():
    X = np.vstack([unit_rows(40, 4) * [1, 1, 0.2, 0.2], unit_rows(40, 4, 1)])
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    X = X[np.random.default_rng(3).permutation(80)]
    n_draws, counts = 2000, np.zeros(80)
    for seed in range(n_draws):
        sparse, report = pooled(X, [], 5, "cur", seed, capacity=64).choose()
        assert report.n_reductions
        counts += (sparse[0] == X).all(axis=1)
    p = leverage_scores(X, 5, X.T @ X) / 4
    assert p.max() > 2 * p.min()
    assert np.all(np.abs(counts - n_draws * p) < 4.5 * np.sqrt(n_draws * p * (1 - p)))


@pytest.mark.parametrize("kept_first", [True, False])
def test_cur_finds_a_direction_that_one_row_of_a_stream_alone_has(kept_first):
    X = np.vstack([unit_rows(600, 3) @ np.eye(3, 4), [[0, 0, 0, 1.0]]])
    X = X[::-1] if kept_first else X
    found = sum((pooled(X, [], 30, "cur", seed, capacity=150).choose()[0][:, 3] == 1).any() for seed in range(10))
    assert found == 10


def test_kmeans_of_a_long_stream_finds_every_cluster():
    rng = np.random.default_rng(0)
    X = (np.eye(5)[rng.integers(0, 5, 2000)] + rng.uniform(-0.02, 0.02, (2000, 5))) / 1.02
    sparse, report = pooled(X, [], 5, "kmeans", capacity=100).choose()
    assert set(sparse.argmax(axis=1)) == set(range(5))
    assert not report.exact


@pytest.mark.parametrize("method", METHODS)
def test_rows_of_zeros_are_left_out_and_counted(method):
    X = unit_rows(50)
    with_zeros = np.insert(X, [0, 3, 3, 50], 0.0, axis=0)
    sparse, report = pooled(with_zeros, [2, 30], 7, method).choose()
    np.testing.assert_array_equal(sparse, pooled(X, [], 7, method).choose()[0])
    assert (report.n_zero, report.n_seen) == (4, 54)
    assert "4 without neighbours left out" in str(report)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("capacity", [None, 12])
def test_all_rows_alike_or_zero_give_one_point(method, capacity):
    alike = pooled(np.tile(unit_rows(1), (99, 1)), [], 3, method, capacity=capacity)
    with pytest.warns(UserWarning, match="n_sparse = 3 exceeds the 1 distinct environments"):
        sparse, report = alike.choose()
    np.testing.assert_array_equal(sparse, unit_rows(1))
    assert report.exact
    sparse, report = pooled(np.zeros((99, 6)), [50], 3, method, capacity=capacity).choose()
    np.testing.assert_array_equal(sparse, np.zeros((1, 6)))
    assert (report.n_selected, report.n_zero) == (1, 99)


@pytest.mark.parametrize("method", METHODS)
def test_features_without_variance_change_no_choice(method):
    X = np.hstack([0.8 * unit_rows(300, 3), np.full((300, 2), np.sqrt(0.18))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sparse, _ = pooled(X, [], 9, method, capacity=60).choose()
    assert np.isfinite(sparse).all()
    assert len(np.unique(sparse, axis=0)) == 9


def test_more_can_come_after_a_choice():
    X = unit_rows(100)
    pool = pooled(X[:60], [], 10, "fps")
    pool.choose()
    pool.add(X[60:])
    np.testing.assert_array_equal(pool.choose()[0], X[select_sparse_points(X, 10)])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_blocks", [24, 60])
def test_memory_is_bounded_and_foretold(method, n_blocks):
    n_sparse, n_features, capacity = 20, 60, 15_000
    pooled(unit_rows(100), [], 3, method).choose()  # imports
    tracemalloc.start()
    try:
        pool = SparsePool(n_sparse, method, capacity=capacity)
        for seed in range(n_blocks):
            pool.add(unit_rows(625, n_features, seed))
        pool.choose()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    foretold = pool_bytes(capacity, n_features, n_sparse, method)
    full_at_the_end = n_blocks == 24
    assert (pool.n_reductions == 0) == full_at_the_end
    assert peak < 1.1 * foretold
    assert peak > 0.8 * foretold or not full_at_the_end
    assert pool_bytes(capacity, n_features, n_sparse, "fps") < 1.5 * 8 * capacity * n_features


def test_the_default_capacity_fills_a_budget_but_has_a_floor():
    assert default_capacity(100, 10, 8 * 100 * 12345) == 12345
    assert default_capacity(100, 10_000, 8 * 100 * 12345) == 40_000
    assert SparsePool(10, capacity=1).capacity == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "fsp"}, "did you mean 'fps'"),
        ({"n_sparse": 0}, "n_sparse must be a whole number of at least 1, got 0"),
        ({"capacity": 0}, "capacity = 0 must be a positive number of rows"),
        ({"random_state": -1}, "random_state = -1 must not be negative"),
    ],
)
def test_bad_parameters_are_refused_in_one_sentence(arguments, message):
    with pytest.raises(InputError, match=message):
        SparsePool(**({"n_sparse": 3} | arguments))


def test_bad_rows_are_refused_and_leave_the_pool_as_it_was():
    X = unit_rows(30)
    pool = pooled(X, [], 5, "fps")
    bad = X[:4].copy()
    bad[2, 1] = np.nan
    with pytest.raises(InputError, match="features are NaN or infinite in row 32"):
        pool.add(bad)
    with pytest.raises(InputError, match="features have 3 columns, those before had 6"):
        pool.add(unit_rows(2, 3))
    pool.add(np.empty((0, 6)))
    np.testing.assert_array_equal(pool.choose()[0], pooled(X, [], 5, "fps").choose()[0])


def test_pools_that_do_not_fit_and_empty_ones_are_refused():
    with pytest.raises(InputError, match=r"cannot be merged: give both the same"):
        SparsePool(3, "fps").merge(SparsePool(4, "fps"))
    with pytest.raises(InputError, match="there is no environment to choose"):
        SparsePool(3).choose()
