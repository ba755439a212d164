"""The engine without a compiler: gapkit's forces added to LAMMPS's by ``fix external``, neighbours found here.

What it costs beside the plugin: a search of its own for neighbours among own atoms and ghosts, the forces on ghosts
sent home through Python, and an input file that is read line by line.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from ase import Atoms
from vesin import NeighborList

from gapkit.errors import InputError
from gapkit.geometry.neighbourhoods import SHORTEST_DISTANCE, Neighbourhoods, NeighbourList
from gapkit.interfaces.lammps.collective import agree
from gapkit.interfaces.lammps.ghost_forces import GhostForces
from gapkit.interfaces.lammps.local_model import NO_ATOM, LocalModel, LocalProperties, refuse_closest

FIX = "gapkit_external"
STD = "gapkit_std"  # property/atom d_gapkit_std holds the standard deviations
SKIN = 1.0  # Å; results do not depend on it


class ExternalForces:
    """A callback of ``fix external`` that evaluates a model.

    Parameters
    ----------
    lmp : lammps.lammps
        With a box; its units are metal.
    comm : mpi4py communicator
    model : LocalModel
    numbers_of_types : ndarray of int, shape (n_types + 1,)

    Attributes
    ----------
    failure : BaseException or None
        What went wrong; LAMMPS is asked to end its run, and who gave the command must look here.
    std_every : int or None
        Steps between those whose standard deviations are wanted.
    with_virials : bool
        Per-atom virials are wanted.
    """

    def __init__(self, lmp: Any, comm: Any, model: LocalModel, numbers_of_types: np.ndarray) -> None:
        self._lmp, self._comm, self._model, self._numbers = lmp, comm, model, numbers_of_types
        self._ghosts, self._list = GhostForces(comm), NeighbourList(model.cutoff, SKIN)
        self.failure: BaseException | None = None
        self.std_every: int | None = None
        self.with_virials = False
        lmp.commands_list([f"fix {FIX} all external pf/callback 1 1", f"fix_modify {FIX} energy yes virial yes"])
        lmp.set_fix_external_callback(FIX, self._called)

    def remove(self) -> None:
        """Take the fix away."""
        self._lmp.command(f"unfix {FIX}")

    def _called(self, _: Any, step: int, n_local: int, tags: np.ndarray, x: np.ndarray, f: np.ndarray) -> None:
        """LAMMPS wants forces; an exception must not pass through it, and all ranks must come to the exchange."""
        found, which, tags = None, np.zeros(0, dtype=np.int64), self._tags(n_local)
        try:
            found, which = self._evaluate(step, tags)
        except BaseException as error:
            self.failure = error
        rows = np.zeros((len(tags), 3 + 6 * self.with_virials))
        if found is not None:
            rows[which, :3] = found.forces
            if found.local_virials is not None:
                rows[which, 3:] = found.local_virials
        if self._ghosts.add(tags, n_local, rows, failed=found is None) or found is None:
            self._end_run()
            return
        f[:] = rows[:n_local, :3]
        self._report(found, which, rows[:n_local, 3:], n_local)

    def _end_run(self) -> None:
        """Every rank has the failure of one of them; LAMMPS stops at its next step."""
        try:
            agree(self._comm, self.failure)
        except BaseException as error:
            self.failure = error
        self._lmp.force_timeout()

    def _tags(self, n_local: int) -> np.ndarray:
        n = n_local + self._lmp.extract_setting("nghost")
        pointer = self._lmp.extract_atom("id")
        return np.ctypeslib.as_array(pointer, (n,)).astype(np.int64) if n else np.zeros(0, dtype=np.int64)

    def _evaluate(self, step: int, tags: np.ndarray) -> tuple[LocalProperties, np.ndarray]:
        """What this rank's own atoms give, and which atoms take part (those of no species do not)."""
        x, types = _positions_and_types(self._lmp, len(tags))
        numbers = self._numbers[types]
        which = np.flatnonzero(numbers != NO_ATOM)
        cluster = Atoms(positions=x[which])  # for the search, which asks for no species
        n_centres = int(np.searchsorted(which, self._lmp.extract_setting("nlocal")))
        names = tags[which]
        pairs = self._pairs(cluster, names).select(np.arange(n_centres)) if len(which) else _no_pairs()
        with_std = self.std_every is not None and step % self.std_every == 0
        return self._model.evaluate(pairs, numbers[which], self.with_virials, with_std, lambda i: int(names[i])), which

    def _pairs(self, cluster: Atoms, names: np.ndarray) -> Neighbourhoods:
        """All pairs within the cutoff; atoms on top of each other are refused by what LAMMPS calls them."""
        try:
            return self._list.find(cluster)
        except InputError as error:
            refusal = error
        close = NeighborList(cutoff=SHORTEST_DISTANCE, full_list=False)
        i, j, d = close.compute(cluster.positions, np.eye(3), [False] * 3, "ijd")
        if not len(d):
            raise refusal
        refuse_closest(int(names[i[0]]), int(names[j[0]]), float(d[0]))

    def _report(self, found: LocalProperties, which: np.ndarray, virials: np.ndarray, n_local: int) -> None:
        """Give LAMMPS energies and virials; of the whole system those that belong to it as a whole."""
        lmp, energies = self._lmp, np.zeros(n_local + 1)
        n = int(np.searchsorted(which, n_local))
        energies[which[:n]] = found.local_energies[:n]
        total = self._comm.allreduce(np.array([energies.sum(), *found.virial]))
        lmp.fix_external_set_energy_global(FIX, total[0])
        lmp.fix_external_set_virial_global(FIX, total[1:].tolist())
        lmp.lib.lammps_fix_external_set_energy_peratom(lmp.lmp, FIX.encode(), _pointer(energies))
        if self.with_virials:
            virials = np.ascontiguousarray(virials)
            rows = (ctypes.POINTER(ctypes.c_double) * max(n_local, 1))(*map(_pointer, virials))
            lmp.lib.lammps_fix_external_set_virial_peratom(lmp.lmp, FIX.encode(), rows)
        if found.local_energies_std is not None and n_local:
            std = np.ctypeslib.as_array(lmp.extract_atom(f"d_{STD}"), (n_local,))
            std[:] = 0.0
            std[which[:n]] = found.local_energies_std[:n]


def _positions_and_types(lmp: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    if n == 0:
        return np.zeros((0, 3)), np.zeros(0, dtype=np.int32)
    x = np.ctypeslib.as_array(lmp.extract_atom("x")[0], (3 * n,)).reshape(n, 3)
    return x, np.ctypeslib.as_array(lmp.extract_atom("type"), (n,))


def _no_pairs() -> Neighbourhoods:
    none = np.zeros(0, dtype=np.int64)
    return Neighbourhoods(none, np.zeros(1, dtype=np.int64), none, np.zeros((0, 3), np.int32), np.zeros((0, 3)), 0)


def _pointer(values: np.ndarray) -> Any:
    return values.ctypes.data_as(ctypes.POINTER(ctypes.c_double))
