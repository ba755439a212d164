"""The second line of an extended XYZ frame: each spelling of cell, periodicity and columns understood or refused.

ASE takes no word for `lattice=` or `pbc=TTF`: the first stays an unknown key, the second is a text and as such true.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from gapkit.errors import InputError

_QUOTED = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
_NESTED = r"\[(?:\s*,?\s*\[[^\[\]]*\])+\s*\]"
_VALUE = rf"{_QUOTED}|\{{[^}}]*\}}|{_NESTED}|\[[^\[\]]*\]"
_BARE = r"""[^\s"'{}\[\]]+"""
_KEY = r"""[^\s="'{}\[\]]+"""
_ENTRY = re.compile(rf"(\"[^\"\\]+\"|{_KEY})(?:(\s*=\s*)((?!(?<=\s){_KEY}\s*=)(?:{_VALUE}|{_BARE}))?)?(?:\s+|$)")
_PIECE = re.compile(rf"""{_VALUE}|=|\\.|[^\s="'{{\[\\]+|["'{{\[\\]""")
_CHUNK = re.compile(rf"""((?:{_VALUE}|[^\s"'{{\[]|["'{{\[](?=[^=]*$))+)(?:\s+|$)""")  # no blank outside of quotes
_WORD = re.compile(r"[^\s,]+")
_FORTRAN = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+)[dD][+-]?\d+")  # with a point: a config type may be called 2d3
_COLUMNS = re.compile(r"(?:[A-Za-z_]\w*:[A-Za-z]:\d+:?)+")
_BOOLEAN = {"T": True, "true": True, "True": True, "TRUE": True}
_BOOLEAN |= {"F": False, "false": False, "False": False, "FALSE": False}  # the words that ASE takes for booleans
_FLAGS = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}
_STRUCTURAL = {"lattice": "Lattice", "properties": "Properties", "pbc": "pbc"}
_CELL_WORDS = {"box", "cell_vectors", "cellvectors", "lattice_vectors", "latticevectors", "unit_cell", "unitcell"}
_PBC_WORDS = {"boundary", "boundary_conditions", "pbcs", "periodic", "periodicity"}
_Texts = dict[str, tuple[str, str]]


def read_header(comment: str, where: str) -> dict[str, Any]:
    """Values as ASE converts them; the structure under ASE's names, whatever the case of its keys.

    Nested brackets are arrays, numbers may have Fortran's exponents. ``stress`` and ``virial`` stay a row of numbers,
    to be checked as labels are (ASE insists on 9 and keeps one triangle).

    Parameters
    ----------
    comment : str
    where : str
        What to call the frame in errors.

    Returns
    -------
    dict
        With ``Lattice`` (3, 3; cell vectors are columns, as in ASE's own), ``pbc`` (three bools) and ``Properties``
        (text), each if it is there.

    Raises
    ------
    InputError
        For two values under one key, quotes that never end, and a cell, a periodicity or columns in words that are not
        understood.
    """
    info: dict[str, Any] = {}
    texts: _Texts = {}
    for key, text in _entries(comment.strip(), where):
        name = _STRUCTURAL.get(key.lower(), key)
        if text is not None:
            _check_twice(texts.setdefault(name, (key, text)), key, text, where)
        info[name] = _value(name, "T" if text is None else text, where)
    if "pbc" in info:
        info["pbc"] = _flags(*texts.get("pbc", ("pbc", "T")), where)
    _take_cell(info, texts, where)
    if "Properties" in info:
        info["Properties"] = texts.get("Properties", ("Properties", "T"))[1].strip()
    _check_other_words(info, texts, where)
    return info


def _check_twice(before: tuple[str, str], key: str, text: str, where: str) -> None:
    if before[1] != text and before[1].split() != text.split():
        raise InputError(
            f"{where} has '{key}' twice in its header, {_short(*before)} and {_short(key, text)}: remove one of them."
        )


def _short(key: str, text: str) -> str:
    return f"{key}={text if len(text) <= 80 else text[:77] + '…'}"


def _entries(comment: str, where: str) -> Iterator[tuple[str, str | None]]:
    """Key and text of each entry, None for a key without "="; nested brackets keep theirs."""
    place, end = 0, len(comment)
    while place < end:
        if match := _ENTRY.match(comment, place):
            key, equals, text = match.groups()
            yield _bare(key), None if equals is None else _bare(text or "")
        elif match := _CHUNK.match(comment, place):
            pieces = [piece[0] for piece in _PIECE.finditer(match[1])]
            split = pieces.index("=") if "=" in pieces else len(pieces)
            key = "".join(map(_bare, pieces[:split]))
            if key:
                yield key, None if split == len(pieces) else "".join(map(_bare, pieces[split + 1 :]))
        else:
            raise InputError(
                f"{where} has a quote or bracket in its header that never ends "
                f"({comment[place : place + 40].strip()}), close it."
            )
        place = match.end()


def _bare(text: str) -> str:
    """Without quotes, brackets that are not nested, and backslashes."""
    if text[:1] in ('"', "'", "{", "[") and len(text) > 1 and not re.match(_NESTED, text):
        text = text[1:-1]
    return re.sub(r"\\(.)", r"\1", text) if "\\" in text else text


