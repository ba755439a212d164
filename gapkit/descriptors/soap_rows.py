"""Training rows: ∂(q_i·x_m)/∂(positions, strain) of the centres, q_i and x_m being normalised features.

Two routes to the same T[row, m]. Through the Jacobian, J = ∂q_i/∂(positions, strain), T = J Xᵀ. Or through the density:
a feature is quadratic in c, so x_m·p = Σ_l,mu c_lmuᵀ W_ml c_lmu with one matrix W_ml for each sparse point, and with

    B_m = ∂(x_m·p_i)/∂c = (W_m + W_mᵀ) c,   B_q = ∂(q_i·p_i)/∂c     (channel, lm, n)
    T_rm = (∂c_r·B_m - s_im ∂c_r·B_q) / |p_i|

A neighbour moves c in its own channel only, so that the second route takes (Z n)² once per centre and n per row, where
the first takes n_features ~ (Z n)² per row. `operations` counts them; `row_products` takes the cheaper route.
"""

from __future__ import annotations

import threading
import weakref
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gapkit._numba.density_rows import add_products, channel_tangents
from gapkit._numba.kernels import project_rows
from gapkit._numba.simd import WIDE
from gapkit._numba.soap import power_spectrum_pullback
from gapkit.descriptors.soap_basis import Density, DensityBasis, harmonics_norm
from gapkit.descriptors.tangents import Points, RowProducts, Slots, neighbour_slots, row_offsets
from gapkit.runtime.workspace import Workspace

if TYPE_CHECKING:
    from gapkit.descriptors.soap import SOAP, SOAPState

FRAME = 9  # rows of each centre besides those of its neighbours: own position and strain
FORM_WIDTH = 512  # n_partners n_max m of a chunk: W and B stay in the second-level cache, BLAS does not copy them
COSTS = (1.0, 2.7, 1.3)  # time of one of each of the `Operations`, relative to J Xᵀ

Forms = list[list[np.ndarray]]


class Operations(NamedTuple):
    """Operations per centre: the whole route through the Jacobian, and B_m and ∂c·B_m of that through the density."""

    jacobian: float
    pull_back: float
    contraction: float


def operations(basis: DensityBasis, n_neighbours: float, n_sparse: int) -> Operations:
    """Operations per centre with `n_neighbours` neighbour atoms.

    Notes
    -----
    With Z species channels, n = n_max, L = l_max + 1, M sparse points and 3 n_neighbours + 9 rows::

        Jacobian     2 M rows n_features + rows (2 Z' n² L² + 4 n_features)
        pull-back    2 M n² L² Z Z'
        contraction  2 M n L² (3 n_neighbours + 9 Z)

    Z' is the number of channels that B in one channel depends on: 1 for "crossover" and "mu2", else Z.

    `COSTS` are fitted to times of whole routes (n_max 8, l_max 6, M = 1000, 28 neighbours, 2 and 4 species, one core):
    as if J Xᵀ ran at 68 Gflop/s, contractions, whose inner length is n L², at 50, and pull-backs, with inner length
    Z' n and the matrices W of all sparse points to be read for every eight centres, at 25.
    """
    Z, nL2 = basis.n_channels, basis.n_max * (basis.l_max + 1) ** 2
    partners = 1 if basis.compression == "crossover" else Z
    rows, n_features = 3 * n_neighbours + FRAME, len(basis.layout.scale)
    return Operations(
        2.0 * n_sparse * rows * n_features + rows * (2.0 * partners * basis.n_max * nL2 + 4.0 * n_features),
        2.0 * n_sparse * nL2 * basis.n_max * Z * partners,
        2.0 * n_sparse * nL2 * (3.0 * n_neighbours + FRAME * Z),
    )


def cheapest_route(basis: DensityBasis, n_neighbours: float, n_sparse: int) -> float:
    """Operations per centre of the route that is taken, at the speed of J Xᵀ."""
    jacobian, pull_back, contraction = (cost * n for cost, n in zip(COSTS, operations(basis, n_neighbours, n_sparse)))
    return min(jacobian, pull_back + contraction)


