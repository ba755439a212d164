"""Part "training": gap_fit and gapkit on the mlearn silicon set, each in a process of its own.

The settings are those published for gap_fit: SOAP n_max = l_max = 8, 5.4 Å, σ 0.5 Å, ζ 4, δ 1 eV, 1000 points by CUR,
energies with 0.01 eV √N, forces with 0.05 eV/Å, no virials, e0 -0.79 eV. gapkit's noise of an energy is linear in N,
so that frames of each size have a noise of their own, equal to gap_fit's: both have the same likelihood. Wall time is
that of the whole process (reading, import, writing included), gapkit's compiled code being cached; peak memory is
the largest resident size.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read, write

from comparison import quip, worker
from comparison.settings import Settings

PUBLISHED = {"n_max": 8, "l_max": 8, "cutoff": 5.4, "energy": 0.01, "forces": 0.05, "e0": -0.79}


def training(settings: Settings) -> None:
    """Both fits and the errors of both on the test file; skipped without data."""
    if settings.data is None:
        print("training: give the folder of the mlearn files with --data\n")
        return
    folder = (settings.work / "training").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        write(folder / f"{split}.xyz", labelled(settings.data / f"Si_{split}.xyz"), format="extxyz")
    for side, fit in {"gapkit": _gapkit, "gap_fit": _gap_fit}.items():
        if side == "gapkit" or quip.installed():
            _side(settings, side, fit, folder)


def _side(settings: Settings, side: str, fit: Callable[[Path, Path, int], dict[str, float]], folder: Path) -> None:
    """Cost and errors of one program; two rows, so that a long fit is kept whatever follows."""
    M = settings.n_sparse
    potential = folder / f"{side}_{M}" / ("gap.xml" if side == "gap_fit" else "model.gap")
    potential.parent.mkdir(exist_ok=True)
    files = {"side": side, "potential": str(potential), "frames": str(folder / "test.xyz")}
    runs: dict[str, Callable[[], dict[str, float]]] = {
        "cost": lambda: fit(folder / "train.xyz", potential, M),
        "errors": lambda: worker.run("errors_of", **files),
    }
    for kind, run in runs.items():
        label = f"{side}, {kind}; mlearn Si; 8, 8; 5.4 Å; M = {M}"
        row = {"side": side, "n_sparse": M, "kind": kind}
        settings.results.measure("training", label, lambda r=run: {"values": r()}, **row)


def labelled(path: Path) -> list[Atoms]:
    """Frames with ``ref_energy`` and ``ref_force``, and their number of atoms as config_type."""
    frames = []
    for atoms in read(path, ":"):
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        bare.info = {"ref_energy": atoms.get_potential_energy(), "config_type": f"atoms{len(atoms)}"}
        bare.arrays["ref_force"] = atoms.get_forces()
        frames.append(bare)
    return frames


def _gapkit(train: Path, potential: Path, n_sparse: int) -> dict[str, float]:
    arguments = {"train": str(train), "model": str(potential)}
    worker.run("fit_gapkit", **arguments, settings={**PUBLISHED, "n_sparse": min(20, n_sparse)})  # compiles
    return worker.run("fit_gapkit", **arguments, settings={**PUBLISHED, "n_sparse": n_sparse})


def _gap_fit(train: Path, potential: Path, n_sparse: int) -> dict[str, float]:
    frames, log = potential.parent / "train.xyz", potential.parent / "log"
    frames.write_bytes(train.read_bytes())
    p = PUBLISHED
    term = quip.soap(p["n_max"], p["l_max"], p["cutoff"], n_sparse, "cur_points")
    call = quip.command(frames, potential, term, f"{p['energy']} {p['forces']} 0.05 0.0", {"Si": p["e0"]})
    cost = worker.run("fit_gap_fit", call=call, folder=str(potential.parent), log=str(log))
    quip.check_log(log.read_text(), len(read(frames, ":")))
    return cost


def fit_gapkit(train: str, model: str, settings: dict[str, Any]) -> float:
    """Fit and save; seconds of the fit alone."""
    from gapkit import GAP, SOAP, DotProduct, Term
    from gapkit.structures.labels import LabelKeys

    frames = read(train, ":")
    noise = {a.info["config_type"]: settings["energy"] / np.sqrt(len(a)) for a in frames}
    soap = SOAP(["Si"], settings["cutoff"], settings["n_max"], settings["l_max"], atom_sigma=0.5)
    term = Term(soap, DotProduct(4, delta=1.0), settings["n_sparse"], "cur")
    gap = GAP([term], noise, settings["forces"], e0={"Si": settings["e0"]}, jitter=1e-8, verbose=False)
    start = time.perf_counter()
    gap.fit(frames, keys=LabelKeys(energy="ref_energy", forces="ref_force"))
    seconds = time.perf_counter() - start
    gap.save(model)
    return seconds


def errors(side: str, potential: str, frames: str) -> dict[str, float]:
    """Root-mean-square and mean absolute errors of energies (meV/atom) and forces (eV/Å)."""
    energy, forces = [], []
    for atoms in read(frames, ":"):
        e, f = _predict(side, potential, atoms)
        energy.append(1e3 * (e - atoms.info["ref_energy"]) / len(atoms))
        forces.append((f - atoms.arrays["ref_force"]).ravel())
    measures = {"E": np.array(energy), "F": np.concatenate(forces)}
    return {
        f"{name} {kind}": float(value)
        for name, x in measures.items()
        for kind, value in (("RMSE", np.sqrt(np.mean(x**2))), ("MAE", np.abs(x).mean()))
    }


def _predict(side: str, potential: str, atoms: Atoms) -> tuple[float, np.ndarray]:
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    if side == "gap_fit":
        results = quip.predict(quip.load(Path(potential)), bare).results
        return results["energy"], results["forces"]
    p = _loaded(potential).predict(bare)
    return float(p.energy[0]), p.forces[0]


def _loaded(path: str) -> Any:
    from gapkit import GAP

    if path not in _MODELS:
        _MODELS[path] = GAP.load(path)
    return _MODELS[path]


_MODELS: dict[str, Any] = {}
