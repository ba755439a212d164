"""Input of the commands: model files, and labelled structures, read through once before the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from gapkit.cli.terminal import Say, log_to
from gapkit.errors import InputError
from gapkit.runtime.progress import progress
from gapkit.structures.files import check_path, iter_frames
from gapkit.structures.label_keys import QUANTITIES, KeyFinder
from gapkit.structures.labels import LabelKeys
from gapkit.structures.overview import StructureTable
from gapkit.structures.random_subset import RandomSubset
from gapkit.structures.reading import iter_structures, normalised_frames

if TYPE_CHECKING:
    from gapkit.potential.gap import GAP
    from gapkit.potential.settings import ModelSettings
    from gapkit.structures.frames import Structures


SAMPLE_FRAMES = 1000
SAMPLE_ATOMS = 100_000


class LabelledFiles:
    """Frames of files, read once; memory does not grow with their number.

    Parameters
    ----------
    paths : sequence of path
    keys : mapping
        Names of labels by the fields of `LabelKeys`; what is absent or None is found, "" leaves a label out.
    show : bool
        Show progress.

    Attributes
    ----------
    paths : list of Path
    keys : LabelKeys
        Where the labels are, in all files.
    table : StructureTable
    sample : list of Atoms
        All frames, in order, or a random part if there are many, with labels as `read_structures` stores them.

    Raises
    ------
    InputError
        As `gapkit.structures.reading.read_structures`; if there is no label at all.
    """

    def __init__(self, paths: Sequence[Path], keys: Mapping[str, str | None], show: bool = False) -> None:
        self.paths = [check_path(path) for path in paths]
        if len({path.resolve() for path in self.paths}) < len(self.paths):
            raise InputError("a structure file is named twice: its frames would count twice; name each once.")
        finder = KeyFinder([keys.get(name) for name in QUANTITIES], keys.get("config_type") or "config_type")
        self.table, sample, rng = StructureTable(), RandomSubset[Atoms](_too_many), np.random.default_rng(0)
        frames = (frame for path in self.paths for frame in iter_frames(path))
        for atoms, labels in progress(show)(normalised_frames(frames, finder), "reading", None):
            self.table.add(atoms, labels)
            sample.add(atoms, len(atoms), float(rng.random()))
        if not self.table.n_labelled:
            raise InputError(_no_labels(self.paths, finder))
        self.keys = LabelKeys(*finder.keys(), finder.config_type_key)
        self.sample = sample.in_order()

    @property
    def n_frames(self) -> int:
        """Of all files."""
        return self.table.n_frames

    @property
    def complete(self) -> bool:
        """All frames are in the sample."""
        return len(self.sample) == self.n_frames

    @property
    def species(self) -> list[str]:
        """Chemical symbols of all frames, sorted."""
        return sorted(self.table.species)

    def in_memory(self) -> list[Atoms]:
        """All frames, read once more if they are not all in the sample."""
        return self.sample if self.complete else list(iter_structures(self.paths, **self.keys.as_arguments()))


def _too_many(n_frames: int, n_atoms: float, _: float) -> bool:
    return n_frames > SAMPLE_FRAMES or n_atoms > SAMPLE_ATOMS


def _no_labels(paths: Sequence[Path], finder: KeyFinder) -> str:
    named = ", ".join(f"'{path}'" for path in paths)
    others = ", ".join(sorted(finder.known - {"numbers", "positions", "config_type"})) or "no others"
    has, it = ("has", "it has") if len(paths) == 1 else ("have", "they have")
    return (
        f"{named} {has} no energies, forces or stresses under names that gapkit knows ({it} {others}): "
        "name them with --energy-key, --forces-key, --stress-key or --virial-key."
    )


def load_model(path: Path, verbose: bool) -> GAP:
    """The potential of a model file."""
    from gapkit.potential.gap import GAP

    gap = GAP.load(path)
    gap.verbose = verbose
    return gap


def read_labelled(paths: Sequence[Path], keys: Mapping[str, str | None], say: Say, show: bool = False) -> LabelledFiles:
    """Read files, and report which labels were found and what the files hold."""
    with log_to(say):
        data = LabelledFiles(paths, keys, show)
    say(str(data.table))
    return data


def new_gap(settings: ModelSettings, data: LabelledFiles, verbose: bool) -> GAP:
    """A potential for these data, not fitted yet."""
    from gapkit.potential.gap import GAP
    from gapkit.structures.frames import labelled_frames

    structures = (frame.atoms for frame in labelled_frames(*frames_of(data)))  # read only if radii are needed
    baseline = settings.make_baselines(data.species, structures)
    return GAP(settings.make_terms(data.species), **settings.parameters(), baseline=baseline, verbose=verbose)


def frames_of(data: LabelledFiles) -> tuple[Structures, LabelKeys | None]:
    """Frames for repeated passes, with their keys: from memory if they are few, else from their files."""
    return (data.sample, None) if data.complete else (data.paths, data.keys)
