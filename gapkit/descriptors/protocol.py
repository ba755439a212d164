"""The protocol of descriptors: atom-centred features of neighbour pairs, with values and derivatives."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from gapkit.descriptors.tangents import RowProducts, Slots
from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.runtime.workspace import Workspace


class Descriptor(Protocol):
    """`SOAP` and `ACSF`; both are frozen dataclasses of plain parameters."""

    @property
    def cutoff(self) -> float:
        """Radius beyond which atoms have no influence, Å."""
        ...

    @property
    def numbers(self) -> np.ndarray:
        """Atomic numbers that it knows, increasing."""
        ...

    @property
    def n_features(self) -> int:
        """Length of a row of features."""
        ...

    def validate(self) -> None:
        """Raise `InputError` for invalid parameters."""
        ...

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` for an atomic number that the descriptor does not know."""
        ...

    def evaluate(
        self, neighbourhoods: Neighbourhoods, numbers: np.ndarray, workspace: Workspace | None = None
    ) -> tuple[np.ndarray, Any]:
        """Features (n_centres, n_features), never all zero, and what the derivatives need."""
        ...

    def pullback(self, state: Any, cotangent: np.ndarray, workspace: Workspace | None = None) -> np.ndarray:
        """∂(Σ cotangent · features)/∂D_ij, shape (n_pairs, 3)."""
        ...

    def tangents(self, state: Any, workspace: Workspace | None = None, slots: Slots | None = None) -> Any:
        """`Tangents` of the features."""
        ...

    def row_products(
        self,
        state: Any,
        Q: np.ndarray,
        norm: np.ndarray,
        X: np.ndarray,
        S: np.ndarray,
        workspace: Workspace | None = None,
    ) -> RowProducts:
        """Derivatives of the inner products S = Q Xᵀ of normalised features."""
        ...
