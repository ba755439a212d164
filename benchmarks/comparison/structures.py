"""The structures that are timed, and frames with labels that make both sides real potentials in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.morse import MorsePotential

SPECIES = ("Si", "Ge", "Sn", "C")  # on one lattice, so that the number of neighbours is that of silicon
LATTICE = 5.43  # Å
FRAME_ATOMS = 64


def crystal(n_atoms: int, species: Sequence[str] = SPECIES[:1], seed: int = 1, rattle: float = 0.05) -> Atoms:
    """Diamond lattice of `n_atoms`, as near to a cube as their number allows, species at random, rattled."""
    atoms = bulk("Si", "diamond", a=LATTICE, cubic=True).repeat(cells(n_atoms))
    equal_shares = np.arange(len(atoms)) % len(species)
    atoms.symbols = np.array(species)[np.random.default_rng(seed).permutation(equal_shares)]
    atoms.rattle(rattle, seed=seed)
    return atoms


def cells(n_atoms: int) -> tuple[int, int, int]:
    """Numbers of eight-atom cells along x, y, z with n_atoms = 8 n_x n_y n_z and the longest edge shortest."""
    n = n_atoms // 8
    shapes = [(a, b, n // (a * b)) for a in _divisors(n) for b in _divisors(n // a)]
    if n_atoms != 8 * n or not shapes:
        raise SystemExit(f"{n_atoms} atoms are not a whole number of eight-atom cells.")
    return min(shapes, key=max)


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def moving(atoms: Atoms) -> Callable[[int], Atoms]:
    """Copies of `atoms`, another tiny displacement (0.001 Å) for every number: no result can be a remembered one."""

    def frame(k: int) -> Atoms:
        moved = atoms.copy()
        moved.positions += np.random.default_rng(k).normal(scale=1e-3, size=moved.positions.shape)
        return moved

    return frame


@lru_cache(maxsize=4)
def labelled_frames(species: tuple[str, ...], n_sparse: int) -> list[Atoms]:
    """64-atom crystals, scaled by ±3 % and rattled by 0.1 Å, with a Morse potential's energy as ``ref_energy``.

    As many as it takes for 1.25 `n_sparse` environments of every species, at least 20.
    """
    n_frames = max(20, int(np.ceil(1.25 * n_sparse * len(species) / FRAME_ATOMS)))
    frames = []
    for k in range(n_frames):
        atoms = crystal(FRAME_ATOMS, species, seed=k, rattle=0.1)
        atoms.set_cell(atoms.cell * np.random.default_rng(k).uniform(0.97, 1.03), scale_atoms=True)
        frames.append(label(atoms))
    return frames


def label(atoms: Atoms) -> Atoms:
    atoms.calc = MorsePotential(epsilon=0.5, r0=2.35, rho0=4.0)
    atoms.info["ref_energy"] = float(atoms.get_potential_energy())
    atoms.calc = None
    return atoms
