# %% [markdown]
# # 11. Equivariance: dipoles that turn
#
# An energy does not care how a molecule is turned; a dipole turns with it. A model of energies flattens the
# environment of an atom to invariants first. For a vector there is a more elegant way: features that turn themselves,
# λ-SOAP, and a Gaussian process with a matrix for a kernel (Grisafi et al., Phys. Rev. Lett. 120, 036002 (2018)). This
# lesson looks at such features, learns the dipole of methanol with them and in two ways without, and ends with an
# infrared spectrum that has error bars. Labels are by GFN2-xTB; the last part needs `pip install tblite` (Linux and
# macOS).
"""Tutorial 11: dipoles, polarisabilities and atomic polar tensors with features that turn."""

# %%
import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before tblite is loaded: the fastest for so few atoms

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.optimize import BFGS
from ase.vibrations import Infrared
from scipy.spatial.transform import Rotation
from tblite.ase import TBLite

from gapkit import SOAP, TensorCalculator, TensorGAP, TensorTerm
from gapkit.datasets import load_methanol
from gapkit.descriptors.lambda_soap import Order, equivariants
from gapkit.geometry.neighbourhoods import find_neighbourhoods
from gapkit.tensors.spectra import infrared_intensities

train, test = load_methanol("train"), load_methanol("test")
soap = SOAP(["H", "C", "O"], cutoff=4.0, n_max=6, l_max=4, atom_sigma=0.4, smoothness=2)
print(f"{len(train)} molecules to train, {len(test)} to test")
print("labels: dipole and polarizability of each molecule, born_charges of each of its atoms")

# %% [markdown]
# ## Features that turn
#
# Two densities can be coupled to a scalar, the power spectrum of SOAP, and just as well to a vector (λ = 1) or a tensor
# (λ = 2). Turn the molecule: the scalars stay, each vector turns by the same matrix. Components of λ = 1 stand in the
# order y, z, x of the spherical harmonics.

# %%
YZX = [1, 2, 0]
R = Rotation.from_rotvec([0.3, -0.5, 0.8]).as_matrix()
here = train[0]
there = Atoms(here.numbers, here.positions @ R.T)


def features(atoms):
    """Scalar and vector features of the oxygen atom."""
    p, state = soap.evaluate(find_neighbourhoods(atoms, soap.cutoff), atoms.numbers)
    oxygen = int(np.flatnonzero(atoms.numbers == 8)[0])
    return p[oxygen], equivariants(soap, state, Order(1, even=False))[oxygen]


(scalar, vector), (scalar_there, vector_there) = features(here), features(there)
by_hand = R[np.ix_(YZX, YZX)] @ vector
print(f"scalars change by {np.abs(scalar_there - scalar).max() / np.abs(scalar).max():.1e} of their size")
print(f"vectors change by {np.abs(vector_there - vector).max() / np.abs(vector).max():.1e},")
print(f"but differ from the turned ones by {np.abs(vector_there - by_hand).max() / np.abs(vector).max():.1e}")
assert np.abs(scalar_there - scalar).max() < 1e-12 * np.abs(scalar).max()
assert np.abs(vector_there - vector).max() > 0.1 * np.abs(vector).max()
assert np.abs(vector_there - by_hand).max() < 1e-12 * np.abs(vector).max()

# %% [markdown]
# ## A model of the dipole
#
# The estimator is used like `GAP`. Amplitude and noise are learned by their evidence unless they are given. A
# prediction has a covariance matrix; both turn with the molecule, to round-off, although no frame was ever shown twice.

# %%
gap = TensorGAP([TensorTerm(soap, zeta=2, n_sparse=60)], target="dipole", unit="e*Å", verbose=False).fit(train)
p, p_there = gap.predict(here, return_std=True), gap.predict(there, return_std=True)
print("dipole here ", np.round(p.values[0], 4), "±", np.round(p.std[0], 4), "e Å")
print("dipole there", np.round(p_there.values[0], 4), "±", np.round(p_there.std[0], 4), "e Å")
print("learned noise", f"{gap.noise_[1]:.2g}", "e Å, amplitude", f"{gap.deltas_[1][0]:.2g}", "e Å")
assert np.abs(p_there.values[0] - R @ p.values[0]).max() < 1e-9 * np.abs(p.values[0]).max()
assert np.abs(p_there.covariance[0] - R @ p.covariance[0] @ R.T).max() < 1e-6 * np.abs(p.covariance[0]).max()

