"""The plugin engine's Python side: the table of C functions that ``pair_style gapkit`` calls."""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_double, c_int, c_int32, c_int64, c_void_p
from typing import Any

import numpy as np

from gapkit.geometry.neighbourhoods import Neighbourhoods
from gapkit.interfaces.lammps.local_model import LocalModel
from gapkit.interfaces.lammps.model_words import parse_model_words

FAILED = -1


class Step(Structure):
    """One evaluation, as plugin/pair_gapkit.cpp has it."""

    _fields_ = [
        ("n_local", c_int64), ("n_all", c_int64), ("n_centres", c_int64), ("n_pairs", c_int64),
        ("centres", POINTER(c_int64)), ("first", POINTER(c_int64)), ("j", POINTER(c_int64)), ("D", POINTER(c_double)),
        ("type", POINTER(c_int32)), ("tag", c_void_p), ("tag_bytes", c_int64), ("forces", POINTER(c_double)),
        ("local_energies", POINTER(c_double)), ("local_virials", POINTER(c_double)), ("std", POINTER(c_double)),
        ("energy", c_double), ("virial", c_double * 6),
    ]  # fmt: skip


OPEN = CFUNCTYPE(c_int, c_char_p, POINTER(c_double), c_void_p, c_int)
MAP = CFUNCTYPE(c_int, c_int, c_char_p, c_void_p, c_int)
COMPUTE = CFUNCTYPE(c_int, c_int, POINTER(Step), c_void_p, c_int)
CLOSE = CFUNCTYPE(None, c_int)


class Calls(Structure):
    """The table itself."""

    _fields_ = [("open", OPEN), ("map", MAP), ("compute", COMPUTE), ("close", CLOSE)]


class PluginCalls:
    """Models that LAMMPS has opened, by number, and the functions that it calls with them.

    An exception never passes through LAMMPS: it becomes a sentence and a negative number there, and stays in `failure`.

    Attributes
    ----------
    failure : BaseException or None
        The last one, of this process.
    """

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self._models: dict[int, LocalModel] = {}
        self._numbers: dict[int, np.ndarray] = {}
        self._n_opened = 0
        self.table = Calls(OPEN(self._open), MAP(self._map), COMPUTE(self._compute), CLOSE(self._close))

    def connect(self, library: str) -> None:
        """Tell a compiled plugin whom to call."""
        ctypes.CDLL(library).gapkit_connect(ctypes.byref(self.table))

    def _open(self, arguments: bytes, cutoff: Any, message: int, size: int) -> int:
        try:
            model = LocalModel.from_words(parse_model_words(arguments.decode().split("\n") if arguments else []))
        except BaseException as error:
            return self._fail(error, message, size)
        self._n_opened += 1
        self._models[self._n_opened] = model
        cutoff[0] = model.cutoff
        return self._n_opened

    def _map(self, number: int, symbols: bytes, message: int, size: int) -> int:
        try:
            self._numbers[number] = self._models[number].numbers_of_types(symbols.decode().split("\n"))
        except BaseException as error:
            return self._fail(error, message, size)
        return 0

    def _compute(self, number: int, step: Any, message: int, size: int) -> int:
        try:
            self._evaluate(self._models[number], self._numbers[number], step.contents)
        except BaseException as error:
            return self._fail(error, message, size)
        return 0

    def _close(self, number: int) -> None:
        self._models.pop(number, None)
        self._numbers.pop(number, None)

    def _fail(self, error: BaseException, message: int, size: int) -> int:
        self.failure = error
        text = " ".join((str(error) or type(error).__name__).split()).encode()[: size - 1]
        ctypes.memmove(message, text + b"\0", len(text) + 1)
        return FAILED

    def _evaluate(self, model: LocalModel, numbers_of_types: np.ndarray, s: Step) -> None:
        numbers = numbers_of_types[_array(s.type, s.n_all)]
        pairs = Neighbourhoods(
            _array(s.centres, s.n_centres), _array(s.first, s.n_centres + 1), _array(s.j, s.n_pairs),
            np.zeros((s.n_pairs, 3), dtype=np.int32), _array(s.D, s.n_pairs, 3), s.n_all,
        )  # fmt: skip
        tags = _array(ctypes.cast(s.tag, POINTER(c_int64 if s.tag_bytes == 8 else c_int32)), s.n_all)
        found = model.evaluate(pairs, numbers, bool(s.local_virials), bool(s.std), lambda i: int(tags[i]))
        _array(s.forces, s.n_all, 3)[:] += found.forces
        s.energy, s.virial[:] = float(found.local_energies.sum()), found.virial.tolist()
        if s.local_energies:
            _array(s.local_energies, s.n_local)[:] += found.local_energies[: s.n_local]
        if found.local_virials is not None:
            _array(s.local_virials, s.n_all, 6)[:] += found.local_virials
        if found.local_energies_std is not None:
            _array(s.std, s.n_local)[:] = found.local_energies_std[: s.n_local]


def _array(pointer: Any, *shape: int) -> np.ndarray:
    """The memory behind a pointer, not copied; an empty array if there is none."""
    if 0 in shape:
        kinds = {c_int64: np.int64, c_int32: np.int32, c_double: np.float64}
        return np.zeros(shape, dtype=kinds[pointer._type_])
    return np.ctypeslib.as_array(pointer, shape)
