"""Errors, features and cost of compressed SOAP with unit and with learned species weights.

    OMP_NUM_THREADS=1 python benchmarks/species_weights.py [SrTiO3 InP alloy] [--data DATA] [--time]

Every row is a fit with as many sparse points to the same frames, noises and δ learned; weights are learned from the
training frames alone (not for the 3330 features of "off" with six species). `alloy` needs no data: random fcc alloys of
six metals with ASE's EMT potential, strained and rattled. `--time` measures energy, forces and stress of about a
thousand atoms, on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit import GAP, SOAP, DotProduct, GAPCalculator, Term, learn_species_weights, read_structures
from gapkit.evaluation.compare import evaluate

COMPRESSIONS = ("off", "mu1nu1", "mu2", "crossover")
METALS = {"Ni": 3.52, "Cu": 3.61, "Pd": 3.89, "Ag": 4.09, "Pt": 3.92, "Au": 4.08}  # EMT's, and their lattices in Å
HEAD = (
    "| set | compression | weights | features | E RMSE meV/atom | F RMSE meV/Å | log evidence | confirmed | search s "
    "| µs/atom |"
)


def alloy_frame(rng: np.random.Generator) -> Atoms:
    """32 atoms, any mixture of six metals on a lattice 2 % wider than Vegard's, strained by 2 %, rattled by 0.08 Å."""
    symbols = rng.choice(list(METALS), size=32, p=rng.dirichlet(np.ones(len(METALS))))
    atoms = bulk("Cu", "fcc", a=1.02 * float(np.mean([METALS[s] for s in symbols])), cubic=True).repeat(2)
    atoms.symbols[:] = symbols
    strain = rng.uniform(-0.02, 0.02, (3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
    atoms.positions += rng.normal(0.0, 0.08, (32, 3))
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def frames_of(name: str, data: Path, n_train: int, n_test: int) -> tuple[list[Atoms], list[Atoms], dict[str, float]]:
    """Frames to learn from, others to test with, and the energies of isolated atoms where they are known."""
    rng = np.random.default_rng(0)
    if name == "alloy":
        frames = [alloy_frame(rng) for _ in range(n_train + n_test)]
        return frames[:n_train], frames[n_train:], {}
    if name == "InP":
        frames = [a for a in read_structures(data / "InP/InP.xyz") if 8 <= len(a) <= 70]
        frames = [a for a in frames if a.get_potential_energy() < -4.4 * len(a)]  # volumes far from any equilibrium
        order = rng.permutation(len(frames))
        return [frames[k] for k in order[:n_train]], [frames[k] for k in order[n_train : n_train + n_test]], {}
    train, test = (read_structures(data / f"SrTiO3/SrTiO3_{part}.xyz") for part in ("train", "test"))
    picked = rng.permutation(len(train))[:n_train]
    return [train[k] for k in picked], test[:n_test], {"Sr": -0.02805273, "Ti": -2.44987314, "O": -1.85321219}


def microseconds_per_atom(gap: GAP, atoms: Atoms) -> float:
    """Of energy, forces and stress, the neighbour list included; median of nine."""
    large = atoms.repeat(max(1, round((1000 / len(atoms)) ** (1 / 3))))
    large.calc = GAPCalculator(gap)
    times = []
    for k in range(10):
        large.rattle(1e-4, seed=k)
        start = time.perf_counter()
        large.get_forces(), large.get_stress()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:])) * 1e6 / len(large)


def row(name: str, gap: GAP, train: list[Atoms], test: list[Atoms], search: dict[str, int] | None, clock: bool) -> str:
    """One fit, with weights that this `search` finds, if any."""
    start = time.perf_counter()
    found = learn_species_weights(gap, train, **search) if search else None
    seconds = time.perf_counter() - start
    gap = gap.set_params(**(found.params if found else {})).fit(train, optimize=True)
    soap, errors = gap.terms_[0].descriptor, evaluate(gap, test, return_std=False).summary()
    weights = "1" if found is None else ", ".join(f"{s} {w:.2f}" for s, w in found.terms[0].weights.items())
    cells = [name, soap.compression, weights, str(soap.n_features)]
    cells += [f"{errors['energy']['rmse']:.2f}", f"{1e3 * errors['forces']['rmse']:.1f}"]
    cells += [f"{gap.posterior_.log_marginal_likelihood:.0f}"]
    confirmed = "–" if found is None or found.confirmed is None else f"{found.confirmed:+.0f}"
    cells += [confirmed, "–" if found is None else f"{seconds:.0f}"]
    return f"| {' | '.join(cells)} | {f'{microseconds_per_atom(gap, test[0]):.0f}' if clock else '–'} |"


def main() -> None:
    """One row per set, compression and kind of weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["alloy"], choices=["SrTiO3", "InP", "alloy"])
    parser.add_argument("--data", type=Path, default=Path("DATA"))
    parser.add_argument("--n-train", type=int, default=100)
    parser.add_argument("--n-test", type=int, default=50)
    parser.add_argument("--n-sparse", type=int, default=150, help="per species")
    parser.add_argument("--n-atoms", type=int, default=2000, help="to learn the weights from")
    parser.add_argument("--search-sparse", type=int, default=100, help="sparse points per species to learn them with")
    parser.add_argument("--cutoff", type=float, default=5.0)
    parser.add_argument("--compressions", nargs="+", default=list(COMPRESSIONS), choices=COMPRESSIONS)
    parser.add_argument("--time", action="store_true")
    given = parser.parse_args()
    print(f"{HEAD}\n|{'---|' * (HEAD.count('|') - 1)}")
    search = {"n_atoms": given.n_atoms, "n_sparse": given.search_sparse}
    for name in given.sets:
        train, test, e0 = frames_of(name, given.data, given.n_train, given.n_test)
        species = sorted({symbol for atoms in train for symbol in atoms.symbols})
        for compression in given.compressions:
            for learn in (False, True)[: 1 if compression == "off" and len(species) > 4 else 2]:
                term = Term(SOAP(species, given.cutoff, 6, 4, compression=compression), DotProduct(4, 5.0))
                gap = GAP([term], e0=e0 or None, verbose=False).set_params(terms__0__n_sparse=given.n_sparse)
                print(row(name, gap, train, test, search if learn else None, given.time), flush=True)


if __name__ == "__main__":
    main()
