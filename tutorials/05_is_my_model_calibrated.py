# %% [markdown]
# # 5. Is my model calibrated?
#
# An error bar is a promise: of all energies predicted with ± σ, 68 % shall lie within one σ of the truth and 95 %
# within two. Promises can be checked. This lesson checks them on frames that the model has not seen, without such
# frames, repairs them, and then leaves the ground on which they were made: a liquid, when only crystals were fitted.
"""Tutorial 5: coverage, z-scores, recalibration, conformal intervals, ranking, and what a shift does to all of them."""

# %%
import numpy as np
from ase import Atoms

from gapkit import GAP, SOAP, DotProduct, Term
from gapkit.datasets import load_silicon
from gapkit.evaluation.calibration import calibration, calibration_by, calibration_in_words
from gapkit.evaluation.compare import evaluate
from gapkit.evaluation.comparison import Comparison
from gapkit.evaluation.conformal import coverage_range, fit_conformal
from gapkit.evaluation.leave_one_out import leave_one_out
from gapkit.evaluation.ranking import error_retention, per_atom
from gapkit.uncertainty.committees import committee
from gapkit.uncertainty.estimators import MemberStd, PosteriorStd, descriptor_distance, fit_scaled, with_std

train, test = load_silicon("train"), load_silicon("test")


def fit(frames: list[Atoms], learn: list[str] | None = None, **noises: float) -> GAP:
    """A silicon potential with 400 sparse points."""
    soap = SOAP(species=["Si"], cutoff=5.5, n_max=8, l_max=4, atom_sigma=0.5)
    chosen = {"energy_noise": 0.001, "forces_noise": 0.05, "virial_noise": 0.05} | noises
    gap = GAP([Term(soap, DotProduct(zeta=4), n_sparse=400)], verbose=False, **chosen)
    return gap.fit(frames, optimize=learn or False)


def show(name: str, comparison: Comparison) -> None:
    """Coverage and spread of the z-scores, one line."""
    found = calibration(comparison)
    inside = "  ".join(f"{100 * fraction:5.1f}" for fraction in found.coverage.values())
    print(f"{name:34s} {inside}   z {found.std_z:5.2f}   NLL {found.nll:6.2f}")


# %% [markdown]
# ## Coverage
#
# `evaluate(..., return_std="all")` lays labels, predictions and the standard deviation of a *new label* side by side:
# what the model does not know, and the noise of the label. The columns are the percentages inside the central 50, 68,
# 90 and 95 % intervals; z is the standard deviation of error/σ, 1 if the error bars have the right size; NLL is the
# mean negative log likelihood, which rewards error bars that are small *and* right.

# %%
gap = fit(train)
held_out = evaluate(gap, test, return_std="all")
for kind, comparison in held_out.comparisons.items():
    show(f"{kind}, test file", comparison)
    print("   ", calibration_in_words(comparison, kind))
raw = {kind: calibration(comparison) for kind, comparison in held_out.comparisons.items()}
assert min(raw["energy"].scale, raw["forces"].scale) > 1.1, "the noises were set too small"

# %% [markdown]
# The model was told that energies are good to 1 meV/atom and forces to 0.05 eV/Å, and takes what it leaves unexplained
# for exactly that. Its error bars are too small.
#
# Is that significant? 73 energies are 73 independent numbers, and a coverage of 90 % found with so many fluctuates by
# `coverage_se`. Force components are many more, but those of one frame err together: frames are counted, not values.

# %%
found, spread = 100 * raw["energy"].coverage[0.9], 100 * raw["energy"].coverage_se[0.9]
chance = f"{90 - 2 * spread:.0f} to {90 + 2 * spread:.0f} %"
print(f"90 % intervals hold {found:.0f} % of the energies; {chance} would be chance")
assert found < 90 - 2 * spread

# %% [markdown]
# ## Without a test set: leave one out
#
# Every training frame can be predicted by a fit without it, exactly and without a refit. The result is a comparison
# like the one above, so that no frame has to be held back to find out.

