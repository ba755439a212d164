"""Entropy-regularised matching (Sinkhorn balancing) of blocks of local similarities."""

from __future__ import annotations

import numpy as np

from gapkit._numba import inlined, njit

# Beyond this spread of the exponents, products of exponentials leave double precision: balance logarithms instead.
PLAIN_RANGE = 200.0


@njit
def match_pairs(C, first_a, first_b, pairs, alpha, threshold, max_iterations):
    """Match structures (a, b) = pairs[p] of the block C; serial, because computing C takes as long."""
    n_pairs = len(pairs)
    similarity = np.empty(n_pairs)
    converged = np.empty(n_pairs, dtype=np.bool_)
    for p in range(n_pairs):
        a, b = pairs[p, 0], pairs[p, 1]
        local = C[first_a[a] : first_a[a + 1], first_b[b] : first_b[b + 1]].copy()
        similarity[p], converged[p] = match(local, alpha, threshold, max_iterations)
    return similarity, converged


@inlined
def match(C, alpha, threshold, max_iterations):
    """Tr(Pᵀ C), P the balanced plan with rows summing to 1/n and columns to 1/m."""
    n, m = C.shape
    smallest, largest = C.min(), C.max()
    P = np.empty((n, m))
    for i in range(n):
        for j in range(m):
            P[i, j] = (C[i, j] - largest) / alpha
    if (largest - smallest) / alpha < PLAIN_RANGE:
        converged = plan(P, threshold, max_iterations)
    else:
        converged = log_plan(P, threshold, max_iterations)
    similarity = 0.0
    for i in range(n):
        for j in range(m):
            similarity += P[i, j] * C[i, j]
    return similarity, converged


@inlined
def plan(G, threshold, max_iterations):
    """Replace the exponents by P_ij = u_i G_ij v_j, G = exp(exponents)."""
    n, m = G.shape
    for i in range(n):
        for j in range(m):
            G[i, j] = np.exp(G[i, j])
    u, v = np.full(n, 1.0 / n), np.full(m, 1.0 / m)
    u_old, v_old = np.empty(n), np.empty(m)
    converged = False
    for iteration in range(max_iterations):
        u_old[:] = u
        v_old[:] = v
        v[:] = 0.0
        for i in range(n):
            for j in range(m):
                v[j] += G[i, j] * u[i]
        for j in range(m):
            v[j] = 1.0 / (m * v[j])
        for i in range(n):
            total = 0.0
            for j in range(m):
                total += G[i, j] * v[j]
            u[i] = 1.0 / (n * total)
        if checks(iteration) and change(u, u_old) + change(v, v_old) <= threshold:
            converged = True
            break
    for i in range(n):
        for j in range(m):
            G[i, j] *= u[i] * v[j]
    return converged


@inlined
def log_plan(M, threshold, max_iterations):
    """Replace the exponents by P_ij = exp(log u_i + M_ij + log v_j), found with M / s for s = 2^k, ..., 2, 1 in turn.

    Few digits of log u and log v are wrong after a stage, so that the next has little left to do: balancing at once
    would need a number of steps that grows like the exponents.
    """
    n, m = M.shape
    log_u, log_v = np.full(n, -np.log(n)), np.full(m, -np.log(m))
    stretch = 1.0
    while -M.min() / stretch > PLAIN_RANGE:
        stretch *= 2.0
    while True:
        converged = balance_logs(M / stretch, log_u, log_v, threshold, max_iterations)
        if stretch == 1.0:
            break
        stretch /= 2.0
        log_u *= 2.0
        log_v *= 2.0
    for i in range(n):
        for j in range(m):
            M[i, j] = np.exp(log_u[i] + M[i, j] + log_v[j])
    return converged


@inlined
def balance_logs(M, log_u, log_v, threshold, max_iterations):
    n, m = M.shape
    M_T = M.T.copy()
    for iteration in range(max_iterations):
        u_old, v_old = log_u.copy(), log_v.copy()
        for j in range(m):
            log_v[j] = -np.log(m) - log_sum(M_T[j], log_u)
        for i in range(n):
            log_u[i] = -np.log(n) - log_sum(M[i], log_v)
        if checks(iteration) and log_change(log_u, u_old) + log_change(log_v, v_old) <= threshold:
            return True
    return False


@inlined
def checks(iteration):
    # dscribe's schedule: every step but each fifth, so that both stop at the same step
    return iteration % 5 != 0


@inlined
def change(x, old):
    """|x - old|² / |x|²."""
    difference, square = 0.0, 0.0
    for i in range(len(x)):
        difference += (x[i] - old[i]) ** 2
        square += x[i] ** 2
    return difference / square


@inlined
def log_change(log_x, log_old):
    """`change` of the exponentials, scaled by the largest of them."""
    largest = log_x.max()
    difference, square = 0.0, 0.0
    for i in range(len(log_x)):
        x = np.exp(log_x[i] - largest)
        difference += (x - np.exp(log_old[i] - largest)) ** 2
        square += x * x
    return difference / square


@inlined
def log_sum(a, b):
    """Log Σ_k exp(a_k + b_k)."""
    largest = -np.inf
    for k in range(len(a)):
        largest = max(largest, a[k] + b[k])
    total = 0.0
    for k in range(len(a)):
        total += np.exp(a[k] + b[k] - largest)
    return largest + np.log(total)
