"""Slow, obvious twins of pairs, triplets, symmetry functions and inverse powers, for positions of any floating type.

As in `naive`, complex positions give exact derivatives. They share with gapkit the fitted numbers: sparse points and W.
"""

from __future__ import annotations

from itertools import combinations, combinations_with_replacement

import numpy as np
from ase.data import atomic_numbers

from gapkit import InversePowers, Linear, Pair, Triplet

WIDE = np.longdouble


def pairs(atoms, cutoff, positions=None, cell=None):
    """i, j and r_j - r_i + shift of all pairs, from `naive.find_pairs`."""
    from naive import find_pairs

    positions = atoms.positions.astype(WIDE) if positions is None else positions
    cell = atoms.cell.array.astype(WIDE) if cell is None else cell
    i, j, shift = find_pairs(atoms, cutoff)
    return i, j, positions[j] + shift @ cell - positions[i]


def length(D):
    """|D| without a complex conjugate, so that complex steps pass."""
    return np.sqrt(np.sum(D * D, axis=-1))


def taper(r, cutoff, width):
    """1 - 35x⁴ + 84x⁵ - 70x⁶ + 20x⁷ from cutoff - width to cutoff."""
    x = (r - WIDE(cutoff) + WIDE(width)) / WIDE(width)
    w = 1 - 35 * x**4 + 84 * x**5 - 70 * x**6 + 20 * x**7
    return np.where(x.real <= 0, 1.0, np.where(x.real >= 1, 0.0, w))


def transformed(term, r):
    """The coordinate t(r) of a pair that the kernel compares."""
    c = WIDE(term.cutoff)
    return {"distance": r, "logarithm": c * np.log(r / c), "inverse": -c * c / r}[term.transform]


def split(X, n_species):
    """Keys and coordinates, and W of all groups as one block-diagonal matrix."""
    n = {2: 3, 3: 6}[n_species]
    W = np.zeros((len(X), len(X)), dtype=WIDE)
    for key in np.unique(X[:, :n_species], axis=0):
        own = np.flatnonzero(np.all(X[:, :n_species] == key, axis=1))
        W[np.ix_(own, own)] = X[own, n : n + len(own)]
    return X[:, :n], W


def pair_features(term, X, atoms, positions=None, cell=None):
    """φ of the whole structure, shape (n_columns,)."""
    points, W = split(X, 2)
    i, j, D = pairs(atoms, term.cutoff, positions, cell)
    r = length(D)
    Z = np.sort(atoms.numbers[np.column_stack([i, j])], axis=1)
    raw = []
    for a, b, t in points:
        own = np.all((a, b) == Z, axis=1)
        z = (transformed(term, r[own]) - WIDE(t)) / WIDE(term.length_scale)
        raw.append(0.5 * np.sum(taper(r[own], term.cutoff, term.cutoff_width) * np.exp(-0.5 * z * z)))
    return np.array(raw) @ W


def triplet_features(term, X, atoms, positions=None, cell=None):
    """φ of the whole structure from all triangles with two sides within the cutoff, shape (n_columns,)."""
    points, W = split(X, 3)
    i, j, D = pairs(atoms, term.cutoff, positions, cell)
    raw = np.zeros(len(points), dtype=D.dtype)
    ell = WIDE(term.length_scale)
    for c in range(len(atoms)):
        for p, k in combinations(np.flatnonzero(i == c), 2):
            if atoms.numbers[j[p]] > atoms.numbers[j[k]]:
                p, k = k, p
            Z = (atoms.numbers[c], atoms.numbers[j[p]], atoms.numbers[j[k]])
            r, s, q = length(D[p]), length(D[k]), length(D[p] - D[k])
            own = np.flatnonzero(np.all(points[:, :3] == Z, axis=1))
            a, b, e = points[own, 3:].astype(WIDE).T

            def close(x, y, z, a=a, b=b, e=e):
                return np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2 + (z - e) ** 2) / ell**2)

            value = 0.5 * (close(r, s, q) + close(s, r, q)) if Z[1] == Z[2] else close(r, s, q)
            w = taper(np.array([r, s]), term.cutoff, term.cutoff_width)
            raw[own] += w[0] * w[1] * value
    return raw @ W


