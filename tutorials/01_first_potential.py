# %% [markdown]
# # 1. Your first potential
#
# Frames with first-principles labels go in; a potential that knows its own error bars comes out. This lesson reads the
# silicon frames that ship with gapkit (PBE energies, forces and stresses), looks at the labels, fits, predicts, tests,
# saves, and hands the potential to ASE to relax a crystal and to run molecular dynamics.
#
# Every claim is followed by an `assert`: if a lesson stops being true, the script stops. Units are eV and Å throughout.
"""Tutorial 1: read frames, fit, predict with error bars, test, save, relax, run."""

# %%
import tempfile
from pathlib import Path

import numpy as np
from ase import units
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from gapkit import GAP, SOAP, DotProduct, GAPCalculator, Term
from gapkit.datasets import load_silicon
from gapkit.evaluation.calibration import calibration
from gapkit.evaluation.compare import evaluate
from gapkit.structures.reading import describe_structures

# %% [markdown]
# ## Read the frames and look at them
#
# A frame is an `ase.Atoms` with labels. For your own data write `gapkit.read_structures("frames.xyz")` in place of
# `load_silicon("train")`: it finds the labels under any usual name (`energy`, `REF_energy`, `dft_forces`, …), refuses
# what is ambiguous, and puts them in one place. A missing label is missing, never zero. Always look before you fit: how
# many frames of each kind, which labels, how large are the forces?

# %%
train, test = load_silicon("train"), load_silicon("test")
print(describe_structures(train))

families = {atoms.info["config_type"] for atoms in train}
assert {"diamond_volume", "md_300K", "liquid"} <= families
assert all("forces" in atoms.calc.results for atoms in train)

# %% [markdown]
# ## Fit
#
# A potential is a sum of *terms*; each has a descriptor (what an atom's surroundings look like), a kernel (how alike
# two surroundings are) and a number of sparse points (the surroundings that everything is compared with). One SOAP term
# is a good start. The noises say how far the fit may stay from the labels, for whatever reason: unconverged labels, or
# a descriptor that cannot see what made the difference. Lesson 2 shows how to choose them. The energies of the isolated
# atoms, `e0`, are taken from the frames.
#
# Beyond the cutoff nothing acts, and on the way there a neighbour fades: at distance r it counts with the weight
# (1 + 2x³ - 3x²)^smoothness, x = r/cutoff. Choose a cutoff at which the shells that matter still count.

# %%
soap = SOAP(species=["Si"], cutoff=5.5, n_max=8, l_max=6, atom_sigma=0.5)
for r in (2.37, 3.87, 4.54):  # Å, the first three shells of diamond silicon
    x = r / soap.cutoff
    print(f"a neighbour at {r} Å counts {(1 + 2 * x**3 - 3 * x**2) ** soap.smoothness:.2f}")

gap = GAP(
    [Term(soap, DotProduct(zeta=4, delta=5.0), n_sparse=400)],
    energy_noise=0.003,  # eV/atom
    forces_noise=0.1,  # eV/Å
    virial_noise=0.05,  # eV/atom
    verbose=False,
)
gap.fit(train)

print(gap)
print("e0:", gap.e0_)
print(f"{gap.posterior_.n_rows} labels, log marginal likelihood {gap.posterior_.log_marginal_likelihood:.0f}")
assert gap.posterior_.n_rows > 20 * len(train), "forces are most of the labels"

# %% [markdown]
# ## Predict, with error bars
#
# `predict` gives energies, forces, stresses and local energies; with `return_std=True` also the standard deviation of
# each total energy (model only, without the noise of the labels). It is small where the training frames are and large
# far from them: we ask about a test frame, and about close-packed (fcc) silicon, of which there is none in the data.

# %%
known = next(atoms for atoms in test if atoms.info["config_type"].startswith("md_"))
unknown = bulk("Si", "fcc", a=3.6, cubic=True)
p = gap.predict([known, unknown], return_std=True)

n_atoms = np.array([len(known), len(unknown)])
std_per_atom = 1000 * p.energy_std / n_atoms
for name, energy, std in zip(("test frame", "fcc silicon"), p.energy / n_atoms, std_per_atom):
    print(f"{name:12s} {energy:9.4f} eV/atom ± {std:6.2f} meV/atom")
print(f"forces {p.forces[0].shape} eV/Å, stress {p.stress[0].shape} eV/Å³")

assert np.isclose(p.local_energies[0].sum(), p.energy[0]), "the energy is the sum of the local energies"
assert np.abs(p.forces[0].sum(axis=0)).max() < 1e-8, "forces add up to zero"
assert std_per_atom[1] > 5 * std_per_atom[0], "the model should know that it has never seen fcc"