# %%
left_out = leave_one_out(gap, train)
for kind, comparison in left_out.comparisons.items():
    show(f"{kind}, training frames left out", comparison)
alone = {kind: calibration(comparison).scale for kind, comparison in left_out.comparisons.items()}
assert 0.8 < alone["forces"] / raw["forces"].scale < 1.25, "frames left out tell what the test file tells"
assert alone["energy"] > raw["energy"].scale, "a few training frames have no like among the others"

# %% [markdown]
# ## Two repairs
#
# **A factor.** `recalibrate` multiplies all standard deviations by one number for the energies, one for the stresses
# and one for the forces on each species, those that make the left-out labels most likely. They are kept in the model,
# and in its file, with their origin. The mean of z² decides, so that a few frames which resemble no other raise the
# factor of all: it errs on the safe side.
#
# **Better noises.** Let the labels decide how noisy each config type is, and how large δ: `optimize`. That changes
# the fit, too.

# %%
learned = fit(train, ["config_type", "delta"])
gap.recalibrate(left_out.comparisons, how="leave-one-out", source="the training frames")
print("factors:", {name: round(scale, 2) for name, scale in gap.recalibration_.scales.items()})
repaired = {
    "as set": held_out,
    "one factor": evaluate(gap, test, "all"),
    "learned noises": evaluate(learned, test, "all"),
}
for kind in ("energy", "forces"):
    for name, evaluation in repaired.items():
        show(f"{kind}, {name}", evaluation.comparisons[kind])
forces = {name: calibration(evaluation.forces) for name, evaluation in repaired.items()}
assert 0.8 < forces["one factor"].scale < 1.2
assert calibration(repaired["one factor"].energy).coverage[0.9] > 0.9, "safe, if too wide"
assert forces["learned noises"].nll < forces["one factor"].nll < forces["as set"].nll

# %% [markdown]
# ## Right on average is not right everywhere
#
# One factor cannot know that liquids are harder than crystals: their error bars stay too small and those of crystals
# become too large. Noises by config type can, as far as one number per config type goes.

# %%
print("root mean square z of the forces         one factor   learned noises")
by_type = {name: calibration_by(repaired[name].forces, "config_type") for name in ("one factor", "learned noises")}
for name, found in by_type["one factor"].items():
    print(f"{name:38s} {found.scale:12.2f}   {by_type['learned noises'][name].scale:14.2f}")


def unevenness(found: dict) -> float:
    """Scatter of log z over the config types that have forces to speak of."""
    return float(np.std([np.log(part.scale) for name, part in found.items() if name != "diamond_volume"]))


assert unevenness(by_type["learned noises"]) < unevenness(by_type["one factor"])

# %% [markdown]
# ## Intervals with a guarantee
#
# Errors are not Gaussian: one factor gets one level right, not all. A conformal interval takes the quantile of error/σ
# from frames that were not fitted, and then holds at its level for new frames *of the same kind*, whatever the
# distribution. With half of the test file to calibrate on, how close to 90 % must the other half come?

# %%
half = held_out.energy.structure % 2 == 0
conformal = fit_conformal(held_out.energy.select(half))
covered = conformal.coverage(held_out.energy.select(~half), 0.9)["all"]
lower, upper = coverage_range(int(half.sum()), int((~half).sum()), 0.9, 0.99)
print(f"90 % interval: ± {conformal.factor(0.9):.2f} σ; holds {100 * covered:.0f} % of the other half's energies")
print(f"in 99 of 100 such splits between {100 * lower:.0f} and {100 * upper:.0f} %")
assert lower <= covered <= upper
assert conformal.factor(0.9) > 1.645, "the raw error bars were too small for the normal quantile"

# %% [markdown]
# ## Which atoms are wrong?
#
# Active learning does not need the size of an error bar, only the order. `per_atom` joins the components of the force
# on each atom; the retention gain is 1 if removing atoms by error bar is as good as removing them by error, 0 if it is
# as good as chance. Within one config type the order is much harder to tell: most of the error bar is noise,
# which is the same for all.

