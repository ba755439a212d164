"""Models of every kind of term, alone and in sums, fitted once, and geometries to evaluate them on."""

from __future__ import annotations

from dataclasses import replace

from ase import Atoms
from example_structures import alloy, labelled, structures

from gapkit import (
    ACSF,
    GAP,
    SOAP,
    Composition,
    DotProduct,
    InversePowers,
    Linear,
    LongRange,
    Pair,
    SquaredExponential,
    Term,
    Triplet,
)
from gapkit.terms.feature_term import FeatureTerm

S = ("Cu", "Au")
GEOMETRIES = structures()
PAIR = Pair(S, 4.6, 1.5, delta=0.7, length_scale=1.3)
TRIPLET = Triplet(S, 3.3, 0.8, delta=0.4, length_scale=1.1, n_sparse=25, table=None)
POWERS = Linear(InversePowers(S, (1.0, 6.0), 4.1), delta=0.5, scales=(1.0, 0.1) * 3)
SYMMETRY = ACSF(
    S, 4.2, g2=[(0.05, 0.0), (1.2, 2.5)], g3=[0.7], g4=[(0.01, 1.0, -1.0), (0.02, 3.5, 1.0)], g5=[(0.03, 2.0, 1.0)]
)
ATOM = Term(replace(SYMMETRY, scales=[0.3] * 17), DotProduct(2, 1.5), n_sparse=10)
SHORT, LONG = (Term(SOAP(S, r, 3, 2, smoothness=2), DotProduct(2, 1.0), n_sparse=8) for r in (3.4, 4.5))
COULOMB = Linear(LongRange(S, width=0.9), 2.0)


def compressed(term: Term, compression: str) -> Term:
    """With that compression, and weights of which one is negative."""
    return replace(
        term, descriptor=replace(term.descriptor, compression=compression, species_weights={"Cu": 1.1, "Au": -0.6})
    )


MODELS: dict[str, list] = {
    "pair": [PAIR],
    "pair_distance": [replace(PAIR, transform="distance", length_scale=0.6)],
    "pair_inverse": [replace(PAIR, transform="inverse", length_scale=2.5)],
    "triplet": [TRIPLET],
    "linear": [POWERS],
    "acsf": [ATOM],
    "acsf_exponential": [replace(ATOM, kernel=SquaredExponential(0.6, 1.2))],
    "features": [PAIR, TRIPLET, POWERS, Linear(Composition(S), 0.2)],
    "sum": [SHORT, PAIR, LONG, Linear(Composition(S), 0.2), ATOM, TRIPLET, POWERS],
    "soaps_off": [compressed(SHORT, "off"), compressed(LONG, "off")],
    "soaps_mu2": [compressed(SHORT, "mu2"), compressed(LONG, "mu2")],
    "soaps_mu1nu1": [compressed(SHORT, "mu1nu1"), compressed(LONG, "mu1nu1")],
    "soaps_crossover": [compressed(SHORT, "crossover"), compressed(LONG, "crossover")],
    "long_range": [PAIR, COULOMB],
    "everything": [
        compressed(SHORT, "mu2"), compressed(LONG, "mu1nu1"), compressed(SHORT, "crossover"), LONG, PAIR, TRIPLET,
        POWERS, Linear(Composition(S), 0.2), ATOM, COULOMB,
    ],
}  # fmt: skip
CHARGED = [name for name, terms in MODELS.items() if COULOMB in terms]
FEATURES = [name for name, terms in MODELS.items() if all(isinstance(t, FeatureTerm) for t in terms)]
CUTOFF = 4.6  # the largest of all
_fitted: dict[str, GAP] = {}


def charged_geometries() -> dict[str, Atoms]:
    """As `structures`, for sums over all images: slabs with a periodic vacuum, and both species in every cell."""
    found = {**GEOMETRIES, "slab": GEOMETRIES["slab"].copy()}
    found["slab"].pbc = True
    for name in ("one_atom", "sheared_one_atom"):
        found[name] = Atoms("CuAu", [[0, 0, 0], [1.9, 0.1, 1.8]], pbc=True, cell=GEOMETRIES[name].cell.array * 1.5)
    return found


GEOMETRIES_CHARGED = charged_geometries()


def geometry(gap: GAP, name: str) -> Atoms:
    """One of `example_structures.structures`, periodic and neutral for a model with lattice sums."""
    return (GEOMETRIES_CHARGED if COULOMB in gap.terms else GEOMETRIES)[name]


def fitted(name: str) -> GAP:
    """The model of that name, fitted once in a session."""
    if name not in _fitted:
        isolated = [labelled(Atoms(s, cell=[20] * 3, pbc=name not in CHARGED)) for s in S]
        frames = [labelled(alloy(k)) for k in range(6)] + [labelled(GEOMETRIES["cluster"])] + isolated
        _fitted[name] = GAP(MODELS[name], 0.005, 0.05, 0.02, jitter=1e-9, verbose=False).fit(frames)
    return _fitted[name]
