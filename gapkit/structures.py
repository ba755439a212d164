"""Frames with first-principles labels: files or `ase.Atoms` in, labels that exist and are understood out.

Units: eV, Å. ``stress = (1/V) dE/dε`` (eV/Å³, tension positive), ``virial = -V * stress`` (eV). A missing label is
``None``, never zero; a label that is not understood is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from copy import deepcopy
from dataclasses import dataclass
from os import PathLike
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress

from gapkit.errors import InputError
from gapkit.frame_files import check_path, frame_slice, iter_frames
from gapkit.label_keys import QUANTITIES, KeyFinder, find_label, is_label_key
from gapkit.reference_energies import find_e0
from gapkit.structure_table import StructureTable

__all__ = [
    "LabelKeys",
    "Labels",
    "check_structures",
    "describe_structures",
    "find_e0",
    "find_label_keys",
    "iter_structures",
    "normalised_frames",
    "normalised_structures",
    "read_labels",
    "read_structures",
]

_Path: TypeAlias = str | PathLike[str]
_Frames: TypeAlias = Iterable[tuple[str, Atoms]]


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


def iter_structures(
    path: _Path | Sequence[_Path],
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    virial_key: str | None = None,
    config_type_key: str = "config_type",
) -> Iterator[Atoms]:
    """Stream the frames of a file or files, each as `read_structures` would return it (parameters are described there).

    Keys are judged by the frames seen so far, so an ambiguity is refused at the frame that brings it, and a named key
    that no frame has at the end of the file.

    Raises
    ------
    InputError
        As `read_structures`; a missing or empty file at once, the rest while iterating.
    """
    finder = KeyFinder([energy_key, forces_key, stress_key, virial_key], config_type_key)
    paths = [path] if isinstance(path, str | PathLike) else path
    return normalised_frames(_all_frames([check_path(each) for each in paths], ":"), finder)


def normalised_structures(
    structures: Iterable[Atoms],
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    virial_key: str | None = None,
    config_type_key: str = "config_type",
) -> Iterator[Atoms]:
    """`iter_structures` of frames that come from anywhere else."""
    finder = KeyFinder([energy_key, forces_key, stress_key, virial_key], config_type_key)
    return normalised_frames(((f"frame {k}", atoms) for k, atoms in enumerate(structures)), finder)


def read_structures(
    path_or_list: _Path | Iterable[_Path] | Iterable[Atoms],
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    virial_key: str | None = None,
    config_type_key: str = "config_type",
    index: int | str | slice = ":",
) -> list[Atoms]:
    """Read frames and put their labels in one place.

    Parameters
    ----------
    path_or_list : path, list of paths, or list of Atoms
        Anything ASE reads. Atoms are copied, never changed; a calculator that has not run is not run.
    energy_key, forces_key, stress_key, virial_key : str, optional
        Name of the label. ``None`` discovers it (see `find_label_keys`); ``""`` leaves that label out.
    config_type_key : str
        Name in ``atoms.info`` of the configuration type.
    index : int, str or slice
        Which frames, as in `ase.io.read`; applied to each file.

    Returns
    -------
    list of Atoms
        Labels in a `SinglePointCalculator`: ``energy`` (eV), ``forces`` (eV/Å), ``stress`` (Voigt xx yy zz yz xz xy,
        eV/Å³); ``info["config_type"]`` set. The raw label keys are removed from ``info`` and ``arrays``, all else kept
        (other results of a calculator are not).

    Raises
    ------
    InputError
        For a file that is missing, empty or unreadable; a named key that no frame has; labels that are ambiguous,
        contradictory, not finite or of the wrong shape; a stress or virial without a cell volume; bad geometry.
    """
    finder = KeyFinder([energy_key, forces_key, stress_key, virial_key], config_type_key)
    return list(normalised_frames(_all_frames(path_or_list, index), finder))


def find_label_keys(
    structures: Sequence[Atoms],
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    virial_key: str | None = None,
    config_type_key: str = "config_type",
) -> LabelKeys:
    """Find one name per label that holds for all frames, and check every label under it.

    Names count without case and without a prefix such as ``REF_``, ``DFT_`` or ``vasp_``: energy or free_energy (taken
    if both come from the same source, being consistent with the forces), force(s), stress(es), virial(s). Naming one
    of stress and virial turns off the search for the other; ``""`` turns off a search. What was taken is logged.

    Parameters
    ----------
    structures : sequence of Atoms
    energy_key, forces_key, stress_key, virial_key, config_type_key : str, optional
        As in `read_structures`.

    Returns
    -------
    LabelKeys

    Raises
    ------
    InputError
        As `read_structures`.
    """
    check_structures(structures)
    finder = KeyFinder([energy_key, forces_key, stress_key, virial_key], config_type_key)
    for k, atoms in enumerate(structures):
        finder.add(atoms, f"frame {k}")
    finder.finish()
    keys = LabelKeys(*finder.keys(), config_type_key)
    for k, atoms in enumerate(structures):
        _labels(atoms, keys, f"frame {k}")
    return keys


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
    _check_frame(atoms, where)
    return _labels(atoms, keys, where)


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
        _check_frame(atoms, f"frame {k}")


def describe_structures(structures: Sequence[Atoms], keys: LabelKeys | None = None) -> str:
    """Plain-text table: frames, atoms, labels, energy range (eV/atom) and largest force (eV/Å) per config_type.

    The columns E, F and S count the frames with an energy, with forces, and with a stress or virial.

    Parameters
    ----------
    structures : sequence of Atoms
    keys : LabelKeys, optional
        Where the labels are; found if not given.

    Raises
    ------
    InputError
        As `find_label_keys`.
    """
    check_structures(structures)
    keys = keys or find_label_keys(structures)
    table = StructureTable()
    for k, atoms in enumerate(structures):
        table.add(atoms, _labels(atoms, keys, f"frame {k}"))
    taken = ", ".join(f"{name} from '{key}'" for name, key in zip(QUANTITIES, keys) if key) or "none"
    return f"{table}\nlabels: {taken}"


def _all_frames(source: _Path | Iterable[_Path] | Iterable[Atoms], index: int | str | slice) -> _Frames:
    """("frame 3 of name", atoms) of every file or entry."""
    if isinstance(source, str | PathLike):
        return iter_frames(source, index)
    if isinstance(source, Atoms):
        raise InputError("structures is one Atoms, give a list of them: [atoms].")
    if not isinstance(source, Iterable):
        raise InputError(
            f"structures is of type {type(source).__name__}, give a path, or a list of paths or ase.Atoms."
        )
    entries: list[Any] = list(source)
    if not entries:
        raise InputError("structures is empty, give at least one frame or file.")
    if all(isinstance(entry, str | PathLike) for entry in entries):
        return (frame for path in map(check_path, entries) for frame in iter_frames(path, index))
    numbered = [(f"frame {k}", atoms) for k, atoms in enumerate(entries)][frame_slice(index)]
    if not numbered:
        raise InputError(f"index={index!r} selects none of the {len(entries)} structures, give one that does.")
    return numbered


def normalised_frames(frames: Iterable[tuple[str, Atoms]], finder: KeyFinder) -> Iterator[Atoms]:
    """`iter_structures` of ("frame 3 of name", atoms) from anywhere; `finder` knows the keys afterwards."""
    for where, atoms in frames:
        _check_frame(atoms, where)
        finder.add(atoms, where)
        keys = LabelKeys(*finder.keys(), finder.config_type_key)
        yield _with_labels(atoms, _labels(atoms, keys, where), keys)
    finder.finish()


def _with_labels(atoms: Atoms, labels: Labels, keys: LabelKeys) -> Atoms:
    clean = atoms.copy()
    clean.info = deepcopy(atoms.info)  # ASE shares what info holds
    for store in (clean.info, clean.arrays):
        for key in [key for key in store if key in keys[:4] or is_label_key(key, per_atom=store is clean.arrays)]:
            del store[key]
    clean.info["config_type"] = labels.config_type
    stress = None if labels.stress is None else full_3x3_to_voigt_6_stress(labels.stress)
    results = {"energy": labels.energy, "forces": labels.forces, "stress": stress}
    if any(value is not None for value in results.values()):
        clean.calc = SinglePointCalculator(clean, **results)
    return clean


def _labels(atoms: Atoms, keys: LabelKeys, where: str) -> Labels:
    energy, forces, stress, virial = (
        find_label(atoms, quantity, key, where) if key else None for quantity, key in zip(QUANTITIES, keys)
    )
    if (stress is not None or virial is not None) and atoms.cell.rank < 3:
        raise InputError(
            f"{where} has a {'stress' if virial is None else 'virial'} but no cell volume, give the frame three cell "
            'vectors or leave the label out (remove it, or stress_key="", virial_key="").'
        )
    if stress is not None and virial is not None:
        _check_virial(virial, -atoms.get_volume() * stress, atoms.get_volume(), where)
    if virial is not None:
        stress = -virial / atoms.get_volume()
    elif stress is not None:
        virial = -atoms.get_volume() * stress
    value = atoms.info.get(keys.config_type)
    config_type = "default" if value is None or str(value).strip() == "" else str(value)
    return Labels(None if energy is None else float(energy), forces, virial, config_type, stress)


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
        "correct one, or name the right one (stress_key= or virial_key=)."
    )


def _check_frame(atoms: object, where: str) -> None:
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
