"""Does a long-range descriptor win? LODE's kernels beside SOAP against the learned sums of 1/r, same data, same SOAP.

    OMP_NUM_THREADS=1 RAYON_NUM_THREADS=1 python benchmarks/lode.py ions                     needs featomic, tblite
    OMP_NUM_THREADS=1 RAYON_NUM_THREADS=1 python benchmarks/lode.py salt DATA/NaCl/NaCl_rd.xyz [--full]

A. Grisafi and M. Ceriotti, J. Chem. Phys. 151, 204105 (2019): around every atom the potentials V of the atoms of each
species, smeared by σ and decaying as 1/r, are expanded in Gaussian-type orbitals and real spherical harmonics. The
invariants are V ⊗ V as there, or ρ ⊗ V with the density ρ of Gaussians ("multi-scale": A. Grisafi, J. Nigam and
M. Ceriotti, Chem. Sci. 12, 2078 (2021)). Coefficients and their gradients are featomic's: of `LodeSphericalExpansion`
in cells; in molecules of `SphericalExpansion` with splines of the same integrals, exact to 40 Å. A sparse Gaussian
process with 60 points for each species enters gapkit's fit as explicit features K_tM L⁻ᵀ (K_MM = L Lᵀ), so that
everything else of the models is the same. featomic has no strain gradients of LODE: fits are without stress.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers
from ase.io import read
from featomic import LodeSphericalExpansion, SphericalExpansion
from featomic.basis import Gto, TensorProduct
from featomic.cutoff import Cutoff, ShiftedCosine
from featomic.density import Gaussian, SmearedPowerLaw
from featomic.splines import SoapSpliner
from long_range import BANDS, PLUS_MINUS, Ions, cell_errors, frequencies, pair_errors
from scipy.linalg import solve_triangular
from scipy.special import eval_legendre

from gapkit import GAP, SOAP, DotProduct, Features, Linear, LongRange, Pair, Term

FAR = 40.0  # Å, of the splines for molecules


class Settings(NamedTuple):
    """What LODE has to choose."""

    smearing: float = 1.0  # Å
    radius: float = 3.0  # Å, of the orbitals
    n_max: int = 2
    l_max: int = 2
    multiscale: bool = True
    zeta: int = 1
    exponent: int = 1

    @property
    def name(self) -> str:
        kind = "ρ⊗V" if self.multiscale else "V⊗V"
        return f"{kind}, ζ {self.zeta}, σ {self.smearing}, {self.radius} Å, n {self.n_max}, l {self.l_max}"


class MoleculeSpliner(SoapSpliner):
    """Integrals of any density by Gauss–Legendre quadrature, for all distances at once."""

    def _ri_custom_density(self, radial: int, angular: int, distances: np.ndarray, derivative: bool) -> np.ndarray:
        basis = self.basis.radial_basis(angular)
        (x, wx), (u, wu) = np.polynomial.legendre.leggauss(80), np.polynomial.legendre.leggauss(60)
        top = min(basis.integration_radius, 4 * basis.radius)
        r, d = (0.5 * top * (x + 1))[:, None], np.asarray(distances)[:, None, None]
        t = np.sqrt(r**2 + d**2 - 2 * r * d * u) + 1e-12
        density = self.density.compute(t.ravel(), derivative=derivative).reshape(t.shape)
        if derivative:
            density = density * (d - u * r) / t
        weight = 0.5 * top * wx[:, None] * wu * r**2 * eval_legendre(angular, u)
        radial_part = basis.compute_primitive(r[:, 0], radial, derivative=False)[:, None]
        return 2 * np.pi * np.einsum("dru,ru->d", density, weight * radial_part)


@lru_cache
def calculators(s: Settings, periodic: bool) -> tuple[Any, Any]:
    """Of V and, if wanted, of ρ."""
    density = SmearedPowerLaw(smearing=s.smearing, exponent=s.exponent)
    basis = TensorProduct(max_angular=s.l_max, radial=Gto(max_radial=s.n_max - 1, radius=s.radius))
    if periodic:
        far = LodeSphericalExpansion(density=density, basis=basis)
    else:
        spliner = MoleculeSpliner(cutoff=Cutoff(FAR, None), density=density, basis=basis, n_spline_points=401)
        far = SphericalExpansion(**spliner.get_hypers())
    if not s.multiscale:
        return far, None
    radial = Gto(max_radial=3, radius=4.0)
    near = SphericalExpansion(
        cutoff=Cutoff(4.0, ShiftedCosine(width=0.5)),
        density=Gaussian(width=0.5),
        basis=TensorProduct(max_angular=s.l_max, radial=radial),
    )
    return far, near


class Expansion(NamedTuple):
    """Coefficients (atoms, channels, (l_max + 1)²), and gradients (atoms, channels, (l_max + 1)², atoms, 3)."""

    values: np.ndarray
    gradients: np.ndarray | None


LAST: dict[int, tuple[bytes, Any]] = {}


def computed(calculator: Any, atoms: Atoms, slope: bool) -> Any:
    """featomic's answer, kept for the other species of the same structure."""
    state = atoms.positions.tobytes() + atoms.cell.array.tobytes() + bytes([slope])
    if LAST.get(id(calculator), (b"",))[0] != state:
        LAST[id(calculator)] = state, calculator.compute(atoms, gradients=["positions"] if slope else [])
    return LAST[id(calculator)][1]


