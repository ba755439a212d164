"""Loops only: arrays in, arrays out, no defaults, no errors, no imports from the rooms above.

One decorator for all of them. They run on one thread and release the interpreter's lock; `gapkit.threads` runs several
of them side by side. ``fastmath`` lets the compiler reorder sums and fuse multiply-adds, but not assume that NaN and
infinity never occur (with full fastmath ``isnan(nan)`` is False).

Numba keeps compiled code as long as the file of a function is unchanged, and does not look at the files of what that
function calls. Here the stamp is the text of the whole folder, so that no change leaves stale machine code behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import config
from numba.core.caching import FunctionCache

_OPTIONS: dict[str, Any] = {"fastmath": {"reassoc", "contract", "arcp", "nsz"}, "error_model": "numpy", "nogil": True}
SOURCE_STAMP = hashlib.sha256(b"".join(f.read_bytes() for f in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()


class _FolderCache(FunctionCache):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file._source_stamp = SOURCE_STAMP


def inlined(function: Callable[..., Any]) -> Any:
    """Compile into the caller: for what is called once per pair, where a call costs as much as the arithmetic."""
    return numba.njit(**_OPTIONS, forceinline=True)(function)


def njit(function: Callable[..., Any]) -> Any:
    """Compile on first use and keep the machine code on disk."""
    dispatcher: Any = numba.njit(**_OPTIONS)(function)
    if not config.DISABLE_JIT:  # type: ignore[attr-defined]
        dispatcher._cache = _FolderCache(function)
    return dispatcher
