# %% [markdown]
# # 8. Delta learning
#
# A cheap method often knows most of what a dear one says. Then learn the difference: E = E_cheap + Σ e0 + Σ f(x). Any
# ASE calculator can be that baseline. It is subtracted from energies, forces and stresses before the fit and added to
# each prediction, forces and stresses included. Two things are gained, fewer frames and sane behaviour where data end,
# and one is paid: the cheap method runs in every step.
#
# GFN1-xTB and GFN2-xTB stand here for the cheap and the dear method because tblite computes either in milliseconds.
# They cost the same, so nobody would do this in earnest: read "density functional" for GFN1 and "coupled cluster" for
# GFN2. This lesson needs `pip install tblite` (Linux and macOS).
"""Tutorial 8: learning what a dear method adds to a cheap one, and what may go wrong with it."""

# %%
import os
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before tblite is loaded: the fastest for so few atoms

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from tblite.ase import TBLite

from gapkit import GAP, SOAP, ZBL, DotProduct, ExtrapolationWarning, InputError, Term
from gapkit.baselines import Calculator
from gapkit.evaluation.compare import evaluate

SPECIES = ["H", "C", "O"]
warnings.simplefilter("ignore", ExtrapolationWarning)  # small training sets below are meant to be left
cheap = Calculator("tblite.ase:TBLite", {"method": "GFN1-xTB", "verbosity": 0})


def labelled(atoms: Atoms) -> Atoms:
    """The structure with energy and forces of the dear method."""
    atoms = Atoms(atoms.numbers, atoms.positions)
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    found = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    atoms.calc = SinglePointCalculator(atoms, **found)
    return atoms


# %% [markdown]
# ## Frames from the cheap method
#
# The cheap method is also good for sampling: dynamics of methanol at 600 K with GFN1, and only the frames that are kept
# cost a calculation with GFN2. Isolated atoms give e0. With a baseline, e0 is what the dear method says of an atom less
# what the cheap one says: an e0 that you pass by hand must be that difference, too.

# %%
methanol = molecule("CH3OH")
methanol.calc = TBLite(method="GFN1-xTB", verbosity=0)
rng = np.random.default_rng(0)
dynamics = Langevin(methanol, units.fs, temperature_K=600, friction=0.02 / units.fs, fixcm=False, rng=rng)
dynamics.run(150)
frames = []
for _ in range(80):
    dynamics.run(10)
    frames.append(labelled(methanol))
pool, test = frames[:40], frames[40:]
isolated = [labelled(Atoms(s)) for s in SPECIES]
known = [cheap.evaluate(atoms) for atoms in test]
difference = np.concatenate([p.forces - a.get_forces() for p, a in zip(known, test)])
shift = np.array([p.energy - a.get_potential_energy() for p, a in zip(known, test)])
forces = np.concatenate([a.get_forces() for a in test])
print(f"forces: {np.abs(forces).mean():.3f} eV/Å on average, the two methods differ by {np.abs(difference).mean():.3f}")
print(f"energies: the methods differ by {shift.mean():.1f} eV, of which only {1e3 * shift.std():.0f} meV vary")
assert np.abs(difference).mean() < 0.5 * np.abs(forces).mean(), "the cheap method knows most of it"
assert shift.std() < 0.01 * abs(shift.mean()), "most of the difference is e0"

# %% [markdown]
# ## The learning curve
#
# The same terms, once for the labels and once for the difference. Noises and amplitudes δ are learned: the difference
# is smaller than the labels, and its δ should be so, too.


