"""Model files that were loaded, by path and content: who asks again gets the arrays that are there already."""

from __future__ import annotations

import copy
import os
import threading
from collections import OrderedDict
from pathlib import Path

from gapkit.errors import InputError
from gapkit.potential.gap import GAP

KEPT = 2  # models; of a driver that makes calculators in a loop the last ones
_Signature = tuple[str, int, int, int, int]
_kept: OrderedDict[_Signature, GAP] = OrderedDict()
_lock = threading.Lock()


def loaded(path: str | Path) -> GAP:
    """`GAP.load`, once for a file as long as it is among the last ones and has not been written to since.

    The models are copies that share their arrays, which nothing changes in place: a new fit or recalibration of one is
    not seen by the others. The last two models stay in memory.

    Raises
    ------
    InputError
        As `GAP.load`.
    """
    signature = _signature(path)
    with _lock:
        gap = _kept.pop(signature) if signature in _kept else GAP.load(path)
        _kept[signature] = gap
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
        return copy.copy(gap)


def forget() -> None:
    """Drop the models that are kept."""
    with _lock:
        _kept.clear()


def _signature(path: str | Path) -> _Signature:
    """Name, place on the disk, size and times of a file: a change of its content changes one of them."""
    try:
        found = os.stat(path)
    except OSError:
        raise InputError(f"there is no model file {str(path)!r}.") from None
    name = os.path.realpath(path)
    return name, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
