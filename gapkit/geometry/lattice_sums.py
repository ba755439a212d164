"""Sums of 1/r and of 1/r⁶ over all atoms and periodic images: potentials of every kind of charge at every atom.

P. P. Ewald, Ann. Phys. 369, 253 (1921) for 1/r; D. E. Williams, Acta Cryst. A 27, 452 (1971) for 1/r⁶. With
w = √(ln 1/tolerance) both sums are cut where their terms have decayed to the tolerance: r ≤ w/a and k ≤ 2 a w. The
splitting a makes them equally long and has no influence on the result.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from ase import Atoms
from scipy.special import erfc

from gapkit._numba.ewald import real_space, reciprocal_space
from gapkit.errors import InputError
from gapkit.geometry.neighbourhoods import find_neighbourhoods

PAIR_COST = 25.0  # cost of a pair, its search included, relative to one atom in one reciprocal vector
MOST_WAVES = 2_000_000  # reciprocal vectors; a real cell has some thousands

Power = Literal[1, 6]


class LatticeSums(NamedTuple):
    """Potentials of every kind of charge at every atom, with derivatives.

    Energies are E_cd = ½ Σ_{i of kind c} q_i potential[i, d]; the derivative of their sum Σ_cd E_cd by the position of
    atom i is q_i Σ_d gradient[i, d].

    Attributes
    ----------
    potential : ndarray, shape (n_atoms, n_kinds)
        Σ_j q_j f(r_ij) over the atoms j of a kind and all images, the atom itself excepted; e/Å or e/Å⁶.
    gradient : ndarray, shape (n_atoms, n_kinds, 3)
        Its derivative by the position of the atom, all others fixed.
    strain : ndarray, shape (n_kinds, n_kinds, 3, 3)
        dE_cd/dε.
    """

    potential: np.ndarray
    gradient: np.ndarray
    strain: np.ndarray


def check_periodicity(atoms: Atoms, what: str) -> None:
    """Raise `InputError` for a slab, a wire, or a periodic cell without volume; `what` cannot be summed in them."""
    if atoms.pbc.any() and not atoms.pbc.all():
        raise InputError(
            f"{what} needs three periodic directions or none, not pbc = {atoms.pbc.tolist()}: "
            "give the slab or wire a vacuum and set pbc=True."
        )
    if atoms.pbc.all() and np.linalg.matrix_rank(atoms.cell.array) < 3:
        raise InputError("the periodic cell vectors depend on each other: give independent ones.")


def lattice_sums(
    atoms: Atoms,
    charges: np.ndarray,
    kinds: np.ndarray,
    n_kinds: int,
    power: Power = 1,
    width: float = 0.0,
    tolerance: float = 1e-10,
    splitting: float | None = None,
) -> LatticeSums:
    """Sums of q_j f(r_ij) over atoms and images; f = 1/r or 1/r⁶, damped below `width`.

    In three-dimensional cells the k = 0 term of 1/r is left out: a uniform background makes every kind neutral, and
    conducting boundary conditions remove the field of a cell's dipole. Without periodicity the sum is direct.

    Parameters
    ----------
    atoms : Atoms
        Periodic in three directions or in none.
    charges : ndarray, shape (n_atoms,)
    kinds : ndarray of int, shape (n_atoms,)
        Kind of each charge, below `n_kinds`.
    power : {1, 6}
    width : float
        Å. With b = 1/(√2 width): f = erf(b r)/r, or [1 - e^{-u} (1 + u + u²/2)]/r⁶ with u = b² r²; 0 is no damping.
    tolerance : float
        Size of the terms left out, relative to a (1/r) or a⁶ (1/r⁶), which are those of a few neighbours.
    splitting : float, optional
        a, 1/Å; for tests.

    Raises
    ------
    InputError
        For partly periodic structures, cells with too many reciprocal vectors, and as `find_neighbourhoods`.
    """
    check_periodicity(atoms, f"the sum of 1/r{'⁶' if power == 6 else ''}")
    n, decay = len(atoms), np.sqrt(np.log(1.0 / tolerance))
    sums = LatticeSums(np.zeros((n, n_kinds)), np.zeros((n, n_kinds, 3)), np.zeros((n_kinds, n_kinds, 3, 3)))
    b = 1.0 / (np.sqrt(2.0) * width) if width > 0 else 0.0
    if atoms.pbc.any():
        a = splitting or (2 * np.pi**3 * PAIR_COST * n / atoms.get_volume() ** 2) ** (1 / 6)
        a = min(a, b) if b > 0 else a  # a function that smooth needs no sum in real space
        cutoff = decay / a
        _add_reciprocal(sums, atoms, charges, kinds, power, a, 2.0 * a * decay)
        _add_constants(sums, atoms.get_volume(), charges, kinds, power, a, b)
    else:
        a, cutoff = 0.0, 1.0 + float(np.linalg.norm(np.ptp(atoms.positions, axis=0)))
    if a == b > 0:
        return sums
    nb = find_neighbourhoods(atoms, cutoff)
    real_space(nb.first, nb.j, nb.D, charges, kinds, a, b, power, *sums)
    return sums


def _add_reciprocal(
    sums: LatticeSums, atoms: Atoms, charges: np.ndarray, kinds: np.ndarray, power: Power, a: float, k_max: float
) -> None:
    n, k = _half_lattice(atoms, k_max)
    if len(n) == 0:
        return
    value, slope = _transform(np.einsum("ka,ka->k", k, k), a, power)
    scale = 2.0 / atoms.get_volume()
    scaled = np.ascontiguousarray(np.linalg.solve(atoms.cell.array.T, atoms.positions.T).T)
    reciprocal_space(n, k, scale * value, scale * slope, scaled, charges, kinds, *sums)


def _half_lattice(atoms: Atoms, k_max: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices n and vectors k (1/Å) with 0 < |k| ≤ k_max, one of each pair ±k; n[:, 0] ≥ 0."""
    limits = np.floor(k_max * np.linalg.norm(atoms.cell.array, axis=1) / (2 * np.pi)).astype(int)
    if (limits[0] + 1) * np.prod(2.0 * limits[1:] + 1) > 10.0 * MOST_WAVES:
        raise InputError(
            f"the cell {np.round(atoms.cell.lengths(), 1).tolist()} Å needs more than {MOST_WAVES} reciprocal vectors: "
            "check the cell and its units (Å), or reduce it."
        )
    ranges = [np.arange(limits[0] + 1), *(np.arange(-limit, limit + 1) for limit in limits[1:])]
    n = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    first, second, third = n.T
    n = n[(first > 0) | (second > 0) | ((second == 0) & (third > 0))]
    k = 2 * np.pi * n @ np.linalg.inv(atoms.cell.array).T
    near = np.einsum("ka,ka->k", k, k) <= k_max**2
    return np.ascontiguousarray(n[near]), np.ascontiguousarray(k[near])


