"""Where short-ranged models fail and what a learned long range mends: pairs of ions, salt, its LO–TO splitting.

    OMP_NUM_THREADS=1 python benchmarks/long_range.py ions [--figures benchmarks/figures]    needs tblite, matplotlib
    OMP_NUM_THREADS=1 python benchmarks/long_range.py salt DATA/NaCl/NaCl_rd.xyz

Each with SOAP + Pair alone, with `Linear(LongRange(…))` beside them, and on top of the Ewald energy of fixed charges.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from ase.optimize import BFGS
from ase.units import _amu, _c, _e

from gapkit import GAP, SOAP, DotProduct, Linear, LongRange, Pair, Term
from gapkit.baselines import Ewald
from gapkit.quantities import COULOMB
from gapkit.uncertainty.coefficients import Coefficients, linear_coefficients

Models = dict[str, GAP]
Fits = dict[tuple[float, str], Models]

# -- pairs of molecular ions ----------------------------------------------------------------------------------------

SHORT, LEARNED, FIXED = "SOAP + Pair", "… + learned LongRange", "… on fixed charges"
TETRAHEDRON = np.array([[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]) / np.sqrt(3)
IONS = {"NH4": (Atoms("NH4", 1.03 * TETRAHEDRON), 1), "BF4": (Atoms("BF4", 1.40 * TETRAHEDRON), -1)}
PAIRS = (("NH4", "BF4"), ("NH4", "NH4"), ("BF4", "BF4"))
BANDS = ((4.0, 8.0), (8.0, 12.0), (12.0, 16.0), (16.0, 20.0))  # Å
RATTLE = 0.03  # Å


def labelled(atoms: Atoms, charge: int) -> Atoms:
    """The molecule with energy and forces of GFN2-xTB."""
    from tblite.ase import TBLite

    work, out = atoms.copy(), atoms.copy()
    work.calc = TBLite(method="GFN2-xTB", charge=charge, verbosity=0)
    out.calc = SinglePointCalculator(out, energy=work.get_potential_energy(), forces=work.get_forces())
    out.info.update(charge=charge)
    return out


def relaxed(name: str) -> tuple[Atoms, np.ndarray]:
    """An ion in its minimum, and its Mulliken charges."""
    from tblite.ase import TBLite

    shape, charge = IONS[name]
    atoms = shape.copy()
    atoms.calc = TBLite(method="GFN2-xTB", charge=charge, verbosity=0)
    BFGS(atoms, logfile=None).run(fmax=1e-4)
    return Atoms(atoms.numbers, atoms.positions - atoms.positions[0]), atoms.calc.get_charges()


def turned(atoms: Atoms, rng: np.random.Generator, rattle: float = RATTLE) -> Atoms:
    """The ion, rotated at random and rattled."""
    out = atoms.copy()
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    out.positions = out.positions @ (q * np.sign(np.linalg.det(q))) + rng.normal(scale=rattle, size=(len(out), 3))
    return out


class Ions:
    """Labelled pairs of ions and single ions, in any number."""

    def __init__(self) -> None:
        found = {name: relaxed(name) for name in IONS}
        self.shapes = {name: shape for name, (shape, _) in found.items()}
        self.charges = {s: float(q[shape.symbols == s].mean()) for shape, q in found.values() for s in shape.symbols}
        self.e0 = {s: labelled(Atoms(s), 0).get_potential_energy() for s in self.charges}

    def pair(self, names: tuple[str, str], r: float, rng: np.random.Generator, rattle: float = RATTLE) -> Atoms:
        """Two ions whose central atoms are about r apart, turned at random; GFN2-xTB labels."""
        first, second = (turned(self.shapes[name], rng, rattle) for name in names)
        second.translate([r, 0, 0])
        return labelled(first + second, sum(IONS[name][1] for name in names))

    def pairs(self, low: float, high: float, n: int, seed: int) -> list[Atoms]:
        """n pairs of each kind, spread evenly over a range of distances."""
        rng = np.random.default_rng(seed)
        return [self.pair(names, r, rng) for names in PAIRS for r in rng.uniform(low, high, n)]

    def singles(self, n: int, seed: int) -> list[Atoms]:
        """n single ions of each kind."""
        rng = np.random.default_rng(seed)
        return [labelled(turned(self.shapes[name], rng), IONS[name][1]) for name in IONS for _ in range(n)]

    def short_ranged(self, cutoff: float = 6.0) -> list:
        """SOAP and pairs."""
        species = list(self.charges)
        return [Term(SOAP(species, cutoff, 6, 4), DotProduct(2, 3.0), 150), Pair(species, cutoff=cutoff, delta=1.0)]

    def models(self, train: Sequence[Atoms], cutoff: float = 6.0) -> Models:
        """The three models, fitted."""
        short = self.short_ranged(cutoff)
        learned = Linear(LongRange(list(self.charges), (1,)), delta=15.0)
        settings = {"energy_noise": 1e-3, "forces_noise": 2e-2, "e0": self.e0, "verbose": False}
        models = {
            SHORT: GAP(short, **settings),
            SHORT.replace("SOAP", "SOAP 9 Å"): GAP(self.short_ranged(9.0), **settings),
            LEARNED: GAP([*short, learned], **settings),
            FIXED: GAP(short, **settings, baseline=[Ewald(self.charges, width=0.5)]),
        }
        return {name: gap.fit(train, optimize=["noise"]) for name, gap in models.items()}


def net_force(atoms: Atoms, forces: np.ndarray) -> float:
    """What pushes the ions apart, eV/Å: half the difference of the net forces along the line of central atoms."""
    line = atoms.positions[5] - atoms.positions[0]
    return float((forces[5:].sum(axis=0) - forces[:5].sum(axis=0)) @ line / np.linalg.norm(line) / 2)


def root_mean_square(x: Sequence[float] | np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def pair_errors(gap: GAP, frames: Sequence[Atoms]) -> tuple[float, float, float]:
    """RMSE of energies (meV per pair) and of the force between the ions (meV/Å), and the mean standard deviation."""
    p = gap.predict(frames, return_std=True)
    energy = [e - a.get_potential_energy() for e, a in zip(p.energy, frames)]
    force = [net_force(a, f) - net_force(a, a.get_forces()) for f, a in zip(p.forces, frames)]
    return 1e3 * root_mean_square(energy), 1e3 * root_mean_square(force), 1e3 * root_mean_square(p.energy_std)


def ions(figures: Path | None) -> None:
    data = Ions()
    train = data.pairs(3.8, 8.0, 40, seed=0) + data.singles(20, seed=1)
    models = data.models(train)
    print(f"charges of {FIXED!r}: " + ", ".join(f"{s} {q:+.3f}" for s, q in data.charges.items()) + " e\n")
    print("| model | distance Å | E RMSE meV/pair | its standard deviation | force between ions, RMSE meV/Å | of |")
    print("|---|---|---|---|---|---|")
    tests = {band: data.pairs(*band, 20, seed=int(band[0])) for band in BANDS}
    for name, gap in models.items():
        for (low, high), frames in tests.items():
            e, f, std = pair_errors(gap, frames)
            size = 1e3 * root_mean_square([net_force(a, a.get_forces()) for a in frames])
            print(f"| {name} | {low:.0f}–{high:.0f} | {e:.1f} | {std:.1f} | {f:.2f} | {size:.0f} |", flush=True)
    print("\n| pair | learned ± std, e² | product of the ions' charges |\n|---|---|---|")
    found = linear_coefficients(models[LEARNED], 2)
    for (a, b), value, sign in zip(PAIRS, *between(data, found)):
        print(f"| {a} {b} | {value[0]:+.4f} ± {value[1]:.4f} | {sign:+d} |")
    if figures is not None:
        draw(data, models, figures)


def between(data: Ions, found: Coefficients) -> tuple[list[tuple[float, float]], list[int]]:
    """Sums over the atoms of two ions of the learned coefficients, over e²/(4πε₀): the product of their charges."""
    values, signs = [], []
    for names in PAIRS:
        row = np.zeros(len(found.names))
        for s in data.shapes[names[0]].symbols:
            for t in data.shapes[names[1]].symbols:
                row[[f"1/r {s}-{t}" in name or f"1/r {t}-{s}" in name for name in found.names]] += 1 / COULOMB
        values.append((float(row @ found.values), float(np.sqrt(row @ found.covariance @ row))))
        signs.append(IONS[names[0]][1] * IONS[names[1]][1])
    return values, signs


def draw(data: Ions, models: Models, folder: Path) -> None:
    """Binding curves of undistorted ions: xTB, and each model with its standard deviation."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    from comparison.plots import STYLE

    distances = np.arange(4.0, 20.1, 0.25)
    alone = {name: labelled(data.shapes[name], IONS[name][1]).get_potential_energy() for name in IONS}
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
        for axes, names in zip(panels, PAIRS):
            frames = [data.pair(names, r, np.random.default_rng(5), 0.0) for r in distances]
            apart = sum(alone[name] for name in names)
            axes.plot(distances, [a.get_potential_energy() - apart for a in frames], "k.", ms=4, label="GFN2-xTB")
            for (name, gap), line in zip(models.items(), ("-", "-", "--", ":")):
                p = gap.predict(frames, return_std=True)
                axes.plot(distances, p.energy - apart, line, label=name)
                axes.fill_between(distances, *(p.energy - apart + k * p.energy_std for k in (-2, 2)), alpha=0.2)
            axes.axvline(8.0, color="0.6", lw=0.8)
            axes.set(xlabel="distance, Å", title=" ".join(names))
        panels[0].set(ylabel="energy of interaction, eV")
        panels[0].legend(fontsize=8)
        figure.savefig(folder / "ions.svg", metadata={"Date": None})


