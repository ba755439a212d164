"""Frames that extended XYZ can hold: no text in them breaks a line, a column or a terminal."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from ase import Atoms

from gapkit.runtime.text import one_line, printable_values


def writable(atoms: Atoms) -> Atoms:
    """The frame, or a copy of it, with texts that stay where they belong: one line each, one word in a column.

    Line breaks and control characters become blanks and pictures (␛), blanks in a column of texts underscores. Texts
    that are empty are left out, because a reader would take the next entry for them.
    """
    columns = {name: _words(array) for name, array in atoms.arrays.items() if array.dtype.kind in "UO"}
    if not columns and not any(isinstance(value, str | dict | list | tuple) for value in atoms.info.values()):
        return atoms
    own = atoms.copy()
    own.calc = atoms.calc
    own.info = {_key(key): printable_values(value) for key, value in atoms.info.items() if not _is_empty(value)}
    for name, array in columns.items():
        own.arrays[name] = array
    return own


def _is_empty(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


def _key(key: Any) -> Any:
    """Names without quotes, brackets and signs of equality, which end a name."""
    return re.sub(r"""["'={}\[\]]+""", "_", one_line(key)) if isinstance(key, str) else key


def _words(array: np.ndarray) -> np.ndarray:
    if not all(isinstance(word, str) for word in array.ravel().tolist()):
        return array
    words = [re.sub(r"\s+", "_", one_line(word).strip()) or "_" for word in array.ravel().tolist()]
    return np.array(words).reshape(array.shape)
