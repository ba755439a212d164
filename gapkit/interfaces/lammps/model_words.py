"""What stands behind ``pair_style gapkit``: a model file, and baselines that LAMMPS is to evaluate instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gapkit.errors import InputError

SYNTAX = "pair_style gapkit model.gap [without BASELINE ...]"


class ModelWords(NamedTuple):
    """Arguments of the pair style.

    Attributes
    ----------
    path : str
        The model file.
    without : tuple of str
        Names of baselines that are left out here.
    """

    path: str
    without: tuple[str, ...] = ()


def parse_model_words(words: Sequence[str]) -> ModelWords:
    """The arguments of ``pair_style gapkit``.

    Raises
    ------
    InputError
        If they are not a path, with ``without`` and names of baselines or nothing behind it.
    """
    if not words:
        raise InputError(f"pair_style gapkit needs a model file: {SYNTAX}.")
    path, *rest = words
    if rest and (rest[0] != "without" or len(rest) == 1):
        raise InputError(f"pair_style gapkit does not know {' '.join(rest)!r}: {SYNTAX}.")
    return ModelWords(path, tuple(rest[1:]))
