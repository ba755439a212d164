"""The stages of one energy + forces + stress call, with their least numbers of operations and bytes.

`build_stages` is what has to change when the loops do. A stage is called for all centres, in blocks as the engine
does, on inputs made once. Letters: P pairs, N centres, n = n_max, L = l_max + 1, q = L² harmonics, F features,
M sparse points. An addition, a multiplication, a division and a root count one operation each; bytes are those of
every array that a stage has to read or write once per block, the radial table's knots once per pair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from comparison.structures import crystal
from roofline_loops import all_harmonics, all_radial

from gapkit import SOAP, DotProduct, Term
from gapkit._numba import kernels as kernel_loops
from gapkit._numba import soap as loops
from gapkit.descriptors.soap_basis import harmonics_norm
from gapkit.gaussian_process.kernels import points
from gapkit.geometry.neighbourhoods import Neighbourhoods, find_neighbourhoods
from gapkit.terms.basis import Basis
from gapkit.terms.evaluate import LARGEST_BLOCK as BLOCK
from gapkit.terms.evaluate import evaluate

CUTOFF, ZETA, WORD = 5.0, 4, 8


class Stage(NamedTuple):
    """A stage: what to time, operations and bytes of all blocks, bytes touched within one block.

    `prepare` runs before every call, outside the clock; a stage `within` another is not counted twice.
    """

    call: Callable[[], object]
    flops: float = 0.0
    bytes: float = 1.0
    working_set: float = 0.0
    prepare: Callable[[], object] = lambda: None
    within: str = ""


class Sizes(NamedTuple):
    """P, N, n, L, F, M, the number of blocks of centres, and the bytes of the whole radial table."""

    P: int
    N: int
    n: int
    L: int
    F: int
    M: int
    blocks: int
    table: int

    @property
    def q(self) -> int:
        return self.L**2

    @property
    def coefficients(self) -> int:
        """Bytes of the density coefficients of one centre."""
        return WORD * self.n * self.q

    @property
    def knots(self) -> int:
        """Bytes of the two knots of the radial table (three arrays each) that one pair reads."""
        return WORD * 6 * self.n * self.L


class Block:
    """Everything that the stages of one block of centres read and write."""

    def __init__(self, soap: SOAP, X: np.ndarray, alpha: np.ndarray, nb: Neighbourhoods, numbers: np.ndarray) -> None:
        self.nb, self.X, self.alpha, self.n_max = nb, X, alpha, soap.n_max
        self.values, self.state = soap.evaluate(nb, numbers)
        self.c, self.layout, self.table = self.state.c, soap._layout, soap._table[0]
        self.norms, self.ones = harmonics_norm(soap.l_max), np.ones(len(self.values))
        self.Q, self.length = points(self.values)
        self.S0 = self.Q @ X.T
        self.S, self.e = self.S0.copy(), np.empty(len(self.S0))
        self.x_bar, self.c_bar = np.empty_like(self.values), np.zeros_like(self.c)
        self.g = np.full((len(nb.j), 3), 1e-3)
        self.forces, self.strain = np.zeros((nb.n_atoms, 3)), np.zeros((3, 3))

    @property
    def pairs(self) -> tuple[Any, ...]:
        """The first arguments of both loops over pairs."""
        nb, table = self.nb, self.table
        return nb.first, self.state.channel, self.state.weight, nb.D, table.inverse_step, table.values, self.norms


def build_stages(n_atoms: int, n_max: int, l_max: int, n_sparse: int) -> tuple[dict[str, Stage], int]:
    """The stages by name, "whole call" among them, and the number of features."""
    atoms = crystal(n_atoms)
    soap = SOAP(["Si"], CUTOFF, n_max, l_max)
    rng = np.random.default_rng(0)
    X, alpha = points(np.abs(rng.normal(size=(n_sparse, soap.n_features))))[0], rng.normal(size=n_sparse)
    all_centres = find_neighbourhoods(atoms, CUTOFF)
    groups = [np.arange(n_atoms)[k : k + BLOCK] for k in range(0, n_atoms, BLOCK)]
    blocks = [Block(soap, X, alpha, all_centres.select(which), atoms.numbers) for which in groups]
    table = soap._table[0].values.nbytes
    sizes = Sizes(len(all_centres.j), n_atoms, n_max, l_max + 1, soap.n_features, n_sparse, len(groups), table)
    basis = Basis.of_points([Term(soap, DotProduct(ZETA), n_sparse)], {(0, 14): X})

    def whole() -> None:
        evaluate(basis.environments(atoms), alpha)

    search = Stage(lambda: find_neighbourhoods(atoms, CUTOFF), *_search(sizes, atoms.get_volume()))
    stages = {"neighbours": search, **_forward(blocks, sizes), **_kernel(blocks, sizes), **_backward(blocks, sizes)}
    return {**stages, "whole call": Stage(whole)}, soap.n_features


def _for_each(blocks: list[Block], function: Callable[[Block], object]) -> Callable[[], None]:
    def call() -> None:
        for block in blocks:
            function(block)

    return call


def _search(z: Sizes, volume: float) -> tuple[float, float, float]:
    """8 operations for each candidate in 27 cells as wide as the cutoff; i, j, S, D of every pair are written."""
    candidates = z.N * 27 * CUTOFF**3 * z.N / volume
    moved = z.P * (8 + 8 + 12 + 24)
    return 8.0 * candidates, moved, moved


def _radial_flops(z: Sizes, derivative: bool) -> float:
    """Six products and five sums per function and pair; the derivative has one product and one sum less."""
    return z.P * (z.n * z.L * (20.0 if derivative else 11.0) + 40.0)


def _harmonic_flops(z: Sizes, gradient: bool) -> float:
    """A, B: 6 each; Π: 6; value: 3 per (l, m ≥ 0); gradient: 22 per (l, m ≥ 0)."""
    half = z.L * (z.L + 1) / 2
    return z.P * (6.0 * (z.L - 1) + 6.0 * z.L * (z.L - 1) / 2 + half * (25.0 if gradient else 3.0))


def _forward(blocks: list[Block], z: Sizes) -> dict[str, Stage]:
    """Pairs to normalised features."""
    radial, harmonic, name = _radial_flops(z, False), _harmonic_flops(z, False), "expansion"
    expansion = radial + harmonic + z.P * z.q * (2.0 * z.n + 1.0)
    apart = z.P * (24.0 + 16.0) + 2.0 * z.N * z.coefficients  # from the table
    spectrum_bytes, rows_bytes = z.N * (z.coefficients + WORD * z.F), 2.0 * WORD * z.N * z.F
    return {
        "radial table": Stage(
            _for_each(blocks, lambda b: all_radial(b.nb.D, b.table.inverse_step, b.table.values)),
            radial, z.P * (z.knots + 24.0), z.table, within=name,
        ),
        "harmonics": Stage(
            _for_each(blocks, lambda b: all_harmonics(b.nb.D, b.norms)),
            harmonic, z.P * (24.0 + WORD * z.q), within=name,
        ),
        name: Stage(
            _for_each(blocks, lambda b: loops.expand(*b.pairs, b.c_bar)),
            expansion, apart + z.P * z.knots, z.table + apart / z.blocks,
        ),
        "power spectrum": Stage(
            _for_each(blocks, lambda b: loops.power_spectrum(b.c, b.n_max, b.layout.blocks, b.layout.factor, b.values)),
            z.N * (z.q * z.n * (z.n + 1.0) + z.F), spectrum_bytes, spectrum_bytes / z.blocks,
        ),
        "normalise": Stage(
            _for_each(blocks, lambda b: kernel_loops.normalise(b.values, b.length)),
            z.N * 3.0 * z.F, rows_bytes, rows_bytes / z.blocks,
        ),
    }  # fmt: skip


def _kernel(blocks: list[Block], z: Sizes) -> dict[str, Stage]:
    """Features to local energies, and the sparse points' weights back to features."""
    gemm, scalar = 2.0 * z.N * z.M * z.F, z.N * z.M * (np.ceil(np.log2(ZETA)) + 5.0)
    gemm_bytes = WORD * (z.N * (z.F + z.M) + z.blocks * z.M * z.F)
    scalar_bytes, project_bytes = 2.0 * WORD * z.N * z.M, 3.0 * WORD * z.N * z.F
    refill = _for_each(blocks, lambda b: np.copyto(b.S, b.S0))  # the scalar kernel overwrites S
    return {
        "kernel GEMM forward": Stage(
            _for_each(blocks, lambda b: np.matmul(b.Q, b.X.T, out=b.S)), gemm, gemm_bytes, gemm_bytes / z.blocks
        ),
        "scalar kernel": Stage(
            _for_each(blocks, lambda b: kernel_loops.power_contract(b.S, b.alpha, ZETA, b.e)),
            scalar, scalar_bytes, scalar_bytes / z.blocks, refill,
        ),
        "kernel GEMM backward": Stage(
            _for_each(blocks, lambda b: np.matmul(b.S, b.X, out=b.x_bar)),
            gemm, gemm_bytes, gemm_bytes / z.blocks, refill,
        ),
        "project": Stage(_for_each(blocks, _project), z.N * 5.0 * z.F, project_bytes, project_bytes / z.blocks),
    }  # fmt: skip


