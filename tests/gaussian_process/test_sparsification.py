"""Farthest points, CUR, k-means and random choice against naive twins."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_sparsification import covering_radius, naive_farthest_points, smallest_separation
from skmatter.sample_selection import CUR, FPS

from gapkit.errors import InputError
from gapkit.gaussian_process.sparsification import farthest_points, leverage_scores, select_sparse_points

METHODS = ["fps", "cur", "kmeans", "random"]


def unit_rows(n, n_features, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, n_features))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_sparse", [1, 7, 39])
def test_selects_that_many_different_rows(method, n_sparse):
    indices = select_sparse_points(unit_rows(40, 6), n_sparse, method)
    assert indices.dtype == np.int64
    assert len(indices) == len(set(indices)) == n_sparse
    assert set(indices) <= set(range(40))


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_gives_same_points(method):
    X = unit_rows(60, 5)
    first = select_sparse_points(X, 20, method, random_state=3)
    np.testing.assert_array_equal(first, select_sparse_points(X.copy(), 20, method, random_state=3))


@pytest.mark.parametrize("method", ["cur", "kmeans", "random"])
def test_another_seed_gives_other_points(method):
    X = unit_rows(60, 5)
    chosen = [set(select_sparse_points(X, 20, method, random_state=seed)) for seed in (0, 1)]
    assert chosen[0] != chosen[1]


@pytest.mark.parametrize(("n", "n_features", "seed"), [(50, 8, 0), (80, 3, 1), (30, 40, 2)])
def test_fps_equals_naive_twin_and_scikit_matter(n, n_features, seed):
    X = unit_rows(n, n_features, seed)
    indices = select_sparse_points(X, 20, "fps")
    np.testing.assert_array_equal(indices, naive_farthest_points(X, 20))
    np.testing.assert_array_equal(indices, FPS(n_to_select=20, initialize=int(indices[0])).fit(X).selected_idx_)


def test_fps_covers_better_than_random():
    X = unit_rows(200, 4)
    radius = covering_radius(X, select_sparse_points(X, 20, "fps"))
    assert all(radius < covering_radius(X, select_sparse_points(X, 20, "random", seed)) for seed in range(10))


@given(st.permutations(range(25)))
@settings(max_examples=20, deadline=None)
def test_fps_does_not_depend_on_the_order_of_rows(order):
    X = unit_rows(25, 4)
    np.testing.assert_array_equal(
        np.array(order)[select_sparse_points(X[order], 9, "fps")], select_sparse_points(X, 9, "fps")
    )


def test_fps_of_a_single_feature_takes_the_ends_first():
    X = np.array([[0.3], [0.0], [0.55], [1.0], [0.9]])
    np.testing.assert_array_equal(select_sparse_points(X, 3, "fps"), [1, 3, 2])


def test_kmeans_takes_the_row_nearest_to_the_centre_of_each_cluster():
    rng = np.random.default_rng(0)
    populations = [9, 6, 4]
    clusters = [np.eye(3)[c] + rng.uniform(-0.05, 0.05, (n, 3)) for c, n in enumerate(populations)]
    nearest = [np.argmin(np.linalg.norm(rows - rows.mean(axis=0), axis=1)) for rows in clusters]
    expected = np.add(nearest, [0, 9, 15])
    np.testing.assert_array_equal(select_sparse_points(np.vstack(clusters), 3, "kmeans"), expected)


def test_empty_clusters_are_replaced_by_the_rows_farthest_from_the_rest():
    X = unit_rows(40, 5)
    expected = FPS(n_to_select=9, initialize=3).fit(X).selected_idx_
    np.testing.assert_array_equal(farthest_points(X, 9, expected[:4]).chosen, expected)
    np.testing.assert_array_equal(farthest_points(X, 9, expected).chosen, expected)


@pytest.mark.parametrize("n_directions", [1, 3, 5])
def test_leverage_ranks_as_scikit_matter(n_directions):
    X = unit_rows(30, 6)
    reference = CUR(n_to_select=10, k=n_directions, recompute_every=0).fit(X).selected_idx_
    np.testing.assert_array_equal(np.argsort(-leverage_scores(X, n_directions, X.T @ X))[:10], reference)


def test_leverage_is_the_diagonal_of_the_projector():
    X = unit_rows(30, 6) @ np.diag([1, 1, 1, 1, 1, 0])  # one direction without any variance
    projector = X @ np.linalg.pinv(X)
    np.testing.assert_allclose(leverage_scores(X, 30, X.T @ X), np.diag(projector), atol=1e-12)
    assert leverage_scores(X, 30, X.T @ X).sum() == pytest.approx(5)


def test_cur_draws_in_proportion_to_leverage():
    X = unit_rows(6, 3)
    n_draws = 2000
    counts = np.bincount([select_sparse_points(X, 4, "cur", seed)[0] for seed in range(n_draws)], minlength=6)
    p = leverage_scores(X, 4, X.T @ X) / 3
    assert np.ptp(p) > 0.1
    assert np.all(np.abs(counts - n_draws * p) < 4 * np.sqrt(n_draws * p * (1 - p)))


def test_cur_finds_a_direction_that_one_row_alone_has():
    X = np.vstack([unit_rows(300, 3) @ np.eye(3, 4), [[0, 0, 0, 1.0]]])
    found = sum(300 in select_sparse_points(X, 30, "cur", seed) for seed in range(20))
    assert found == 20  # leverage 1 against 0.01 of the others


@pytest.mark.parametrize("method", METHODS)
def test_duplicates_are_never_selected_together(method):
    rng = np.random.default_rng(1)
    distinct = unit_rows(12, 5)
    X = np.repeat(distinct, 8, axis=0) + rng.uniform(-1e-8, 1e-8, (96, 5))
    rng.shuffle(X)
    selected = X[select_sparse_points(X, 11, method)]
    assert len(selected) == 11
    assert smallest_separation(selected) > 0.01


@given(st.integers(1, 30), st.integers(1, 3), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_all_distinct_rows_are_found(n, n_features, seed):
    # a grid of 1.1e-6 with copies: neighbours on the grid are distinct, however close to the tolerance
    X = 1.1e-6 * np.random.default_rng(seed).integers(0, 5, (n, n_features))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        indices = select_sparse_points(X, 1000)
    assert len(indices) == len(np.unique(X, axis=0)) == len(np.unique(X[indices], axis=0))


@pytest.mark.parametrize("method", METHODS)
def test_fewer_distinct_rows_than_asked_for_warns(method):
    X = unit_rows(4, 3)[[0, 1, 2, 3, 0, 1, 1]]
    with pytest.warns(UserWarning, match="n_sparse = 6 exceeds the 4 distinct environments, which are all selected"):
        indices = select_sparse_points(X, 6, method)
    assert len(np.unique(X[indices], axis=0)) == len(indices) == 4


def test_as_many_distinct_rows_as_asked_for_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sorted(select_sparse_points(unit_rows(5, 3), 5)) == list(range(5))
        np.testing.assert_array_equal(select_sparse_points(np.ones((1, 3)), 1), [0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "fsp"}, r"unknown sparsification method 'fsp' \(did you mean 'fps'\?\)"),
        ({"method": "xyzzy"}, r"unknown sparsification method 'xyzzy' \(known: cur, fps, kmeans, random\)"),
        ({"n_sparse": 0}, "n_sparse must be a whole number of at least 1, got 0"),
        ({"n_sparse": 2.5}, "n_sparse must be a whole number of at least 1, got 2.5"),
        ({"n_sparse": True}, "n_sparse must be a whole number of at least 1, got True"),
        ({"features": np.array([[1.0, 0.0], [np.nan, 1.0]])}, "features are NaN or infinite in row 1"),
        ({"features": np.zeros((0, 3))}, r"at least one row and column, got \(0, 3\)"),
        ({"features": np.ones(3)}, r"shape \(n, n_features\) .* got \(3,\)"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(arguments, message):
    with pytest.raises(InputError, match=message):
        select_sparse_points(**({"features": unit_rows(9, 3), "n_sparse": 3} | arguments))
