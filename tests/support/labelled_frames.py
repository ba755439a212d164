"""Frames with labels for the tests of everything before the descriptors; references are ASE's calculators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit.structures.labels import Labels, read_labels
from gapkit.structures.reading import find_label_keys

ROW = "2\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.5\nH 0 0 0 0.1 0.2 0.3\nH 0 0 0.8 -0.1 -0.2 -0.3\n"


def copper(seed: int = 0) -> Atoms:
    """Sheared, rattled copper with energy, forces and a stress whose six components all differ."""
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(
        atoms.cell.array @ (np.eye(3) + np.array([[0.02, 0.03, 0.01], [0, -0.03, 0.04], [0, 0, 0.01]])),
        scale_atoms=True,
    )
    atoms.rattle(0.1, seed=seed)
    atoms.calc = EMT()
    atoms.get_stress()
    return atoms


def labelled(atoms: Atoms | None = None, info: dict | None = None, arrays: dict | None = None, **results) -> Atoms:
    """Atoms with exactly these labels."""
    atoms = bulk("Si") if atoms is None else atoms
    atoms.info.update(info or {})
    for key, value in (arrays or {}).items():
        atoms.arrays[key] = np.asarray(value)
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def hand_written(tmp_path: Path, text: str, name: str = "frames.xyz") -> Path:
    """A file with this text."""
    path = tmp_path / name
    path.write_text(text)
    return path


def labels_of(structures: list[Atoms], **named) -> list[Labels]:
    """What is read as labels, under names that are found or given."""
    keys = find_label_keys(structures, **named)
    return [read_labels(atoms, keys) for atoms in structures]


def assert_same_labels(read: Atoms, atoms: Atoms, tolerance: float = 1e-8) -> None:
    """Energy, forces and stress that were read are those of a calculator."""
    assert read.calc.results["energy"] == pytest.approx(atoms.get_potential_energy(), abs=tolerance)
    np.testing.assert_allclose(read.calc.results["forces"], atoms.get_forces(), atol=tolerance)
    np.testing.assert_allclose(read.calc.results["stress"], atoms.get_stress(), atol=tolerance)


def copper_frames(n: int) -> list[Atoms]:
    """Frames of different shapes and sizes with all labels, of the config types "bulk", "cluster" and "default"."""
    frames = []
    for k in range(n):
        rng = np.random.default_rng(k)
        atoms = bulk("Cu", cubic=True) if k % 3 else bulk("Cu", cubic=True)[:3]
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.12, seed=k)
        if k % 3 == 0:
            atoms.set_pbc(False)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        results |= {"stress": atoms.get_stress()} if k % 3 else {}
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["config_type"] = ("cluster", "bulk", "default")[k % 3]
        frames.append(atoms)
    return frames
