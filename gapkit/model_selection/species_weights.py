"""Species weights of SOAP terms, learned by maximising the evidence of the training data.

The density around an atom is Σ_Z w_Z ρ_Z. With a compression ("mu2", "mu1nu1", "crossover"; Darby et al., npj Comput.
Mater. 8, 166 (2022)) species share features, and their weights decide which environments these can distinguish;
learning such weights is from Willatt et al., Phys. Chem. Chem. Phys. 20, 29661 (2018). Here they maximise

    max over noises and δ of log p(labels | w)  +  log prior(w)

over log|w|, for one pattern of signs after another. Normalised features do not depend on a common factor of all
weights, which is fixed by a geometric mean of |w| of one, nor on a common sign, which is fixed by the lightest species.
Relative signs are learned where the features depend on them: "mu2" and "mu1nu1" have a density summed over species, in
which a species of negative weight subtracts what one of positive weight adds, as charges do. With "off" and "crossover"
the kernel depends on w² alone, and weights are positive. No weight passes through zero: the species would be invisible,
and an isolated atom of it would have no features.

The prior, normal in the logarithms, is weak; it decides where the data do not, as for a species that is no neighbour.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from itertools import combinations, count, pairwise, product
from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, minimize

from gapkit.baselines.residual_labels import less_baseline
from gapkit.checks import check_count
from gapkit.descriptors.soap import SOAP
from gapkit.errors import InputError
from gapkit.fitting.noise import Noises
from gapkit.model_selection.species_weights_evidence import MaximisedEvidence, WeightEvidence, soap_of, two_samples
from gapkit.model_selection.species_weights_result import PRIOR_WIDTH, SpeciesWeights, TermWeights, Visit
from gapkit.potential.gap import GAP
from gapkit.runtime.progress import progress
from gapkit.runtime.threads import one_blas_thread
from gapkit.structures.frames import Structures, labelled_frames
from gapkit.structures.labels import LabelKeys

logger = logging.getLogger("gapkit")

SIGNED = ("mu2", "mu1nu1")  # compressions whose kernel depends on relative signs of the weights
LARGEST = 30.0  # ratio of a weight to that of the lightest species
MOST_PATTERNS = 16  # of signs, up to which all are tried; beyond, one sign after another is changed
SPREAD = 0.7  # of the logarithms at random starts
HOPELESS = 100.0  # in log p
FIRST_STEP, LAST_STEP = 0.4, 2e-3  # trust radii in the logarithms

Signs = tuple[float, ...]


@one_blas_thread()
def learn_species_weights(
    gap: GAP,
    structures: Structures,
    *,
    terms: Sequence[int] | None = None,
    signs: bool = True,
    n_atoms: int = 2000,
    n_sparse: int = 100,
    n_starts: int = 2,
    keys: LabelKeys | None = None,
    random_state: int = 0,
) -> SpeciesWeights:
    """Species weights that make the labels most probable.

    ``gap.set_params(**found.params).fit(structures)`` is the potential with them.

    Parameters
    ----------
    gap : GAP
        Potential whose weights are learned; it is neither fitted nor changed. The search starts from its species
        weights, or from ones (a ratio to the lightest species beyond 30 as 30), and from its noises and δ.
    structures : as in `GAP.fit`
        Read once.
    terms : sequence of int, optional
        Numbers of the SOAP terms whose weights are learned, together; by default all that have several species.
    signs : bool
        Try negative weights where signs have a meaning; False keeps the given signs.
    n_atoms : int
        Frames are drawn at random until they hold this many atoms, and as many others, if there are, to confirm the
        result. More make the weights more certain; varied data need them.
    n_sparse : int
        Largest number of sparse points per term and species during the search. With far fewer than the potential will
        have, the weights compensate for the missing ones.
    n_starts : int
        Number of local optimisations, from the best of the first points, each with different signs if possible.
    keys : LabelKeys, optional
        As for `GAP.fit`.
    random_state : int
        Seed of frames, sparse points and starts.

    Returns
    -------
    SpeciesWeights

    Raises
    ------
    InputError
        For terms that have no species weights to learn, and as `GAP.fit`.

    Notes
    -----
    Standard deviations say how well these frames determine the weights if the model is right. Other frames may prefer
    weights farther away than that: see ``confirmed``, and compare whole fits (`gapkit.tune` does).

    With d free weights it takes about 40 d + d² evaluations, each of them the rows of those frames and about thirty
    times O(groups M² + M³) for M sparse points: 0.1 s for three species, 400 atoms and 120 sparse points.
    """
    learned = learnable(gap, terms)
    n_atoms, n_sparse = check_count("n_atoms", n_atoms), check_count("n_sparse", n_sparse)
    n_starts, random_state = check_count("n_starts", n_starts), check_count("random_state", random_state, 0)
    sample = two_samples(less_baseline(labelled_frames(structures, keys), gap.baseline), n_atoms, random_state)
    e0 = sample.references.e0() if gap.e0 is None else dict(gap.e0)
    noises, given = Noises(gap.energy_noise, gap.forces_noise, gap.virial_noise), tuple(gap.terms or ())
    options = (learned, n_sparse, gap.jitter, random_state)
    evidence = WeightEvidence(given, noises, e0, sample.used, *options)
    search = _Search(evidence, _Space([soap_of(given[t]) for t in learned], signs), _ticks(gap.verbose))
    best, climbs = _searched(search, n_starts, np.random.default_rng(random_state))
    covariance = _covariance(search, best)
    search.ticks.close()
    others = WeightEvidence(given, noises, e0, sample.others, *options) if sample.others else None
    return SpeciesWeights(
        terms=tuple(search.space.described(best, covariance, learned)),
        log_evidence_before=search.history[0].log_evidence,
        log_evidence=search.evidence_at(best),
        climbs=tuple(climb.value for climb in climbs),
        other_signs=search.other_signs(best),
        confirmed=None if others is None else _gain(others, search, best),
        n_frames=len(sample.used),
        n_atoms=sum(len(frame.atoms) for frame in sample.used),
        n_sparse=evidence.n_columns,
        history=tuple(search.history),
    )


def learnable(gap: GAP, asked: Sequence[int] | None = None) -> list[int]:
    """Numbers of the terms whose weights are to be learned; all SOAP of several species if none are `asked` for.

    Raises
    ------
    InputError
        If there is none, or for one that has no species weights.
    """
    if not isinstance(gap, GAP):
        raise InputError(f"weights are learned for a GAP, not for {type(gap).__name__}: give GAP([Term(SOAP(…))]).")
    gap._validate()
    if asked is not None and not (isinstance(asked, Sequence) and all(type(t) is int for t in asked)):
        raise InputError(f"terms = {asked!r} must be a list of numbers of terms, such as [0].")
    terms = list(gap.terms or ())
    soaps = {t: soap for t, term in enumerate(terms) if isinstance(soap := term.environment_descriptor, SOAP)}
    usable = [t for t, soap in soaps.items() if len(soap.species) > 1]
    wanted = usable if asked is None else sorted({*asked})
    for t in wanted:
        if t not in usable:
            raise InputError(f"term {t} is not a SOAP of several species: {_choice(usable)}.")
        if soaps[t].engine != "numba":
            raise InputError(f"term {t} has engine='dscribe', which is too slow for a search: use engine='numba'.")
    if not wanted:
        raise InputError(f"there are no species weights to learn: {_choice(usable)}.")
    return wanted


def _choice(usable: Sequence[int]) -> str:
    return f"name some of terms={list(usable)}" if usable else "give the GAP a term with SOAP(species=[…, …])"


# ---- the space of weights


class _Point(NamedTuple):
    """Logarithms of the ratios |w|/|w of the lightest|, d of them, their signs, and log p + log prior."""

    x: np.ndarray
    signs: Signs
    value: float = -np.inf


class _Space:
    """Weights of several terms ↔ logarithms of ratios to each term's lightest species, and signs."""

    def __init__(self, soaps: Sequence[SOAP], signs: bool) -> None:
        self.soaps = soaps
        self._symbols = [soap.symbols for soap in soaps]
        ends = np.cumsum([0, *(len(symbols) - 1 for symbols in self._symbols)])
        self._parts = [slice(a, b) for a, b in pairwise(ends.tolist())]
        self.n = int(ends[-1])
        self.free_signs = [
            k for soap, part in zip(soaps, self._parts) for k in range(part.start, part.stop)
            if signs and soap.compression in SIGNED
        ]  # fmt: skip

    def start(self) -> _Point:
        """The given weights; signs without a meaning are positive."""
        x, signs = [], []
        for soap in self.soaps:
            given = soap.species_weights or {}
            w = np.array([given.get(symbol, 1.0) for symbol in soap.symbols])
            x.append(np.log(np.abs(w[1:] / w[0])))
            signs.append(np.sign(w[1:] / w[0]) if soap.compression in SIGNED else np.ones(len(w) - 1))
        limit = np.log(LARGEST)
        return _Point(np.clip(np.concatenate(x), -limit, limit), tuple(np.concatenate(signs).tolist()))

    def logs(self, x: np.ndarray) -> list[np.ndarray]:
        """log|w| of each term, with mean zero."""
        found = [np.concatenate([[0.0], x[part]]) for part in self._parts]
        return [u - u.mean() for u in found]

    def weights(self, point: _Point) -> tuple[dict[str, float], ...]:
        """By symbol, for each term; six digits, more than data determine, keep files and tables readable."""
        signs = [np.array([1.0, *point.signs[part]]) for part in self._parts]
        sizes = [np.exp(u) for u in self.logs(point.x)]
        rounded = ([float(f"{x:.6g}") for x in s * w] for s, w in zip(signs, sizes))
        return tuple(dict(zip(names, own)) for names, own in zip(self._symbols, rounded))

    def log_prior(self, x: np.ndarray) -> float:
        """Up to a constant."""
        return -0.5 * float(sum(u @ u for u in self.logs(x))) / PRIOR_WIDTH**2

    def described(self, best: _Point, covariance: np.ndarray, terms: Sequence[int]) -> Iterator[TermWeights]:
        """The result for each term."""
        for t, soap, part, names, w in zip(terms, self.soaps, self._parts, self._symbols, self.weights(best)):
            C = np.zeros((len(names), len(names)))
            C[1:, 1:] = covariance[part, part]
            P = np.eye(len(names)) - 1.0 / len(names)
            far = np.abs(best.x[part]) > np.log(LARGEST) - 1e-6
            at_bound = tuple(s for s, beyond in zip(names[1:], far) if beyond)
            yield TermWeights(t, soap.compression, w, P @ C @ P, at_bound)


