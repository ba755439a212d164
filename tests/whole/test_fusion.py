"""Hot dynamics of a compressed cell: what a potential does where it has seen nothing, without and with a repulsion."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.verlet import VelocityVerlet
from expected_warnings import CLOSER

from gapkit import GAP, SOAP, ZBL, DotProduct, GAPCalculator, InputError, Term
from gapkit.errors import ExtrapolationWarning
from gapkit.geometry.distances import shortest_distances


class Run(NamedTuple):
    shortest: float  # Å, in the whole run
    drift: float  # eV/atom, largest change of the total energy
    n_steps: int


def crystal(seed: int, scale: float = 1.0) -> Atoms:
    atoms = bulk("Cu", cubic=True).repeat((2, 1, 1))
    atoms.set_cell(atoms.cell.array * scale, scale_atoms=True)
    atoms.rattle(0.03, seed=seed)
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def dynamics(gap: GAP, seed: int, n_steps: int = 400) -> Run:
    """Constant energy from 3000 K at half the volume, 1 fs a step."""
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.set_cell(atoms.cell.array * 0.5 ** (1 / 3), scale_atoms=True)
    spread = np.sqrt(units.kB * 3000 / atoms.get_masses())[:, None]
    velocities = spread * np.random.default_rng(seed).normal(size=(len(atoms), 3))
    atoms.set_velocities(velocities - velocities.mean(axis=0))
    atoms.calc = GAPCalculator(gap)
    dyn, n = VelocityVerlet(atoms, units.fs), len(atoms)
    total, shortest, drift, done = atoms.get_total_energy() / n, np.inf, 0.0, 0
    while True:
        shortest = min(shortest, min(shortest_distances([atoms]).values()))
        drift = max(drift, abs(atoms.get_total_energy() / n - total))
        if shortest < 0.5 or done == n_steps:
            return Run(shortest, drift, done)
        try:
            dyn.run(5)
        except InputError:  # closer than any two atoms may be
            return Run(0.0, drift, done)
        done += 5


@pytest.fixture(scope="module")
def models() -> dict[str, GAP]:
    frames = [crystal(k, 1 + 0.01 * (k - 2)) for k in range(6)]
    term = Term(SOAP(["Cu"], 5.0, n_max=6, l_max=3), DotProduct(4, 3.0), n_sparse=30)
    return {
        name: GAP([term], 0.002, 0.05, 0.05, baseline=baseline, verbose=False).fit(frames)
        for name, baseline in (("bare", []), ("repulsion", [ZBL.from_structures(frames)]))
    }


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_atoms_fuse_without_a_repulsion_and_do_not_with_it(models, seed):
    with pytest.warns(ExtrapolationWarning, match=CLOSER) as caught:
        bare, repulsion = (dynamics(models[name], seed) for name in ("bare", "repulsion"))
    assert len(caught) == 2  # once per calculator
    assert bare.shortest < 0.5
    assert repulsion.n_steps == 400
    assert repulsion.shortest > 1.5
    assert repulsion.drift < 0.01


def test_the_repulsion_changes_nothing_near_the_data(models):
    atoms = crystal(99)
    bare, repulsion = (models[name].predict(atoms) for name in ("bare", "repulsion"))
    np.testing.assert_allclose(repulsion.forces[0], bare.forces[0], atol=1e-9)
    assert np.abs(bare.forces[0] - atoms.get_forces()).max() < 0.2
