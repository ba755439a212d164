"""How much memory and time a fit will take, from what the data are like: for planning, before anything is computed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np

from gapkit.covariances.rows import ROW_BLOCK
from gapkit.descriptors.soap import SOAP
from gapkit.descriptors.soap_rows import COSTS, operations
from gapkit.fitting.hyperparameters import ROWS_BYTES
from gapkit.fitting.memory import RowSizes
from gapkit.geometry.distances import pair_name
from gapkit.runtime.threads import get_num_threads
from gapkit.structures.statistics import DataFacts
from gapkit.terms.linear import Linear
from gapkit.terms.pair import SPACING, Pair
from gapkit.terms.term import AnyTerm, Term
from gapkit.terms.triplet import Triplet

PROCESS = 3.6e8  # bytes of a process with its libraries and compiled loops
PRODUCTS, FOLDING = 40e9, 12e9  # operations/s of one core in matrix products and in QR by blocks, cache misses included
LEARNING = 40.0  # n_columns³ operations of the solution and the evidence of the amplitudes
LEAVING_OUT = 50.0  # n_labels n_columns² operations of the errors of left-out frames
START = 4.0  # s, in which loops are loaded and the data read
TRIANGLE = 4e-8  # s for a triangle in the data and a sparse one, derivatives included


class Cost(NamedTuple):
    """What a fit will take: columns of all terms, bytes, and seconds of one core, good to a factor of three."""

    n_columns: int
    memory: int
    seconds: float


def cost_of_a_fit(
    terms: Sequence[AnyTerm], facts: DataFacts, n_noises: int = 1, optimize: Collection[str] = ("delta",)
) -> Cost:
    """Memory and time of a fit of `terms`, none of them an ACSF, with so many noises of each kind of label.

    `optimize` as in `GAP.fit`.
    """
    columns = sum(n_columns(term, facts) for term in terms)
    rows = facts.rows()
    soaps = [term for term in terms if isinstance(term, Term) and isinstance(term.descriptor, SOAP)]
    n_features = max((term.descriptor.n_features for term in soaps), default=1)
    most = max((n_neighbours(term.descriptor.cutoff, facts) for term in soaps), default=0.0)
    sizes = RowSizes(
        columns,
        tuple(n // n_noises for n in rows.values() if n) * n_noises,
        facts.sizes[-1],
        n_features,
        round(ROW_BLOCK * (3 * most + 9)),
    )
    threads = get_num_threads()
    total_rows = sum(rows.values())
    seconds = 2.0 * total_rows * columns**2 / FOLDING + LEARNING * columns**3 / PRODUCTS + START
    seconds += sum(_soap_seconds(term, facts) for term in soaps)
    seconds += sum(_triplet_seconds(term, facts) for term in terms if isinstance(term, Triplet))
    left_out = min(ROWS_BYTES, 8 * columns * total_rows) if "leave_out" in optimize else 0  # bytes
    seconds += LEAVING_OUT * (left_out / 8) * columns / PRODUCTS
    return Cost(columns, int(PROCESS) + left_out + sizes.total(threads, 2 * threads, optimize=True), seconds)


def n_neighbours(cutoff: float, facts: DataFacts) -> float:
    """How many atoms are about within a cutoff (Å) of an atom."""
    if facts.spacing is None:
        return facts.n_environments / facts.n_frames - 1.0
    return 4.0 / 3.0 * np.pi * (cutoff / facts.spacing) ** 3


def n_columns(term: AnyTerm, facts: DataFacts) -> int:
    """About how many weights a term will have."""
    if isinstance(term, Term):
        return sum(min(sparse_points(term, symbol), n) for symbol, n in facts.species.items())
    n = len(facts.species)
    if isinstance(term, Triplet):
        return int(term.n_sparse) * n * n * (n + 1) // 2
    if isinstance(term, Pair):
        return sum(
            _pair_columns(term, pair_name(*pair), facts) for pair in combinations_with_replacement(facts.species, 2)
        )
    return term.function.n_features if isinstance(term, Linear) else 0


def sparse_points(term: Term, symbol: str) -> int:
    """Of one species, as asked for."""
    return int(term.n_sparse if isinstance(term.n_sparse, int) else term.n_sparse.get(symbol, 0))


def _pair_columns(term: Pair, pair: str, facts: DataFacts) -> int:
    shortest = facts.shortest.get(pair, term.cutoff)
    low, high = term.transformed(np.array([0.8 * min(shortest, term.cutoff), term.cutoff])).tolist()
    return int(term.n_sparse or np.ceil((high - low) / (SPACING * term.length_scale)) + 1)


def _soap_seconds(term: Term, facts: DataFacts) -> float:
    soap = term.descriptor
    assert isinstance(soap, SOAP)
    seconds, neighbours = 0.0, n_neighbours(soap.cutoff, facts)
    for symbol, n in facts.species.items():
        counts = operations(soap.basis, neighbours, min(sparse_points(term, symbol), n))
        jacobian, pull_back, contraction = (cost * count for cost, count in zip(COSTS, counts))
        seconds += n * min(jacobian, pull_back + contraction) / PRODUCTS
    return seconds


def _triplet_seconds(term: Triplet, facts: DataFacts) -> float:
    """Each triangle meets the sparse ones of its own three species."""
    n = n_neighbours(term.cutoff, facts)
    return TRIANGLE * facts.n_environments * 0.5 * n * max(n - 1.0, 0.0) * int(term.n_sparse)
