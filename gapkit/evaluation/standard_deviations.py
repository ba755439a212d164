"""The names by which standard deviations are requested, and their cost."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Any

from gapkit.errors import InputError, did_you_mean


class WhichStd(StrEnum):
    """Which standard deviations to predict: of the local energies, of the total energy, too, or of everything.

    "local" costs little more than the forces and grows with the number of atoms; "energy" grows with its square; "all"
    costs about thirty times as much as the forces.
    """

    LOCAL = "local"
    ENERGY = "energy"
    ALL = "all"


def parse_return_std(return_std: bool | str, known: Collection[WhichStd] = tuple(WhichStd)) -> WhichStd | None:
    """Meaning of an argument `return_std`: False is nothing, True is "energy".

    Raises
    ------
    InputError
        Unless it is True, False or one of the `known` names.
    """
    if return_std in (False, True):
        return WhichStd.ENERGY if return_std else None
    if not isinstance(return_std, str) or return_std not in known:
        *first, last = ["True", "False", *(f"'{word}'" for word in known if word != WhichStd.ENERGY)]
        raise InputError(f"return_std = {return_std!r} is unknown: use {', '.join(first)} or {last}.")
    return WhichStd(return_std)


def parse_std(word: Any) -> WhichStd:
    """One of the names.

    Raises
    ------
    InputError
        If it is none of them.
    """
    if not isinstance(word, str) or word not in tuple(WhichStd):
        raise InputError(f"standard deviations {word!r} are unknown{did_you_mean(str(word), WhichStd)}.")
    return WhichStd(word)