# ---- the search


class _Search:
    """log p + log prior of a point; keeps all evaluations."""

    def __init__(self, evidence: WeightEvidence, space: _Space, ticks: Generator[int, None, None]) -> None:
        self._evidence, self.space, self.ticks = evidence, space, ticks
        self.history: list[Visit] = []
        self.visited: list[_Point] = []

    def __call__(self, x: np.ndarray, signs: Signs) -> _Point:
        """The point with its value."""
        point = _Point(np.array(x, dtype=float), tuple(signs))
        weights = self.space.weights(point)
        found = self._evidence_of(weights)
        next(self.ticks)
        self.history.append(Visit(weights, found.log_evidence))
        self.visited.append(point._replace(value=found.log_posterior + self.space.log_prior(point.x)))
        return self.visited[-1]

    def _evidence_of(self, weights: tuple[dict[str, float], ...]) -> MaximisedEvidence:
        """A later point that cannot be computed (no factor of its covariance, say) counts as worse than all before."""
        try:
            return self._evidence(weights)
        except InputError:
            if not self.visited:
                raise
            lowest = min(point.value for point in self.visited) - HOPELESS
            return MaximisedEvidence(lowest, lowest)

    def evidence_at(self, point: _Point) -> float:
        """log p(labels) of an evaluated point."""
        return next(v.log_evidence for v, p in zip(self.history, self.visited) if p is point)

    def other_signs(self, best: _Point) -> float | None:
        """By how much the best point with other signs is worse."""
        others = [p.value for p in self.visited if p.signs != best.signs]
        return best.value - max(others) if others and self.space.free_signs else None


