"""Presets on published data: errors on the test files beside the published ones, and what an atom costs.

    OMP_NUM_THREADS=1 python benchmarks/accuracy.py DATA [--sets Si Cu MgO SrTiO3 ethanol] [--rows …]

DATA holds mlearn/, MgO/, SrTiO3/ and molecules/. Nothing is set by hand for an element: terms and noises to start from
are those of `GAP.preset` for the species, and "learned" rows learn from the training file what the preset says should
be learned. Of MgO the small displacements are taken. Labels of stress are left out where `WITHOUT_STRESS` says so:
there energies and stresses contradict each other.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from gapkit import GAP, read_structures
from gapkit.evaluation import evaluate
from gapkit.presets import preset_named
from gapkit.terms import Term


class DataSet(NamedTuple):
    """Files of a published set, its preset and the published errors, as printed: energy, forces."""

    preset: str
    species: Sequence[str]
    train: str
    test: str
    published: Sequence[tuple[str, str, str]]
    config_type: str | None = None
    isolated: str | None = None
    n_sparse: Sequence[int] = ()


SETS = {
    "Si": DataSet(
        "solid", ["Si"], "mlearn/Si_train.xyz", "mlearn/Si_test.xyz",
        [("GAP (published)", "MAE 2.91", "MAE 70"), ("MTP (published, best)", "MAE 2.21", "MAE 60")],
    ),
    "Cu": DataSet(
        "solid", ["Cu"], "mlearn/Cu_train.xyz", "mlearn/Cu_test.xyz",
        [("GAP (published)", "MAE 0.46", "MAE 10"), ("MTP (published, best)", "MAE 0.41", "MAE 10")],
    ),
    "MgO": DataSet(
        "ionic", ["Mg", "O"], "MgO/MgO_train.xyz", "MgO/MgO_test.xyz",
        [("pypolymlp (published)", "RMSE 0.058", "RMSE 4.82")], config_type="small_disp",
    ),
    "SrTiO3": DataSet(
        "ionic", ["Sr", "Ti", "O"], "SrTiO3/SrTiO3_train.xyz", "SrTiO3/SrTiO3_test.xyz",
        [("pypolymlp (published)", "RMSE 1.19", "RMSE 27.5")],
    ),
    "ethanol": DataSet(
        "molecule", ["H", "C", "O"], "molecules/ethanol_train.xyz", "molecules/ethanol_test_MD.xyz",
        [("FCHL19 (published)", "MAE 0.9 meV", "MAE 6.2"), ("MACE (published)", "MAE 0.4 meV", "MAE 2.1")],
        isolated="molecules/ethanol_isolated_atoms.xyz",
    ),
}  # fmt: skip
# Cu: a constant -2.7 GPa between energies and stresses; MgO: see RESULTS.md
WITHOUT_STRESS = ("Cu", "MgO")
HEAD = "set | potential | weights | E MAE meV/atom | E RMSE | F MAE meV/Å | F RMSE | S RMSE GPa | fit s | µs/atom | peak GB"


def frames(name: str, folder: Path, file: str) -> list[Atoms]:
    """Frames of a file that the comparison is about."""
    wanted = SETS[name].config_type
    found = read_structures(folder / file, stress_key="" if name in WITHOUT_STRESS else None)
    return [atoms for atoms in found if wanted is None or atoms.info["config_type"] == wanted]


def training_frames(name: str, folder: Path) -> list[Atoms]:
    """Training frames, the isolated atoms first if there are any."""
    data = SETS[name]
    atoms = read_structures(folder / data.isolated) if data.isolated else []
    return [a for a in atoms if a.symbols[0] in data.species] + frames(name, folder, data.train)


def model(name: str, row: str, n_sparse: int | None = None) -> GAP:
    """The preset, or its SOAP alone."""
    data = SETS[name]
    own: dict[str, Any] = {} if n_sparse is None else {"n_sparse": n_sparse}
    gap = GAP.preset(data.preset, data.species, verbose=False, **own)
    if row.startswith("SOAP alone"):
        gap.set_params(terms=[term for term in gap.terms if isinstance(term, Term)])
    return gap


def seconds_per_atom(gap: GAP, structures: Sequence[Atoms]) -> float:
    """Energy, forces and stress with the neighbour list, median of three walks over `structures`, one thread."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        gap.predict(structures)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) / sum(len(atoms) for atoms in structures)


def line(name: str, row: str, folder: Path, n_frames: int | None, n_sparse: int | None, verbose: bool) -> str:
    """Fit, evaluate, one line of the table."""
    train, test = training_frames(name, folder)[:n_frames], frames(name, folder, SETS[name].test)
    gap, start = model(name, row, n_sparse), time.perf_counter()
    gap.fit(train, optimize=preset_named(SETS[name].preset).optimize if row.endswith("learned") else False)
    seconds = time.perf_counter() - start
    s = evaluate(gap, test, return_std=False).summary()
    if verbose and gap.optimum_ is not None:
        print(f"\n{gap.optimum_.table()}\n")
    stress = f"{s['stress']['rmse']:.3f}" if s.get("stress") and name not in WITHOUT_STRESS else "–"
    label = f"{row}, {n_frames} frames" if n_frames else row
    cells = [name, label, f"{len(gap.alpha_)}"]
    cells += [f"{s['energy'][m]:.3f}" for m in ("mae", "rmse")] + [
        f"{1e3 * s['forces'][m]:.2f}" for m in ("mae", "rmse")
    ]
    cells += [stress, f"{seconds:.0f}", f"{1e6 * seconds_per_atom(gap, test[:25]):.0f}"]
    cells += [f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.1f}"]
    return " | ".join(cells)


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--rows", nargs="+", default=["SOAP alone, learned", "preset", "preset, learned"])
    parser.add_argument("--frames", nargs="+", type=int, help="the first so many training frames, one row each")
    parser.add_argument("--n-sparse", type=int, help="sparse points per species instead of the preset's")
    parser.add_argument("--all", action="store_true", help="print every search's table")
    given = parser.parse_args()
    print(f"| {HEAD} |\n|{'---|' * (HEAD.count('|') + 1)}")
    for name in given.sets:
        for label, energy, forces in SETS[name].published:
            print(f"| {name} | {label} | – | {energy} | – | {forces} | – | – | – | – | – |")
        for row in given.rows:
            for n_frames in given.frames or [None]:
                print(f"| {line(name, row, given.data, n_frames, given.n_sparse, given.all)} |", flush=True)


if __name__ == "__main__":
    main()
