# %% [markdown]
# # 3. Sparse points
#
# A Gaussian process compares every surrounding with every other. Most are alike, so gapkit compares all of them with
# a chosen few, the sparse points ("inducing points" elsewhere). How many, which ones, and are they independent? Then
# two species, and a map of the data set that shows what there is to choose from.
"""Tutorial 3: number and choice of sparse points, conditioning, several species, a similarity map."""

# %%
import time
import warnings

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from sklearn.decomposition import KernelPCA

from gapkit import GAP, SOAP, DotProduct, InputError, Term
from gapkit.datasets import load_silicon
from gapkit.evaluation.compare import evaluate
from gapkit.gaussian_process.structure_kernels import AverageKernel, find_duplicates

train, test = load_silicon("train")[::2], load_silicon("test")  # every other frame keeps this lesson short
soap = SOAP(species=["Si"], cutoff=5.5, n_max=8, l_max=4, atom_sigma=0.5)


def fit(n_sparse: int, sparsification: str = "fps", zeta: int = 4, random_state: int = 0) -> GAP:
    """A silicon potential that differs only in its sparse points."""
    term = Term(soap, DotProduct(zeta=zeta), n_sparse=n_sparse, sparsification=sparsification)
    noises = {"energy_noise": 0.003, "forces_noise": 0.1, "virial_noise": 0.05}
    return GAP([term], **noises, random_state=random_state, verbose=False).fit(train)


def force_error(gap: GAP) -> float:
    """Mean absolute error of the test forces, eV/Å."""
    return evaluate(gap, test, return_std=False).summary()["forces"]["mae"]


# %% [markdown]
# ## How many?
#
# Errors fall quickly, then slowly, and the log marginal likelihood levels off: from there on more sparse points buy
# little. They cost time: fitting grows with labels × (sparse points)², predicting one atom with features × sparse
# points. The error bars include what the sparse points leave out. (The first fit also compiles, so one is thrown away.)

# %%
counts = (25, 50, 100, 200, 400)
fit(10)
print("n_sparse  force error  log likelihood    time  model ± of a test energy")
error, likelihood, std = {}, {}, {}
for n_sparse in counts:
    start = time.perf_counter()
    gap = fit(n_sparse)
    seconds = time.perf_counter() - start
    error[n_sparse], likelihood[n_sparse] = force_error(gap), gap.posterior_.log_marginal_likelihood
    deviations = gap.predict(test, return_std=True).energy_std / [len(atoms) for atoms in test]
    std[n_sparse] = 1000 * np.median(deviations)
    print(
        f"{n_sparse:8d}  {error[n_sparse]:6.3f} eV/Å  {likelihood[n_sparse]:14.0f}  {seconds:4.1f} s"
        f"  {std[n_sparse]:15.1f} meV/atom"
    )
assert error[400] < 0.8 * error[25]
assert likelihood[100] - likelihood[50] > likelihood[400] - likelihood[200], "each doubling buys less than the last"
assert std[400] < std[25], "the error bars know how much the sparse points leave out"

# %% [markdown]
# ## Which?
#
# - `"fps"`, farthest point sampling, the default: always the surrounding farthest from all chosen ones. No randomness.
# - `"cur"`: drawn at random, the more likely the less a linear combination of others describes them.
# - `"kmeans"`: the surrounding nearest to the centre of each cluster.
# - `"random"`: what it says; surroundings that occur often are chosen often.
#
# The share of the prior variance that the sparse points leave unexplained, 1 - k(x, m) K_mm⁻¹ k(m, x)/k(x, x), says how
# well they cover a training surrounding x. Random points do well on what is common, and so on the mean error of
# a test set that looks like the training set. Farthest points leave no surrounding badly covered, and it is
# the rare surrounding that breaks a simulation.

# %%
kernel = DotProduct(zeta=4)
surroundings = np.concatenate([soap.features(atoms) for atoms in train])


