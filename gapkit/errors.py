"""Exceptions and warnings: bad input (with "did you mean"), extrapolation, too large an uncertainty."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NamedTuple


class Parameter(NamedTuple):
    """A parameter in a message, as written in Python; the command line has a flag for it.

    Attributes
    ----------
    name : str
    value : str
        As it stands in the sentence; "True" is what a flag without a value means.
    equals : str
        What stands between the two; " = " in a statement, "=" in advice.
    """

    name: str
    value: str = ""
    equals: str = "="

    def __str__(self) -> str:
        return f"{self.name}{self.equals}{self.value}"

    def flag(self) -> str:
        """The same for the shell: ``--energy-key=…``, ``--max-memory …``, ``--resume``."""
        flag = f"--{self.name.replace('_', '-')}"
        return flag if self.value == "True" else f"{flag}{self.equals.replace(' = ', ' ')}{self.value}"


class InputError(ValueError):
    """Something the user gave cannot be used: one sentence with the condition, the values and the cure.

    Parameters
    ----------
    *parts : str or Parameter
        The sentence; parameters that have a flag on the command line may be given as `Parameter`.
    """

    def __init__(self, *parts: str | Parameter) -> None:
        super().__init__("".join(map(str, parts)))
        self.parts = parts

    def for_the_shell(self) -> str:
        """The sentence with flags instead of parameters."""
        return "".join(part.flag() if isinstance(part, Parameter) else part for part in self.parts)


# packages between the user's line and a warning: decorators, and those that call an estimator or a calculator
PASSED_BY = frozenset(("gapkit", "contextlib", "sklearn", "joblib", "ase"))


class ExtrapolationWarning(UserWarning):
    """A structure, or part of a model, that the training data do not cover."""


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
    """A simulation has reached a structure for which the potential is too uncertain; the input is not at fault.

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


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's code: the innermost frame outside gapkit and packages that pass calls on."""
    frame, stacklevel = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in PASSED_BY:
        frame, stacklevel = frame.f_back, stacklevel + 1
    warnings.warn(message, category, stacklevel=stacklevel)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``" (did you mean 'cutoff'?)"`` if `word` is close to a known one, else the list of known words."""
    known = list(known)
    plain = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), plain, n=1)
    return f" (did you mean '{plain[close[0]]}'?)" if close else f" (known: {', '.join(sorted(known))})"