# %% [markdown]
# ## Test
#
# `evaluate` lays predictions and labels side by side, for each kind of label and each family of frames. The column ±
# is the standard error of the RMSE: with few frames, differences smaller than it mean nothing. As a yardstick we take
# the model that knows only the averages; its error is the spread of the labels.

# %%
evaluation = evaluate(gap, test)
print(evaluation.table())

summary = evaluation.summary()
for kind, comparison in evaluation.comparisons.items():
    spread = comparison.displayed().reference.std()
    print(f"{kind:8s} RMSE {summary[kind]['rmse']:8.4g} of a spread of {spread:8.4g} {summary[kind]['unit']}")
    assert summary[kind]["rmse"] < 0.5 * spread

forces = evaluation.forces
crystal = forces.select(np.char.startswith(forces.config_type, "md_"))
liquid = forces.select(forces.config_type == "liquid")
print(f"mean force error: crystal {np.abs(crystal.error).mean():.3f}, liquid {np.abs(liquid.error).mean():.3f} eV/Å")
assert np.abs(crystal.error).mean() < np.abs(liquid.error).mean(), "a hot crystal is easier than a liquid"

# %% [markdown]
# Are the error bars honest? If they are, 68 % of the test energies lie within one of them and 95 % within two. With a
# few dozen test frames the observed fractions are themselves uncertain, so their standard errors are printed too. Error
# bars know the data, the kernel and the noise that you gave; what none of these expresses, they miss. Try a cutoff of
# 4 Å, which hides most of the second shell: the error bars shrink, the errors do not, and this table tells.

# %%
scores = calibration(evaluation.energy)
for level, observed in scores.coverage.items():
    print(f"{level:4.0%} interval holds {observed:4.0%} ± {scores.coverage_se[level]:3.0%} of the test energies")
print(f"spread of z-scores {scores.std_z:.2f} (1 if honest)")
assert 0.4 < scores.std_z < 2.5, "error bars should have the size of the errors"
assert scores.rank_correlation > 0, "larger error bars should go with larger errors"

# %% [markdown]
# ## Save and load
#
# One file holds all that predictions and their error bars need. On loading, it predicts a few frames that it carries
# and compares: a file that gives other numbers than the day it was saved is refused.

# %%
with tempfile.TemporaryDirectory() as name:
    path = Path(name) / "silicon.gap"
    gap.save(path)
    print(f"model file: {path.stat().st_size / 1e6:.1f} MB")
    loaded = GAP.load(path)
assert loaded.predict(known).energy[0] == p.energy[0]

# %% [markdown]
# ## Use it from ASE: relax a crystal
#
# The calculator gives energy, forces and stress to anything in ASE. We stretch the diamond cell, displace its atoms and
# let cell and positions relax together. The frames were made with PBE, whose lattice constant is 5.469 Å.

# %%
crystal = bulk("Si", "diamond", a=5.6, cubic=True)
crystal.rattle(0.05, seed=1)
crystal.calc = GAPCalculator(loaded)
relaxation = BFGS(FrechetCellFilter(crystal), logfile=None)
relaxation.run(fmax=1e-3, steps=200)

lattice_constant = crystal.cell.lengths().mean()
print(f"relaxed in {relaxation.nsteps} steps: a = {lattice_constant:.3f} Å (PBE: 5.469 Å)")
print(f"largest force component left: {np.abs(crystal.get_forces()).max():.1e} eV/Å")
assert abs(lattice_constant - 5.469) < 0.03
assert np.ptp(crystal.cell.lengths()) < 0.01, "diamond is cubic"

# %% [markdown]
# ## Run molecular dynamics
#
# 0.2 ps at constant energy. Forces are exact derivatives of the energy, so the total energy stays where it was; the
# next lesson looks at that more closely. On the way we ask the calculator how sure it is; its error bars have a method
# of their own.

# %%
width = np.sqrt(crystal.get_masses() * units.kB * 600)[:, None]  # momenta of atoms at 600 K
crystal.set_momenta(width * np.random.default_rng(1).normal(size=(len(crystal), 3)))
dynamics = VelocityVerlet(crystal, 1.0 * units.fs)
total_energy = []
for _ in range(10):
    dynamics.run(20)
    total_energy.append(crystal.get_total_energy() / len(crystal))
    std = crystal.calc.uncertainty().energy_std / len(crystal)
    print(
        f"{dynamics.get_time() / units.fs:5.0f} fs  {crystal.get_temperature():4.0f} K  "
        f"total energy {total_energy[-1]:.5f} eV/atom, model ± {1000 * std:.2f} meV/atom"
    )
wander = 1000 * np.ptp(total_energy)
print(f"total energy wandered by {wander:.3f} meV/atom")
assert wander < 0.5