def _ticks(show: bool) -> Generator[int, None, None]:
    """Counts evaluations; shown as progress if `show`."""
    yield from progress(show)(count(), "evaluations of species weights")


def _searched(search: _Search, n_starts: int, rng: np.random.Generator) -> tuple[_Point, list[_Point]]:
    """The best point, and the end point of each climb, the best first."""
    first = search.space.start()
    places = [search(first.x, first.signs), *_with_other_signs(search, first)]
    for _ in range(2 * (search.space.n + 1)):
        signs = np.array(first.signs)
        signs[search.space.free_signs] = rng.choice([-1.0, 1.0], size=len(search.space.free_signs))
        places.append(search(SPREAD * rng.standard_normal(search.space.n), tuple(signs.tolist())))
    places.sort(key=lambda place: -place.value)
    logger.info("species weights: %d points, log p from %.1f to %.1f", len(places), places[-1].value, places[0].value)
    # the best of each pattern of signs first: climbs with the same signs mostly end at one point
    first_of = {place.signs: k for k, place in reversed(list(enumerate(places)))}
    starts = sorted(range(len(places)), key=lambda k: (first_of[places[k].signs] != k, k))[:n_starts]
    climbs = sorted((_climbed(search, places[k]) for k in starts), key=lambda climb: -climb.value)
    return climbs[0], climbs


