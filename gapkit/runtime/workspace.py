"""Reusable memory, one pool of arrays per thread: repeated evaluations allocate nothing large."""

from __future__ import annotations

import threading
from math import prod

import numpy as np

ALIGNMENT = 64  # bytes: a cache line, and a whole vector


class Workspace:
    """Arrays by name; what `empty` returned is overwritten by the next call with the same name."""

    def __init__(self) -> None:
        self._memory: dict[str, np.ndarray] = {}

    def empty(self, name: str, *shape: int) -> np.ndarray:
        """An uninitialised, aligned float64 array of `shape`."""
        size = prod(shape)
        memory = self._memory.get(name)
        if memory is None or len(memory) < size:
            memory = self._memory[name] = _aligned(size)
        return memory[:size].reshape(shape)


class Fresh(Workspace):
    """A workspace that keeps nothing: every array is new and the caller's own."""

    def empty(self, name: str, *shape: int) -> np.ndarray:
        """An uninitialised, aligned float64 array of `shape`."""
        return _aligned(prod(shape)).reshape(shape)


def _aligned(size: int) -> np.ndarray:
    raw = np.empty(size + ALIGNMENT // 8)
    shift = -raw.ctypes.data % ALIGNMENT // 8
    return raw[shift : shift + size]


_local = threading.local()


def thread_workspace() -> Workspace:
    """The calling thread's own workspace."""
    if not hasattr(_local, "workspace"):
        _local.workspace = Workspace()
    workspace: Workspace = _local.workspace
    return workspace
