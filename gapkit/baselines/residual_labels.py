"""Frames with the baselines subtracted from their labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ase import Atoms

from gapkit.baselines import Baseline, evaluate_baselines, subtract_baseline
from gapkit.errors import InputError
from gapkit.runtime.threads import ordered_map
from gapkit.structures.frames import Frame, Frames, FramesInMemory
from gapkit.structures.labels import Labels
from gapkit.structures.properties import Properties


def less_baseline(frames: Frames, baselines: Sequence[Baseline]) -> Frames:
    """The frames with labels less the sum of the baselines; the frames themselves if there are none."""
    return Remainders(frames, baselines) if baselines else frames


class Remainder(Frame):
    """A frame less its baselines that is identified by its `given` labels."""

    given: Labels

    def digest(self, before: str = "") -> str:
        """`Frame.digest` with the labels that were given."""
        return Frame(self.atoms, self.given).digest(before)

    def stripped(self) -> Remainder:
        """`Frame.stripped`, identified by the same labels."""
        return remainder(self.bare(), self.labels, self.given)


def remainder(atoms: Atoms, labels: Labels, given: Labels) -> Remainder:
    """A frame with `labels` that is identified by the `given` ones."""
    rest = Remainder(atoms, labels)
    rest.given = given
    return rest


class Remainders(Frames):
    """Frames less their baselines, which are evaluated on all threads, a few frames ahead of their use.

    For frames in memory each is evaluated once and kept, otherwise again in each pass. The frames' digests stay those
    of the labels that were given: baselines on several threads may round differently each time.
    """

    def __init__(self, frames: Frames, baselines: Sequence[Baseline]) -> None:
        self._frames, self._baselines = frames, tuple(baselines)
        self._kept: list[Properties] | None = [] if isinstance(frames, FramesInMemory) else None
        self.n_frames: int | None = frames.n_frames

    def __iter__(self) -> Iterator[Frame]:
        """Iterate over all frames."""
        kept = self._kept
        for k, (frame, known) in enumerate(ordered_map(self._known, enumerate(self._frames))):
            if kept is not None and k == len(kept):
                kept.append(known)
            yield remainder(frame.atoms, subtract_baseline(frame.labels, known), frame.labels)
        self.n_frames = self._frames.n_frames

    def _known(self, numbered: tuple[int, Frame]) -> tuple[Frame, Properties]:
        k, frame = numbered
        if self._kept is not None and k < len(self._kept):
            return frame, self._kept[k]
        try:
            return frame, evaluate_baselines(self._baselines, frame.atoms)
        except InputError as error:
            raise InputError(f"frame {k}: {error}") from None
