"""Plain data → dataclasses, strict about every key and type: what YAML files and headers of models go through."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gapkit.errors import InputError, did_you_mean


def build(known: Mapping[str, type], data: Any, where: str, default: str) -> Any:
    """An instance of the class that ``data["type"]`` names (else `default`), the other keys checked for name and type.

    Raises
    ------
    InputError
        Naming the key under `where`, its value and what was expected.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{where} = {data!r} must be a mapping of parameters.")
    name = str(data.get("type", default))
    if name not in known:
        raise InputError(f"{where}.type = {name!r} is unknown{did_you_mean(name, known)}.")
    values = {key: value for key, value in data.items() if key != "type"}
    check_keys(values, [f.name for f in fields(known[name])], where)
    return checked(known[name], values, where)


def checked(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    """`values` as an instance of `kind`, each of the right type; `InputError` names the first that is not."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([where, *map(str, first["loc"])])
        raise InputError(f"{place} = {first['input']!r}: {first['msg'].lower()}.") from None


def check_keys(data: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise `InputError` for the first key that is not among the known ones."""
    for key in data:
        if key not in known:
            raise InputError(f"{where} has no parameter {key!r}{did_you_mean(str(key), known)}.")
