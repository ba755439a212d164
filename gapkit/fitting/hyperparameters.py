"""Hyperparameters that a fit learns: noises, amplitudes, and outlier frames with a noise of their own."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from gapkit.errors import InputError, did_you_mean
from gapkit.fitting.noise import OUTLIER, Group, Noise, Noises
from gapkit.fitting.second_pass import Factors, Recipe, frame_rows, left_out, stream_rows
from gapkit.gaussian_process.hyperparameter_search import Amplitude, maximise
from gapkit.gaussian_process.leave_out_objective import FrameRows, least_errors
from gapkit.gaussian_process.optimum import Optimum
from gapkit.quantities import KINDS
from gapkit.runtime.threads import ordered_map
from gapkit.structures.frames import Frame, Frames
from gapkit.structures.random_subset import RandomSubset
from gapkit.structures.reference_energies import names_isolated_atoms

ROWS_BYTES = 2**27  # rows of the frames that are left out: 14 000 labels of 1200 sparse points
VECTORS = 16  # of n_sparse numbers that each frame takes besides its rows

logger = logging.getLogger("gapkit")

OPTIONS = ("noise", "delta", "config_type", "outliers", "leave_out")
SUSPICIOUS = 3.0  # z of a left-out frame that may be an outlier
MOST_OUTLIERS = 50


def parse_optimize(optimize: bool | str | Sequence[str]) -> frozenset[str]:
    """Names of the hyperparameters that `GAP.fit` is to learn, with "noise" where others imply it.

    Raises
    ------
    InputError
        For an unknown name.
    """
    names = ["noise", "delta"] if optimize is True else [optimize] if isinstance(optimize, str) else optimize or []
    if not isinstance(names, Iterable):
        raise InputError(f"optimize = {optimize!r} must be True, False or a list of {', '.join(OPTIONS)}.")
    for name in names:
        if name not in OPTIONS:
            raise InputError(
                f"optimize names {name!r}{did_you_mean(str(name), OPTIONS)}: use {', '.join(OPTIONS)}, or True."
            )
    wanted = {*names, "delta"} if "leave_out" in names else set(names)
    return frozenset(wanted | {"noise"} if wanted & {"config_type", "outliers", "leave_out"} else wanted)


def learn_hyperparameters(
    recipe: Recipe, factors: Factors, jitter: float, wanted: frozenset[str], frames: Frames, random_state: int
) -> tuple[Recipe, Factors, Optimum | None]:
    """Recipe and factors with the noises and amplitudes that were `wanted`; unchanged if none are."""
    if not wanted:
        return _by_group(recipe, factors), factors, None
    optimum, by_evidence = None, wanted - {"leave_out"}
    if wanted & {"config_type", "outliers"} or "leave_out" not in wanted:
        recipe, factors, optimum = _optimised(recipe, factors, jitter, by_evidence, {}, random_state)
    if optimum is not None and "outliers" in wanted:
        suspects = _suspects(recipe, optimum, frames)
        if suspects:
            recipe, factors, parents = _set_apart(recipe, factors, suspects)
            recipe, factors, optimum = _optimised(recipe, factors, jitter, by_evidence, parents, random_state)
        else:
            logger.info("outliers: no frame misses its prediction by more than %g standard deviations", SUSPICIOUS)
    if "leave_out" in wanted:
        return _with_least_errors(recipe, factors, jitter, frames, random_state)
    return recipe, factors, optimum


def _optimised(
    recipe: Recipe, factors: Factors, jitter: float, wanted: frozenset[str], parents: dict[Group, Group], seed: int
) -> tuple[Recipe, Factors, Optimum]:
    noise = {group: recipe.noises.std(group) for group in factors}
    amplitudes = amplitudes_of(recipe)
    fixed: set[Group | str] = {*_groups_of_isolated_atoms(factors)} if "noise" in wanted else {*factors}
    fixed |= set() if "delta" in wanted else {amplitude.name for amplitude in amplitudes}
    K_mm = recipe.basis.K_mm()
    n_starts = 1 if parents else 3  # with outliers apart the search starts from the optimum before
    options = {"jitter": jitter, "fixed": fixed, "parents": parents, "n_starts": n_starts, "random_state": seed}
    return _taken(recipe, factors, maximise(K_mm, factors, noise, amplitudes, **options))  # type: ignore[arg-type]


def _groups_of_isolated_atoms(groups: Iterable[Group]) -> set[Group]:
    """Groups that define e0, as exactly as their noise says: a handful of labels cannot determine that noise."""
    return {group for group in groups if names_isolated_atoms(group[1])}


def _with_least_errors(
    recipe: Recipe, factors: Factors, jitter: float, frames: Frames, seed: int
) -> tuple[Recipe, Factors, Optimum]:
    noise = {group: recipe.noises.std(group) for group in factors}
    K_mm = recipe.basis.K_mm()
    rows = (rows_of(recipe, frame) for frame in chosen_frames(recipe, frames, seed))
    optimum = least_errors(
        K_mm, factors, noise, amplitudes_of(recipe), rows, jitter=jitter, fixed=_groups_of_isolated_atoms(factors)
    )
    return _taken(recipe, factors, optimum)


def _taken(recipe: Recipe, factors: Factors, optimum: Optimum) -> tuple[Recipe, Factors, Optimum]:
    """Recipe and factors with the noises and amplitudes of the optimum."""
    for factor in factors.values():
        factor.rescale(optimum.column_scale)
    terms = tuple(
        term.with_delta(optimum.amplitudes[amplitude.name])
        for term, amplitude in zip(recipe.basis.terms, amplitudes_of(recipe))
    )
    return (
        recipe._replace(basis=replace(recipe.basis, terms=terms), noises=_learned(recipe.noises, optimum.noise)),
        factors,
        optimum,
    )


def as_rows(optimum: Optimum | None) -> list[dict[str, Any]]:
    """The rows of the optimum's table as JSON data."""
    names = ("name", "unit", "start", "value", "low", "high", "std_log", "n_labels", "effective")
    found = [] if optimum is None else optimum.hyperparameters
    return [{name: getattr(h, name) for name in names} | {"note": h.note()} for h in found]


