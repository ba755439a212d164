"""The exception that bad input raises with its "did you mean", and the one that ends a run beyond the data."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NamedTuple


class InputError(ValueError):
    """Something the user gave cannot be used: one sentence with the condition, the values and the cure."""


class ExtrapolationWarning(UserWarning):
    """A structure, or part of a model, that the training data say nothing about."""


class Excess(NamedTuple):
    """A standard deviation at or above a threshold.

    Attributes
    ----------
    step : int
        Step of the dynamics, or number of the check (from 0) if the guard does not know the dynamics.
    atom : int or None
        Index of the atom; None for the total energy.
    symbol : str or None
        Its species.
    std, threshold : float
        Standard deviation, and the threshold it has reached, eV or eV/Å.
    """

    step: int
    atom: int | None
    symbol: str | None
    std: float
    threshold: float


class UncertaintyError(RuntimeError):
    """A simulation has come to a structure that the potential is too uncertain about: nothing is wrong with the input.

    Attributes
    ----------
    atoms : ase.Atoms
        A copy of that structure, with its standard deviations, to be labelled.
    excess : Excess
        Atom, step, standard deviation and threshold.
    """

    def __init__(self, message: str, atoms: Any = None, excess: Excess | None = None) -> None:
        super().__init__(message)
        self.atoms = atoms
        self.excess = excess


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``" (did you mean 'cutoff'?)"`` if `word` is close to a known one, else the list of known words."""
    known = list(known)
    plain = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), plain, n=1)
    return f" (did you mean '{plain[close[0]]}'?)" if close else f" (known: {', '.join(sorted(known))})"
