"""A structure of ASE in LAMMPS: its cell turned to LAMMPS's, and what LAMMPS says of it turned back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, chemical_symbols

from gapkit.interfaces.lammps.session import Session

MARGIN = 1.0  # Å around the atoms where there is no period
VOIGT = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))  # LAMMPS's order


class LammpsCell(NamedTuple):
    """A structure in LAMMPS's axes: x along the first period, y in the plane of the first two.

    Attributes
    ----------
    low, high : ndarray, shape (3,)
        Å; the box without its tilts.
    tilts : ndarray, shape (3,)
        xy, xz, yz, Å.
    periodic : ndarray of bool, shape (3,)
    positions : ndarray, shape (n_atoms, 3)
        Within the box, Å.
    rotation : ndarray, shape (3, 3)
        Orthogonal Q: a vector v of ASE is v Q in LAMMPS.
    """

    low: np.ndarray
    high: np.ndarray
    tilts: np.ndarray
    periodic: np.ndarray
    positions: np.ndarray
    rotation: np.ndarray


def lammps_cell(atoms: Atoms) -> LammpsCell:
    """The structure as LAMMPS can hold it, periods first; lengths where there is no period follow from the atoms."""
    periods = atoms.cell.array[atoms.pbc]
    k = len(periods)
    Q, R = np.linalg.qr(periods.T, mode="complete") if k else (np.eye(3), np.zeros((3, 0)))
    signs = np.ones(3)
    signs[:k] = np.where(np.diag(R) < 0, -1.0, 1.0)
    Q, L = Q * signs, (signs[:, None] * R)[:k].T  # periods Q = (L 0), L lower triangular
    positions = atoms.positions @ Q
    for _ in range(2):  # what is rounded up to the far side goes to the near one
        positions[:, :k] -= np.floor(positions[:, :k] @ np.linalg.inv(L)) @ L
    low, high, tilts = np.zeros(3), np.zeros(3), np.zeros(3)
    high[:k] = np.diag(L)
    low[k:], high[k:] = positions[:, k:].min(axis=0) - MARGIN, positions[:, k:].max(axis=0) + MARGIN
    for n, (a, b) in enumerate(((1, 0), (2, 0), (2, 1))):
        tilts[n] = L[a, b] if a < k else 0.0
    return LammpsCell(low, high, tilts, np.arange(3) < k, positions, Q)


def box_commands(cell: LammpsCell, symbols: Sequence[str]) -> list[str]:
    """Commands that make the empty box with one type for each of the species."""
    sides = " ".join(f"{low!r} {high!r}" for low, high in zip(cell.low.tolist(), cell.high.tolist()))
    tilts = " ".join(repr(tilt) for tilt in cell.tilts.tolist())
    shape = f"prism {sides} {tilts}" if cell.tilts.any() else f"block {sides}"
    numbers = [chemical_symbols.index(symbol) for symbol in symbols]
    return [
        "units metal",
        "boundary " + " ".join("p" if p else "f" for p in cell.periodic),
        "atom_modify map array",
        "box tilt large",
        f"region box {shape}",
        f"create_box {len(symbols)} box",
        *(f"mass {t} {float(atomic_masses[z])!r}" for t, z in enumerate(numbers, start=1)),
    ]


class Found(NamedTuple):
    """What LAMMPS says of a structure, in ASE's axes.

    Attributes
    ----------
    energy : float, eV
    forces : ndarray, shape (n_atoms, 3), eV/Å
    virial : ndarray, shape (3, 3), eV
        -dE/dε.
    local_energies, local_energies_std : ndarray, shape (n_atoms,), eV
    local_virials : ndarray, shape (n_atoms, 3, 3), eV
    """

    energy: float
    forces: np.ndarray
    virial: np.ndarray
    local_energies: np.ndarray
    local_energies_std: np.ndarray
    local_virials: np.ndarray


def build(
    session: Session, atoms: Atoms, style: str, coefficients: str = "", style_of_atoms: str = "atomic"
) -> LammpsCell:
    """Put a structure into a cleared LAMMPS, with a pair style.

    Parameters
    ----------
    session : Session
    atoms : Atoms
    style : str
        What follows ``pair_style``.
    coefficients : str, optional
        What follows ``pair_coeff * *``; the symbols of the species in the order of the types if not given.
    style_of_atoms : str
        What follows ``atom_style``.
    """
    cell, symbols = lammps_cell(atoms), sorted(set(atoms.symbols))
    types = [symbols.index(symbol) + 1 for symbol in atoms.symbols]
    for line in ["clear", f"atom_style {style_of_atoms}", *box_commands(cell, symbols)]:
        session.command(line)
    session.lmp.create_atoms(len(atoms), list(range(1, len(atoms) + 1)), types, cell.positions.ravel().tolist())
    session.command(f"pair_style {style}")
    session.command(f"pair_coeff * * {coefficients or ' '.join(symbols)}")
    return cell


def evaluate_in_lammps(session: Session, atoms: Atoms, model: str) -> Found:
    """Everything that LAMMPS can say of a structure with a model file; all ranks call it together.

    Raises
    ------
    InputError
        As `Session.command`.
    """
    cell = build(session, atoms, f"gapkit {model}")
    session.commands(
        "compute energies all pe/atom\ncompute virials all stress/atom NULL virial\n"
        "compute sums all reduce sum c_energies c_virials[1]\ncompute total all pressure NULL virial\n"
        "fix deviations all pair 1 gapkit std 1\nfix nve all nve\n"
        "thermo_style custom step pe c_sums[1] c_sums[2] c_total[1]\nthermo_modify norm no\nrun 0"
    )
    return _found(session.lmp, cell, len(atoms))


def _found(lmp: Any, cell: LammpsCell, n: int) -> Found:
    Q, per_bar = cell.rotation, 1.0 / lmp.extract_global("nktv2p")
    volume = float(np.prod(cell.high - cell.low))
    total = np.array([lmp.extract_compute("total", 0, 1)[k] for k in range(6)]) * volume * per_bar
    forces = np.array(lmp.gather("f", 1, 3)).reshape(n, 3)
    local_virials = -np.array(lmp.gather("c_virials", 1, 6)).reshape(n, 6) * per_bar
    return Found(
        float(lmp.get_thermo("pe")),
        forces @ Q.T,
        Q @ _tensor(total) @ Q.T,
        np.array(lmp.gather("c_energies", 1, 1)),
        np.array(lmp.gather("f_deviations", 1, 1)),
        Q @ _tensor(local_virials) @ Q.T,
    )


def _tensor(voigt: np.ndarray) -> np.ndarray:
    """LAMMPS's six numbers as symmetric matrices, (…, 6) to (…, 3, 3)."""
    tensor = np.zeros((*voigt.shape[:-1], 3, 3))
    for k, (a, b) in enumerate(VOIGT):
        tensor[..., a, b] = tensor[..., b, a] = voigt[..., k]
    return tensor
