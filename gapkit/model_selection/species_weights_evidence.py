"""log p(labels) as a function of the species weights of SOAP terms.

The weights enter every feature, so each evaluation computes the rows of some frames again and learns the noises and
amplitudes for these rows: log p(labels | weights) is maximised over all of them
(`gapkit.gaussian_process.hyperparameter_search.maximise`, from the same start each time). The sparse points are fixed
environments, not fixed features: their features are computed with the current weights, so log p is a smooth function of
the weights and does not depend on a choice made for one set of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols

from gapkit.descriptors.soap import SOAP
from gapkit.errors import InputError
from gapkit.fitting.first_pass import SparsePools, candidates
from gapkit.fitting.hyperparameters import amplitudes_of
from gapkit.fitting.noise import Noises
from gapkit.fitting.second_pass import Recipe, stream_rows
from gapkit.gaussian_process.hyperparameter_search import maximise
from gapkit.gaussian_process.kernels import normalise
from gapkit.gaussian_process.sparsification import check_features, choose_distinct, find_distinct
from gapkit.geometry.neighbourhoods import Neighbourhoods, find_neighbourhoods
from gapkit.structures.frames import Frame
from gapkit.structures.random_subset import RandomSubset
from gapkit.structures.reference_energies import ReferenceEnergies, names_isolated_atoms
from gapkit.terms.basis import Basis
from gapkit.terms.protocol import AdditiveTerm

Key = tuple[int, int]  # term, atomic number of the central atoms


class Centres(NamedTuple):
    """Environments of one species in one frame: their neighbourhoods, and the atomic numbers of the whole frame."""

    neighbourhoods: Neighbourhoods
    numbers: np.ndarray


class MaximisedEvidence(NamedTuple):
    """log p(labels), maximised over noises and amplitudes, and the same plus the log prior of these."""

    log_evidence: float
    log_posterior: float


class WeightEvidence:
    """log p(labels) of some frames for any species weights.

    Parameters
    ----------
    terms : sequence of Term, Pair, Triplet or Linear
    noises : Noises
        Where the search for noises starts.
    e0 : dict of str to float
        eV.
    frames : sequence of Frame
        In memory.
    learned : sequence of int
        The terms whose weights vary, SOAP with "numba" as engine.
    n_sparse : int
        Largest number of sparse points per term and species.
    jitter : float
        As for `GAP`.
    random_state : int
        Seed of the choice of sparse points.

    Attributes
    ----------
    n_evaluations : int
    n_columns : int
        Sparse points of all terms.
    """

    def __init__(
        self,
        terms: Sequence[AdditiveTerm],
        noises: Noises,
        e0: dict[str, float],
        frames: Sequence[Frame],
        learned: Sequence[int],
        n_sparse: int,
        jitter: float = 1e-10,
        random_state: int = 0,
    ) -> None:
        self._terms = tuple(_with_fewer(term, n_sparse) for term in terms)
        self._noises, self._e0, self._frames = noises, e0, frames
        self._learned, self._jitter = tuple(learned), jitter
        self._fixed = _fixed_points(self._terms, frames, set(learned), random_state)
        self._places = {
            key: part for t in self._learned for key, part in _places(self._terms[t], t, frames, random_state).items()
        }
        self.n_evaluations = 0
        self.n_columns = 0

    def __call__(self, weights: Sequence[Mapping[str, float]]) -> MaximisedEvidence:
        """log p with these weights by symbol, one mapping for each of the terms that are learned."""
        terms = list(self._terms)
        for t, own in zip(self._learned, weights):
            terms[t] = with_weights(terms[t], own)
        recipe = Recipe(Basis.of_points(terms, self._points(terms)), self._e0, self._noises)
        factors = stream_rows(recipe, self._frames, {})
        K_mm = recipe.basis.K_mm()
        noise = {group: self._noises.std(group) for group in factors}
        options = {"jitter": self._jitter, "n_starts": 1}
        found = maximise(K_mm, factors, noise, amplitudes_of(recipe), **options)  # type: ignore[arg-type]
        self.n_evaluations += 1
        self.n_columns = len(K_mm)
        return MaximisedEvidence(found.log_evidence, found.start_values[0])

    def _points(self, terms: Sequence[AdditiveTerm]) -> dict[Key, np.ndarray]:
        """Sparse points with the present weights."""
        return self._fixed | {(t, z): _features(terms[t], own) for (t, z), own in self._places.items()}


def with_weights(term: AdditiveTerm, weights: Mapping[str, float]) -> AdditiveTerm:
    """A SOAP term with other species weights."""
    return term.with_descriptor(replace(soap_of(term), species_weights=dict(weights)))


def soap_of(term: AdditiveTerm) -> SOAP:
    """The descriptor of a SOAP term."""
    soap = term.environment_descriptor
    assert isinstance(soap, SOAP)
    return soap


class Sample(NamedTuple):
    """Frames to learn from, about as many others to confirm the result, and the reference energies of all frames."""

    used: list[Frame]
    others: list[Frame]
    references: ReferenceEnergies


def two_samples(frames: Iterable[Frame], n_atoms: int, random_state: int) -> Sample:
    """Two disjoint random samples of frames, each filled until it holds `n_atoms` atoms.

    Isolated atoms are left out: their features do not depend on weights. Memory does not grow with the data.

    Raises
    ------
    InputError
        If there is no frame with a label.
    """
    rng, references = np.random.default_rng(random_state), ReferenceEnergies()
    sample = RandomSubset[Frame](lambda _, held, last: held - last >= 2 * n_atoms)
    for frame in frames:
        references.add(frame.atoms, frame.labels)
        labels = (frame.labels.energy, frame.labels.forces, frame.labels.virial)
        if names_isolated_atoms(frame.labels.config_type) or all(label is None for label in labels):
            continue
        sample.add(frame, len(frame.atoms), rng.random())
    kept = sample.by_draw()
    if not kept:
        raise InputError("none of the frames has labels and more than an isolated atom: weights need neighbours.")
    used = _until(kept, n_atoms)
    return Sample(_in_order(used), _in_order(_until(kept[len(used) :], n_atoms)), references)


def _until(kept: list[tuple[int, Frame]], n_atoms: int) -> list[tuple[int, Frame]]:
    """The first frames, until they hold `n_atoms` atoms."""
    held = np.cumsum([0, *(len(frame.atoms) for _, frame in kept)])
    return kept[: int(np.searchsorted(held, n_atoms))]


def _in_order(kept: list[tuple[int, Frame]]) -> list[Frame]:
    return [frame for _, frame in sorted(kept, key=lambda entry: entry[0])]


# ---- sparse points


def _with_fewer(term: AdditiveTerm, n_sparse: int) -> AdditiveTerm:
    asked = term.n_sparse_by_species
    if asked is None:
        return term
    if isinstance(asked, Mapping):
        return term.with_n_sparse({s: min(int(n), n_sparse) for s, n in asked.items()})
    return term.with_n_sparse(min(int(asked), n_sparse))


def _fixed_points(
    terms: Sequence[AdditiveTerm], frames: Sequence[Frame], learned: set[int], seed: int
) -> dict[Key, np.ndarray]:
    """Sparse points of the terms that do not change, chosen as by a fit."""
    pools = SparsePools(terms, seed)
    for frame in frames:
        Basis(tuple(terms), ()).check_species(np.unique(frame.atoms.numbers))
        if len(learned) < len(terms):
            found = candidates(terms, frame.atoms)
            pools.add(found._replace(offered=[part for part in found.offered if part[0][0] not in learned]))
    return pools.choose()[0].points


def _places(term: AdditiveTerm, t: int, frames: Sequence[Frame], seed: int) -> dict[Key, list[Centres]]:
    """Environments that serve as sparse points, chosen by the term's own method.

    They are compared by features with "crossover" compression and weights of one: short, and with the species kept
    apart, so that the choice suits any weights.
    """
    soap, asked = soap_of(term), term.n_sparse_by_species
    neutral = replace(soap, compression="crossover", species_weights=None)
    rows: dict[int, list[tuple[int, int, np.ndarray]]] = {}
    for k, frame in enumerate(frames):
        values = normalise(neutral.features(frame.atoms))[0]
        for i, z in enumerate(frame.atoms.numbers.tolist()):
            rows.setdefault(z, []).append((k, i, values[i]))
    places = {}
    for z, own in rows.items():
        X = check_features([row for _, _, row in own])
        distinct = find_distinct(X)
        n = asked[chemical_symbols[z]] if isinstance(asked, Mapping) else asked or 0
        chosen = choose_distinct(X[distinct], min(int(n), len(distinct)), term.sparsification_by_species, seed)
        places[t, z] = list(_centres([own[c][:2] for c in distinct[chosen]], frames, soap.cutoff))
    return places


def _centres(chosen: Sequence[tuple[int, int]], frames: Sequence[Frame], cutoff: float) -> Iterator[Centres]:
    for k in sorted({k for k, _ in chosen}):
        atoms = frames[k].atoms
        own = np.array(sorted(i for frame, i in chosen if frame == k))
        yield Centres(find_neighbourhoods(atoms, cutoff).select(own), atoms.numbers)


def _features(term: AdditiveTerm, places: Sequence[Centres]) -> np.ndarray:
    return np.vstack([normalise(soap_of(term).evaluate(*place)[0])[0] for place in places])
