"""The seal of a model: digests of what its numbers come from, made where it is saved and compared when it tests itself.

The hashes of the archive belong to its bytes and are recomputed by whoever writes the file again; the seal shows that
the model itself is the one that was saved, error bars included, where predictions of a few structures cannot.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from gapkit.errors import InputError
from gapkit.runtime.archive import npy_digest

_MODEL = (
    "terms",
    "given",
    "parameters",
    "baseline",
    "e0",
    "species",
    "blocks",
    "noises",
    "conditioning",
    "n_rows",
    "conformal",
)


def seal_of(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Digests of the model's parameters, of its factors on standard deviations, and of its arrays."""
    return {
        "model": _digest({name: header.get(name) for name in _MODEL}),
        "recalibration": _digest(header.get("recalibration")),
        "arrays": _digest(sorted((name, npy_digest(array)) for name, array in arrays.items())),
    }


def check_seal(header: Mapping[str, Any], part: str) -> None:
    """Raise `InputError` if a part of the model is another than when it was saved; older files have no seal.

    Arrays are known by the digests in the header, which reading the file has compared with them.
    """
    seal = header.get("seal")
    if seal is None:
        return
    own = _digest(sorted(header["sha256"].items())) if part == "arrays" else seal_of(header, {})[part]
    if not isinstance(seal, Mapping) or seal.get(part) != own:
        words = {"model": "parameters", "recalibration": "factors on standard deviations", "arrays": "arrays"}[part]
        raise InputError(f"its {words} are not those that were saved")


def _digest(data: Any) -> str:
    text = json.dumps(data, sort_keys=False, default=lambda value: value.tolist())
    return hashlib.sha256(text.encode()).hexdigest()