def _value(name: str, text: str, where: str) -> Any:
    """Numbers, booleans, arrays of them, JSON, or else text: the same as ASE's but for nested and Fortran numbers."""
    if name == "uid":
        return text
    if name in ("stress", "virial"):
        return _tensor(name, text, where)
    words = _WORD.findall(text)
    if (numbers := _numbers(words)) is not None:
        return numbers[0] if len(numbers) == 1 else numbers
    if all(word in _BOOLEAN for word in words):
        booleans = [_BOOLEAN[word] for word in words]
        return booleans[0] if len(booleans) == 1 else booleans
    if text.startswith("_JSON "):
        return _json(text)
    nested = _nested(text) if text.startswith("[") else None
    return text if nested is None else nested


def _json(text: str) -> Any:
    """What ASE puts into a header as JSON; the text itself where its backslashes were lost on the way."""
    try:
        data = json.loads(text.removeprefix("_JSON "))
        return array if (array := np.array(data)).dtype.kind in "ifb" else data
    except ValueError:
        return text


def _numbers(words: list[str]) -> np.ndarray | None:
    for convert in (int, float):
        try:
            return np.array(words, dtype=convert)
        except (ValueError, OverflowError):
            pass
    if not any(_FORTRAN.fullmatch(word) for word in words):
        return None
    return _numbers([re.sub("[dD]", "e", word) if _FORTRAN.fullmatch(word) else word for word in words])


def _nested(text: str) -> np.ndarray | None:
    """[[1, 2], [3, 4]] as an array, None for anything else."""
    rows = re.findall(r"\[([^\[\]]*)\]", text)
    arrays = [_numbers(_WORD.findall(row)) for row in rows]
    if any(array is None for array in arrays) or len({len(array) for array in arrays if array is not None}) != 1:
        return None
    return np.array(arrays)


def _tensor(name: str, text: str, where: str) -> np.ndarray:
    words = _WORD.findall(text.replace("[", " ").replace("]", " "))
    numbers = _numbers(words)
    if numbers is None or not words:
        raise InputError(f"{where}: '{name}' is {text[:40]!r}, give numbers or remove the key.")
    return numbers.astype(float)


def _flags(key: str, text: str, where: str) -> list[bool]:
    """Periodicity along the three cell vectors."""
    words = [word.strip(".").lower() for word in _WORD.findall(text.replace("[", " ").replace("]", " "))]
    if len(words) == 1 and len(words[0]) == 3:
        words = list(words[0])
    if len(words) not in (1, 3) or not all(word in _FLAGS for word in words):
        raise InputError(f'{where}: {_short(key, text)} is not understood, write for example pbc="T T F".')
    flags = [_FLAGS[word] for word in words]
    return flags * 3 if len(flags) == 1 else flags


def _take_cell(info: dict[str, Any], texts: _Texts, where: str) -> None:
    """``Lattice`` as ASE wants it; another ``cell`` must be the same."""
    cells = {}
    for name in ("Lattice", *(key for key in info if key.lower() == "cell")):
        if name in info:
            key, text = texts.get(name, (name, ""))
            if (vectors := _vectors(name, info[name])) is not None:
                cells[name] = vectors
            elif name == "Lattice" or (_has_digits(text) and "Lattice" not in info and any(info.get("pbc", [True]))):
                raise InputError(
                    f'{where}: {_short(key, text)} is not understood, write Lattice="ax ay az bx by bz cx cy cz" (Å).'
                )
    if not cells:
        return
    first = next(iter(cells.values()))
    for name, vectors in cells.items():
        if not np.allclose(vectors, first, rtol=1e-6, atol=1e-6, equal_nan=True):
            raise InputError(
                f"{where} has two cells, {_short(*texts['Lattice'])} and {_short(*texts[name])}: remove one of them."
            )
        if name != "Lattice":
            del info[name]
    for axis, is_periodic in enumerate(info.get("pbc", [True] * 3)):
        if not is_periodic and np.isinf(first[axis]).any() and not np.isnan(first[axis]).any():
            first[axis] = 0.0  # no cell in that direction
    info["Lattice"] = first.T


def _has_digits(text: str) -> bool:
    return any(character.isdigit() for character in text)


def _vectors(name: str, value: Any) -> np.ndarray | None:
    """Cell vectors as rows (3, 3), or None for what they are not."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "if":
        return None
    if value.shape == (3, 3) and (name != "Lattice" or (value == value.T).all()):
        return value.astype(
            float
        )  # nested brackets of `Lattice` hold the vectors as rows or as columns: readers differ
    return value.astype(float).reshape(3, 3) if value.shape == (9,) else None


def _check_other_words(info: Mapping[str, Any], texts: _Texts, where: str) -> None:
    """Refuse keys that mean the structure under names that nobody reads."""
    for name, (key, text) in texts.items():
        word = name.lower()
        if "Properties" not in info and _COLUMNS.fullmatch(text):
            raise InputError(f"{where}: {_short(key, text)} describes columns, write Properties={text}.")
        if "Lattice" not in info and any(info.get("pbc", [True])) and _means_cell(word, info.get(name)):
            raise InputError(
                f'{where}: {_short(key, text)} seems to be a cell, write Lattice="ax ay az bx by bz cx cy cz" (Å), or '
                'pbc="F F F" if there is none.'
            )
        if word in _PBC_WORDS and "pbc" not in info and "Lattice" in info:
            raise InputError(f'{where}: {_short(key, text)} is not understood, write for example pbc="T T F".')


def _means_cell(word: str, value: Any) -> bool:
    """A name that means a cell, or nine numbers under one that nearly does."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "if" or value.size not in (3, 6, 9):
        return False
    return word in _CELL_WORDS or (value.size == 9 and SequenceMatcher(None, word, "lattice").ratio() > 0.75)
