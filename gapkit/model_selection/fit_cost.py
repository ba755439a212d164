"""Estimated memory and time of a fit, from statistics of the data, before anything is computed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from gapkit.descriptors.soap import SOAP
from gapkit.fitting.hyperparameters import ROWS_BYTES
from gapkit.fitting.memory import RowSizes
from gapkit.runtime.threads import get_num_threads
from gapkit.structures.statistics import DataFacts
from gapkit.terms.environment_sums import ROW_BLOCK
from gapkit.terms.protocol import AdditiveTerm

PROCESS = 3.6e8  # bytes of a process with its libraries and compiled loops
PRODUCTS, FOLDING = 40e9, 12e9  # operations/s of one core in matrix products and in QR by blocks, cache misses included
LEARNING = 40.0  # n_columns³ operations of the solution and the evidence of the amplitudes
LEAVING_OUT = 50.0  # n_labels n_columns² operations of the errors of left-out frames
START = 4.0  # s, to load the compiled loops and read the data


class Cost(NamedTuple):
    """Estimated cost of a fit: columns of all terms, bytes, and seconds on one core, within a factor of three."""

    n_columns: int
    memory: int
    seconds: float


def cost_of_a_fit(
    terms: Sequence[AdditiveTerm], facts: DataFacts, n_noises: int = 1, optimize: Collection[str] = ("delta",)
) -> Cost:
    """Memory and time of a fit of `terms`, none of them an ACSF, with `n_noises` noises of each kind of label.

    `optimize` as in `GAP.fit`.
    """
    columns = sum(term.estimated_columns(facts) for term in terms)
    rows = facts.rows()
    soaps = [soap for term in terms if isinstance(soap := term.environment_descriptor, SOAP)]
    n_features = max((soap.n_features for soap in soaps), default=1)
    most = max((facts.n_neighbours(soap.cutoff) for soap in soaps), default=0.0)
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
    seconds += sum(term.estimated_operations(facts) for term in terms) / PRODUCTS
    left_out = min(ROWS_BYTES, 8 * columns * total_rows) if "leave_out" in optimize else 0  # bytes
    seconds += LEAVING_OUT * (left_out / 8) * columns / PRODUCTS
    return Cost(columns, int(PROCESS) + left_out + sizes.total(threads, 2 * threads, optimize=True), seconds)
