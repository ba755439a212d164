"""What additive terms cost: SOAP alone, with pairs, with triplets, with both; energy, forces and stress on one thread.

    OMP_NUM_THREADS=1 python benchmarks/terms.py [--repeats 25] [--only Si Cu NaCl SrTiO3]

Neighbour lists are searched again in every call. The sums take turns in one process, so that other work on the machine
slows all of them alike; ratios are medians of the ratios within one turn. Weights are random: time does not depend on
their values. SOAP 8, 6 to 5 Å, ζ 4; pairs to 5 Å; triplets to 4 Å, from their tables.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers
from ase.spacegroup import crystal

from gapkit import SOAP, DotProduct, Pair, Term, Triplet
from gapkit.geometry.neighbourhoods import find_neighbourhoods
from gapkit.runtime.threads import set_num_threads
from gapkit.terms.basis import Basis
from gapkit.terms.evaluate import evaluate
from gapkit.terms.feature_term import KEY
from gapkit.terms.protocol import AdditiveTerm

SUMS = {"SOAP": (0,), "SOAP + Pair": (0, 1), "SOAP + Triplet": (0, 2), "SOAP + Pair + Triplet": (0, 1, 2)}


def systems() -> dict[str, tuple[Atoms, tuple[int, ...]]]:
    """Crystals with thermal displacements, and numbers of sparse points of each species' SOAP."""
    perovskite = crystal(
        ["Sr", "Ti", "O"], [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)], spacegroup=221, cellpar=[3.905] * 3 + [90] * 3
    )
    found = {
        "Si": (bulk("Si", "diamond", a=5.43, cubic=True).repeat(4), (1000, 300)),
        "Cu": (bulk("Cu", "fcc", a=3.61, cubic=True).repeat(5), (1000, 300)),
        "NaCl": (bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(4), (500, 300)),
        "SrTiO3": (perovskite.repeat(4), (300,)),
    }
    for atoms, _ in found.values():
        atoms.rattle(0.08, seed=1)
    return found


def random_sum(terms: Sequence[AdditiveTerm], atoms: Atoms, M: int) -> Callable[[], object]:
    """Evaluation of the sum of these terms with random sparse points of SOAP, M for each species, and weights."""
    rng, points = np.random.default_rng(0), {}
    for t, term in enumerate(terms):
        if isinstance(term, Term):
            X = np.abs(rng.normal(size=(M, term.descriptor.n_features)))
            X /= np.linalg.norm(X, axis=1, keepdims=True)
            points |= {(t, atomic_numbers[s]): X for s in term.descriptor.species}
        else:
            found = term.offered(find_neighbourhoods(atoms, term.reach), atoms.numbers)
            points[t, KEY] = term.select(found, 0)
    basis = Basis.of_points(terms, points)
    alpha = 0.1 * rng.normal(size=basis.n_columns)
    folds = basis.fold(alpha)
    return lambda: evaluate(basis.environments(atoms), alpha, folds)


def turns(functions: dict[str, Callable[[], object]], repeats: int) -> np.ndarray:
    """Seconds (repeats, functions), the functions taking turns after a warm-up."""
    times = np.empty((repeats + 1, len(functions)))
    for repeat in range(repeats + 1):
        for column, function in enumerate(functions.values()):
            start = time.perf_counter()
            function()
            times[repeat, column] = time.perf_counter() - start
    return times[1:]


def sizes(atoms: Atoms) -> str:
    """Neighbours within 5 Å and triplets within 4 Å of one atom."""
    pairs, near = (np.diff(find_neighbourhoods(atoms, cutoff).first) for cutoff in (5.0, 4.0))
    return f"{pairs.mean():.0f} | {np.mean(near * (near - 1) // 2):.0f}"


def main() -> None:
    """Print the table."""
    known = systems()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--only", nargs="+", choices=known, default=list(known))
    options = parser.parse_args()
    set_num_threads(1)
    print("| system | atoms | M | pairs | triplets | SOAP, µs/atom | + Pair | + Triplet | both | both / SOAP |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in options.only:
        atoms, counts = known[name]
        species = sorted(set(atoms.symbols), key=atomic_numbers.__getitem__)
        all_terms = (Term(SOAP(species, 5.0, 8, 6), DotProduct(4)), Pair(species, 5.0), Triplet(species, 4.0))
        for M in counts:
            functions = {title: random_sum([all_terms[t] for t in which], atoms, M) for title, which in SUMS.items()}
            t = turns(functions, options.repeats) / len(atoms) * 1e6
            added = np.median(t[:, 1:] - t[:, :1], axis=0)
            cells = [name, len(atoms), M if len(species) == 1 else f"{len(species)} × {M}", sizes(atoms)]
            cells += [f"{np.median(t[:, 0]):.1f}", *(f"{x:.1f}" for x in added)]
            print(f"| {' | '.join(map(str, cells))} | {np.median(t[:, -1] / t[:, 0]):.2f} |", flush=True)


if __name__ == "__main__":
    main()
