"""One additive part of a tensor: which environments, which kernel, how many sparse points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from gapkit.checks import is_count, is_number
from gapkit.descriptors.lambda_soap import Order
from gapkit.descriptors.soap import SOAP
from gapkit.errors import InputError
from gapkit.gaussian_process.sparsification import check_choice


@dataclass(frozen=True)
class TensorTerm:
    """A sum over atoms of a Gaussian process with the kernel of `gapkit.gaussian_process.tensor_kernels`.

    Parameters
    ----------
    descriptor : SOAP
        Densities of the environments; λ-SOAP features are made of the same ones.
    zeta : int
        Scalar kernels of power ζ - 1 multiply the tensorial one; 1 is linear.
    delta : float or mapping of int to float, optional
        Amplitude δ, or one for each order λ, in the unit of the labels; from the data if not given.
    n_sparse : int or mapping of str to int
        Sparse points for each species of central atom, or one number per symbol (0: none). Each stands for 2 λ + 1
        columns.
    sparsification : {"fps", "cur", "kmeans", "random"}
        How they are chosen, by their scalar features: environments that differ by a rotation are one.
    orders : sequence of int, optional
        Orders λ that the term takes part in; all if not given.
    """

    descriptor: SOAP
    zeta: int = 2
    delta: float | Mapping[int, float] | None = None
    n_sparse: int | Mapping[str, int] = 500
    sparsification: str = "fps"
    orders: Sequence[int] | None = None

    def validate(self) -> None:
        """Raise `InputError` for parameters that cannot work."""
        if not isinstance(self.descriptor, SOAP):
            raise InputError(f"TensorTerm: descriptor = {self.descriptor!r} must be a SOAP, as SOAP(['H', 'O']).")
        self.descriptor.validate()
        if self.descriptor.engine != "numba":
            raise InputError("TensorTerm: engine = 'dscribe' has no λ-SOAP: use the engine 'numba'.")
        if not is_count(self.zeta):
            raise InputError(f"TensorTerm: zeta = {self.zeta!r} must be a positive whole number; 2 is usual.")
        self._validate_counts()
        deltas = self.delta if isinstance(self.delta, Mapping) else {None: self.delta}
        for value in deltas.values():
            if value is not None and (not is_number(value) or not value > 0):
                raise InputError(f"TensorTerm: delta = {self.delta!r} must be positive, or None: from the data.")
        if self.orders is not None and not all(lam in (0, 1, 2) for lam in self.orders):
            raise InputError(f"TensorTerm: orders = {self.orders!r} must be among 0, 1 and 2.")

    def _validate_counts(self) -> None:
        counts: Any = self.n_sparse.values() if isinstance(self.n_sparse, Mapping) else [self.n_sparse]
        if not all(is_count(n, 0) for n in counts) or not any(counts):
            raise InputError(
                f"TensorTerm: n_sparse = {self.n_sparse!r} must be a positive whole number, or numbers by symbol."
            )
        check_choice(1, self.sparsification)

    def count(self, number: int) -> int:
        """Sparse points wanted of a species."""
        if not isinstance(self.n_sparse, Mapping):
            return int(self.n_sparse)
        symbol = chemical_symbols[number]
        if symbol not in self.n_sparse:
            raise InputError(f"n_sparse = {dict(self.n_sparse)} has no entry for {symbol}: add one, 0 for none.")
        return int(self.n_sparse[symbol])

    def has(self, order: Order) -> bool:
        """Whether the term takes part in an order."""
        return self.orders is None or order.order in self.orders

    def given_delta(self, order: Order) -> float | None:
        """The amplitude that was given."""
        if isinstance(self.delta, Mapping):
            return None if (value := self.delta.get(order.order)) is None else float(value)
        return None if self.delta is None else float(self.delta)

    def check_species(self, numbers: np.ndarray) -> None:
        """Raise `InputError` for an atomic number that the descriptor does not know."""
        self.descriptor.check_species(numbers)
