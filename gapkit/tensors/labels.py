"""Labels of a tensorial target: find their name, understand their shape, make them independent of the origin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from gapkit.checks import is_number
from gapkit.errors import InputError, did_you_mean
from gapkit.structures.label_keys import PREFIXES
from gapkit.structures.labels import check_frame
from gapkit.tensors.targets import Target

ORIGINS = ("coordinates", "centre_of_mass")
CHARGES = ("charge", "total_charge")  # keys of atoms.info
ASYMMETRY = 0.02  # of the largest component, up to which a symmetric tensor's two halves are averaged
SAME = 1e-6  # relative: two labels that are one number printed twice


class Convention(NamedTuple):
    """What the user says of the labels.

    Attributes
    ----------
    charge : float or None
        Of every structure, e; None: ``info["charge"]``, or 0.
    label_origin : {"coordinates", "centre_of_mass"}
        Where dipoles of charged structures are taken about.
    unit : str or None
    branch_consistent : bool
        Dipoles of periodic cells are all on one branch.
    """

    charge: float | None = None
    label_origin: str = "coordinates"
    unit: str | None = None
    branch_consistent: bool = False

    def validate(self, target: Target) -> None:
        """Raise `InputError` for what cannot be."""
        if self.charge is not None and not is_number(self.charge):
            raise InputError(f"charge = {self.charge!r} must be a number in e, or None: info['charge'] of each frame.")
        if self.label_origin not in ORIGINS:
            meant = did_you_mean(str(self.label_origin), ORIGINS)
            raise InputError(f"label_origin = {self.label_origin!r} is unknown{meant}.")
        target.unit_size(self.unit)


def bare(atoms: Atoms, where: str) -> Atoms:
    """The checked structure alone; a lattice of zeros is no cell."""
    if isinstance(atoms, Atoms) and not atoms.cell.array.any():
        atoms = Atoms(atoms.numbers, atoms.positions) if len(atoms) else atoms
    check_frame(atoms, where)
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def check_periodic(target: Target, convention: Convention, atoms: Atoms, where: str) -> None:
    """Refuse dipoles of periodic cells, which are defined modulo e times a lattice vector only."""
    if target.moment and atoms.pbc.any() and not convention.branch_consistent:
        raise InputError(
            f"{where} is periodic, and the dipole of a periodic cell is defined only modulo e times a lattice vector: "
            "learn 'born_charges' or 'atomic_dipoles', or, if all labels are on one branch, set branch_consistent=True."
        )


def charge_of(convention: Convention, atoms: Atoms, where: str) -> float:
    """Total charge of a structure, e."""
    if convention.charge is not None:
        return float(convention.charge)
    value = next((atoms.info[key] for key in CHARGES if key in atoms.info), 0.0)
    if not is_number(value):
        raise InputError(f"{where}: the charge {value!r} in info must be a number in e.")
    return float(value)


def origin_shift(target: Target, convention: Convention, atoms: Atoms, where: str) -> np.ndarray | float:
    """Charge times centre of mass, in the labels' unit: what a label about the coordinates' origin has more."""
    if not target.moment or (charge := charge_of(convention, atoms, where)) == 0.0:
        return 0.0
    if atoms.pbc.any():
        raise InputError(
            f"{where} is periodic and has the charge {charge:g} e: its dipole has no origin to refer to; leave it out."
        )
    if convention.label_origin != "coordinates":
        return 0.0
    size = target.unit_size(convention.unit)
    if size is None:
        raise InputError(
            f"{where} has the charge {charge:g} e, so that its dipole depends on the origin: say the unit of the "
            "labels (unit='e*Å', 'a.u.' or 'Debye'), or label_origin='centre_of_mass'."
        )
    return np.asarray(charge / size * atoms.get_center_of_mass())


def shift_gradient(target: Target, convention: Convention, atoms: Atoms) -> np.ndarray:
    """∂(charge × centre of mass)_a/∂r_ib, shape (3, n_atoms, 3), in the labels' unit per Å."""
    gradient = np.zeros((3, len(atoms), 3))
    charge = charge_of(convention, atoms, "the structure") if target.moment else 0.0
    if charge and convention.label_origin == "coordinates":
        masses = atoms.get_masses() / atoms.get_masses().sum()
        gradient += charge / (target.unit_size(convention.unit) or 1.0) * np.einsum("ab,i->aib", np.eye(3), masses)
    return gradient


# ---- names


@lru_cache(maxsize=64)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?:(?:{PREFIXES})[_-])*(?:{'|'.join(map(re.escape, names))})", re.IGNORECASE)


def label_names(target: Target, atoms: Atoms) -> list[str]:
    """Keys under which a frame may have the label."""
    pattern = _pattern((target.name, *target.aliases))
    places = _places(target, atoms)
    return sorted({key for place in places for key in place if isinstance(key, str) and pattern.fullmatch(key)})


def _places(target: Target, atoms: Atoms) -> Iterator[dict[str, Any]]:
    yield atoms.info
    if target.of == "atom":
        yield atoms.arrays
    yield getattr(atoms.calc, "results", None) or {}


