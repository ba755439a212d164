"""A first configuration for labelled data: a preset adapted to them, with a reason for every choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np

from gapkit.errors import InputError
from gapkit.model_selection.commented_yaml import Path, as_comment, commented_yaml
from gapkit.model_selection.electronegativity import IONIC, largest_contrast, neutral_charges
from gapkit.model_selection.fit_cost import Cost, cost_of_a_fit
from gapkit.model_selection.suggested_noises import suggested_noises
from gapkit.model_selection.suggestion_reasons import description, reasons_of
from gapkit.potential.gap import GAP
from gapkit.potential.presets import SOURCES, preset_named, preset_settings, preset_terms, typical_distance
from gapkit.potential.settings import ModelSettings, settings_from_dict
from gapkit.runtime.memory import in_bytes, in_words
from gapkit.runtime.progress import duration
from gapkit.structures.frames import Frames, Structures, labelled_frames
from gapkit.structures.labels import LabelKeys
from gapkit.structures.lint import warnings_of
from gapkit.structures.statistics import DataFacts, find_facts
from gapkit.terms.protocol import AdditiveTerm
from gapkit.terms.serialisation import term_to_dict

BUDGET = "4GB"  # memory that a first fit may take
LIQUIDS = ("liquid", "melt", "water", "solution", "amorphous", "glass")  # in names of config types
NONMETALS = frozenset(("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Se", "Br", "I"))
SPACINGS = (0.6, 2.2)  # times d: a measured spacing outside is that of a gas or a mistake
LEAST_SPARSE = 10
# defaults, which a configuration need not name
DEFAULTS = {"species_weights": None, "engine": "numba", "compression": "off", "smoothness": 1.0, "tolerance": 1e-10,
            "scales": None, "sparsification": "fps", "shortest": None, "transform": "logarithm",
            "charges": None}  # fmt: skip


@dataclass(frozen=True)
class Suggestion:
    """A configuration for data, with its reasons.

    Attributes
    ----------
    preset : str
        The entry of `gapkit.potential.presets.PRESETS` that it comes from.
    why : str
        Why this preset.
    gap : GAP
        The potential, not fitted yet.
    settings : dict
        The configuration as plain data; ZBL takes its radii from the data of the fit.
    reasons : dict of tuple to str
        By the path of a value in `settings`, such as ("terms", 0, "cutoff").
    warnings : tuple of str
        What the data lack, a sentence each.
    facts : DataFacts
    cost : Cost
    """

    preset: str
    why: str
    gap: GAP
    settings: dict[str, Any]
    reasons: dict[Path, str]
    warnings: tuple[str, ...]
    facts: DataFacts
    cost: Cost

    def yaml(self, files: Sequence[str] = ("train.xyz",), name: str = "config.yaml") -> str:
        """The configuration with all reasons as comments; `files` and `name` are for the command that it shows."""
        command = f"gapkit fit {' '.join(files)} --config {name} -o model.gap"
        body = commented_yaml(self.settings, self.reasons)
        lines = [
            f"A first configuration by gapkit {version('gapkit')}, preset {self.preset!r}: {self.why}. Fit with",
            "",
            f"    {command}",
            "",
            *description(self.facts),
            f"The fit: {self._cost_in_words()} on one core (within a factor of three).",
        ]
        if self.warnings:
            lines += ["", "Warnings:", *(f"- {sentence}" for sentence in self.warnings)]
        legend = [f"({key}) {source}" for key, source in SOURCES.items() if f"({key})" in body]
        lines += ["", "Sources named below:", *(f"- {line}" for line in legend)] if legend else []
        return "\n".join(as_comment("\n".join(lines))) + "\n\n" + body

    def with_keys(self, keys: Mapping[str, str]) -> Suggestion:
        """The same with names of labels, by the fields of `LabelKeys`."""
        reasons = {**self.reasons, ("keys",): "where the labels are, as given"}
        return replace(self, settings={**self.settings, "keys": dict(keys)}, reasons=reasons)

    def summary(self) -> str:
        """The choice and the warnings, in a few lines."""
        lines = [f"preset {self.preset!r}: {self.why}", f"the fit: {self._cost_in_words()} on one core"]
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])

    def _cost_in_words(self) -> str:
        cost = self.cost
        return f"{cost.n_columns} weights, about {in_words(cost.memory)} and {duration(max(cost.seconds, 1.0))}"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the potential as JSON data; reasons by paths with dots."""
        reasons = {".".join(map(str, path)): why for path, why in self.reasons.items()}
        return {
            "preset": self.preset,
            "why": self.why,
            "configuration": self.settings,
            "reasons": reasons,
            "warnings": list(self.warnings),
            "weights": self.cost.n_columns,
            "memory_bytes": self.cost.memory,
            "seconds": self.cost.seconds,
        }


