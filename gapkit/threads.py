"""Who uses the cores: Numba's loops do; BLAS joins in only where matrices are large enough to be worth sharing."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[object]:
    """Keep BLAS on one thread within a ``with`` block (12 µs).

    Matrices of a hundred rows take half a millisecond; threads that wait for a busy core make that thirty.
    """
    context: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return context
