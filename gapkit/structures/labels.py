"""Labels of one structure: energy, forces, virial and config type, each there and understood or absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from os import PathLike
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from gapkit.errors import InputError, Parameter
from gapkit.runtime.text import one_line
from gapkit.structures.label_keys import QUANTITIES, Found, KeyFinder, find_label


class LabelKeys(NamedTuple):
    """Names under which the labels are stored (``None``: no such label), looked up in info, arrays, calc.results."""

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    virial: str | None = None
    config_type: str = "config_type"

    def as_arguments(self) -> dict[str, str]:
        """The same as keyword arguments of `read_structures`."""
        return {f"{name}_key": key or "" for name, key in zip(self._fields, self)}

    def finder(self) -> KeyFinder:
        """One that looks for labels under these names alone."""
        return KeyFinder([key or "" for key in self[:4]], self.config_type)


@dataclass(frozen=True)
class Labels:
    """What one frame is labelled with; ``None`` where a label is absent.

    Attributes
    ----------
    energy : float or None
        Total energy of the frame, eV.
    forces : ndarray (n_atoms, 3) or None
        eV/Å.
    virial : ndarray (3, 3) or None
        Symmetric, ``-V * stress``, eV.
    config_type : str
        ``"default"`` if the frame has none.
    stress : ndarray (3, 3) or None
        The label that `virial` comes from, or the other way round, eV/Å³: not a digit of it changes when frames are
        written and read again.
    """

    energy: float | None
    forces: np.ndarray | None
    virial: np.ndarray | None
    config_type: str
    stress: np.ndarray | None = None


def read_labels(atoms: Atoms, keys: LabelKeys, *, frame: int | None = None) -> Labels:
    """Labels of one frame under the given keys.

    Parameters
    ----------
    atoms : Atoms
    keys : LabelKeys
        As `find_label_keys` gives them.
    frame : int, optional
        Number of the frame, for error messages.

    Raises
    ------
    InputError
        For labels that are not finite, of the wrong shape or contradictory, and for a virial without a cell volume.
    """
    where = "this frame" if frame is None else f"frame {frame}"
    check_frame(atoms, where)
    return labels_of(atoms, keys, where)


def check_structures(structures: Sequence[Atoms]) -> None:
    """Refuse geometry that nothing can be computed from.

    Raises
    ------
    InputError
        For an empty list, an entry that is not Atoms, a frame without atoms or with an unknown element, positions or a
        cell that are not finite, and periodic directions without independent cell vectors.
    """
    if isinstance(structures, Atoms):
        raise InputError("structures is one Atoms, give a list of them: [atoms].")
    if isinstance(structures, str | PathLike):
        raise InputError(f"structures is the path '{structures}', give read_structures('{structures}').")
    if not isinstance(structures, Sized):
        raise InputError(f"structures is of type {type(structures).__name__}, give a list of ase.Atoms.")
    if len(structures) == 0:
        raise InputError("structures is empty, give at least one frame.")
    for k, atoms in enumerate(structures):
        check_frame(atoms, f"frame {k}")


def labels_of(atoms: Atoms, keys: LabelKeys, where: str, found: Found = MappingProxyType({})) -> Labels:
    """`read_labels` of a frame whose geometry was checked; `where` names it in errors.

    What a `KeyFinder` has `found` in this very frame is not read and checked again.
    """
    energy, forces, stress, virial = (
        _label(atoms, quantity, key, where, found.get(quantity, {})) for quantity, key in zip(QUANTITIES, keys)
    )
    if (stress is not None or virial is not None) and atoms.cell.rank < 3:
        raise InputError(
            f"{where} has a {'stress' if virial is None else 'virial'} but no cell volume, give the frame three cell "
            "vectors or leave the label out (remove it, or ",
            Parameter("stress_key", '""'),
            ", ",
            Parameter("virial_key", '""'),
            ").",
        )
    if stress is not None and virial is not None:
        _check_virial(virial, -atoms.get_volume() * stress, atoms.get_volume(), where)
    if virial is not None:
        stress = -virial / atoms.get_volume()
    elif stress is not None:
        virial = -atoms.get_volume() * stress
    value = atoms.info.get(keys.config_type)
    config_type = "default" if value is None or str(value).strip() == "" else one_line(str(value))
    return Labels(None if energy is None else float(energy), forces, virial, config_type, stress)


def _label(atoms: Atoms, quantity: str, key: str | None, where: str, found: Mapping[str, Any]) -> Any:
    """The label under `key`, already `found` or looked up now."""
    if not key:
        return None
    return found[key] if key in found else find_label(atoms, quantity, key, where)


def _check_virial(virial: np.ndarray, expected: np.ndarray, volume: float, where: str) -> None:
    """virial = -V * stress to the digits in which either is usually printed."""
    tolerance = 1e-3 * np.abs(expected).max() + 1e-6 * volume
    if np.abs(virial - expected).max() <= tolerance:
        return
    # virial = factor * expected in the least-squares sense: -1 is a sign, 160 a GPa
    factor = float(np.sum(virial * expected) / max(float(np.sum(expected**2)), np.finfo(float).tiny))
    proportional = np.abs(virial - factor * expected).max() <= max(abs(factor), 1.0) * tolerance
    flipped = proportional and abs(factor + 1) < 0.01
    hint = f" (it is {factor:.4g} times that)" if proportional else ""
    hint = " (the sign of one of them looks flipped)" if flipped else hint
    a, b = np.unravel_index(np.argmax(np.abs(virial - expected)), (3, 3))
    raise InputError(
        f"{where}: virial and stress contradict each other, virial[{a},{b}] = {virial[a, b]:.6g} eV but "
        f"-V*stress[{a},{b}] = {expected[a, b]:.6g} eV{hint}, "
        "correct one, or name the right one (",
        Parameter("stress_key"),
        " or ",
        Parameter("virial_key"),
        ").",
    )


def check_frame(atoms: object, where: str) -> None:
    """Raise `InputError` unless this is an `ase.Atoms` with atoms, finite positions and a possible cell."""
    if not isinstance(atoms, Atoms):
        raise InputError(f"{where} is of type {type(atoms).__name__}, give ase.Atoms.")
    if len(atoms) == 0:
        raise InputError(f"{where} has no atoms, remove it.")
    if (atoms.numbers <= 0).any() or (atoms.numbers >= len(chemical_symbols)).any():
        raise InputError(f"{where} has an atom of unknown element (X), give every atom its chemical symbol.")
    for name, values in (("positions", atoms.positions), ("cell vectors", atoms.cell.array)):
        if not np.isfinite(values).all():
            raise InputError(f"{where} has {name} that are not finite (NaN or infinite), correct or remove the frame.")
    vectors = atoms.cell.array[atoms.pbc]
    for axis in np.flatnonzero(atoms.pbc):
        if not atoms.cell.array[axis].any():
            raise InputError(
                f"{where} is periodic along direction {axis} but its cell vector there is zero, set it or pbc=False."
            )
    if len(vectors) and np.linalg.matrix_rank(vectors) < len(vectors):
        raise InputError(f"{where} has periodic cell vectors that are linearly dependent, correct the cell.")
