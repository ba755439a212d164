"""From frames to sparse points and row factors: both passes of a fit, within a memory budget, with checkpoints."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from gapkit.errors import ExtrapolationWarning, InputError, warn
from gapkit.fitting.checkpoint import Checkpoint
from gapkit.fitting.first_pass import Selection, SparsePools, Summary, survey
from gapkit.fitting.hyperparameters import ROWS_BYTES
from gapkit.fitting.memory import check_budget
from gapkit.fitting.noise import Group, Noises
from gapkit.fitting.packing import (
    pack_atoms,
    pack_basis,
    pack_counts,
    pack_factors,
    pack_selection,
    unpack_atoms,
    unpack_basis,
    unpack_counts,
    unpack_factors,
    unpack_selection,
)
from gapkit.fitting.second_pass import Factors, Recipe, row_sizes, stream_rows
from gapkit.runtime.interrupts import Request, deferred
from gapkit.runtime.memory import MemoryUse, PeakMemory, in_words
from gapkit.runtime.progress import Track
from gapkit.runtime.threads import get_num_threads
from gapkit.structures.frames import Frame, Frames
from gapkit.terms.protocol import AdditiveTerm

logger = logging.getLogger("gapkit")


class Passes(Protocol):
    """The two passes, here or on workers (`gapkit.fitting.distributed`)."""

    def survey(self, frames: Frames, noises: Noises, pools: SparsePools, follow: Track) -> Summary:
        """`gapkit.fitting.first_pass.survey`."""
        ...

    def rows(self, recipe: Recipe, frames: Iterable[Frame], factors: Factors, state: SecondPass, ahead: int) -> Factors:
        """`gapkit.fitting.second_pass.stream_rows`."""
        ...


class Options(NamedTuple):
    """How to carry out a fit. Only `max_memory` can change the result: candidates for the sparse points that do not fit
    into a quarter of it are thinned out.

    Attributes
    ----------
    max_memory : int or None
        Bytes.
    checkpoint : Checkpoint or None
    passes : Passes or None
        None: in this process.
    follow : callable
        From `gapkit.runtime.progress.progress`.
    optimize : bool
        Noises or amplitudes will be learned, which takes memory.
    leave_out : bool
        Rows of frames that are left out will be held as well, which takes more.
    """

    max_memory: int | None
    checkpoint: Checkpoint | None
    passes: Passes | None
    follow: Track
    optimize: bool = False
    leave_out: bool = False


class Start(NamedTuple):
    """Result of the first pass: everything that the second one and the model need."""

    recipe: Recipe
    training: dict[str, Any]
    frames: Counter[int]
    references: list[Atoms]
    rows: dict[Group, int]
    largest_frame: int
    n_neighbours: int
    selection: Selection


class Learned(NamedTuple):
    """Result of both passes.

    Attributes
    ----------
    start : Start
    factors : dict of group to RowFactor
    estimated : int
        Estimated memory, bytes.
    peak : PeakMemory
    """

    start: Start
    factors: Factors
    estimated: int
    peak: PeakMemory

    @property
    def memory(self) -> MemoryUse:
        """The estimate, and the peak until now."""
        return MemoryUse(self.estimated, self.peak.largest())


class SecondPass:
    """The second pass in progress: counts and fingerprints frames, checks the memory, writes checkpoints.

    With a checkpoint, a signal to end waits for the end of a frame and for the file, which holds all frames so far.
    """

    def __init__(
        self, start: Start, checkpoint: Checkpoint | None, factors: Factors, peak: PeakMemory, request: Request
    ) -> None:
        self.start, self.factors = start, factors
        self.n_done, self.digest = 0, ""
        self._checkpoint, self._peak, self._request = checkpoint, peak, request

    def after(self, frame: Frame) -> None:
        """Count one more frame whose rows are now in the factors."""
        self.skip(frame)
        if self.due():
            self.write()

    def due(self) -> bool:
        """Whether it is time for a checkpoint; checks the memory, too."""
        self._peak.look()
        return self._checkpoint is not None and (self._checkpoint.due() or self._request.is_there)

    def skip(self, frame: Frame) -> None:
        """Count a frame whose rows are in the factors already."""
        self.n_done += 1
        self.digest = frame.digest(self.digest)

    def write(self) -> None:
        """Write a checkpoint."""
        if self._checkpoint is None:
            return
        headers, arrays = _pack_start(self.start)
        numbers, parts = pack_factors(self.factors)
        done = {"n_done": self.n_done, "digest": self.digest, "factors": numbers}
        self._checkpoint.write(headers | done, arrays | parts)
        self._request.give_on()

    def check_same(self, digest: str, what: str) -> None:
        """Raise `InputError` unless the frames so far have this fingerprint."""
        if self.digest != digest:
            raise InputError(f"the frames are not the same as {what}: give the very same frames in the same order.")


def learn(
    terms: Sequence[AdditiveTerm],
    noises: Noises,
    e0: dict[str, float] | None,
    random_state: int,
    frames: Frames,
    options: Options,
) -> Learned:
    """Pass over the frames twice, or continue from a checkpoint."""
    peak = PeakMemory()
    stored = None if options.checkpoint is None else options.checkpoint.read()
    if stored is None:
        start, factors = _survey(tuple(terms), noises, e0, random_state, frames, options), {}
    else:
        start = _unpack_start(*stored, tuple(terms), noises)
        factors = unpack_factors(stored[0]["factors"], stored[1])
    with deferred(options.checkpoint is not None) as request:
        state = SecondPass(start, options.checkpoint, factors, peak, request)
        return _second_pass(state, frames, options, peak, None if stored is None else stored[0])


def _second_pass(
    state: SecondPass, frames: Frames, options: Options, peak: PeakMemory, stored: Mapping[str, Any] | None
) -> Learned:
    """All rows, or those of the frames that a checkpoint does not hold."""
    start = state.start
    if stored is None:
        state.write()
        remaining: Iterable[Frame] = iter(frames)
    else:
        remaining = _skip(frames, state, stored["n_done"], stored["digest"])
    estimated, ahead = _estimate(start, options, peak.look())
    logger.info("memory: about %s", in_words(estimated))
    total = start.training["n_structures"]
    followed = options.follow(remaining, "covariances", total - state.n_done)
    if options.passes is None:
        stream_rows(start.recipe, followed, state.factors, state.after, ahead)
    else:
        options.passes.rows(start.recipe, followed, state.factors, state, ahead)
    state.check_same(start.training["sha256"], "in the first pass")
    return Learned(start, state.factors, estimated, peak)


def _survey(
    terms: tuple[AdditiveTerm, ...],
    noises: Noises,
    e0: dict[str, float] | None,
    random_state: int,
    frames: Frames,
    options: Options,
) -> Start:
    budget = None if options.max_memory is None else options.max_memory - PeakMemory().look()
    pools = SparsePools(terms, random_state, budget)
    if options.passes is None:
        summary = survey(terms, frames, frames.n_frames, noises, pools, options.follow)
    else:
        summary = options.passes.survey(frames, noises, pools, options.follow)
    known = _known_e0(e0, summary)
    for message in summary.duplicates.messages():
        warn(message)
    basis, selection = pools.choose()
    for chosen in selection.values():
        if chosen.get("unmet"):
            message = f"{chosen['unmet']}; only other terms and baselines act there: add frames with them."
            warn(message, ExtrapolationWarning)
    recipe = Recipe(basis, known, noises)
    sizes = (summary.rows, summary.largest_frame, pools.n_neighbours)
    training = summary.as_dict() | {"shortest_distances": pools.shortest}
    return Start(recipe, training, summary.frames, summary.references(), *sizes, selection)


def _known_e0(given: dict[str, float] | None, summary: Summary) -> dict[str, float]:
    if given is None:
        return summary.energies.e0()
    missing = sorted({chemical_symbols[z] for z in summary.energies.numbers} - set(given))
    if missing:
        raise InputError(
            f"e0 has no value for {', '.join(missing)}: give one per species, or leave e0 out to have it found."
        )
    return given


def _estimate(start: Start, options: Options, present: int) -> tuple[int, int]:
    """Bytes at the peak of the second pass, and how many frames to work on ahead, fewer if memory is tight."""
    n_threads, budget = get_num_threads(), options.max_memory
    sizes = row_sizes(start.recipe, start.rows, start.largest_frame, start.n_neighbours)
    choices = [2 * n_threads, n_threads, 1, 0] if n_threads > 1 else [0]
    present += min(ROWS_BYTES, 8 * sizes.n_sparse * sum(sizes.rows)) if options.leave_out else 0
    for ahead in choices:
        estimated = present + sizes.total(n_threads, ahead, options.optimize)
        if budget is None or estimated <= budget:
            return estimated, ahead
    check_budget(estimated, budget, sizes)
    return estimated, ahead


def _skip(frames: Frames, state: SecondPass, n_done: int, digest: str) -> Iterator[Frame]:
    """The frames after those whose rows are in the checkpoint's factors."""
    remaining = iter(frames)
    for frame in islice(remaining, n_done):
        state.skip(frame)
    state.check_same(digest, "those of the checkpoint")
    yield from remaining


# ---- the first pass's result as a file


def _pack_start(start: Start) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    references, arrays = pack_atoms(start.references)
    blocks, points = pack_basis(start.recipe.basis)
    header = {
        "blocks": blocks,
        "e0": start.recipe.e0,
        "training": start.training,
        "references": references,
        "rows": [[*group, n] for group, n in start.rows.items()],
        "sizes": [start.largest_frame, start.n_neighbours],
        "selection": pack_selection(start.selection),
    }
    return header, arrays | points | {"frames": pack_counts(start.frames)}


def _unpack_start(
    header: dict[str, Any], arrays: dict[str, np.ndarray], terms: tuple[AdditiveTerm, ...], noises: Noises
) -> Start:
    basis = unpack_basis(terms, header["blocks"], arrays)
    return Start(
        recipe=Recipe(basis, header["e0"], noises),
        training=header["training"],
        frames=unpack_counts(arrays["frames"]),
        references=unpack_atoms(header["references"], arrays),
        rows={(kind, name): n for kind, name, n in header["rows"]},
        largest_frame=header["sizes"][0],
        n_neighbours=header["sizes"][1],
        selection=unpack_selection(header["selection"]),
    )