# -- salt -----------------------------------------------------------------------------------------------------------

BORN, EPSILON = 1.090, 2.563  # e; both of the data's own reference method
LATTICE = 11.20657495 / 2  # Å
MASSES = np.array([22.98976928, 35.453])  # u
WAVENUMBER = np.sqrt(_e / _amu) * 1e10 / (2 * np.pi * _c * 100)  # cm⁻¹ per √(eV/Å²/u)
POLAR = 4 * np.pi * COULOMB / (LATTICE**3 / 4) * np.sum(1 / MASSES)  # (ω_LO² - ω_TO²)/charge²
WAVES = (2, 4, 8, 32)
ONE = "… + learned charge²"
PLUS_MINUS = {"Na": 1.0, "Cl": -1.0}


def salt_models(cutoff: float, train: Sequence[Atoms]) -> Models:
    """SOAP and pairs alone, with the long range learned in two ways, and on fixed charges; learned noises."""
    species, q = ["Na", "Cl"], BORN / np.sqrt(EPSILON)
    short = [Term(SOAP(species, cutoff, 6, 4), DotProduct(2, 1.0), 150), Pair(species, cutoff=cutoff, delta=1.0)]
    settings = {"energy_noise": 1e-5, "forces_noise": 5e-4, "virial_noise": 1e-4, "e0": dict.fromkeys(species, -3.5)}
    models = {
        SHORT: GAP(short, **settings, verbose=False),
        LEARNED: GAP([*short, Linear(LongRange(species, (1,)), delta=15.0)], **settings, verbose=False),
        ONE: GAP([*short, Linear(LongRange(species, (1,), charges=PLUS_MINUS), delta=15.0)], **settings, verbose=False),
        FIXED: GAP(short, **settings, baseline=[Ewald({"Na": q, "Cl": -q})], verbose=False),
    }
    return {name: gap.fit(train, optimize=["noise"]) for name, gap in models.items()}


