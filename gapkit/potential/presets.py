"""Presets: terms, amplitudes and noises to start with for solids, molecules, liquids and ionic crystals.

All numbers are in one table, `PRESETS`. Presets hold for every element: lengths are multiples of a typical
distance d between atoms, which follows from the species,

    d = 2 (mean over the species of r³)^(1/3)

with covalent radii r (Cordero et al., Dalton Trans. 2832 (2008)): atoms fill space by their volumes. d is 2.22 Å for
Si, 2.64 Å for Cu, 2.31 Å for MgO, 1.26 Å for molecules of C, H and O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from gapkit.baselines import ZBL
from gapkit.checks import is_count, is_number
from gapkit.descriptors.soap import SOAP
from gapkit.errors import InputError, did_you_mean
from gapkit.gaussian_process.kernels import DotProduct
from gapkit.quantities import KINDS
from gapkit.structures.species import check_symbols
from gapkit.terms.linear import Linear
from gapkit.terms.long_range import LongRange
from gapkit.terms.pair import Pair
from gapkit.terms.protocol import AdditiveTerm
from gapkit.terms.term import Term
from gapkit.terms.triplet import Triplet

# ---- the table ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SoapRule:
    """A SOAP term; `reach` is a fraction of the preset's cutoff, `atom_sigma` one of d, `n_sparse` for all species.

    `alone` is (n_max, l_max) for a single species, if different.
    """

    reach: float = 1.0
    n_max: int = 8
    l_max: int = 6
    alone: tuple[int, int] | None = None
    atom_sigma: float = 0.225
    smoothness: float = 1.0
    zeta: int = 4
    delta: float = 5.0
    n_sparse: int = 2000


@dataclass(frozen=True)
class PairRule:
    """A pair term; `reach` is a fraction of the preset's cutoff, `cutoff_width` of the term's, `length_scale` of d."""

    reach: float = 1.0
    cutoff_width: float = 0.2
    length_scale: float = 0.4
    delta: float = 2.0


@dataclass(frozen=True)
class TripletRule:
    """A triplet term, as `PairRule`; `least`, of d, for nearest neighbours; `n_sparse` for all triples of species."""

    reach: float = 0.55
    least: float = 1.4
    cutoff_width: float = 0.25
    length_scale: float = 0.4
    delta: float = 0.3
    n_sparse: int = 200
    table: float = 0.05


@dataclass(frozen=True)
class LongRangeRule:
    """A linear term of 1/r^n sums; `width` of the damping is a fraction of d, `delta` in eV Å^n."""

    powers: tuple[Literal[1, 6], ...] = (1,)
    width: float = 0.4
    delta: float = 14.4  # e²/(4πε₀): charges of one electron


@dataclass(frozen=True)
class Preset:
    """Start values for one kind of system.

    Attributes
    ----------
    purpose : str
    cutoff : float
        Of the terms with the longest reach, in units of d.
    limits : tuple of two float
        Å; the cutoff is kept between them.
    soaps : tuple of SoapRule
    pair, triplet, long_range : rule or None
    zbl : bool
        Whether nuclei repel each other by a ZBL baseline.
    energy_noise, forces_noise, virial_noise : float
        eV/atom, eV/Å, eV/atom, to start from.
    optimize : tuple of str
        What `GAP.fit` should learn, as its argument of that name.
    """

    purpose: str
    cutoff: float
    limits: tuple[float, float]
    soaps: tuple[SoapRule, ...] = (SoapRule(),)
    pair: PairRule | None = field(default_factory=PairRule)
    triplet: TripletRule | None = None
    long_range: LongRangeRule | None = None
    zbl: bool = True
    energy_noise: float = 0.001
    forces_noise: float = 0.05
    virial_noise: float = 0.02
    optimize: tuple[str, ...] = ("delta",)


PRESETS: Mapping[str, Preset] = {
    "solid": Preset(
        "crystals with their defects, surfaces and melts",
        cutoff=3.4,
        limits=(5.0, 7.5),
        soaps=(SoapRule(alone=(10, 8), atom_sigma=0.21, smoothness=2.0, delta=10.0, n_sparse=3000),),
        pair=PairRule(delta=5.0),
        triplet=TripletRule(),
        forces_noise=0.1,
        optimize=("leave_out",),
    ),
    "molecule": Preset(
        "molecules and clusters without a cell",
        cutoff=4.0,
        limits=(4.5, 6.5),
        soaps=(SoapRule(atom_sigma=0.4, zeta=2, delta=3.0, n_sparse=3000),),
        energy_noise=0.0005,
        forces_noise=0.02,
    ),
    "liquid": Preset(
        "liquids, glasses and molecular crystals",
        cutoff=2.5,
        limits=(5.5, 6.5),
        energy_noise=0.002,
        forces_noise=0.1,
        virial_noise=0.05,
    ),
    "ionic": Preset(
        "oxides, halides and other crystals of ions",
        cutoff=3.0,
        limits=(5.0, 7.0),
        soaps=(SoapRule(smoothness=2.0, zeta=2, delta=10.0),),
        long_range=LongRangeRule(),
        forces_noise=0.1,
        optimize=("noise", "delta"),
    ),
}

SIGMA = (0.3, 0.5)  # Å; limits of atom_sigma: d says little about small ions among large ones
FEWEST = 100  # sparse points of a SOAP for each species, however many species there are
COMPRESSED = ("mu1nu1", 5)  # how SOAP is compressed, and from how many species on
MOST_PAIR_SPECIES, MOST_TRIPLET_SPECIES = 8, 2  # above, the term is left out: its functions would be too many

SOURCES: Mapping[str, str] = {
    "C-17": "V. L. Deringer and G. Csányi, Phys. Rev. B 95, 094203 (2017)",
    "comparison": "Y. Zuo et al., J. Phys. Chem. A 124, 731 (2020)",
    "compression": "J. P. Darby et al., npj Comput. Mater. 8, 166 (2022)",
    "own": "gapkit's benchmarks/RESULTS.md",
}
# Why each number was chosen: printed by `gapkit suggest`, to be changed with the table; "zeta ionic" is what `reason`
# gives for zeta in the preset "ionic". Errors are means of absolute values for Si and Cu, root mean squares for MgO.
WHY: Mapping[str, str] = {
    "cutoff": "neighbours of neighbours and more",
    "cutoff solid": "long: errors of Si are 1.82 meV/atom and 59 meV/Å at 7.5 Å, 1.99 and 60 at 6.5 Å (own); a "
    "shorter one is faster",
    "cutoff ionic": "errors of MgO are 3.9 meV/Å at 7 Å with smoothness 2, 4.4 at 5.5 Å with smoothness 1 (own)",
    "cutoff molecule": "four bonds: torsions and close contacts within a molecule",
    "n_max, l_max": "8, 6 resolve atoms of this width; features grow with n_max² l_max",
    "n_max, l_max solid": "10, 8 for one species: errors of Si are 1.82 meV/atom, 2.21 with 8, 6 (own); 8, 6 for "
    "more, as features grow with (n_max × species)²",
    "atom_sigma": "by size: 0.5 Å for Si, as published (comparison)",
    "atom_sigma solid": "by size: 0.47 Å for Si, near the published 0.5 Å (comparison), and at most that",
    "atom_sigma molecule": "by size: 0.5 Å for C, H and O; narrower atoms ask for more n_max and l_max",
    "smoothness": "atoms fade out earlier than with 1, as a long cutoff needs: errors of Si are 2.21 meV/atom with 2 "
    "(7.5 Å; 8, 6), 2.53 with 1 (5.4 Å; 8, 8) (own)",
    "zeta": "sharp enough to distinguish crystals from their defects; published for Si and Cu (comparison)",
    "zeta ionic": "softer than 4: ions keep their places, and their environments differ little",
    "zeta molecule": "softer than 4: one molecule has few different environments",
    "delta": "amplitude to start from; learned by the fit",
    "n_sparse": "of {total} for all: more lower the errors, and time and memory grow with their square",
    "pair": "the steep, simple part of the energy, learned from few data; a published GAP has it, too (C-17)",
    "length_scale": "at the cutoff; shorter near the atom, where energies are steep",
    "triplet": "angles, learned from few data; with pairs beside SOAP the errors of silicon fell (tutorial 9)",
    "long_range": "charges act beyond every cutoff: it took errors of distant ions from 1 eV to 10 meV and "
    "those of larger cells of NaCl down 1.5 to 5 times (own)",
    "charges": "ratio that makes every frame neutral, the more electronegative species negative: one coefficient, as "
    "one for each pair made long wavelengths of NaCl wrong (own); leave it out to add frames of other compositions",
    "zbl": "keeps atoms from fusing where no data say so: without it hot, compressed copper did in 0.1 ps (own)",
    "noises": "what labels and terms may miss by; ratios between kinds decide which is fitted best",
    "energy_noise solid": "1/100 of the usual one of forces, in Å: errors of Cu are 0.25 meV/atom, 0.36 with "
    "1/50, where forces are 1 % better (own)",
    "optimize": "amplitudes by the evidence; [noise, delta] gives better error bars and up to 5 times larger energy "
    "errors (own): gapkit recalibrate corrects error bars instead",
    "optimize solid": "ratios of noises and amplitudes by the errors of left-out frames, none worse for another's "
    "sake; by the evidence energy errors are up to 5 times larger (own); gapkit recalibrate corrects error bars",
    "optimize ionic": "noises and amplitudes by the evidence: labels of such crystals may be far more exact than the "
    "noises to start from",
    "compression": "features grow with the number of species, not its square; all still interact (compression)",
}


# ---- terms and parameters from the table ----------------------------------------------------------------------------


def reason(key: str, preset: str) -> str:
    """The entry of `WHY` for this preset."""
    return WHY.get(f"{key} {preset}", WHY[key])


def preset_named(name: str) -> Preset:
    """The entry of `PRESETS`.

    Raises
    ------
    InputError
        For an unknown name.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(f"preset {name!r} is unknown{did_you_mean(str(name), PRESETS)}.")
    return PRESETS[name]


