"""Rows of ghosts come home on any number of ranks; ranks are threads here, with a communicator of lists."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from gapkit import InputError
from gapkit.interfaces.lammps.collective import agree, on_every_rank
from gapkit.interfaces.lammps.ghost_forces import GhostForces


class Ranks:
    """As much of a communicator as `GhostForces` needs."""

    def __init__(self, size: int) -> None:
        self.size, self.barrier, self.slots = size, threading.Barrier(size), [None] * size

    def run(self, job: Any) -> list:
        results: list = [None] * self.size

        def one(rank: int) -> None:
            try:
                results[rank] = job(_Rank(self, rank))
            except InputError as error:
                results[rank] = error

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return results


class _Rank:
    def __init__(self, ranks: Ranks, rank: int) -> None:
        self.ranks, self.rank, self.size = ranks, rank, ranks.size

    def allgather(self, value):
        self.ranks.slots[self.rank] = value
        self.ranks.barrier.wait()
        found = list(self.ranks.slots)
        self.ranks.barrier.wait()
        return found

    def allreduce(self, value, op=None):
        return int(np.bitwise_or.reduce(self.allgather(int(value))))

    def alltoall(self, values):
        return [row[self.rank] for row in self.allgather(values)]

    def Alltoallv(self, send, receive):
        data, (counts, starts), _ = send
        parts = [data.ravel()[s : s + c].copy() for c, s in zip(counts, starts)]
        receive[0].ravel()[:] = np.concatenate(self.alltoall(parts))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_sums_are_those_of_one_rank(size):
    """Random owners, several ghosts of an atom, ranks without atoms or ghosts; each plan twice."""
    rng = np.random.default_rng(size)
    n = 11
    owner = rng.integers(0, max(size - 1, 1), n)  # the last of several ranks owns nothing
    own = [np.flatnonzero(owner == rank) + 1 for rank in range(size)]
    steps = []
    for _ in range(2):
        ghosts = [rng.integers(1, n + 1, rng.integers(0, 9)) for _ in range(size)]
        steps += [(ghosts, [rng.normal(size=(len(a) + len(g), 3)) for a, g in zip(own, ghosts)]) for _ in range(2)]

    def job(comm):
        forces = GhostForces(comm)
        results = []
        for ghosts, values in steps:
            mine = values[comm.rank].copy()
            assert not forces.add(np.concatenate([own[comm.rank], ghosts[comm.rank]]), len(own[comm.rank]), mine)
            results.append(mine[: len(own[comm.rank])])
        return results

    found = Ranks(size).run(job)
    for k, (ghosts, values) in enumerate(steps):
        total = np.zeros((n + 1, 3))
        for rank in range(size):
            np.add.at(total, np.concatenate([own[rank], ghosts[rank]]), values[rank])
        for rank in range(size):
            np.testing.assert_allclose(found[rank][k], total[own[rank]], atol=1e-14)


def test_a_rank_that_failed_is_known_to_all():
    def job(comm):
        forces, tags = GhostForces(comm), np.array([comm.rank + 1])
        failed = forces.add(tags, 1, np.ones((1, 3)), failed=comm.rank == 1)
        return failed, forces.add(tags, 1, np.ones((1, 3)))

    assert Ranks(3).run(job) == [(True, False)] * 3


def test_errors_of_one_rank_are_errors_of_all():
    def job(comm):
        def action():
            if comm.rank == 1:
                raise InputError("one has no file.")
            return comm.rank

        return on_every_rank(comm, action)

    assert [str(error) for error in Ranks(3).run(job)] == ["one has no file."] * 3
    assert Ranks(2).run(lambda comm: agree(comm, None)) == [None, None]
