# %% [markdown]
# # 6. Error bars on a bulk modulus
#
# A fitted potential is one of many that the data allow. What does that mean for a lattice constant, a bulk modulus, an
# elastic constant? This lesson answers in three ways, which must agree where they mean the same: by hand for one
# number, by sampling whole potentials, and by linear propagation through the joint covariance of forces and stresses.
# Then it asks what the error bars leave out, by refits on bootstrap data and by a look at the labels themselves.
"""Tutorial 6: error bars on properties of silicon by samples, by linear propagation and by bootstrap."""

# %%
import time
import warnings

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from numpy.polynomial import Polynomial
from scipy.optimize import brentq

from gapkit import GAP, SOAP, DotProduct, GAPCalculator, Term
from gapkit.datasets import load_silicon
from gapkit.potential.ensemble import sample
from gapkit.structures.labels import read_labels
from gapkit.structures.reading import find_label_keys
from gapkit.structures.reference_energies import find_e0
from gapkit.uncertainty.functionals import energy_difference, joint_posterior, pressure, propagate_linear
from gapkit.uncertainty.joint_posterior import Values
from gapkit.uncertainty.propagation import propagate

train = load_silicon("train")
keys = find_label_keys(train)
e0 = find_e0(train, [read_labels(atoms, keys) for atoms in train])


def fit(frames: list[Atoms]) -> GAP:
    """A silicon potential with 200 sparse points."""
    soap = SOAP(species=["Si"], cutoff=5.5, n_max=8, l_max=4, atom_sigma=0.5)
    noises = {"energy_noise": 0.003, "forces_noise": 0.1, "virial_noise": 0.05}
    return GAP([Term(soap, DotProduct(zeta=4), n_sparse=200)], e0=e0, verbose=False, **noises).fit(frames)


gap = fit(train)
print(f"fitted to {gap.posterior_.n_rows} labels of {len(train)} frames")

# %% [markdown]
# ## What is asked: five numbers
#
# The lattice constant a is where the pressure vanishes, and the bulk modulus B = -(a/3) dp/da there. C11 and C12 are
# the stresses along and across a strain of one axis. C44 belongs to a shear, in which the two atoms of the cell also
# move against each other: the clamped stress is corrected by (dσ/du)(dF/dγ)/(-dF/du), with u the shift of an atom.
#
# All derivatives are differences between strained cells. Seven cells at each of three lattice constants are enough, and
# the second function computes the five numbers from nothing but the forces and stresses of these 21 cells.

# %%
STEP, STRAIN, SHIFT = 0.005, 0.004, 0.01  # of the lattice constant; of a cell; of an atom, Å
NAMES = ("a, Å", "B, GPa", "C11, GPa", "C12, GPa", "C44, GPa")


def crystal(a: float, row: int = 0, column: int = 0, strain: float = 0.0, shift: float = 0.0) -> Atoms:
    """Diamond with a symmetric strain of one component and the second atom shifted along x."""
    atoms = bulk("Si", "diamond", a=a)
    deformation = np.zeros((3, 3))
    deformation[row, column] += strain / 2
    deformation[column, row] += strain / 2
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + deformation), scale_atoms=True)
    atoms.positions[1, 0] += shift
    return atoms


def cells(a: float) -> list[Atoms]:
    """At rest, strained along x, sheared yz and shifted, both ways each, at three lattice constants around a."""
    found = []
    for here in a * np.array([1 - STEP, 1, 1 + STEP]):
        found += [crystal(here), crystal(here, 0, 0, STRAIN), crystal(here, 0, 0, -STRAIN)]
        found += [crystal(here, 1, 2, STRAIN), crystal(here, 1, 2, -STRAIN)]
        found += [crystal(here, shift=SHIFT), crystal(here, shift=-SHIFT)]
    return found


def elastic(rest: Values, *ways: Values) -> list[float]:
    """C11, C12, C44 at one lattice constant, eV/Å³."""
    pulled, pushed, sheared, back, shifted, unshifted = ways
    c11, c12 = ((pulled.stress[k] - pushed.stress[k]) / (2 * STRAIN) for k in (0, 1))
    clamped = (sheared.stress[3] - back.stress[3]) / (2 * STRAIN)
    force_by_shear = (sheared.forces[1, 0] - back.forces[1, 0]) / (2 * STRAIN)
    force_by_shift = (shifted.forces[1, 0] - unshifted.forces[1, 0]) / (2 * SHIFT)
    stress_by_shift = (shifted.stress[3] - unshifted.stress[3]) / (2 * SHIFT)
    return [c11, c12, clamped - stress_by_shift * force_by_shear / force_by_shift]


def five_numbers(values: list[Values], a: float) -> np.ndarray:
    """a, B, C11, C12, C44 from the forces and stresses of `cells(a)`."""
    constants = a * np.array([1 - STEP, 1, 1 + STEP])
    p = Polynomial.fit(constants, [-np.mean(values[k].stress[:3]) for k in (0, 7, 14)], 2)
    roots = p.roots()
    rest = float(np.real(roots[np.argmin(np.abs(roots - a))]))
    stiff = np.transpose([elastic(*values[k : k + 7]) for k in (0, 7, 14)])
    moduli = [-rest / 3 * p.deriv()(rest), *(Polynomial.fit(constants, c, 2)(rest) for c in stiff)]
    return np.array([rest, *(modulus / units.GPa for modulus in moduli)])