def _with_other_signs(search: _Search, first: _Point) -> list[_Point]:
    """The first point with all other signs or, if these are too many, those that single changes lead uphill to."""
    free = search.space.free_signs
    if 2 ** len(free) <= MOST_PATTERNS:
        patterns = [_flipped(first.signs, [k for k, flip in zip(free, flips) if flip]) for flips in _subsets(free)]
        return [search(first.x, signs) for signs in patterns]
    places = [search.visited[-1]]
    while True:
        best = max(places, key=lambda place: place.value)
        tried = {place.signs for place in places}
        new = [signs for k in free if (signs := _flipped(best.signs, [k])) not in tried]
        places += [search(first.x, signs) for signs in new]
        if max(places, key=lambda place: place.value) is best:
            return places[1:]


def _subsets(free: Sequence[int]) -> list[tuple[bool, ...]]:
    """All but the empty one."""
    return list(product((False, True), repeat=len(free)))[1:]


def _flipped(signs: Signs, which: Sequence[int]) -> Signs:
    return tuple(-s if k in which else s for k, s in enumerate(signs))


def _climbed(search: _Search, place: _Point) -> _Point:
    """The best point of a local search by quadratic models in a trust region (COBYQA; Ragonneau, 2022)."""
    limit, before = np.log(LARGEST), len(search.visited)
    minimize(
        lambda x: -search(x, place.signs).value, place.x, method="COBYQA", bounds=Bounds(-limit, limit),
        options={"initial_tr_radius": FIRST_STEP, "final_tr_radius": LAST_STEP, "maxfev": 40 * (search.space.n + 1)},
    )  # fmt: skip
    best = max([place, *search.visited[before:]], key=lambda point: point.value)
    n = len(search.visited) - before
    logger.info("species weights: climbed from %.1f to %.1f in %d evaluations", place.value, best.value, n)
    return best


def _gain(others: WeightEvidence, search: _Search, best: _Point) -> float:
    """log p of other frames with the best weights, less that with those of the start."""
    start, end = (others(search.space.weights(point)).log_evidence for point in (search.visited[0], best))
    return end - start


# ---- covariance


def _covariance(search: _Search, best: _Point) -> np.ndarray:
    """Of the logarithms x, from second differences of log p + log prior; zero for those at a bound."""
    n, limit = search.space.n, np.log(LARGEST)
    inner = [k for k in range(n) if abs(best.x[k]) < limit - 1e-6]
    steps = {k: _step(search, best, k) for k in inner}
    H = np.diag([steps[k][1] for k in inner])
    for a, b in combinations(range(len(inner)), 2):
        (h, c_a), (g, c_b) = steps[inner[a]], steps[inner[b]]
        move = np.zeros(n)
        move[inner[a]], move[inner[b]] = h, g
        both = _second_difference(search, best, move)
        H[a, b] = H[b, a] = (both - c_a * h**2 - c_b * g**2) / (2.0 * h * g)
    # round-off may leave a direction of no curvature: the prior's is no less than 1/(n + 1) of 1/width²
    values, vectors = np.linalg.eigh(H)
    covariance = np.zeros((n, n))
    covariance[np.ix_(inner, inner)] = (vectors / np.maximum(values, 1.0 / PRIOR_WIDTH**2 / (n + 1))) @ vectors.T
    return covariance


def _second_difference(search: _Search, best: _Point, move: np.ndarray) -> float:
    """-f(x + move) + 2 f(x) - f(x - move)."""
    return 2.0 * best.value - sum(search(best.x + s * move, best.signs).value for s in (1.0, -1.0))


def _step(search: _Search, best: _Point, k: int) -> tuple[float, float]:
    """A step along k that changes log p by about one, and minus the curvature along k."""
    h, unit = 0.05, np.eye(search.space.n)[k]
    for _ in range(3):
        curvature = _second_difference(search, best, h * unit) / h**2
        wanted = float(np.clip(np.sqrt(1.0 / max(curvature, 1e-9)), 1e-3, 0.5))
        if 0.3 < h / wanted < 3.0:
            break
        h = wanted
    else:
        curvature = _second_difference(search, best, h * unit) / h**2
    return h, curvature