def suggest(
    structures: Structures,
    keys: LabelKeys | None = None,
    *,
    preset: str | None = None,
    max_memory: str | float = BUDGET,
    verbose: bool = True,
) -> Suggestion:
    """Read labelled frames and choose a preset, cutoffs, sparse points and noises for them.

    Parameters
    ----------
    structures : sequence of Atoms, path or paths, or iterable of Atoms
        With energies, forces, stresses or virials; read twice.
    keys : LabelKeys, optional
        Where the labels are; found if not given.
    preset : {"solid", "molecule", "liquid", "ionic"}, optional
        Chosen from the data if not given.
    max_memory : str or float
        Such as "4GB"; limits the number of sparse points.
    verbose : bool
        Of the `GAP`.

    Raises
    ------
    InputError
        If there are no labels, for data that `GAP.fit` would not take, for "ionic" where its sums are not defined.
    """
    if preset is not None:
        preset_named(preset)
    budget = in_bytes(max_memory) or in_bytes(BUDGET)
    frames = labelled_frames(structures, keys)
    facts = find_facts(frames)
    name, why = _chosen(facts) if preset is None else (preset, "as asked for")
    _check(name, facts)
    noises = suggested_noises(name, facts)
    terms, reach_why = _terms(name, facts)
    terms, sparse_why = _affordable(name, terms, facts, int(budget or 0), noises.groups)
    settings = {"terms": [_short(term_to_dict(term)) for term in terms], **preset_settings(name), **noises.by_kind}
    reasons = reasons_of(name, settings, noises.why, reach_why, sparse_why)
    gap = _gap(settings_from_dict(settings), facts, frames, verbose)
    cost = cost_of_a_fit(terms, facts, noises.groups, settings["optimize"])
    cutoff = max(term.reach or 0.0 for term in terms)
    return Suggestion(name, why, gap, settings, reasons, tuple(warnings_of(facts, cutoff)), facts, cost)


def _gap(settings: ModelSettings, facts: DataFacts, frames: Frames, verbose: bool) -> GAP:
    """The potential that `gapkit fit` makes from the settings."""
    species = sorted(facts.species)
    baseline = settings.make_baselines(species, (frame.atoms for frame in frames))
    return GAP(settings.make_terms(species), **settings.parameters(), baseline=baseline, verbose=verbose)


# ---- which preset


def _chosen(facts: DataFacts) -> tuple[str, str]:
    """Name of a preset and why."""
    several = facts.molecules + facts.crystals + facts.partial
    if facts.molecules > 0.5 * several or not several:
        return "molecule", f"{facts.molecules} of {facts.n_frames} frames have no periodic directions"
    contrast, obstacle = largest_contrast(facts.species), _obstacle(facts)
    if contrast is not None and contrast.ionic:
        differ = f"electronegativities of {contrast.cation} and {contrast.anion} differ by {contrast.difference:.2f}"
        if obstacle is None:
            return "ionic", f"{differ}, {IONIC} or more makes ions"
        return "solid", f"{differ}, but {obstacle}"
    named = sum(n for name, n in facts.config_types.items() if any(word in name.lower() for word in LIQUIDS))
    if 2 * named > facts.n_frames:
        return "liquid", f"{named} of {facts.n_frames} frames have a config type of liquids or glasses"
    if "H" in facts.species and NONMETALS.issuperset(facts.species):
        return "liquid", "periodic cells of non-metals with hydrogen hold molecules"
    return "solid", "periodic cells, neither ionic nor molecular"


