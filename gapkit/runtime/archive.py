"""Model files: arrays and a JSON header in one zip archive, versioned, hashed, never pickled.

Layout: ``header.json`` (format, version, everything that is not an array, a SHA-256 of each array and, since version 3
and at its end, one of all the text before) and one ``.npy`` file per array, as `numpy.load` with ``allow_pickle=False``
reads them. What a file would take in memory is known from its directory and from the first bytes of each array, and
checked before anything is unpacked: no file of ours is smaller than a thirtieth of its contents.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from gapkit.errors import InputError
from gapkit.runtime.files import complete_file
from gapkit.runtime.memory import in_words

FORMAT = "gapkit model"
TENSOR_MODEL = "gapkit tensor model"
VERSION = 3  # 1: before learned noises and row factors; 2: before the hash of the header
RATIO = 30  # largest size of the contents by that of the file
SMALL = 2**24  # bytes of contents that are never too many
LARGEST_HEADER = 2**26  # bytes
_HEADER = "header.json"
_OWN = "header_sha256"  # the last entry of the header
_SEALED = re.compile(rb'^(\{.*),\n "header_sha256": "([0-9a-f]{64})"\n\}$', re.DOTALL)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


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
    own = {name: value for name, value in header.items() if name != _OWN}
    full = {"format": kind, "version": VERSION, **own, "sha256": hashes}
    text = json.dumps(full, indent=1, default=lambda value: value.tolist()).encode()  # NumPy scalars and arrays
    digest = hashlib.sha256(text[:-2]).hexdigest()
    members = {_HEADER: text[:-2] + f',\n "{_OWN}": "{digest}"\n}}'.encode()}
    members |= {f"{name}.npy": payload for name, payload in payloads.items()}
    with complete_file(path, "wb") as file:
        _write(file, members, zipfile.ZIP_DEFLATED if kind in (FORMAT, TENSOR_MODEL) else zipfile.ZIP_STORED)
        if file.seekable() and sum(map(len, members.values())) > _most(file.tell()):  # zeros: would be taken for a bomb
            file.seek(0)
            file.truncate()
            _write(file, members, zipfile.ZIP_STORED)


def _write(file: IO[bytes], members: Mapping[str, bytes], method: int) -> None:
    with zipfile.ZipFile(file, "w", method, compresslevel=1) as archive:
        for name, payload in members.items():
            archive.writestr(name, payload)


def _most(n_bytes: int) -> int:
    """Largest size of the contents of a file of this size."""
    return SMALL + RATIO * n_bytes


def read_model(path: str | Path, kind: str = FORMAT) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a model file (or one of another `kind`), sizes and hashes checked.

    Raises
    ------
    InputError
        If the file is missing, truncated, changed, too large for memory, not a gapkit model or of a newer version.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise InputError(f"there is no {kind.removeprefix('gapkit ')} file {str(path)!r}.")
        if not path.is_file():
            raise InputError(f"{str(path)!r} is not a complete {kind} file: it is no regular file.")
        with zipfile.ZipFile(path) as archive:
            sizes = _sizes(path, archive, kind)
            header = _header(path, archive, kind)
            names = dict(header["sha256"])
            arrays = {name: _array(path, archive, name, digest, sizes) for name, digest in names.items()}
    except InputError:
        raise
    except MemoryError:
        size = in_words(path.stat().st_size)
        raise InputError(
            f"there is not enough memory for {str(path)!r} ({size}): free some, or use a larger machine."
        ) from None
    except Exception as error:  # damage can raise anything: errors of zip, JSON, NumPy, Unicode, compression
        raise InputError(
            f"{str(path)!r} is not a complete {kind} file ({type(error).__name__}): "
            "it may be truncated or damaged; copy or save it again."
        ) from None
    return header, arrays


def is_kind(path: str | Path, kind: str) -> bool:
    """Whether a file says that it is of this kind; False, too, for what is missing or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            _sizes(Path(path), archive, kind)
            header = json.loads(archive.read(_HEADER))
    except Exception:  # as in `read_model`
        return False
    return isinstance(header, dict) and header.get("format") == kind


def _sizes(path: Path, archive: zipfile.ZipFile, kind: str) -> dict[str, int]:
    """Bytes of each member; `InputError` if they would fill the memory."""
    members = archive.infolist()
    total, most = sum(member.file_size for member in members), _most(path.stat().st_size)
    header = max((member.file_size for member in members if member.filename == _HEADER), default=0)
    if total > most or header > LARGEST_HEADER:
        raise InputError(
            f"{str(path)!r} is not a complete {kind} file: unpacked it would be {in_words(total)}, "
            f"more than its {in_words(path.stat().st_size)} can hold; copy or save it again."
        )
    if unknown := [member.filename for member in members if member.compress_type not in _METHODS]:
        raise InputError(f"{str(path)!r} is not a complete {kind} file: {unknown[0]!r} is packed in an unknown way.")
    return {member.filename: member.file_size for member in members}


def _header(path: Path, archive: zipfile.ZipFile, kind: str) -> dict[str, Any]:
    text = archive.read(_HEADER)
    header = json.loads(text)
    if not isinstance(header, dict) or header.get("format") != kind:
        raise InputError(f"{str(path)!r} is not a {kind} file.")
    version = header["version"]
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ValueError(version)
    if version > VERSION:
        raise InputError(
            f"{str(path)!r} has format version {version}, newer than this gapkit's {VERSION}: upgrade gapkit."
        )
    if version >= 3 or _OWN in header:  # older files have none
        sealed = _SEALED.match(text)
        _check_digest(path, sealed[1] if sealed else text, sealed[2].decode() if sealed else "")
    return header


def _check_digest(path: Path, payload: bytes, digest: str) -> None:
    if hashlib.sha256(payload).hexdigest() != digest:
        raise InputError(f"{str(path)!r} was changed after it was saved (a checksum differs): save the model again.")


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)  # memory order is kept: other sums round otherwise
    return buffer.getvalue()


def npy_digest(array: np.ndarray) -> str:
    """The SHA-256 that the header has of an array."""
    return hashlib.sha256(_npy(array)).hexdigest()


def _array(path: Path, archive: zipfile.ZipFile, name: str, digest: str, sizes: Mapping[str, int]) -> np.ndarray:
    """One array, whose own header agrees with its size: nothing larger is ever asked for."""
    member = f"{name}.npy"
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream)
        n_bytes = math.prod(shape) * dtype.itemsize
        if dtype.kind not in "biufU" or dtype.hasobject or n_bytes != sizes[member] - stream.tell():
            raise ValueError(f"{name}: {dtype} {shape}")
    payload = archive.read(member)
    _check_digest(path, payload, digest)
    return np.asarray(np.load(io.BytesIO(payload), allow_pickle=False))
