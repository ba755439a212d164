"""Derivatives of a descriptor by the neighbours of a centre, and their products with sparse points."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gapkit.geometry.neighbourhoods import Neighbourhoods

if TYPE_CHECKING:
    pass

Slots = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class RowProducts(NamedTuple):
    """T, shape (n_rows, n_sparse), 1/Å or 1: products of `Tangents` of normalised features with the sparse points.

    `row_first`, `atom` and `slot_first` are those of `Tangents`.
    """

    T: np.ndarray
    row_first: np.ndarray
    atom: np.ndarray
    slot_first: np.ndarray


class Points(NamedTuple):
    """Normalised features Q (n_centres, n_features), their norms, sparse points X (n_sparse, n_features), S = Q Xᵀ."""

    Q: np.ndarray
    norm: np.ndarray
    X: np.ndarray
    S: np.ndarray


def neighbour_slots(nb: Neighbourhoods) -> Slots:
    """Number the distinct neighbour atoms of each centre, the centre's own images left out (slot -1).

    Returns
    -------
    slot : ndarray of int64, shape (n_pairs,)
    n_slots : ndarray of int64, shape (n_centres,)
        Number of neighbour atoms.
    atom : ndarray of int64, shape ((n_slots + 1).sum(),)
        The neighbour atoms of each centre, increasing, and then the centre itself.
    slot_first : ndarray of int64, shape (n_centres + 1,)
    """
    n_centres = len(nb.centres)
    centre = np.repeat(np.arange(n_centres), np.diff(nb.first))
    other = nb.j != nb.centres[centre]
    keys, inverse = np.unique(centre[other] * nb.n_atoms + nb.j[other], return_inverse=True)
    n_slots = np.bincount(keys // nb.n_atoms, minlength=n_centres)
    before = np.concatenate(([0], np.cumsum(n_slots)))
    slot = np.full(len(nb.j), -1)
    slot[other] = inverse - before[centre[other]]
    atom = np.insert(keys % nb.n_atoms, before[1:], nb.centres)
    return slot, n_slots, atom, before + np.arange(n_centres + 1)


def row_offsets(slot_first: np.ndarray) -> np.ndarray:
    """First row of every centre and the number of rows, shape (n_centres + 1,): three per slot, six for the strain."""
    return 3 * slot_first + 6 * np.arange(len(slot_first))


class Tangents(NamedTuple):
    """∂(features of a centre)/∂(positions of its neighbour atoms, strain).

    Attributes
    ----------
    J : ndarray, shape (n_rows, n_features)
        Per centre: 3 rows (x, y, z) for each distinct neighbour atom other than the centre and 3 for the centre
        itself, 1/Å, then 6 rows for the symmetric strain (xx yy zz yz xz xy).
    row_first : ndarray of int64, shape (n_centres + 1,)
        Rows of centre c are ``row_first[c]:row_first[c + 1]``.
    atom : ndarray of int64, shape (n_slots,)
        The atoms of the position rows, centre after centre, the centre itself being the last of its own; those of
        centre c are ``slot_first[c]:slot_first[c + 1]``.
    slot_first : ndarray of int64, shape (n_centres + 1,)
    """

    J: np.ndarray
    row_first: np.ndarray
    atom: np.ndarray
    slot_first: np.ndarray