# %% [markdown]
# For a given potential, one first finds its own lattice constant, and then evaluates the cells around that. Here is the
# answer of the mean potential, which is what `predict` and `GAPCalculator` use.

# %%


def properties(calculator: Calculator) -> np.ndarray:
    """The five numbers of any ASE calculator, around its own lattice constant."""

    def stress_at(a: float) -> float:
        atoms = crystal(a)
        atoms.calc = calculator
        return float(np.mean(atoms.get_stress()[:3]))

    a, values = brentq(stress_at, 5.2, 5.8, xtol=1e-8), []
    for atoms in cells(a):
        atoms.calc = calculator
        values.append(Values(forces=atoms.get_forces(), stress=atoms.get_stress()))
    return five_numbers(values, a)


best = properties(GAPCalculator(gap))
print("\n".join(f"{name:9s} {value:8.3f}" for name, value in zip(NAMES, best)))
assert abs(3 * best[1] - best[2] - 2 * best[3]) < 0.01 * 3 * best[1], "3 B = C11 + 2 C12 at zero pressure"

# %% [markdown]
# ## By hand
#
# The pressure is a linear functional of the potential, so its posterior is a normal distribution with a known standard
# deviation. If the pressure at the lattice constant is off by δp, the true zero lies at δa = -δp/(dp/da) from it.
#
# There are two standard deviations. "sor" is what the labels leave open of the 200 weights. "dtc" adds what 200 weights
# cannot say: how far a function drawn from the prior may be from every combination of these 200 kernel functions. That
# part knows nothing of the labels, only where the sparse points are, and is proportional to the amplitude δ of the
# kernel (5 eV here, a generous guess). More sparse points make it smaller.

# %%
a = best[0]
slope = -3 * best[1] * units.GPa / a
by_hand = {method: pressure(gap, crystal(a), method) for method in ("sor", "dtc")}
for method, p in by_hand.items():
    print(f'"{method}": pressure ± {p.std / units.GPa:.3f} GPa, so lattice constant ± {abs(p.std / slope):.5f} Å')
assert abs(by_hand["sor"].mean) < 1e-6
assert by_hand["dtc"].std > by_hand["sor"].std

# %% [markdown]
# Correlations matter. The energies of two similar crystals share a part of their errors, which cancels in the
# difference: it is known better than from two independent errors.

# %%
frames = [crystal(a), crystal(1.01 * a)]
stds = joint_posterior(gap, frames, outputs=("energy",)).std
difference = energy_difference(gap, frames[1], frames[0])
print(f"energies ± {stds[0]:.4f} and ± {stds[1]:.4f} eV; difference {difference.mean:.4f} ± {difference.std:.4f} eV")
assert difference.std < 0.7 * np.hypot(*stds)

# %% [markdown]
# ## By samples
#
# `sample` draws whole potentials from the posterior. `propagate` evaluates any function of an ASE calculator for each
# of them: our function knows nothing of Gaussian processes, and could as well run dynamics. Two hundred samples give a
# standard deviation to 5 %.

# %%
start = time.perf_counter()
by_samples = propagate(properties, sample(gap, 200, rng=0))
print(f"{len(by_samples.samples)} potentials in {time.perf_counter() - start:.1f} s")
low, high = by_samples.quantile([0.05, 0.95])
for k, name in enumerate(NAMES):
    print(
        f"{name:9s} {by_samples.mean[k]:8.3f} ± {by_samples.std[k]:.4f}, nine of ten in {low[k]:.3f} to {high[k]:.3f}"
    )

# %% [markdown]
# If only a structure's energy, forces and stress are wanted, `Ensemble.predict` evaluates all members at once and
# computes the descriptors only once.

# %%
stress = sample(gap, 200, rng=0).predict(crystal(a)).stress
p = -np.trace(stress, axis1=1, axis2=2) / 3
print(f"pressure of the same potentials ± {p.std(ddof=1) / units.GPa:.3f} GPa")
assert abs(p.std(ddof=1) / by_hand["sor"].std - 1) < 0.2, "four standard errors of a standard deviation"

# %% [markdown]
# ## By linear propagation
#
# The 21 cells around the mean potential's lattice constant have 252 forces and stresses, whose joint covariance is
# known exactly. `propagate_linear` differentiates our function with respect to them: no potential is evaluated twice,
# and the answer is a full covariance, for "sor" as for "dtc".

