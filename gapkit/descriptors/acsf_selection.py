"""Selection of a compact set of symmetry functions from many candidates, by their values on data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms

from gapkit.checks import is_count
from gapkit.descriptors.acsf import ACSF
from gapkit.errors import InputError, did_you_mean
from gapkit.gaussian_process.sparsification import farthest_points

METHODS = ("cur", "fps")
NEGLIGIBLE = 1e-6  # of the largest spread of a column: below, a function is as good as constant


def candidate_acsf(
    species: Sequence[str], cutoff: float = 5.0, n_radial: int = 8, zetas: Sequence[float] = (1.0, 4.0, 16.0)
) -> ACSF:
    """A large systematic set of G2 and G4 for `select_acsf` to choose from.

    Parameters
    ----------
    species : sequence of str
    cutoff : float
        Å.
    n_radial : int
        n: G2 centred at r_s = 0 with widths from c/n to c and shells at r_s growing from c/n to c, both geometrically.
    zetas : sequence of float
        ζ of G4, for both signs λ, each with the widths of the centred G2.

    References
    ----------
    Imbalzano et al., J. Chem. Phys. 148, 241730 (2018), equations 6 to 9.
    """
    n = int(n_radial)
    if n < 2:
        raise InputError(f"n_radial = {n_radial} must be at least 2; 8 is usual.")
    widths = [(n ** (m / n) / cutoff) ** 2 for m in range(n + 1)]
    radii = [cutoff / n ** (m / n) for m in range(n + 1)]
    shells = [(1.0 / (radii[m] - radii[m + 1]) ** 2, radii[m]) for m in range(n)]
    angular = [(eta, zeta, sign) for eta in widths[: n // 2 + 1] for zeta in zetas for sign in (-1.0, 1.0)]
    found = ACSF(species, cutoff, g2=[*((eta, 0.0) for eta in widths), *shells], g4=angular)
    found.validate()
    return found


def select_acsf(acsf: ACSF, structures: Sequence[Atoms], n: int, method: str = "cur") -> ACSF:
    """The same descriptor with the `n` columns that together represent all of its columns best.

    Parameters
    ----------
    acsf : ACSF
        With more columns than wanted, for example `candidate_acsf`.
    structures : sequence of Atoms
        Columns are compared on their environments.
    n : int
        Number of columns to keep.
    method : {"cur", "fps"}
        "cur": one column after another, the one with the largest leverage, which is projected out of the rest.
        "fps": the column farthest from those chosen.

    Returns
    -------
    ACSF
        With `columns` set, and `scales` that give each column the same spread and all together the spread 1.

    References
    ----------
    Imbalzano et al., J. Chem. Phys. 148, 241730 (2018).
    """
    if method not in METHODS:
        raise InputError(f"method = {method!r} is unknown{did_you_mean(str(method), METHODS)}.")
    if not len(structures):
        raise InputError("select_acsf needs at least one structure.")
    whole = replace(acsf, scales=None)
    G = np.concatenate([whole.create(atoms) for atoms in structures])
    spread = G.std(axis=0)
    useful = np.flatnonzero(spread > NEGLIGIBLE * max(float(spread.max()), 1e-300))
    if not is_count(n) or n > len(useful):
        raise InputError(
            f"n = {n!r} must be a whole number from 1 to {len(useful)}, the columns that differ among environments."
        )
    Z = (G[:, useful] - G[:, useful].mean(axis=0)) / spread[useful]
    chosen = useful[np.sort(_columns(Z, int(n), method))]
    columns = chosen if acsf.columns is None else np.asarray(acsf.columns)[chosen]
    scales = 1.0 / (spread[chosen] * np.sqrt(n))
    return replace(acsf, columns=tuple(columns.tolist()), scales=tuple(scales.tolist()))


def _columns(Z: np.ndarray, n: int, method: str) -> np.ndarray:
    """Indices of `n` columns of standardised features, in order of selection."""
    if method == "fps":
        chosen = farthest_points(np.ascontiguousarray(Z.T), n, np.array([0])).chosen
        return np.array(list(dict.fromkeys([*chosen, *range(Z.shape[1])]))[:n])  # copies of chosen columns come last
    return _leading_columns(Z, n)


def _leading_columns(Z: np.ndarray, n: int) -> np.ndarray:
    """Greedy CUR: the largest entry of the leading right singular vector, again after each projection.

    Z = Q R has the singular vectors and the column products of R, which has no more rows than columns.
    """
    R = np.asarray(np.linalg.qr(Z, mode="r"))
    chosen = np.empty(0, dtype=np.int64)
    for _ in range(n):
        leverage = np.linalg.svd(R)[2][0] ** 2
        leverage[chosen] = -1.0
        chosen = np.append(chosen, np.argmax(leverage))
        column = R[:, chosen[-1]].copy()
        R -= np.outer(column, column @ R) / max(float(column @ column), np.finfo(float).tiny)
    return chosen
