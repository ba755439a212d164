"""Laws that every potential must obey; each takes `predict(atoms) -> (energy, forces, stress)`."""

from __future__ import annotations

from collections.abc import Callable

import naive
import numpy as np
from ase import Atoms
from expected_warnings import extrapolation

from gapkit import Pair, Triplet
from gapkit.terms import whitening

Predict = Callable[[Atoms], tuple[float, np.ndarray, np.ndarray | None]]


def predictor(gap) -> Predict:
    """The first structure's energy, forces and stress of a fitted GAP, which warns where it extrapolates."""

    def predict(atoms):
        with extrapolation(gap, atoms):
            p = gap.predict(atoms)
        return float(p.energy[0]), p.forces[0], p.stress[0]

    # round-off of an energy, eV: weights that nearly cancel times kernels of 16 digits, s and φ(s) both rounded
    predict.round_off = 0.0
    for block in gap.blocks_:
        term, alpha = gap.terms[block.term], gap.alpha_[block.columns]
        if term.environment_kernel is None:  # sums of exponentials with weights δ² W α
            n = {Pair: (2, 1), Triplet: (3, 3)}.get(type(term))
            weights = alpha if n is None else whitening.split(block.X, *n).weights(alpha)
            predict.round_off += 2e-16 * term.delta**2 * float(np.abs(weights).sum())
            continue
        value, slope = term.kernel.value_and_slope(np.ones((1, 1)))
        predict.round_off += 2e-16 * np.abs(alpha).sum() * float(value[0, 0] + slope[0, 0])
    return predict


def displaced(atoms: Atoms, i: int, a: int, h: float) -> Atoms:
    """A copy with coordinate a of atom i moved by h, Å."""
    moved = atoms.copy()
    moved.positions[i, a] += h
    return moved


def strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    """A copy with cell and positions multiplied by 1 + ε."""
    moved = atoms.copy()
    moved.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return moved


def derivative(f: Callable[[float], float], h: float = 5e-3) -> float:
    """f'(0) by central differences of sixth order.

    A fitted potential is a sum of large weights that nearly cancel, so that its energy carries round-off of about
    1e-16 Σ|α|δ² (`predict.round_off`): the step must be large for that, hence the high order.
    Laws built on this can ask for no more than 2·round_off/h, but need nothing except `predict`; without energy
    differences `check_exact_derivatives` asks for 1e-8.
    """
    d = [(f(k * h) - f(-k * h)) / (2 * k * h) for k in (1, 2, 3)]
    return 1.5 * d[0] - 0.6 * d[1] + 0.1 * d[2]


def finite_difference_forces(predict: Predict, atoms: Atoms, which, h: float = 5e-3) -> np.ndarray:
    """-∂E/∂r of the atoms `which`, eV/Å, shape (len(which), 3)."""

    def slope(i, a):
        return derivative(lambda x: predict(displaced(atoms, i, a, x))[0], h)

    return np.array([[-slope(i, a) for a in range(3)] for i in which])


def finite_difference_stress(predict: Predict, atoms: Atoms) -> np.ndarray:
    """(1/V) dE/dε, eV/Å³, shape (3, 3)."""
    stress = np.zeros((3, 3))
    for a in range(3):
        for b in range(3):
            unit = np.zeros((3, 3))
            unit[a, b] += 0.5
            unit[b, a] += 0.5
            energy = lambda h, unit=unit: predict(strained(atoms, h * unit))[0]  # noqa: E731
            stress[a, b] = derivative(energy, 2e-3) / atoms.get_volume()
    return stress


def check_forces(predict: Predict, atoms: Atoms, atol: float = 5e-8, n: int = 3, h: float = 5e-3) -> None:
    """Forces are minus the slope of the energies that `predict` gives.

    The bound grows by 2·round_off/h, which is what h leaves of the energies' own round-off. The step must be so short
    that no pair nearly at a cutoff, where only few derivatives are continuous, crosses it.
    """
    which = np.linspace(0, len(atoms) - 1, min(n, len(atoms))).astype(int)
    forces = predict(atoms)[1]
    atol += 2 * getattr(predict, "round_off", 0.0) / h
    np.testing.assert_allclose(forces[which], finite_difference_forces(predict, atoms, which, h), atol=atol, rtol=1e-8)


def check_stress(predict: Predict, atoms: Atoms, atol: float = 5e-8) -> None:
    """The stress is the strain derivative per volume; the bound holds the round-off term of `check_forces`."""
    atol += 2 * getattr(predict, "round_off", 0.0) / 2e-3 / atoms.get_volume()
    np.testing.assert_allclose(predict(atoms)[2], finite_difference_stress(predict, atoms), atol=atol, rtol=1e-8)


def check_exact_energy(gap, atoms: Atoms) -> None:
    """The energy equals the sum of its terms, to the round-off of that sum and 1e-10 eV of the radial table."""
    exact = float(naive.energy(gap, atoms))
    atol = len(atoms) * predictor(gap).round_off + 1e-10
    np.testing.assert_allclose(predictor(gap)(atoms)[0], exact, rtol=1e-14, atol=atol)


