"""GAP's own error bar: potentials by `gap_fit`, and quippy's ``local_gap_variance`` beside labels.

The variance of a local energy knows the sparse points and δ, no labels. As an indicator per atom it is scaled by
`gapkit.uncertainty.estimators.fit_scaled` on frames that the fit has not seen. Fits are to energies and forces, with
the noises of gapkit's fit: `gap_fit` scales an energy's noise by √N, gapkit by N, so that they agree at the mean number
of atoms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from comparison import quip
from gapkit.evaluation.comparison import Comparison


class Setting(NamedTuple):
    """Arguments of `gap_fit`."""

    element: str
    n_max: int
    l_max: int
    cutoff: float
    delta: float
    n_sparse: int
    noises: Mapping[str, float]


class Noises:
    """What `fit_scaled` and `with_std` ask a model for."""

    def __init__(self, noises: Mapping[str, float]) -> None:
        self._noises = noises

    def noise_std(self, kind: str, config_type: str = "default") -> float:
        """eV/atom or eV/Å."""
        return self._noises[f"{kind}_noise"]


def fit(setting: Setting, frames: Sequence[Atoms], potential: Path) -> Reader:
    """A fit to energies and forces, kept from run to run."""
    if not potential.exists():
        s = setting
        term = quip.soap(s.n_max, s.l_max, s.cutoff, s.n_sparse, "cur_points", s.delta)
        energy = s.noises["energy_noise"] * np.sqrt(np.mean([len(atoms) for atoms in frames]))
        sigmas = f"{energy:.5f} {s.noises['forces_noise']} 0.05 0.0"
        quip.run_gap_fit(_named(frames), potential, term, sigmas, {s.element: _e0(frames)})
    return Reader(quip.load(potential, variance=True))


def _named(frames: Sequence[Atoms]) -> list[Atoms]:
    """Frames with the names that `gap_fit` is given."""
    found = []
    for atoms in frames:
        new = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        new.info["ref_energy"] = atoms.get_potential_energy()
        new.arrays["ref_force"] = atoms.get_forces()
        found.append(new)
    return found


def _e0(frames: Sequence[Atoms]) -> float:
    """The isolated atom's energy, or the mean energy of an atom."""
    used = [atoms for atoms in frames if len(atoms) == 1] or frames
    return sum(atoms.get_potential_energy() for atoms in used) / sum(map(len, used))


class Reader:
    """quippy's predictions beside labels, and its variances as they were found on the way."""

    def __init__(self, calculator: Any) -> None:
        self._calculator = calculator
        self._found: dict[bytes, np.ndarray] = {}

    def comparisons(self, frames: Sequence[Atoms]) -> dict[str, Comparison]:
        """Energies and forces."""
        labels = [(a.get_potential_energy() / len(a), a.get_forces().ravel()) for a in frames]
        predicted = [self._predict(a) for a in frames]
        energy = _comparison(frames, [[e] for e, _ in labels], [[e] for e, _ in predicted], "eV/atom")
        forces = _comparison(frames, [f for _, f in labels], [f for _, f in predicted], "eV/Å")
        atom = np.concatenate([np.repeat(np.arange(len(a)), 3) for a in frames])
        species = np.concatenate([np.repeat(list(a.symbols), 3) for a in frames])
        return {"energy": energy, "forces": replace(forces, atom=atom, species=species)}

    def _predict(self, atoms: Atoms) -> tuple[float, np.ndarray]:
        plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        self._calculator.calculate(plain, ["energy", "forces"])
        self._found[atoms.positions.tobytes()] = np.array(self._calculator.extra_results["atoms"]["variance"])
        results = self._calculator.results
        return results["energy"] / len(atoms), results["forces"].ravel().copy()

    def indicator(self, atoms: Atoms) -> np.ndarray:
        """sqrt of GAP's local variance, eV."""
        return np.sqrt(np.maximum(self._found[atoms.positions.tobytes()], 0.0))


def _comparison(frames: Sequence[Atoms], reference: list, predicted: list, unit: str) -> Comparison:
    lengths = [len(x) for x in reference]
    names = np.repeat([a.info["config_type"] for a in frames], lengths)
    where = np.repeat(np.arange(len(frames)), lengths)
    return Comparison(np.concatenate(reference), np.concatenate(predicted), None, where, names, None, unit)