# %%
atoms = per_atom(repaired["learned noises"].forces)
overall = calibration(repaired["learned noises"].forces).atom_rank_correlation
within = {name: found.atom_rank_correlation for name, found in by_type["learned noises"].items()}
gain = error_retention(atoms).gain
print(f"rank correlation of error bar and force error: {overall:.2f} over all atoms, retention gain {gain:.2f}")
print("within config types:", {name: round(value, 2) for name, value in within.items() if value is not None})
median = np.median([value for value in within.values() if value is not None])
assert overall > 0.6
assert median < overall - 0.3, "what is told apart are config types rather than atoms"

# %% [markdown]
# ## Where no promise holds: another phase
#
# Now fit strained and warm crystals only, keep some to recalibrate and to make intervals, and predict liquids, surfaces
# and vacancies. Other error bars come along on the same predictions: "sor" without what the sparse points leave open,
# a committee of fits to bootstrap resamples, and the distance from the nearest sparse point, scaled on the crystals.

# %%
CRYSTAL = ("diamond_rattled", "diamond_strained", "diamond_volume", "md_300K", "md_600K", "isolated_atom")
SHIFTED = ("liquid", "surface_100", "surface_111", "vacancy")
crystals = [frame for frame in train if frame.info["config_type"] in CRYSTAL]
near = [frame for frame in test if frame.info["config_type"] in CRYSTAL]
far = [frame for frame in test if frame.info["config_type"] in SHIFTED]
narrow = fit(crystals, energy_noise=0.003, forces_noise=0.1)
plain = {
    name: evaluate(narrow, frames, return_std=False).comparisons for name, frames in (("near", near), ("far", far))
}
estimates = {
    "posterior, dtc": PosteriorStd(narrow),
    "posterior, sor": PosteriorStd(narrow, "sor"),
    "committee": MemberStd(committee(narrow, crystals, n=20, rng=0, n_chunks=12)),
    "distance": fit_scaled(descriptor_distance(narrow), narrow, near, plain["near"]),
}
rank, z, covered_far = {}, {}, {}
for name, estimate in estimates.items():
    scored = {
        where: with_std(narrow, estimate, frames, plain[where]) for where, frames in (("near", near), ("far", far))
    }
    found = calibration(scored["far"]["forces"])
    show(f"forces, {name}: crystals", scored["near"]["forces"])
    show(f"forces, {name}: shifted", scored["far"]["forces"])
    rank[name], z[name] = found.atom_rank_correlation, calibration(scored["far"]["energy"]).scale
    intervals = fit_conformal(scored["near"]["energy"]).intervals(scored["far"]["energy"], 0.9)
    reference = scored["far"]["energy"].reference
    covered_far[name] = np.mean((reference >= intervals.lower) & (reference <= intervals.upper))
print("shifted             rank per atom   z of the energies   conformal interval of 90 % holds")
for name in estimates:
    print(f"{name:18s}  {rank[name]:13.2f}   {z[name]:17.1f}   {100 * covered_far[name]:28.0f} %")
assert min(rank.values()) > 0.4, "all tell the worse atoms from the better"
assert z["posterior, dtc"] < z["committee"] < z["distance"], "members that cannot express something agree on it"
assert covered_far["posterior, dtc"] < 0.7, "a promise made on crystals does not hold elsewhere"

# %% [markdown]
# What to take home:
#
# - The posterior as it is ("dtc") has the right size on the liquid and the surfaces, and is several times too large on
#   the crystals. Whoever repairs it *there*, by a factor or an interval, breaks it *here*: calibrate on frames like
#   those that you want to predict.
# - A committee and the distance are cheaper, rank about as well, and promise far too much once the ground shifts.
# - No estimate here knows of errors that no potential of this form can avoid. The posterior books them as noise, and
#   with ever more data it becomes certain of a wrong mean (arXiv:2502.07104). Only labels tell.
# - Over all atoms error bars rank well; within one run of dynamics or one liquid hardly at all.
#
# `benchmarks/uncertainty.py` does all of this on larger data, for more estimates; what it printed is in
# `benchmarks/RESULTS.md`.
