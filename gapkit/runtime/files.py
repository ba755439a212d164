"""Where results go: refuse impossible places before any work, and write files that appear complete or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import IO, Any

from gapkit.errors import InputError


def check_output(path: str | PathLike[str], inputs: Iterable[str | PathLike[str] | None] = ()) -> None:
    """Raise `InputError` unless a file can be written at `path` without loss of one of the `inputs`."""
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"'{path}' cannot be written because the folder '{path.parent}' does not exist: make it.")
    if path.is_dir():
        raise InputError(f"'{path}' is a folder: give the name of a file.")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"'{path}' cannot be written because the folder '{path.parent}' is read-only: choose another.")
    if path.exists() and any(Path(given).exists() and path.samefile(given) for given in inputs if given is not None):
        raise InputError(f"'{path}' is an input and would be overwritten: give the output another name.")


@contextmanager
def complete_file(path: str | PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """A file that takes its name, and the place of an older one, only once everything is written.

    Parameters
    ----------
    path : path
    mode : {"w", "wb"}
        Text is UTF-8 with line feeds.

    Raises
    ------
    InputError
        As `check_output`.
    """
    check_output(path)
    path = Path(path)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, mode, **text) as file:  # type: ignore[call-overload]
            yield file
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp lets nobody else read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    umask = os.umask(0o077)  # there is no reading it without setting it
    os.umask(umask)
    return umask