def expansion(calculator: Any, atoms: Atoms, centre: int, species: Sequence[int], l_max: int, slope: bool) -> Expansion:
    """Of the atoms of one species."""
    found = computed(calculator, atoms, slope)
    own, n = np.flatnonzero(atoms.numbers == centre), len(atoms)
    place = np.full(n, -1)
    place[own] = np.arange(len(own))
    n_max = len(found.block(0).properties)
    c = np.zeros((len(own), len(species), n_max, (l_max + 1) ** 2))
    dc = np.zeros((len(own), len(species), n_max, (l_max + 1) ** 2, n, 3)) if slope else None
    for key, block in found.items():
        if key["center_type"] != centre or key["neighbor_type"] not in species or not len(block.samples):
            continue
        l, b = key["o3_lambda"], species.index(key["neighbor_type"])
        rows, part = place[block.samples["atom"]], slice(l * l, (l + 1) ** 2)
        c[rows, b, :, part] = block.values.transpose(0, 2, 1)
        if dc is not None:
            g = block.gradient("positions")  # (samples, 3, 2l + 1, n)
            dc[rows[g.samples["sample"]], b, :, part, g.samples["atom"]] += g.values.transpose(0, 3, 2, 1)
    shape = (len(own), -1, (l_max + 1) ** 2)
    return Expansion(c.reshape(shape), None if dc is None else dc.reshape(*shape, n, 3))


