"""Sparse points that are added to a model: the farthest from those that are there."""

import numpy as np
import pytest

from gapkit.fitting.updates import _farthest_points


def unit_rows(n, n_features, seed):
    X = np.random.default_rng(seed).normal(size=(n, n_features))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def naive_farthest(Q, X, n):
    """One after the other, by all distances."""
    present, chosen = list(X), []
    while len(chosen) < n:
        distances = [min(np.linalg.norm(q - x) for x in present) for q in Q]
        if max(distances) < 1e-6:
            break
        chosen.append(Q[int(np.argmax(distances))])
        present.append(chosen[-1])
    return np.array(chosen).reshape(-1, Q.shape[1])


@pytest.mark.parametrize(("n", "n_features", "seed"), [(8, 6, 0), (30, 3, 1), (50, 12, 2)])
def test_new_points_are_the_farthest_and_copies_are_none(n, n_features, seed):
    """Twenty candidates of which every one comes twice, and the present points once more."""
    X, own = unit_rows(7, n_features, seed), unit_rows(20, n_features, seed + 10)
    Q = np.concatenate([own, X, own[::-1]])
    found = _farthest_points(Q, X, n)
    assert len(found) == min(n, 20)
    np.testing.assert_array_equal(found, naive_farthest(Q, X, n))


def test_no_candidates_no_points():
    assert _farthest_points(np.empty((0, 4)), unit_rows(3, 4, 0), 5).shape == (0, 4)
