"""Under which name a label is stored: look it up, check it, and settle on one name for all frames or refuse."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from gapkit.errors import InputError, Parameter, did_you_mean

LOG = "gapkit.labels"  # who finds labels logs under this name, so that others can leave it out
logger = logging.getLogger(LOG)

LARGEST = 1e150  # of a label; the square of more than 1e154 is infinite
QUANTITIES = ("energy", "forces", "stress", "virial")

PREFIXES = (
    "ref|reference|dft|qm|label|target|vasp|gpaw|aims|fhiaims|castep|cp2k|qe|espresso|abinit|siesta|openmx|orca|psi4|"
    "gaussian|pyscf|nwchem|xtb|dftb|lda|pbe|pbesol|rpbe|scan|r2scan|rscan|b3lyp|hse|hf|mp2|rpa|ccsd|ccsdt"
)
_NAME = re.compile(
    rf"((?:(?:{PREFIXES})[_-])*)(?:((?:free_)?energy)|(forces?)|(stress(?:es)?)|(virials?))", re.IGNORECASE
)
# atomic columns called energy, stress or virial are per atom: only forces are looked for there. Likewise
# calc.results["stresses"] is ASE's stress per atom.
_IN_CALCULATOR = {"energy", "free_energy", "forces", "stress"}
# absolute and relative differences within which two labels are the same number printed twice
_SAME = {"energy": (1e-5, 1e-8), "forces": (1e-5, 1e-6), "stress": (1e-6, 1e-4), "virial": (1e-4, 1e-4)}


Found = Mapping[str, Mapping[str, Any]]  # labels of one frame by quantity and name, None where the frame has none


class _Name(NamedTuple):
    quantity: str
    source: str
    is_free: bool


@lru_cache(maxsize=4096)
def _recognise(key: str) -> _Name | None:
    match = _NAME.fullmatch(key)
    if match is None:
        return None
    quantity = next(name for name, found in zip(QUANTITIES, match.groups()[1:]) if found)
    return _Name(quantity, match[1].lower(), key.lower().endswith("free_energy"))


def is_label_key(key: object, *, per_atom: bool) -> bool:
    """Whether discovery would take `key` in ``atoms.info`` (or in ``atoms.arrays``) for a label."""
    name = _recognise(key) if isinstance(key, str) else None
    return name is not None and (name.quantity == "forces" or not per_atom)


def find_label(atoms: Atoms, quantity: str, key: str, where: str) -> Any:
    """The checked label (float, (n_atoms, 3) or (3, 3)) under `key`, or None if the frame has none."""
    own = atoms.info.get(key)
    if own is None and quantity == "forces":
        own = atoms.arrays.get(key)
    calculated = _results(atoms).get(key) if key in _IN_CALCULATOR else None
    if own is None and calculated is None and key in atoms.arrays:
        raise InputError(f"{where}: '{key}' is a column with a value per atom, give a {quantity} of the whole frame.")
    label = None if own is None else _check(own, quantity, key, atoms, where)
    if calculated is None:
        return label
    _check_fresh(atoms, key, where)
    calculated = _check(calculated, quantity, key, atoms, where)
    if label is not None and not _same(label, calculated, quantity):
        raise InputError(
            f"{where} has two different labels called '{key}', one in atoms.info or atoms.arrays and one in "
            f"atoms.calc ({_numbers(label, calculated)}), remove one of them."
        )
    return calculated if label is None else label


def _results(atoms: Atoms) -> dict[str, Any]:
    return getattr(atoms.calc, "results", None) or {}


def _check_fresh(atoms: Atoms, key: str, where: str) -> None:
    """Results of a calculator belong to the geometry it last saw, which another frame may have replaced."""
    seen = getattr(atoms.calc, "atoms", None)
    if seen is None:
        return
    same = len(seen) == len(atoms) and (seen.numbers == atoms.numbers).all()
    if not (same and _equal(seen.positions, atoms.positions) and _equal(seen.cell, atoms.cell)):
        raise InputError(
            f"{where}: '{key}' in atoms.calc was computed for another geometry than this frame has now, give each "
            "frame its own calculator results (ase.calculators.singlepoint.SinglePointCalculator)."
        )


def _equal(a: Any, b: Any) -> bool:
    return bool(np.abs(np.asarray(a) - np.asarray(b)).max() <= 1e-8)


def _check(value: object, quantity: str, key: str, atoms: Atoms, where: str) -> Any:
    try:
        numbers = np.asarray(value)
    except ValueError:  # rows of unequal length
        numbers = np.asarray(str(value))
    if numbers.dtype.kind not in "iuf":
        raise InputError(f"{where}: '{key}' is {str(value)[:40]!r}, give numbers or remove the key.")
    numbers = numbers.astype(float)
    expected = {"energy": (), "forces": (len(atoms), 3)}.get(quantity)
    if quantity == "energy" and numbers.size == 1:
        numbers = numbers.reshape(())
    if expected is not None and numbers.shape != expected:
        wanted = "one number" if quantity == "energy" else f"one row of 3 per atom {expected}"
        raise InputError(f"{where}: '{key}' has shape {numbers.shape}, the {quantity} must be {wanted}.")
    if not np.isfinite(numbers).all():
        n_bad = int((~np.isfinite(numbers)).sum())
        raise InputError(
            f"{where}: '{key}' has {n_bad} of {numbers.size} numbers that are not finite (NaN or infinite), correct "
            "them, remove the key from the frame, or leave the label out (",
            Parameter(f"{quantity}_key", '""'),
            ").",
        )
    if np.abs(numbers).max(initial=0.0) > LARGEST:
        raise InputError(
            f"{where}: '{key}' goes up to {np.abs(numbers).max():.3g}, whose square is infinite, correct its unit."
        )
    return numbers if expected is not None else _full_matrix(numbers, where, key)


def _full_matrix(numbers: np.ndarray, where: str, key: str) -> np.ndarray:
    """(3, 3) symmetric matrix from 6 (xx yy zz yz xz xy), 9 (row-major) or 3×3 numbers."""
    if numbers.shape == (6,):
        xx, yy, zz, yz, xz, xy = numbers
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if numbers.shape not in {(9,), (3, 3)}:
        raise InputError(
            f"{where}: '{key}' has shape {numbers.shape}, give 6 numbers (xx yy zz yz xz xy), 9 (row-major) or 3×3."
        )
    matrix = numbers.reshape(3, 3)
    asymmetry = np.abs(matrix - matrix.T).max()
    if asymmetry > 1e-5 + 1e-3 * np.abs(matrix).max():
        raise InputError(
            f"{where}: '{key}' is not symmetric (components that should be equal differ by {asymmetry:.3g}), "
            "check the order of its 9 numbers (xx xy xz yx yy yz zx zy zz)."
        )
    return (matrix + matrix.T) / 2


def _same(a: Any, b: Any, quantity: str) -> bool:
    absolute, relative = _SAME[quantity]
    return bool(np.allclose(a, b, rtol=relative, atol=absolute))


def _numbers(a: Any, b: Any) -> str:
    """The two values where they differ most."""
    a, b = np.atleast_1d(a), np.atleast_1d(b)
    k = int(np.argmax(np.abs(a - b)))
    return f"{a.ravel()[k]:.10g} and {b.ravel()[k]:.10g}"


class KeyFinder:
    """Collects, frame by frame, which names hold labels; `keys` settles on one name per label or refuses."""

    def __init__(self, named: Sequence[str | None], config_type_key: str) -> None:
        for quantity, key in zip((*QUANTITIES, "config_type"), (*named, config_type_key)):
            if not (isinstance(key, str) or (key is None and quantity in QUANTITIES)):
                raise InputError(f"{quantity}_key is {key!r}, give the name of the label as a string.")
        self.config_type_key = config_type_key
        self.named = dict(zip(QUANTITIES, named))
        for one, other in (("stress", "virial"), ("virial", "stress")):
            if self.named[one] and self.named[other] is None:
                self.named[other] = ""
        self.n_frames = 0
        self.n_config_types = 0
        self.labelled: Counter[str] = Counter()
        self.counts: dict[str, Counter[str]] = {quantity: Counter() for quantity in QUANTITIES}
        self.from_calculator: set[str] = set()
        self.differ: dict[frozenset[str], str] = {}
        self.known: set[str] = set()

    def add(self, atoms: Atoms, where: str) -> Found:
        """Look at one more frame; what it gives are the frame's labels by quantity and name, checked."""
        own = {key for key in (*atoms.info, *atoms.arrays) if isinstance(key, str)} - {"numbers", "positions"}
        results = {key for key in _results(atoms) if key in _IN_CALCULATOR}
        self.known |= own | results
        self.n_frames += 1
        self.n_config_types += self.config_type_key in atoms.info
        found = {}
        for quantity in QUANTITIES:
            labels = {key: find_label(atoms, quantity, key, where) for key in self._keys_of(quantity, atoms)}
            found[quantity] = labels
            self._count(quantity, {key: label for key, label in labels.items() if label is not None}, where)
            self.from_calculator |= {key for key in labels if key in results and key not in own}
        return found

    def _keys_of(self, quantity: str, atoms: Atoms) -> list[str]:
        """The name that was given or, without one, all of a frame under which discovery looks for the quantity."""
        named = self.named[quantity]
        if named is not None:
            return [named] if named else []
        keys = {
            *atoms.info,
            *(_results(atoms).keys() & _IN_CALCULATOR),
            *(atoms.arrays if quantity == "forces" else ()),
        }
        words = sorted(key for key in keys if isinstance(key, str))
        return [key for key in words if (name := _recognise(key)) and name.quantity == quantity]

    def _count(self, quantity: str, labels: dict[str, Any], where: str) -> None:
        self.labelled[quantity] += bool(labels)
        self.counts[quantity].update(labels.keys())
        keys = list(labels)
        for k, a in enumerate(keys):
            for b in keys[:k]:
                pair = frozenset((a, b))
                if pair not in self.differ and not _same(labels[a], labels[b], quantity):
                    self.differ[pair] = f"'{b}' and '{a}' differ in {where} ({_numbers(labels[b], labels[a])})"

    def keys(self) -> tuple[str | None, str | None, str | None, str | None]:
        """One name (or None) for energy, forces, stress, virial, good for all frames seen so far."""
        return self._settle("energy"), self._settle("forces"), self._settle("stress"), self._settle("virial")

    def _settle(self, quantity: str) -> str | None:
        counts, n_labelled = self.counts[quantity], self.labelled[quantity]
        if not counts:
            return None
        complete = [key for key, count in counts.items() if count == n_labelled]
        if not complete:
            found = " and ".join(f"'{key}' in {count}" for key, count in sorted(counts.items()))
            raise InputError(
                f"the {quantity} label is ambiguous, {found} of {self.n_frames} frames and no name in all that are "
                "labelled, rename them or name the one to use (",
                Parameter(f"{quantity}_key", "..."),
                ").",
            )
        taken = min(complete, key=lambda key: (not _is_free(key), key))
        for pair, message in self.differ.items():
            if pair <= counts.keys() and not self._settled_by_free_energy(pair, taken):
                raise InputError(
                    f"the {quantity} label is ambiguous, {message}, name the one to use (",
                    Parameter(f"{quantity}_key", "..."),
                    ").",
                )
        return taken

    @staticmethod
    def _settled_by_free_energy(pair: frozenset[str], taken: str) -> bool:
        """Energy and free energy of one source may differ; the free energy belongs to the forces."""
        sources = {name.source for name in map(_recognise, pair) if name}
        return len(sources) == 1 and taken in pair and _is_free(taken) and sum(map(_is_free, pair)) == 1

    def finish(self) -> None:
        """After the last frame: refuse named keys that no frame has; log what was taken."""
        for quantity, key in self.named.items():
            if key and not self.counts[quantity]:
                raise self._absent(quantity, key)
        if self.config_type_key != "config_type" and not self.n_config_types:
            raise self._absent("config_type", self.config_type_key)
        for quantity, key in zip(QUANTITIES, self.keys()):
            self._log(quantity, key)

    def _absent(self, quantity: str, key: str) -> InputError:
        named = Parameter(f"{quantity}_key", f"'{key}'")
        return InputError(named, f" is in none of the {self.n_frames} frames{self._hint(key)}.")

    def _hint(self, key: str) -> str:
        return did_you_mean(key, self.known) if self.known else ", which carry no labels at all; check the file"

    def _log(self, quantity: str, key: str | None) -> None:
        if key is not None:
            place = (
                "a calculator (or the reserved names of extended XYZ)" if key in self.from_calculator else "the frames"
            )
            count = self.counts[quantity][key]
            logger.info("%s: '%s' of %s, in %d of %d frames", quantity, key, place, count, self.n_frames)
            return
        word = quantity.removesuffix("s") if quantity == "forces" else quantity
        similar = sorted(key for key in self.known if word in key.lower() and _recognise(key) is None)
        if similar and self.named[quantity] is None:
            names = ", ".join(f"'{key}'" for key in similar)
            named = Parameter(f"{quantity}_key", "...")
            logger.warning("%s: none taken; %s not recognised, name it (%s)", quantity, names, named)
        else:
            logger.info("%s: none in %d frames", quantity, self.n_frames)


def _is_free(key: str) -> bool:
    name = _recognise(key)
    return name is not None and name.is_free
