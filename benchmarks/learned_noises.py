"""Noises and δ learned from the training file alone, against the prototype's hand-set ones, on the mlearn test files.

    OMP_NUM_THREADS=1 python benchmarks/learned_noises.py DATA/mlearn [--elements Si Cu] [--n-sparse 1200] [--all]

SOAP 8, 6, 5 Å, ζ 4, farthest points, as in `benchmarks/mlearn.py`. Every row starts from the prototype's noises; what
is learned is named in the row, `--rows` picks some. `--all` prints the table of every search. Copper is fitted to
energies and forces.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from gapkit import GAP, SOAP, DotProduct, Term, read_structures
from gapkit.evaluation.calibration import calibration
from gapkit.evaluation.compare import evaluate

PROTOTYPE = {"energy_noise": 0.001, "forces_noise": 0.05, "virial_noise": 0.02}
LEARNED = {
    "hand-set": (),
    "noise": ("noise",),
    "noise, δ": ("noise", "delta"),
    "noise by config type, δ": ("config_type", "delta"),
    "ratios by leave-out errors, scale by evidence": ("leave_out",),
}


def main() -> None:
    """One row per element and way to learn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--elements", nargs="+", default=["Si", "Cu"])
    parser.add_argument("--n-sparse", type=int, default=1200)
    parser.add_argument("--rows", nargs="+", default=list(LEARNED), choices=list(LEARNED))
    parser.add_argument("--all", action="store_true", help="print every search's table")
    given = parser.parse_args()
    head = (
        "set",
        "learned",
        "E RMSE meV/atom",
        "E MAE",
        "F RMSE eV/Å",
        "F MAE",
        "S RMSE GPa",
        "log evidence",
        "std z of E",
        "s",
    )
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for element in given.elements:
        train = read_structures(given.data / f"{element}_train.xyz", stress_key="" if element == "Cu" else None)
        test = read_structures(given.data / f"{element}_test.xyz", stress_key="" if element == "Cu" else None)
        for name in given.rows:
            start, what = time.perf_counter(), LEARNED[name]
            term = Term(SOAP([element], cutoff=5.0, n_max=8, l_max=6), DotProduct(4, 10.0), given.n_sparse)
            gap = GAP([term], **PROTOTYPE, verbose=False).fit(train, optimize=what)
            seconds = time.perf_counter() - start
            found = evaluate(gap, test, return_std=True)
            s = found.summary()
            cells = [f"{s['energy']['rmse']:.2f}", f"{s['energy']['mae']:.2f}"]
            cells += [f"{s['forces']['rmse']:.4f}", f"{s['forces']['mae']:.4f}"]
            cells += [f"{s['stress']['rmse']:.3f}" if s.get("stress") else "–"]
            cells += [f"{gap.posterior_.log_marginal_likelihood:.0f}", f"{calibration(found.energy).std_z:.2f}"]
            print(f"| {element} | {name} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)
            if given.all and gap.optimum_ is not None:
                print(f"\n{gap.optimum_.table()}\n")


if __name__ == "__main__":
    main()
