"""Warnings about labelled data before a first fit: what is missing or suspicious, and the cure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from gapkit.structures.statistics import DataFacts

FEW_FRAMES = 20
LARGE_FORCE = 30.0  # eV/Å
FUSED = 0.6  # of the sum of covalent radii


def warnings_of(facts: DataFacts, cutoff: float) -> Iterator[str]:
    """Sentences, worst first; `cutoff` (Å) is the largest of all terms."""
    if len(facts.charges) > 1:
        charges = ", ".join(f"{charge:g}" for charge in sorted(facts.charges))
        yield f"frames have different total charges ({charges}), which no descriptor sees: fit each charge separately."
    elif facts.charges - {0.0}:
        yield f"all frames have the charge {min(facts.charges):g}: the model is for this charge alone."
    yield from _of_labels(facts)
    yield from _of_geometries(facts, cutoff)
    yield from facts.notes


def _of_labels(facts: DataFacts) -> Iterator[str]:
    n = facts.labelled
    if not n["energy"]:
        yield "there are no energies: forces alone do not determine the energy of each composition."
    elif missing := set(facts.species) - facts.isolated:
        symbols, cure = ", ".join(sorted(missing)), "add isolated atoms (one atom, pbc=False, same method), or give e0."
        if _inseparable(facts, missing):
            yield (
                f"no frame is an isolated atom of {symbols}, and compositions do not determine e0: energies are right "
                f"between frames of these compositions only; {cure}"
            )
        else:
            yield (
                f"no frame is an isolated atom of {symbols}: e0 comes from least squares, energies of separate atoms "
                f"and fragments will be wrong; {cure}"
            )
    if not n["forces"]:
        yield "there are no forces: one energy per frame is little information; compute forces, which cost little more."
    if facts.without_stress:
        yield (
            f"{facts.without_stress} of {facts.crystals} periodic frames have no stress: volumes and elastic constants "
            "will be uncertain."
        )


def _of_geometries(facts: DataFacts, cutoff: float) -> Iterator[str]:
    if facts.alone and facts.alone < set(facts.species):
        yield (
            f"{', '.join(sorted(facts.alone))} occurs as an isolated atom only: leave these frames out, as each "
            "species makes features longer and fits slower."
        )
    if facts.n_frames < FEW_FRAMES:
        yield (
            f"{facts.n_frames} frame{'s are' if facts.n_frames > 1 else ' is'} little data: errors on them say nothing "
            "about others; keep some for a test, and run gapkit learning-curve."
        )
    if facts.thinnest is not None and facts.thinnest < 2.0 * cutoff:
        yield (
            f"some cells are thinner ({facts.thinnest:.1f} Å) than twice the cutoff ({2.0 * cutoff:.1f} Å): atoms see "
            "their own images, which is exact, but there are no long wavelengths or isolated defects; add larger cells."
        )
    if facts.largest_force > LARGE_FORCE:
        yield (
            f"forces go up to {facts.largest_force:.0f} eV/Å: a fit that must describe these is worse elsewhere; leave "
            "such frames out, or give them a config_type with a larger forces_noise."
        )
    for pair, distance in facts.shortest.items():
        bond = sum(covalent_radii[atomic_numbers[symbol]] for symbol in pair.split("-"))
        if distance < FUSED * bond:
            share = f"{100 * distance / bond:.0f} % of a bond"
            yield f"atoms {pair} come as close as {distance:.2f} Å, {share}: if not intended, check units and cell."


def _inseparable(facts: DataFacts, missing: set[str]) -> bool:
    """Whether the compositions do not determine the energies of some missing species."""
    symbols = sorted(missing)
    rows = [[dict(composition).get(symbol, 0.0) for symbol in symbols] for composition in facts.compositions]
    return int(np.linalg.matrix_rank(np.array(rows))) < len(symbols)
