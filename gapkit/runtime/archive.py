"""Model files: arrays and a JSON header in one zip archive, versioned, hashed, never pickled.

Layout: ``header.json`` (format, version, everything that is not an array, a SHA-256 of each array) and one ``.npy``
file per array, as `numpy.load` with ``allow_pickle=False`` reads them.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gapkit.errors import InputError
from gapkit.runtime.files import complete_file

FORMAT = "gapkit model"
TENSOR_MODEL = "gapkit tensor model"
VERSION = 2  # 1: before learned noises and row factors
# what reading a damaged archive, or a header with something else where names and numbers should be, can raise
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, AttributeError, KeyError, TypeError, ValueError
)  # fmt: skip


def write_model(
    path: str | Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], kind: str = FORMAT
) -> None:
    """Write a model file (or one of another `kind`); an existing file is replaced only once the new one is complete.

    Parameters
    ----------
    path : path
    header : mapping
        JSON-serialisable; NumPy scalars and arrays are fine.
    arrays : mapping of str to ndarray

    Raises
    ------
    InputError
        If the folder does not exist or cannot be written to, or if `path` is a folder.
    """
    payloads = {name: _npy(array) for name, array in arrays.items()}
    hashes = {name: hashlib.sha256(payload).hexdigest() for name, payload in payloads.items()}
    full = {"format": kind, "version": VERSION, **header, "sha256": hashes}
    compression = zipfile.ZIP_DEFLATED if kind in (FORMAT, TENSOR_MODEL) else zipfile.ZIP_STORED
    text = json.dumps(full, indent=1, default=lambda value: value.tolist())  # NumPy scalars and arrays
    with (
        complete_file(path, "wb") as file,
        zipfile.ZipFile(file, "w", compression, compresslevel=1) as archive,
    ):
        archive.writestr("header.json", text)
        for name, payload in payloads.items():
            archive.writestr(f"{name}.npy", payload)


def read_model(path: str | Path, kind: str = FORMAT) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a model file (or one of another `kind`), hashes checked.

    Raises
    ------
    InputError
        If the file is missing, truncated, changed, not a gapkit model or of a newer version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read("header.json"))
            _check_header(path, header, kind)
            arrays = {
                name: _array(path, archive.read(f"{name}.npy"), digest) for name, digest in header["sha256"].items()
            }
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"there is no {kind.removeprefix('gapkit ')} file {str(path)!r}.") from None
    except _DAMAGE as error:
        raise InputError(
            f"{str(path)!r} is not a complete {kind} file ({type(error).__name__}): "
            "it may be truncated or damaged; copy or save it again."
        ) from None
    return header, arrays


def is_kind(path: str | Path, kind: str) -> bool:
    """Whether a file says that it is of this kind; False, too, for what is missing or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read("header.json"))
    except _DAMAGE:
        return False
    return isinstance(header, dict) and header.get("format") == kind


def _check_header(path: str | Path, header: Any, kind: str) -> None:
    if not isinstance(header, dict) or header.get("format") != kind:
        raise InputError(f"{str(path)!r} is not a {kind} file.")
    if int(header["version"]) > VERSION:
        raise InputError(
            f"{str(path)!r} has format version {header['version']}, newer than this gapkit's {VERSION}: upgrade gapkit."
        )


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)  # memory order is kept: other sums round otherwise
    return buffer.getvalue()


def _array(path: str | Path, payload: bytes, digest: str) -> np.ndarray:
    if hashlib.sha256(payload).hexdigest() != digest:
        raise InputError(f"{str(path)!r} was changed after it was saved (a checksum differs): save the model again.")
    return np.asarray(np.load(io.BytesIO(payload), allow_pickle=False))
