"""Make the shipped methanol data: distorted geometries here, dipoles and polarisabilities by tblite (GFN2-xTB).

    pip install tblite
    python generate_methanol.py          # writes methanol_train.xyz and methanol_test.xyz, about two minutes

Dipoles are the program's own, in e·bohr: minus the derivative of its energy by a field gives the same (`check`). Its
ASE interface gives e Å, although its documentation says Debye. Polarisabilities are central differences of dipoles in
fields of ±0.001 a.u., atomic polar tensors ∂μ_a/∂r_ib central differences over ±0.005 Å.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.io import write
from ase.units import Bohr
from scipy.spatial.transform import Rotation

FIELD = 1e-3  # a.u.
STEP = 5e-3  # Å
SPLITS = {"train": (120, 1), "test": (80, 2)}  # frames and seed
WIDTHS = (0.03, 0.10)  # Å: displacements are normal, of a width drawn from here


def singlepoint(
    numbers: np.ndarray, positions: np.ndarray, field: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """Energy (hartree) and dipole (e·bohr) of a neutral molecule in a field (a.u.)."""
    from tblite.interface import Calculator
    from tblite.library import ffi

    calculator = Calculator("GFN2-xTB", numbers, positions / Bohr)
    calculator.set("verbosity", 0)
    calculator.set("accuracy", 1e-3)
    if field is not None:
        own = np.ascontiguousarray(field, dtype=float)
        calculator.add("electric-field", ffi.cast("double*", own.ctypes.data))  # an array itself is refused by 0.8
    result = calculator.singlepoint()
    return float(result.get("energy")), np.array(result.get("dipole"))


def polarizability(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """∂μ/∂F, bohr³."""
    columns = []
    for k in range(3):
        ends = [singlepoint(numbers, positions, sign * FIELD * np.eye(3)[k])[1] for sign in (1, -1)]
        columns.append((ends[0] - ends[1]) / (2 * FIELD))
    alpha = np.array(columns)
    return 0.5 * (alpha + alpha.T)


def polar_tensors(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """∂μ_a/∂r_ib, shape (n_atoms, 3, 3), e: a first."""
    tensors = np.empty((len(numbers), 3, 3))
    for i in range(len(numbers)):
        for b in range(3):
            ends = []
            for sign in (1, -1):
                moved = positions.copy()
                moved[i, b] += sign * STEP
                ends.append(singlepoint(numbers, moved)[1])
            tensors[i, :, b] = (ends[0] - ends[1]) * Bohr / (2 * STEP)
    return tensors


def labelled(positions: np.ndarray, numbers: np.ndarray) -> Atoms:
    """The molecule with its labels: dipole (e Å), polarizability (Å³), born_charges (e, nine columns)."""
    atoms = Atoms(numbers, positions)
    atoms.info["dipole"] = np.round(singlepoint(numbers, positions)[1] * Bohr, 7)
    atoms.info["polarizability"] = np.round(polarizability(numbers, positions) * Bohr**3, 6).ravel()
    atoms.arrays["born_charges"] = np.round(polar_tensors(numbers, positions), 5).reshape(-1, 9)
    return atoms


def check() -> None:
    """The dipole is minus the slope of the energy in a field, to the accuracy of a difference."""
    methanol = molecule("CH3OH")
    _, mu = singlepoint(methanol.numbers, methanol.positions)
    for k in range(3):
        up, down = (singlepoint(methanol.numbers, methanol.positions, s * FIELD * np.eye(3)[k])[0] for s in (1, -1))
        assert abs((down - up) / (2 * FIELD) - mu[k]) < 1e-5


def main(folder: Path) -> None:
    """Write both files."""
    check()
    start = molecule("CH3OH")
    for split, (n, seed) in SPLITS.items():
        rng, frames = np.random.default_rng(seed), []
        for _ in range(n):
            moved = start.positions + rng.normal(0.0, rng.uniform(*WIDTHS), start.positions.shape)
            moved = np.round((moved - moved.mean(axis=0)) @ Rotation.random(rng=rng).as_matrix().T, 6)
            frames.append(labelled(moved, start.numbers))
        write(folder / f"methanol_{split}.xyz", frames, format="extxyz")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
