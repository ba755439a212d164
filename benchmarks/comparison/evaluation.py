"""Parts that time whole evaluations side by side: silicon, species, sizes, sparse.

Every call is energy, forces and stress (with variance: and the variance of every local energy), the neighbour list
included, of a structure whose atoms have just moved, by the ASE calculators of both sides. gapkit's keeps a neighbour
list with a skin, as in dynamics; `NEW_SEARCH` is the same without one. Both potentials are fitted to the same energies
with the same number of sparse points per species. gapkit's radial basis is dscribe's GTO, QUIP's its default: the
features have the same number but for one constant.
"""

from __future__ import annotations

from functools import partial

from ase import Atoms

from comparison import lammps_snap, ours, quip
from comparison.recipe import Recipe
from comparison.results import Row
from comparison.settings import Settings
from comparison.structures import crystal, moving
from comparison.timing import Call, interleave, skipped

MEAN, VARIANCE, FORCE_VARIANCE = "E+F+S", "E+F+S, variance", "E+F+S, force variance"
NEW_SEARCH = "E+F+S, neighbours searched anew"


def silicon(settings: Settings) -> None:
    """The standard case; with per-atom variance; with n_max 12; and 64 atoms, for the comparison with FLARE."""
    n, M = settings.atoms, settings.n_sparse
    for n_atoms, recipe in ((n, Recipe(M)), (n, Recipe(M, n_max=12)), (64, Recipe(M))):
        for what in (MEAN, VARIANCE):
            side_by_side(settings, "silicon", recipe, n_atoms, what)
    side_by_side(settings, "silicon", Recipe(M), n, NEW_SEARCH)
    side_by_side(settings, "silicon", Recipe(M), 64, FORCE_VARIANCE)  # no peer of this run has it; FLARE has


def species(settings: Settings) -> None:
    """One, two and four species on the silicon lattice, full power spectrum; M sparse points for each, and in all."""
    for n_species in (1, 2, 4):
        for M in dict.fromkeys((settings.n_sparse, settings.n_sparse // n_species)):
            side_by_side(settings, "species", Recipe(M, n_species=n_species), settings.atoms, MEAN)


def sparse(settings: Settings) -> None:
    """Against the number of sparse points, with and without variance."""
    for M in settings.sparse_counts:
        for what in (MEAN, VARIANCE):
            side_by_side(settings, "sparse", Recipe(M), settings.atoms, what)


def sizes(settings: Settings) -> None:
    """Against the number of atoms; LAMMPS's SNAP (a linear model, for scale) joins in if it is installed."""
    recipe, seconds_per_atom = Recipe(settings.n_sparse), {}
    for n_atoms in sorted(settings.sizes):
        row = side_by_side(settings, "sizes", recipe, n_atoms, MEAN, seconds_per_atom, snap=True)
        timed = {name: t["seconds"] / n_atoms for name, t in row["engines"].items() if "seconds" in t}
        seconds_per_atom.update(timed)


def side_by_side(
    settings: Settings,
    part: str,
    recipe: Recipe,
    n_atoms: int,
    what: str,
    seconds_per_atom: dict[str, float] | None = None,
    snap: bool = False,
) -> Row:
    """One row: the engines that are installed, those left out that `seconds_per_atom` predicts to be too slow."""

    def run() -> Row:
        calls, missing = engines(settings, recipe, crystal(n_atoms, recipe.species), what, snap), {}
        for name, expected in (seconds_per_atom or {}).items():
            if expected * n_atoms > settings.call_limit and name in calls:
                del calls[name]
                missing[name] = skipped(f"about {expected * n_atoms:.0f} s a call")
        frames = moving(crystal(n_atoms, recipe.species))
        return {"engines": interleave(calls, frames, settings.repeats, settings.budget) | missing}

    fields = {"atoms": n_atoms, "n_sparse": recipe.n_sparse, "n_max": recipe.n_max, "what": what}
    label = f"{n_atoms} atoms; {recipe}; {what}"
    return settings.results.measure(part, label, run, **fields, n_species=recipe.n_species)


def engines(settings: Settings, recipe: Recipe, atoms: Atoms, what: str, snap: bool) -> dict[str, Call]:
    if what in (MEAN, VARIANCE):
        calls: dict[str, Call] = {"gapkit": partial(ours.calculate, ours.calculator(recipe, what == VARIANCE))}
    else:
        evaluate = ours.with_force_variance if what == FORCE_VARIANCE else ours.predict
        calls = {"gapkit": partial(evaluate, ours.fit(recipe))}
    if quip.installed() and what != FORCE_VARIANCE:
        potential = quip.fit(recipe, settings.work)
        calls["quippy"] = partial(quip.predict, quip.load(potential, what == VARIANCE))
    if snap and lammps_snap.installed():
        calls["LAMMPS SNAP"] = lammps_snap.Evaluation(atoms, settings.work)
    return calls