def _obstacle(facts: DataFacts) -> str | None:
    """Why 1/r cannot be summed in all frames; None if it can."""
    if len(facts.species) < 2:
        return "there is one species, whose charges cannot cancel"
    if facts.partial:
        return f"{facts.partial} frames are periodic in one or two directions only, in which 1/r is not summed"
    if facts.one_species_cells:
        return f"{facts.one_species_cells} periodic cells hold one species, whose charges cannot cancel"
    return None


def _check(name: str, facts: DataFacts) -> None:
    if preset_named(name).long_range is not None and (obstacle := _obstacle(facts)) is not None:
        raise InputError(
            f"the preset {name!r} does not suit these frames: {obstacle}: set pbc=False for isolated atoms, give "
            "slabs a vacuum and pbc=True, or use the preset 'solid'."
        )


# ---- terms


def _terms(name: str, facts: DataFacts) -> tuple[list[AdditiveTerm], str]:
    """Terms whose cutoff follows the spacing of the data where there is one, and why."""
    preset, species = preset_named(name), list(facts.species)
    d, of = typical_distance(species), "covalent radii (no bulk volume to measure)"
    if facts.spacing is not None and SPACINGS[0] * d <= facts.spacing <= SPACINGS[1] * d:
        d, of = facts.spacing, "the volume per atom, V^(1/3)"
    cutoff = round(float(np.clip(preset.cutoff * d, *preset.limits)), 1)
    kept = (
        ""
        if preset.limits[0] < cutoff < preset.limits[1]
        else f", kept within {preset.limits[0]} to {preset.limits[1]} Å"
    )
    about = f"about {facts.n_neighbours(cutoff):.0f} neighbours"
    terms = preset_terms(name, species, cutoff, charges=_charges(facts))
    return terms, f"{preset.cutoff} x {d:.2f} Å from {of}{kept}: {about}"


def _charges(facts: DataFacts) -> dict[str, int] | None:
    """Relative charges where one ratio is neutral in every frame: two species in one composition."""
    return neutral_charges(dict(*facts.ratios)) if len(facts.species) == 2 and len(facts.ratios) == 1 else None


def _affordable(
    name: str, terms: list[AdditiveTerm], facts: DataFacts, budget: int, n_noises: int
) -> tuple[list[AdditiveTerm], str]:
    """The terms with no more sparse points than environments and memory allow, and the reason for their number."""
    least, limited = min(facts.species.values()), ""
    while cost_of_a_fit(terms, facts, n_noises, preset_named(name).optimize).memory > budget:
        fewer = [_with_sparse(term, 0.8) for term in terms]
        if fewer == terms:
            limited = f"the fewest; the fit still takes more than {in_words(budget)}"
            break
        terms, limited = fewer, f"as many as fit into {in_words(budget)}"
    terms = [_at_most(term, facts) for term in terms]
    for term in terms:
        if not limited and isinstance(term.n_sparse_by_species, dict):
            limited = f"no more than there are environments of a species (fewest: {least})"
    return terms, limited


def _with_sparse(term: AdditiveTerm, share: float) -> AdditiveTerm:
    n_sparse = term.n_sparse_by_species
    if not isinstance(n_sparse, int):
        return term
    return term.with_n_sparse(max(int(share * n_sparse), min(LEAST_SPARSE, n_sparse)))


def _at_most(term: AdditiveTerm, facts: DataFacts) -> AdditiveTerm:
    """One number for each species where one of them has fewer environments."""
    n_sparse = term.n_sparse_by_species
    if not isinstance(n_sparse, int) or n_sparse <= min(facts.species.values()):
        return term
    return term.with_n_sparse({symbol: min(n_sparse, n) for symbol, n in facts.species.items()})


def _short(data: dict[str, Any]) -> dict[str, Any]:
    """A term as plain data without defaults."""
    found = {}
    for key, value in data.items():
        if (key in DEFAULTS and DEFAULTS[key] == value) or (key == "n_sparse" and value is None):
            continue
        found[key] = _short(value) if isinstance(value, dict) and key != "n_sparse" else value
    return found
