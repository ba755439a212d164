"""From labelled frames to the posterior of every spherical order, in three passes, in memory that does not grow.

The first pass gathers candidates for the sparse points by their scalar features and the isotropic offsets, the second
finds the equivariant features of the chosen ones, the third folds the rows of every order into its own triangular
factor: parts of different order are independent, in the prior and so in the posterior.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from gapkit.descriptors.lambda_soap import Order, equivariants
from gapkit.errors import InputError
from gapkit.gaussian_process.hyperparameter_search import Amplitude, maximise
from gapkit.gaussian_process.posterior import SparsePosterior, fit_posterior
from gapkit.gaussian_process.row_factor import RowFactor
from gapkit.gaussian_process.sparse_pool import POOL_BYTES, SparsePool, default_capacity
from gapkit.runtime.threads import ordered_map
from gapkit.tensors.copies import CopyCheck
from gapkit.tensors.frames import TensorFrame, TensorFrames
from gapkit.tensors.offsets import Offsets, offset_of
from gapkit.tensors.rows import Columns, Structure, TensorBlock, columns_of, covariance_of_columns, scales, weights_of
from gapkit.tensors.targets import Target
from gapkit.tensors.term import TensorTerm

FIRST_NOISE = 0.05  # of the labels' root mean square: where the search for a noise starts
FIRST_SHARE = 1.0  # prior variance of the labels relative to their mean square, if no amplitude is given

TABLE = ("name", "start", "value", "low", "high", "std_log", "n_labels", "effective")  # of what was learned

Follow = Callable[..., Any]


class Job(NamedTuple):
    """What a fit depends on besides the data.

    Attributes
    ----------
    terms, target
    noise : mapping of int to float or None
        By λ; None: to be learned.
    offsets : mapping of str to float, or None
    jitter : float
    random_state : int
    learn : frozenset of {"noise", "delta"}
        What is learned even where a number is given.
    """

    terms: tuple[TensorTerm, ...]
    target: Target
    noise: Mapping[int, float | None]
    offsets: Mapping[str, float] | None
    jitter: float
    random_state: int
    learn: frozenset[str] | None


@dataclass(frozen=True)
class OrderModel:
    """The Gaussian process of one spherical order.

    Attributes
    ----------
    columns : Columns
    deltas : ndarray, shape (n_terms,)
        Amplitudes; zero of terms that do not take part.
    noise : float
        Standard deviation of a component of the labels.
    posterior : SparsePosterior
    weights : list of ndarray
        From `weights_of`.
    factor : RowFactor or None
        Of the rows with these amplitudes.
    hyperparameters : list of dict
        What was learned, as rows of a table.
    """

    columns: Columns
    deltas: np.ndarray
    noise: float
    posterior: SparsePosterior
    weights: list[np.ndarray]
    factor: RowFactor | None = None
    hyperparameters: tuple[dict[str, Any], ...] = ()


class Learned(NamedTuple):
    """Everything that a fit found."""

    blocks: tuple[TensorBlock, ...]
    offsets: dict[str, float]
    models: tuple[OrderModel, ...]
    selection: dict[tuple[int, str], str]
    n_structures: int
    species: tuple[str, ...]
    smallest: Atoms


def learn(job: Job, frames: TensorFrames, follow: Follow) -> Learned:
    """All passes and the posteriors."""
    chosen, offsets, n, smallest, numbers = _survey(job, frames, follow)
    points = {key: found[0] for key, found in chosen.items()}
    blocks = _equivariant_blocks(job, frames, points)
    models = tuple(_solved(job, sums) for sums in _stream(job, frames, blocks, offsets, follow, n))
    selection = {(t, chemical_symbols[z]): text for (t, z), (_, text) in chosen.items()}
    return Learned(blocks, offsets, models, selection, n, tuple(chemical_symbols[z] for z in numbers), smallest)


# ---- the first pass


def _scalar_features(job: Job, frame: TensorFrame) -> tuple[TensorFrame, list[tuple[tuple[int, int], np.ndarray]]]:
    """Normalised scalar features of all environments by term and species."""
    numbers = np.unique(frame.atoms.numbers)
    for term in job.terms:
        term.check_species(numbers)
    structure, found = Structure(job.terms, frame.atoms), []
    for t, term in enumerate(job.terms):
        for z in numbers.tolist():
            if term.count(z):
                Q = [centres.points.Q for centres in structure.centres(t, z, None)]
                found.append(((t, z), np.concatenate(Q)))
    return frame, found


def _survey(
    job: Job, frames: TensorFrames, follow: Follow
) -> tuple[dict[tuple[int, int], tuple[np.ndarray, str]], dict[str, float], int, Atoms, list[int]]:
    pools: dict[tuple[int, int], SparsePool] = {}
    offsets, numbers, n, smallest = Offsets(job.target), set(), 0, None
    copies = CopyCheck(job.target)
    isotropic = next((order for order in job.target.orders if order.order == 0), None)
    for frame, found in follow(ordered_map(lambda f: _scalar_features(job, f), frames), "descriptors", None):
        n += 1
        copies.add(frame)
        smallest = frame.atoms if smallest is None or len(frame.atoms) < len(smallest) else smallest
        numbers |= set(frame.atoms.numbers.tolist())
        if isotropic is not None:
            offsets.add(frame.atoms.numbers, frame.parts[isotropic] / unit_length(job.target))
        for (t, z), Q in found:
            if (t, z) not in pools:
                pools[t, z] = _new_pool(job, t, z)
            pools[t, z].add(Q)
    if not pools or smallest is None:
        raise InputError("no species of the frames has sparse points: raise n_sparse of one.")
    chosen = {key: (X, str(report)) for key in sorted(pools) for X, report in [pools.pop(key).choose()]}
    own = dict(job.offsets) if job.offsets is not None else offsets.solve() if isotropic is not None else {}
    return chosen, {s: float(x) for s, x in own.items()}, n, smallest, sorted(numbers)


def _new_pool(job: Job, t: int, z: int) -> SparsePool:
    """A pool that shares `POOL_BYTES` with those of all other terms and species."""
    term = job.terms[t]
    n_pools = sum(len(other.descriptor.numbers) for other in job.terms)
    capacity = default_capacity(term.descriptor.n_features, term.count(z), POOL_BYTES // n_pools)
    return SparsePool(term.count(z), term.sparsification, job.random_state, capacity)


def unit_length(target: Target) -> float:
    """y_0 of the unit tensor: √3 of rank two, 1 of scalars."""
    return float(np.sqrt(3.0)) if target.rank == 2 else 1.0


# ---- the second pass


def _equivariant_blocks(
    job: Job, frames: TensorFrames, points: Mapping[tuple[int, int], np.ndarray]
) -> tuple[TensorBlock, ...]:
    """Blocks with the equivariant features of the first environment that has the very scalar features."""
    wanted = {key: {row.tobytes(): m for m, row in enumerate(X)} for key, X in points.items()}
    V: dict[tuple[int, int], dict[Order, np.ndarray]] = {key: {} for key in points}
    for frame in frames:
        for (t, z), left in wanted.items():
            if left and (frame.atoms.numbers == z).any():
                _take_equivariants(job, frame, t, z, points[t, z], left, V[t, z])
        if not any(wanted.values()):
            break
    return tuple(TensorBlock(t, z, np.ascontiguousarray(X), V[t, z]) for (t, z), X in points.items())


def _take_equivariants(
    job: Job,
    frame: TensorFrame,
    t: int,
    z: int,
    X: np.ndarray,
    left: dict[bytes, int],
    V: dict[Order, np.ndarray],
) -> None:
    """Fill in V of the sparse points among the centres of one species, and strike them off `left`."""
    term = job.terms[t]
    for centres in Structure([term], frame.atoms).centres(0, z, None):
        hits = [(left.pop(row.tobytes()), i) for i, row in enumerate(centres.points.Q) if row.tobytes() in left]
        if not hits:
            continue
        m, i = np.array(hits).T
        for order in job.target.orders:
            if term.has(order):
                p = equivariants(term.descriptor, centres.state, order)[i] / centres.norm[i, None, None]
                V.setdefault(order, np.zeros((len(X), *p.shape[1:])))[m] = p


# ---- the third pass


class _Rows(NamedTuple):
    """One frame's rows of one order with δ = 1, its labels, and the mean prior variance of a component by term."""

    K: np.ndarray
    y: np.ndarray
    prior: np.ndarray


