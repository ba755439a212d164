"""Extended XYZ: the lines of one frame → `ase.Atoms`, by ASE once header and columns are in its own spelling."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from io import StringIO
from typing import Any, NamedTuple

from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.io import read

from gapkit.errors import InputError
from gapkit.structures.extended_xyz_header import read_header

PLAIN = "species:S:1:pos:R:3"  # columns of a frame whose header names none
_EXPONENT = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[dD]([+-]?\d+)|([+-]\d{3}))")  # 1.0d-3, 1.0-103
_NAMES = {"pos": "pos", "positions": "pos", "species": "species", "symbols": "species", "z": "Z", "numbers": "Z"}
_LOGICAL = {"t": "T", "true": "T", ".true.": "T", "1": "T", "f": "F", "false": "F", ".false.": "F", "0": "F"}


class Columns(NamedTuple):
    """What the columns of a frame hold.

    Attributes
    ----------
    text : str
        In ASE's spelling.
    n : int
        Number of columns.
    species, number : int or None
        Column of the chemical symbols, of the atomic numbers.
    real, logical : tuple of int
        Columns of real numbers, of truth values.
    """

    text: str
    n: int
    species: int | None
    number: int | None
    real: tuple[int, ...]
    logical: tuple[int, ...]


def parse_frame(lines: Sequence[str], number: int, where: str) -> Atoms:
    """The frame of these lines, the first of which is line `number` of the file; `where` names the frame in errors.

    Raises
    ------
    InputError
        For a header or a row that is not understood, and for doubled or contradictory entries.
    """
    n_atoms = int(lines[0])
    rows, vectors = [line.split() for line in lines[2 : 2 + n_atoms]], lines[2 + n_atoms :]
    info = read_header(lines[1], where)
    if vectors and ("Lattice" in info or "Properties" in info):
        raise InputError(
            f"{where} has both VEC lines and {'Lattice' if 'Lattice' in info else 'Properties'}: keep one."
        )
    announced = info.get("Properties")
    try:
        columns = _columns(announced or PLAIN)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    _check_counts(rows, columns, announced, number, where)
    info["Properties"] = columns.text
    changed = _rewritten_elements(rows, columns, number, where) | _rewritten_logicals(rows, columns, number, where)
    text = "".join([*lines[:2], *_joined(rows), *vectors] if changed else lines)
    try:
        return _by_ase(text, info)
    except Exception as error:
        if not _rewritten_exponents(rows, columns):
            raise _unreadable(error, number, where) from error
    try:
        return _by_ase("".join([*lines[:2], *_joined(rows), *vectors]), info)
    except Exception as error:
        raise _unreadable(error, number, where) from error


def _by_ase(text: str, info: Mapping[str, Any]) -> Atoms:
    atoms: Any = read(StringIO(text), 0, "extxyz", properties_parser=lambda _: dict(info))
    return atoms


def _unreadable(error: Exception, number: int, where: str) -> InputError:
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return InputError(f"{where} (line {number}) cannot be read ({text}), correct or remove that frame.")


def _joined(rows: list[list[str]]) -> list[str]:
    return [" ".join(row) + "\n" for row in rows]


@lru_cache(maxsize=256)
def _columns(properties: str) -> Columns:
    """`Properties` in ASE's spelling; errors are to be completed by the name of the frame."""
    fields = properties.strip().strip(":").split(":")
    names, kinds, counts = fields[::3], fields[1::3], fields[2::3]
    complete = len(fields) % 3 == 0 and all(count.isdecimal() and int(count) > 0 for count in counts)
    if not complete or not all(kind.upper() in ("R", "I", "S", "L") for kind in kinds):
        raise InputError(
            f"Properties={properties} is not understood, write name:type:columns for each, of type R, I, S or L."
        )
    known = [_NAMES.get(name.lower(), name) for name in names]
    for name in {name for name in known if known.count(name) > 1}:
        raise InputError(f"Properties={properties} names '{name}' twice, rename one.")
    widths = list(map(int, counts))
    if "pos" not in known or widths[known.index("pos")] != 3:
        raise InputError(f"Properties={properties} has no pos:R:3, without which there are no positions.")
    if not any(name in known and widths[known.index(name)] == 1 for name in ("species", "Z")):
        raise InputError(f"Properties={properties} has neither species:S:1 nor Z:I:1, which name the elements.")
    return _with_places(known, [kind.upper() for kind in kinds], widths)


