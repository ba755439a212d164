"""The reference engine: the same SOAP through dscribe, one finite cluster of neighbour images per centre.

dscribe refuses analytical derivatives of weighted or periodic power spectra and has no strain derivative; on the
cluster of a centre its numerical derivatives with a fixed centre are the pair gradients (step 1e-4 Å, error 1e-8).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.quantities import VOIGT

if TYPE_CHECKING:
    from gapkit.descriptors.soap import SOAP


def _clusters(nb: Neighbourhoods, numbers: np.ndarray) -> Iterator[tuple[int, slice, Atoms]]:
    """Each centre at the origin, followed by its neighbour images."""
    for c, centre in enumerate(nb.centres):
        pairs = slice(nb.first[c], nb.first[c + 1])
        positions = np.vstack([np.zeros((1, 3)), nb.D[pairs]])
        yield c, pairs, Atoms(np.concatenate([[numbers[centre]], numbers[nb.j[pairs]]]), positions)


def values(soap: SOAP, nb: Neighbourhoods, numbers: np.ndarray) -> np.ndarray:
    """Power spectra in dscribe's own scale, shape (n_centres, n_features)."""
    engine = soap.dscribe(periodic=False)
    return np.array([engine.create(cluster, centers=[0]).ravel() for _, _, cluster in _clusters(nb, numbers)])


def pair_jacobian(soap: SOAP, nb: Neighbourhoods, numbers: np.ndarray) -> np.ndarray:
    """∂p_i/∂D_ij, shape (n_pairs, 3, n_features), in dscribe's own scale."""
    engine = soap.dscribe(periodic=False)
    jacobian = np.empty((len(nb.j), 3, soap.n_features))
    for _, pairs, cluster in _clusters(nb, numbers):
        derivative = engine.derivatives(
            cluster, centers=[np.zeros(3)], method="numerical", return_descriptor=False, attach=False
        )
        jacobian[pairs] = derivative[0, 1:]
    return jacobian


def pullback(soap: SOAP, nb: Neighbourhoods, numbers: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
    """Pair gradients, shape (n_pairs, 3)."""
    centre = np.repeat(np.arange(len(nb.centres)), np.diff(nb.first))
    return np.einsum("pax,px->pa", pair_jacobian(soap, nb, numbers), cotangent[centre])


def tangents(
    soap: SOAP, nb: Neighbourhoods, numbers: np.ndarray, slot: np.ndarray, row_first: np.ndarray, J: np.ndarray
) -> None:
    """Fill J (rows as in `gapkit._numba.tangents`)."""
    jacobian = pair_jacobian(soap, nb, numbers)
    J[:] = 0.0
    centre = np.repeat(np.arange(len(nb.centres)), np.diff(nb.first))
    for p, c in enumerate(centre):
        if slot[p] >= 0:
            start = row_first[c] + 3 * slot[p]
            J[start : start + 3] += jacobian[p]
            J[row_first[c + 1] - 9 : row_first[c + 1] - 6] -= jacobian[p]
        for v, (a, b) in enumerate(VOIGT):
            J[row_first[c + 1] - 6 + v] += 0.5 * (nb.D[p, a] * jacobian[p, b] + nb.D[p, b] * jacobian[p, a])
