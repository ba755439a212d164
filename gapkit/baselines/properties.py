"""The protocol of baselines: energy, forces, strain derivative and local energies of one structure."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from ase import Atoms

from gapkit.structures.properties import Properties


class Baseline(Protocol):
    """Physics that is already known: subtracted from the labels before a fit, added to the predictions after it."""

    def validate(self) -> None:
        """Raise `InputError` for parameters that cannot work."""
        ...

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` if the atomic numbers hold a species that this baseline has no parameters for."""
        ...

    def evaluate(self, atoms: Atoms) -> Properties:
        """Energy, forces, strain derivative and local energies of a structure; `InputError` if it has none."""
        ...
