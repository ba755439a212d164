"""What a cheap method saves: ethanol learned from its labels, and from what the labels add to an xTB method.

    OMP_NUM_THREADS=1 python benchmarks/delta_learning.py DATA/molecules [--work work/delta_learning.json]

rMD17 ethanol: every k-th of the 1000 training frames and three isolated atoms, errors on the 1000 test frames. Pairs
and SOAP with learned noises and δ, the same settings in every row; the baseline is tblite's. Rows that the
work file holds are not computed again.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from gapkit import GAP, SOAP, DotProduct, Pair, Term, read_structures
from gapkit.baselines import Calculator
from gapkit.evaluation.compare import evaluate

SPECIES = ["H", "C", "O"]
N_SPARSE = {"H": 1200, "C": 700, "O": 500}
METHODS = {"none": None, "GFN1-xTB": "GFN1-xTB", "GFN2-xTB": "GFN2-xTB"}


def potential(method: str | None) -> GAP:
    """Pairs and SOAP on top of `method`, if any."""
    known = [] if method is None else [Calculator("tblite.ase:TBLite", {"method": method, "verbosity": 0})]
    soap = Term(SOAP(SPECIES, 5.0, n_max=8, l_max=6, atom_sigma=0.4), DotProduct(4, 1.0), N_SPARSE)
    noise = {"energy_noise": 2e-4, "forces_noise": 0.01}
    return GAP([Pair(SPECIES, cutoff=5.0, delta=1.0), soap], **noise, baseline=known, verbose=False)


def row(method: str | None, train: list[Atoms], atoms: list[Atoms], test: list[Atoms]) -> dict[str, Any]:
    """Errors of one fit: energies of molecules in meV, force components in meV/Å."""
    start = time.perf_counter()
    gap = potential(method).fit(atoms + train, optimize=True)
    seconds, found = time.perf_counter() - start, evaluate(gap, test, return_std=False)
    energy, forces = 1000.0 * len(test[0]) * found.energy.error, 1000.0 * found.forces.error
    return {
        "E MAE": float(np.abs(energy).mean()),
        "E RMSE": float(np.sqrt(np.mean(energy**2))),
        "F MAE": float(np.abs(forces).mean()),
        "F RMSE": float(np.sqrt(np.mean(forces**2))),
        "M": len(gap.alpha_),
        "s": seconds,
    }


def baseline_alone(method: str, test: list[Atoms]) -> None:
    """Errors of the method itself, energies up to a constant."""
    b = Calculator("tblite.ase:TBLite", {"method": method, "verbosity": 0})
    found = [b.evaluate(a) for a in test]
    energy = np.array([1000.0 * (p.energy - a.get_potential_energy()) for p, a in zip(found, test)])
    forces = np.concatenate([1000.0 * (p.forces - a.get_forces()) for p, a in zip(found, test)])
    energy -= np.median(energy)
    print(f"{method} alone: {np.abs(energy).mean():.1f} meV (less a constant), {np.abs(forces).mean():.1f} meV/Å")


def main() -> None:
    """One row per baseline and number of frames."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("work/delta_learning.json"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 100, 200, 500, 1000])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    given = parser.parse_args()
    warnings.filterwarnings("ignore", "n_sparse")
    names = ("train", "test_MD", "isolated_atoms")
    train, test, atoms = (read_structures(given.data / f"ethanol_{name}.xyz") for name in names)
    atoms = [a for a in atoms if a.get_chemical_symbols()[0] in SPECIES]
    done = json.loads(given.work.read_text()) if given.work.exists() else {}
    for name in given.methods:
        if METHODS[name] is not None:
            baseline_alone(name, test)
    head = ("frames", "baseline", "E MAE meV", "E RMSE", "F MAE meV/Å", "F RMSE", "weights", "fit s")
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for n in given.sizes:
        for name in given.methods:
            key = f"{n} {name}"
            if key not in done:
                done[key] = row(METHODS[name], train[:: len(train) // n][:n], atoms, test)
                given.work.parent.mkdir(parents=True, exist_ok=True)
                given.work.write_text(json.dumps(done, indent=1))
            e, e2, f, f2, m, s = done[key].values()
            print(f"| {n} | {name} | {e:.2f} | {e2:.2f} | {f:.1f} | {f2:.1f} | {m} | {s:.0f} |", flush=True)


if __name__ == "__main__":
    main()
