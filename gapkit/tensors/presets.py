"""Terms to start from; numbers as published for models of water and its clusters, where nothing else is said.

Cutoff 4 Å, σ 0.3 Å, n_max 8, l_max 6 and ζ = 2 are those of the examples that come with TENSOAP (Grisafi, Wilkins and
others). In liquid water the smooth weighting wants a longer cutoff: errors of the polarisability are 12 % with 6 Å and
σ 0.5 Å, 18 % with 4 Å and σ 0.3 Å (500 frames; benchmarks/RESULTS.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gapkit.checks import check_keys
from gapkit.descriptors.soap import SOAP
from gapkit.errors import InputError, did_you_mean
from gapkit.structures.species import check_symbols
from gapkit.tensors.term import TensorTerm


@dataclass(frozen=True)
class TensorPreset:
    """Numbers of one kind of system; the words are those of `GAP.preset`."""

    cutoff: float
    atom_sigma: float = 0.3
    n_max: int = 8
    l_max: int = 6
    zeta: int = 2
    n_sparse: int = 300


PRESETS: Mapping[str, TensorPreset] = {
    "molecule": TensorPreset(cutoff=4.0, n_sparse=200),
    "liquid": TensorPreset(cutoff=6.0, atom_sigma=0.5, n_sparse=200),
    "solid": TensorPreset(cutoff=5.0, atom_sigma=0.4, n_sparse=500),
    "ionic": TensorPreset(cutoff=5.0, atom_sigma=0.4, n_sparse=500),
}
COMPRESSED = 4  # species from which on densities of each species meet the sum of all only
TERM = ("cutoff", "atom_sigma", "n_max", "l_max", "zeta", "n_sparse")


def preset_parameters(
    name: str, species: Sequence[str], overrides: Mapping[str, Any], known: Sequence[str]
) -> dict[str, Any]:
    """Parameters of `TensorGAP`; `overrides` are of the term's numbers (`TERM`), or others of its parameters.

    Raises
    ------
    InputError
        For an unknown preset, species or parameter.
    """
    if name not in PRESETS:
        raise InputError(f"preset {name!r} is unknown{did_you_mean(str(name), PRESETS)}.")
    check_symbols(species, "preset")
    check_keys(overrides, [*TERM, *(k for k in known if k != "terms")], "preset")
    own = {key: overrides.get(key, getattr(PRESETS[name], key)) for key in TERM}
    soap = SOAP(
        tuple(species), own["cutoff"], own["n_max"], own["l_max"], own["atom_sigma"], smoothness=2.0,
        compression="mu1nu1" if len(species) >= COMPRESSED else "off",
    )  # fmt: skip
    term = TensorTerm(soap, own["zeta"], n_sparse=own["n_sparse"])
    term.validate()
    return {"terms": [term], **{key: value for key, value in overrides.items() if key not in TERM}}
