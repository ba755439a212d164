"""Screened Coulomb repulsion of pairs with a smooth switch."""

from __future__ import annotations

import numpy as np

from gapkit._numba import inlined, njit


@inlined
def screening(d):
    """φ(d) and φ'(d)."""
    a, b = 0.18175 * np.exp(-3.19980 * d), 0.50986 * np.exp(-0.94229 * d)
    c, e = 0.28022 * np.exp(-0.40290 * d), 0.02817 * np.exp(-0.20162 * d)
    return a + b + c + e, -3.19980 * a - 0.94229 * b - 0.40290 * c - 0.20162 * e


@inlined
def switch(r, inner, outer):
    """s(r) and s'(r)."""
    if r <= inner:
        return 1.0, 0.0
    width = outer - inner
    t = (r - inner) / width
    u = 1.0 - t
    return u * u * u * (1.0 + 3.0 * t + 6.0 * t * t), -30.0 * t * t * u * u / width


@njit
def screened_repulsion(first, j, D, kinds, table):
    """Local energies, forces and dE/dε of Σ_pairs V(r); every pair is listed for both its atoms.

    table[kind, kind] = Z Z' e²/(4πε₀), 1/a, inner, outer.
    """
    n_atoms = len(first) - 1
    local, forces, strain = np.zeros(n_atoms), np.zeros((n_atoms, 3)), np.zeros((3, 3))
    for i in range(n_atoms):
        for k in range(first[i], first[i + 1]):
            strength, inverse, inner, outer = table[kinds[i], kinds[j[k]]]
            r = np.sqrt(D[k, 0] * D[k, 0] + D[k, 1] * D[k, 1] + D[k, 2] * D[k, 2])
            if r >= outer:
                continue
            phi, phi_slope = screening(r * inverse)
            s, s_slope = switch(r, inner, outer)
            value = strength / r * phi
            slope = strength / r * (phi_slope * inverse * s + phi * s_slope) - value * s / r
            local[i] += 0.5 * value * s
            for a in range(3):
                forces[i, a] += slope * D[k, a] / r  # ∂r/∂r_i = -D/r
                for b in range(3):
                    strain[a, b] += 0.5 * slope * D[k, a] * D[k, b] / r
    return local, forces, strain


@njit
def repulsion_gradients(first, centres, j, D, kinds, table, e, g):
    """½ Σ_j V(r_ij) of each centre in e (n_centres,), and its gradients by D in g (n_pairs, 3); table as above."""
    for c in range(len(centres)):
        e[c] = 0.0
        for k in range(first[c], first[c + 1]):
            strength, inverse, inner, outer = table[kinds[centres[c]], kinds[j[k]]]
            r = np.sqrt(D[k, 0] * D[k, 0] + D[k, 1] * D[k, 1] + D[k, 2] * D[k, 2])
            slope = 0.0
            if r < outer:
                phi, phi_slope = screening(r * inverse)
                s, s_slope = switch(r, inner, outer)
                value = strength / r * phi
                slope = strength / r * (phi_slope * inverse * s + phi * s_slope) - value * s / r
                e[c] += 0.5 * value * s
            for a in range(3):
                g[k, a] = 0.5 * slope * D[k, a] / r
