# %% [markdown]
# # 7. What the error bars mean
#
# A Gaussian process returns a distribution of functions, and from it a standard deviation of anything. What is in that
# number? This lesson takes it apart: noise and ignorance, near data and far from them, one atom and a whole cell, a
# total energy and a difference. And it shows the ignorance that the number does not hold: a model of the wrong form.
"""Tutorial 7: the parts of a standard deviation, how it falls with data, correlations, and a misspecified model."""

# %%
import warnings

import numpy as np
from ase import Atoms
from ase.build import bulk

from gapkit import GAP, SOAP, DotProduct, ExtrapolationWarning, Term
from gapkit.datasets import load_silicon
from gapkit.evaluation.compare import evaluate
from gapkit.uncertainty.estimators import local_std
from gapkit.uncertainty.functionals import energy_difference, joint_posterior

# models of few frames meet closer atoms in the test frames, of which every prediction would warn
warnings.simplefilter("ignore", ExtrapolationWarning)
train, test = load_silicon("train"), load_silicon("test")
E0 = next(atoms.get_potential_energy() for atoms in train if len(atoms) == 1)
frames = [atoms for atoms in train if len(atoms) > 1]
GOOD = SOAP(species=["Si"], cutoff=5.5, n_max=8, l_max=4, atom_sigma=0.5)


def fit(frames: list[Atoms], soap: SOAP = GOOD, n_sparse: int = 200) -> GAP:
    """A silicon potential; the energy of the free atom is always the same."""
    noises = {"energy_noise": 0.003, "forces_noise": 0.1, "virial_noise": 0.05}
    return GAP([Term(soap, DotProduct(zeta=4), n_sparse)], e0={"Si": E0}, verbose=False, **noises).fit(frames)


# %% [markdown]
# ## Two parts: ignorance and noise
#
# `predict(..., return_std=True)` returns what the model does not know about its own mean. A new *label* scatters by its
# noise besides: `evaluate` compares with labels, and so adds the two as σ² = σ_model² + σ_noise².

# %%
gap = fit(frames)
p = gap.predict(test, return_std="all")
sizes = np.array([len(atoms) for atoms in test])
model, noise = p.energy_std / sizes, gap.noise_std("energy")
label = evaluate(gap, test, return_std="all").energy.std
for name in ("md_300K", "liquid", "surface_100"):
    own = np.array([atoms.info["config_type"] == name for atoms in test])
    parts = f"model ± {1e3 * model[own].mean():5.2f}, noise ± {1e3 * noise:.2f}"
    print(f"{name:12s} energy: {parts}, new label ± {1e3 * label[own].mean():5.2f} meV/atom")
assert np.allclose(label, np.hypot(model, noise))

# %% [markdown]
# ## More data, less ignorance
#
# Labels enter the error bars only through where they are and how noisy they are, never through their values. With more
# frames ignorance falls, noise stays: no amount of data predicts a label better than it is known.

# %%
print("frames   model's part of the force error bar   of the energy   error of the forces")
ignorance, error = {}, {}
for step in (8, 4, 2, 1):
    few = fit(frames[::step])
    p = few.predict(test, return_std="all")
    ignorance[step] = np.sqrt(np.mean(np.concatenate(p.forces_std) ** 2))
    error[step] = evaluate(few, test, return_std=False).summary()["forces"]["rmse"]
    energy = 1e3 * np.sqrt(np.mean((p.energy_std / sizes) ** 2))
    print(
        f"{len(frames[::step]):6d}   {ignorance[step]:28.3f} eV/Å   {energy:7.1f} meV/atom   {error[step]:12.3f} eV/Å"
    )
assert ignorance[8] > ignorance[4] > ignorance[2] > ignorance[1]
relabelled = [atoms.copy() for atoms in frames[::8]]
for atoms in relabelled:
    atoms.info["energy"], atoms.arrays["forces"] = 0.0, np.zeros((len(atoms), 3))
    atoms.info["stress"] = np.zeros(6)
nonsense = fit(relabelled).predict(test[0], return_std="all")
sense = fit(frames[::8]).predict(test[0], return_std="all")
assert np.allclose(nonsense.energy_std, sense.energy_std), "labels of nothing but zeros give the same error bars"
assert abs(nonsense.energy[0] - sense.energy[0]) > 1.0

# %% [markdown]
# ## Far from data: back to the prior
#
# Where nothing is known the error bar grows towards δ, the prior standard deviation of a local energy, and never above
# it. Three versions along a path from the crystal to nowhere:
#
# - "dtc", the default: what the sparse points cannot express, and what the data leave open of what they can;
# - "sor": the second part alone. It hardly notices that no sparse point is anywhere near;
# - "gap": how badly the sparse points cover the place. It knows no label: near sparse points it is confident even if
#   the data there were few or noisy.

