# %% [markdown]
# # 9. Additive models
#
# A Gaussian approximation potential is a sum: E = Σ e0 + pairs + triplets + SOAP + whatever else is known. Simple terms
# learn the coarse part of the energy from little data and go on sensibly where data end; SOAP learns the rest. Each
# term has its own cutoff and its own amplitude δ, and all are fitted together: forces, stresses and error bars are
# those of the sum.
"""Tutorial 9: sums of pairs, triplets and SOAP, linear terms of your own, a compact set of symmetry functions."""

# %%
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from gapkit import (
    ACSF,
    GAP,
    SOAP,
    Composition,
    DotProduct,
    Features,
    Linear,
    Pair,
    Term,
    Triplet,
    candidate_acsf,
    feature_function,
    select_acsf,
)
from gapkit.covariances.rows import structure_rows
from gapkit.datasets import load_silicon
from gapkit.evaluation.compare import evaluate
from gapkit.geometry.neighbourhoods import find_neighbourhoods

train, test = load_silicon("train")[::2], load_silicon("test")  # every other frame keeps this lesson short
errors: dict[str, dict] = {}
likelihood: dict[str, float] = {}


def fit(name: str, terms: list) -> GAP:
    """A silicon potential; its errors on the test frames are printed and kept."""
    gap = GAP(terms, energy_noise=0.003, forces_noise=0.1, virial_noise=0.05, verbose=False).fit(train)
    errors[name] = evaluate(gap, test, return_std=False).summary()
    likelihood[name] = gap.posterior_.log_marginal_likelihood
    print(
        f"{name:20s} {len(gap.alpha_):4d} weights  energy {errors[name]['energy']['mae']:6.2f} meV/atom  "
        f"forces {errors[name]['forces']['mae']:.4f} eV/Å  log likelihood {likelihood[name]:8.0f}"
    )
    return gap


# %% [markdown]
# ## One term more
#
# `Pair` is one smooth function of the distance for each pair of species, `Triplet` one of a triangle for each centre
# and two neighbours. Alone they are poor for silicon. Beside SOAP they lower the errors, and the log marginal
# likelihood, which sees the training labels alone, says so beforehand. The amplitude δ of a pair is the energy that one
# pair may have, that of SOAP belongs to a whole atom.

# %%
soap = Term(SOAP(["Si"], 5.0, n_max=8, l_max=4), DotProduct(zeta=4, delta=5.0), n_sparse=200)
pair = Pair(["Si"], cutoff=5.0, delta=5.0)
triplet = Triplet(["Si"], cutoff=4.0, delta=0.3, n_sparse=150)
fit("pair", [pair])
fit("pair + triplet", [pair, triplet])
alone = fit("soap", [soap])
fit("pair + soap", [pair, soap])
whole = fit("pair + triplet + soap", [pair, triplet, soap])
for kind in ("energy", "forces"):
    assert errors["pair + triplet + soap"][kind]["mae"] < 0.95 * errors["soap"][kind]["mae"]
    assert errors["pair"][kind]["mae"] > 2 * errors["soap"][kind]["mae"]
assert likelihood["pair + triplet + soap"] > likelihood["pair + soap"] > likelihood["soap"] + 50

# %% [markdown]
# ## What the extra terms cost
#
# Sums over sparse points of `Pair` and `Triplet` are folded into splines after the fit. A prediction then interpolates
# once for each pair and each triplet, however many sparse points there are. The errors of the splines are stored.

# %%
for block in whole.blocks_[:2]:
    fold = whole.folds_[block[:2]]
    print(f"{type(fold).__name__}: {len(block.X)} sparse points, largest error {fold.error:.1e} eV")
crystal = bulk("Si", a=5.46, cubic=True).repeat(2)
crystal.rattle(0.05, seed=0)
pairs, triangles = (find_neighbourhoods(crystal, term.reach) for term in (pair, triplet))
n_neighbours = len(pairs.j) / len(crystal)
n_triplets = sum(n * (n - 1) / 2 for n in np.diff(triangles.first)) / len(crystal)
n_features = soap.descriptor.n_features
kernels = 4 * soap.n_sparse * n_features  # two matrix products per atom
extra = 30 * n_neighbours + 250 * n_triplets  # one spline of one variable, one of three
print(
    f"per atom: {n_neighbours:.0f} neighbours, {n_triplets:.0f} triplets; {extra / kernels:.0%} of SOAP's two products"
)
assert extra < 0.4 * kernels
assert whole.folds_[(0, 0)].error < 1e-8
assert whole.folds_[(1, 0)].error < 1e-5

# %% [markdown]
# ## What a term has learned
#
# The posterior is that of all weights together, so each part of the sum has its own error bar. The row of a dimer, with
# the columns of all other terms struck out, is the pair function. Before data it is 0 ± δ.

# %%
print("distance  pair function")
columns, deviations = whole.blocks_[0].columns, []
for r in (1.9, 2.35, 3.0, 3.84, 4.5):
    dimer = Atoms("Si2", [[0, 0, 0], [0, 0, r]])
    row = structure_rows(whole.basis_.environments(dimer), False)
    K_t = np.zeros((1, len(whole.alpha_)))
    K_t[0, columns] = row.energy[columns]
    variance = whole.posterior_.variance(K_t, np.einsum("tm,tm->t", K_t, K_t) / pair.delta**2)[0]
    deviations.append(np.sqrt(variance))
    print(f"{r:6.2f} Å  {(K_t @ whole.alpha_)[0]:8.3f} ± {deviations[-1]:.3f} eV")
