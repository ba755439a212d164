"""Presets on published data: errors on the test files beside the published ones, and what an atom costs.

    OMP_NUM_THREADS=1 python benchmarks/accuracy.py DATA --save MODELS [--sets Si Cu MgO SrTiO3 ethanol] [--rows …]
    OMP_NUM_THREADS=1 python benchmarks/accuracy.py DATA --times MODELS

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

from gapkit import GAP, ZBL, read_structures
from gapkit.evaluation.compare import evaluate
from gapkit.potential.presets import preset_named
from gapkit.terms.term import Term


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
        [("FCHL19 (bar)", "MAE 0.9 meV", "MAE 6.2"), ("MACE (published)", "MAE 0.4 meV", "MAE 2.1")],
        isolated="molecules/ethanol_isolated_atoms.xyz",
    ),
}  # fmt: skip
# Cu: a constant -2.7 GPa between energies and stresses; MgO: see RESULTS.md
WITHOUT_STRESS = ("Cu", "MgO")
RATTLED = "rattled"  # rows that name it have as many sparse points more, from copies of the frames displaced by
DISPLACEMENT = 0.05  # Å
HEAD = "set | potential | weights | E MAE meV/atom | E RMSE | F MAE meV/Å | F RMSE | S RMSE GPa | fit, CPU s | peak GB"


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


def model(name: str, row: str, train: Sequence[Atoms], n_sparse: int | None = None) -> GAP:
    """The preset, with radii of its repulsion from the data as `gapkit fit --preset` has them, or its SOAP alone."""
    data = SETS[name]
    own: dict[str, Any] = {} if n_sparse is None else {"n_sparse": n_sparse}
    gap = GAP.preset(data.preset, data.species, baseline=[ZBL.from_structures(train)], verbose=False, **own)
    if row.startswith("SOAP alone"):
        gap.set_params(terms=[term for term in gap.terms if isinstance(term, Term)])
    return gap


def rattled(train: Sequence[Atoms]) -> list[Atoms]:
    """Two copies of every frame, without labels, atoms displaced at random."""
    rng, found = np.random.default_rng(0), []
    for atoms in [atoms for atoms in train if len(atoms) > 1] * 2:
        copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        copy.positions += rng.normal(0.0, DISPLACEMENT, copy.positions.shape)
        found.append(copy)
    return found


def line(name: str, row: str, given: argparse.Namespace, n_frames: int | None) -> str:
    """Fit, evaluate, one line of the table."""
    train, test = training_frames(name, given.data)[:n_frames], frames(name, given.data, SETS[name].test)
    gap, start = model(name, row, train, given.n_sparse), time.process_time()
    gap.fit(train, optimize=preset_named(SETS[name].preset).optimize if row.endswith("learned") else False)
    if RATTLED in row:
        gap.add_sparse_points(train, given.rattled, candidates=rattled(train))
    seconds = time.process_time() - start
    if given.all and gap.optimum_ is not None:
        print(f"\n{gap.optimum_.table()}\n")
    if given.save:
        gap.save(given.save / f"{name}, {row}, {len(gap.alpha_)}.gap")
    s = evaluate(gap, test, return_std=False).summary()
    cells = [name, f"{row}, {n_frames} frames" if n_frames else row, f"{len(gap.alpha_)}"]
    for kind, unit, digits in (("energy", 1, 3), ("forces", 1e3, 2)):
        cells += [f"{unit * s[kind][m]:.{digits}f}" for m in ("mae", "rmse")]
    cells += ["–" if name in WITHOUT_STRESS or not s.get("stress") else f"{s['stress']['rmse']:.3f}", f"{seconds:.0f}"]
    return " | ".join([*cells, f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.1f}"])


def times(given: argparse.Namespace) -> None:
    """Energy, forces and stress with the neighbour list, one thread: median of rounds that take the models in turn."""
    models = {path.stem: GAP.load(path) for path in sorted(given.times.glob("*.gap"))}
    test = {name: frames(name, given.data, SETS[name].test)[:25] for name in {key.split(", ")[0] for key in models}}
    seconds: dict[str, list[float]] = {key: [] for key in models}
    for _ in range(5):
        for key, gap in models.items():
            start = time.perf_counter()
            gap.predict(test[key.split(", ")[0]])
            seconds[key].append(time.perf_counter() - start)
    print(
        "| set, potential, weights | µs/atom | E MAE meV/atom, no copies | F MAE meV/Å, no copies |\n|---|---|---|---|"
    )
    for key, found in seconds.items():
        name = key.split(", ")[0]
        errors = evaluate(
            models[key], without_copies(frames(name, given.data, SETS[name].test)), return_std=False
        ).summary()
        cells = [key, f"{1e6 * np.median(found) / sum(map(len, test[name])):.0f}", f"{errors['energy']['mae']:.3f}"]
        print(f"| {' | '.join(cells)} | {1e3 * errors['forces']['mae']:.2f} |")


def without_copies(structures: Sequence[Atoms]) -> list[Atoms]:
    """The test frames that are no symmetry copies of training frames; the published errors are those of all."""
    return [atoms for atoms in structures if atoms.info.get("in_train") != "equiv"]


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--rows", nargs="+", default=["SOAP alone, learned", "preset", "preset, learned"])
    parser.add_argument("--frames", nargs="+", type=int, help="the first so many training frames, one row each")
    parser.add_argument("--n-sparse", type=int, help="sparse points per species instead of the preset's")
    parser.add_argument("--rattled", type=int, default=500, help="sparse points that rattled copies add, per species")
    parser.add_argument("--all", action="store_true", help="print every search's table")
    parser.add_argument("--save", type=Path, help="folder for the models")
    parser.add_argument("--times", type=Path, help="only time the models of this folder")
    given = parser.parse_args()
    if given.times:
        return times(given)
    print(f"| {HEAD} |\n|{'---|' * (HEAD.count('|') + 1)}")
    for name in given.sets:
        for label, energy, forces in SETS[name].published:
            print(f"| {name} | {label} | – | {energy} | – | {forces} | – | – | – | – |")
        for row in given.rows:
            for n_frames in given.frames or [None]:
                print(f"| {line(name, row, given, n_frames)} |", flush=True)


if __name__ == "__main__":
    main()
