"""Loops only: arrays in, arrays out, no defaults, no errors, no imports from the rooms above.

One decorator for all of them. ``fastmath`` lets the compiler reorder sums and fuse multiply-adds, but
not assume that NaN and infinity never occur (with full fastmath ``isnan(nan)`` is False). Every file
holds an entry point together with all it calls, because Numba's cache does not see changes made in
another file.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numba

_FLAGS = {"reassoc", "contract", "arcp", "nsz"}

njit: Any = partial(numba.njit, cache=True, fastmath=_FLAGS, error_model="numpy")
pjit: Any = partial(numba.njit, cache=True, fastmath=_FLAGS, error_model="numpy", parallel=True)
