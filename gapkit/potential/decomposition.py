"""Contributions to a prediction: e0, every baseline and every fitted term, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from gapkit.baselines import evaluate_baselines
from gapkit.errors import InputError, did_you_mean
from gapkit.potential.prediction import Potential, energies_of_atoms
from gapkit.runtime.tables import aligned
from gapkit.runtime.threads import ordered_map
from gapkit.terms.evaluate import evaluate

ROLES = ("e0", "baseline", "term")


@dataclass(frozen=True)
class Contribution:
    """One summand of a potential; one entry per structure.

    Attributes
    ----------
    name : str
        "e0", the class of the baseline, or the class of the term (of its descriptor or function, where it has one).
    role : {"e0", "baseline", "term"}
    energy : ndarray, shape (n_structures,), eV
    forces : list of ndarray, shape (n_atoms, 3), eV/Å
    stress : list of ndarray, shape (3, 3), eV/Å³, or None without a three-dimensional cell
    local_energies : list of ndarray, shape (n_atoms,), eV
    """

    name: str
    role: str
    energy: np.ndarray
    forces: list[np.ndarray]
    stress: list[np.ndarray | None]
    local_energies: list[np.ndarray]


@dataclass(frozen=True)
class Contributions:
    """All summands of a potential: e0, baselines, terms; their sum is the prediction.

    Attributes
    ----------
    parts : tuple of Contribution
        Names are distinct: a second one of a kind is called "SOAP 2".
    """

    parts: tuple[Contribution, ...]

    def __getitem__(self, name: str) -> Contribution:
        """The part of that name.

        Raises
        ------
        InputError
            If no part has it.
        """
        named = {part.name: part for part in self.parts}
        if name not in named:
            raise InputError(f"there is no part {name!r}, only {', '.join(named)}.")
        return named[name]

    def total(self, *roles: str) -> Contribution:
        """The sum of the parts of these roles, or of all.

        Raises
        ------
        InputError
            For an unknown role.
        """
        if wrong := [role for role in roles if role not in ROLES]:
            raise InputError(f"role {wrong[0]!r} is unknown{did_you_mean(str(wrong[0]), ROLES)}.")
        chosen = [part for part in self.parts if part.role in roles or not roles]
        n = range(len(self.parts[0].energy))
        return Contribution(
            " + ".join(roles) or "sum",
            "sum",
            sum((part.energy for part in chosen), np.zeros(len(n))),
            [sum((p.forces[k] for p in chosen), np.zeros_like(self.parts[0].forces[k])) for k in n],
            [None if x is None else sum((_known(p.stress[k]) for p in chosen), np.zeros((3, 3)))
             for k, x in enumerate(self.parts[0].stress)],
            [sum((p.local_energies[k] for p in chosen), np.zeros_like(self.parts[0].local_energies[k])) for k in n],
        )  # fmt: skip

    def table(self) -> str:
        """Mean and spread of the energies, and root mean square of the forces, of every part as aligned text."""
        head = ["", "energy eV/atom", "spread meV/atom", "forces eV/Å"]
        n = np.array([len(forces) for forces in self.parts[0].forces])
        lines = [head]
        for part in (*self.parts, self.total()):
            e, f = part.energy / n, np.concatenate(part.forces)
            size = float(np.sqrt(np.mean(f**2)))
            lines.append([part.name, f"{e.mean():.4f}", f"{1000 * e.std():.2f}", f"{size:.4f}"])
        return aligned(lines, "lrrr")


def decompose(potential: Potential, structures: Sequence[Atoms]) -> Contributions:
    """Every summand of the predictions of some structures; public as `GAP.decompose`."""
    names, roles = _names(potential)
    found = list(ordered_map(lambda atoms: _parts(potential, atoms), structures))
    return Contributions(
        tuple(
            Contribution(name, role, np.array([own[k][3].sum() for own in found]), *_columns([own[k] for own in found]))
            for k, (name, role) in enumerate(zip(names, roles))
        )
    )


Part = tuple[str, np.ndarray, np.ndarray | None, np.ndarray]


def _columns(rows: Sequence[Part]) -> tuple[list[np.ndarray], list[np.ndarray | None], list[np.ndarray]]:
    return [row[1] for row in rows], [row[2] for row in rows], [row[3] for row in rows]


def _parts(potential: Potential, atoms: Atoms) -> list[Part]:
    """Role, forces, stress and local energies of every part for one structure."""
    potential.check_known(atoms)
    environments = potential.basis.environments(atoms)
    volume = abs(np.linalg.det(atoms.cell.array)) if atoms.pbc.any() and atoms.cell.rank == 3 else 0.0
    nothing = np.zeros((len(atoms), 3)), np.zeros((3, 3))

    def part(role: str, forces: np.ndarray, strain: np.ndarray, local: np.ndarray) -> Part:
        return role, forces, strain / volume if volume > 0 else None, local

    parts = [part("e0", *nothing, energies_of_atoms(potential.e0, atoms.numbers))]
    for baseline in potential.baselines:
        known = evaluate_baselines([baseline], atoms)
        parts.append(part("baseline", known.forces, known.strain_derivative, known.local_energies))
    for t in range(len(potential.basis.terms)):
        p = evaluate(environments.only(t), potential.alpha, potential.folds)
        parts.append(part("term", p.forces, p.strain_derivative, p.local_energies))
    return parts


def _names(potential: Potential) -> tuple[list[str], list[str]]:
    """Distinct names of all parts, and their roles."""
    bare = ["e0", *(type(b).__name__ for b in potential.baselines)]
    bare += [term.label for term in potential.basis.terms]
    roles = ["e0", *["baseline"] * len(potential.baselines), *["term"] * len(potential.basis.terms)]
    counts = [bare[:k].count(name) for k, name in enumerate(bare)]
    return [f"{name} {n + 1}" if n else name for name, n in zip(bare, counts)], roles


def _known(stress: np.ndarray | None) -> np.ndarray:
    assert stress is not None
    return stress
