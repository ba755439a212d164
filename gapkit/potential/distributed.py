"""Predictions on the workers of a Dask cluster, the same to the last bit."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from ase import Atoms
from sklearn.utils.validation import check_is_fitted

from gapkit.evaluation.standard_deviations import WhichStd, parse_return_std
from gapkit.potential.prediction import Potential, Predictions, gathered
from gapkit.runtime.cluster import answer, connected, sealed, spread
from gapkit.runtime.progress import progress
from gapkit.structures.labels import check_structures

if TYPE_CHECKING:
    from distributed import Client

    from gapkit.potential.gap import GAP

CHUNK_STRUCTURES = 32  # predicted together


def predict(gap: GAP, structures: Iterable[Atoms], client: Client | int, return_std: bool | str = False) -> Predictions:
    """`GAP.predict` of many structures on the workers of a cluster, the same to the last bit.

    Parameters
    ----------
    gap : GAP
        Fitted.
    structures : iterable of Atoms
    client : distributed.Client or int
        As in `GAP.fit`.
    return_std : bool or str
        As in `GAP.predict`.

    Raises
    ------
    InputError
        As `GAP.predict`; if there is no cluster with workers.
    """
    check_is_fitted(gap, "posterior_")
    std = parse_return_std(return_std)
    structures = [structures] if isinstance(structures, Atoms) else list(structures)
    check_structures(structures)
    bare = map(_bare, progress(gap.verbose)(structures, "predictions", len(structures)))
    chunks = iter(lambda: list(islice(bare, CHUNK_STRUCTURES)), [])
    with connected(client) as own:
        results = spread(own, _predictions_of, (gap.potential_, std), chunks)
        found = gathered([single for _, future in results for single in pickle.loads(answer(future.result))])
    found.warn()
    return found


class OnWorkers:
    """A fitted potential that predicts on a cluster: ``evaluate(OnWorkers(gap, client), test)``.

    Parameters
    ----------
    gap : GAP
        Fitted.
    client : distributed.Client or int
        As in `GAP.fit`.
    """

    def __init__(self, gap: GAP, client: Client | int) -> None:
        self._gap, self._client = gap, client

    def predict(self, structures: Iterable[Atoms], return_std: bool | str = False) -> Predictions:
        """`gapkit.potential.distributed.predict`."""
        return predict(self._gap, structures, self._client, return_std)

    def __getattr__(self, name: str) -> Any:
        """Attributes of the potential."""
        if name == "_gap":  # looked up by copy and pickle before it is set
            raise AttributeError(name)
        return getattr(self._gap, name)


def _bare(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _predictions_of(constant: tuple[Potential, WhichStd | None], chunk: Sequence[Atoms]) -> bytes:
    potential, std = constant
    return sealed([potential.predict(atoms, std) for atoms in chunk])
