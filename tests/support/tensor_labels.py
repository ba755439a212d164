"""Structures with analytic labels that turn with them: dipoles, polarisabilities, tensors of atoms, pseudo-vectors."""

from __future__ import annotations

from collections.abc import Sequence

import naive
import numpy as np
from ase import Atoms
from ase.build import molecule
from scipy.spatial.transform import Rotation

ELECTRONS = {1: 0.2, 6: -0.3, 7: -0.6, 8: -0.9}


def molecules(names: Sequence[str], n: int, seed: int = 0, size: float = 0.08) -> list[Atoms]:
    """`n` distorted and turned molecules, the names in turn, with labels of every kind."""
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(n):
        atoms = molecule(names[k % len(names)])
        atoms.positions += rng.normal(0.0, size, atoms.positions.shape)
        atoms.positions = atoms.positions @ Rotation.random(rng=rng).as_matrix().T + rng.normal(0.0, 1.0, 3)
        frames.append(labelled(atoms))
    return frames


def labelled(atoms: Atoms) -> Atoms:
    """A copy with `labels` in info and arrays."""
    new = Atoms(atoms.numbers, atoms.positions)
    for name, value in labels(new).items():
        (new.arrays if name in ("born_charges", "charges") else new.info)[name] = value
    return new


def labels(atoms: Atoms) -> dict[str, np.ndarray]:
    """Smooth short-ranged functions of the positions with the transformation laws of what they are called."""
    r, q = atoms.positions, np.array([ELECTRONS[z] for z in atoms.numbers])
    D = r[None] - r[:, None]
    d = np.linalg.norm(D, axis=2)
    w = np.exp(-0.5 * d**2) * (1.0 - np.eye(len(r)))
    field = np.einsum("j,ij,ijx->ix", q, w, D)
    wide = np.einsum("j,ij,ijx->ix", q, w * d, D)
    alpha = 2.0 * np.eye(3) * (1.5 + np.abs(q)).sum() + np.einsum("ij,ijx,ijy->xy", w, D, D)
    atomic = q[:, None, None] * np.eye(3) + np.einsum("ix,iy->ixy", field, wide)
    return {
        "scalar": np.asarray(w.sum() + q.sum()),
        "dipole": field.sum(axis=0),
        "polarizability": alpha,
        "born_charges": atomic,
        "charges": q + w.sum(axis=1),
        "axial": np.cross(field, wide).sum(axis=0),
    }


def turned(atoms: Atoms, R: np.ndarray) -> Atoms:
    """The same structure after an orthogonal transformation of space."""
    new = atoms.copy()
    new.positions = atoms.positions @ R.T
    new.set_cell(atoms.cell.array @ R.T)
    return new


def turned_value(value: np.ndarray, R: np.ndarray, rank: int) -> np.ndarray:
    """What becomes of a true tensor (…, 3, …)."""
    if rank == 1:
        return value @ R.T
    return R @ value @ R.T if rank == 2 else value


def wigner_matrix(l: int, R: np.ndarray) -> np.ndarray:
    """D with S_l(R x) = D S_l(x), by least squares over points."""
    x = np.random.default_rng(7).normal(size=(4 * l + 6, 3))
    own = slice(l * l, (l + 1) ** 2)
    S = np.array([naive.real_harmonics(l, v)[own] for v in x])
    turned = np.array([naive.real_harmonics(l, R @ v)[own] for v in x])
    return np.linalg.lstsq(S, turned, rcond=None)[0].T
