"""Slow, obvious twins of the loops and of the Gaussian-process formulas.

The twin of the descriptor and of the whole potential takes positions of any floating type. In np.longdouble (64 bits
of mantissa) it is exact for every purpose here; in np.clongdouble it is analytic in the positions (polynomials, exp,
roots; nothing is conjugated), so that f'(x) = Im f(x + i h)/h without any difference of nearly equal numbers: the
complex step (Squire and Trapp, SIAM Rev. 40, 110 (1998)). It shares with gapkit only dscribe's α and β, which are the
definition of the radial basis, and the fitted numbers: sparse points, weights and e0.
"""

from __future__ import annotations

from itertools import combinations_with_replacement, product
from math import comb, factorial, perm

import naive_terms
import numpy as np
from ase.data import atomic_numbers
from scipy.special import sph_harm_y

from gapkit import ACSF, DotProduct, Term

WIDE = np.longdouble
PI = 4 * np.arctan(WIDE(1))


def real_harmonics(l_max: int, D: np.ndarray) -> np.ndarray:
    """r^l Y_lm from scipy's complex harmonics, index l² + l + m."""
    r = np.linalg.norm(D)
    theta, phi = np.arctan2(np.hypot(D[0], D[1]), D[2]), np.arctan2(D[1], D[0])
    S = []
    for l in range(l_max + 1):
        for m in range(-l, l + 1):
            Y = sph_harm_y(l, abs(m), theta, phi) * (-1) ** m
            S.append(r**l * (Y.real if m == 0 else np.sqrt(2) * (Y.real if m > 0 else Y.imag)))
    return np.array(S)


