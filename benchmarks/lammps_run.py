"""LAMMPS with gapkit: differences from `GAP.predict`, and time per step beside ASE.

    OMP_NUM_THREADS=1 python benchmarks/lammps_run.py parity
    OMP_NUM_THREADS=1 python benchmarks/lammps_run.py speed [--cells 11] [--steps 20] [--ranks 1 2] [--rounds 3]
    OMP_NUM_THREADS=1 python benchmarks/lammps_run.py nve [--steps 10000]

`parity` evaluates all frames of the shipped silicon test set through every route. `speed` runs NVE dynamics of silicon
at 300 K (cells³ × 8 atoms); every route is a new process, routes take turns, figures are medians over the rounds.
`nve` compares the total energy of 64 atoms over a trajectory from one start at 600 K with ASE's. The file is not called
lammps.py, because Python would then take it for LAMMPS's module.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet

from gapkit import GAP, SOAP, DotProduct, GAPCalculator, Term
from gapkit.datasets import load_silicon
from gapkit.interfaces.lammps.installation import find_mpiexec
from gapkit.interfaces.lammps.parity import bound, compare_routes
from gapkit.interfaces.lammps.session import QUIET, Session
from gapkit.interfaces.lammps.structures_in_lammps import build

ASE = "ase"
WARM_UP = 3  # steps


def fitted(folder: Path, n_sparse: int) -> Path:
    """A silicon model as the README has it, in a file."""
    term = Term(SOAP(["Si"], 5.0, 8, 6), DotProduct(4, 5.0), n_sparse)
    gap = GAP([term], energy_noise=0.002, forces_noise=0.1, virial_noise=0.02, verbose=False).fit(load_silicon("train"))
    gap.save(folder / "si.gap")
    return folder / "si.gap"


def parity(model: Path) -> None:
    """A table of the largest differences on the shipped test set."""
    frames = load_silicon("test")
    print(
        f"{len(frames)} frames, {sum(map(len, frames))} atoms; round-off of the weights {bound(GAP.load(model)):.1e}\n"
    )
    print("| route | energy eV/atom | forces eV/Å | virial eV/atom | local energies eV | their std eV |")
    print("|---|---|---|---|---|---|")
    cells = lambda row: " | ".join("" if value is None else f"{value:.1e}" for value in row[1:])  # noqa: E731
    compare_routes(model, frames, tell=lambda row: print(f"| {row.route} | {cells(row)} |", flush=True))


def crystal(cells: int) -> Atoms:
    atoms = bulk("Si", "diamond", a=5.469, cubic=True).repeat(cells)
    atoms.rattle(0.05, seed=1)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.RandomState(1))
    return atoms


def timed(run: Callable[[], object], steps: int) -> str:
    """Wall and processor seconds per step of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return f"{(time.perf_counter() - wall) / steps} {(time.process_time() - cpu) / steps}"


def worker(route: str, model: Path, cells: int, steps: int) -> None:
    """Seconds per step of one route, printed by its first rank."""
    atoms = crystal(cells)
    if route == ASE:
        atoms.calc = GAPCalculator(GAP.load(model))
        dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
        dynamics.run(WARM_UP)
        print(timed(lambda: dynamics.run(steps), steps))
        return
    with Session(QUIET, route) as session:  # type: ignore[arg-type]
        build(session, atoms, f"gapkit {model}")
        session.commands(f"velocity all create 300 1\ntimestep 0.001\nfix 1 all nve\nrun {WARM_UP}")
        said = timed(lambda: session.command(f"run {steps} pre no post no"), steps)
        if session.is_first:
            print(said, flush=True)


def speed(model: Path, cells: int, steps: int, ranks: list[int], rounds: int) -> None:
    """A table of times per step."""
    routes = [(ASE, 1), *((engine, n) for n in ranks for engine in ("plugin", "external"))]
    seconds: dict[tuple[str, int], list[list[float]]] = {route: [] for route in routes}
    for _ in range(rounds):
        for route, n in routes:
            launcher = [] if n == 1 else [find_mpiexec().own, "-n", str(n)]
            command = [*launcher, sys.executable, __file__, "worker", route, str(model), str(cells), str(steps)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds[route, n].append([float(word) for word in run.stdout.split()[-2:]])
    n_atoms = 8 * cells**3
    wall_of_ase, cpu_of_ase = np.median(seconds[ASE, 1], axis=0)
    print(f"{n_atoms} atoms, {steps} steps, medians of {rounds}; processor time of the first rank, waiting included\n")
    print("| route | ranks | ms/step | processor ms/step | atom-steps/s | ASE's time / its time | of processor times |")
    print("|---|---|---|---|---|---|---|")
    for (route, n), found in seconds.items():
        wall, cpu = np.median(found, axis=0)
        ratios = f"{wall_of_ase / wall:.2f} | {cpu_of_ase / cpu:.2f}"
        print(f"| {route} | {n} | {1e3 * wall:.0f} | {1e3 * cpu:.0f} | {n_atoms / wall:.0f} | {ratios} |")


def total_energies(route: str, model: Path, steps: int, every: int = 10) -> np.ndarray:
    """Total energy every 10 steps of 1 fs, meV per atom, from the same positions and velocities in every route."""
    atoms = crystal(2)
    MaxwellBoltzmannDistribution(atoms, temperature_K=600, rng=np.random.RandomState(1))
    energies = []
    if route == ASE:
        atoms.calc = GAPCalculator(GAP.load(model))
        dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
        for _ in range(steps // every):
            dynamics.run(every)
            energies.append(atoms.get_total_energy())
        return 1e3 * np.array(energies) / len(atoms)
    with Session(QUIET, route) as session:  # type: ignore[arg-type]
        build(session, atoms, f"gapkit {model}")
        velocities = 1e3 * units.fs * atoms.get_velocities()  # Å/ps; the cell is cubic: LAMMPS's axes are ASE's
        session.lmp.scatter_atoms("v", 1, 3, np.ctypeslib.as_ctypes(velocities.ravel()))
        session.commands("timestep 0.001\nfix 1 all nve\nthermo_modify norm no\nrun 0")
        for _ in range(steps // every):
            session.command(f"run {every} pre no post no")
            energies.append(session.lmp.get_thermo("etotal"))
    return 1e3 * np.array(energies) / len(atoms)


def nve(model: Path, steps: int) -> None:
    """A table of drifts and excursions."""
    print(f"64 atoms, {steps} steps of 1 fs\n")
    print("| route | drift meV/atom | standard deviation meV/atom | largest excursion meV/atom |")
    print("|---|---|---|---|")
    for route in (ASE, "plugin", "external"):
        energies = total_energies(route, model, steps)
        slope, _ = np.polyfit(np.arange(len(energies)), energies, 1)
        excursion = np.abs(energies - energies[0]).max()
        print(f"| {route} | {slope * len(energies):.5f} | {energies.std():.4f} | {excursion:.4f} |", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["worker"]:
        worker(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["parity", "speed", "nve"])
    parser.add_argument("--cells", type=int, default=11)
    parser.add_argument("--steps", type=int, help="default: 20, of nve 10000")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--n-sparse", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = fitted(Path(folder), arguments.n_sparse)
        if arguments.what == "parity":
            parity(model)
        elif arguments.what == "nve":
            nve(model, arguments.steps or 10_000)
        else:
            speed(model, arguments.cells, arguments.steps or 20, arguments.ranks, arguments.rounds)


if __name__ == "__main__":
    main()
