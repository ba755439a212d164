"""One baseline of every kind for sodium chloride, and eight ions without symmetry to evaluate them on."""

from __future__ import annotations

import laws
import numpy as np
from ase import Atoms
from ase.build import bulk

from gapkit.baselines import D3, ZBL, Calculator, Ewald, evaluate_baselines

IONS = {"Na": 1.0, "Cl": -1.0}
WIDE = {"Na-Na": 4.4, "Cl-Na": 3.4, "Cl-Cl": 4.1}  # Å: switches within reach of every pair of the crystal
REPULSION = ZBL(["Na", "Cl"], inner=1.5, outer=WIDE)
BASELINES = {
    "ZBL": REPULSION,
    "D3": D3(),
    "D3zero": D3("pbe", "zero"),
    "Ewald": Ewald(IONS),
    "Ewald_clouds": Ewald(IONS, width=0.9),
    "LJ": Calculator("ase.calculators.lj:LennardJones", {"sigma": 2.2, "epsilon": 0.02, "rc": 5.0, "smooth": True}),
}


def salt(seed: int = 0, symbols: str = "NaCl") -> Atoms:
    """Eight ions, rattled and sheared."""
    atoms = bulk(symbols, "rocksalt", a=5.3, cubic=True)
    strain = [[0.02, 0.05, -0.03], [0, -0.01, 0.04], [0, 0, 0.03]]
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.15, seed=seed)
    return atoms


def predictor(*baselines) -> laws.Predict:
    """Energy, forces and stress of a sum of baselines, for the laws."""

    def predict(atoms):
        p = evaluate_baselines(baselines, atoms)
        return p.energy, p.forces, p.strain_derivative / atoms.get_volume() if atoms.cell.rank == 3 else None

    return predict
