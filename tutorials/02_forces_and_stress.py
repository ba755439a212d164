# %% [markdown]
# # 2. Forces and stress
#
# One frame of N atoms has one energy, 3N force components and six stress components. All are linear in the same
# potential, so a Gaussian process can learn from all of them at once. This lesson shows what each kind of label adds,
# what the noise settings mean and how to choose them, which sign a stress has, and that forces and stresses are exact
# derivatives of the energy: by finite differences, and by running dynamics.
"""Tutorial 2: derivative labels, noises and their units, signs, finite differences, conservation of energy."""

# %%
import time
import warnings
from collections.abc import Callable

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from gapkit import GAP, SOAP, DotProduct, ExtrapolationWarning, GAPCalculator, InputError, Term, read_structures
from gapkit.datasets import load_silicon
from gapkit.evaluation.calibration import calibration
from gapkit.evaluation.compare import evaluate
from gapkit.fitting.noise import observations
from gapkit.quantities import UNITS
from gapkit.structures.labels import read_labels
from gapkit.structures.reading import describe_structures, find_label_keys
from gapkit.structures.reference_energies import find_e0

# with so few training frames some test frames hold closer atoms, of which every prediction would warn
warnings.simplefilter("ignore", ExtrapolationWarning)
everything = load_silicon("train")
keys = find_label_keys(everything)
e0 = find_e0(everything, [read_labels(atoms, keys) for atoms in everything])
train, test = everything[::2], load_silicon("test")  # every other frame keeps this lesson short
print(describe_structures(train))


def fit(frames: list[Atoms], n_sparse: int = 100, **noises: float | dict[str, float]) -> GAP:
    """A small silicon potential; any of the three noises may be replaced."""
    soap = SOAP(species=["Si"], cutoff=5.5, n_max=8, l_max=4, atom_sigma=0.5)
    settings = {"energy_noise": 0.003, "forces_noise": 0.1, "virial_noise": 0.05} | noises
    return GAP([Term(soap, DotProduct(zeta=4), n_sparse=n_sparse)], e0=e0, verbose=False, **settings).fit(frames)


# %% [markdown]
# ## What derivative labels add
#
# `read_structures` leaves a label out if its key is the empty string, also for frames that are already in memory. We
# fit to a quarter, a half and all of the frames: with energies only, with energies and forces, and with all three. The
# first-principles code gives forces at little extra cost, and they are most of the labels. The table shows mean
# absolute errors, because one wild frame can rule a root mean square.

# %%
label_sets = {
    "energies": read_structures(train, forces_key="", stress_key=""),
    "+ forces": read_structures(train, stress_key=""),
    "+ stresses": train,
}
learning: dict[tuple[str, int], dict[str, float]] = {}
print(f"{'':12s}frames  labels  energy meV/atom  forces eV/Å  stress GPa     time")
for step in (4, 2, 1):
    for name, frames in label_sets.items():
        start = time.perf_counter()
        gap = fit(frames[::step])
        seconds = time.perf_counter() - start
        summary = evaluate(gap, test, return_std=False).summary()
        learning[name, step] = {kind: summary[kind]["mae"] for kind in ("energy", "forces", "stress")}
        row = "  ".join(f"{value:{w}.3g}" for value, w in zip(learning[name, step].values(), (15, 11, 10)))
        print(f"{name:12s}{len(frames[::step]):6d}  {gap.posterior_.n_rows:6d}  {row}  {seconds:5.1f} s")

for step in (4, 2, 1):
    only, with_forces, with_all = (learning[name, step] for name in label_sets)
    assert with_forces["forces"] < 0.7 * only["forces"], "forces teach forces"
    assert with_all["stress"] < with_forces["stress"], "stresses teach stress"
assert learning["+ forces", 4]["forces"] < learning["energies", 1]["forces"], "better a quarter with forces"

# %% [markdown]
# ## Noises and their units
#
# A noise is the standard deviation by which a label may differ from the model: imperfect convergence of the label,
# and everything that the descriptor cannot see. There is one rule, in `gapkit/observations.py`:
#
# | kind   | setting        | unit    | standard deviation of one label of a frame with N atoms |
# |--------|----------------|---------|---------------------------------------------------------|
# | energy | `energy_noise` | eV/atom | `energy_noise * N`, for the total energy                |
# | forces | `forces_noise` | eV/Å    | `forces_noise`, for each component                      |
# | virial | `virial_noise` | eV/atom | `virial_noise * N`, for each of the six components      |
#
# An error per atom therefore means the same in a cell and in its supercell. A noise may also be a mapping from
# `config_type` to a number, with "default" for the rest: a liquid need not be fitted as closely as a crystal.

# %%
gap = fit(train)
frame = next(atoms for atoms in train if atoms.info["config_type"].startswith("md_"))
for kind, targets, scale in observations(read_labels(frame, keys), energy_offset=0.0, n_atoms=len(frame)):
    setting = gap.noise_std(kind)
    print(f"{kind:7s} {len(targets):3d} labels: {setting:5.3f} {UNITS[kind]:7s} × {scale:4.0f} = {setting * scale:.3f}")
    assert scale == (1 if kind == "forces" else len(frame))

mixed = fit(train, forces_noise={"default": 0.1, "liquid": 0.2})
assert (mixed.noise_std("forces", "liquid"), mixed.noise_std("forces", "md_300K")) == (0.2, 0.1)

