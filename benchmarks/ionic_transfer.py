"""Do short-ranged models carry over to larger ionic cells? NaCl, trained on 64 atoms, tested on 64 and 512.

    OMP_NUM_THREADS=1 python benchmarks/ionic_transfer.py DATA/NaCl/NaCl_rd.xyz

SOAP alone and SOAP on top of the Ewald energy of fixed charges ±q: the labels of all frames lose the energy, forces and
virial of the charges, so that errors of what is left are errors of the sum.
"""

from __future__ import annotations

import sys

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from ase.stress import full_3x3_to_voigt_6_stress

from gapkit import GAP, SOAP, DotProduct, Term
from gapkit.baselines import Ewald, subtract_baseline
from gapkit.structures.labels import read_labels
from gapkit.structures.reading import find_label_keys

BORN, EPSILON = 1.090, 2.563  # e; both of the data's own reference method
CHARGES = (0.0, 0.4, 0.6, BORN / EPSILON**0.5, 0.8, BORN)


def remainder(atoms: Atoms, q: float) -> Atoms:
    """The frame with labels less the electrostatics of ±q."""
    known = Ewald({"Na": q, "Cl": -q}).evaluate(atoms)
    rest = subtract_baseline(read_labels(atoms, find_label_keys([atoms])), known)
    left = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    stress = full_3x3_to_voigt_6_stress(-rest.virial / atoms.get_volume())
    left.calc = SinglePointCalculator(left, energy=rest.energy, forces=rest.forces, stress=stress)
    return left


def errors(gap: GAP, frames: list[Atoms]) -> tuple[float, float]:
    """Root-mean-square errors of energy differences (meV/atom) and of forces (meV/Å)."""
    p = gap.predict(frames)
    energies = [(e - a.get_potential_energy()) / len(a) for e, a in zip(p.energy, frames)]
    forces = np.concatenate([f - a.get_forces() for f, a in zip(p.forces, frames)])
    return 1e3 * float(np.std(energies)), 1e3 * float(np.sqrt(np.mean(forces**2)))


def main() -> None:
    frames = read(sys.argv[1], ":")
    small, large = ([a for a in frames if len(a) == n] for n in (64, 512))
    train, test = small[::2][:16], small[1::2][:20]
    print("| cutoff Å | charge e | log evidence | 64 atoms: E meV/atom | F meV/Å | 512 atoms: F meV/Å |")
    print("|---|---|---|---|---|---|")
    for cutoff in (4.0, 5.5):
        for q in CHARGES:
            terms = [Term(SOAP(["Na", "Cl"], cutoff, 6, 4), DotProduct(2, 1.0), 150)]
            gap = GAP(terms, energy_noise=1e-5, forces_noise=5e-4, virial_noise=1e-4, verbose=False)
            gap.fit([remainder(atoms, q) for atoms in train])
            (e, f), (_, far) = (errors(gap, [remainder(a, q) for a in group]) for group in (test, large))
            evidence = gap.posterior_.log_marginal_likelihood
            print(f"| {cutoff} | {q:.3f} | {evidence:.0f} | {e:.4f} | {f:.3f} | {far:.3f} |", flush=True)


if __name__ == "__main__":
    main()