def frame_rows(
    target: Target, terms: Sequence[TensorTerm], columns: Sequence[Columns], offsets: Mapping[str, float],
    frame: TensorFrame, priors: bool = False,
) -> list[_Rows]:  # fmt: skip
    """Rows and labels (without offsets) of every order."""
    structure, found = Structure(terms, frame.atoms), []
    for own in columns:
        K = structure.rows(own, target.of).reshape(-1, own.n)
        y = frame.parts[own.order]
        if own.order.order == 0 and offsets:
            start = offset_of(offsets, frame.atoms.numbers, target.of) * unit_length(target)
            y = y - np.reshape(start, (-1, 1) if target.of == "atom" else (1,))
        found.append(_Rows(K, y.ravel(), _priors(structure, own, target.of) if priors else np.empty(0)))
    return found


def _priors(structure: Structure, columns: Columns, of: str) -> np.ndarray:
    variances = np.zeros(len(structure.terms))
    for t in {block.term for block in columns.blocks}:
        alone = np.zeros(len(structure.terms))
        alone[t] = 1.0
        variances[t] = np.einsum("...dd->...d", structure.prior(columns, of, alone)).mean()
    return variances


class _Sums(NamedTuple):
    """The third pass's result for one order."""

    columns: Columns
    factor: RowFactor
    square: float
    prior: np.ndarray


