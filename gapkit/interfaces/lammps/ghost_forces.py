"""Forces on ghost atoms brought home: to the rank that owns the atom that each ghost is an image of."""

from __future__ import annotations

from typing import Any

import numpy as np


class GhostForces:
    """Sends rows of ghosts to their owners, which LAMMPS's ``fix external`` does not.

    All ranks call `add` together. The plan is rebuilt when the atoms of any rank have changed.

    Parameters
    ----------
    comm : mpi4py communicator
    """

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self._tags, self._n_local = np.zeros(0, dtype=np.int64), -1

    def add(self, tags: np.ndarray, n_local: int, values: np.ndarray, failed: bool = False) -> bool:
        """Add the rows of ghosts to those of their owners, in place.

        Parameters
        ----------
        tags : ndarray of int, shape (n_atoms,)
            Atom ids, own atoms first.
        n_local : int
        values : ndarray, shape (n_atoms, n_columns)
            Changed in its first `n_local` rows.
        failed : bool
            This rank has no values.

        Returns
        -------
        bool
            Whether any rank has failed; nothing is added then.
        """
        changed = n_local != self._n_local or not np.array_equal(tags, self._tags)
        from mpi4py import MPI

        state = self._comm.allreduce(2 * failed + changed, op=MPI.BOR)
        if state >= 2:
            self._n_local = -1
            return True
        if state:
            self._plan(tags.astype(np.int64), n_local)
        ghosts = np.ascontiguousarray(values[n_local:][self._order])
        np.add.at(values, self._rows, self._exchanged(ghosts))
        return False

    def _exchanged(self, ghosts: np.ndarray) -> np.ndarray:
        """Rows of this rank's atoms from the ghosts of all ranks, in the order of `_rows`."""
        from mpi4py import MPI

        if self._comm.size == 1:
            return ghosts
        n, received = ghosts.shape[1], np.empty((len(self._rows), ghosts.shape[1]))
        sizes = [
            (counts * n, np.concatenate(([0], np.cumsum(counts * n)[:-1]))) for counts in (self._sent, self._received)
        ]
        self._comm.Alltoallv([ghosts, sizes[0], MPI.DOUBLE], [received, sizes[1], MPI.DOUBLE])
        return received

    def _plan(self, tags: np.ndarray, n_local: int) -> None:
        """Owner of every ghost, and the own atom that every row from elsewhere belongs to."""
        self._tags, self._n_local = tags, n_local
        everyone = self._comm.allgather(tags[:n_local])
        owner = np.full(1 + max((int(own.max()) for own in everyone if len(own)), default=0), -1, dtype=np.int64)
        for rank, own in enumerate(everyone):
            owner[own] = rank
        of_ghosts = owner[tags[n_local:]]
        self._order = np.argsort(of_ghosts, kind="stable")
        self._sent = np.bincount(of_ghosts, minlength=self._comm.size)
        wanted = np.split(tags[n_local:][self._order], np.cumsum(self._sent)[:-1])
        arrived = self._comm.alltoall(wanted)
        self._received = np.array([len(part) for part in arrived])
        place = np.empty(len(owner), dtype=np.int64)
        place[tags[:n_local]] = np.arange(n_local)
        self._rows = place[np.concatenate(arrived)]
