"""Plain data ↔ terms: YAML model files and the header of saved models, strict about every key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from gapkit.descriptors.soap import SOAP
from gapkit.errors import InputError, did_you_mean
from gapkit.kernels import DotProduct, SquaredExponential
from gapkit.terms import Term

DESCRIPTORS: dict[str, type] = {"SOAP": SOAP}
KERNELS: dict[str, type] = {"DotProduct": DotProduct, "SquaredExponential": SquaredExponential}
TERM_KEYS = ("descriptor", "kernel", "n_sparse", "sparsification")


def term_to_dict(term: Term) -> dict[str, Any]:
    """A term as JSON-serialisable data, with ``type`` naming each class."""
    descriptor = {"type": type(term.descriptor).__name__, **asdict(term.descriptor)}
    descriptor["species"] = list(descriptor["species"])
    n_sparse = dict(term.n_sparse) if isinstance(term.n_sparse, Mapping) else term.n_sparse
    kernel = {"type": type(term.kernel).__name__, **asdict(term.kernel)}  # type: ignore[call-overload]
    return {"descriptor": descriptor, "kernel": kernel, "n_sparse": n_sparse, "sparsification": term.sparsification}


def term_from_dict(data: Mapping[str, Any], where: str = "term") -> Term:
    """The inverse of `term_to_dict`; missing keys take the defaults, unknown ones are refused.

    Raises
    ------
    InputError
        Naming the key, its value and what was expected.
    """
    check_keys(data, TERM_KEYS, where)
    if "descriptor" not in data:
        raise InputError(f"{where} has no descriptor: add for example 'descriptor: {{type: SOAP, species: [Si]}}'.")
    descriptor = build(DESCRIPTORS, data["descriptor"], f"{where}.descriptor", "SOAP")
    kernel = build(KERNELS, data.get("kernel", {}), f"{where}.kernel", "DotProduct")
    rest = {key: data[key] for key in ("n_sparse", "sparsification") if key in data}
    term = Term(descriptor, kernel, **rest)
    term.validate()
    return term


def build(known: Mapping[str, type], data: Any, where: str, default: str) -> Any:
    """An instance of the class that ``data["type"]`` names, its other keys checked for name and type."""
    if not isinstance(data, Mapping):
        raise InputError(f"{where} = {data!r} must be a mapping of parameters.")
    name = str(data.get("type", default))
    if name not in known:
        raise InputError(f"{where}.type = {name!r} is unknown{did_you_mean(name, known)}.")
    values = {key: value for key, value in data.items() if key != "type"}
    check_keys(values, [f.name for f in fields(known[name])], where)
    try:
        return TypeAdapter(known[name]).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([where, *map(str, first["loc"])])
        raise InputError(f"{place} = {first['input']!r}: {first['msg'].lower()}.") from None


def check_keys(data: Mapping[str, Any], known: Any, where: str) -> None:
    """Raise `InputError` for the first key that is not among the known ones."""
    for key in data:
        if key not in known:
            raise InputError(f"{where} has no parameter {key!r}{did_you_mean(str(key), known)}.")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file as a mapping.

    Raises
    ------
    InputError
        If it cannot be read or is not a mapping.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the configuration {str(path)!r} cannot be read: {reason}.") from None
    if not isinstance(data, dict):
        raise InputError(f"the configuration {str(path)!r} must be a mapping such as 'terms: […]'.")
    return data
