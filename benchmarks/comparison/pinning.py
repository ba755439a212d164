"""Threads are pinned by environment variables, which only count if they are set before NumPy and Numba are imported."""

from __future__ import annotations

import os

VARIABLES = (
    "GAPKIT_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


def pinned(n_threads: int) -> dict[str, str]:
    """The variables that give every library `n_threads` threads."""
    return dict.fromkeys(VARIABLES, str(n_threads))


def pin(n_threads: int = 1) -> None:
    os.environ.update(pinned(n_threads))