def typical_distance(species: Sequence[str]) -> float:
    """d = 2 (mean r³)^(1/3), Å, of different chemical symbols.

    Raises
    ------
    InputError
        If they are not chemical symbols.
    """
    check_symbols(species, "preset")
    radii = covalent_radii[[atomic_numbers[symbol] for symbol in species]]
    return 2.0 * float(np.mean(radii**3)) ** (1 / 3)


def preset_terms(
    name: str,
    species: Sequence[str],
    cutoff: float | None = None,
    n_sparse: int | None = None,
    charges: Mapping[str, float] | None = None,
) -> list[AdditiveTerm]:
    """The terms of a preset for these species.

    Parameters
    ----------
    name : {"solid", "molecule", "liquid", "ionic"}
    species : sequence of str
        Chemical symbols, each once.
    cutoff : float, optional
        Å, of the terms with the longest reach; the others keep their fraction of it.
    n_sparse : int, optional
        Sparse points for each species of the SOAP with most of them; others keep their fraction.
    charges : mapping of str to float, optional
        Relative charges for the sums of 1/r, if the preset has any, as in `LongRange`.

    Raises
    ------
    InputError
        For unknown names and species, impossible numbers, and "ionic" with one species.
    """
    preset, d = preset_named(name), typical_distance(species)
    species = sorted(species, key=atomic_numbers.__getitem__)
    if preset.long_range is not None and len(species) < 2:
        raise InputError(f"preset {name!r} needs two species or more, whose charges cancel: use 'solid' for {species}.")
    _check_positive(cutoff=cutoff, n_sparse=n_sparse)
    reach = round(float(np.clip(preset.cutoff * d, *preset.limits)), 2) if cutoff is None else float(cutoff)
    terms: list[AdditiveTerm] = []
    if preset.pair is not None and len(species) <= MOST_PAIR_SPECIES:
        terms.append(_pair(preset.pair, species, reach, d))
    if preset.triplet is not None and len(species) <= MOST_TRIPLET_SPECIES:
        terms.append(_triplet(preset.triplet, species, reach, d))
    most = max(rule.n_sparse for rule in preset.soaps)
    for rule in preset.soaps:
        own = max(rule.n_sparse // len(species), FEWEST)
        count = own if n_sparse is None else max(int(n_sparse * rule.n_sparse / most), 1)
        terms.append(_soap(rule, species, reach, d, count))
    if (sums := preset.long_range) is not None:
        relative = charges if 1 in sums.powers else None
        function = LongRange(species, list(sums.powers), round(sums.width * d, 2), charges=relative)
        terms.append(Linear(function, sums.delta))
    for term in terms:
        term.validate()
    return terms


def _pair(rule: PairRule, species: list[str], reach: float, d: float) -> Pair:
    cutoff = round(rule.reach * reach, 2)
    return Pair(species, cutoff, round(rule.cutoff_width * cutoff, 2), rule.delta, round(rule.length_scale * d, 2))


def _triplet(rule: TripletRule, species: list[str], reach: float, d: float) -> Triplet:
    cutoff, n = round(min(max(rule.reach * reach, rule.least * d), reach), 2), len(species)
    count = max(rule.n_sparse // (n * n * (n + 1) // 2), 20)
    length = round(rule.length_scale * d, 2)
    return Triplet(species, cutoff, round(rule.cutoff_width * cutoff, 2), rule.delta, length, count, rule.table)


def _soap(rule: SoapRule, species: list[str], reach: float, d: float, n_sparse: int) -> Term:
    compression = COMPRESSED[0] if len(species) >= COMPRESSED[1] else "off"
    sigma = round(float(np.clip(rule.atom_sigma * d, *SIGMA)), 2)
    cutoff = round(rule.reach * reach, 2)
    n_max, l_max = rule.alone if rule.alone is not None and len(species) == 1 else (rule.n_max, rule.l_max)
    soap = SOAP(species, cutoff, n_max, l_max, sigma, rule.smoothness, compression)
    return Term(soap, DotProduct(rule.zeta, rule.delta), n_sparse)


def _check_positive(**numbers: Any) -> None:
    for name, value in numbers.items():
        if value is not None and not (is_number(value) and value > 0):
            raise InputError(f"{name} = {value!r} of a preset must be a positive number.")
        if name == "n_sparse" and value is not None and not is_count(value):
            raise InputError(f"n_sparse = {value} of a preset must be a whole number.")


def preset_settings(name: str) -> dict[str, Any]:
    """A preset's settings besides the terms, as in a configuration: noises, baseline, what to learn."""
    preset = preset_named(name)
    noises = {f"{kind}_noise": getattr(preset, f"{kind}_noise") for kind in KINDS}
    return {**noises, "baseline": [{"type": "ZBL"}] if preset.zbl else [], "optimize": list(preset.optimize)}


def preset_parameters(
    name: str, species: Sequence[str], overrides: Mapping[str, Any], known: Sequence[str]
) -> dict[str, Any]:
    """Arguments of an estimator with the `known` parameters that make it a preset; errors as `GAP.preset`."""
    allowed = [*known, "cutoff", "n_sparse"]
    for key in overrides:
        if key == "terms":
            raise InputError("a preset has its own terms: change them with set_params, or give terms to GAP instead.")
        if key not in allowed:
            raise InputError(f"a preset has no parameter {key!r}{did_you_mean(key, allowed)}.")
    rest = dict(overrides)
    terms = preset_terms(name, species, rest.pop("cutoff", None), rest.pop("n_sparse", None))
    own = {key: value for key, value in preset_settings(name).items() if key != "baseline"}
    baseline = [ZBL(sorted(species, key=atomic_numbers.__getitem__))] if preset_named(name).zbl else []
    return {"terms": terms, **own, "baseline": baseline, **rest}
