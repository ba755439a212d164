"""The chemical species that a descriptor knows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from gapkit.errors import InputError, did_you_mean


def check_symbols(species: Sequence[str]) -> None:
    """Raise `InputError` unless `species` are distinct chemical symbols."""
    if isinstance(species, str) or not len(species):
        raise InputError(f"species = {species!r} must be a non-empty list of symbols, for example ['Si'].")
    for symbol in species:
        if atomic_numbers.get(symbol, 0) < 1:
            raise InputError(f"unknown species {symbol!r}{did_you_mean(str(symbol), list(atomic_numbers)[1:])}.")
    if len(set(species)) < len(species):
        raise InputError(f"species = {list(species)} names one species twice: list each once.")


def check_known(numbers: np.ndarray, species: Sequence[str], name: str) -> None:
    """Raise `InputError` if `numbers` holds a species other than `species`; `name` is the descriptor's."""
    unknown = np.setdiff1d(numbers, [atomic_numbers[s] for s in species]).tolist()
    if unknown:
        symbols = ", ".join(chemical_symbols[z] for z in unknown)
        raise InputError(
            f"the structure holds {symbols} but the descriptor's species are {', '.join(species)}: "
            f"add {symbols} to {name}(species=…) and fit again."
        )