# %% [markdown]
# How to choose? The log marginal likelihood is the probability of all labels under the model, noise included. It falls
# when the noise is so small that the residuals are improbable, and when it is so large that the labels mean nothing.
# Its maximum needs no test set. The last column tells what else a noise decides: how large the error bars are. It is
# the spread of the z-scores of the test energies, 1 if the error bars are honest, larger if they are too small.

# %%
likelihood, spread = {}, {}
print("all noises ×  log likelihood  force residual (train)  force error (test)  z of test energies")
for factor in (0.03, 0.1, 0.3, 1.0, 3.0, 10.0):
    noises = {"energy_noise": 0.003, "forces_noise": 0.1, "virial_noise": 0.05}
    gap = fit(train, n_sparse=400, **{name: factor * noise for name, noise in noises.items()})
    likelihood[factor] = gap.posterior_.log_marginal_likelihood
    spread[factor] = calibration(evaluate(gap, test).energy).std_z
    residual, error = -gap.score(train), -gap.score(test)
    print(
        f"{factor:12.2f}  {likelihood[factor]:14.0f}  {residual:17.3f} eV/Å  {error:13.3f} eV/Å  {spread[factor]:18.2f}"
    )
best = max(likelihood, key=likelihood.__getitem__)
print(f"most probable: the noises of this lesson × {best}")
assert best not in (0.03, 10.0), "the maximum lies inside"
assert spread[0.03] > spread[10.0], "too little noise, too small error bars"

# %% [markdown]
# ## Signs
#
# The stress is (1/V) dE/dε, in eV/Å³: a stretched crystal pulls, its stress is positive; a compressed one pushes, its
# stress is negative. The virial, which some codes print, is -V times the stress, in eV. Programs differ in both; the
# simplest check of any data set is to stretch a crystal and look. If a frame has both labels and they disagree, gapkit
# refuses it and says what is wrong.

# %%
gap = fit(train)
for scale in (0.97, 1.0, 1.03):
    crystal = bulk("Si", "diamond", a=5.469 * scale)
    stress = gap.predict(crystal).stress[0][0, 0]
    virial = -crystal.cell.volume * stress
    print(f"lattice constant × {scale:.2f}: stress {stress / units.GPa:6.2f} GPa, virial {virial:5.2f} eV")
    assert scale == 1.0 or np.sign(stress) == np.sign(scale - 1)

suspect = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
stress = frame.get_stress(voigt=False)
suspect.info |= {"REF_stress": stress, "REF_virial": frame.cell.volume * stress}  # the sign is wrong
try:
    read_structures([suspect])
except InputError as error:
    refusal = str(error)
else:
    refusal = ""
print(f"refused: {refusal}")
assert "sign" in refusal, "a virial of the wrong sign must be refused"

# %% [markdown]
# ## Forces and stress are derivatives of the energy
#
# Move one atom by ±h, or strain the cell by ±h, and look at the energy. The differences agree with the forces and the
# stress to many digits, because both come from the same scalar by the chain rule, with no approximation in between.

# %%


def moved(atoms: Atoms, h: float) -> Atoms:
    """Atom 0 displaced by h (Å) along y."""
    atoms = atoms.copy()
    atoms.positions[0, 1] += h
    return atoms


def sheared(atoms: Atoms, h: float) -> Atoms:
    """Cell and positions under the symmetric strain ε_xy = ε_yx = h/2."""
    atoms = atoms.copy()
    strain = np.eye(3) + 0.5 * h * np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    return atoms


def slope(change: Callable[[Atoms, float], Atoms], h: float = 1e-4) -> float:
    """Central difference of the energy of `frame`, eV per unit of h."""
    plus, minus = gap.predict([change(frame, h), change(frame, -h)]).energy
    return (plus - minus) / (2 * h)


p = gap.predict(frame)
force, stress = p.forces[0][0, 1], p.stress[0][0, 1]
force_fd, stress_fd = -slope(moved), slope(sheared) / frame.cell.volume
print(f"force  {force:.9f} eV/Å,  by differences {force_fd:.9f}")
print(f"stress {stress:.9f} eV/Å³, by differences {stress_fd:.9f}")
assert abs(force - force_fd) < 1e-6
assert abs(stress - stress_fd) < 1e-7

# %% [markdown]
# ## Conservation of energy
#
# If forces are derivatives of one energy, the total energy of a trajectory at constant energy fluctuates only because
# the time step is finite, and for velocity Verlet the fluctuation falls with the square of the time step. Forces that
# are not a gradient, or jump where a neighbour enters the cutoff, would leave a floor that no time step removes.

# %%


def fluctuation(time_step: float) -> float:
    """Standard deviation of the total energy over 0.2 ps from 600 K, meV/atom."""
    atoms = bulk("Si", "diamond", a=5.469, cubic=True)
    width = np.sqrt(atoms.get_masses() * units.kB * 600)[:, None]
    atoms.set_momenta(width * np.random.default_rng(2).normal(size=(len(atoms), 3)))
    atoms.calc = GAPCalculator(gap)
    energies: list[float] = []
    dynamics = VelocityVerlet(atoms, time_step * units.fs)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    dynamics.run(round(200 / time_step))
    return 1000 * float(np.std(energies)) / len(atoms)


found = {time_step: fluctuation(time_step) for time_step in (4.0, 2.0, 1.0, 0.5)}
for time_step, value in found.items():
    print(f"time step {time_step:3.1f} fs: total energy fluctuates by {value:.4f} meV/atom")
for time_step in (4.0, 2.0, 1.0):
    assert 3 < found[time_step] / found[time_step / 2] < 5.5, "half the step, a quarter of the fluctuation"