def cell_errors(gap: GAP, frames: Sequence[Atoms]) -> tuple[float, float]:
    """Root-mean-square errors of energy differences (meV/atom) and of forces (meV/Å)."""
    p = gap.predict(frames)
    energies = [(e - a.get_potential_energy()) / len(a) for e, a in zip(p.energy, frames)]
    forces = np.concatenate([f - a.get_forces() for f, a in zip(p.forces, frames)])
    return 1e3 * float(np.std(energies)), 1e3 * root_mean_square(forces)


def frequencies(gap: GAP, n: int, direction: int, step: float = 0.01) -> np.ndarray:
    """ω of both branches at q = (2π/a)(1/n, 0, 0), displaced along `direction`; cm⁻¹, negative if imaginary.

    Each atom is a centre of inversion, so that the dynamical matrix is real: a cosine on one kind answers with
    cosines on both. n = 0: the same for q = 0 in a cell of 64 atoms.
    """
    cell = bulk("NaCl", "rocksalt", a=LATTICE, cubic=True).repeat((n, 1, 1) if n else 2)
    wave = np.cos(2 * np.pi * cell.positions[:, 0] / (n * LATTICE)) if n else np.ones(len(cell))
    kinds = np.array([cell.symbols == s for s in ("Na", "Cl")])
    D = np.empty((2, 2))
    for b, own in enumerate(kinds):
        change = np.zeros((len(cell), 3))
        change[own, direction] = step * wave[own]
        plus, minus = gap.predict([_moved(cell, sign * change) for sign in (1, -1)]).forces
        answer = (minus - plus)[:, direction] / (2 * step)
        D[:, b] = [(answer[kind] @ wave[kind]) / (wave[kind] @ wave[kind]) for kind in kinds]
    D = 0.5 * (D + D.T) / np.sqrt(np.outer(MASSES, MASSES))
    squares = np.linalg.eigvalsh(D)
    return np.sign(squares) * np.sqrt(np.abs(squares)) * WAVENUMBER