# %%
def fit(n: int, baseline: list) -> GAP:
    """A potential from `n` frames and the isolated atoms, with learned noises and δ."""
    soap = SOAP(SPECIES, 4.0, n_max=5, l_max=3)
    sparse = {"H": min(80, 4 * n + 1), "C": min(30, n + 1), "O": min(30, n + 1)}
    gap = GAP([Term(soap, DotProduct(4, 1.0), sparse)], 2e-4, 0.02, baseline=baseline, verbose=False)
    return gap.fit(isolated + pool[:: len(pool) // n], optimize=True)


errors, gaps = {}, {}
for n in (5, 10, 20, 40):
    for name, baseline in (("none", []), ("GFN1", [cheap])):
        gaps[n, name] = fit(n, baseline)
        found = evaluate(gaps[n, name], test, return_std=False).summary()
        errors[n, name] = found["forces"]["mae"]
        print(f"{n:3d} frames, baseline {name}: {found['energy']['mae']:6.2f} meV/atom, {errors[n, name]:.4f} eV/Å")
assert all(errors[n, "GFN1"] < 0.7 * errors[n, "none"] for n in (5, 10, 20, 40))
assert errors[10, "GFN1"] < errors[20, "none"], "half of the frames are enough"
assert errors[40, "GFN1"] < 0.5 * np.abs(difference).mean(), "better than the cheap method alone"

# %% [markdown]
# ## What each part says
#
# `decompose` gives energies, forces and stresses of e0, of every baseline and of every term. Their sum is the
# prediction. The learned part should be small beside the baseline.

# %%
gap = gaps[40, "GFN1"]
parts = gap.decompose(test)
print(parts.table())
p = gap.predict(test)
assert np.allclose(parts.total().energy, p.energy, rtol=0, atol=1e-8)
learned, given = (np.concatenate(parts[name].forces) for name in ("SOAP", "Calculator"))
assert np.abs(learned).mean() < 0.5 * np.abs(given).mean()
for atoms in isolated:
    s = atoms.get_chemical_symbols()[0]
    assert np.isclose(gap.e0_[s], atoms.get_potential_energy() - cheap.evaluate(atoms).energy)

# %% [markdown]
# ## Forces, and a check for any baseline
#
# Predicted forces are derivatives of predicted energies if those of the baseline are. A baseline that jumps spoils
# this, and dynamics with it: charges or occupations that change suddenly, hard cutoffs, self-consistency that is too
# loose. So pull the molecule apart along one coordinate and compare forces with finite differences before you trust it.
# A calculator also runs inside gapkit's process: one that crashes, for an impossible charge perhaps, takes
# the fit with it.

# %%
h, worst = 1e-3, 0.0
for stretch in np.linspace(-0.1, 0.4, 6):
    moved = []
    for step in (-h, 0.0, h):
        moved.append(molecule("CH3OH"))
        moved[-1].positions[0, 0] += stretch + step
    path = gap.predict(moved)
    slope = -(path.energy[2] - path.energy[0]) / (2 * h)
    worst = max(worst, abs(slope - path.forces[1][0, 0]))
    print(f"x + {stretch:4.1f} Å: force {path.forces[1][0, 0]:8.4f}, finite difference {slope:8.4f} eV/Å")
assert worst < 2e-3

# %% [markdown]
# ## Error bars
#
# They are those of the learned difference: the baseline counts as exact. So they shrink with a good baseline. Compare
# them with the errors as in lesson 5: here they are several times too wide, with and without baseline. The labels have
# no noise and the molecule is small and stiff, so that few frames say more than the prior believes; `recalibrate` mends
# that.

# %%
p, plain = (gaps[40, name].predict(test, return_std="all") for name in ("GFN1", "none"))
widths = [1e3 * q.energy_std.mean() for q in (p, plain)]
print("error bars of energies: {:.1f} meV, without baseline {:.1f} meV".format(*widths))
z_energy = (p.energy - [a.get_potential_energy() for a in test]) / p.energy_std
z_forces = (np.concatenate(p.forces) - forces) / np.hypot(np.concatenate(p.forces_std), gap.noise_.forces)
ratios = [np.sqrt(np.mean(z**2)) for z in (z_energy, z_forces)]
print("errors in units of their error bars, root mean square: energies {:.2f}, forces {:.2f}".format(*ratios))
deltas = [g.terms_[0].kernel.delta for g in (gap, gaps[40, "none"])]
print("learned δ: {:.1f} eV, without baseline {:.1f} eV".format(*deltas))
assert widths[0] < 0.5 * widths[1]
assert max(ratios) < 1.0, "too cautious"
assert deltas[0] < 0.6 * deltas[1]

# %% [markdown]
# ## Where data end
#
# Bonds that no frame stretches that far: the potential without baseline forgets, the other one falls back on the cheap
# method. Between atoms that meet even a cheap method may be at a loss. A second baseline, `ZBL`, is zero at all
# distances of the training data and repels below.

# %%
print("O-H bond  GFN2      GFN1 + GAP  GAP   (eV above the bond of 1.0 Å)")
curves = []
for r in (1.0, 1.3, 1.7):
    stretched = molecule("CH3OH")
    stretched.set_distance(1, 3, r, fix=0)
    truth = labelled(stretched).get_potential_energy()
    curves.append([truth, *(gaps[40, name].predict(stretched).energy[0] for name in ("GFN1", "none"))])
    rise = np.subtract(curves[-1], curves[0])
    print(f"{r:5.1f} Å   {rise[0]:6.2f}    {rise[1]:6.2f}      {rise[2]:6.2f}")
assert abs(rise[1] - rise[0]) < 0.5 * abs(rise[2] - rise[0])
zbl = ZBL.from_structures(pool)
both = fit(40, [cheap, zbl])
assert np.allclose(both.predict(pool[0]).forces[0], gap.predict(pool[0]).forces[0], atol=1e-4)
print([part.name for part in both.decompose(test[:1]).parts])
near = molecule("CH3OH")
near.set_distance(1, 3, 0.4, fix=0)
push = [both.decompose(near)["ZBL"].energy[0], gap.predict(near).energy[0] - curves[0][1]]
print(f"O-H at 0.4 Å: ZBL adds {push[0]:.0f} eV to {push[1]:.0f} eV")
assert push[0] > 1.0

# %% [markdown]
# ## Charges
#
# A baseline sees species, positions and cell. Charges and moments that a file attaches to atoms do not count: two
# files of one structure must not mean two energies. The charge of an ion is a parameter of the calculator, and a model
# holds for that charge alone.

# %%
ion, charged = methanol.copy(), Calculator("tblite.ase:TBLite", {**cheap.parameters, "charge": 1})
ion.set_initial_charges([1, 0, 0, 0, 0, 0])
energies = [b.evaluate(atoms).energy for b, atoms in ((cheap, methanol), (cheap, ion), (charged, methanol))]
print("neutral {:.2f} eV, with a charge in the file {:.2f} eV, of the cation {:.2f} eV".format(*energies))
assert np.isclose(energies[0], energies[1], rtol=0, atol=1e-6)
assert energies[2] > energies[0] + 3.0

# %% [markdown]
# ## Saving and loading
#
# A model file names its calculator, and loading imports it. A file from elsewhere must not start just anything: gapkit
# starts a few calculators that only compute, with parameters that do no harm, and refuses the rest (charges and
# solvents of tblite among them) until you allow it by `trusted_calculators`; for commands, name the calculator in the
# environment variable `GAPKIT_TRUSTED_CALCULATORS`. In a configuration this baseline is
#
#     baseline:
#       - {type: Calculator, factory: "tblite.ase:TBLite", parameters: {method: GFN1-xTB, verbosity: 0}}

# %%
wet = Calculator("tblite.ase:TBLite", {**cheap.parameters, "solvation": ["alpb", "water"]})
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "methanol.gap"
    gap.save(path)
    loaded = GAP.load(path)
    fit(5, [wet]).save(path)
    try:
        GAP.load(path)
    except InputError as error:
        print(error)
    else:
        raise AssertionError("this should have been refused")
    allowed = GAP.load(path, trusted_calculators=["tblite.ase:TBLite"])
assert loaded.baseline_ == (cheap,)
assert np.allclose(loaded.predict(test[0]).forces[0], p.forces[0], atol=1e-8)
assert allowed.baseline_ == (wet,)

# %% [markdown]
# ## What it costs
#
# The baseline runs in every prediction. Here it is most of the time; a density functional would be nearly all of it,
# and then the learned part is free and dynamics are as slow as the baseline. Whether that pays depends on what you
# lack: dear labels, or time in dynamics. A third way is to label many frames by the sum, and to train a potential
# without baseline on them.

# %%
for name in ("none", "GFN1"):
    model = gaps[40, name]
    model.predict(test[0])  # compiled loops are loaded
    start = time.perf_counter()
    for atoms in test[:10]:
        model.predict(atoms)
    print(f"baseline {name}: {100 * (time.perf_counter() - start):.1f} ms per prediction of energy and forces")
