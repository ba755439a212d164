"""Speed on one thread: evaluation, training rows, neighbour lists, similarity kernels, beside what they replace.

    OMP_NUM_THREADS=1 python benchmarks/speed.py [--only evaluation rows neighbours similarity]

Every figure is the median of interleaved repeats after a warm-up, in one process. Peers are timed if installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from ase.build import bulk

from gapkit import SOAP, DotProduct, Term
from gapkit.covariances.rows import structure_rows
from gapkit.gaussian_process.structure_kernels import AverageKernel, REMatchKernel
from gapkit.geometry.neighbourhoods import find_neighbourhoods
from gapkit.terms.basis import Basis
from gapkit.terms.evaluate import evaluate


def medians(functions: dict[str, Callable[[], object]], repeats: int = 7) -> dict[str, float]:
    """Median seconds of each function, the functions taking turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: float(np.median(t)) for name, t in times.items()}


def silicon(repeat: int):
    atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(repeat)
    atoms.rattle(0.05, seed=1)
    return atoms


def random_potential(n_max: int, l_max: int, M: int):
    """A potential with random weights: evaluation time does not depend on their values."""
    rng = np.random.default_rng(0)
    term = Term(SOAP(["Si"], 5.0, n_max, l_max), DotProduct(4), M)
    X = np.abs(rng.normal(size=(M, term.descriptor.n_features)))
    return Basis.of_points([term], {(0, 14): X / np.linalg.norm(X, axis=1, keepdims=True)}), rng.normal(size=M)


def evaluation() -> None:
    print("\n### Energy + forces + stress, silicon, cutoff 5 Å, ζ 4, neighbour list included, µs/atom\n")
    print("| atoms | n_max, l_max | M = 100 | M = 1000 | M = 2000 |\n|---|---|---|---|---|")
    for repeat, basis in ((2, (8, 6)), (4, (8, 6)), (4, (12, 6)), (8, (8, 6))):
        atoms = silicon(repeat)
        potentials = {str(M): random_potential(*basis, M) for M in (100, 1000, 2000)}
        functions = {
            M: lambda basis=basis, alpha=alpha: evaluate(basis.environments(atoms), alpha)
            for M, (basis, alpha) in potentials.items()
        }
        cells = [f"{1e6 * t / len(atoms):.0f}" for t in medians(functions).values()]
        print(f"| {len(atoms)} | {basis[0]}, {basis[1]} | " + " | ".join(cells) + " |", flush=True)


def rows() -> None:
    print("\n### Training rows (energy, forces, virial) of a 64-atom silicon cell, ms per centre\n")
    print("| n_max, l_max | M = 600 | M = 1200 | M = 2000 |\n|---|---|---|---|")
    atoms = silicon(2)
    for basis in ((8, 6), (8, 8)):
        functions = {}
        for M in (600, 1200, 2000):
            found = random_potential(*basis, M)[0].environments(atoms)
            functions[str(M)] = lambda found=found: structure_rows(found)
        cells = [f"{1e3 * t / len(atoms):.2f}" for t in medians(functions, 5).values()]
        print(f"| {basis[0]}, {basis[1]} | " + " | ".join(cells) + " |", flush=True)


def neighbours() -> None:
    from vesin import NeighborList

    print("\n### Neighbour lists, full list with vectors, cutoff 5 Å, sorted by centre, µs/atom\n")
    print("gapkit: half a list by vesin, both directions sorted by gapkit; its checks of the input included.\n")
    print("| atoms | gapkit | vesin | matscipy |\n|---|---|---|---|")
    try:
        from matscipy.neighbours import neighbour_list
    except ImportError:
        print("| matscipy is not installed | | | |")
        return
    for atoms in (silicon(1), silicon(4), silicon(14)[:20000]):
        search = NeighborList(cutoff=5.0, full_list=True, sorted=True, n_threads=1)
        functions = {
            "gapkit": lambda a=atoms: find_neighbourhoods(a, 5.0),
            "vesin": lambda a=atoms, s=search: s.compute(a.positions, a.cell.array, a.pbc, "ijSD"),
            "matscipy": lambda a=atoms: neighbour_list("ijSD", a, 5.0),
        }
        t = medians(functions, 9)
        cells = [f"{1e6 * value / len(atoms):.1f}" for value in t.values()]
        print(f"| {len(atoms)} | " + " | ".join(cells) + " |", flush=True)


def similarity() -> None:
    from dscribe.kernels import AverageKernel as DscribeAverage
    from dscribe.kernels import REMatchKernel as DscribeREMatch

    print("\n### Similarity of whole structures: 60 structures of 32 atoms, 252 features, seconds\n")
    print("| kernel | gapkit | dscribe | ratio | largest difference |\n|---|---|---|---|---|")
    rng = np.random.default_rng(0)
    X = [np.abs(rng.normal(size=(32, 252))) for _ in range(60)]
    X = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in X]
    linear = lambda A, B: A @ B.T  # noqa: E731
    pairs = {
        "average": (AverageKernel(linear), DscribeAverage(metric="linear")),
        "REMatch, α = 0.5": (REMatchKernel(linear, 0.5), DscribeREMatch(metric="linear", alpha=0.5, threshold=1e-6)),
    }
    for name, (ours, theirs) in pairs.items():
        t = medians({"ours": lambda k=ours: k(X), "theirs": lambda k=theirs: k.create(X)}, 3)
        difference = np.abs(ours(X) - theirs.create(X)).max()
        print(
            f"| {name} | {t['ours']:.4f} | {t['theirs']:.3f} | {t['theirs'] / t['ours']:.0f} | {difference:.0e} |",
            flush=True,
        )


def main() -> None:
    parts = {"evaluation": evaluation, "rows": rows, "neighbours": neighbours, "similarity": similarity}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    for name in parser.parse_args().only:
        parts[name]()


if __name__ == "__main__":
    main()
