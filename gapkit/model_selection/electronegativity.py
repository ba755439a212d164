"""Pauling electronegativities, and whether two elements form an ionic compound."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import gcd
from typing import NamedTuple

IONIC = 1.7  # difference at which Pauling counts a bond as half ionic: 1 - exp(-Δχ²/4) = 0.51
HIGHEST = 8  # oxidation state, of Os and Ru; ratios that need more are those of defects, not of charges

# CRC Handbook of Chemistry and Physics, section 9; elements without a value are absent
PAULING = {
    "H": 2.20, "Li": 0.98, "Be": 1.57, "B": 2.04, "C": 2.55, "N": 3.04, "O": 3.44, "F": 3.98, "Na": 0.93, "Mg":
    1.31, "Al": 1.61, "Si": 1.90, "P": 2.19, "S": 2.58, "Cl": 3.16, "K": 0.82, "Ca": 1.00, "Sc": 1.36, "Ti": 1.54,
    "V": 1.63, "Cr": 1.66, "Mn": 1.55, "Fe": 1.83, "Co": 1.88, "Ni": 1.91, "Cu": 1.90, "Zn": 1.65, "Ga": 1.81, "Ge":
    2.01, "As": 2.18, "Se": 2.55, "Br": 2.96, "Rb": 0.82, "Sr": 0.95, "Y": 1.22, "Zr": 1.33, "Nb": 1.60, "Mo": 2.16,
    "Tc": 2.10, "Ru": 2.20, "Rh": 2.28, "Pd": 2.20, "Ag": 1.93, "Cd": 1.69, "In": 1.78, "Sn": 1.96, "Sb": 2.05,
    "Te": 2.10, "I": 2.66, "Cs": 0.79, "Ba": 0.89, "La": 1.10, "Ce": 1.12, "Pr": 1.13, "Nd": 1.14, "Sm": 1.17, "Gd":
    1.20, "Dy": 1.22, "Ho": 1.23, "Er": 1.24, "Tm": 1.25, "Lu": 1.00, "Hf": 1.30, "Ta": 1.50, "W": 1.70, "Re": 1.90,
    "Os": 2.20, "Ir": 2.20, "Pt": 2.20, "Au": 2.40, "Hg": 1.90, "Tl": 1.80, "Pb": 1.80, "Bi": 1.90, "Po": 2.00,
    "At": 2.20, "Ra": 0.90, "Ac": 1.10, "Th": 1.30, "Pa": 1.50, "U": 1.70, "Np": 1.30, "Pu": 1.30,
}  # fmt: skip


class Contrast(NamedTuple):
    """The two species whose electronegativities differ most, by symbol, and the difference."""

    cation: str
    anion: str
    difference: float

    @property
    def ionic(self) -> bool:
        """Whether the bond between them is ionic."""
        return self.difference >= IONIC


def largest_contrast(species: Iterable[str]) -> Contrast | None:
    """The pair that differs most of all species; None if fewer than two of them have an electronegativity."""
    known = sorted((PAULING[symbol], symbol) for symbol in set(species) if symbol in PAULING)
    if len(known) < 2:
        return None
    (low, cation), (high, anion) = known[0], known[-1]
    return Contrast(cation, anion, round(high - low, 2))


def neutral_charges(counts: Mapping[str, int]) -> dict[str, int] | None:
    """Ratio of charges that makes a compound of two species neutral, the more electronegative one negative.

    Al2O3 → Al 3, O -2 and MgO → Mg 1, O -1. None unless there are two species with different electronegativities, in a
    ratio of whole numbers up to 8.
    """
    contrast = largest_contrast(counts)
    if len(counts) != 2 or contrast is None or contrast.difference == 0 or not all(counts.values()):
        return None
    common = gcd(*counts.values())
    positive, negative = counts[contrast.anion] // common, counts[contrast.cation] // common
    return {contrast.cation: positive, contrast.anion: -negative} if max(positive, negative) <= HIGHEST else None
