"""Threads of each rank: together never more than the cores of the machine that the ranks share."""

from __future__ import annotations

import os
from typing import Any

from gapkit.runtime.threads import get_num_threads


def threads_of_rank(comm: Any) -> int:
    """The number of threads of this rank.

    What GAPKIT_NUM_THREADS or OMP_NUM_THREADS asks for, or every core, but no more than the cores that this rank may
    use divided by the ranks on its machine (`cores_of_ranks`).

    Parameters
    ----------
    comm : mpi4py communicator
    """
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    own = set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    n = min(get_num_threads(), cores_of_ranks(node.allgather(own))[node.rank])
    node.Free()
    return n


def cores_of_ranks(allowed: list[set[int]]) -> list[int]:
    """Cores for each of the ranks of one machine, at least one, from the cores that each may use.

    Each core is shared by the ranks that may use it: a rank has Σ 1/(ranks on the core), rounded down.
    """
    users = {core: sum(core in other for other in allowed) for core in set().union(*allowed)}
    return [max(1, int(sum(1.0 / users[core] for core in own) + 1e-9)) for own in allowed]