def _stream(
    job: Job, frames: TensorFrames, blocks: tuple[TensorBlock, ...], offsets: Mapping[str, float], follow: Follow,
    n_frames: int,
) -> list[_Sums]:  # fmt: skip
    columns = [columns_of(blocks, order) for order in job.target.orders]
    columns = [own for own in columns if own.blocks]
    if not columns:
        raise InputError(f"no term takes part in any order of the {job.target.name}: leave orders out.")
    factors = [RowFactor(own.n) for own in columns]
    squares, priors = np.zeros(len(columns)), np.zeros((len(columns), len(job.terms)))
    wanted = any(term.given_delta(own.order) is None for term in job.terms for own in columns)
    found = ordered_map(lambda f: frame_rows(job.target, job.terms, columns, offsets, f, wanted), frames)
    for rows in follow(found, "kernels", n_frames):
        for k, own in enumerate(rows):
            factors[k].add(own.K, own.y)
            squares[k] += own.y @ own.y
            if wanted:
                priors[k] += own.prior * len(own.y)
    return [
        _Sums(own, factor, square / factor.n_rows, prior / factor.n_rows)
        for own, factor, square, prior in zip(columns, factors, squares, priors)
    ]


# ---- amplitudes, noises, posteriors


def _solved(job: Job, sums: _Sums) -> OrderModel:
    columns, order, square = sums.columns, sums.columns.order, max(sums.square, 1e-300)
    deltas, open_deltas = _first_deltas(job, sums)
    given = job.noise.get(order.order)
    noise = FIRST_NOISE * np.sqrt(square) if given is None else float(given)
    sums.factor.rescale(scales(columns, deltas))
    learn_noise = given is None if job.learn is None else "noise" in job.learn
    learn_delta = open_deltas if job.learn is None else [t for t in _terms(columns) if "delta" in job.learn]
    K_mm = covariance_of_columns(columns, job.terms, deltas, job.jitter)
    if learn_noise or learn_delta:
        return _optimised(job, sums, deltas, noise, K_mm, learn_noise, learn_delta)
    posterior = fit_posterior(K_mm, {order.order: sums.factor}, {order.order: noise}, jitter=0.0)
    weights = weights_of(columns, deltas, posterior.alpha)
    return OrderModel(columns, deltas, noise, posterior, weights, sums.factor)


def _terms(columns: Columns) -> list[int]:
    return sorted({block.term for block in columns.blocks})


def _first_deltas(job: Job, sums: _Sums) -> tuple[np.ndarray, list[int]]:
    """Given amplitudes, and for the others such that the prior variance is the labels' mean square in equal shares."""
    deltas, own, order = np.zeros(len(job.terms)), _terms(sums.columns), sums.columns.order
    missing = [t for t in own if job.terms[t].given_delta(order) is None]
    for t in own:
        given = job.terms[t].given_delta(order)
        share = FIRST_SHARE * sums.square / len(own)
        deltas[t] = np.sqrt(share / sums.prior[t]) if given is None and sums.prior[t] > 0.0 else given or 1.0
        if not deltas[t] > 0.0:
            deltas[t] = 1.0
    return deltas, missing


def _optimised(
    job: Job, sums: _Sums, deltas: np.ndarray, noise: float, K_mm: np.ndarray, learn_noise: bool,
    learn_delta: Sequence[int],
) -> OrderModel:  # fmt: skip
    """The model with noise and amplitudes by the evidence, from these on."""
    columns, lam, factor = sums.columns, sums.columns.order.order, sums.factor
    group = f"noise[{lam}]"
    amplitudes = []
    for t in _terms(columns):
        own = [np.arange(s.start, s.stop) for b, s in zip(columns.blocks, columns.slices) if b.term == t]
        name = f"delta[{lam}]" if len(job.terms) == 1 else f"terms__{t}__delta[{lam}]"
        amplitudes.append(Amplitude(name, float(deltas[t]), np.concatenate(own)))
    fixed = {a.name for a, t in zip(amplitudes, _terms(columns)) if t not in learn_delta}
    fixed |= set() if learn_noise else {group}
    bounds = {a.name: (1e-4 * a.delta, 1e4 * a.delta) for a in amplitudes}
    found = maximise(
        K_mm, {group: factor}, {group: noise}, amplitudes, jitter=0.0, fixed=fixed, bounds=bounds,
        n_starts=1, random_state=job.random_state,
    )  # fmt: skip
    factor.rescale(found.column_scale)
    learned = deltas.copy()
    for t, a in zip(_terms(columns), amplitudes):
        learned[t] = found.amplitudes[a.name]
    table = tuple({name: getattr(h, name) for name in TABLE} | {"note": h.note()} for h in found.hyperparameters)
    weights = weights_of(columns, learned, found.posterior.alpha)
    return OrderModel(columns, learned, float(found.noise[group]), found.posterior, weights, factor, table)
