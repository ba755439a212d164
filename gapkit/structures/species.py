"""Checks of species: chemical symbols are valid and distinct, and cover the atoms of a structure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from gapkit.errors import InputError, did_you_mean


def check_symbols(species: Any, name: str) -> None:
    """Raise `InputError` unless `species` are distinct chemical symbols; `name` is the class that has them."""
    listed = isinstance(species, Collection) and not isinstance(species, str | bytes)
    if not listed or getattr(species, "shape", None) == () or not len(species):
        raise InputError(f"{name}: species = {species!r} must be a non-empty list of symbols, for example ['Si'].")
    seen = set()
    for symbol in species:
        if not isinstance(symbol, str) or atomic_numbers.get(symbol, 0) < 1:
            meant = did_you_mean(str(symbol), list(atomic_numbers)[1:])
            raise InputError(f"{name}: unknown species {symbol!r}{meant}.")
        if symbol in seen:
            raise InputError(f"{name}: species = {list(species)} names one species twice: list each once.")
        seen.add(symbol)


def unknown_species(numbers: np.ndarray, species: Iterable[str]) -> list[str]:
    """Symbols of the atomic numbers that are not in `species`, by atomic number."""
    known = set(species)
    return [symbol for z in np.unique(numbers) if (symbol := chemical_symbols[z]) not in known]


def check_known(numbers: np.ndarray, species: Collection[str], name: str, whose: str = "") -> None:
    """Raise `InputError` if `numbers` holds a species other than `species`; `name` is the class that has them."""
    if unknown := ", ".join(unknown_species(numbers, species)):
        raise InputError(
            f"the structure holds {unknown} but the species of {whose or name} are {', '.join(species)}: "
            f"add {unknown} to {name}(species=…) and fit again."
        )
