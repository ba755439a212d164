"""Which kind of file it is: extended XYZ by its ending or first lines, any other by ASE's guess or the user's word."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from ase.io.formats import UnknownFileTypeError, filetype, get_compression, ioformats, open_with_compression

from gapkit.errors import InputError, Parameter, did_you_mean

HEAD = 65536  # bytes that are looked at; the first two lines of a frame fit in
_ENDINGS = (".xyz", ".extxyz")
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_HEADER = re.compile(r"^\s*\d+\s*\n.*(?:properties|lattice)\s*=", re.IGNORECASE)
_FRAME = re.compile(r"^\s*\d+\s*\n")


class StructurePath(type(Path())):  # type: ignore[misc]
    """A path that knows the format of its file.

    Attributes
    ----------
    format : str or None
        As ASE names it; None if it is to be guessed.
    """

    format: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return with_format, (str(self), self.format)


class Kind(NamedTuple):
    """Format of a file and why it is taken for that.

    Attributes
    ----------
    format : str
        As ASE names it.
    because : str
        "named", or what speaks for it.
    encoding : str
        Of its text.
    """

    format: str
    because: str
    encoding: str


def with_format(path: str | PathLike[str], format: str | None) -> Path:
    """The path with the format of its file, if it has none yet.

    Raises
    ------
    InputError
        For a format that ASE does not know.
    """
    if format is None:
        return path if isinstance(path, Path) else Path(path)
    if format not in ioformats and format != "xyz":
        raise InputError(f"format={format!r} is unknown{did_you_mean(str(format), ioformats)}.")
    own = StructurePath(path)
    own.format = "extxyz" if format == "xyz" else format
    return cast(Path, own)


def kind_of(file: Path) -> Kind:
    """The kind of an existing file.

    Raises
    ------
    InputError
        If neither name nor beginning shows it.
    """
    head = _head(file)
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")
    text = head.decode(encoding, errors="replace").replace("\r\n", "\n")
    if getattr(file, "format", None) is not None:
        return Kind(str(file.format), "named", encoding)  # type: ignore[attr-defined]
    if Path(get_compression(str(file))[0]).suffix.lower() in _ENDINGS:
        return Kind("extxyz", "by its ending", encoding)
    if _HEADER.match(text):
        return Kind("extxyz", "by its first two lines", encoding)
    try:
        guess = filetype(str(file))
    except UnknownFileTypeError:
        guess = ""
    if guess in ioformats:
        return Kind(guess, "guessed from its name and beginning", encoding)
    if _FRAME.match(text):
        return Kind("extxyz", "by its first line", encoding)
    if b"CP2K|" in head:
        raise InputError(
            f"'{file}' is the log of CP2K, which ASE cannot read: write frames, energies and forces as extended XYZ."
        )
    raise InputError(
        f"ASE cannot read '{file}' after 0 frames: neither its name nor its beginning shows the format, name it (",
        Parameter("format", '"extxyz"'),
        ").",
    )


def _head(file: Path) -> bytes:
    with open_with_compression(str(file), "rb") as stream:
        return cast("IO[bytes]", stream).read(HEAD)
