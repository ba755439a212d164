"""A potential that predicts what it was told to, and frames to predict: for tests of everything after the fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit import GAP, SOAP, Term
from gapkit.evaluation.recalibration import Recalibration
from gapkit.fitting.noise import Noises
from gapkit.gaussian_process.conditioning import Conditioning
from gapkit.terms.basis import Basis
from gapkit.terms.protocol import AdditiveTerm
from gapkit.terms.records import SparseBlock

ENERGY_NOISE = {"bulk": 0.002, "slab": 0.004}  # eV/atom
POSTERIOR = SimpleNamespace(conditioning=Conditioning(3, 3, 0.5, (), 1e-10), log_marginal_likelihood=-12.5, n_rows=99)


@dataclass
class FakeGAP:
    """Looks predictions up by ``atoms.info["frame"]``; has every attribute of a fitted GAP, parameters included."""

    known: dict[int, SimpleNamespace] = field(default_factory=dict)
    terms: Sequence[AdditiveTerm] = (Term(SOAP(["Si"], 5.0)),)
    energy_noise: float = 0.002
    forces_noise: float = 0.05
    virial_noise: float = 0.02
    e0: dict[str, float] | None = None
    jitter: float = 1e-10
    random_state: int = 0
    verbose: bool = False
    baseline: Sequence[object] = ()
    optimize: bool | str | Sequence[str] = False
    e0_: dict[str, float] = field(default_factory=lambda: {"Si": -4.5, "O": -2.0})
    species_: Sequence[str] = ("O", "Si")
    training_: dict[str, object] = field(default_factory=lambda: {"n_structures": 77, "sha256": "5eed"})
    noise_: Noises = field(default_factory=lambda: Noises({**ENERGY_NOISE, "default": 0.002}, 0.05, 0.02))
    posterior_: SimpleNamespace = field(default_factory=lambda: POSTERIOR)
    alpha_: np.ndarray = field(default_factory=lambda: np.zeros(3))
    baseline_: Sequence[object] = ()
    folds_: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    factors_: dict[tuple[str, str], object] | None = None
    frames_: Counter[int] = field(default_factory=Counter)
    references_: Sequence[object] = ()
    selection_: dict[tuple[int, str], dict[str, object]] = field(default_factory=dict)
    hyperparameters_: Sequence[dict[str, object]] = ()
    optimum_: object | None = None
    memory_: object | None = None
    recalibration_: Recalibration | None = None
    conformal_: dict[str, object] = field(default_factory=dict)

    @property
    def basis_(self) -> Basis:
        return Basis(tuple(self.terms), ())

    @property
    def terms_(self) -> tuple[AdditiveTerm, ...]:
        return self.basis_.terms

    @property
    def blocks_(self) -> tuple[SparseBlock, ...]:
        return self.basis_.blocks

    def get_params(self, deep: bool = True) -> dict[str, object]:
        return {name: getattr(self, name) for name in GAP._get_param_names()}

    def noise_std(self, kind: str, config_type: str) -> float:
        """As `GAP.noise_std`: by config type for energies, one number for the others."""
        if kind == "energy":
            return ENERGY_NOISE.get(config_type, self.energy_noise)
        return {"forces": self.forces_noise, "virial": self.virial_noise}[kind]

    def predict(self, structures: Sequence[Atoms], return_std: bool | str = False) -> SimpleNamespace:
        """What is known of the structures, in the shapes of `Predictions`."""
        frames = [self.known[atoms.info["frame"]] for atoms in structures]
        return SimpleNamespace(
            energy=np.array([frame.energy for frame in frames]),
            forces=[frame.forces for frame in frames],
            stress=[frame.stress for frame in frames],
            energy_std=np.array([frame.energy_std for frame in frames]) if return_std else None,
            forces_std=[frame.forces_std for frame in frames] if return_std == "all" else None,
            stress_std=[frame.stress_std for frame in frames] if return_std == "all" else None,
        )


def make_frames(
    n: int, seed: int = 0, config_types: Sequence[str] = ("bulk", "slab"), size: tuple[int, int] = (2, 5)
) -> tuple[list[Atoms], FakeGAP]:
    """Random frames with energy, forces and stress labels, and a potential that is wrong by known Gaussian errors."""
    rng = np.random.default_rng(seed)
    gap, frames = FakeGAP(), []
    for index in range(n):
        n_atoms = int(rng.integers(size[0], size[1] + 1))
        name = config_types[index % len(config_types)]
        # an oblique cell, so that a wrong volume or component order shows
        cell = np.diag(rng.uniform(4.0, 6.0, 3)) + np.array([[0, 0, 0], [0.7, 0, 0], [0.3, 0.9, 0]])
        atoms = Atoms(
            rng.choice(["O", "Si"], n_atoms), cell=cell, pbc=True, scaled_positions=rng.uniform(size=(n_atoms, 3))
        )
        atoms.info |= {"frame": index, "config_type": name}
        energy_std = n_atoms * rng.uniform(0.001, 0.006)
        energy = n_atoms * (-5.0 + 0.3 * rng.normal())
        forces, stress = rng.normal(0.0, 2.0, (n_atoms, 3)), rng.normal(0.0, 0.05, (3, 3))
        stress = stress + stress.T
        total_std = np.hypot(energy_std, n_atoms * ENERGY_NOISE.get(name, gap.energy_noise))
        noise = rng.normal(0.0, 0.002, (3, 3))
        forces_std = 0.1 * (1.0 + 0.5 * np.abs(forces))
        # noise + noiseᵀ has the variance 4 · 0.002² on the diagonal and 2 · 0.002² beside it
        stress_std, stress_noise = (
            0.002 * np.sqrt(2.0 + 2.0 * np.eye(3)),
            gap.virial_noise * n_atoms / atoms.cell.volume,
        )
        gap.known[index] = SimpleNamespace(
            energy=energy + total_std * rng.normal(),
            energy_std=energy_std,
            forces=forces + rng.normal(size=(n_atoms, 3)) * forces_std,
            forces_std=np.sqrt(forces_std**2 - gap.forces_noise**2),
            stress=stress + noise + noise.T,
            stress_std=np.sqrt(stress_std**2 - stress_noise**2),
        )
        voigt = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=voigt)
        frames.append(atoms)
    return frames, gap