def check_exact_derivatives(gap, atoms: Atoms, atol: float = 1e-8, n: int | None = None) -> None:
    """Forces (eV/Å) of `n` atoms and stress (eV/Å³) equal the complex-step derivative of the twin's energy.

    No energies are subtracted, so that the bound has no round-off term; gapkit's own round-off is within it.
    """
    which = np.linspace(0, len(atoms) - 1, min(n or len(atoms), len(atoms))).astype(int)
    _, forces, stress = predictor(gap)(atoms)
    np.testing.assert_allclose(forces[which], naive.exact_forces(gap, atoms, which), rtol=0, atol=atol)
    if stress is not None:
        np.testing.assert_allclose(stress, naive.exact_stress(gap, atoms), rtol=0, atol=atol)


def check_momentum(predict: Predict, atoms: Atoms) -> None:
    """Translation: forces sum to zero, energy does not change."""
    energy, forces, _ = predict(atoms)
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-9)
    moved = atoms.copy()
    moved.positions += [0.31, -1.7, 12.3]
    np.testing.assert_allclose(predict(moved)[0], energy, rtol=1e-12, atol=1e-9)


def check_rotation(predict: Predict, atoms: Atoms, seed: int = 0) -> None:
    """Energy is invariant, forces and stress turn along."""
    R = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ R.T)
    turned.positions = atoms.positions @ R.T
    (e, f, s), (e_r, f_r, s_r) = predict(atoms), predict(turned)
    np.testing.assert_allclose(e_r, e, atol=1e-9)
    np.testing.assert_allclose(f_r, f @ R.T, atol=1e-8)
    if s is not None:
        np.testing.assert_allclose(s_r, R @ s @ R.T, atol=1e-10)


def check_permutation(predict: Predict, atoms: Atoms, seed: int = 0) -> None:
    """The order of the atoms does not matter, and forces go along with them."""
    order = np.random.default_rng(seed).permutation(len(atoms))
    (e, f, _), (e_p, f_p, _) = predict(atoms), predict(atoms[order])
    np.testing.assert_allclose(e_p, e, atol=1e-9)
    np.testing.assert_allclose(f_p, f[order], atol=1e-9)


def check_lattice_translation(predict: Predict, atoms: Atoms) -> None:
    """Moving one atom by a lattice vector changes nothing."""
    moved = atoms.copy()
    moved.positions[0] += atoms.cell.array[0] - 2 * atoms.cell.array[2]
    (e, f, _), (e_m, f_m, _) = predict(atoms), predict(moved)
    np.testing.assert_allclose(e_m, e, atol=1e-9)
    np.testing.assert_allclose(f_m, f, atol=1e-8)


def check_supercell(predict: Predict, atoms: Atoms) -> None:
    """A repeated cell has the same forces and stress and twice the energy."""
    (e, f, s), (e_2, f_2, s_2) = predict(atoms), predict(atoms.repeat((2, 1, 1)))
    np.testing.assert_allclose(e_2, 2 * e, atol=1e-9)
    np.testing.assert_allclose(f_2, np.vstack([f, f]), atol=1e-8)
    np.testing.assert_allclose(s_2, s, atol=1e-9)


def check_additivity(predict: Predict, a: Atoms, b: Atoms, cutoff: float) -> None:
    """E(A ∪ B) = E(A) + E(B) beyond the cutoff."""
    far = b.copy()
    far.positions += [cutoff + np.ptp(a.positions[:, 0]) + np.ptp(b.positions[:, 0]) + 1.0, 0, 0]
    far.positions[:, 0] += a.positions[:, 0].max() - b.positions[:, 0].min()
    both = a + far
    np.testing.assert_allclose(predict(both)[0], predict(a)[0] + predict(b)[0], atol=1e-9)
    np.testing.assert_allclose(predict(both)[1], np.vstack([predict(a)[1], predict(b)[1]]), atol=1e-8)


def check_cutoff(predict: Predict, symbols: str, cutoff: float) -> None:
    """Nothing acts at or beyond the cutoff, and energy and force are continuous through it."""

    def dimer(r):
        return predict(Atoms(symbols, [[0, 0, 0], [0, 0, r]]))

    energy, forces, _ = dimer(cutoff + 1e-9)
    apart = dimer(2 * cutoff)
    np.testing.assert_allclose(energy, apart[0], rtol=1e-13)
    np.testing.assert_allclose(forces, 0.0, atol=1e-13)
    energy_in, forces_in, _ = dimer(cutoff - 1e-4)
    assert abs(energy_in - energy) < 1e-6
    assert np.abs(forces_in).max() < 1e-2
    nearer = np.abs(dimer(cutoff - 1e-3)[1]).max()
    assert np.abs(forces_in).max() <= nearer
