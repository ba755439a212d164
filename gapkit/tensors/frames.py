"""Labelled frames of a tensorial target, read as often as passes need; files are read again each time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from gapkit.descriptors.lambda_soap import Order
from gapkit.errors import InputError
from gapkit.structures.files import check_path, iter_frames
from gapkit.tensors.labels import CHARGES, Convention, LabelReader, bare, check_periodic, origin_shift
from gapkit.tensors.targets import Target


class TensorFrame(NamedTuple):
    """One structure and the spherical parts of its label, independent of the origin.

    Attributes
    ----------
    atoms : Atoms
        Geometry and, in ``info``, the charge.
    parts : mapping of Order to ndarray, shape (2λ + 1,) or (n_atoms, 2λ + 1)
    label : ndarray
        The label as it is given, in the target's shape.
    """

    atoms: Atoms
    parts: dict[Order, np.ndarray]
    label: np.ndarray


class TensorFrames:
    """Frames of a sequence of Atoms, or of a file or files; an iterator is held as a list.

    Frames without the label are passed over.

    Parameters
    ----------
    source : sequence of Atoms, path, sequence of paths, or iterable of Atoms
    target : Target
    convention : Convention
    key : str, optional
        Name of the label; found if not given.
    preferred : str, optional
        As for `LabelReader`.
    """

    def __init__(
        self,
        source: Any,
        target: Target,
        convention: Convention,
        key: str | None = None,
        preferred: str | None = None,
    ) -> None:
        self._source = _checked(source)
        self._target, self._convention = target, convention
        self.reader = LabelReader(target, key, preferred)

    def __iter__(self) -> Iterator[TensorFrame]:
        """The labelled frames, one after the other."""
        n_frames = n_labelled = 0
        for where, atoms in _numbered(self._source):
            n_frames += 1
            frame = self._frame(atoms, where)
            if frame is not None:
                n_labelled += 1
                yield frame
        if n_frames == 0:
            raise InputError("structures is empty, give at least one frame.")
        if n_labelled == 0:
            raise self.reader.missing(n_frames)

    def _frame(self, atoms: Atoms, where: str) -> TensorFrame | None:
        own = bare(atoms, where)
        label = self.reader.read(atoms, where)
        if label is None:
            return None
        check_periodic(self._target, self._convention, own, where)
        own.info.update({key: atoms.info[key] for key in CHARGES if key in atoms.info})
        shift = origin_shift(self._target, self._convention, own, where)
        return TensorFrame(own, self._target.parts(label - shift), label)


def _checked(source: Any) -> Any:
    if isinstance(source, Atoms):
        raise InputError("structures is one Atoms, give a list of them: [atoms].")
    if isinstance(source, str | PathLike):
        return [check_path(source)]
    if not isinstance(source, Iterable):
        raise InputError(f"structures is of type {type(source).__name__}, give a list of ase.Atoms or a path.")
    entries: list[Any] = list(source)
    if entries and all(isinstance(entry, str | PathLike) for entry in entries):
        return [check_path(entry) for entry in entries]
    return entries


def _numbered(source: Sequence[Any]) -> Iterator[tuple[str, Atoms]]:
    for k, entry in enumerate(source):
        if isinstance(entry, PathLike):
            yield from iter_frames(entry)
        else:
            yield f"frame {k}", entry
