"""Threads: blocks of atoms, or structures, are shared among Python threads; inside, everything is serial.

The loops release the interpreter's lock and BLAS is kept on one thread, so that no pool of threads ever waits for
another one. Blocks do not depend on the number of threads and results are taken in order: neither do the numbers.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

from gapkit.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

_wanted: int | None = None
_lock = threading.Lock()
_thread = threading.local()
_users = 0
_limit: Any = None


def get_num_threads() -> int:
    """Threads that gapkit uses: `set_num_threads`, else GAPKIT_NUM_THREADS, else OMP_NUM_THREADS, else every core."""
    if _wanted is not None:
        return _wanted
    for variable in ("GAPKIT_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(variable, "").split(",")[0].strip()
        if text:
            return _checked(text, variable)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_num_threads(n: int | None) -> None:
    """Use `n` threads from now on; None goes back to the environment variables."""
    global _wanted
    _wanted = None if n is None else _checked(n, "the number of threads")


@contextmanager
def threads(n: int) -> Iterator[None]:
    """`set_num_threads` within a ``with`` block."""
    global _wanted
    before = _wanted
    set_num_threads(n)
    try:
        yield
    finally:
        _wanted = before


def _checked(value: Any, name: str) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not number >= 1 or number % 1:
        raise InputError(f"{name} = {value!r} must be a positive whole number, for example 1.")
    return int(number)


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS on one thread within a ``with`` block (15 µs); the last of several users restores the threads.

    Matrices of a hundred rows take half a millisecond; BLAS threads that wait for a busy core make that thirty, and a
    fit of four seconds four minutes.
    """
    global _users, _limit
    with _lock:
        if _users == 0:
            _limit = _controller().limit(limits=1, user_api="blas")
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limit.restore_original_limits()


@lru_cache(maxsize=4)
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="gapkit", initializer=_mark)


def _mark() -> None:
    _thread.of_pool = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has none of its parent's threads


def _in_pool() -> bool:
    """Whether this thread belongs to a pool of gapkit's or runs a task of Dask's."""
    if getattr(_thread, "of_pool", False):
        return True
    dask = sys.modules.get("distributed")  # whoever runs a task has imported it
    try:
        return dask is not None and dask.get_worker() is not None
    except ValueError:  # no worker
        return False


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], ahead: int | None = None
) -> Iterator[Result]:
    """``map`` on all threads, BLAS on one each; results in order.

    At most `ahead` items (two per thread if not given) wait for the one that the consumer needs next. On a thread of a
    pool, gapkit's or Dask's, everything runs on that thread.
    """
    n_threads = get_num_threads()
    ahead = 2 * n_threads if ahead is None else ahead
    with one_blas_thread():
        if n_threads == 1 or _in_pool():
            yield from map(function, items)
            return
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(_pool(n_threads).submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # after an error or an interrupt the rest is not needed
                future.cancel()
