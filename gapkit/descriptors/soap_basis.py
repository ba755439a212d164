"""The parts of SOAP that do not depend on atoms: radial table, harmonics' norms, feature order.

The basis is dscribe's: Gaussian-type orbitals with exponents α_lk, made orthonormal by β_lnk. With η = 1/(2 σ²) and
f_lk = 1/(1 + α_lk/η) the expansion of a Gaussian density at distance r is

    ρ_nl(r) = w(r) π^{3/2} η^{-3/2} Σ_k β_lnk f_lk^{l + 3/2} exp(-α_lk f_lk r²),   times r^l Y_lm(r̂)
    w(r) = (1 + 2 x³ - 3 x²)^m,  x = r / cutoff                                    (dscribe's "poly" weighting)

For another radial basis, only `radial_functions` would change.
"""

from __future__ import annotations

from functools import lru_cache
from math import factorial
from typing import Any, NamedTuple

import numpy as np

from gapkit._numba.simd import padded
from gapkit.errors import InputError
from gapkit.geometry.splines import refined_table

TABLE_ERROR = 1e-12  # of the radial table's values, relative to each function's largest value
MOST_STEPS = 4000


class RadialTable(NamedTuple):
    """ρ, h ρ', h² ρ'' at equidistant knots (n_knots, 3, (l_max + 1) n_pad), and 1/h in 1/Å.

    n_pad is n_max rounded up to whole vectors; the padding is zero.
    """

    values: np.ndarray
    inverse_step: float


class FeatureLayout(NamedTuple):
    """How features are built from density channels.

    `blocks` (n_blocks, 3) int64 holds channels a, b and the first feature; `total` is the channel that sums all
    species (-1: none); `scale` (n_features,) turns the stored half of a symmetric block into a full dot product;
    `factor` (n_features,) is π sqrt(8/(2l+1)) times it.
    """

    n_channels: int
    total: int
    blocks: np.ndarray
    factor: np.ndarray
    scale: np.ndarray


class DensityBasis(NamedTuple):
    """Basis of the density coefficients c[channel, lm, n] and their products, without the radial functions."""

    n_species: int
    n_max: int
    l_max: int
    compression: str

    @property
    def layout(self) -> FeatureLayout:
        """How features are built from its channels."""
        return feature_layout(*self)

    @property
    def n_channels(self) -> int:
        """Channels that neighbours add to: one per species, or one for all."""
        return self.layout.n_channels - (self.layout.total >= 0)


class Density(NamedTuple):
    """How neighbours expand into coefficients: the basis, its radial table, and the channel of each atomic number."""

    basis: DensityBasis
    table: RadialTable
    channel: np.ndarray


@lru_cache(maxsize=64)
def dscribe_soap(
    species: tuple[str, ...],
    cutoff: float,
    n_max: int,
    l_max: int,
    atom_sigma: float,
    smoothness: float,
    compression: str,
    species_weights: tuple[float, ...] | None,
    periodic: bool,
) -> Any:
    """dscribe's object with the same basis, species order, feature order and weighting."""
    import dscribe.descriptors  # half a second, which users of other descriptors need not wait for

    weights = None if species_weights is None else dict(zip(species, species_weights))
    try:
        return dscribe.descriptors.SOAP(
            species=list(species), r_cut=cutoff, n_max=n_max, l_max=l_max, sigma=atom_sigma, rbf="gto",
            weighting={"function": "poly", "r0": cutoff, "c": 1.0, "m": smoothness}, periodic=periodic,
            compression={"mode": compression, "species_weighting": weights},
        )  # fmt: skip
    except ValueError as error:
        if "real numbers" not in str(error):
            raise
        raise InputError(
            f"n_max = {n_max} radial functions within cutoff = {cutoff} Å are too similar to be made orthonormal: "
            "lower n_max or raise the cutoff."
        ) from error


