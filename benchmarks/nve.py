"""Energy conservation: 64-atom silicon, 600 K, 1 fs, 20 ps, potentials fitted to the shipped data.

    python benchmarks/nve.py [--picoseconds 20] [--smoothness 1 2 3] [--n-sparse 500]

Drift is the slope of a straight line through the total energy times the duration. Every 2 ps the forces on three atoms
are compared with sixth-order central differences of the energy.
"""

from __future__ import annotations

import argparse

import numpy as np
from ase import units
from ase.build import bulk
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.md.verlet import VelocityVerlet

from gapkit import GAP, SOAP, DotProduct, GAPCalculator, Term
from gapkit.datasets import load_silicon


def force_error(gap: GAP, atoms) -> float:
    """Largest |F + dE/dr| of three atoms along x, eV/Å."""
    forces, errors, h = gap.predict(atoms).forces[0], [], 0.02
    for i in (0, 20, 40):
        slopes = []
        for k in (1, 2, 3):
            up, down = atoms.copy(), atoms.copy()
            up.positions[i, 0] += k * h
            down.positions[i, 0] -= k * h
            energy = gap.predict([up, down]).energy
            slopes.append((energy[0] - energy[1]) / (2 * k * h))
        errors.append(abs(forces[i, 0] + 1.5 * slopes[0] - 0.6 * slopes[1] + 0.1 * slopes[2]))
    return max(errors)


def run(gap: GAP, picoseconds: float) -> tuple[float, float, float, float]:
    """Drift and largest excursion of the total energy (meV/atom), mean temperature (K), worst force error (eV/Å)."""
    atoms = bulk("Si", "diamond", a=5.469, cubic=True).repeat(2)
    rng = np.random.RandomState(1)
    atoms.rattle(0.01, seed=1)
    MaxwellBoltzmannDistribution(atoms, temperature_K=600, rng=rng)
    atoms.calc = GAPCalculator(gap)
    Langevin(atoms, 1.0 * units.fs, temperature_K=600, friction=0.02 / units.fs, rng=rng).run(1000)
    Stationary(atoms)
    md = VelocityVerlet(atoms, 1.0 * units.fs)
    times, energies, temperatures, errors = [], [], [], []
    n_steps = int(picoseconds * 1000)
    for step in range(0, n_steps, 10):
        md.run(10)
        times.append(1e-3 * (step + 10))
        energies.append(1e3 * atoms.get_total_energy() / len(atoms))
        temperatures.append(atoms.get_temperature())
        if (step + 10) % 2000 == 0:
            errors.append(force_error(gap, atoms.copy()))
    slope = np.polyfit(times, energies, 1)[0]
    excursion = np.abs(np.array(energies) - energies[0]).max()
    return slope * picoseconds, excursion, float(np.mean(temperatures)), max(errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picoseconds", type=float, default=20.0)
    parser.add_argument("--smoothness", type=float, nargs="+", default=[1.0, 2.0, 3.0])
    parser.add_argument("--n-sparse", type=int, default=500)
    arguments = parser.parse_args()
    print("| smoothness | drift meV/atom | largest excursion meV/atom | mean T K | force error eV/Å |")
    print("|---|---|---|---|---|")
    for m in arguments.smoothness:
        term = Term(SOAP(["Si"], 5.0, 8, 6, smoothness=m), DotProduct(4), arguments.n_sparse)
        gap = GAP([term], energy_noise=0.002, forces_noise=0.1, virial_noise=0.02, verbose=False).fit(
            load_silicon("train")
        )
        drift, excursion, temperature, error = run(gap, arguments.picoseconds)
        print(f"| {m:g} | {drift:.4f} | {excursion:.3f} | {temperature:.0f} | {error:.1e} |", flush=True)


if __name__ == "__main__":
    main()
