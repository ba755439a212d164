"""Ewald sums of fixed charges: gapkit's against matscipy's, pymatgen's and torch-pme's, where they are installed.

    OMP_NUM_THREADS=1 python benchmarks/electrostatics.py

Rattled rock salt, ±1 e. Errors are against gapkit with tolerance 1e-14 (which the Madelung constants confirm).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk

from gapkit.baselines import Ewald
from gapkit.geometry.neighbourhoods import find_neighbourhoods
from gapkit.quantities import COULOMB

CHARGES = {"Na": 1.0, "Cl": -1.0}
Found = tuple[float, np.ndarray | None, np.ndarray | None]


def salt(repeats: int) -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(repeats)
    atoms.rattle(0.1, seed=0)
    return atoms


def ours(tolerance: float) -> Callable[[Atoms], Found]:
    def run(atoms: Atoms) -> Found:
        p = Ewald(CHARGES, tolerance=tolerance).evaluate(atoms)
        return p.energy, p.forces, p.strain_derivative / atoms.get_volume()

    return run


def matscipy(accuracy: float) -> Callable[[Atoms], Found]:
    from matscipy.calculators.ewald import Ewald as Peer

    if not hasattr(np, "int"):
        setattr(np, "int", int)  # noqa: B010  it uses this name, gone from NumPy 1.24 on

    def run(atoms: Atoms) -> Found:
        work = atoms.copy()
        work.set_array("charge", np.array([CHARGES[s] for s in work.symbols]))
        work.calc = Peer()
        work.calc.set(accuracy=accuracy, cutoff=10.0, verbose=False)
        return work.get_potential_energy(), work.get_forces(), work.get_stress(voigt=False)

    return run


def pymatgen(digits: float) -> Callable[[Atoms], Found]:
    from pymatgen.analysis.ewald import EwaldSummation
    from pymatgen.core import Structure

    def run(atoms: Atoms) -> Found:
        structure = Structure(atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions())
        structure.add_oxidation_state_by_element(CHARGES)
        sums = EwaldSummation(structure, acc_factor=digits, compute_forces=True)
        return sums.total_energy, np.array(sums.forces), None

    return run


def torch_pme(decay: float) -> Callable[[Atoms], Found]:
    """Sums cut where terms are e^{-decay²}; derivatives by automatic differentiation."""
    import torch
    from torchpme import CoulombPotential, EwaldCalculator

    torch.set_num_threads(1)
    double = {"dtype": torch.float64}

    def run(atoms: Atoms) -> Found:
        cutoff = min(10.0, 4.0 * atoms.get_volume() ** (1 / 3) / 2)
        alpha = decay / cutoff
        nb = find_neighbourhoods(atoms, cutoff)
        potential = CoulombPotential(smearing=1 / (np.sqrt(2) * alpha), prefactor=COULOMB).to(**double)
        calculator = EwaldCalculator(potential, np.pi / (2 * alpha * decay), full_neighbor_list=True).to(**double)
        charges = torch.tensor([[CHARGES[s]] for s in atoms.symbols], **double)
        positions = torch.tensor(atoms.positions, **double, requires_grad=True)
        strain = torch.zeros((3, 3), **double, requires_grad=True)
        change = torch.eye(3, **double) + strain
        indices, shifts = torch.tensor(np.stack([nb.i, nb.j], axis=1)), torch.tensor(nb.S, **double)
        cell, moved = torch.tensor(atoms.cell.array, **double) @ change, positions @ change
        distances = torch.linalg.norm(moved[indices[:, 1]] - moved[indices[:, 0]] + shifts @ cell, dim=1)
        energy = (charges * calculator(charges, cell, moved, indices, distances)).sum()
        energy.backward()
        return energy.item(), -positions.grad.numpy(), strain.grad.numpy() / atoms.get_volume()

    return run


ENTRIES: list[tuple[str, Callable[[float], Callable[[Atoms], Found]], float, int]] = [
    ("gapkit, tolerance 1e-10", ours, 1e-10, 1728),
    ("gapkit, tolerance 1e-6", ours, 1e-6, 1728),
    ("matscipy, accuracy 1e-6", matscipy, 1e-6, 512),
    ("matscipy, accuracy 1e-10", matscipy, 1e-10, 512),
    ("torch-pme, decay 4.0 (e^-16)", torch_pme, 4.0, 512),
    ("torch-pme, decay 4.8 (e^-23)", torch_pme, 4.8, 512),
    ("pymatgen, 12 digits (default)", pymatgen, 12.0, 64),
]


def error(value: Any, expected: Any) -> str:
    return "–" if value is None else f"{np.abs(value - expected).max():.0e}"


def main() -> None:
    print("| code | atoms | energy error eV | forces error eV/Å | stress error eV/Å³ | ms |\n|---|---|---|---|---|---|")
    for name, make, setting, largest in ENTRIES:
        try:
            run = make(setting)
        except ImportError as missing:
            print(f"| {name} | – | not installed ({missing}) | | | |")
            continue
        for repeats in (1, 2, 4, 6):
            atoms = salt(repeats)
            if len(atoms) > largest:
                continue
            exact = ours(1e-14)(atoms)
            run(atoms)
            start = time.perf_counter()
            found = run(atoms)
            took = 1e3 * (time.perf_counter() - start)
            errors = " | ".join(error(value, expected) for value, expected in zip(found, exact))
            print(f"| {name} | {len(atoms)} | {errors} | {took:.1f} |", flush=True)


if __name__ == "__main__":
    main()