def _transform(k2: np.ndarray, a: float, power: Power) -> tuple[np.ndarray, np.ndarray]:
    """Fourier transform of the smooth part and its derivative by k², Å² and Å⁴ (for 1/r⁶: 1/Å³ and 1/Å)."""
    h2 = k2 / (4 * a * a)  # (k/2a)²
    if power == 1:
        value = 4 * np.pi / k2 * np.exp(-h2)
        return value, -value * (1 / k2 + 1 / (4 * a * a))
    h, root = np.sqrt(h2), np.sqrt(np.pi)
    value = np.pi**1.5 * a**3 / 3 * ((1 - 2 * h2) * np.exp(-h2) + 2 * root * h**3 * erfc(h))
    return value, np.pi**1.5 * a / 4 * (root * h * erfc(h) - np.exp(-h2))


def _add_constants(
    sums: LatticeSums, volume: float, charges: np.ndarray, kinds: np.ndarray, power: Power, a: float, b: float
) -> None:
    """Subtract the atoms' own smooth parts; correct the k = 0 terms."""
    own = 2 * a / np.sqrt(np.pi) if power == 1 else a**6 / 6
    sums.potential[np.arange(len(charges)), kinds] -= own * charges
    total = np.bincount(kinds, charges, minlength=sums.potential.shape[1])
    if power == 1:  # ∫ (g_a - g_b) d³r is the part of k = 0 in the real-space sum
        constant = -np.pi * (1 / a**2 - (1 / b**2 if b > 0 else 0.0)) / volume
    else:
        constant = np.pi**1.5 * a**3 / 3 / volume
    sums.potential[:] += constant * total
    sums.strain[:] -= 0.5 * constant * np.einsum("c,d,ab->cdab", total, total, np.eye(3))
