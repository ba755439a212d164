"""Rock salt and a cluster for presets."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit import ZBL
from gapkit.baselines import Ewald


def salt(seed: int) -> Atoms:
    """Rattled rock salt whose labels are those of charges and a short repulsion."""
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.12, seed=seed)
    cell = np.eye(3) + 0.03 * np.random.default_rng(seed).normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ cell, scale_atoms=True)
    known, rest = Ewald({"Na": 0.8, "Cl": -0.8}).evaluate(atoms), ZBL(["Na", "Cl"], 2.0, 4.0).evaluate(atoms)
    stress = (known.strain_derivative + rest.strain_derivative) / atoms.get_volume()
    results = {"energy": known.energy + rest.energy, "forces": known.forces + rest.forces}
    voigt = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    atoms.calc = SinglePointCalculator(atoms, stress=voigt, **results)
    return atoms


def cluster(seed: int) -> Atoms:
    """Rattled methanol with the labels of a Lennard-Jones potential."""
    atoms = molecule("CH3OH")
    atoms.rattle(0.08, seed=seed)
    work = atoms.copy()
    work.calc = LennardJones(sigma=1.1, epsilon=0.5, rc=4.0, smooth=True)
    results = {"energy": work.get_potential_energy(), "forces": work.get_forces()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
