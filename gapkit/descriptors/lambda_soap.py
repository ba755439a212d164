"""λ-SOAP: power spectra that turn with the structure, from the density coefficients of `SOAP`.

    p^{λμ}_{ab n n' l l'} = π √8 Σ_mm' C^{λμ}_{lm l'm'} c^a_nlm c^b_n'l'm'

(Grisafi, Wilkins, Csányi and Ceriotti, Phys. Rev. Lett. 120, 036002 (2018), eq. 8) with the real coupling of
`gapkit.descriptors.clebsch_gordan`. Under an inversion p changes by (-1)^(l + l'): tensors that keep their sign there
take l + l' even, the others odd. As for `SOAP`, the stored part of a symmetric (or antisymmetric) block is multiplied
by √2 so that a plain dot product is the full kernel. λ = 0 gives the features of `SOAP.evaluate`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from gapkit._numba import lambda_soap as loops
from gapkit._numba.soap import pair_gradients, power_spectrum_pullback
from gapkit.descriptors.clebsch_gordan import real_coupling
from gapkit.descriptors.soap import SOAP, SOAPState
from gapkit.descriptors.soap_basis import feature_layout, harmonics_norm
from gapkit.errors import InputError
from gapkit.runtime.workspace import Fresh, Workspace


class Order(NamedTuple):
    """How a tensor turns: λ, and whether it keeps its sign under inversion; (1, False) is a vector."""

    order: int
    even: bool

    @property
    def size(self) -> int:
        """Number of components, 2 λ + 1."""
        return 2 * self.order + 1


class LambdaLayout(NamedTuple):
    """Blocks, factors and coupling coefficients as `gapkit._numba.lambda_soap` takes them."""

    blocks: np.ndarray
    factor: np.ndarray
    first: np.ndarray
    row: np.ndarray
    column: np.ndarray
    value: np.ndarray


@lru_cache(maxsize=64)
def lambda_layout(n_species: int, n_max: int, l_max: int, compression: str, order: Order) -> LambdaLayout:
    """Layout of one order: features by channels, l, l', n, n'.

    Raises
    ------
    InputError
        If no two densities couple to this order and parity.
    """
    l, lam = range(l_max + 1), order.order
    pairs = [
        (a, b) for a in l for b in l if abs(a - b) <= lam <= a + b and (a + b) % 2 == (0 if order.even else 1)
    ]  # fmt: skip
    if not pairs:
        kind = "true" if order.even == (lam % 2 == 0) else "pseudo"
        raise InputError(
            f"two densities up to l_max = {l_max} do not couple to a {kind} tensor of order {lam}: raise l_max, or, "
            "for pseudo-scalars, use another model."
        )
    half = np.triu_indices(n_max)
    triangle = np.where(half[0] == half[1], 1.0, np.sqrt(2.0))
    scale = 1.0 if compression == "mu1nu1" else np.sqrt(2.0)
    blocks, factors, start = [], [], 0
    for a, b, _ in feature_layout(n_species, n_max, l_max, compression).blocks:
        for k, (l1, l2) in enumerate(pairs):
            if a == b and l1 > l2:
                continue
            own = triangle if a == b and l1 == l2 else np.full(n_max**2, scale)
            blocks.append((a, b, l1, l2, k, start, int(own is triangle)))
            factors.append(own)
            start += len(own)
    factor = np.pi * np.sqrt(8.0) * np.concatenate(factors)
    return LambdaLayout(np.array(blocks, dtype=np.int64), factor, *_coefficients(pairs, lam))


def _coefficients(pairs: list[tuple[int, int]], order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The coefficients other than zero of all pairs: `first`, `row`, `column`, `value`."""
    entries = [np.argwhere(real_coupling(l1, l2, order)) for l1, l2 in pairs]
    values = [real_coupling(l1, l2, order)[tuple(e.T)] for (l1, l2), e in zip(pairs, entries)]
    counts = np.array([np.bincount(e[:, 0], minlength=2 * order + 1) for e in entries])
    ends = np.cumsum(counts).reshape(counts.shape)
    first = np.concatenate([ends[:, :1] - counts[:, :1], ends], axis=1)
    together = np.concatenate(entries)
    return first, together[:, 1].copy(), together[:, 2].copy(), np.concatenate(values)


def _layout(soap: SOAP, order: Order) -> LambdaLayout:
    return lambda_layout(len(soap.species), soap.n_max, soap.l_max, soap.compression, order)


def n_features(soap: SOAP, order: Order) -> int:
    """Features of each component."""
    return len(_layout(soap, order).factor)


def equivariants(soap: SOAP, state: SOAPState, order: Order, workspace: Workspace | None = None) -> np.ndarray:
    """p^{λμ} of the centres of `SOAP.evaluate`, shape (n_centres, 2 λ + 1, n_features), μ = -λ … λ."""
    layout = _layout(soap, order)
    p = (workspace or Fresh()).empty(f"equivariants {order}", len(state.c), order.size, len(layout.factor))
    loops.equivariant_spectrum(state.c, soap.n_max, *layout, p)
    return p


def density_cotangent(
    soap: SOAP,
    state: SOAPState,
    scalar: np.ndarray,
    order: Order,
    component: int,
    equivariant: np.ndarray,
    workspace: Workspace | None = None,
) -> np.ndarray:
    """c̄ = ∂(Σ scalar · p + Σ equivariant · p^λ_μ)/∂c, one component μ + λ at a time, shape of c.

    Parameters
    ----------
    scalar : ndarray, shape (n_centres, soap.n_features)
    component : int
        μ + λ.
    equivariant : ndarray, shape (n_centres, n_features)
    """
    c_bar = (workspace or Fresh()).empty("c_bar", *state.c.shape)
    plain, own = soap._layout, _layout(soap, order)
    power_spectrum_pullback(state.c, soap.n_max, plain.blocks, plain.factor, np.ascontiguousarray(scalar), c_bar)
    first = np.ascontiguousarray(own.first[:, component : component + 2])
    p_bar = np.ascontiguousarray(equivariant)[:, None]
    loops.equivariant_pullback(
        state.c, soap.n_max, own.blocks, own.factor, first, own.row, own.column, own.value, p_bar, c_bar
    )
    return c_bar


def position_gradients(soap: SOAP, state: SOAPState, c_bar: np.ndarray) -> np.ndarray:
    """g_ij = Σ c̄ ∂c/∂D_ij, shape (n_pairs, 3); the channel that sums all species is spread over them first."""
    total = soap._layout.total
    if total >= 0:
        c_bar[:, :total] += c_bar[:, total, None]
    nb, (table, _) = state.neighbourhoods, soap._table
    g = np.empty((len(nb.j), 3))
    pair_gradients(
        nb.first, state.channel, state.weight, nb.D, table.inverse_step, table.values, harmonics_norm(soap.l_max),
        c_bar, g,
    )  # fmt: skip
    return g
