"""What a model file may hold: the header's entries with their types and bounds, the arrays with dtype and shape.

Checked before anything is computed from them, so that a damaged or strange file is refused in one sentence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, NotRequired

import numpy as np
from ase.data import atomic_numbers
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from gapkit.checks import is_number
from gapkit.errors import InputError
from gapkit.gaussian_process.row_factor import ROWS_TOGETHER
from gapkit.quantities import KINDS
from gapkit.terms.protocol import AdditiveTerm

BOUNDS = {  # of a file's terms and baselines: beyond them a structure of ten atoms would fill the memory
    "cutoff": (0.0, 60.0), "cutoff_width": (0.0, 60.0), "outer": (0.0, 60.0), "width": (0.0, 60.0),
    "length_scale": (0.005, 1e3), "n_max": (1, 64), "n_sparse": (1, 10**7),
}  # fmt: skip

_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Positive = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0.0)]
_NotNegative = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0.0)]
_Count = Annotated[int, Field(strict=True, ge=0)]
_Truth = Annotated[bool, Field(strict=True)]
_Element = Annotated[int, Field(strict=True, ge=1, lt=len(atomic_numbers) - 1)]
_Vector = Annotated[list[_Number], Field(min_length=3, max_length=3)]
_Noise = _Positive | Annotated[dict[str, _Positive], Field(min_length=1)]
_Mapping = dict[str, Any]


class _Reference(TypedDict):
    numbers: Annotated[list[_Element], Field(min_length=1)]
    cell: Annotated[list[_Vector], Field(min_length=3, max_length=3)]
    pbc: Annotated[list[_Truth], Field(min_length=3, max_length=3)]
    energy: _Number
    energy_std: NotRequired[_NotNegative]


class _Noises(TypedDict):
    energy: _Noise
    forces: _Noise
    virial: _Noise
    by_config_type: _Truth
    outliers: dict[str, dict[str, _Positive]]


class _Conditioning(TypedDict):
    rank: _Count
    n_sparse: _Count
    smallest_pivot: _Number
    redundant: list[_Count]
    jitter: _NotNegative
    requested_jitter: NotRequired[_NotNegative | None]
    spectrum: NotRequired[dict[str, _Count] | None]


class _Training(TypedDict):
    n_structures: _Count
    config_types: dict[str, dict[str, _Count]]
    sha256: str
    shortest_distances: NotRequired[dict[str, _Positive]]


class _Conformal(TypedDict):
    by: str | None
    target: str
    groups: dict[str, _Count]


class Header(TypedDict):
    """Entries of the header of a model file that a model is made of; others are kept as they are."""

    terms: Annotated[list[_Mapping], Field(min_length=1)]
    parameters: _Mapping
    baseline: list[_Mapping]
    e0: dict[str, _Number]
    species: Annotated[list[str], Field(min_length=1)]
    blocks: list[Annotated[list[_Count], Field(min_length=4, max_length=4)]]
    log_marginal_likelihood: float
    noises: _Noises
    selection: list[Annotated[list[Any], Field(min_length=3, max_length=3)]] | dict[str, _Mapping]
    hyperparameters: list[_Mapping]
    recalibration: _Mapping | None
    conformal: dict[str, _Conformal]
    conditioning: _Conditioning
    n_rows: _Count
    training: _Training
    references: list[_Reference]
    factors: NotRequired[list[Annotated[list[Any], Field(min_length=3, max_length=3)]]]


class ModelContentsError(InputError):
    """What no model file holds, in words without the name of the file and without a full stop."""


_HEADER: TypeAdapter[Any] = TypeAdapter(Header)


def migrated(header: Mapping[str, Any]) -> dict[str, Any]:
    """The header of a file of any version as one of the present version: what older ones lack is that of their time.

    Version 1 had no learned noises, no baselines and no recalibration; the noises are those that were given.
    """
    parameters = header.get("parameters")
    given = {kind: parameters.get(f"{kind}_noise") for kind in KINDS} if isinstance(parameters, Mapping) else {}
    older: dict[str, Any] = {
        "baseline": [],
        "noises": {**given, "by_config_type": False, "outliers": {}},
        "selection": [],
        "hyperparameters": [],
        "recalibration": None,
        "conformal": {},
    }
    return older | dict(header)


def check_header(header: Mapping[str, Any]) -> None:
    """Raise `ModelContentsError` unless all entries are there, of the right type, and agree with each other."""
    try:
        _HEADER.validate_python(header)
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelContentsError(f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None
    unknown = [symbol for symbol in (*header["species"], *header["e0"]) if symbol not in atomic_numbers]
    missing = [symbol for symbol in header["species"] if symbol not in header["e0"]]
    if unknown or missing:
        what = "no element" if unknown else "without e0"
        raise ModelContentsError(f"species or e0: {(unknown or missing)[0]!r} is {what}")
    for key in ("terms", "baseline"):
        for name, value in _numbers_named(header[key], BOUNDS):
            low, high = BOUNDS[name]
            if not is_number(value) or not low <= value <= high:
                raise ModelContentsError(f"{key}: {name} = {value!r} is not between {low:g} and {high:g}")
    _check_blocks(header)


def _numbers_named(data: Any, names: Collection[str], inside: str = "") -> Iterator[tuple[str, Any]]:
    """Every number under one of these names, however deep."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _numbers_named(value, names, key if key in names else inside)
    elif isinstance(data, list):
        for value in data:
            yield from _numbers_named(value, names, inside)
    elif inside and isinstance(data, int | float):
        yield inside, data