def _project(b: Block) -> None:
    kernel_loops.project(b.x_bar, b.Q, b.ones)  # ones for the lengths, so that repeated calls do not shrink x̄


def _backward(blocks: list[Block], z: Sizes) -> dict[str, Stage]:
    """Cotangents of features to pair gradients, forces and strain derivative."""
    pull = z.N * (2.0 * z.q * z.n**2 + 2.0 * z.F)
    pull_bytes = z.N * (2.0 * z.coefficients + WORD * z.F)
    gradients = _radial_flops(z, True) + _harmonic_flops(z, True) + z.P * z.q * (4.0 * z.n + 8.0)
    gradient_bytes = z.P * (24.0 + 24.0 + 16.0 + z.knots) + z.N * z.coefficients
    scatter_bytes = z.P * (24.0 + 24.0 + 8.0 + 48.0)
    return {
        "power-spectrum pull-back": Stage(_for_each(blocks, _pull), pull, pull_bytes, pull_bytes / z.blocks),
        "pair gradients": Stage(
            _for_each(blocks, lambda b: loops.pair_gradients(*b.pairs, b.c, b.g)),
            gradients, gradient_bytes, z.table + (gradient_bytes - z.P * z.knots) / z.blocks,
        ),
        "scatter": Stage(_for_each(blocks, _scatter), z.P * 24.0, scatter_bytes, scatter_bytes / z.blocks),
    }  # fmt: skip


def _pull(b: Block) -> None:
    loops.power_spectrum_pullback(b.c, b.n_max, b.layout.blocks, b.layout.factor, b.values, b.c_bar)


def _scatter(b: Block) -> None:
    kernel_loops.pair_forces(b.nb.centres, b.nb.first, b.nb.j, b.nb.D, b.g, b.forces, b.strain)
