"""Contexts in which gapkit must warn of what a test does, found without gapkit's own search for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice

import naive
import numpy as np
import pytest
from ase import Atoms

from gapkit.errors import ExtrapolationWarning

CLOSER = "closer than any in the training data"
MARGIN = 0.05  # of the shortest distance, as documented in `gapkit.geometry.distances`


def comes_too_close(gap, atoms: Atoms) -> bool:
    """Whether two atoms are more than 5 % closer than any two of their species in the training data of `gap`."""
    symbols = np.array(atoms.get_chemical_symbols())
    for pair, shortest in gap.training_["shortest_distances"].items():
        a, b = pair.split("-")
        i, j, _ = naive.find_pairs(atoms, (1 - MARGIN) * shortest)
        if np.any((symbols[i] == a) & (symbols[j] == b)):
            return True
    return False


def none_too_close(gap, structures: Iterable[Atoms], n: int) -> list[Atoms]:
    """The first n structures that lie within the distances of the training data."""
    return list(islice((atoms for atoms in structures if not comes_too_close(gap, atoms)), n))


def extrapolation(gap, structures: Atoms | Sequence[Atoms]) -> AbstractContextManager[object]:
    """Demands an `ExtrapolationWarning` if a structure comes too close for the training data, else allows none."""
    structures = [structures] if isinstance(structures, Atoms) else structures
    if any(comes_too_close(gap, atoms) for atoms in structures):
        return pytest.warns(ExtrapolationWarning, match=CLOSER)
    return nullcontext()


def overlap() -> AbstractContextManager[object]:
    """Demands the warning of a ZBL baseline that acts where the data are."""
    return pytest.warns(UserWarning, match="the ZBL baseline acts at distances of the training data")