# %%
DELTA = gap.terms_[0].kernel.delta
blind = local_std(gap, "gap")
print("volume      dtc      sor      gap   (local energy, eV)")
path = {}
for stretch in (1.0, 1.1, 1.3, 1.6, 2.2):
    atoms = bulk("Si", "diamond", a=5.46 * stretch)
    dtc, sor = (joint_posterior(gap, atoms, ["local_energies"], method).std[0] for method in ("dtc", "sor"))
    path[stretch] = dtc, sor, blind(atoms)[0]
    print(f"× {stretch**3:5.2f}" + "".join(f"{value:9.4f}" for value in path[stretch]))
assert path[1.0][0] < 0.05 * path[1.6][0], "known at home, not abroad"
assert all(dtc <= DELTA * (1 + 1e-9) for dtc, _, _ in path.values()), "never above the prior"
assert all(sor <= dtc * (1 + 1e-9) for dtc, sor, _ in path.values()), "'sor' is a part of 'dtc'"
assert path[2.2][1] < 0.2 * path[2.2][0], "and abroad a small one"

# %% [markdown]
# ## Errors come together
#
# The atoms of a cell err alike, because they are alike. The error bar of a total energy is therefore neither the sum of
# the atoms' (all errors equal) nor the root of the sum of squares (all independent), but what the covariances say. For
# the same reason the difference of two similar cells is known far better than either.

# %%
cell = next(atoms for atoms in test if atoms.info["config_type"] == "md_600K")
joint = joint_posterior(gap, cell, ["local_energies"])
total = float(np.sqrt(joint.covariance.sum()))
bounds = float(np.linalg.norm(joint.std)), float(joint.std.sum())
print(f"{len(cell)} atoms: if independent {bounds[0]:.4f}, by covariances {total:.4f}, if equal {bounds[1]:.4f} eV")
assert np.isclose(total, gap.predict(cell, return_std=True).energy_std[0], rtol=1e-6)
assert total < bounds[1]

moved = cell.copy()
moved.rattle(0.01, seed=1)
one, other = (gap.predict(atoms, return_std=True).energy_std[0] for atoms in (cell, moved))
difference = energy_difference(gap, moved, cell)
print(f"two cells ± {one:.4f} and ± {other:.4f} eV, their difference {difference.mean:.4f} ± {difference.std:.4f} eV")
assert difference.std < 0.5 * np.hypot(one, other)

# %% [markdown]
# ## What the error bars do not hold
#
# All of this is true *if the model is*: if the energy is a sum of functions of surroundings within the cutoff, as
# smooth as the kernel says, and labels differ from it by independent noise of the given size. Take that away: a
# descriptor that sees nothing beyond 3 Å, and little of that. The labels do not fit, whatever the weights. But the few
# weights are soon determined, and the model becomes certain, and more so with every frame (arXiv:2502.07104).

# %%
SHORT = SOAP(species=["Si"], cutoff=3.0, n_max=3, l_max=2, atom_sigma=0.5)
print("3 Å:  frames   error of the energies   model's part of the error bar   errors in standard deviations of a label")
certain, wrong, z = {}, {}, {}
for step in (8, 4, 2, 1):
    few = fit(frames[::step], SHORT)
    found = evaluate(few, test, return_std=True).energy
    certain[step] = 1e3 * np.sqrt(np.mean((few.predict(test, return_std=True).energy_std / sizes) ** 2))
    wrong[step] = 1e3 * np.sqrt(np.mean(found.error**2))
    z[step] = np.sqrt(np.mean((found.error / found.std) ** 2))
    print(
        f"{len(frames[::step]):12d}   {wrong[step]:12.0f} meV/atom   {certain[step]:20.2f} meV/atom   {z[step]:20.0f}"
    )
assert certain[1] < 0.5 * certain[8], "more and more certain"
assert wrong[1] > 0.7 * wrong[8], "and as wrong as before"
assert z[1] > 20

# %% [markdown]
# The labels know. If noises are learned from them, what the form of the model cannot describe is booked as noise, and
# the error bars are of the right size again, on average: then nearly all of the error bar is noise, the same for every
# frame of a kind. Compare learned noises with what you know of your labels. These were converged to meV; a "noise" of
# 0.1 eV/atom is the model's fault, and only another model (cutoff, features, terms) cures it.

# %%
terms = [Term(SHORT, DotProduct(zeta=4), 200)]
learned = GAP(terms, 0.003, 0.1, 0.05, e0={"Si": E0}, verbose=False).fit(frames, optimize=["noise", "delta"])
found = evaluate(learned, test, return_std=True).energy
honest = np.sqrt(np.mean((found.error / found.std) ** 2))
model = learned.predict(test, return_std=True).energy_std / sizes
noise = learned.noise_std("energy")
print(f"learned noise of the energies: {1e3 * noise:.0f} meV/atom; errors are now {honest:.2f} standard deviations")
print(f"largest model's part of a test frame: {1e3 * model.max():.1f} meV/atom")
assert 0.5 < honest < 2
assert noise > 0.03, "ten times what the labels deserve: look at the model"
assert np.median(model) < 0.5 * noise, "nearly all is noise"
