"""Labelled frames that can be iterated more than once, whether in memory, in files or from an iterator.

Only what is in memory stays in memory. Files are read again in each pass; an iterator, which allows one pass only, is
copied to a temporary file during it. Each pass gives the same frames, to the last bit.
"""

from __future__ import annotations

import hashlib
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np
from ase import Atoms

from gapkit.errors import InputError
from gapkit.structures.files import check_path
from gapkit.structures.label_keys import QUANTITIES, KeyFinder
from gapkit.structures.labels import LabelKeys, Labels, check_structures
from gapkit.structures.reading import all_labels, frames_of_paths, normalised_frames

Structures: TypeAlias = "Iterable[Atoms] | str | PathLike[str] | Iterable[str | PathLike[str]]"


class Frame(NamedTuple):
    """One structure and its labels."""

    atoms: Atoms
    labels: Labels

    def digest(self, before: str = "") -> str:
        """SHA-256 of the digest of all frames `before` and of this one's numbers, geometry and labels."""
        labels = self.labels
        kinds = (labels.energy, labels.forces, labels.virial if labels.stress is None else labels.stress)
        digest = hashlib.sha256(before.encode())
        for array in (self.atoms.numbers, self.atoms.positions, self.atoms.cell.array, *kinds):
            digest.update(np.asarray(0.0 if array is None else array, dtype=float).tobytes())
        return digest.hexdigest()

    def identity(self) -> int:
        """The first 8 bytes of `digest`: a small number that names the frame and its labels."""
        return int(self.digest()[:16], 16)

    def bare(self) -> Atoms:
        """The structure without labels, names or calculator."""
        a = self.atoms
        return Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc)

    def stripped(self) -> Frame:
        """The frame with geometry and labels only, to be sent to another process."""
        return Frame(self.bare(), self.labels)


class Frames(ABC):
    """Frames with labels that can be iterated any number of times."""

    n_frames: int | None  # None until it is known

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Iterate over all frames."""


class FramesInMemory(Frames):
    """Frames of a sequence, all checked before the first pass."""

    def __init__(self, structures: Sequence[Atoms], keys: LabelKeys | None = None) -> None:
        _, labels = all_labels(structures, keys)
        self._frames = [Frame(*pair) for pair in zip(structures, labels)]
        self.n_frames: int | None = len(self._frames)

    @classmethod
    def of(cls, frames: Iterable[Frame]) -> FramesInMemory:
        """The same frames, held in memory from now on."""
        new = cls.__new__(cls)
        new._frames = list(frames)
        new.n_frames = len(new._frames)
        return new

    def __iter__(self) -> Iterator[Frame]:
        """Iterate over all frames."""
        return iter(self._frames)


class FramesOnDisk(Frames):
    """Frames of files, or of another object that can be iterated again: read again in each pass."""

    def __init__(self, source: Iterable[Any], keys: LabelKeys | None = None) -> None:
        self._source, self._keys = source, keys
        self.n_frames: int | None = None

    def __iter__(self) -> Iterator[Frame]:
        """Iterate over all frames."""
        n_frames = 0
        for atoms, labels in self._labelled():
            n_frames += 1
            yield Frame(atoms, labels)
        if n_frames == 0:
            raise InputError("structures is empty, give at least one frame.")
        self.n_frames = n_frames

    def _labelled(self) -> Iterator[tuple[Atoms, Labels]]:
        finder = KeyFinder([None] * len(QUANTITIES), "config_type") if self._keys is None else self._keys.finder()
        if isinstance(self._source, FilePaths):
            return normalised_frames(frames_of_paths(self._source), finder)
        return normalised_frames(((f"frame {k}", atoms) for k, atoms in enumerate(self._source)), finder)


class FilePaths(list[Any]):
    """Paths of files with frames."""


class SpooledFrames(Frames):
    """Frames of an iterator: written to a temporary file in the first pass, read from there in later ones."""

    def __init__(self, iterator: Iterator[Atoms], keys: LabelKeys | None = None) -> None:
        self._first = iter(FramesOnDisk(iterator, keys))
        self._file: IO[bytes] | None = None
        self.n_frames: int | None = None

    def __iter__(self) -> Iterator[Frame]:
        """Iterate over all frames; the first pass must go to the end."""
        return self._spool() if self._file is None else self._read(self._file)

    def _spool(self) -> Iterator[Frame]:
        self._file = tempfile.TemporaryFile(prefix="gapkit-")  # noqa: SIM115 - it lives as long as these frames
        weakref.finalize(self, self._file.close)
        n_frames = 0
        for frame in self._first:
            _write(self._file, frame)
            n_frames += 1
            yield frame
        self.n_frames = n_frames

    def _read(self, file: IO[bytes]) -> Iterator[Frame]:
        if self.n_frames is None:
            raise InputError("the iterator of structures was not read to its end before: give a list or a file.")
        file.seek(0)
        return self._frames_of(file, self.n_frames)

    def _frames_of(self, file: IO[bytes], n_frames: int) -> Iterator[Frame]:
        """A generator of this object, which keeps the file open until it ends."""
        for _ in range(n_frames):
            yield _read(file)


def _write(file: IO[bytes], frame: Frame) -> None:
    atoms, labels = frame
    missing = np.empty(0)
    kinds = (labels.energy, labels.forces, labels.virial, labels.stress)
    arrays = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, np.array(labels.config_type))
    for array in (*arrays, *(missing if kind is None else np.asarray(kind) for kind in kinds)):
        np.save(file, array, allow_pickle=False)


def _read(file: IO[bytes]) -> Frame:
    numbers, positions, cell, pbc, name, energy, forces, virial, stress = (np.load(file) for _ in range(9))
    labels = Labels(
        None if energy.shape == (0,) else float(energy),
        None if forces.shape == (0,) else forces,
        None if virial.shape == (0,) else virial,
        str(name),
        None if stress.shape == (0,) else stress,
    )
    return Frame(Atoms(numbers, positions, cell=cell, pbc=pbc), labels)


def labelled_frames(structures: Structures | Frames, keys: LabelKeys | None = None) -> Frames:
    """Frames of a sequence of Atoms, a file or files, another iterable, or an iterator; frames stay as they are.

    Parameters
    ----------
    structures : sequence of Atoms, path, sequence of paths, iterable of Atoms, or Frames
    keys : LabelKeys, optional
        Where the labels are; found if not given.

    Raises
    ------
    InputError
        At once for what cannot be frames and for a sequence with bad ones; otherwise while iterating.
    """
    if isinstance(structures, Frames):
        if keys is not None:
            raise InputError("these frames have their labels already: leave the keys out.")
        return structures
    if isinstance(structures, str | PathLike):
        structures = [structures]
    if isinstance(structures, Atoms) or not isinstance(structures, Iterable):
        check_structures(structures)  # type: ignore[arg-type]
    if isinstance(structures, Sequence | np.ndarray):
        if len(structures) and all(isinstance(entry, str | PathLike) for entry in structures):
            return FramesOnDisk(FilePaths(check_path(path) for path in structures), keys)
        return FramesInMemory(structures, keys)  # type: ignore[arg-type]
    if isinstance(structures, Iterator):
        return SpooledFrames(structures, keys)
    return FramesOnDisk(structures, keys)