def solid_harmonics(l_max: int, D: np.ndarray) -> np.ndarray:
    """r^l Y_lm of D (n_pairs, 3) as sums over monomials of x, y, z and r²: shape (n_pairs, (l_max + 1)²).

    Π_l^m = 2^-l Σ_k (-1)^k C(l,k) C(2l-2k,l) (l-2k)!/(l-2k-m)! r^2k z^(l-2k-m)
    """
    x, y, z = D.T
    r2 = x * x + y * y + z * z
    S = np.zeros((len(D), (l_max + 1) ** 2), dtype=D.dtype)
    for m in range(l_max + 1):
        # (x + i y)^m = A + i B without an imaginary unit: i^(m-p) is 1, i, -1, -i
        terms = [comb(m, p) * x**p * y ** (m - p) * (1, 1, -1, -1)[(m - p) % 4] for p in range(m + 1)]
        A = sum((t for p, t in enumerate(terms) if (m - p) % 2 == 0), np.zeros_like(x))
        B = sum((t for p, t in enumerate(terms) if (m - p) % 2 == 1), np.zeros_like(x))
        for l in range(m, l_max + 1):
            P = np.zeros_like(x)
            for k in range((l - m) // 2 + 1):
                factor = (-1) ** k * comb(l, k) * comb(2 * l - 2 * k, l) * perm(l - 2 * k, m)
                P += WIDE(factor) / 2**l * r2**k * z ** (l - 2 * k - m)
            N = np.sqrt((2 - (m == 0)) * WIDE(2 * l + 1) / (4 * PI) * factorial(l - m) / factorial(l + m))
            S[:, l * l + l + m] = N * P * A
            if m:
                S[:, l * l + l - m] = N * P * B
    return S


def gaussians(soap, r: np.ndarray) -> np.ndarray:
    """w(r) (π/η)^(3/2) f_lk^(l+3/2) exp(-α_lk f_lk r²), w = (1 + 2x³ - 3x²)^m: shape (n_r, l_max + 1, n_max)."""
    alpha = soap.dscribe(False)._alphas.astype(WIDE)
    eta, x = 1 / (2 * WIDE(soap.atom_sigma) ** 2), r / WIDE(soap.cutoff)
    f = 1 / (1 + alpha / eta)
    height = (PI / eta) ** WIDE(1.5) * f ** (np.arange(soap.l_max + 1)[:, None] + WIDE(1.5))
    w = ((1 - x) ** 2 * (1 + 2 * x)) ** WIDE(soap.smoothness)
    return w[:, None, None] * height * np.exp(-alpha * f * (r * r)[:, None, None])


def radial_functions(soap, r: np.ndarray) -> np.ndarray:
    """ρ_nl(r) = Σ_k β_lnk times the k-th of `gaussians`: shape (n_r, l_max + 1, n_max)."""
    return np.einsum("lnk,rlk->rln", soap.dscribe(False)._betas.astype(WIDE), gaussians(soap, r))


def find_pairs(atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """i, j and periodic shift of all pairs nearer than `cutoff`, by trying every image in a large enough box."""
    heights = 1 / np.linalg.norm(np.linalg.pinv(atoms.cell.array[atoms.pbc]), axis=0)
    spread = np.linalg.norm(np.ptp(atoms.positions, axis=0))
    reach = np.zeros(3, dtype=int)
    reach[atoms.pbc] = np.ceil((cutoff + spread) / heights)
    shifts = np.array(list(product(*(range(-n, n + 1) for n in reach))))
    D = atoms.positions[None, :, None] - atoms.positions[:, None, None] + shifts @ atoms.cell.array
    r = np.linalg.norm(D, axis=-1)
    i, j, s = np.nonzero((r < cutoff) & (r > 1e-6))
    return i, j, shifts[s]


def density_coefficients(soap, atoms, positions=None, cell=None, radial=radial_functions) -> np.ndarray:
    """c^Z_nlm(i) = Σ_j w_Z ρ_nl(r_ij) S_lm(D_ij), the centre itself included: (n_atoms, species, lm, n)."""
    positions = atoms.positions.astype(WIDE) if positions is None else positions
    cell = atoms.cell.array.astype(WIDE) if cell is None else cell
    i, j, shift = find_pairs(atoms, soap.cutoff)
    D = positions[j] + shift @ cell - positions[i]
    species = np.searchsorted(soap.numbers, atoms.numbers)
    weight = np.ones(len(soap.numbers), dtype=WIDE)
    for symbol, value in (soap.species_weights or {}).items():
        weight[np.searchsorted(soap.numbers, atomic_numbers[symbol])] = value
    l_of = np.repeat(np.arange(soap.l_max + 1), 2 * np.arange(soap.l_max + 1) + 1)
    c = np.zeros((len(atoms), len(soap.numbers), (soap.l_max + 1) ** 2, soap.n_max), dtype=D.dtype)
    own = radial(soap, np.zeros(1, dtype=WIDE))[0, 0] / np.sqrt(4 * PI)
    c[np.arange(len(atoms)), species, 0] = weight[species, None] * own
    rho = radial(soap, np.sqrt(np.sum(D * D, axis=1)))
    pairs = (weight[species[j], None] * solid_harmonics(soap.l_max, D))[:, :, None] * rho[:, l_of]
    np.add.at(c, (i, species[j]), pairs)
    return c


def power_spectrum(soap, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p^{ab}_nn'l = π sqrt(8/(2l+1)) Σ_m c^a_nlm c^b_n'lm in dscribe's order, and the factors that make p·p' complete.

    Shapes (n_atoms, n_features), (n_features,). The densities a, b are those of each pair of species ("off"), of each
    species with itself ("crossover") or with the sum of all ("mu1nu1"), or the sum with itself ("mu2").
    """
    each, total = [c[:, z] for z in range(c.shape[1])], c.sum(axis=1)
    pairs = {
        "off": list(combinations_with_replacement(each, 2)),
        "crossover": [(a, a) for a in each],
        "mu1nu1": [(a, total) for a in each],
        "mu2": [(total, total)],
    }[soap.compression]
    p, scale = [], []
    for a, b in pairs:
        for l in range(soap.l_max + 1):
            lm = slice(l * l, (l + 1) ** 2)
            full = PI * np.sqrt(WIDE(8) / (2 * l + 1)) * np.einsum("imn,imk->ink", a[:, lm], b[:, lm])
            for n, k in product(range(soap.n_max), repeat=2):
                if a is not b or n <= k:
                    p.append(full[:, n, k])
                    once = n == k if a is b else soap.compression == "mu1nu1"
                    scale.append(WIDE(1) if once else np.sqrt(WIDE(2)))
    return np.stack(p, axis=1), np.array(scale)


def features(soap, atoms) -> np.ndarray:
    """`SOAP.create` in extended precision."""
    return power_spectrum(soap, density_coefficients(soap, atoms))[0]


def energy(gap, atoms, positions=None, cell=None):
    """E = Σ_i e0 + Σ_t Σ_i Σ_m α_m k_t(q_i, x_m) of a fitted potential, q = p/|p|."""
    total = sum(WIDE(gap.e0_[symbol]) for symbol in atoms.symbols)
    for t, term in enumerate(gap.terms):
        if not isinstance(term, Term):
            own = [block for block in gap.blocks_ if block.term == t]
            total = total + sum(naive_terms.feature_energy(gap, block, atoms, positions, cell) for block in own)
            continue
        if isinstance(term.descriptor, ACSF):
            p = naive_terms.symmetry_functions(term.descriptor, atoms, positions, cell)
        else:
            p, scale = power_spectrum(term.descriptor, density_coefficients(term.descriptor, atoms, positions, cell))
            p = p * scale
        q = p / np.sqrt(np.sum(p * p, axis=1))[:, None]
        for block in gap.blocks_:
            if block.term == t:
                s = np.einsum("ix,mx->im", q[atoms.numbers == block.key], block.X.astype(WIDE))
                total = total + np.sum(kernel(term.kernel, s) * gap.alpha_[block.columns].astype(WIDE))
    return total


def kernel(parameters, s: np.ndarray) -> np.ndarray:
    """δ² s^ζ, or δ² exp(-|q - q'|²/2ℓ²) with |q - q'|² = 2 - 2s."""
    variance = WIDE(parameters.delta) ** 2
    if isinstance(parameters, DotProduct):
        return variance * s**parameters.zeta
    return variance * np.exp((s - 1) / WIDE(parameters.length_scale) ** 2)


STEP = 1e-30  # Å, or strain; its square is below the round-off of everything


def exact_forces(gap, atoms, which) -> np.ndarray:
    """F_ia = -Im E(r_ia + i h)/h of the atoms `which`, shape (len(which), 3), eV/Å."""
    positions, cell = atoms.positions.astype(np.clongdouble), atoms.cell.array.astype(np.clongdouble)
    forces = np.zeros((len(which), 3))
    for row, a in product(range(len(which)), range(3)):
        moved = positions.copy()
        moved[which[row], a] += 1j * STEP
        forces[row, a] = -np.imag(energy(gap, atoms, moved, cell)) / STEP
    return forces


def exact_stress(gap, atoms) -> np.ndarray:
    """σ_ab = Im E(ε_ab + i h)/(h V) of symmetric strains, shape (3, 3), eV/Å³."""
    stress = np.zeros((3, 3))
    for a, b in combinations_with_replacement(range(3), 2):
        deformation = np.eye(3, dtype=np.clongdouble)
        deformation[a, b] += 0.5j * STEP
        deformation[b, a] += 0.5j * STEP
        slope = np.imag(energy(gap, atoms, atoms.positions @ deformation, atoms.cell.array @ deformation)) / STEP
        stress[a, b] = stress[b, a] = slope / atoms.get_volume()
    return stress


def posterior(K_mm, K_nm, y, noise):
    """α, log p(y) and (K_mm, A) by the normal equations and a dense Gaussian."""
    A = K_mm + (K_nm / noise[:, None] ** 2).T @ K_nm
    alpha = np.linalg.solve(A, K_nm.T @ (y / noise**2))
    covariance = K_nm @ np.linalg.solve(K_mm, K_nm.T) + np.diag(noise**2)
    log_p = -0.5 * (y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(covariance)[1] + len(y) * np.log(2 * np.pi))
    return alpha, log_p, A


def dense_gp(K_nn, K_tn, K_tt, y, noise):
    """Mean and covariance of a dense Gaussian process."""
    C = K_nn + np.diag(noise**2)
    return K_tn @ np.linalg.solve(C, y), K_tt - K_tn @ np.linalg.solve(C, K_tn.T)
