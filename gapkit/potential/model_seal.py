"""The seal of a model: digests of what its numbers come from, made where it is saved and compared when it tests itself.

The hashes of the archive belong to its bytes and are made anew by whoever writes the file again; the seal tells that
the model itself is the one that was saved, error bars included, where predictions of a few structures cannot.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from gapkit.errors import InputError

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
        "arrays": _of_arrays(arrays),
    }


def check_seal(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], part: str) -> None:
    """Raise `InputError` if a part of the model is another than when it was saved; older files have no seal."""
    seal = header.get("seal")
    if seal is None:
        return
    own = _of_arrays(arrays) if part == "arrays" else seal_of(header, {})[part]
    if not isinstance(seal, Mapping) or seal.get(part) != own:
        words = {"model": "parameters", "recalibration": "factors on standard deviations", "arrays": "arrays"}[part]
        raise InputError(f"its {words} are not those that were saved")


def _digest(data: Any) -> str:
    text = json.dumps(data, sort_keys=False, default=lambda value: value.tolist())
    return hashlib.sha256(text.encode()).hexdigest()


def _of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
