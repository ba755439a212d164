"""QUIP's side: potentials by `gap_fit`, evaluated by quippy's ASE calculator (both from the wheel quippy-ase).

Two things to know. Keys that gap_fit does not find are never an error, so that its count of labels is checked. And
`energy`, `forces`, `stress` are special names to ASE's writer, so that labels have names of their own.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io import write

from comparison.recipe import Recipe
from comparison.structures import labelled_frames

EVERYTHING = ["energy", "forces", "stress"]
VARIANCE = "local_gap_variance=variance gap_variance_regularisation=0.001"


def installed() -> bool:
    return importlib.util.find_spec("quippy") is not None and gap_fit_program().exists()


def gap_fit_program() -> Path:
    return Path(sys.executable).parent / "gap_fit"


def soap(
    n_max: int, l_max: int, cutoff: float, n_sparse: int, sparse_method: str, delta: float = 1.0, zeta: int = 4
) -> str:
    """A SOAP term for `gap_fit`; with add_species it becomes one term per species, each with `n_sparse` points."""
    return (
        f"{{soap n_max={n_max} l_max={l_max} cutoff={cutoff} cutoff_transition_width=0.5 atom_sigma=0.5 zeta={zeta} "
        f"delta={delta} n_sparse={n_sparse} sparse_method={sparse_method} covariance_type=dot_product add_species=T}}"
    )


def command(frames: Path, potential: Path, term: str, sigmas: str, e0: dict[str, float]) -> list[str]:
    """The call of `gap_fit`, to be made in the folder of both files."""
    offsets = ":".join(f"{symbol}:{energy}" for symbol, energy in e0.items())
    return [
        str(gap_fit_program()), f"atoms_filename={frames.name}", f"gap={term}",
        f"default_kernel_regularisation={{{sigmas}}}", f"e0={{{offsets}}}", "sparse_jitter=1e-8",
        "energy_parameter_name=ref_energy", "force_parameter_name=ref_force", "virial_parameter_name=ref_virial",
        "do_copy_atoms_file=F", "sparse_separate_file=T", "rnd_seed=1", f"gap_file={potential.name}",
    ]  # fmt: skip


def check_log(log: str, n_energies: int) -> None:
    """Refuse a fit that did not see the labels."""
    found = [int(line.split()[-1]) for line in log.splitlines() if "Number of target energies" in line]
    if found != [n_energies]:
        raise RuntimeError(f"gap_fit found {found} energies, not {n_energies}:\n{log[-2000:]}")


def fit(recipe: Recipe, folder: Path) -> Path:
    """The recipe's potential, fitted to energies; kept in `folder` from run to run."""
    potential = folder / f"quip_{recipe.name}" / "gap.xml"
    if not potential.exists():
        frames = labelled_frames(recipe.species, recipe.n_sparse)
        term = soap(recipe.n_max, recipe.l_max, 5.0, recipe.n_sparse, "random")
        run_gap_fit(frames, potential, term, "0.001 0.05 0.05 0.0", dict.fromkeys(recipe.species, 0.0))
    return potential


def run_gap_fit(frames: Sequence[Atoms], potential: Path, term: str, sigmas: str, e0: dict[str, float]) -> None:
    potential.parent.mkdir(parents=True, exist_ok=True)
    xyz = potential.parent / "frames.xyz"
    write(xyz, frames, format="extxyz")
    arguments = command(xyz, potential, term, sigmas, e0)
    done = subprocess.run(arguments, cwd=potential.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"gap_fit failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    check_log(done.stdout, len(frames))


@lru_cache(maxsize=3)
def load(potential: Path, variance: bool = False) -> Any:
    """quippy's calculator; with `variance` every call makes the per-atom variances too."""
    from quippy.potential import Potential

    arguments = VARIANCE if variance else ""
    return Potential("IP GAP", param_filename=str(potential), calc_args=arguments)


def predict(calculator: Any, atoms: Atoms) -> Any:
    """Energy, forces and stress (and what the calculator was made for), the neighbour list included."""
    calculator.calculate(atoms, list(EVERYTHING))
    return calculator


def count_neighbours(atoms: Atoms, cutoff: float) -> float:
    """Mean number of neighbours that QUIP's SOAP sees, the centre itself not counted."""
    from quippy.descriptors import Descriptor

    descriptor = Descriptor(soap(8, 6, cutoff, 1, "random").strip("{}").replace(" add_species=T", " n_species=1 Z=14"))
    _, n_cross = descriptor.sizes(atoms)
    return n_cross / len(atoms) - 1