def chunk_size(basis: DensityBasis) -> int:
    """Sparse points that are done at a time: whole vectors, at most 32."""
    partners = _partners(basis, 0)
    return min(max(FORM_WIDTH // ((partners.stop - partners.start) * basis.n_max) // WIDE * WIDE, WIDE), 32)


def row_products(soap: SOAP, state: SOAPState, points: Points, workspace: Workspace) -> RowProducts:
    """T by the route that takes less time."""
    slots = neighbour_slots(state.neighbourhoods)
    counts = operations(soap.basis, float(slots[1].mean()), len(points.X))
    jacobian, pull_back, contraction = (cost * n for cost, n in zip(COSTS, counts))
    if soap.engine == "numba" and pull_back + contraction < jacobian:
        return density_products(soap, state, slots, points, workspace)
    return jacobian_products(soap, state, slots, points, workspace)


def jacobian_products(soap: SOAP, state: SOAPState, slots: Slots, points: Points, workspace: Workspace) -> RowProducts:
    """T = J Xᵀ."""
    J, *layout = soap.tangents(state, workspace, slots)
    project_rows(J, layout[0], points.Q, points.norm)
    return RowProducts(np.matmul(J, points.X.T, out=workspace.empty("T", len(J), len(points.X))), *layout)


def density_products(soap: SOAP, state: SOAPState, slots: Slots, points: Points, workspace: Workspace) -> RowProducts:
    """T = (∂c·B - s ∂c·B_q) / |p|, channel after channel, `chunk_size` sparse points at a time."""
    basis = soap.basis
    row_first, n_centres, size = row_offsets(slots[3]), len(state.c), chunk_size(basis)
    T = workspace.empty("T", row_first[-1], len(points.X))
    T.fill(0.0)
    rows = _channel_rows(soap.density, state, slots, row_first, workspace)
    B_q = density_cotangent(basis, state.c, points.Q, workspace)[..., : basis.n_max]
    for channel, chunks in enumerate(density_forms(basis, points.X)):
        first = rows.first[channel * n_centres : (channel + 1) * n_centres + 1]
        own = slice(first[0], first[-1])
        c = _coefficients(basis, state.c, channel)
        overlap = _contract(rows.dc, first, B_q[:, channel].reshape(n_centres, -1, 1), workspace)[:, 0].copy()
        for start, forms in zip(range(0, len(points.X), size), chunks):
            products = _contract(rows.dc, first, _pull_back(c, forms, basis.n_max, workspace), workspace)
            add_products(products, overlap, rows.centre[own], rows.row[own], points.S, points.norm, start, T)
    return RowProducts(T, row_first, slots[2], slots[3])


def density_cotangent(basis: DensityBasis, c: np.ndarray, cotangent: np.ndarray, workspace: Workspace) -> np.ndarray:
    """∂(Σ cotangent · features)/∂c of the species' channels, in the workspace, shape of c."""
    layout, c_bar = basis.layout, workspace.empty("c_bar", *c.shape)
    power_spectrum_pullback(c, basis.n_max, layout.blocks, layout.factor, cotangent, c_bar)
    if layout.total >= 0:
        c_bar[:, : layout.total] += c_bar[:, layout.total, None]
    return c_bar


class _ChannelRows(NamedTuple):
    """∂c in the channel that moves, sorted by channel and centre; the frame, which moves all, comes first in each.

    Attributes
    ----------
    dc : ndarray, shape (n, lm n_max)
    centre, row : ndarray of int64, shape (n,)
        Whose it is, and the row of T that it is a part of.
    first : ndarray of int64, shape (n_channels n_centres + 1,)
    """

    dc: np.ndarray
    centre: np.ndarray
    row: np.ndarray
    first: np.ndarray


def _channel_rows(
    density: Density, state: SOAPState, slots: Slots, row_first: np.ndarray, workspace: Workspace
) -> _ChannelRows:
    basis, table, channel_of = density
    nb, (slot, n_slots, atom, slot_first) = state.neighbourhoods, slots
    Z, n_centres = basis.n_channels, len(nb.centres)
    channel = channel_of[state.numbers[np.delete(atom, slot_first[1:] - 1)]]
    group = channel * n_centres + np.repeat(np.arange(n_centres), n_slots)
    counts = FRAME + 3 * np.bincount(group, minlength=Z * n_centres)
    first = np.concatenate(([0], np.cumsum(counts)))
    dc = workspace.empty("dc", first[-1], (basis.l_max + 1) ** 2 * basis.n_max)
    row = np.empty(first[-1], dtype=np.int64)
    channel_tangents(
        nb.first, state.channel, state.weight, nb.D, slot, n_slots, table.inverse_step, table.values,
        harmonics_norm(basis.l_max), state.c.shape[3], basis.n_max, first, row_first, dc, row,
    )  # fmt: skip
    return _ChannelRows(dc, np.repeat(np.tile(np.arange(n_centres), Z), counts), row, first)


def _partners(basis: DensityBasis, channel: int) -> slice:
    """The channels that B in `channel` depends on."""
    if basis.compression == "crossover":
        return slice(channel, channel + 1)
    return slice(0, basis.n_channels)


def _coefficients(basis: DensityBasis, c: np.ndarray, channel: int) -> np.ndarray:
    """c of the partners of `channel`, shape (n_centres, lm, n_partners n_max)."""
    c = c[:, _partners(basis, channel), :, : basis.n_max]
    return c.transpose(0, 2, 1, 3).reshape(len(c), c.shape[2], -1)


def _pull_back(c: np.ndarray, forms: np.ndarray, n_max: int, workspace: Workspace) -> np.ndarray:
    """B of one channel and some sparse points, shape (n_centres, lm n_max, m)."""
    B = workspace.empty("B", *c.shape[:2], forms.shape[2])
    for l in range(len(forms)):
        lm = slice(l * l, (l + 1) * (l + 1))
        np.matmul(c[:, lm], forms[l], out=B[:, lm])
    return B.reshape(len(c), c.shape[1] * n_max, -1)


def _contract(dc: np.ndarray, first: np.ndarray, B: np.ndarray, workspace: Workspace) -> np.ndarray:
    """∂c·B of the rows first[0]:first[-1], centre after centre."""
    products = workspace.empty("products", first[-1] - first[0], B.shape[2])
    for i, (low, high) in enumerate(pairwise(first.tolist())):
        np.matmul(dc[low:high], B[i], out=products[low - first[0] : high - first[0]])
    return products


@lru_cache(maxsize=64)
def _features_of_form(basis: DensityBasis) -> tuple[np.ndarray, np.ndarray]:
    """W as features and factors, both (l, Z, n, Z, n): x·p = Σ_l,mu c_lmuᵀ W_l c_lmu, W = factor x[feature]."""
    (_, n_max, l_max, _), layout, Z = basis, basis.layout, basis.n_channels
    feature = np.zeros((l_max + 1, Z, n_max, Z, n_max), dtype=np.int64)
    factor = np.zeros(feature.shape)
    for a, b, start in layout.blocks:
        n, k = np.triu_indices(n_max) if a == b else np.indices((n_max, n_max)).reshape(2, -1)
        for l in range(l_max + 1):
            q = start + l * len(n) + np.arange(len(n))
            for other in range(Z) if b == layout.total else [b]:
                feature[l, a, n, other, k], factor[l, a, n, other, k] = q, layout.factor[q]
    return feature, factor


def _chunk_forms(basis: DensityBasis, X: np.ndarray) -> list[np.ndarray]:
    """W + Wᵀ of some sparse points by channel: shape (l, n_partners n_max, n_max m), the sparse point fastest."""
    feature, factor = _features_of_form(basis)
    W = factor[..., None] * np.ascontiguousarray(X.T)[feature]
    W += W.transpose(0, 3, 4, 1, 2, 5).copy()
    parts = [W[:, _partners(basis, channel), :, channel] for channel in range(basis.n_channels)]
    return [np.ascontiguousarray(part).reshape(len(W), -1, basis.n_max * len(X)) for part in parts]


def _forms(basis: DensityBasis, X: np.ndarray) -> Forms:
    """`_chunk_forms` of all sparse points, by channel and chunk."""
    size = chunk_size(basis)
    chunks = [_chunk_forms(basis, X[start : start + size]) for start in range(0, len(X), size)]
    return [[chunk[z] for chunk in chunks] for z in range(basis.n_channels)]


class _FormsOfPoints:
    """`_forms` of existing arrays, each made once; the arrays are made read-only, so that the forms stay valid."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, DensityBasis], tuple[weakref.ref, Forms]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def __call__(self, basis: DensityBasis, X: np.ndarray) -> Forms:
        key = (id(X), basis)
        with self._lock:
            if key not in self._known or X.flags.writeable:  # whoever made it writeable may have changed it
                _make_read_only(X)
                forms = _forms(basis, X)
                self._known[key] = (weakref.ref(X, lambda _: self._known.pop(key, None)), forms)
            return self._known[key][1]


def _make_read_only(X: np.ndarray) -> None:
    """The array and what it is a view of."""
    part: object = X
    while isinstance(part, np.ndarray):
        part.setflags(write=False)
        part = part.base


density_forms = _FormsOfPoints()