def _check_blocks(header: Mapping[str, Any]) -> None:
    """Terms that exist, columns without gaps."""
    stop = 0
    for k, (term, key, first, last) in enumerate(header["blocks"]):
        if term >= len(header["terms"]) or first != stop or last <= first:
            raise ModelContentsError(f"blocks.{k}: {[term, key, first, last]} does not belong to the terms")
        stop = last
    if header["conditioning"]["n_sparse"] != stop:
        raise ModelContentsError(f"blocks: {stop} columns, but conditioning has {header['conditioning']['n_sparse']}")


def check_arrays(header: Mapping[str, Any], terms: Sequence[AdditiveTerm], arrays: Mapping[str, np.ndarray]) -> None:
    """Raise `ModelContentsError` unless every array that the header asks for is there, of its shape, and finite."""
    n = header["conditioning"]["n_sparse"]
    expected: dict[str, tuple[int | None, ...]] = {"alpha": (n,), "L": (n, n), "R": (n, n)}
    for k, reference in enumerate(header["references"]):
        own = (len(reference["numbers"]), 3)
        expected |= {f"reference_{k}_positions": own, f"reference_{k}_forces": own}
    for kind, own in header["conformal"].items():
        expected |= {f"conformal_{kind}_{k}": (2, None) for k in range(len(own["groups"]))}
    for name, shape in expected.items():
        _check(name, arrays, shape)
    if "frames" in arrays:
        _check("frames", arrays, (None, 2), np.uint64)
    if not (np.diag(arrays["L"]) > 0).all() or not np.diag(arrays["R"]).all():
        raise ModelContentsError("L or R has a diagonal that no factor can have")
    known = frozenset(atomic_numbers[symbol] for symbol in header["species"])
    for k, (t, key, first, last) in enumerate(header["blocks"]):
        _check(f"X_{k}", arrays, (last - first, None))
        if not terms[t].block_numbers(key) <= known or not terms[t].is_block(key, arrays[f"X_{k}"]):
            what = f"{arrays[f'X_{k}'].shape} does not hold sparse points of {type(terms[t]).__name__}"
            raise ModelContentsError(f"the array X_{k} {what}, block {key}")
    for k, (*_, numbers) in enumerate(header.get("factors", [])):
        _check_factor(f"factor_{k}_", numbers, arrays, n)


def _check(
    name: str, arrays: Mapping[str, np.ndarray], shape: tuple[int | None, ...], dtype: type = np.float64
) -> None:
    if name not in arrays:
        raise ModelContentsError(f"the array {name} is missing")
    array = arrays[name]
    same = array.ndim == len(shape) and all(own in (wanted, own if wanted is None else wanted)
                                            for own, wanted in zip(array.shape, shape))  # fmt: skip
    if array.dtype != dtype or not same:
        found, wanted = f"{array.dtype} {array.shape}", f"{np.dtype(dtype)} {shape}"
        raise ModelContentsError(f"the array {name} is {found} instead of {wanted}")
    if not np.isfinite(array).all():
        raise ModelContentsError(f"the array {name} holds numbers that are not finite")


def _check_factor(prefix: str, numbers: Any, arrays: Mapping[str, np.ndarray], n: int) -> None:
    """One row factor (`gapkit.gaussian_process.row_factor`), and what was removed from it."""
    if not isinstance(numbers, Mapping) or not all(is_number(numbers.get(key)) for key in ("n_rows", "log_scale")):
        raise ModelContentsError(f"factors: {prefix}: {numbers!r} has no n_rows and log_scale")
    _check(f"{prefix}waiting", arrays, (None, n + 1))
    packed = (n + 1) * (n + 2) // 2 if np.size(arrays.get(f"{prefix}factor", ())) else 0
    _check(f"{prefix}factor", arrays, (packed,))
    if len(arrays[f"{prefix}waiting"]) > ROWS_TOGETHER:
        raise ModelContentsError(f"the array {prefix}waiting has more than {ROWS_TOGETHER} rows")
    if "removed" in numbers:
        _check_factor(f"{prefix}removed_", numbers["removed"], arrays, n)
