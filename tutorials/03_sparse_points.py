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
from gapkit.evaluation import evaluate
from gapkit.similarity import AverageKernel, find_duplicates

train, test = load_silicon("train")[::2], load_silicon("test")  # every other frame keeps this lesson short
soap = SOAP(species=["Si"], cutoff=7.0, n_max=8, l_max=4, atom_sigma=0.5)


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
# Errors fall quickly, then slowly, and the log marginal likelihood levels off: from there on more sparse points buy little.
# Time grows too: fitting costs about (labels × sparse points²), predicting one atom costs about (features × sparse
# points). The first fit also compiles, so one is thrown away.

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
assert all(likelihood[b] > likelihood[a] for a, b in zip(counts, counts[1:]))
assert std[400] < std[25], "the error bars know how much the sparse points leave out"

# %% [markdown]
# ## Which?
#
# - `"fps"`, farthest point sampling: always the surrounding that is farthest from all chosen ones. Covers the
#   extremes, so that nothing is far from a sparse point. No randomness. The default.
# - `"cur"`: drawn at random, the more likely the less a linear combination of others describes them.
# - `"kmeans"`: the surrounding nearest to the centre of each cluster.
# - `"random"`: what it says; surroundings that occur often are chosen often.
#
# The covariance that the sparse points leave unexplained, k(x, x) - k(x, m) K_mm⁻¹ k(m, x), says how well they cover the
# training surroundings. In the mean any method will do; it is the largest value where farthest point sampling shines.

# %%
kernel = DotProduct(zeta=4)
surroundings = np.concatenate([soap.create(atoms) * soap.feature_scale for atoms in train])


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
assert all(left["fps"].max() < left[method].max() for method in ("cur", "kmeans", "random"))

seeds = [force_error(fit(100, "random", random_state=seed)) for seed in range(5)]
print(f"random, five seeds: force error {min(seeds):.3f} to {max(seeds):.3f} eV/Å")
assert fit(100).alpha_.tolist() == fit(100, random_state=7).alpha_.tolist(), "farthest point sampling has no seed"

# %% [markdown]
# ## Are they independent?
#
# Sparse points that others already describe add cost and nothing else, and they make K_mm nearly singular. `gap.posterior_.conditioning`
# tells: the numerical rank, the smallest pivot relative to the largest, and which points are redundant. gapkit solves by QR, which
# stays accurate where the textbook's Cholesky factorisation breaks down; still, many redundant points mean that fewer would do.
# The kernel (q·q')^ζ with ζ = 1 shows it best: it is linear, so its rank cannot exceed the number of features.

# %%
for zeta, n_sparse in ((4, 100), (4, 400), (2, 400), (1, 400)):
    found = fit(n_sparse, zeta=zeta).posterior_.conditioning
    print(
        f"zeta {zeta}, {n_sparse} points: rank {found.rank}, smallest pivot {found.smallest_pivot:.1e}, "
        f"{len(found.redundant)} redundant, jitter {found.jitter:.0e}"
    )
    assert found.rank + len(found.redundant) == n_sparse
assert found.rank <= soap.n_features < n_sparse
