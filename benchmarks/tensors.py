"""Dipoles and polarisabilities of published small sets: learning curves, error bars, cost beside the scalar model.

    OMP_NUM_THREADS=1 python benchmarks/tensors.py DATA/tensors [zundel monomer bulk cost] [--splits 5] [--quick]

`DATA/tensors` holds the published example files of TENSOAP (Zundel cation, water monomer, bulk water) as extended XYZ.
Every split draws the training frames at random and tests on others (500, of the bulk 200); noise and amplitude of each
order are learned from the training frames. RMSE is that of the norm of vector or tensor, in per cent of the labels'
root mean square (vectors) or standard deviation (tensors); mean and, in brackets, least and largest of the splits.
Coverage and rank correlation are of the components of each order on the test frames of all splits, noise included.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from comparison.pinning import pin

pin(1)

import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.io import read  # noqa: E402

from gapkit import GAP, SOAP, DotProduct, TensorGAP, TensorTerm, Term  # noqa: E402
from gapkit.evaluation.calibration import coverage, z_scores  # noqa: E402
from gapkit.tensors.evaluation import TensorEvaluation  # noqa: E402


class Case(NamedTuple):
    """A published set, what is learned of it and how."""

    file: str
    target: str
    sizes: tuple[int, ...]
    n_sparse: Any
    n_test: int
    published: str
    parameters: dict[str, Any] = {"unit": "a.u."}  # noqa: RUF012
    cutoff: float = 4.0
    atom_sigma: float = 0.3


CHARGED = {"unit": "a.u.", "charge": 1.0}
CASES = {
    "zundel": [
        Case("zundel_1000.xyz", "dipole", (50, 100, 200), 150, 500, "0.003 a.u., 0.5 % at 200", CHARGED),
        Case("zundel_1000.xyz", "polarizability", (50, 100, 200), 60, 500, "–"),
    ],
    "monomer": [
        Case("water_monomer_1000.xyz", "dipole", (25, 50, 100), 40, 500, "–"),
        Case("water_monomer_1000.xyz", "polarizability", (25, 50, 100), 40, 500, "–"),
    ],
    "bulk": [
        Case(
            "water_bulk_1000.xyz",
            "polarizability",
            (100, 500),
            {"O": 200, "H": 0},
            200,
            "about 10 % at 500",
            cutoff=6.0,
            atom_sigma=0.5,
        )
    ],
}


def term(n_sparse: Any, cutoff: float = 4.0, atom_sigma: float = 0.3) -> TensorTerm:
    """Published settings: 4 Å, σ 0.3 Å, n_max 8, l_max 6, ζ 2; the weighting here fades earlier."""
    return TensorTerm(SOAP(["H", "O"], cutoff, 8, 6, atom_sigma, smoothness=2), 2, n_sparse=n_sparse)


def one_fit(case: Case, frames: Sequence[Atoms], n: int, seed: int) -> tuple[TensorEvaluation, float]:
    """Errors on the test frames and seconds of the fit."""
    order = np.random.default_rng(seed).permutation(len(frames))
    train, test = order[:n], order[-case.n_test :]
    gap = TensorGAP([term(case.n_sparse, case.cutoff, case.atom_sigma)], case.target, verbose=False, **case.parameters)
    start = time.perf_counter()
    gap.fit([frames[k] for k in train])
    seconds = time.perf_counter() - start
    return gap.evaluate([frames[k] for k in test]), seconds


def band(values: Sequence[float], digits: str = ".2g") -> str:
    return f"{np.mean(values):{digits}} ({min(values):{digits}}–{max(values):{digits}})"


def learning_curve(name: str, case: Case, folder: Path, n_splits: int) -> None:
    frames = read(folder / case.file, ":")
    print(f"\n### {name}: {case.target}, published: {case.published}\n")
    print("| frames | RMSE, a.u. | RMSE, % | λ | 50 % | 68 % | 90 % | 95 % | std z | rank | fit, s |")
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for n in case.sizes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = [one_fit(case, frames, n, seed) for seed in range(n_splits)]
        errors = [band([e.rmse for e, _ in found]), band([100 * e.relative for e, _ in found])]
        seconds = f"{np.median([s for _, s in found]):.1f}"
        for lam in found[0][0].orders:
            z = np.concatenate([z_scores(e.orders[lam]) for e, _ in found])
            rank = np.mean([e.calibrations()[lam].rank_correlation or 0.0 for e, _ in found])
            covered = [f"{100 * value:.0f}" for value in coverage(z).values()]
            print(f"| {n} | {' | '.join([*errors, str(lam), *covered])} | {z.std():.2f} | {rank:.2f} | {seconds} |")
            errors, seconds = ["", ""], ""
        print(end="", flush=True)


def per_atom(function: Any, n_atoms: int, n_times: int = 15) -> float:
    """Median processor time, µs per atom."""
    function()
    times = []
    for _ in range(n_times):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return float(np.median(times)) / n_atoms * 1e6


def cost(folder: Path) -> None:
    """Values and derivatives of λ = 0, 1, 2 beside energy and forces of a GAP with the same SOAP and sparse points."""
    frames = read(folder / "water_bulk_1000.xyz", ":8")
    for atoms in frames:
        atoms.info = {"alpha": atoms.info["alpha"], "energy": float(np.sum(atoms.positions)), "mu": [0.1, 0.2, 0.3]}
    soap, atoms = term(1).descriptor, frames[0]
    n, rows = len(atoms), []
    energies = [Atoms(a, info={"energy": a.info["energy"]}) for a in frames]
    gap = GAP([Term(soap, DotProduct(2), 250)], verbose=False, e0={"H": 0.0, "O": 0.0}).fit(energies)
    rows.append(("GAP, energy and forces", per_atom(lambda: gap.predict(atoms), n), None, None))
    for target, label in (("scalar", "energy"), ("dipole", "mu"), ("polarizability", "alpha")):
        own = TensorGAP(
            [TensorTerm(soap, 2, 1.0, 250)], target, noise=1.0, branch_consistent=True, verbose=False
        ).fit(frames, key=label)  # fmt: skip
        times = (
            per_atom(lambda own=own: own.predict(atoms), n),
            per_atom(lambda own=own: own.derivatives(atoms), n, 5),
            per_atom(lambda own=own: own.predict(atoms, return_std=True), n, 5),
        )
        orders = " + ".join(str(order.order) for order in own.target_.orders)
        rows.append((f"TensorGAP, λ = {orders}", *times))
    print("\n### Cost, 96 atoms of bulk water, 250 sparse points of each species, one thread\n")
    print("| µs/atom | value | all derivatives | value and covariance |\n|---|---|---|---|")
    for name, *times in rows:
        print(f"| {name} | {' | '.join('' if t is None else f'{t:.0f}' for t in times)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", nargs="*", default=[])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="the two smallest sizes and two splits")
    given = parser.parse_args()
    for name in given.what or [*CASES, "cost"]:
        if name == "cost":
            cost(given.folder)
            continue
        for case in CASES[name]:
            sizes = case.sizes[:2] if given.quick else case.sizes
            learning_curve(name, case._replace(sizes=sizes), given.folder, 2 if given.quick else given.splits)


if __name__ == "__main__":
    main()
