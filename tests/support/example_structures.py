"""Small geometries of copper and gold with EMT labels, one of each kind that has broken codes before."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator


def alloy(seed: int, rattle: float = 0.1, strain: float = 0.03) -> Atoms:
    """A strained, rattled four-atom CuAu cell."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", a=3.8, cubic=True)
    atoms.symbols[[0, 3]] = "Au"
    e = rng.uniform(-strain, strain, (3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (e + e.T)), scale_atoms=True)
    atoms.positions += rng.normal(0, rattle, (len(atoms), 3))
    return atoms


def labelled(atoms: Atoms, config_type: str = "default") -> Atoms:
    """A copy with EMT energy, forces and (in a crystal) stress, as a file would bring them."""
    work = atoms.copy()
    work.calc = EMT()
    results = {"energy": work.get_potential_energy(), "forces": work.get_forces()}
    if atoms.cell.rank == 3:
        results["stress"] = work.get_stress()
    out = atoms.copy()
    out.calc = SinglePointCalculator(out, **results)
    out.info["config_type"] = config_type
    return out


def structures() -> dict[str, Atoms]:
    """Geometries that have broken codes before: one of each periodicity, tiny cells, several species."""
    slab = fcc111("Cu", (1, 1, 3), a=3.7, vacuum=6.0)
    slab.symbols[1] = "Au"
    slab.rattle(0.05, seed=3)
    slab.info.clear()  # of ASE's notes on its sites, which no file can hold
    cluster = Atoms("Cu2Au", [[0, 0, 0], [2.4, 0.1, 0], [0.9, 2.2, 0.7]])
    one = bulk("Cu", "fcc", a=3.6)
    sheared = bulk("Au", "fcc", a=4.0)
    sheared.set_cell(sheared.cell.array @ np.array([[1, 0.1, 0], [0, 1, 0.05], [0, 0, 1.02]]), scale_atoms=True)
    return {"alloy": alloy(1), "slab": slab, "cluster": cluster, "one_atom": one, "sheared_one_atom": sheared}


def triclinic(n: int = 5, seed: int = 0) -> tuple[Atoms, np.ndarray, np.ndarray]:
    """A cell without symmetry, charges that do not add up to zero, and three kinds."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(f"Ne{n}", cell=[[4.1, 0.3, 0], [-1.2, 5.0, 0.4], [0.8, 0.9, 6.3]], pbc=True)
    atoms.set_scaled_positions(np.arange(n)[:, None] / n * [1.0, 2.0, 3.0] + rng.uniform(-0.05, 0.05, (n, 3)))
    return atoms, rng.normal(size=n), np.arange(n) % 3
