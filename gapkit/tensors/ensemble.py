"""Draws from the posterior of a `TensorGAP`: whole models that share features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from gapkit.checks import is_count
from gapkit.descriptors.lambda_soap import Order
from gapkit.errors import InputError
from gapkit.tensors.prediction import TensorField


@dataclass(frozen=True)
class TensorEnsemble:
    """Members that differ by their weights.

    Attributes
    ----------
    field : TensorField
    alphas : mapping of Order to ndarray, shape (n, n_columns)
    """

    field: TensorField
    alphas: Mapping[Order, np.ndarray]

    @classmethod
    def drawn(cls, field: TensorField, n: int, rng: np.random.Generator | int) -> TensorEnsemble:
        """`n` members."""
        if not is_count(n):
            raise InputError(f"n = {n!r} must be a positive whole number of members.")
        rng = np.random.default_rng(rng)
        return cls(field, {model.columns.order: model.posterior.sample(int(n), rng) for model in field.models})

    def predict(self, structures: Atoms | Sequence[Atoms]) -> list[Any]:
        """What all members say of each structure: arrays (n, …), the member first."""
        listed = [structures] if isinstance(structures, Atoms) else structures
        return [self.field.draws(*self.field.structure(atoms), self.alphas) for atoms in listed]