assert max(deviations) < 0.5 * pair.delta, "the data decide"

# %% [markdown]
# ## Where data end
#
# Compressed far beyond the training data, SOAP alone turns soft: its kernel forgets. The pair term is stiff. Neither
# knows the truth there, and the error bars say so. (Atoms that must never fuse need a repulsive baseline.)

# %%
print("lattice constant   soap                sum")
energies = {}
for scale in (1.0, 0.9, 0.75):
    atoms = bulk("Si", a=5.46 * scale)
    found = [gap.predict(atoms, return_std=True) for gap in (alone, whole)]
    energies[scale] = [(p.energy[0] / 2, p.energy_std[0] / 2) for p in found]
    print(f"{5.46 * scale:9.2f} Å   " + "   ".join(f"{e:7.3f} ± {s:.3f}" for e, s in energies[scale]) + "  eV/atom")
assert energies[0.75][1][0] > energies[0.75][0][0], "the sum is stiffer"
for scale, factor in ((0.9, 10), (0.75, 100)):
    assert all(energies[scale][k][1] > factor * energies[1.0][k][1] for k in (0, 1))

# %% [markdown]
# ## Terms of your own
#
# A linear term takes explicit functions of a structure, with their derivatives, and gives each coefficient a Gaussian
# prior. `Composition` counts atoms: its coefficients are corrections of e0 that have error bars. Here is one more, the
# volume: its coefficient is a constant pressure. Under `feature_function`, model files can name it.


# %%
@feature_function
@dataclass(frozen=True)
class Volume:
    """Volume of the cell, 0 without one."""

    n_features = 1

    def validate(self) -> None:
        """There are no parameters."""

    def check_species(self, numbers: np.ndarray) -> None:
        """Any species will do."""

    def __call__(self, atoms: Atoms) -> Features:
        """V, shared out evenly; ∂V/∂r = 0, ∂V/∂ε = V for xx, yy and zz."""
        n, V = len(atoms), atoms.get_volume() if atoms.cell.rank == 3 else 0.0
        strain = np.array([V, V, V, 0, 0, 0])[:, None]
        return Features(np.full((n, 1), V / n), np.zeros((n, 3, 1)), strain)


volume = Linear(Volume(), delta=0.01)
gap = fit("sum + volume + count", [pair, triplet, soap, volume, Linear(Composition(["Si"]), delta=0.5)])
for k, name in ((3, "pressure, eV/Å³"), (4, "correction of e0, eV")):
    block = next(b for b in gap.blocks_ if b.term == k)
    K_t = np.zeros((1, len(gap.alpha_)))
    K_t[0, block.columns] = gap.terms[k].delta ** 2
    std = np.sqrt(gap.posterior_.variance(K_t, np.array([gap.terms[k].delta ** 2]))[0])
    print(f"{name}: {(K_t @ gap.alpha_)[0]:.4f} ± {std:.4f}, prior ± {gap.terms[k].delta}")
    assert 0 < std < gap.terms[k].delta
atoms = test[1].copy()
assert np.allclose(gap.predict(atoms).forces[0].sum(axis=0), 0.0, atol=1e-8)

# %% [markdown]
# ## Fewer numbers per atom
#
# Atom-centred symmetry functions describe an atom by a few numbers instead of hundreds. `candidate_acsf` writes down a
# large systematic set and `select_acsf` keeps the columns that say most of what all say, in data. They are less
# accurate than SOAP; the pair and triplet terms mend part of it.

# %%
candidates = candidate_acsf(["Si"], 5.0)
compact = select_acsf(candidates, train, 20)
print(f"{compact.n_features - 1} of {candidates.n_all} functions; SOAP has {n_features} features")
symmetry = Term(compact, DotProduct(zeta=4, delta=5.0), n_sparse=200)
fit("acsf", [symmetry])
mixed = fit("pair + triplet + acsf", [pair, triplet, symmetry])
assert isinstance(compact, ACSF)
assert errors["pair + triplet + acsf"]["forces"]["mae"] < 0.9 * errors["acsf"]["forces"]["mae"]
assert errors["pair + triplet + acsf"]["forces"]["mae"] > errors["pair + triplet + soap"]["forces"]["mae"]

# %% [markdown]
# ## Files
#
# A model file holds every term by name and parameters. In a configuration the same terms are written as
#
#     terms:
#       - {type: Pair, cutoff: 5.0, delta: 5.0}
#       - {type: Triplet, cutoff: 4.0, delta: 0.3, n_sparse: 150}
#       - {descriptor: {type: SOAP, cutoff: 5.0}, n_sparse: 200}

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "silicon.gap"
    gap.save(path)
    loaded = GAP.load(path)
assert [type(term).__name__ for term in loaded.terms] == ["Pair", "Triplet", "Term", "Linear", "Linear"]
assert np.array_equal(loaded.predict(atoms).forces[0], gap.predict(atoms).forces[0])
print("loaded:", ", ".join(type(term).__name__ for term in loaded.terms))