def unexplained(gap: GAP) -> np.ndarray:
    """Share of the prior variance that the sparse points leave, for every training surrounding."""
    Z = gap.blocks_[0].X
    K_mm = kernel(Z, Z) + 1e-10 * kernel.delta**2 * np.eye(len(Z))
    K_mt = kernel(Z, surroundings)
    explained = np.einsum("mt,mt->t", K_mt, np.linalg.solve(K_mm, K_mt))
    return 1 - explained / kernel.diag(surroundings)


print("100 points   force error  unexplained: mean     largest")
left = {}
for method in ("fps", "cur", "kmeans", "random"):
    gap = fit(100, method)
    left[method] = unexplained(gap)
    print(f"{method:10s}  {force_error(gap):7.3f} eV/Å  {left[method].mean():17.1e}  {left[method].max():10.1e}")
assert left["fps"].max() < 0.5 * left["random"].max(), "farthest points leave nothing badly covered"

seeds = [force_error(fit(100, "random", random_state=seed)) for seed in range(5)]
print(f"random, five seeds: force error {min(seeds):.3f} to {max(seeds):.3f} eV/Å")
assert fit(100).alpha_.tolist() == fit(100, random_state=7).alpha_.tolist(), "farthest point sampling has no seed"

# %% [markdown]
# ## Are they independent?
#
# Sparse points that others already describe add cost and nothing else, and they make K_mm nearly singular.
# `gap.posterior_.conditioning` tells: the numerical rank, the smallest pivot relative to the largest, and which points
# are redundant. gapkit solves by QR, which stays stable where a Cholesky factorisation of the normal equations does
# not; still, many redundant points mean that fewer would do. The kernel (q·q')^ζ shows it best with ζ = 1: it is
# linear, so its rank cannot exceed the number of features.

# %%
for zeta, n_sparse in ((4, 100), (4, 400), (2, 400), (1, 400)):
    found = fit(n_sparse, zeta=zeta).posterior_.conditioning
    print(
        f"zeta {zeta}, {n_sparse} points: rank {found.rank}, smallest pivot {found.smallest_pivot:.1e}, "
        f"{len(found.redundant)} redundant, jitter {found.jitter:.0e}"
    )
    assert found.rank + len(found.redundant) == found.n_sparse
assert found.rank <= soap.n_features < n_sparse

# %% [markdown]
# Surroundings that are equal count once, whatever you ask for. In a perfect crystal all atoms are equal.

# %%
crystals = [bulk("Si", "diamond", a=a, cubic=True) for a in (5.4, 5.5)]
for atoms in crystals:
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((8, 3)))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    two = GAP([Term(soap, n_sparse=50)], e0={"Si": 0.0}, verbose=False).fit(crystals)
print(next(str(warning.message) for warning in caught if "n_sparse" in str(warning.message)))
assert len(two.alpha_) == 2, "16 atoms, but two different surroundings"

# %% [markdown]
# ## Several species
#
# Atoms are compared only with sparse points of their own species, so each species has its own set; give `n_sparse` as
# one number for all, or one per symbol. A small copper-gold alloy, labelled by ASE's EMT, shows it. SOAP sees which
# neighbour is which: with two species a feature vector is almost four times as long.

# %%


