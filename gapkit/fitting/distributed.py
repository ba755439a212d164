"""Both passes of a fit on the workers of a Dask cluster: chunks of frames go out, merged row factors come back.

Frames are read where the fit was started and sent in chunks, a few per worker at a time. Each chunk becomes one row
factor per noise group; two results of equal weight are merged on a worker as soon as both exist, in a tree. The result
of a whole batch of chunks comes back and is merged where the fit was started; until then the cluster holds the batch's
frames, so that a lost worker costs only the chunks that it alone had: Dask computes them again. Chunks and batches
depend on the data alone, so that the result does not depend on the workers, to the last bit; up to round-off it is that
of a fit without them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING

from gapkit.fitting.first_pass import SparsePools, Summary, checked_candidates
from gapkit.fitting.fit import SecondPass
from gapkit.fitting.noise import Noises
from gapkit.fitting.second_pass import Factors, Recipe, stream_rows
from gapkit.runtime.cluster import Tree, connected, spread
from gapkit.runtime.progress import Track
from gapkit.runtime.threads import one_blas_thread
from gapkit.structures.frames import Frame, Frames
from gapkit.terms.protocol import AdditiveTerm

if TYPE_CHECKING:
    from distributed import Client


CHUNK_ATOMS = 1000  # at least, of frames that go to a worker together: enough to pay for a merge, few enough to spread
BATCH = 64  # chunks whose results are merged before they come back; until then the scheduler keeps their frames


# ---- chunks go out


def chunks_of(frames: Iterable[Frame], n_atoms: int) -> Iterator[list[Frame]]:
    """Consecutive frames that have at least `n_atoms` together, each stripped to geometry and labels."""
    chunk: list[Frame] = []
    size = 0
    for frame in frames:
        chunk.append(frame.stripped())
        size += len(frame.atoms)
        if size >= n_atoms:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


# ---- results come back


@contextmanager
def dask_passes(client: Client | int, terms: Sequence[AdditiveTerm]) -> Iterator[DaskPasses]:
    """Both passes of a fit on a cluster, with a client from `connected`."""
    with connected(client) as own:
        yield DaskPasses(own, tuple(terms))


class DaskPasses:
    """`gapkit.fitting.fit.Passes` on the workers of a cluster.

    Parameters
    ----------
    client : distributed.Client
    terms : tuple of Term
    """

    def __init__(self, client: Client, terms: tuple[AdditiveTerm, ...]) -> None:
        self._client, self._terms = client, terms

    def survey(self, frames: Frames, noises: Noises, pools: SparsePools, follow: Track) -> Summary:
        """The first pass; environments are thinned out, here or on workers, only if they do not fit into a pool."""
        summary = Summary()
        tree = Tree(self._client, _merged_pools)
        chunks = chunks_of(follow(frames, "descriptors", frames.n_frames), CHUNK_ATOMS)
        for chunk, future in spread(self._client, _pools_of, (self._terms, pools.empty()), chunks):
            tree.add(future)
            for frame in chunk:
                summary.add(frame, noises)
            if tree.n_chunks == BATCH:
                pools.merge(tree.result(_thinned))
        if tree.n_chunks:
            pools.merge(tree.result(_thinned))
        summary.check()
        return summary

    def rows(self, recipe: Recipe, frames: Iterable[Frame], factors: Factors, state: SecondPass, ahead: int) -> Factors:
        """The second pass; checkpoints are written between batches."""
        del ahead  # workers take one chunk at a time
        tree = Tree(self._client, _merged_factors)
        # rows of n atoms are folded in ∝ 6 n M² operations, factors merged in ⅔ M³: n = M makes that a ninth
        chunks = chunks_of(frames, max(CHUNK_ATOMS, recipe.n_sparse))
        for chunk, future in spread(self._client, _factors_of, recipe, chunks):
            tree.add(future)
            for frame in chunk:
                state.skip(frame)
            if tree.n_chunks == BATCH:
                _merge_into(factors, tree.result())
                if state.due():
                    state.write()
        if tree.n_chunks:
            _merge_into(factors, tree.result())
        return factors


def _pools_of(constant: tuple[tuple[AdditiveTerm, ...], SparsePools], chunk: Sequence[Frame]) -> SparsePools:
    terms, pools = constant
    own = pools.empty()
    for frame in chunk:
        own.add(checked_candidates(terms, frame))
    return own


def _merged_pools(left: SparsePools, right: SparsePools) -> SparsePools:
    total = deepcopy(left)  # a worker's inputs may be needed again: they are not changed
    total.merge(right)
    return total


def _thinned(pools: SparsePools) -> SparsePools:
    total = deepcopy(pools)
    total.thin()
    return total


def _factors_of(recipe: Recipe, chunk: Sequence[Frame]) -> Factors:
    return stream_rows(recipe, chunk, {})


def _merged_factors(left: Factors, right: Factors) -> Factors:
    total = {group: factor.copy() for group, factor in left.items()}
    with one_blas_thread():
        _merge_into(total, right)
    return total


def _merge_into(total: Factors, new: Factors) -> None:
    for group, factor in new.items():
        if group in total:
            total[group].merge(factor)
        else:
            total[group] = factor.copy()