class LabelReader:
    """Reads the label of frame after frame, all under one name.

    Parameters
    ----------
    target : Target
    key : str, optional
        The name; found if not given.
    preferred : str, optional
        A name that is taken where a frame has it; others are found.
    """

    def __init__(self, target: Target, key: str | None = None, preferred: str | None = None) -> None:
        self.target, self.key, self._preferred = target, key, preferred
        self._given = key is not None
        self._seen: set[str] = set()

    def read(self, atoms: Atoms, where: str) -> np.ndarray | None:
        """The label in the target's shape, (n_atoms, …) for one of each atom; None if the frame has none.

        Raises
        ------
        InputError
            For a label of the wrong shape, not finite, not symmetric, or under two names that disagree.
        """
        self._seen |= {key for place in _places(self.target, atoms) for key in place if isinstance(key, str)}
        names = [self.key] if self._given and self.key is not None else self._found_names(atoms)
        found = {name: value for name in names if (value := self._value(atoms, name, where)) is not None}
        if not found:
            return None
        if not self._given:
            self._settle(found, where)
        return next(iter(found.values())) if self._given else found[str(self.key)]

    def _found_names(self, atoms: Atoms) -> list[str]:
        if self._preferred is not None and any(self._preferred in place for place in _places(self.target, atoms)):
            return [self._preferred]
        return label_names(self.target, atoms)

    def _settle(self, found: dict[str, np.ndarray], where: str) -> None:
        """Take the one name, or refuse."""
        first, *others = found.items()
        for name, value in others:
            if not np.allclose(value, first[1], rtol=SAME, atol=SAME * float(np.abs(first[1]).max())):
                raise InputError(
                    f"{where}: the {self.target.name} is ambiguous, {first[0]!r} and {name!r} differ: say which one "
                    "(key=…)."
                )
        if self.key is None:
            self.key = first[0]
        if self.key not in found:
            raise InputError(
                f"{where} has its {self.target.name} under {first[0]!r} but earlier frames under {self.key!r}: "
                "rename one of them, as they may be different things."
            )

    def _value(self, atoms: Atoms, name: str, where: str) -> np.ndarray | None:
        value = next((place[name] for place in _places(self.target, atoms) if place.get(name) is not None), None)
        return None if value is None else understood(self.target, value, len(atoms), f"{where}: {name!r}")

    def missing(self, n_frames: int) -> InputError:
        """What to say if no frame had a label."""
        own = self.key or self.target.name
        known = sorted(self._seen - {"numbers", "positions"})
        names = did_you_mean(own, known) if known else ", which carry no labels at all"
        return InputError(f"none of the {n_frames} frames has a label {own!r}{names}: name it with fit(frames, key=…).")


def understood(target: Target, value: Any, n_atoms: int, where: str) -> np.ndarray:
    """A label in the target's shape from numbers, or text of numbers, in any usual shape.

    Rank two: 3 × 3, nine numbers row by row, or, symmetric, six as xx yy zz yz xz xy.
    """
    numbers = _numbers(value, where)
    rows = n_atoms if target.of == "atom" else 1
    width = 6 if target.is_symmetric and numbers.size == 6 * rows and numbers.size != 9 * rows else 3**target.rank
    expected = {(rows, width), (rows, *target.shape)} if target.of == "atom" else {(width,), target.shape, (1, width)}
    if target.of == "atom" and width == 1:
        expected |= {(rows,), (rows, 1)}
    if numbers.shape not in expected and not (target.rank == 0 and target.of != "atom" and numbers.size == 1):
        wanted = {0: "one number", 1: "3 numbers", 2: "3×3 or 9 numbers" + ", or 6" * target.is_symmetric}[target.rank]
        per = f" for each of the {n_atoms} atoms" if target.of == "atom" else ""
        raise InputError(f"{where} has shape {numbers.shape}, the {target.name} must be {wanted}{per}.")
    if not np.isfinite(numbers).all():
        raise InputError(f"{where} has numbers that are not finite (NaN or infinite): correct or remove the label.")
    flat = numbers.reshape(rows, width)
    if target.rank == 2:
        flat = _tensors(target, flat, where)
    return flat.reshape((rows, *target.shape) if target.of == "atom" else target.shape)


def _numbers(value: Any, where: str) -> np.ndarray:
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"{where} is {str(value)[:40]!r}: give numbers or remove the key.") from None


def _tensors(target: Target, flat: np.ndarray, where: str) -> np.ndarray:
    """(n, 3, 3) of six or nine numbers each, symmetric and traceless where they should be."""
    if flat.shape[1] == 6:
        flat = flat[:, [0, 5, 4, 5, 1, 3, 4, 3, 2]]
    T = flat.reshape(-1, 3, 3)
    if not target.is_symmetric:
        return T
    difference, largest = np.abs(T - T.transpose(0, 2, 1)).max(), np.abs(T).max()
    if difference > ASYMMETRY * largest:
        raise InputError(
            f"{where} is not symmetric (components that should be equal differ by {difference:.3g}, the largest is "
            f"{largest:.3g}): check the order of its numbers, or take a target with symmetric=False."
        )
    T = 0.5 * (T + T.transpose(0, 2, 1))
    if target.traceless:
        trace = np.trace(T, axis1=1, axis2=2)
        if np.abs(trace).max() > ASYMMETRY * largest:
            raise InputError(
                f"{where} has a trace of {np.abs(trace).max():.3g} but the {target.name} must have none: "
                "remove it, or take a target with traceless=False."
            )
        T = T - trace[:, None, None] / 3.0 * np.eye(3)
    return T
