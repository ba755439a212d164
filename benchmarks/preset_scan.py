"""What the presets' numbers were chosen by: test errors against cutoffs, widths, bases and noises of one fit.

    OMP_NUM_THREADS=1 python benchmarks/preset_scan.py DATA [--sets Si Cu MgO SrTiO3]

One pass over the training file gives the row factors, from which every choice of noises is solved. The test errors are
in view here, as the noises of presets are meant to be good for all sets; `benchmarks/accuracy.py` is the comparison.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from accuracy import SETS
from ase import Atoms

from gapkit import GAP, SOAP, DotProduct, Linear, LongRange, Pair, Term, Triplet, read_structures
from gapkit.fitting.noise import Noises
from gapkit.fitting.second_pass import frame_rows
from gapkit.fitting.updates import solve
from gapkit.structures.frames import labelled_frames
from gapkit.terms.term import AnyTerm

# cutoff, n_max, l_max, atom_sigma, smoothness, ζ
BASES = {
    "Si": [(5.4, 8, 8, 0.5, 1, 4), (6.5, 10, 8, 0.5, 2, 4), (7.5, 8, 6, 0.5, 2, 4), (7.5, 10, 8, 0.5, 2, 4),
           (7.5, 10, 8, 0.47, 2, 4)],
    "Cu": [(7.5, 8, 6, 0.5, 2, 4), (7.5, 10, 8, 0.5, 2, 4)],
    "MgO": [(5.5, 8, 6, 0.5, 1, 2), (7.0, 8, 6, 0.5, 2, 2)],
    "SrTiO3": [(5.5, 8, 6, 0.5, 1, 2), (7.0, 8, 6, 0.5, 2, 2), (7.0, 8, 6, 0.5, 2, 4)],
}  # fmt: skip
# eV/atom, eV/Å, eV/atom
NOISES = {
    "solid": [(0.002, 0.1, 0.02), (0.001, 0.1, 0.02), (0.0005, 0.1, 0.02), (0.004, 0.1, 0.02)],
    "ionic": [(1e-3, 0.1, 0.02), (1e-4, 0.01, 1e-3), (1e-4, 0.01, 0.01), (1e-4, 0.01, 1.0)],
}
N_SPARSE = {"solid": 2000, "ionic": 600}  # for each species


def terms(name: str, basis: tuple[float, int, int, float, float, int]) -> list[AnyTerm]:
    """Pairs, triplets or lattice sums, and SOAP."""
    cutoff, n_max, l_max, sigma, smoothness, zeta = basis
    data = SETS[name]
    soap = SOAP(data.species, cutoff, n_max, l_max, sigma, smoothness)
    last = Term(soap, DotProduct(zeta, 10.0), N_SPARSE[data.preset])
    if data.preset == "ionic":
        return [Pair(data.species, cutoff, delta=2.0), Linear(LongRange(data.species, [1]), 15.0), last]
    return [Pair(data.species, cutoff, delta=5.0), Triplet(data.species, 4.0, delta=0.3, n_sparse=200), last]


def frames(name: str, folder: Path, file: str) -> list[Atoms]:
    """All labels of MgO here: its stresses are what some rows leave out by their noise."""
    wanted = SETS[name].config_type
    found = read_structures(folder / file, stress_key="" if name == "Cu" else None)
    return [atoms for atoms in found if wanted is None or atoms.info["config_type"] == wanted]


def errors(gap: GAP, rows: Sequence[tuple[str, int, np.ndarray, np.ndarray]], noises: Noises) -> list[str]:
    """MAE and RMSE of energies (meV/atom) and forces (meV/Å) with other noises; `rows` are those of the test file."""
    alpha = solve(gap.recipe_._replace(noises=noises), gap.factors_, gap.jitter).alpha
    cells = []
    for kind in ("energy", "forces"):
        own = [(K @ alpha - y) / (n if kind == "energy" else 1) for k, n, K, y in rows if k == kind]
        error = 1e3 * np.concatenate(own)
        cells += [f"{np.abs(error).mean():.3f}", f"{np.sqrt(np.mean(error**2)):.3f}"]
    return cells


def main() -> None:
    """One row for each basis and choice of noises."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", default=list(BASES), choices=list(BASES))
    given = parser.parse_args()
    print("| set | Å | n, l | σ Å | m | ζ | noises E, F, virial | E MAE meV/atom | E RMSE | F MAE meV/Å | F RMSE |")
    print(f"|{'---|' * 11}")
    for name in given.sets:
        data, test = SETS[name], frames(name, given.data, SETS[name].test)
        for basis in BASES[name]:
            gap = GAP(terms(name, basis), verbose=False).fit(frames(name, given.data, data.train))
            found = [(f, row) for f in labelled_frames(test) for row in frame_rows(gap.recipe_, f)]
            rows = [(row.group[0], len(f.atoms), row.K, row.y) for f, row in found]
            for noises in NOISES[data.preset]:
                cells = [name, basis[0], f"{basis[1]}, {basis[2]}", *basis[3:], ", ".join(map(str, noises))]
                print(f"| {' | '.join(map(str, cells + errors(gap, rows, Noises(*noises))))} |", flush=True)


if __name__ == "__main__":
    main()