def inverse_powers(function, atoms, positions=None, cell=None):
    """½ Σ w(r) (r/r_c)⁻ⁿ for each pair of species and exponent."""
    i, j, D = pairs(atoms, function.cutoff, positions, cell)
    r = length(D)
    Z = np.sort(atoms.numbers[np.column_stack([i, j])], axis=1)
    numbers = sorted(atomic_numbers[s] for s in function.species)
    found = []
    for pair in combinations_with_replacement(numbers, 2):
        x = r[np.all(pair == Z, axis=1)] / WIDE(function.cutoff)
        w = taper(x * WIDE(function.cutoff), function.cutoff, function.cutoff)
        found += [0.5 * np.sum(w * x ** WIDE(-n)) for n in function.exponents]
    return np.array(found)


def feature_energy(gap, block, atoms, positions=None, cell=None):
    """Σ_k w_k φ_k with w = δ² α."""
    term = gap.terms[block.term]
    w = WIDE(term.delta) ** 2 * gap.alpha_[block.columns].astype(WIDE)
    if isinstance(term, Linear):
        if not isinstance(term.function, InversePowers):
            return np.sum(w * np.array([np.sum(atoms.symbols == s) for s in term.function.species]))
        return np.sum(w * block.X[:, 0] * inverse_powers(term.function, atoms, positions, cell))
    features = {Pair: pair_features, Triplet: triplet_features}[type(term)]
    return np.sum(w * features(term, block.X, atoms, positions, cell))


def symmetry_functions(acsf, atoms, positions=None, cell=None):
    """(1, scaled G) of every atom, shape (n_atoms, n_features)."""
    i, j, D = pairs(atoms, acsf.cutoff, positions, cell)
    pi, rc = 4 * np.arctan(WIDE(1)), WIDE(acsf.cutoff)
    r, numbers = length(D), sorted(atomic_numbers[s] for s in acsf.species)

    def f(r):
        return np.where(r.real < acsf.cutoff, 0.5 * (1 + np.cos(pi * r / rc)), 0.0)

    rows = []
    for c in range(len(atoms)):
        row = [1.0]
        for z in numbers:
            x = r[(i == c) & (atoms.numbers[j] == z)]
            row.append(np.sum(f(x)))
            row += [np.sum(np.exp(-WIDE(a) * (x - WIDE(b)) ** 2) * f(x)) for a, b in acsf.g2]
            row += [np.sum(np.cos(WIDE(k) * x) * f(x)) for k in acsf.g3]
        own = np.flatnonzero(i == c)
        for z in [(a, b) for k, b in enumerate(numbers) for a in numbers[: k + 1]]:
            both = [(p, k) for p, k in combinations(own, 2) if tuple(sorted(atoms.numbers[[j[p], j[k]]])) == z]
            p, k = np.array(both, dtype=int).reshape(-1, 2).T
            cosine, q = np.sum(D[p] * D[k], axis=1) / (r[p] * r[k]), length(D[p] - D[k])
            for functions, third in ((acsf.g4, True), (acsf.g5, False)):
                for eta, zeta, sign in functions:
                    gauss = np.exp(-WIDE(eta) * (r[p] ** 2 + r[k] ** 2 + (q**2 if third else 0))) * f(r[p]) * f(r[k])
                    gauss = gauss * f(q) if third else gauss
                    x = 0.5 * (1 + WIDE(sign) * cosine)
                    x = np.where(x.real > 0, x, 0.0)  # a straight angle, to round-off
                    row.append(np.sum(2 * x ** WIDE(zeta) * gauss))
        rows.append(row)
    used = np.arange(acsf.n_all) if acsf.columns is None else np.asarray(acsf.columns)
    return np.array(rows)[:, np.concatenate([[0], 1 + used])] * acsf.feature_scale