found = gap.evaluate(test)
print(found.table())
assert found.relative < 0.05
assert found.calibrations()[1].coverage[0.95] > 0.9  # rather too wide than too narrow
assert found.calibrations()[1].rank_correlation > 0.3  # and wider where errors are larger

# %% [markdown]
# ## Without equivariance
#
# With invariants alone one can learn the length |μ|, which has no direction, or each component as if it were an energy.
# The latter cannot work: two molecules that differ by a turn have the same invariants and other components. All three
# get the same frames and the same sparse points.

# %%
sizes = (15, 30, 60, 120)
curves = {"λ-SOAP": [], "|μ| by invariants": [], "component by component": []}


def scalar_model(frames, labels, name):
    """An invariant model of a number for each molecule."""
    copies = [Atoms(a.numbers, a.positions, info={name: x}) for a, x in zip(frames, labels)]
    term = TensorTerm(soap, zeta=2, n_sparse=min(60, len(frames)))
    return TensorGAP([term], target="scalar", verbose=False).fit(copies, key=name)


def dipoles(frames):
    """Labels, (n, 3), e Å: ASE reads them as results of a calculator."""
    return np.array([a.get_dipole_moment() for a in frames])


mu = dipoles(test)
for n in sizes:
    part = train[:n]
    model = TensorGAP([TensorTerm(soap, zeta=2, n_sparse=min(60, n))], verbose=False).fit(part)
    errors = model.predict(test).values - mu
    curves["λ-SOAP"].append(np.sqrt(np.mean(np.sum(errors**2, axis=1))))
    length = scalar_model(part, np.linalg.norm(dipoles(part), axis=1), "length").predict(test).values
    curves["|μ| by invariants"].append(np.sqrt(np.mean((length - np.linalg.norm(mu, axis=1)) ** 2)))
    xyz = [scalar_model(part, dipoles(part)[:, k], "component").predict(test).values for k in range(3)]
    curves["component by component"].append(np.sqrt(np.mean(np.sum((np.array(xyz).T - mu) ** 2, axis=1))))

print(f"RMSE in e Å; the dipole itself is {np.sqrt(np.mean(np.sum(mu**2, axis=1))):.3f} e Å long")
print(f"{'frames':<24}" + "".join(f"{n:>9}" for n in sizes))
for name, errors in curves.items():
    print(f"{name:<24}" + "".join(f"{e:>9.4f}" for e in errors))
assert curves["λ-SOAP"][-1] < 0.5 * curves["λ-SOAP"][0]
assert curves["component by component"][-1] > 0.7 * np.sqrt(np.mean(np.sum(mu**2, axis=1)))
assert curves["λ-SOAP"][-1] < 0.1 * curves["component by component"][-1]

# %% [markdown]
# The length alone is learned, too, but three numbers for each frame teach more than one, and nothing can be done with a
# length: no infrared spectrum, no sum over molecules.
#
# ## Polarisabilities and atomic polar tensors
#
# A polarisability is a scalar and a tensor of λ = 2, learned apart with a noise each. Atomic polar tensors (Born
# charges of a molecule, ∂μ_a/∂r_ib) are tensors of atoms with an antisymmetric part, λ = 0 + 1 + 2. The derivative of
# the dipole model is the same quantity, exact to the last digits of the model: no label of it was needed.