def amplitudes_of(recipe: Recipe) -> list[Amplitude]:
    """The amplitude of each term, with the sparse points that it belongs to."""
    terms = recipe.basis.terms
    names = [f"terms__{t}__{term.delta_parameter}" for t, term in enumerate(terms)] if len(terms) > 1 else ["delta"]
    return [Amplitude(names[t], term.delta, recipe.basis.columns_of(t)) for t, term in enumerate(terms)]


def _learned(noises: Noises, by_group: Mapping[Group, float]) -> Noises:
    """Noises by kind from those by group; config types that are not there get the largest as "default"."""
    learned: dict[str, Noise] = {}
    for kind in KINDS:
        own = {name: x for (k, name), x in by_group.items() if k == kind and not name.startswith(OUTLIER)}
        if not own:
            learned[kind] = getattr(noises, kind)
        elif "all" in own and not isinstance(getattr(noises, kind), Mapping) and not noises.by_config_type:
            learned[kind] = own["all"]
        else:
            learned[kind] = {**own, "default": own.get("default", max(own.values()))}
    outliers = {
        group[1]: {kind: by_group[kind, group[1]] for kind in KINDS if (kind, group[1]) in by_group}
        for group in by_group
        if group[1].startswith(OUTLIER)
    }
    return Noises(learned["energy"], learned["forces"], learned["virial"], False, outliers)


def _by_group(recipe: Recipe, factors: Factors) -> Recipe:
    """The same noises, by name for each config type that was a group of its own."""
    if not recipe.noises.by_config_type:
        return recipe
    return recipe._replace(noises=_learned(recipe.noises, {group: recipe.noises.std(group) for group in factors}))


# ---- outliers


def _suspects(recipe: Recipe, optimum: Optimum, frames: Frames) -> list[Frame]:
    """The frames that the others contradict most, at most `MOST_OUTLIERS`."""
    found = ordered_map(lambda frame: (frame, left_out(recipe, optimum.posterior, frame)), frames)
    worst = ((max(_size(part.z) for part in out.labels), frame) for frame, out in found if out.labels)
    suspects = sorted(((z, k, frame) for k, (z, frame) in enumerate(worst) if z > SUSPICIOUS), key=lambda s: -s[0])
    return [frame for _, _, frame in islice(suspects, MOST_OUTLIERS)]


def _size(z: np.ndarray) -> float:
    return float(np.sqrt(np.mean(z**2)))


def _set_apart(
    recipe: Recipe, factors: Factors, suspects: Sequence[Frame]
) -> tuple[Recipe, Factors, dict[Group, Group]]:
    """Each suspect's rows in groups of their own, and the groups that these come from."""
    noises, outliers = recipe.noises, {}
    parents: dict[Group, Group] = {}
    for frame in suspects:
        kinds = [kind for kind in KINDS if getattr(frame.labels, kind) is not None]
        old = {kind: noises.group(kind, frame) for kind in kinds}
        name = OUTLIER + frame.digest()
        outliers[name] = {kind: noises.std(group) for kind, group in old.items()}
        parents |= {(kind, name): group for kind, group in old.items()}
    apart = recipe._replace(noises=noises._replace(outliers={**noises.outliers, **outliers}))
    for group, change in stream_rows(recipe, suspects, {}, remove=True).items():
        factors[group].merge(change)
    return apart, stream_rows(apart, suspects, factors), parents


def chosen_frames(recipe: Recipe, frames: Iterable[Frame], random_state: int, n_bytes: int = ROWS_BYTES) -> list[Frame]:
    """Frames at random, as many as have rows within `n_bytes`, at least one; not those set apart as outliers."""
    most, rng = n_bytes // (8 * recipe.n_sparse), np.random.default_rng(random_state)
    chosen = RandomSubset[Frame](lambda _, n_rows, __: n_rows > most, fair=False)
    for frame in frames:
        if _n_labels(frame) and not _is_apart(recipe, frame):
            chosen.add(frame, _n_labels(frame) + VECTORS, -rng.random())
    return chosen.in_order()


def _n_labels(frame: Frame) -> int:
    return sum(np.size(value) for kind in KINDS if (value := getattr(frame.labels, kind)) is not None)


def _is_apart(recipe: Recipe, frame: Frame) -> bool:
    return OUTLIER + frame.digest() in recipe.noises.outliers


def rows_of(recipe: Recipe, frame: Frame) -> FrameRows:
    """The rows of one frame."""
    parts = frame_rows(recipe, frame)
    return FrameRows(
        np.concatenate([np.full(len(part.y), KINDS.index(part.group[0])) for part in parts]),
        [part.group for part in parts for _ in part.y],
        np.concatenate([part.K / part.scale for part in parts]),
        np.concatenate([part.y / part.scale for part in parts]),
    )