def _moved(atoms: Atoms, change: np.ndarray) -> Atoms:
    out = atoms.copy()
    out.positions += change
    return out


def salt(path: str) -> None:
    frames = read(path, ":")
    small, large = ([a for a in frames if len(a) == n] for n in (64, 512))
    train, test = small[::2][:16], small[1::2][:20]
    fits = {
        (cutoff, cells): salt_models(cutoff, data)
        for cells, data in (("16 of 64", train), ("and 1 of 512", train + large[:1]))
        for cutoff in (4.0, 5.5, 7.0)
    }
    print("| trained on | cutoff Å | model | log evidence | 64 atoms: E meV/atom | F meV/Å | 512 atoms: F meV/Å |")
    print("|---|---|---|---|---|---|---|")
    for (cutoff, cells), models in fits.items():
        for name, gap in models.items():
            (e, f), (_, far) = cell_errors(gap, test), cell_errors(gap, large[1:])
            evidence = gap.posterior_.log_marginal_likelihood
            print(f"| {cells} | {cutoff} | {name} | {evidence:.0f} | {e:.4f} | {f:.3f} | {far:.3f} |", flush=True)
    coefficient_table(fits)
    splitting_table(fits)


def coefficient_table(fits: Fits) -> None:
    """Learned products of charges over e², the sum that neutral charges would make 0, and the charge."""
    print("\n| trained on | cutoff Å | Na-Na | Na-Cl | Cl-Cl | Na-Na + 2 Na-Cl + Cl-Cl | q, e | q, one coefficient |")
    print("|---|---|---|---|---|---|---|---|")
    for (cutoff, cells), models in fits.items():
        free, one = (linear_coefficients(models[name], 2) for name in (LEARNED, ONE))
        u, covariance, total = free.values / COULOMB, free.covariance / COULOMB**2, np.array([1.0, 2.0, 1.0])
        parts = [f"{x:+.3f} ± {s:.3f}" for x, s in zip(u, free.std / COULOMB)]
        parts.append(f"{total @ u:+.3f} ± {np.sqrt(total @ covariance @ total):.3f}")
        parts += [charge(-u[1], free.std[1] / COULOMB), charge(one.values[0] / COULOMB, one.std[0] / COULOMB)]
        print(f"| {cells} | {cutoff} | " + " | ".join(parts) + " |")
    print(f"\nZ*/√ε∞ of the data's reference method: {BORN / np.sqrt(EPSILON):.4f} e")


def charge(square: float, std: float) -> str:
    """q ± its standard deviation, from q²."""
    q = np.sqrt(max(square, 0.0))
    return f"{q:.4f} ± {std / (2 * q):.4f}"


def splitting_table(fits: Fits) -> None:
    """Branches along [100]: transverse at Γ, longitudinal at q = (2π/a)/n."""
    print("\n| trained on | cutoff Å | model | TO, Γ | " + " | ".join(f"LO, 1/{n}" for n in WAVES), end="")
    print(" | √(LO² - TO²), 1/32 | LA, 1/32 |\n|---|---|---|---|---|---|" + "---|" * len(WAVES))
    for (cutoff, cells), models in fits.items():
        for name, gap in models.items():
            transverse = frequencies(gap, 0, 1)[1]
            branches = [frequencies(gap, n, 0) for n in WAVES]
            split = np.sqrt(max(branches[-1][1] ** 2 - transverse**2, 0.0))
            found = [transverse, *(b[1] for b in branches), split, branches[-1][0]]
            print(f"| {cells} | {cutoff} | {name} | " + " | ".join(f"{x:.1f}" for x in found) + " |", flush=True)
    expected = np.sqrt(POLAR * BORN**2 / EPSILON) * WAVENUMBER
    print(f"\nof Born charges and ε∞: √(LO² - TO²) = {expected:.1f} cm⁻¹")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ions", "salt"])
    parser.add_argument("data", nargs="?", help="NaCl_rd.xyz, for salt")
    parser.add_argument("--figures", type=Path, help="folder for ions.svg")
    options = parser.parse_args()
    if options.what == "salt":
        if options.data is None:
            parser.error("salt needs the file NaCl_rd.xyz.")
        salt(options.data)
    else:
        ions(options.figures)


if __name__ == "__main__":
    main()