def _with_places(names: list[str], kinds: list[str], widths: list[int]) -> Columns:
    starts = [sum(widths[:k]) for k in range(len(widths))]
    for name, kind in (("species", "S"), ("Z", "I")):  # symbols may be given as numbers, and are rewritten then
        if name in names:
            kinds[names.index(name)] = kind
    if "move_mask" in names and kinds[names.index("move_mask")] != "I":
        kinds[names.index("move_mask")] = "L"
    places: dict[str, list[int]] = {kind: [] for kind in "RISL"}
    for start, kind, width in zip(starts, kinds, widths):
        places[kind] += range(start, start + width)
    text = ":".join(f"{name}:{kind}:{width}" for name, kind, width in zip(names, kinds, widths))
    species, number = (starts[names.index(name)] if name in names else None for name in ("species", "Z"))
    return Columns(text, sum(widths), species, number, tuple(places["R"]), tuple(places["L"]))


def _check_counts(rows: list[list[str]], columns: Columns, announced: str | None, number: int, where: str) -> None:
    """ASE drops columns beyond those announced, and with them forces that the header forgot."""
    for k, row in enumerate(rows):
        if len(row) == columns.n:
            continue
        line = f"{where}: line {number + 2 + k} has {len(row)} columns but"
        if announced is not None:
            raise InputError(
                f"{line} Properties={announced} announces {columns.n}, complete the row or correct Properties."
            )
        if len(row) < columns.n:
            raise InputError(f"{line} needs a symbol and three coordinates, complete the row.")
        forces = "write Properties=species:S:1:pos:R:3:forces:R:3 if columns 5 to 7 are forces"
        raise InputError(
            f"{line} without Properties only the symbol and three coordinates are read: "
            f"{forces if len(row) == 7 else 'name the other columns in Properties, or remove them'}."
        )


def _rewritten_elements(rows: list[list[str]], columns: Columns, number: int, where: str) -> bool:
    """Symbols given as numbers become symbols, and the other way round; True if any did."""
    species, atomic = columns.species, columns.number
    if atomic is None:
        assert species is not None
        return _rewrite(rows, species, _symbol, set(), number, where)
    changed = _rewrite(rows, atomic, _number, set(), number, where)
    for k, row in enumerate(rows if species is not None else ()):
        symbol = _symbol(row[species])  # type: ignore[index]
        if symbol is not None and symbol.capitalize() != chemical_symbols[int(row[atomic])]:
            raise InputError(
                f"{where}: line {number + 2 + k} has species {row[species]} but Z {row[atomic]}, "  # type: ignore[index]
                f"which is {chemical_symbols[int(row[atomic])]}: correct one of the columns, or remove it."
            )
    return changed


def _rewritten_logicals(rows: list[list[str]], columns: Columns, number: int, where: str) -> bool:
    """ASE takes any word but T and True for false."""
    found = [_rewrite(rows, place, lambda word: _LOGICAL.get(word.lower()), {"T", "F"}, number, where)
             for place in columns.logical]  # fmt: skip
    return any(found)


def _rewrite(
    rows: list[list[str]], place: int, spell: Callable[[str], str | None], good: set[str], number: int, where: str
) -> bool:
    """Give a column the usual spelling; True if a word has changed."""
    spelled = {word: word if word in good else spell(word) for word in {row[place] for row in rows}}
    if all(word == own for word, own in spelled.items()):
        return False
    for k, row in enumerate(rows):
        own = spelled[row[place]]
        if own is None:
            what = "no truth value (T or F)" if good else "no chemical element"
            raise InputError(f"{where}: '{row[place]}' in column {place + 1} of line {number + 2 + k} is {what}.")
        row[place] = own
    return True


def _symbol(word: str) -> str | None:
    """The symbol of an element given by symbol or number; X, which ASE knows, is refused later."""
    if word.capitalize() in atomic_numbers:
        return word
    return chemical_symbols[int(word)] if word.isdecimal() and 0 < int(word) < len(chemical_symbols) else None


def _number(word: str) -> str | None:
    if word.isdecimal() and int(word) < len(chemical_symbols):
        return word
    return str(atomic_numbers[word.capitalize()]) if word.capitalize() in atomic_numbers else None


def _rewritten_exponents(rows: list[list[str]], columns: Columns) -> bool:
    """1.0d-3 and 1.0-103, as Fortran prints them, become 1.0e-3 and 1.0e-103; True if any did."""
    changed = False
    for row in rows:
        for place in columns.real:
            if match := _EXPONENT.fullmatch(row[place]):
                row[place], changed = f"{match[1]}e{match[2] or match[3]}", True
    return changed
