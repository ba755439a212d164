"""The text of a suggestion: the reason for each value, and a description of the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gapkit.model_selection.commented_yaml import Path
from gapkit.potential.presets import WHY, preset_named, reason
from gapkit.quantities import UNITS
from gapkit.structures.statistics import DataFacts


def reasons_of(
    name: str, settings: Mapping[str, Any], noises: Mapping[str, str], reach: str, sparse: str
) -> dict[Path, str]:
    """Reasons of a configuration by the path of each value.

    Parameters
    ----------
    name : str
        Of the preset.
    settings : mapping
        The configuration.
    noises : mapping
        Reasons of the noises.
    reach, sparse : str
        Reasons of the longest cutoff and, if not the preset's, of the numbers of sparse points.
    """
    found: dict[Path, str] = {(kind,): why for kind, why in noises.items()}
    found["optimize",], found["baseline",] = reason("optimize", name), WHY["zbl"]
    found["baseline", 0, "type"] = "radii: 0.95 of the shortest distances in the data, at most a bond length"
    for k, term in enumerate(settings["terms"]):
        found |= {("terms", k, *path): why for path, why in _term_reasons(name, term, reach, sparse).items()}
    _explain_shorter(settings["terms"], found)
    return found


def _explain_shorter(terms: list[dict[str, Any]], found: dict[Path, str]) -> None:
    """Reasons for cutoffs shorter than the longest SOAP's; they keep the preset's proportions."""
    cutoffs = {k: term["descriptor"]["cutoff"] for k, term in enumerate(terms) if "descriptor" in term}
    for k, cutoff in cutoffs.items():
        if cutoff < max(cutoffs.values()):
            found["terms", k, "descriptor", "cutoff"] = "Å; shorter than the longest, with finer detail"


def _term_reasons(name: str, term: dict[str, Any], reach: str, sparse: str) -> dict[Path, str]:
    """Reasons of one term, by the path in it."""
    kind = term.get("type", "Term")
    if kind == "Linear":
        return {
            (): WHY["long_range"],
            ("function", "powers"): "of 1/r^n",
            ("function", "charges"): WHY["charges"],
            ("function", "width"): "Å; within it 1/r is damped and left to the other terms",
            ("delta",): f"eV Å; e²/(4πε₀), that of charges of one electron; {WHY['delta']}",
        }
    delta = f"eV; {WHY['delta']}"
    if kind in ("Pair", "Triplet"):
        near = "triangles are many, and matter among near neighbours"
        return {
            (): f"{kind}: {WHY[kind.lower()]}",
            ("cutoff",): f"Å; {reach if kind == 'Pair' else near}",
            ("cutoff_width",): "Å; over which the term fades out",
            ("length_scale",): f"Å; {WHY['length_scale'] if kind == 'Pair' else 'over which energies change'}",
            ("delta",): delta,
            ("n_sparse",): "sparse triangles per triple of species",
            ("table",): "step of the table that predictions use, in length scales",
        }
    total = max(rule.n_sparse for rule in preset_named(name).soaps)
    found: dict[Path, str] = {
        (): "SOAP: the remaining many-body part, by comparing whole environments",
        ("descriptor", "cutoff"): f"Å; {reach}; {reason('cutoff', name)}",
        ("descriptor", "n_max"): f"n_max, l_max: {reason('n_max, l_max', name)}",
        ("descriptor", "atom_sigma"): f"Å; {reason('atom_sigma', name)}",
        ("kernel", "zeta"): reason("zeta", name),
        ("kernel", "delta"): delta,
        ("n_sparse",): f"per species; {sparse or reason('n_sparse', name).format(total=total)}",
    }
    unusual = {("descriptor", key): WHY[key] for key in ("smoothness", "compression") if key in term["descriptor"]}
    return found | unusual


def description(facts: DataFacts) -> list[str]:
    """Sentences on the data."""
    kinds = ((facts.crystals, "periodic"), (facts.partial, "partly periodic"), (facts.molecules, "not periodic"))
    shapes = ", ".join(f"{n} {word}" for n, word in kinds if n) or "isolated atoms alone"
    species = ", ".join(f"{symbol} {n}" for symbol, n in facts.species.items())
    low, high = facts.sizes[0], facts.sizes[-1]
    size = f"{low} atoms" if low == high else f"{low} to {high} atoms"
    labels = ", ".join(f"{kind} of {n}" for kind, n in facts.labelled.items() if n)
    spreads = ", ".join(f"{facts.spread[kind]:.2g} {UNITS[kind]}" for kind, n in facts.labelled.items() if n)
    lines = [
        f"The data: {facts.n_frames} frames of {size} ({shapes}), {facts.n_environments} environments: {species}.",
        f"Labels: {labels}. They spread by {spreads}; the largest force is {facts.largest_force:.3g} eV/Å.",
    ]
    if facts.shortest:
        lines.append(
            "Shortest distances, Å: " + ", ".join(f"{pair} {r:.2f}" for pair, r in facts.shortest.items()) + "."
        )
    if len(facts.config_types) > 1:
        types = sorted(facts.config_types.items(), key=lambda item: (-item[1], item[0]))
        rest = f" and {len(types) - 12} more" if len(types) > 12 else ""
        lines.append("Config types: " + ", ".join(f"{name} {n}" for name, n in types[:12]) + rest + ".")
    return lines
