"""Files → raw `ase.Atoms`, one frame at a time, with errors that name the file, the frame and the line.

ASE does the parsing. Extended XYZ is cut into frames here first, because ASE alone stops without a word at a blank line
between frames, drops surplus columns, and keeps one triangle of a stress that is not symmetric.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import count, islice
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase import Atoms
from ase.io import iread, read
from ase.io.extxyz import key_val_str_to_dict
from ase.io.formats import filetype, open_with_compression, string2index

from gapkit.errors import InputError

# other quoted values are matched too, so that words inside them are not taken for keys
_TENSOR = re.compile(
    r"""(?<!\S)(stress|virial)\s*=\s*(?:["'{\[]([^"'{}\[\]]*)["'}\]]|([^\s"'{\[]\S*))|"[^"]*"|'[^']*'"""
)
_PROPERTIES = re.compile(r"""(?<!\S)Properties\s*=\s*["'{\[]?([^\s"'}\]]+)""")


def frame_slice(index: int | str | slice) -> slice:
    """ASE's index (``3``, ``"-1"``, ``"::10"``) as a slice that selects the same frames."""
    try:
        parsed = string2index(index) if isinstance(index, str) else index
    except ValueError:
        parsed = None
    if isinstance(parsed, int | np.integer):
        return slice(int(parsed), int(parsed) + 1 or None)
    if not isinstance(parsed, slice) or parsed.step == 0:
        raise InputError(
            f'index={index!r} selects no frames, give an integer or a slice such as ":", "0:100" or "::10".'
        )
    return parsed


def check_path(path: str | PathLike[str]) -> Path:
    """The path of an existing, non-empty file."""
    file = Path(path)
    if not file.is_file():
        raise InputError(
            f"'{file}' is {'not a file' if file.exists() else 'missing'}, give the path of a structure file."
        )
    if file.stat().st_size == 0:
        raise InputError(f"'{file}' is empty, give a file with at least one frame.")
    return file


def iter_frames(path: str | PathLike[str], index: int | str | slice = ":") -> Iterator[tuple[str, Atoms]]:
    """Frames of one file as ("frame 3 of name", atoms), labels still where ASE puts them."""
    file, selected, n_frames = check_path(path), frame_slice(index), 0
    try:
        read_frames = _extxyz if filetype(str(file)) == "extxyz" else _other
        for where, atoms in read_frames(file, selected):
            n_frames += 1
            yield where, atoms
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"ASE cannot read '{file}' after {n_frames} frames ({_first_line(error)}), "
            "give a file in a format that ASE knows, such as extended XYZ."
        ) from error
    if n_frames == 0:
        raise InputError(f"'{file}' holds no frames for index={index!r}, give a file and an index with at least one.")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _other(file: Path, selected: slice) -> Iterator[tuple[str, Atoms]]:
    start, step = selected.start or 0, selected.step or 1
    from_end = start < 0 or step < 0  # then ASE alone knows the numbers of the frames
    numbers = count(0 if from_end else start, 1 if from_end else step)
    for k, atoms in zip(numbers, iread(str(file), selected, do_not_split_by_at_sign=True)):
        yield f"{'selected ' if from_end else ''}frame {k} of {file.name}", atoms


def _extxyz(file: Path, selected: slice) -> Iterator[tuple[str, Atoms]]:
    with open_with_compression(str(file), "r") as stream:
        frames: Any = enumerate(_cut(stream, file.name))
        bounds = [bound for bound in (selected.start, selected.stop, selected.step) if bound is not None]
        if any(bound < 0 for bound in bounds):  # counted from the end: the texts must be held
            frames = list(frames)[selected]
        else:
            frames = islice(frames, selected.start, selected.stop, selected.step)
        for k, (number, lines) in frames:
            yield f"frame {k} of {file.name}", _parse(lines, number, f"frame {k} of {file.name}")


def _cut(stream: IO[str], name: str) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, lines) of each frame."""
    lines: list[str] = []
    start, number, k = 1, 0, -1
    for line in stream:
        number += 1
        if lines and line.lstrip().startswith("VEC"):
            lines.append(line)
            continue
        if lines:
            yield start, lines
            lines = []
        if not line.strip():
            continue
        k, start = k + 1, number
        n_atoms = _n_atoms(line, f"line {number} of {name}", k)
        lines = [line, *islice(stream, n_atoms + 1)]
        number += len(lines) - 1
        if len(lines) < n_atoms + 2:
            raise InputError(
                f"frame {k} of {name} (line {start}) announces {n_atoms} atoms but the file ends after "
                f"{max(0, len(lines) - 2)}, complete or remove that frame."
            )
    if lines:
        yield start, lines


def _n_atoms(line: str, where: str, k: int) -> int:
    text = line.strip()
    if not text.isdecimal():
        raise InputError(
            f"{where} should hold the number of atoms of frame {k} but is '{text[:40]}', "
            "check that every frame has as many rows as its first line says."
        )
    return int(text)


def _parse(lines: Sequence[str], number: int, where: str) -> Atoms:
    _check_columns(lines, number, where)
    try:
        atoms: Any = read(StringIO("".join(lines)), 0, "extxyz", properties_parser=_parse_comment)
        return atoms
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{where} (line {number}) cannot be read ({_first_line(error)}), correct or remove that frame."
        ) from error


def _check_columns(lines: Sequence[str], number: int, where: str) -> None:
    """ASE drops columns beyond those announced, and with them forces that the header forgot."""
    match = _PROPERTIES.search(lines[1])
    properties = match[1] if match else ""
    counts = properties.split(":")[2::3]
    if not counts or not all(count.isdecimal() for count in counts):
        return
    n_columns = sum(map(int, counts))
    for k, line in enumerate(lines[2 : 2 + int(lines[0])]):
        n_found = len(line.split())
        if n_found != n_columns:
            raise InputError(
                f"{where}: line {number + 2 + k} has {n_found} columns but Properties={properties} "
                f"announces {n_columns}, complete the row or correct Properties."
            )


def _parse_comment(comment: str) -> dict[str, Any]:
    """Like ASE, but `stress` and `virial` stay as written, to be checked as labels are (ASE insists on 9 numbers)."""
    tensors: dict[str, np.ndarray] = {}

    def take(match: re.Match[str]) -> str:
        """Put a tensor aside and leave a space; anything else stays."""
        if match[1] is None:
            return match[0]
        try:
            tensors[match[1]] = np.array((match[2] or match[3] or "").replace(",", " ").split(), dtype=float)
        except ValueError:
            return match[0]
        return " "

    return key_val_str_to_dict(_TENSOR.sub(take, comment)) | tensors
