"""Frames with first-principles labels: files or `ase.Atoms` in, labels that exist and are understood out.

Units: eV, Å. ``stress = (1/V) dE/dε`` (eV/Å³, tension positive), ``virial = -V * stress`` (eV). A missing label is
``None``, never zero; a label that is not understood is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from os import PathLike
from typing import Any, TypeAlias

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from gapkit.errors import InputError
from gapkit.structures.files import check_path, frame_slice, iter_frames
from gapkit.structures.label_keys import QUANTITIES, KeyFinder, is_label_key
from gapkit.structures.labels import LabelKeys, Labels, check_frame, check_structures, labels_of
from gapkit.structures.overview import StructureTable

_Path: TypeAlias = str | PathLike[str]
_Frames: TypeAlias = Iterable[tuple[str, Atoms]]


def iter_structures(
    path: _Path | Sequence[_Path],
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    virial_key: str | None = None,
    config_type_key: str = "config_type",
    format: str | None = None,
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
    found = normalised_frames(_all_frames([check_path(each, format) for each in paths], ":"), finder)
    return (atoms for atoms, _ in found)


def frames_of_paths(paths: Iterable[_Path]) -> _Frames:
    """("frame 3 of name", atoms) of files that are there, as `normalised_frames` takes them."""
    return _all_frames(list(paths), ":")


def read_structures(
    path_or_list: _Path | Iterable[_Path] | Iterable[Atoms],
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    virial_key: str | None = None,
    config_type_key: str = "config_type",
    index: int | str | slice = ":",
    format: str | None = None,
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
    format : str, optional
        Of the files, as ASE names it. By default ``.xyz``, ``.extxyz`` and what begins like extended XYZ is that,
        whatever else a name may say; of others ASE guesses it.

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

    Warns
    -----
    UserWarning
        If a file says that some of its self-consistent calculations did not converge.
    """
    finder = KeyFinder([energy_key, forces_key, stress_key, virial_key], config_type_key)
    return [atoms for atoms, _ in normalised_frames(_all_frames(path_or_list, index, format), finder)]


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
    finder = KeyFinder([energy_key, forces_key, stress_key, virial_key], config_type_key)
    return _labelled_by(structures, finder)[0]


def all_labels(structures: Sequence[Atoms], keys: LabelKeys | None = None) -> tuple[LabelKeys, list[Labels]]:
    """Keys, found if not given, and labels of all frames; geometry and each label are checked once.

    Raises
    ------
    InputError
        As `find_label_keys`.
    """
    if keys is None:
        return _labelled_by(structures, KeyFinder([None] * len(QUANTITIES), "config_type"))
    check_structures(structures)
    return keys, [labels_of(atoms, keys, f"frame {k}") for k, atoms in enumerate(structures)]


def _labelled_by(structures: Sequence[Atoms], finder: KeyFinder) -> tuple[LabelKeys, list[Labels]]:
    check_structures(structures)
    found = [finder.add(atoms, f"frame {k}") for k, atoms in enumerate(structures)]
    finder.finish()
    keys = LabelKeys(*finder.keys(), finder.config_type_key)
    return keys, [labels_of(atoms, keys, f"frame {k}", own) for k, (atoms, own) in enumerate(zip(structures, found))]


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
    keys, labels = all_labels(structures, keys)
    table = StructureTable()
    for atoms, own in zip(structures, labels):
        table.add(atoms, own)
    taken = ", ".join(f"{name} from '{key}'" for name, key in zip(QUANTITIES, keys) if key) or "none"
    return f"{table}\nlabels: {taken}"


def _all_frames(
    source: _Path | Iterable[_Path] | Iterable[Atoms],
    index: int | str | slice,
    format: str | None = None,
) -> _Frames:
    """("frame 3 of name", atoms) of every file or entry."""
    if isinstance(source, str | PathLike):
        return iter_frames(source, index, format)
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
        return (
            frame for path in [check_path(entry, format) for entry in entries] for frame in iter_frames(path, index)
        )
    numbered = [(f"frame {k}", atoms) for k, atoms in enumerate(entries)][frame_slice(index)]
    if not numbered:
        raise InputError(f"index={index!r} selects none of the {len(entries)} structures, give one that does.")
    return numbered


def normalised_frames(frames: Iterable[tuple[str, Atoms]], finder: KeyFinder) -> Iterator[tuple[Atoms, Labels]]:
    """`iter_structures` of ("frame 3 of name", atoms) from anywhere, each with its labels; each is checked once.

    `finder` knows the keys afterwards.
    """
    for where, atoms in frames:
        check_frame(atoms, where)
        found = finder.add(atoms, where)
        keys = LabelKeys(*finder.keys(), finder.config_type_key)
        labels = _as_stored(labels_of(atoms, keys, where, found), atoms)
        yield _with_labels(atoms, labels, keys), labels
    finder.finish()


def _as_stored(labels: Labels, atoms: Atoms) -> Labels:
    """The labels as they come back from where `_with_labels` puts them: the virial from the stress."""
    if labels.stress is None:
        return labels
    return replace(labels, virial=-atoms.get_volume() * labels.stress)


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