# %%
start = time.perf_counter()
linear = {
    method: propagate_linear(gap, cells(a), lambda values: five_numbers(values, a), ("forces", "stress"), method)
    for method in ("sor", "dtc")
}
print(f"twice in {time.perf_counter() - start:.1f} s")
print(f"{'':9s} {'value':>8s}  {'± samples':>9s} {'± sor':>9s} {'± dtc':>9s}")
for k, name in enumerate(NAMES):
    stds = by_samples.std[k], linear["sor"].std[k], linear["dtc"].std[k]
    print(f"{name:9s} {linear['sor'].mean[k]:8.3f}  {stds[0]:9.4f} {stds[1]:9.4f} {stds[2]:9.4f}")

# %% [markdown]
# Samples and "sor" are two ways to the same numbers. Their standard deviations must agree within four standard errors
# of 200 samples, 20 %, and the means within four standard errors of a mean. The lattice constant by hand was right,
# too.

# %%
n = len(by_samples.samples)
np.testing.assert_allclose(linear["sor"].mean, best, rtol=1e-5)
assert np.all(np.abs(by_samples.std / linear["sor"].std - 1) < 0.2), "one spread, computed in two ways"
assert np.all(np.abs(by_samples.mean - best) < 4 * by_samples.std / np.sqrt(n)), (
    "no bias: the function is nearly linear"
)
for method, p in by_hand.items():
    assert abs(abs(p.std / slope) / linear[method].std[0] - 1) < 0.01, "δa = -δp/(dp/da)"

# %% [markdown]
# The five errors are not independent. At zero pressure 3B = C11 + 2 C12, in every potential: the combination is known
# almost exactly, although none of the three is. `of` gives the posterior of any linear combination.

# %%
print("correlations\n" + "\n".join("  ".join(f"{c:5.2f}" for c in row) for row in linear["sor"].correlation))
identity = linear["sor"].of(np.array([0.0, 3.0, -1.0, -2.0, 0.0]))
independent = np.sqrt(np.array([0.0, 3.0, 1.0, 2.0, 0.0]) ** 2 @ linear["sor"].std ** 2)
print(f"3B - C11 - 2 C12 ± {identity.std[0]:.3f} GPa, if they were independent ± {independent:.3f} GPa")
assert identity.std[0] < 0.1 * independent

# %% [markdown]
# ## Is it the truth? Bootstrap
#
# Posterior error bars assume that the model is right: independent errors of the labels of the size of the noise, and a
# function that the kernel can describe. A bootstrap assumes less. It draws frames with replacement, fits again, sparse
# points and all, and looks at the scatter.

# %%
rng = np.random.default_rng(0)
start = time.perf_counter()
drawn = [[train[i] for i in rng.integers(len(train), size=len(train))] for _ in range(12)]
with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # a fit tells of frames that are there twice: here they are meant to
    refits = np.array([properties(GAPCalculator(fit(frames))) for frames in drawn])
print(f"{len(refits)} refits in {time.perf_counter() - start:.1f} s")
bootstrap = refits.std(axis=0, ddof=1)
for k, name in enumerate(NAMES):
    ratio = bootstrap[k] / linear["sor"].std[k]
    print(f"{name:9s} ± {bootstrap[k]:.4f} by bootstrap, {ratio:.1f} times sor, {linear['dtc'].std[k]:.4f} is dtc")

# %% [markdown]
# The refits scatter more than "sor" says. Other frames also mean other sparse points, and the errors of a short-ranged
# potential are not independent noise: "sor" knows of neither. They scatter less than "dtc", which counts on functions
# as wild as the prior allows. The bounds that we state and check: above 0.7 times "sor", below four times "sor", and
# below "dtc".

# %%
assert np.all(bootstrap > 0.7 * linear["sor"].std)
assert np.all(bootstrap < 4 * linear["sor"].std)
assert np.all(bootstrap < linear["dtc"].std)

# %% [markdown]
# For two of the five numbers the labels themselves hold the answer: there are diamond crystals of many volumes, with
# pressures, in the training and in the test set.

# %%
everything = train + load_silicon("test")
diamonds = [atoms for atoms in everything if atoms.info["config_type"] == "diamond_volume"]
constants = np.array([(8 * atoms.get_volume() / len(atoms)) ** (1 / 3) for atoms in diamonds])
curve = Polynomial.fit(constants, [-np.mean(atoms.get_stress()[:3]) for atoms in diamonds], 4)
label_a = brentq(curve, 5.3, 5.6)
labels = np.array([label_a, -label_a / 3 * curve.deriv()(label_a) / units.GPa])
for k in range(2):
    off = labels[k] - best[k]
    stds = [off / linear[method].std[k] for method in ("sor", "dtc")]
    print(
        f"{NAMES[k]:9s} {labels[k]:8.3f} by the labels: {stds[0]:5.1f} sor, {stds[1]:5.2f} dtc standard deviations off"
    )
assert np.all(np.abs(labels - best[:2]) < 2 * linear["dtc"].std[:2])

# %% [markdown]
# What to report? Quote "sor" or the samples only where "dtc" is not much larger: then the sparse points are enough and
# the data decide. Here "dtc" is several times "sor", which says that 200 sparse points are few for an elastic constant:
# report "dtc" as the cautious error bar, or take more sparse points and look again. And neither knows of errors that
# all labels share: the functional, the k-points, the cutoff of the descriptor.