# %%
alpha = TensorGAP([TensorTerm(soap, 2, n_sparse=60)], "polarizability", unit="Å^3", verbose=False).fit(train)
print(alpha.evaluate(test).table())
born = TensorGAP([TensorTerm(soap, 2, n_sparse=40)], "born_charges", unit="e", verbose=False).fit(train[:40])
print(born.evaluate(test[:40]).table())
labels = [a.arrays["born_charges"].reshape(-1, 3, 3) for a in test[:20]]
slopes = [gap.derivatives(a).transpose(1, 0, 2) for a in test[:20]]
direct = born.predict(test[:20]).values
of_slopes, of_direct, spread = (
    np.sqrt(np.mean([np.mean((x - y) ** 2) for x, y in zip(values, labels)]))
    for values in (slopes, direct, [np.zeros_like(x) for x in labels])
)
print(f"polar tensors: RMSE {of_slopes:.3f} e as slopes of dipoles, {of_direct:.3f} e learned, size {spread:.3f} e")
assert alpha.evaluate(test).relative < 0.1
assert set(born.noise_) == {0, 1, 2}
assert of_slopes < 0.25 * spread
assert of_direct < 0.25 * spread
assert np.abs(slopes[0].sum(axis=0)).max() < 1e-9  # a shift of a neutral molecule changes no dipole

# %% [markdown]
# ## An infrared spectrum with error bars
#
# `TensorCalculator` adds dipoles to any ASE calculator, so that ASE's own infrared spectra work. Modes are those of
# GFN2-xTB here. Samples of the posterior are whole models of the dipole: each has a spectrum, and their scatter is the
# error bar. xTB's own dipoles are what it should be.

# %%
methanol = molecule("CH3OH")
methanol.calc = TBLite(method="GFN2-xTB", verbosity=0, accuracy=0.01)
BFGS(methanol, logfile=None).run(fmax=0.005)


def infrared(calculator):
    """Wavenumbers, modes and intensities, (D/Å)²/amu, by ASE."""
    with tempfile.TemporaryDirectory() as folder:
        atoms = methanol.copy()
        atoms.calc = calculator
        run = Infrared(atoms, name=f"{folder}/ir", delta=0.005)
        run.run()
        run.read()
        data = run.get_vibrations()
    return np.array(data.get_frequencies()), data.get_modes(), np.array(run.intensities)


learned = TensorCalculator(TBLite(method="GFN2-xTB", verbosity=0, accuracy=0.01), dipole=gap)
_, _, reference = infrared(TBLite(method="GFN2-xTB", verbosity=0, accuracy=0.01))
wavenumbers, modes, intensity = infrared(learned)

h, members = 0.005, gap.sample(100, rng=0)
moved = []
for i in range(len(methanol)):
    for b in range(3):
        for sign in (1, -1):
            step = methanol.copy()
            step.positions[i, b] += sign * h
            moved.append(step)
draws = np.array(members.predict(moved)).reshape(len(methanol), 3, 2, 100, 3)
polar = np.moveaxis((draws[:, :, 0] - draws[:, :, 1]) / (2 * h), (2, 3), (0, 1))  # member, a, atom, b
spectra = np.array([infrared_intensities(one, modes) for one in polar])
std = spectra.std(axis=0)
print("1/cm      learned      xTB   (D/Å)²/amu")
for k in range(6, len(modes)):
    print(f"{np.real(wavenumbers[k]):6.0f}  {intensity[k]:6.3f} ± {std[k]:5.3f}  {reference[k]:6.3f}")
assert np.allclose(infrared_intensities(gap.derivatives(methanol), modes)[6:], intensity[6:], rtol=0.01, atol=0.01)
assert np.abs(intensity - reference)[6:].max() < 0.15 * reference.max()
assert np.corrcoef(intensity[6:], reference[6:])[0, 1] > 0.97

# %% [markdown]
# What to remember: a model of a vector should be a vector itself. It needs fewer frames, turns exactly, knows the
# covariance of its components, and its slopes are physics again.
#
# Dipoles of charged molecules depend on the origin: give `charge` (or ``info["charge"]``) and the unit, and predictions
# move by charge × shift. Dipoles of periodic cells are defined modulo e times a lattice vector and are refused unless
# you say `branch_consistent=True`; Born charges have no such trouble.
