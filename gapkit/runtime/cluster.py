"""Dask: connections to clusters, chunks sent to workers, results merged in a tree."""

from __future__ import annotations

import logging
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gapkit.errors import InputError, Parameter
from gapkit.runtime.threads import one_blas_thread

if TYPE_CHECKING:
    from distributed import Client, Future


AHEAD = 3  # chunks per thread of a worker that are sent before they are needed
PATIENCE = 120  # s until a cluster without workers is given up


@contextmanager
def connected(client: Client | int) -> Iterator[Client]:
    """The client itself or, for a number, one of that many new processes on this machine, ended at the end.

    Raises
    ------
    InputError
        If Dask is missing, or there is no cluster with workers.
    """
    try:
        from distributed import Client, SubprocessCluster
    except ModuleNotFoundError:
        raise InputError("distributed fits need Dask: pip install 'gapkit[dask]'.") from None
    if not isinstance(client, int):
        _check_client(client)
        yield client
        return
    if client < 1 or client is True:
        raise InputError(f"client = {client} must be a positive number of processes, or a distributed.Client.")
    # not LocalCluster: its processes import the user's script again and stop unless it guards against that
    options: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    cluster = SubprocessCluster(n_workers=client, **options)
    with cluster, Client(cluster, set_as_default=False) as own:
        own.wait_for_workers(client, timeout=PATIENCE)
        yield own


def _check_client(client: Any) -> None:
    from distributed import Client

    if not isinstance(client, Client):
        raise InputError(f"client is of type {type(client).__name__}: give a distributed.Client or a whole number.")
    if client.status != "running" or client.asynchronous:
        raise InputError("the client is closed or asynchronous: give one that is connected and waits for its results.")
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise InputError(
            f"the cluster had no worker within {PATIENCE} s: start workers, and if they queue for long, "
            "call client.wait_for_workers(1) first."
        ) from None


def sealed(content: Any) -> bytes:
    """The content as bytes, which Dask passes on unchanged.

    Arrays that Dask packs itself arrive as parts of a message, at any address: numpy multiplies those that are not
    aligned without BLAS, slowly and with different rounding. Protocol 4 gives each array memory of its own.
    """
    from distributed.protocol.pickle import dumps

    packed: bytes = dumps(content, protocol=4)
    return packed


def _same(content: bytes) -> bytes:
    return content


def _call(function: Callable[[Any, Any], Any], constant: bytes, chunk: bytes) -> Any:
    with one_blas_thread():
        return function(pickle.loads(constant), pickle.loads(chunk))


def spread(
    client: Client, function: Callable[[Any, Any], Any], constant: Any, chunks: Iterable[list[Any]]
) -> Iterator[tuple[list[Any], Future]]:
    """(chunk, the future of function(constant, chunk)) in order, each as soon as it is done; a few run ahead.

    Both are sent within tasks, `constant` in one of its own from which every worker fetches it once: whatever a lost
    worker held can be computed again. An error of a worker is raised here.
    """
    import dask

    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
        shared = client.submit(_same, sealed(constant), pure=False)
    waiting: deque[tuple[list[Any], Future]] = deque()
    try:
        for chunk in chunks:
            waiting.append((chunk, client.submit(_call, function, shared, sealed(chunk), pure=False)))
            if len(waiting) > AHEAD * max(1, sum(client.nthreads().values())):  # workers come and go
                yield _done(*waiting.popleft())
        while waiting:
            yield _done(*waiting.popleft())
    finally:
        for _, future in waiting:  # after an error or an interrupt the rest is not needed
            future.release()


def _done(chunk: list[Any], future: Future) -> tuple[list[Any], Future]:
    if answer(future.exception) is not None:
        answer(future.result)  # raises it
    return chunk, future


def answer(ask: Callable[[], Any]) -> Any:
    """The answer of a future; an error of a worker is raised here."""
    from distributed.scheduler import KilledWorker

    try:
        return ask()
    except KilledWorker as error:
        raise InputError(
            f"several workers died over one chunk, the last was {error.last_worker.address}: they probably ran out of "
            "memory; give each more, or use fewer sparse points."
        ) from None
    except CancelledError:
        raise InputError(
            "the cluster was closed or restarted before the work was done: start it again; a fit with a checkpoint "
            "continues with ",
            Parameter("resume", "True"),
            ".",
        ) from None


class Tree:
    """Merges the results of chunks, two of equal weight at a time, in the order of the chunks."""

    def __init__(self, client: Client, merge: Callable[[Any, Any], Any]) -> None:
        self._client, self._merge = client, merge
        self._partials: list[tuple[int, Future]] = []  # level and future of the merged 2^level chunks
        self.n_chunks = 0

    def add(self, future: Future) -> None:
        """Add the next chunk's result."""
        level = 0
        while self._partials and self._partials[-1][0] == level:
            future = self._merged(self._partials.pop()[1], future)
            level += 1
        self._partials.append((level, future))
        self.n_chunks += 1

    def result(self, last: Callable[[Any], Any] | None = None) -> Any:
        """Everything merged, and passed to `last` on a worker; the tree is empty again."""
        _, total = self._partials.pop()
        while self._partials:
            total = self._merged(self._partials.pop()[1], total)
        self.n_chunks = 0
        return answer((self._client.submit(last, total, pure=False) if last else total).result)

    def _merged(self, left: Future, right: Future) -> Future:
        return self._client.submit(self._merge, left, right, pure=False)
