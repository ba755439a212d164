"""Compiled loops: arrays in, arrays out, no defaults, no errors, no imports from other folders.

One decorator for all of them. They run on one thread and release the interpreter's lock; `gapkit.runtime.threads` runs
several of them side by side. ``fastmath`` lets the compiler reorder sums and fuse multiply-adds, but not assume that
NaN and infinity never occur (with full fastmath ``isnan(nan)`` is False).

Numba keeps compiled code as long as the file of a function is unchanged, and does not check the files of what that
function calls. Here the stamp is the source of the whole folder, so that no change leaves stale machine code behind.

The same source compiled by two processes at a time may round differently. So one process compiles while the others wait
(a lock on a file beside the machine code) and then load the result. What only other loops call is compiled into them:
called separately, it would be optimised differently in the process that compiles than in those that load. So all
processes compute the same bits, including the one that compiled (a test checks this).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
from numba import config
from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock

try:
    import fcntl
except ModuleNotFoundError:  # Windows: processes that start at the same time may differ in the last bit there
    fcntl = None  # type: ignore[assignment]

_OPTIONS: dict[str, Any] = {"fastmath": {"reassoc", "contract", "arcp", "nsz"}, "error_model": "numpy", "nogil": True}
SOURCE_STAMP = hashlib.sha256(b"".join(f.read_bytes() for f in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()


class _FolderCache(FunctionCache):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file._source_stamp = SOURCE_STAMP


_depth = 0  # of functions being compiled, one within the other; guarded by Numba's own lock


@contextmanager
def _one_process_at_a_time(folder: str) -> Iterator[None]:
    global _depth
    with global_compiler_lock:
        _depth += 1
        try:
            if _depth > 1 or fcntl is None:
                yield
                return
            Path(folder).mkdir(parents=True, exist_ok=True)
            with open(Path(folder) / "gapkit.lock", "w") as file:  # closing it releases the lock
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        finally:
            _depth -= 1


def inlined(function: Callable[..., Any]) -> Any:
    """Compile into the caller: for what is called once per pair, where a call costs as much as the arithmetic."""
    return numba.njit(**_OPTIONS, forceinline=True)(function)


def njit(function: Callable[..., Any]) -> Any:
    """Compile on first use and keep the machine code on disk."""
    dispatcher: Any = numba.njit(**_OPTIONS)(function)
    if not config.DISABLE_JIT:  # type: ignore[attr-defined]
        dispatcher._cache = cache = _FolderCache(function)
        compiled = dispatcher.compile

        def compile_alone(signature: Any) -> Any:
            with _one_process_at_a_time(cache.cache_path):
                return compiled(signature)

        dispatcher.compile = compile_alone
    return dispatcher
