"""Exact updates of a fitted model from its row factors: frames added or removed, sparse points added."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols

from gapkit.checks import is_count
from gapkit.errors import InputError
from gapkit.fitting.first_pass import Selection, Summary, checked_candidates
from gapkit.fitting.second_pass import Factors, Recipe, stream_rows
from gapkit.gaussian_process.posterior import SparsePosterior, fit_posterior
from gapkit.gaussian_process.sparsification import farthest_points, find_distinct
from gapkit.geometry.distances import shorter, shortest_distances
from gapkit.quantities import KINDS
from gapkit.runtime.threads import ordered_map
from gapkit.structures.frames import Frame, Frames
from gapkit.terms.basis import Basis

CANDIDATES = 20  # environments kept for each sparse point to be added


def solve(recipe: Recipe, factors: Factors, jitter: float) -> SparsePosterior:
    """The posterior from rows, noises and sparse points."""
    noise = {group: recipe.noises.std(group) for group in factors}
    return fit_posterior(recipe.basis.K_mm(), factors, noise, jitter)


# ---- frames


class Fitted(NamedTuple):
    """What a fitted model keeps of its training frames: row factors, counts and fingerprint, identities."""

    factors: Factors
    training: dict[str, Any]
    frames: Counter[int]


def updated(recipe: Recipe, present: Fitted, frames: Frames, remove: bool) -> Fitted:
    """The same with some frames added or, with `remove`, taken out; `present` is not changed."""
    summary = Summary()
    summary.sha256 = present.training["sha256"]
    reach = recipe.basis.terms[recipe.basis.longest].reach
    shortest = dict(present.training.get("shortest_distances", {}))

    def count(frame: Frame) -> None:
        summary.add(frame, recipe.noises)
        if remove and summary.frames[frame.identity()] > present.frames[frame.identity()]:
            raise InputError(
                f"frame {summary.n_structures - 1} of those to be removed ({frame.atoms.get_chemical_formula()}) is "
                "not among the training frames, or was removed before: give frames with the labels that were fitted."
            )
        if reach and not remove:
            shortest.update(shorter(shortest, shortest_distances([frame.atoms], reach)))

    changes = stream_rows(recipe, _known(recipe, frames), {}, count, remove=remove)
    summary.check()
    total = present.frames - summary.frames if remove else present.frames + summary.frames
    if not total:
        raise InputError("all training frames would be removed: leave at least one.")
    factors = present.factors | changes
    for group in present.factors.keys() & changes.keys():
        factors[group] = present.factors[group].copy()
        factors[group].merge(changes[group])
    training = _counted(present.training, summary, -1 if remove else 1)
    return Fitted(factors, training | {"shortest_distances": shortest}, total)


def _known(recipe: Recipe, frames: Iterable[Frame]) -> Iterable[Frame]:
    known = set(recipe.basis.known_numbers(recipe.e0))
    for frame in frames:
        if new := sorted(set(frame.atoms.numbers.tolist()) - known):
            raise InputError(
                f"{', '.join(chemical_symbols[z] for z in new)} has no sparse points in this model: "
                "fit again with all frames, a species cannot be added later."
            )
        yield frame


def _counted(training: dict[str, Any], change: Summary, sign: int) -> dict[str, Any]:
    counts = {name: dict(row) for name, row in training["config_types"].items()}
    for name, row in change.config_types.items():
        own = counts.setdefault(name, dict.fromkeys(("frames", "atoms", *KINDS), 0))
        for key, n in row.items():
            own[key] += sign * n
    counts = {name: row for name, row in counts.items() if row["frames"] > 0}
    n_structures = training["n_structures"] + sign * change.n_structures
    return {"n_structures": n_structures, "config_types": counts, "sha256": change.sha256}


# ---- sparse points


def with_more_sparse_points(
    recipe: Recipe, frames: Frames, training: dict[str, Any], candidates: Iterable[Frame], n_sparse: int
) -> tuple[Recipe, Factors]:
    """Recipe with up to `n_sparse` more points in each block, and the factors of all rows."""
    if not is_count(n_sparse):
        raise InputError(f"n_sparse = {n_sparse!r} more sparse points must be a positive whole number.")
    points = {
        block[:2]: np.concatenate([block.X, new]) if len(new) else block.X
        for block, new in zip(recipe.basis.blocks, _farthest(recipe.basis, candidates, int(n_sparse)))
    }
    larger = recipe._replace(basis=Basis.of_points(recipe.basis.terms, points))
    summary = Summary()
    factors: Factors = stream_rows(larger, frames, {}, lambda frame: summary.add(frame, recipe.noises))
    if summary.sha256 != training["sha256"]:
        raise InputError(
            f"these {summary.n_structures} frames are not the {training['n_structures']} training frames in their "
            "order: give exactly those that the model was fitted to."
        )
    return larger, factors


def counted(selection: Selection, basis: Basis) -> Selection:
    """How sparse points were chosen, with their present numbers."""
    found = {name: dict(chosen) for name, chosen in selection.items()}
    for block in basis.blocks:
        chosen = found.get(basis.block_name(block))
        if chosen is not None and chosen["n_selected"] != (n := len(block.X)):
            chosen |= {"n_selected": n, "text": f"{chosen['text'].partition('; now ')[0]}; now {n}"}
    return found


def _farthest(basis: Basis, frames: Iterable[Frame], n_sparse: int) -> list[np.ndarray]:
    """For each block, up to `n_sparse` environments by farthest point sampling that starts from the present points."""
    present = {own.block[:2]: own.block.X for own in basis.environment_blocks}
    pools = {key: X[:0] for key, X in present.items()}

    def found(frame: Frame) -> list[tuple[tuple[int, int], Any]]:
        return checked_candidates(basis.terms, frame).offered

    for offered in ordered_map(found, frames):
        for key, Q in offered:
            if key in pools:
                pools[key] = np.concatenate([pools[key], Q])
                if len(pools[key]) > 2 * CANDIDATES * n_sparse:
                    pools[key] = _least_alike(pools[key], present[key], CANDIDATES * n_sparse)
    new = {key: _farthest_points(pool, present[key], n_sparse) for key, pool in pools.items()}
    return [new.get(block[:2], block.X[:0]) for block in basis.blocks]


def _least_alike(Q: np.ndarray, X: np.ndarray, n: int) -> np.ndarray:
    """The `n` rows of Q whose nearest row of X is farthest."""
    return Q[np.sort(np.argsort((Q @ X.T).max(axis=1), kind="stable")[:n])]


def _farthest_points(Q: np.ndarray, X: np.ndarray, n: int) -> np.ndarray:
    """Up to `n` rows of Q, each the farthest from X and those before it; none nearer than 1e-6."""
    rows = np.concatenate([X, Q])
    chosen = farthest_points(rows, len(X) + min(n, len(Q)), np.arange(len(X))).chosen
    return rows[chosen[len(X) : len(find_distinct(rows[chosen]))]]  # once one is too near, so are all that follow
