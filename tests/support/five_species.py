"""Silicon with up to five species."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk

FIVE = ["Si", "O", "Ge", "C", "H"]


def five_species(n: int) -> Atoms:
    """Eight atoms of the diamond structure with n species, rattled."""
    atoms = bulk("Si", "diamond", a=5.2, cubic=True)
    atoms.symbols[:] = (FIVE[:n] * 8)[:8]
    atoms.rattle(0.15, seed=4)
    return atoms


def relative(a, b):
    """Largest difference over the largest number."""
    return float(np.abs(a - b).max() / np.abs(b).max())
