"""Files → raw `ase.Atoms`, one frame at a time, with errors that name the file, the frame and the line.

ASE does the parsing. Extended XYZ is cut into frames here first, because ASE alone stops without a word at a blank line
between frames, drops surplus columns, and takes no notice of a header in another spelling
(`gapkit.structures.extended_xyz_header`).
"""

from __future__ import annotations

from collections.abc import Iterator
from io import TextIOWrapper
from itertools import count, islice
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase import Atoms
from ase.io import iread
from ase.io.formats import open_with_compression, string2index

from gapkit.errors import InputError, Parameter, warn
from gapkit.structures import convergence
from gapkit.structures.extended_xyz import parse_frame
from gapkit.structures.file_kinds import Kind, kind_of, with_format

# other quoted values are matched too, so that words inside them are not taken for keys


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


def check_path(path: str | PathLike[str], format: str | None = None) -> Path:
    """The path of an existing, non-empty file, with the format of the file if one is named."""
    file = with_format(path, format)
    if not file.is_file():
        raise InputError(
            f"'{file}' is {'not a file' if file.exists() else 'missing'}, give the path of a structure file."
        )
    if file.stat().st_size == 0:
        raise InputError(f"'{file}' is empty, give a file with at least one frame.")
    return file


def iter_frames(
    path: str | PathLike[str],
    index: int | str | slice = ":",
    format: str | None = None,
) -> Iterator[tuple[str, Atoms]]:
    """Frames of one file as ("frame 3 of name", atoms), labels still where ASE puts them.

    Parameters
    ----------
    path : path
    index : int, str or slice
        Which frames, as in `ase.io.read`.
    format : str, optional
        Of the file, as ASE names it; by default extended XYZ by its ending or first lines, any other as ASE guesses.

    Raises
    ------
    InputError
        For a file that cannot be read, or without frames for this `index`.

    Warns
    -----
    UserWarning
        If the file says that some of its self-consistent calculations did not converge.
    """
    file, selected, n_frames = check_path(path, format), frame_slice(index), 0
    kind: Kind | None = None
    try:
        kind = kind_of(file)
        _warn_of_unconverged(file, kind)
        for where, atoms in _extxyz(file, selected, kind) if kind.format == "extxyz" else _other(file, selected, kind):
            n_frames += 1
            yield where, atoms
    except (InputError, UserWarning):
        raise
    except Exception as error:
        read_as = "" if kind is None else f" as {kind.format}, {kind.because}"
        raise InputError(
            f"ASE cannot read '{file}' after {n_frames} frames{read_as} ({_first_line(error)}), "
            "give a file in a format that ASE knows, such as extended XYZ, or name its format (",
            Parameter("format", '"extxyz"'),
            ").",
        ) from error
    if n_frames == 0:
        raise InputError(f"'{file}' holds no frames for index={index!r}, give a file and an index with at least one.")


def _warn_of_unconverged(file: Path, kind: Kind) -> None:
    if numbers := convergence.unconverged(file, kind.format):
        warn(convergence.in_words(numbers, file.name))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _other(file: Path, selected: slice, kind: Kind) -> Iterator[tuple[str, Atoms]]:
    start, step = selected.start or 0, selected.step or 1
    from_end = start < 0 or step < 0  # then ASE alone knows the numbers of the frames
    numbers = count(0 if from_end else start, 1 if from_end else step)
    for k, atoms in zip(numbers, iread(str(file), selected, kind.format, do_not_split_by_at_sign=True)):
        yield f"{'selected ' if from_end else ''}frame {k} of {file.name}", atoms


def _extxyz(file: Path, selected: slice, kind: Kind) -> Iterator[tuple[str, Atoms]]:
    raw: Any = open_with_compression(str(file), "rb")
    with TextIOWrapper(raw, encoding=kind.encoding) as stream:
        frames: Any = enumerate(_cut(stream, file.name))
        bounds = [bound for bound in (selected.start, selected.stop, selected.step) if bound is not None]
        if any(bound < 0 for bound in bounds):  # counted from the end: the texts must be held
            frames = list(frames)[selected]
        else:
            frames = islice(frames, selected.start, selected.stop, selected.step)
        for k, (number, lines) in frames:
            yield f"frame {k} of {file.name}", parse_frame(lines, number, f"frame {k} of {file.name}")


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
        if not line.strip("\ufeff \t\r\n"):
            continue
        k, start = k + 1, number
        n_atoms = _n_atoms(line, f"line {number} of {name}", k)
        lines = [f"{n_atoms}\n", *islice(stream, n_atoms + 1)]
        number += len(lines) - 1
        if len(lines) < n_atoms + 2:
            raise InputError(
                f"frame {k} of {name} (line {start}) announces {n_atoms} atoms but the file ends after "
                f"{max(0, len(lines) - 2)}, complete or remove that frame."
            )
    if lines:
        yield start, lines


def _n_atoms(line: str, where: str, k: int) -> int:
    text = line.strip("\ufeff \t\r\n")  # a byte-order mark, also of a file that was appended
    if not text.isdecimal():
        raise InputError(
            f"{where} should hold the number of atoms of frame {k} but is '{text[:40]}', "
            "check that every frame has as many rows as its first line says."
        )
    return int(text)
