"""The same two walks on the workers of a Dask cluster: chunks of frames go out, row factors come back merged in a tree.

Frames are read where the fit was started and sent in chunks, a few per worker at a time. Each chunk becomes one row
factor per noise group; two factors of equal weight are merged on a worker as soon as both exist, in an order that
depends on the chunks alone. The posterior is that of the serial fit up to round-off, whatever the number of workers. A
worker that is lost costs the chunks that only it had: Dask computes them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ase import Atoms

from gapkit.errors import InputError
from gapkit.frames import Frame, Frames
from gapkit.learning import Walk
from gapkit.prediction import Potential, Predictions, gathered
from gapkit.progress import Track
from gapkit.terms import AnyTerm
from gapkit.threads import one_blas_thread
from gapkit.training import Factors, Noises, Recipe, SparsePools, Summary, checked_environments, stream_rows

if TYPE_CHECKING:
    from distributed import Client, Future

CHUNK_ATOMS = 2000  # of the frames that go to a worker together: many enough to pay for a factor, few enough to spread
AHEAD = 3  # chunks per worker that are sent before they are needed
Result = TypeVar("Result")


class _Partial(NamedTuple):
    """A result that stands for 2^level chunks."""

    level: int
    future: Future


class Tree:
    """Merges what workers make of chunks, two of equal weight at a time, in the order of the chunks."""

    def __init__(self, client: Client, merge: Callable[[Any, Any], Any]) -> None:
        self._client, self._merge = client, merge
        self._partials: list[_Partial] = []

    def add(self, future: Future) -> None:
        """Take in the next chunk's result, still to be computed."""
        new = _Partial(0, future)
        while self._partials and self._partials[-1].level == new.level:
            new = _Partial(new.level + 1, self._merged(self._partials.pop().future, new.future))
        self._partials.append(new)

    def _merged(self, left: Future, right: Future) -> Future:
        return self._client.submit(self._merge, left, right, pure=False)

    def result(self) -> Any:
        """Everything merged; None if there was nothing."""
        if not self._partials:
            return None
        total = self._partials.pop().future
        while self._partials:
            total = self._merged(self._partials.pop().future, total)
        return _here(total)


def _here(future: Future) -> Any:
    """The result of a future; what a worker raised is raised here."""
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise InputError(
            f"workers died repeatedly while computing one chunk ({error.last_worker}): they probably ran out of "
            "memory; give each more, or use fewer sparse points."
        ) from None


def _spread(
    client: Client, function: Callable[..., Result], constant: Any, chunks: Iterable[Any]
) -> Iterator[tuple[Any, Future]]:
    """(chunk, its future) in order, each as soon as it is done; a few per worker are under way at a time.

    `constant` is computed on a worker, not scattered, so that a lost worker does not take it along.
    """
    shared = client.submit(_same, constant, pure=False)
    waiting: list[tuple[Any, Future]] = []
    limit = AHEAD * max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    for chunk in chunks:
        waiting.append((chunk, client.submit(function, shared, chunk, pure=False)))
        if len(waiting) > limit:
            yield _done(*waiting.pop(0))
    for entry in waiting:
        yield _done(*entry)


def _done(chunk: Any, future: Future) -> tuple[Any, Future]:
    from distributed import wait

    wait(future)
    return chunk, future


def _same(item: Result) -> Result:
    return item


def chunks_of(frames: Iterable[Frame], n_atoms: int = CHUNK_ATOMS) -> Iterator[list[Frame]]:
    """Consecutive frames that have about `n_atoms` together."""
    chunk: list[Frame] = []
    size = 0
    for frame in frames:
        chunk.append(Frame(frame.bare(), frame.labels))
        size += len(frame.atoms)
        if size >= n_atoms:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class DaskWalks:
    """`gapkit.learning.Walks` on the workers of a cluster.

    Parameters
    ----------
    client : distributed.Client
    terms : tuple of Term
    """

    def __init__(self, client: Client, terms: tuple[AnyTerm, ...]) -> None:
        check_client(client)
        self._client, self._terms = client, terms

    def survey(self, frames: Frames, noises: Noises, pools: SparsePools, follow: Track) -> Summary:
        """The first walk; a worker thins out a chunk's environments only if they are more than a pool holds."""
        summary = Summary()
        empty = (self._terms, pools.empty())
        tree = Tree(self._client, _merged_pools)
        for chunk, future in follow(_spread(self._client, _pools_of, empty, chunks_of(frames)), "descriptors"):
            for frame in chunk:
                summary.add(frame, noises)
            tree.add(future)
        summary.check()
        pools.merge(tree.result())
        return summary

    def rows(self, recipe: Recipe, frames: Iterable[Frame], factors: Factors, walk: Walk, ahead: int) -> Factors:
        """The second walk; a checkpoint merges what there is."""
        del ahead  # workers take one chunk at a time
        tree = Tree(self._client, _merged_factors)
        for chunk, future in _spread(self._client, _factors_of, recipe, chunks_of(frames)):
            tree.add(future)
            for frame in chunk:
                walk.skip(frame)
            if walk.due():
                factors.update(_merged_factors(factors, tree.result() or {}))
                walk.write()
        factors.update(_merged_factors(factors, tree.result() or {}))
        return factors


def _pools_of(constant: tuple[tuple[AnyTerm, ...], SparsePools], chunk: Sequence[Frame]) -> SparsePools:
    terms, pools = constant
    own = pools.empty()
    with one_blas_thread():
        for frame in chunk:
            own.add(checked_environments(terms, frame))
    return own


def _merged_pools(left: SparsePools, right: SparsePools) -> SparsePools:
    total = deepcopy(left)  # a worker's inputs may be needed again: they are not changed
    total.merge(right)
    return total


def _factors_of(recipe: Recipe, chunk: Sequence[Frame]) -> Factors:
    with one_blas_thread():
        return stream_rows(recipe, chunk, {})


def _merged_factors(left: Factors, right: Factors) -> Factors:
    total = left | right
    with one_blas_thread():
        for group in left.keys() & right.keys():
            total[group] = left[group].copy()
            total[group].merge(right[group])
    return total


# ---- predictions


def predict(gap: Any, structures: Iterable[Atoms], client: Client, return_std: bool | str = False) -> Predictions:
    """`GAP.predict` of many structures on the workers of a cluster.

    Parameters
    ----------
    gap : GAP
        Fitted.
    structures : iterable of Atoms
    client : distributed.Client
    return_std : bool or str
        As in `GAP.predict`.

    Raises
    ------
    InputError
        As `GAP.predict`.
    """
    check_client(client)
    structures = iter(structures)
    chunks = iter(lambda: [_bare(atoms) for atoms in islice(structures, 32)], [])
    results = _spread(client, _predictions_of, (gap.potential_, return_std), chunks)
    return gathered([single for _, future in results for single in _here(future)])


def _bare(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _predictions_of(constant: tuple[Potential, bool | str], chunk: Sequence[Atoms]) -> list[dict[str, Any]]:
    potential, return_std = constant
    with one_blas_thread():
        return [potential.predict(atoms, return_std) for atoms in chunk]


def check_client(client: Any) -> None:
    """Raise `InputError` unless this is a client of a cluster with workers."""
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise InputError("distributed fits need Dask: pip install 'gapkit[dask]'.") from None
    if not isinstance(client, Client):
        raise InputError(f"client is of type {type(client).__name__}, give a distributed.Client.")
    if not client.scheduler_info(n_workers=-1)["workers"]:
        client.wait_for_workers(1, timeout=120)
