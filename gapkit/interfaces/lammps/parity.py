"""One model, many routes: the largest differences of energies, forces and virials from `GAP.predict`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.io import write

from gapkit.errors import InputError
from gapkit.interfaces.ase_calculator import GAPCalculator
from gapkit.interfaces.lammps.installation import INSTALL, find_mpiexec
from gapkit.interfaces.lammps.structures_in_lammps import Found
from gapkit.potential.gap import GAP
from gapkit.potential.prediction import Predictions
from gapkit.runtime.threads import threads

H = 5e-3  # Å, of finite differences
CHECKED = 2  # atoms of each frame whose forces finite differences check
ROUND_OFF = 2e-16
LEAST_BOUND = 1e-8  # eV, eV/Å
DIFFERENCES = "finite differences"


class Differences(NamedTuple):
    """The largest differences of one route from `GAP.predict`, None for what it does not give.

    Attributes
    ----------
    route : str
    energy : float or None
        eV per atom.
    forces : float or None
        eV/Å.
    virial : float or None
        eV per atom.
    local_energies, local_energies_std : float or None
        eV.
    """

    route: str
    energy: float | None = None
    forces: float | None = None
    virial: float | None = None
    local_energies: float | None = None
    local_energies_std: float | None = None

    @property
    def largest(self) -> float:
        """Of energies, forces and virials; standard deviations, roots of differences, have a rounding of their own."""
        return max((value for value in self[1:5] if value is not None), default=0.0)


def bound(gap: GAP) -> float:
    """Differences that rounding explains, eV per atom and eV/Å: 2e-16 Σ|α| (k + ∂k/∂s) at s = 1, at least 1e-8.

    A fitted potential is a sum of large weights that nearly cancel.

    Parameters
    ----------
    gap : GAP
        Fitted.
    """
    total = 0.0
    for block in gap.blocks_:
        kernel = gap.terms_[block.term].environment_kernel
        size = gap.terms_[block.term].delta ** 2
        if kernel is not None:
            size = sum(float(part[0, 0]) for part in kernel.value_and_slope(np.ones((1, 1))))
        total += ROUND_OFF * size * float(np.abs(gap.alpha_[block.columns]).sum())
    return max(LEAST_BOUND, total)


def in_lammps(
    pairs: Sequence[tuple[Path, Path]], engine: str, ranks: int, n_threads: int = 1, timeout: float = 3600.0
) -> list[list[Found]]:
    """Frames evaluated by LAMMPS in processes of their own.

    Parameters
    ----------
    pairs : sequence of (model file, file of frames)
    engine : {"auto", "plugin", "external"}
    ranks, n_threads : int
        Processes, and threads of each.
    timeout : float
        Seconds.

    Returns
    -------
    list of list of Found
        For each pair, for each of its frames.

    Raises
    ------
    InputError
        If LAMMPS cannot be started, or ends with an error.
    """
    import os

    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "found.npz"
        names = [str(path) for pair in pairs for path in pair]
        command = [sys.executable, "-m", "gapkit.interfaces.lammps.parity_worker", engine, str(output), *names]
        environment = {**os.environ, "GAPKIT_NUM_THREADS": str(n_threads)}
        run = subprocess.run(
            [*_launcher(ranks), *command], env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        if run.returncode or not output.is_file():
            said = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
            raise InputError(said[0].removeprefix("error: ") if said else f"LAMMPS has failed: {run.stderr[-500:]}")
        with np.load(output) as file:
            arrays = dict(file)
    return [_frames_of(arrays, pair) for pair in range(len(pairs))]


def _launcher(ranks: int) -> list[str]:
    if ranks == 1:
        return []
    own = find_mpiexec().own
    if own is None:
        raise InputError(f"there is no mpiexec beside {sys.executable} to start {ranks} ranks: {INSTALL}.")
    return [own, "-n", str(ranks)]


def _frames_of(arrays: dict[str, np.ndarray], pair: int) -> list[Found]:
    n = sum(name.startswith(f"{pair}/") and name.endswith("/energy") for name in arrays)
    return [Found._make(arrays[f"{pair}/{k}/{name}"] for name in Found._fields) for k in range(n)]


def differences(route: str, frames: Sequence[Atoms], p: Predictions, found: Sequence[Found]) -> Differences:
    """The largest differences of what LAMMPS says from predictions with ``return_std="local"``."""
    n = np.array([len(atoms) for atoms in frames])
    energy = np.abs(np.array([f.energy for f in found]) - p.energy) / n
    virials = [
        np.abs(f.virial + stress * atoms.get_volume()).max() / len(atoms)
        for f, stress, atoms in zip(found, p.stress, frames)
        if stress is not None
    ]
    assert p.local_energies_std is not None
    return Differences(
        route,
        float(energy.max()),
        _largest([f.forces for f in found], p.forces),
        max(map(float, virials), default=None),
        _largest([f.local_energies for f in found], p.local_energies),
        _largest([f.local_energies_std for f in found], p.local_energies_std),
    )


def _largest(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
    return max(float(np.abs(x - y).max()) for x, y in zip(a, b))


def compare_routes(
    model: Path,
    frames: Sequence[Atoms],
    engines: Sequence[str] = ("plugin", "external"),
    ranks: Sequence[int] = (1, 2, 4),
    tell: Callable[[Differences], None] = lambda _: None,
) -> list[Differences]:
    """Compare every route with `GAP.predict` on one thread.

    Parameters
    ----------
    model : path
        A model file.
    frames : sequence of Atoms
    engines, ranks : sequence
        Of LAMMPS; none for a comparison without it.
    tell : callable
        Called with each row as soon as it is there.

    Returns
    -------
    list of Differences

    Raises
    ------
    InputError
        As `GAP.load`, `GAP.predict` and `in_lammps`.
    """
    gap = GAP.load(model)
    gap.verbose = False
    frames = [_bare(atoms) for atoms in frames]
    with threads(1):
        p = gap.predict(frames, return_std="local")
    rows: list[Differences] = []

    def add(row: Differences) -> None:
        rows.append(row)
        tell(row)

    with threads(2):
        add(_from_python("Python, 2 threads", gap.predict(frames, return_std="local"), p, frames))
    add(_from_ase(gap, frames, p))
    add(_from_finite_differences(gap, frames, p))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frames.traj"
        write(file, frames)
        for engine in engines:
            for n, n_threads in [*((n, 1) for n in ranks), *((n, 2) for n in ranks if n == 1)]:
                found = in_lammps([(Path(model).absolute(), file)], engine, n, n_threads)[0]
                route = f"LAMMPS {engine}, {n} rank{'s' * (n > 1)}" + ", 2 threads" * (n_threads > 1)
                add(differences(route, frames, p, found))
    return rows


def _bare(atoms: Atoms) -> Atoms:
    """Species, positions and cell alone."""
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _from_python(route: str, other: Predictions, p: Predictions, frames: Sequence[Atoms]) -> Differences:
    assert other.local_energies_std is not None
    assert p.local_energies_std is not None
    n = np.array([len(atoms) for atoms in frames])
    stress = [np.abs(a - b).max() for a, b in zip(other.stress, p.stress) if a is not None and b is not None]
    volume = max((atoms.get_volume() / len(atoms) for atoms in frames if atoms.cell.rank == 3), default=0.0)
    return Differences(
        route,
        float((np.abs(other.energy - p.energy) / n).max()),
        _largest(other.forces, p.forces),
        float(max(stress) * volume) if stress else None,
        _largest(other.local_energies, p.local_energies),
        _largest(other.local_energies_std, p.local_energies_std),
    )


def _from_ase(gap: GAP, frames: Sequence[Atoms], p: Predictions) -> Differences:
    """The calculator, a fresh one for each frame."""
    energy, forces = 0.0, 0.0
    for atoms, e, f in zip(frames, p.energy, p.forces):
        work = atoms.copy()
        work.calc = GAPCalculator(gap)
        energy = max(energy, abs(work.get_potential_energy() - float(e)) / len(atoms))
        forces = max(forces, float(np.abs(work.get_forces() - f).max()))
    return Differences("ASE", energy, forces)


def _from_finite_differences(gap: GAP, frames: Sequence[Atoms], p: Predictions) -> Differences:
    """Forces on a few atoms as sixth-order central differences of energies."""
    worst = 0.0
    for atoms, f in zip(frames, p.forces):
        for i in np.linspace(0, len(atoms) - 1, min(CHECKED, len(atoms))).astype(int):
            moved = []
            for step in (-3, -2, -1, 1, 2, 3):
                copy = atoms.copy()
                copy.positions[i, 0] += step * H
                moved.append(copy)
            e = gap.predict(moved).energy
            slope = (-e[0] + 9 * e[1] - 45 * e[2] + 45 * e[3] - 9 * e[4] + e[5]) / (60 * H)
            worst = max(worst, abs(float(slope + f[i, 0])))
    return Differences(DIFFERENCES, forces=worst)
