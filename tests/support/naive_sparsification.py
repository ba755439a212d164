"""Slow twins of the selection of sparse points, as plain as they can be written."""

import numpy as np


def naive_farthest_points(X, n_sparse):
    """Farthest point sampling with explicit distances, starting from the row farthest from the mean."""
    selected = [max(range(len(X)), key=lambda i: np.sum((X[i] - X.mean(axis=0)) ** 2))]
    while len(selected) < n_sparse:
        selected.append(max(range(len(X)), key=lambda i: min(np.linalg.norm(X[i] - X[s]) for s in selected)))
    return selected


def covering_radius(X, selected):
    """Largest distance of any row to its nearest selected row."""
    return max(min(np.linalg.norm(x - X[s]) for s in selected) for x in X)


def smallest_separation(X):
    """Smallest distance between two rows."""
    return min(np.linalg.norm(X[i] - X[j]) for i in range(len(X)) for j in range(i))
