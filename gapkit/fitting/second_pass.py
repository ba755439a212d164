"""The second pass over the data: rows of every label, folded into the factors of their noise groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from gapkit.covariances.rows import structure_rows
from gapkit.fitting.memory import RowSizes
from gapkit.fitting.noise import Group, Noises, observations
from gapkit.gaussian_process.leverage import LeftOut, WhitenedRows, without
from gapkit.gaussian_process.posterior import SparsePosterior
from gapkit.gaussian_process.row_factor import RowFactor
from gapkit.runtime.threads import ordered_map
from gapkit.structures.frames import Frame
from gapkit.terms.basis import Basis
from gapkit.terms.environment_sums import ROW_BLOCK

Factors = dict[Group, RowFactor]


def left_out(recipe: Recipe, posterior: SparsePosterior, frame: Frame) -> LeftOut:
    """Predictions of one training frame without it."""
    return left_out_of_rows(recipe, posterior, frame_rows(recipe, frame))


def left_out_of_rows(recipe: Recipe, posterior: SparsePosterior, rows: list[Rows]) -> LeftOut:
    """The same from the frame's rows."""
    return without(whitened_rows(recipe, posterior, rows))


def whitened_rows(recipe: Recipe, posterior: SparsePosterior, rows: list[Rows]) -> WhitenedRows:
    """The rows of one frame against the posterior of all frames."""
    parts = tuple((part.group[0], len(part.y)) for part in rows)
    noise = np.concatenate([np.full(len(p.y), recipe.noises.std(p.group) * p.scale) for p in rows] or [np.empty(0)])
    K = np.concatenate([part.K for part in rows] or [np.empty((0, recipe.n_sparse))]) / noise[:, None]
    y = np.concatenate([part.y for part in rows] or [np.empty(0)]) / noise
    W = solve_triangular(posterior.R, K.T, trans="T", check_finite=False)
    return WhitenedRows(parts, noise, y - K @ posterior.alpha, W)


class Recipe(NamedTuple):
    """Everything except the data that rows depend on; workers get it unchanged."""

    basis: Basis
    e0: dict[str, float]
    noises: Noises

    @property
    def n_sparse(self) -> int:
        """Columns of K_nm."""
        return self.basis.n_columns


class Rows(NamedTuple):
    """Rows (n, n_sparse) and targets (n,) of one kind of label of one frame, noise `scale` times that of the group."""

    group: Group
    K: np.ndarray
    y: np.ndarray
    scale: float


def frame_rows(recipe: Recipe, frame: Frame) -> list[Rows]:
    """Rows of every label of one frame."""
    atoms, labels = frame
    derivatives = labels.forces is not None or labels.virial is not None
    rows = structure_rows(recipe.basis.environments(atoms), derivatives)
    K = {"energy": rows.energy[None], "forces": rows.forces, "virial": rows.virial}
    offset = sum(recipe.e0[symbol] for symbol in atoms.symbols)
    return [
        Rows(recipe.noises.group(kind, frame), K[kind], y, scale)
        for kind, y, scale in observations(labels, offset, len(atoms))
    ]


def stream_rows(
    recipe: Recipe,
    frames: Iterable[Frame],
    factors: Factors,
    after: Callable[[Frame], None] = lambda frame: None,
    ahead: int | None = None,
    remove: bool = False,
) -> Factors:
    """The second pass: each frame's rows are folded into the factors of their groups (or removed from them).

    Parameters
    ----------
    recipe : Recipe
    frames : iterable of Frame
    factors : dict of group to RowFactor
        Changed.
    after : callable
        Called with each frame once its rows are in the factors.
    ahead : int, optional
        Largest number of frames to work on before they are needed.
    remove : bool
        Remove the rows.
    """
    for frame, found in ordered_map(lambda frame: (frame, frame_rows(recipe, frame)), frames, ahead):
        for group, K, y, scale in found:
            factor = factors.setdefault(group, RowFactor(recipe.n_sparse))
            (factor.remove if remove else factor.add)(K, y, scale)
        after(frame)
    return factors


def row_sizes(recipe: Recipe, rows: Mapping[Group, int], largest_frame: int, n_neighbours: int) -> RowSizes:
    """What the memory of the second pass depends on."""
    n_features = max((block.X.shape[1] for block in recipe.basis.blocks), default=0)
    moved = ROW_BLOCK * (3 * (n_neighbours + 1) + 6)
    return RowSizes(recipe.n_sparse, tuple(rows.values()), largest_frame, n_features, moved)
