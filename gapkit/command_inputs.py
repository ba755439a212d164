"""What the commands of `gapkit.cli` read: model files and labelled structures, with a word on what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gapkit.terminal import Say, log_to

if TYPE_CHECKING:
    from gapkit.labelled_files import LabelledFiles
    from gapkit.potential.gap import GAP
    from gapkit.potential.settings import ModelSettings
    from gapkit.structures.frames import Structures
    from gapkit.structures.labels import LabelKeys


def load_model(path: Path, verbose: bool) -> GAP:
    """The potential of a model file."""
    from gapkit.potential.gap import GAP

    gap = GAP.load(path)
    gap.verbose = verbose
    return gap


def read_labelled(paths: Sequence[Path], keys: Mapping[str, str | None], say: Say, show: bool = False) -> LabelledFiles:
    """Files, after telling which labels were taken and what there is."""
    from gapkit.labelled_files import LabelledFiles

    with log_to(say):
        data = LabelledFiles(paths, keys, show)
    say(str(data.table))
    return data


def new_gap(settings: ModelSettings, data: LabelledFiles, verbose: bool) -> GAP:
    """A potential for these data, not fitted yet."""
    from gapkit.potential.gap import GAP
    from gapkit.structures.frames import labelled_frames

    structures = (frame.atoms for frame in labelled_frames(*frames_of(data)))  # walked through only if asked for radii
    baseline = settings.make_baselines(data.species, structures)
    return GAP(settings.make_terms(data.species), **settings.parameters(), baseline=baseline, verbose=verbose)


def frames_of(data: LabelledFiles) -> tuple[Structures, LabelKeys | None]:
    """Frames to walk through many times, with their keys: from memory if they are few, else from their files."""
    return (data.sample, None) if data.complete else (data.paths, data.keys)