@dataclass
class Lode:
    """Features of a sparse Gaussian process of LODE's invariants; `choose` takes its points from training frames."""

    species: list[str]
    settings: Settings = field(default_factory=Settings)
    n_sparse: int = 60
    points: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    centres: dict[int, tuple[np.ndarray, float]] = field(default_factory=dict)

    @property
    def n_features(self) -> int:
        return sum(len(L) for _, L in self.points.values())

    def validate(self) -> None:
        """Nothing to refuse."""

    def check_species(self, numbers: np.ndarray) -> None:
        """Nothing to refuse."""

    @property
    def numbers(self) -> list[int]:
        return [atomic_numbers[s] for s in self.species]

    def parts(self, atoms: Atoms, centre: int, slope: bool) -> tuple[Expansion, Expansion]:
        far, near = calculators(self.settings, bool(atoms.pbc.all()))
        V = expansion(far, atoms, centre, self.numbers, self.settings.l_max, slope)
        return (V if near is None else expansion(near, atoms, centre, self.numbers, self.settings.l_max, slope)), V

    @property
    def weights(self) -> np.ndarray:
        """1/√(2l + 1) for each (l, m)."""
        l_max = self.settings.l_max
        return np.concatenate([np.full(2 * l + 1, (2 * l + 1) ** -0.5) for l in range(l_max + 1)])

    def invariants(self, a: Expansion, b: Expansion) -> np.ndarray:
        """Σ_m a_xlm b_ylm/√(2l + 1), shape (atoms, x, y, l)."""
        product = np.einsum("ixk,iyk->ixyk", a.values * self.weights, b.values, optimize=True)
        starts = [l * l for l in range(self.settings.l_max + 1)]
        return np.add.reduceat(product, starts, axis=3)

    def choose(self, frames: Sequence[Atoms], seed: int = 0) -> Lode:
        """Centre and scale the invariants of each species, and take farthest points."""
        for centre in self.numbers:
            x = np.concatenate(
                [self.invariants(*self.parts(a, centre, False)).reshape((a.numbers == centre).sum(), -1)
                 for a in frames if centre in a.numbers]
            )  # fmt: skip
            mean = x.mean(axis=0)
            scale = float(np.sqrt(np.mean(np.sum((x - mean) ** 2, axis=1))))
            x = (x - mean) / scale
            x = x[farthest(x, self.n_sparse, seed)]
            K = (1.0 + x @ x.T) ** self.settings.zeta
            self.points[centre] = x, np.linalg.cholesky(K + 1e-9 * np.trace(K) / len(K) * np.eye(len(K)))
            self.centres[centre] = mean, scale
        return self

    def __call__(self, atoms: Atoms) -> Features:
        n, first = len(atoms), 0
        values, positions = np.zeros((n, self.n_features)), np.zeros((n, 3, self.n_features))
        for centre, (points, L) in self.points.items():
            own, columns = atoms.numbers == centre, slice(first, first + len(L))
            first += len(L)
            if own.any():
                k, slope = self.kernels(atoms, centre, points)
                values[own, columns] = solve_triangular(L, k.T, lower=True).T
                positions[:, :, columns] = solve_triangular(L, slope.reshape(-1, len(L)).T, lower=True).T.reshape(
                    n, 3, -1
                )
        return Features(values, positions, np.zeros((6, self.n_features)))

    def kernels(self, atoms: Atoms, centre: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """k(x_i, x_m) of the atoms of a species, and the derivatives of its sum over them by all positions."""
        a, b = self.parts(atoms, centre, True)
        x, (mean, scale), zeta = self.invariants(a, b), self.centres[centre], self.settings.zeta
        base = 1.0 + ((x.reshape(len(x), -1) - mean) / scale) @ points.T
        l = np.repeat(np.arange(x.shape[3]), 2 * np.arange(x.shape[3]) + 1)
        g = points.reshape(len(points), *x.shape[1:])[..., l] * self.weights / scale  # (m, x, y, k)
        outer = zeta * base ** (zeta - 1)
        slope = np.zeros((len(atoms), 3, len(points)))
        for own, other, rule in ((a, b, "mxyk,iyk->imxk"), (b, a, "mxyk,ixk->imyk")):
            by_coefficient = np.einsum(rule, g, other.values, optimize=True) * outer[:, :, None, None]
            slope += np.tensordot(own.gradients, by_coefficient, axes=((0, 1, 2), (0, 2, 3)))
        return base**zeta, slope


def farthest(x: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Indices of at most n points, each the farthest from those before."""
    chosen = [int(np.random.default_rng(seed).integers(len(x)))]
    distance = np.sum((x - x[chosen[0]]) ** 2, axis=1)
    while len(chosen) < min(n, len(x)) and distance.max() > 1e-12:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.sum((x - x[chosen[-1]]) ** 2, axis=1))
    return np.array(chosen)


def check_slopes(function: Any, atoms: Atoms) -> float:
    """Largest difference between a feature's derivative and the difference of its values, relative to the largest."""
    found, step, worst = function(atoms), 1e-4, 0.0
    for i, axis in ((0, 0), (1, 2)):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, axis] += sign * step
            ends.append(function(moved).values.sum(axis=0))
        worst = max(worst, np.abs((ends[0] - ends[1]) / (2 * step) - found.positions[i, axis]).max())
    return worst / np.abs(found.positions).max()


def seconds(function: Any, atoms: Atoms) -> float:
    """Of features and derivatives, in a call after others."""
    LAST.clear()
    start = time.perf_counter()
    function(atoms)
    return time.perf_counter() - start


def values_alone(function: Any, atoms: Atoms) -> str:
    """featomic's time for the coefficients V without gradients, ms/atom."""
    if not isinstance(function, Lode):
        return "–"
    calculator, _ = calculators(function.settings, True)
    start = time.perf_counter()
    calculator.compute(atoms)
    return f"{1e3 * (time.perf_counter() - start) / len(atoms):.2f}"


def long_range(function: Any) -> list[Linear]:
    """The linear term of these features, if any; its amplitude is learned from this start."""
    return [] if function is None else [Linear(function, delta=1.0 if isinstance(function, Lode) else 15.0)]


def ions(options: argparse.Namespace) -> None:
    data = Ions()
    species = list(data.charges)
    train = data.pairs(3.8, 8.0, 40, seed=0) + data.singles(20, seed=1)
    tests = [data.pairs(*band, 20, seed=int(band[0])) for band in BANDS]
    entries: list[tuple[str, Any]] = [("none", None), ("learned 1/r", LongRange(species, (1,)))]
    choices = ((True, 1, 1.0, 3.0), (True, 1, 1.5, 4.0), (True, 2, 1.0, 3.0))
    choices += ((False, 1, 1.0, 3.0), (False, 2, 1.0, 3.0), (False, 2, 1.5, 4.0))
    entries += [(s.name, Lode(species, s)) for s in (Settings(s, r, 2, 2, m, z) for m, z, s, r in choices)]
    print("| long range | log evidence | " + " | ".join(f"{a:.0f}–{b:.0f} Å: E meV, F meV/Å" for a, b in BANDS), end="")
    print(" | slopes | ms/atom |\n|---|---|" + "---|" * (len(BANDS) + 2))
    for name, function in entries:
        if options.only not in name:
            continue
        if isinstance(function, Lode):
            function.choose(train)
        gap = GAP(
            [*data.short_ranged(), *long_range(function)],
            energy_noise=1e-3,
            forces_noise=2e-2,
            e0=data.e0,
            verbose=False,
        )
        gap.fit(train, optimize=["noise", "delta"])
        cells = [f"{gap.posterior_.log_marginal_likelihood:.0f}"]
        cells += ["{:.1f}, {:.1f}".format(*pair_errors(gap, frames)[:2]) for frames in tests]
        if function is None:
            cells += ["–", "–"]
        else:
            cells += [f"{check_slopes(function, train[0]):.0e}", f"{1e3 * seconds(function, train[0]) / 10:.2f}"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def without_stress(atoms: Atoms) -> Atoms:
    out = atoms.copy()
    out.calc = SinglePointCalculator(out, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
    return out


def salt(options: argparse.Namespace) -> None:
    frames = [without_stress(a) for a in read(options.data, ":")]
    small, large = ([a for a in frames if len(a) == n] for n in (64, 512))
    train, test, species = small[::2][:16], small[1::2][:20], ["Na", "Cl"]
    entries: list[tuple[str, Any]] = [("none", None), ("learned 1/r", LongRange(species, (1,)))]
    entries.append(("learned charge²", LongRange(species, (1,), charges=PLUS_MINUS)))
    tries = [
        Settings(1.5, 4.0), Settings(1.5, 4.0, 2, 0), Settings(1.5, 4.0, zeta=2), Settings(1.5, 4.0, multiscale=False),
        Settings(1.5, 4.0, multiscale=False, zeta=2), Settings(1.0, 3.0), Settings(1.5, 4.0, 4, 2)
    ]  # fmt: skip
    entries += [(s.name, Lode(species, s)) for s in tries]
    print("| trained on | long range | log evidence | 64 atoms: E meV/atom | F meV/Å | 512 atoms: F meV/Å |", end="")
    print(" LO 1/8, LO 1/32, LA 1/32 | slopes | ms/atom, 64 | 512 | 512, values |\n|" + "---|" * 11)
    for cells, data in (("16 of 64", train), ("and 1 of 512", train + large[:1]))[: 2 if options.full else 1]:
        for name, function in entries if len(data) == 16 else entries[:6]:
            if options.only not in name:
                continue
            if isinstance(function, Lode):
                function.choose(data)
            soap = Term(SOAP(species, options.cutoff, 6, 4), DotProduct(2, 1.0), 150)
            terms = [soap, Pair(species, cutoff=options.cutoff, delta=1.0), *long_range(function)]
            gap = GAP(terms, energy_noise=1e-5, forces_noise=5e-4, e0=dict.fromkeys(species, -3.5), verbose=False)
            gap.fit(data, optimize=["noise", "delta"])
            (e, f), (_, far) = cell_errors(gap, test), cell_errors(gap, large[1:])
            waves = [frequencies(gap, n, 0) for n in (8, 32)]
            modes = f"{waves[0][1]:.0f}, {waves[1][1]:.0f}, {waves[1][0]:.0f}"
            out = [f"{gap.posterior_.log_marginal_likelihood:.0f}", f"{e:.4f}", f"{f:.3f}", f"{far:.3f}", modes]
            if function is None:
                out += ["–"] * 4
            else:
                out.append(f"{check_slopes(function, train[0]):.0e}")
                out += [f"{1e3 * seconds(function, a) / len(a):.2f}" for a in (train[0], large[1])]
                out.append(values_alone(function, large[1]))
            print(f"| {cells} | {name} | " + " | ".join(out) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ions", "salt"])
    parser.add_argument("data", nargs="?", help="NaCl_rd.xyz, for salt")
    parser.add_argument("--cutoff", type=float, default=5.5, help="Å, of SOAP and Pair for salt")
    parser.add_argument(
        "--full", action="store_true", help="salt with a cell of 512 atoms among the training data, too"
    )
    parser.add_argument("--only", default="", help="rows whose name holds this")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.what == "salt" and options.data is None:
        parser.error("salt needs the file NaCl_rd.xyz.")
    (salt if options.what == "salt" else ions)(options)


if __name__ == "__main__":
    main()
