"""Where results go: refuse impossible places before any work, and write files that appear complete or not at all.

A symbolic link stays one: the file that it leads to is replaced. Devices and pipes get the bytes once they are
complete. What a killed write has left behind is removed by the next one to the same place.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import IO, Any

from gapkit.errors import InputError

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EPIPE)


def check_output(path: str | PathLike[str], inputs: Iterable[str | PathLike[str] | None] = ()) -> None:
    """Raise `InputError` unless a file can be written at `path` without loss of one of the `inputs`."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"'{path}' is a folder: give the name of a file.")
    if _is_stream(path):
        if not os.access(path, os.W_OK):
            raise InputError(f"'{path}' cannot be written to: give the name of a file.")
        return
    folder = _target(path).parent
    if not folder.is_dir():
        raise InputError(f"'{path}' cannot be written because the folder '{folder}' does not exist: make it.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"'{path}' cannot be written because the folder '{folder}' is read-only: choose another.")
    if path.exists() and any(Path(given).exists() and path.samefile(given) for given in inputs if given is not None):
        raise InputError(f"'{path}' is an input and would be overwritten: give the output another name.")


def _target(path: Path) -> Path:
    """The file that a symbolic link leads to; any other path as it is."""
    if not path.is_symlink():
        return path
    try:
        return path.resolve(strict=False)
    except (OSError, RuntimeError):
        raise InputError(f"'{path}' is a symbolic link that leads in a circle: give the name of a file.") from None


def _is_stream(path: Path) -> bool:
    """Whether there is a device or pipe to be written to; `InputError` for what cannot be written at all."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise InputError(f"'{path}' is a {'disk' if stat.S_ISBLK(mode) else 'socket'}: give the name of a file.")
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode) or str(path).startswith(("/dev/", "/proc/"))


@contextmanager
def complete_file(path: str | PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """A file that takes its name, and the place of an older one, only once everything is written and on the disk.

    Parameters
    ----------
    path : path
        A symbolic link leads to the file that is replaced; a device or pipe gets everything at the end.
    mode : {"w", "wb"}
        Text is UTF-8 with line feeds.

    Raises
    ------
    InputError
        As `check_output`.
    OSError
        With the name of the file.
    """
    check_output(path)
    path = Path(path)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    with _named(path):
        if _is_stream(path):
            with tempfile.TemporaryFile(f"{mode[0]}+{mode[1:]}", **text) as file:  # type: ignore[call-overload]
                yield file
                file.seek(0)
                with open(path, mode, **text) as stream:  # type: ignore[call-overload]
                    shutil.copyfileobj(file, stream)
            return
        target = _target(path)
        remove_leftovers(target)
        handle, temporary = _temporary(target)
        try:
            with os.fdopen(handle, mode, **text) as file:  # type: ignore[call-overload]
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.chmod(temporary, 0o666 & ~_umask())  # mkstemp lets nobody else read
                os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of a full or broken disk say which file they are about."""
    try:
        yield
    except OSError as error:
        own = error.filename is None and error.errno in _FULL
        if own or str(error.filename or "").endswith(".part"):
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise


def _temporary(target: Path) -> tuple[int, str]:
    """Handle and name of a new file beside the target, locked as long as it is being written."""
    prefix = f".{target.name}"[:200]
    while True:
        handle, name = tempfile.mkstemp(prefix=f"{prefix}.", suffix=".part", dir=target.parent)
        if _lock(handle) and _is_same(handle, name):
            return handle, name
        os.close(handle)  # another process took it for a leftover


def _lock(handle: int) -> bool:
    """Take the lock of a file; False if another process has it. True, too, where files have no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_same(handle: int, name: str) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(handle), os.stat(name))
    return False


def remove_leftovers(path: str | PathLike[str]) -> None:
    """Remove what writes to `path` have left that were killed; those that are still going on have a lock."""
    path = Path(path)
    if fcntl is None:
        return
    pattern = re.compile(re.escape(f".{path.name}"[:200]) + r"\.[a-z0-9_]{8}\.part")
    with suppress(OSError):
        for entry in os.scandir(path.parent):
            if pattern.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                _remove_if_left(Path(entry.path))


def _remove_if_left(path: Path) -> None:
    with suppress(OSError):
        handle = os.open(path, os.O_RDWR)
        try:
            if _lock(handle):
                path.unlink(missing_ok=True)
        finally:
            os.close(handle)


def _sync_folder(folder: Path) -> None:
    """The new name survives a power cut, too; not every file system can promise it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    umask = os.umask(0o077)  # there is no reading it without setting it
    os.umask(umask)
    return umask
