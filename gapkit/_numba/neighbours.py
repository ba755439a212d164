"""From half a neighbour list to neighbourhoods; pairs of a list with a skin at new positions; the closest pairs."""

from __future__ import annotations

import numpy as np

from gapkit._numba import njit


@njit
def both_ways(i, j, S, D, n_atoms):
    """Every pair and its reverse by first atom, in the order of the list: first, j, S, D; and the smallest |D|²."""
    smallest = np.inf
    first = np.zeros(n_atoms + 1, dtype=np.int64)
    for p in range(len(i)):
        first[i[p] + 1] += 1
        first[j[p] + 1] += 1
    for atom in range(n_atoms):
        first[atom + 1] += first[atom]
    to, free = np.empty(2 * len(i), dtype=np.int64), first[:-1].copy()
    both_S, both_D = np.empty((2 * len(i), 3), dtype=S.dtype), np.empty((2 * len(i), 3))
    for p in range(len(i)):
        a, b = free[i[p]], free[j[p]] + (i[p] == j[p])
        free[i[p]] += 1
        free[j[p]] += 1
        to[a], to[b] = j[p], i[p]
        for x in range(3):
            both_S[a, x], both_S[b, x] = S[p, x], -S[p, x]
            both_D[a, x], both_D[b, x] = D[p, x], -D[p, x]
        smallest = min(smallest, D[p, 0] * D[p, 0] + D[p, 1] * D[p, 1] + D[p, 2] * D[p, 2])
    return first, to, both_S, both_D, smallest


@njit
def within(positions, cell, first, j, S, cutoff, new_first, new_j, new_S, D):
    """Pairs of the list (first, j, S; all atoms are centres) that are now closer than `cutoff`; the smallest |D|²."""
    n, smallest = 0, np.inf
    new_first[0] = 0
    for i in range(len(first) - 1):
        for k in range(first[i], first[i + 1]):
            square = 0.0
            for a in range(3):
                shift = S[k, 0] * cell[0, a] + S[k, 1] * cell[1, a] + S[k, 2] * cell[2, a]
                D[n, a] = positions[j[k], a] - positions[i, a] + shift
                square += D[n, a] * D[n, a]
            if square < cutoff * cutoff:
                new_j[n] = j[k]
                for a in range(3):
                    new_S[n, a] = S[k, a]
                n += 1
                smallest = min(smallest, square)
        new_first[i + 1] = n
    return smallest


@njit
def largest_displacement(positions, reference):
    """The longest |r_i - r_i'|."""
    largest = 0.0
    for i in range(positions.shape[0]):
        square = 0.0
        for a in range(3):
            square += (positions[i, a] - reference[i, a]) ** 2
        largest = max(largest, square)
    return np.sqrt(largest)


@njit
def closest_pairs(first, centres, j, D, kind, squares):
    """Lower `squares` (n_kinds, n_kinds) to the smallest |D|² of the pairs of each two kinds of atoms."""
    for c in range(len(centres)):
        a = kind[centres[c]]
        for p in range(first[c], first[c + 1]):
            square = D[p, 0] * D[p, 0] + D[p, 1] * D[p, 1] + D[p, 2] * D[p, 2]
            squares[a, kind[j[p]]] = min(squares[a, kind[j[p]]], square)


@njit
def lowest_ratio(first, centres, j, D, numbers, squares, below):
    """The pair of the smallest |D|² / `squares`[z_i, z_j] less than `below`: its atoms, -1 if there is none, and |D|².

    Only pairs closer than the largest length of the centre's species are compared. Of pairs of the same ratio, 0 where
    the length is infinite, the closest is taken.
    """
    largest, atom, other, smallest, lowest = _largest(numbers, squares), -1, -1, 0.0, below
    for c in range(len(centres)):
        a = numbers[centres[c]]
        near = below * largest[a]
        for p in range(first[c], first[c + 1]):
            square = D[p, 0] * D[p, 0] + D[p, 1] * D[p, 1] + D[p, 2] * D[p, 2]
            if square < near:
                ratio = square / squares[a, numbers[j[p]]]
                if ratio < lowest or (ratio == lowest and square < smallest):
                    atom, other, smallest, lowest = centres[c], j[p], square, ratio
    return atom, other, smallest


@njit
def _largest(numbers, squares):
    """For each atomic number the largest of `squares` (n_z, n_z) among those that occur, 0 if it does not occur."""
    occurs = np.zeros(len(squares), dtype=np.bool_)
    for n in numbers:
        occurs[n] = True
    largest = np.zeros(len(squares))
    for a in np.flatnonzero(occurs):
        for b in np.flatnonzero(occurs):
            largest[a] = max(largest[a], squares[a, b])
    return largest