def alloy(seed: int) -> Atoms:
    """A four-atom CuAu cell, strained and rattled, with energy, forces and stress."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", a=3.85, cubic=True)
    atoms.symbols[rng.permutation(4)[: rng.integers(1, 4)]] = "Au"
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.04, 0.04, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0.0, 0.08, atoms.positions.shape)
    atoms.calc = EMT()
    results = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces", "stress")}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


frames = [alloy(seed) for seed in range(60)]
two_species = SOAP(species=["Cu", "Au"], cutoff=5.5, n_max=6, l_max=4, atom_sigma=0.5)
one_species = SOAP(species=["Cu"], cutoff=5.5, n_max=6, l_max=4, atom_sigma=0.5)
print(f"features: {one_species.n_features} for one species, {two_species.n_features} for two")

alloy_term = Term(two_species, DotProduct(zeta=4), n_sparse={"Cu": 60, "Au": 40})
gap = GAP([alloy_term], verbose=False).fit(frames[:40])
print("e0 by least squares, from the compositions:", {symbol: round(e, 3) for symbol, e in gap.e0_.items()})
for block in gap.blocks_:
    print(f"sparse points of element {block.key}: {len(block.X)}")

comparison = evaluate(gap, frames[40:]).forces
for symbol in ("Cu", "Au"):
    part = comparison.select(comparison.species == symbol)
    rmse, typical = np.sqrt(np.mean(part.error**2)), part.reference.std()
    print(f"force error on {symbol}: {rmse:.3f} eV/Å, of a spread of {typical:.3f} eV/Å")
    assert rmse < 0.25 * typical
assert {block.key: len(block.X) for block in gap.blocks_} == {29: 60, 79: 40}

try:
    GAP([Term(two_species, n_sparse={"Cu": 20})], verbose=False).fit(frames[:20])
except InputError as problem:
    refusal = str(problem)
print(f"refused: {refusal}")
assert "Au" in refusal

# %% [markdown]
# ## A map of the data
#
# The same local kernel, averaged over all pairs of atoms, compares whole frames. Its Gram matrix goes into any
# scikit-learn method with `kernel="precomputed"`; two principal components make a map. Frames that are alike lie close,
# families form clusters, and what lies alone is rare: there the potential rests on little.

# %%
frames = [atoms for atoms in train + test if len(atoms) > 1]
features = [soap.features(atoms) for atoms in frames]
names = np.array([atoms.info["config_type"] for atoms in frames])
average = AverageKernel(DotProduct(zeta=4, delta=1.0))

K = average(features)
assert np.allclose(K.diagonal(), 1.0)
assert np.linalg.eigvalsh(K).min() > -1e-8, "a Gram matrix has no negative eigenvalues"
xy = KernelPCA(n_components=2, kernel="precomputed").fit_transform(K)

letters = dict(zip(np.unique(names), "abcdefghijklmnopqrstuvwxyz"))
column, row = ((xy - xy.min(axis=0)) / np.ptp(xy, axis=0) * (71, 19)).round().astype(int).T
canvas = np.full((20, 72), " ")
canvas[row, column] = [letters[name] for name in names]
print("\n".join("".join(line).rstrip() for line in canvas[::-1]))
print(", ".join(f"{letter} {name}" for name, letter in letters.items()))

crystal, liquid = xy[names == "md_300K"], xy[names == "liquid"]
apart = np.linalg.norm(crystal.mean(axis=0) - liquid.mean(axis=0))
widths = [np.linalg.norm(cloud - cloud.mean(axis=0), axis=1).mean() for cloud in (crystal, liquid)]
print(f"crystal and liquid: clouds {widths[0]:.3f} and {widths[1]:.3f} wide, {apart:.3f} apart")
assert apart > sum(widths), "a crystal at 300 K is not a liquid"

# %% [markdown]
# ## Duplicates
#
# A test frame that is also a training frame makes every error look too small. Rotated, shifted, renumbered or repeated
# as a supercell, it is still the same structure, and the kernel knows.

# %%
duplicates = find_duplicates(features, average)
across = [pair for pair in duplicates if pair[0] < len(frames) - len(test) <= pair[1]]
print(f"{len(duplicates)} pairs of equal frames in the data, {len(across)} between training and test frames")
assert not across, "test frames must be new"

disguised = frames[0].copy()
disguised.rotate(40, (1, 2, 3), rotate_cell=True)
disguised.translate((0.3, 0.1, 0.7))
disguised = disguised[::-1].repeat((2, 1, 1))
planted = find_duplicates([*features, soap.features(disguised)], average)
found = [pair for pair in planted if pair[1] == len(frames)]
print("planted a rotated, shifted, renumbered supercell of frame 0")
for a, b, distance in found:
    print(f"found: frames {a} and {b}, {distance:.0e} apart")
assert found[0][0] == 0