def radial_functions(
    r: np.ndarray, alphas: np.ndarray, betas: np.ndarray, atom_sigma: float, cutoff: float, smoothness: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ρ_nl and its first two derivatives, each of shape (n_r, (l_max + 1) n_max), n fastest."""
    l = np.arange(len(alphas))[:, None]
    f = 1.0 / (1.0 + 2.0 * atom_sigma**2 * alphas)
    amplitude = (2.0 * np.pi * atom_sigma**2) ** 1.5 * betas * (f ** (l + 1.5))[:, None, :]  # (l, n, k)
    a = alphas * f
    r_lk = r[:, None, None]
    e = np.exp(-a * r_lk**2)  # (r, l, k)
    g = [e, -2.0 * a * r_lk * e, (4.0 * a**2 * r_lk**2 - 2.0 * a) * e]
    g0, g1, g2 = (np.einsum("lnk,rlk->rln", amplitude, x).reshape(len(r), -1) for x in g)
    w0, w1, w2 = (w[:, None] for w in _weighting(r, cutoff, smoothness))
    return w0 * g0, w1 * g0 + w0 * g1, w2 * g0 + 2.0 * w1 * g1 + w0 * g2


def _weighting(r: np.ndarray, cutoff: float, m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """w(r) and its first two derivatives; the second one at the cutoff is the limit from inside."""
    x = np.minimum(r / cutoff, 1.0)
    u = np.clip((1.0 - x) ** 2 * (1.0 + 2.0 * x), 0.0, None)
    du, d2u = 6.0 * x * (x - 1.0) / cutoff, (12.0 * x - 6.0) / cutoff**2
    with np.errstate(divide="ignore", invalid="ignore"):
        curvature = m * u ** (m - 1) * d2u + (m * (m - 1) * u ** (m - 2) * du**2 if m != 1 else 0.0)
    return u**m, m * u ** (m - 1) * du, np.nan_to_num(curvature, nan=0.0, posinf=0.0, neginf=0.0)


@lru_cache(maxsize=64)
def radial_table(
    cutoff: float, n_max: int, l_max: int, atom_sigma: float, smoothness: float
) -> tuple[RadialTable, np.ndarray]:
    """The spline table, as coarse as `TABLE_ERROR` allows, and ρ_n0(0) of the central atom, shape (n_pad,)."""
    soap = dscribe_soap(("H",), cutoff, n_max, l_max, atom_sigma, smoothness, "off", None, False)
    # β reaches 2e5 at n_max = 12 and its terms cancel: extended precision keeps the table's digits
    wide = np.longdouble
    arguments: tuple[Any, ...] = (
        soap._alphas.astype(wide),
        soap._betas.astype(wide),
        wide(atom_sigma),
        wide(cutoff),
        wide(smoothness),
    )

    def sample(n: int) -> tuple[np.ndarray, np.ndarray]:
        knots = wide(cutoff) * np.arange(n + 1) / n
        h = knots[1]
        y0, y1, y2 = radial_functions(knots, *arguments)
        return np.stack([y0, h * y1, h * h * y2], axis=1), radial_functions(knots[:-1] + 0.5 * h, *arguments)[0]

    y, _ = refined_table(sample, lambda y0: TABLE_ERROR * np.abs(y0).max(axis=0), cutoff, 0.05, MOST_STEPS)
    shape = (len(y), 3, l_max + 1, n_max)
    values = np.zeros((*shape[:3], padded(n_max)))
    values[..., :n_max] = y.reshape(shape)
    return RadialTable(values.reshape(*shape[:2], -1), float(1.0 / (wide(cutoff) / (len(y) - 1)))), values[
        0, 0, 0
    ].copy()


@lru_cache(maxsize=16)
def harmonics_norm(l_max: int) -> np.ndarray:
    """N_lm of orthonormal real harmonics on the recursion Π_l^m (A_m, B_m); shape (l_max + 1, l_max + 1)."""
    norm = np.zeros((l_max + 1, l_max + 1))
    for l in range(l_max + 1):
        for m in range(l + 1):
            ratio = factorial(l - m) / factorial(l + m)
            norm[l, m] = np.sqrt((2 * l + 1) / (4.0 * np.pi) * ratio * (1.0 if m == 0 else 2.0))
    return norm


@lru_cache(maxsize=64)
def feature_layout(n_species: int, n_max: int, l_max: int, compression: str) -> FeatureLayout:
    """Channels, blocks and scale of one compression mode, in dscribe's feature order."""
    channels = range(n_species)
    pairs = {
        "off": [(a, b) for a in channels for b in channels if a <= b],
        "crossover": [(a, a) for a in channels],
        "mu2": [(0, 0)],
        "mu1nu1": [(a, n_species) for a in channels],
    }[compression]
    half = np.triu_indices(n_max)
    triangle = np.where(half[0] == half[1], 1.0, np.sqrt(2.0))
    full = np.full(n_max * n_max, 1.0 if compression == "mu1nu1" else np.sqrt(2.0))
    sections = [np.tile(triangle if a == b else full, l_max + 1) for a, b in pairs]
    starts = np.concatenate(([0], np.cumsum([len(s) for s in sections])))
    blocks = np.array([(a, b, start) for (a, b), start in zip(pairs, starts)], dtype=np.int64)
    prefactor = np.pi * np.sqrt(8.0 / (2.0 * np.arange(l_max + 1) + 1.0))
    prefactors = [np.repeat(prefactor, len(s) // (l_max + 1)) for s in sections]
    scale = np.concatenate(sections)
    n_channels = {"mu2": 1, "mu1nu1": n_species + 1}.get(compression, n_species)
    total = n_species if compression == "mu1nu1" else -1
    return FeatureLayout(n_channels, total, blocks, np.concatenate(prefactors) * scale, scale)
