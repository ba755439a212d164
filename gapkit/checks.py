"""Whether the fields of a dataclass hold what its annotations say: numbers where numbers belong."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from numbers import Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from gapkit.errors import InputError, did_you_mean


def is_number(value: Any) -> bool:
    """Whether `value` is a finite real number; True and False are none."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # whole numbers may be larger than any float
        return False


def is_count(value: Any, least: int = 1) -> bool:
    """Whether `value` is a whole number of at least `least`."""
    return is_number(value) and value >= least and value % 1 == 0


def is_list(value: Any) -> bool:
    """Whether `value` is a list, tuple or array: a sequence, but no text."""
    return (
        isinstance(value, Sequence | np.ndarray)
        and not isinstance(value, str | bytes)
        and getattr(value, "shape", None) != ()
    )


def check_number(name: str, value: Any, low: float, high: float, usual: str = "") -> None:
    """Raise `InputError` unless `value` is a number from `low` to `high`; `usual` adds a value that is."""
    if not is_number(value) or not low <= value <= high:
        raise InputError(f"{name} = {value!r} must lie between {low:g} and {high:g}{usual and f'; {usual} is usual'}.")


def check_count(name: str, value: Any, least: int = 1, usual: str = "") -> int:
    """`value` as an int; `InputError` unless it is a whole number of at least `least`; `usual` adds one that is."""
    if not is_count(value, least):
        example = usual and f", for example {usual}"
        raise InputError(f"{name} = {value!r} must be a whole number of at least {least}{example}.")
    return int(value)


def check_seed(random_state: Any) -> None:
    """Raise `InputError` unless `random_state` is a whole number that is not negative, or None."""
    if random_state is not None and not is_count(random_state, 0):
        raise InputError(f"random_state = {random_state!r} must be a whole number that is not negative.")


def check_fields(item: Any) -> None:
    """Raise `InputError` for the first field of a dataclass that is not of its annotated type.

    Known are float (any finite number), int (any whole number), str, bool, None, Literal, and unions, sequences, tuples
    and mappings of them; fields of other types are passed over. Literal asks for the type of its values alone.
    """
    hints = _hints(item.__class__)
    for field in fields(item):
        if problem := _problem(getattr(item, field.name), hints[field.name], field.name):
            raise InputError(f"{type(item).__name__}: {problem}.")


@lru_cache(maxsize=64)
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


_PLAIN = {
    float: ("a finite number", is_number),
    int: ("a whole number", lambda value: is_number(value) and value % 1 == 0),
    str: ("a text", lambda value: isinstance(value, str)),
    bool: ("True or False", lambda value: isinstance(value, bool | np.bool_)),
    NoneType: ("None", lambda value: value is None),
}


def _problem(value: Any, hint: Any, name: str) -> str | None:
    """What is wrong with a value, in words without a full stop."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _problem_of_union(value, inner, name)
    if origin is Literal:
        hint, origin = type(inner[0]), None
    if hint in _PLAIN:
        words, holds = _PLAIN[hint]
        return None if holds(value) else f"{name} = {value!r} must be {words}"
    if origin is not None and issubclass(origin, Mapping):
        return _problem_of_mapping(value, inner, name)
    if origin is not None and issubclass(origin, Sequence):
        return _problem_of_sequence(value, inner, name)
    return None


def _problem_of_union(value: Any, choices: Sequence[Any], name: str) -> str | None:
    problems = [_problem(value, choice, name) for choice in choices]
    if None in problems:
        return None
    for kind, choice in ((Mapping, Mapping), ((list, tuple, np.ndarray), Sequence)):  # say what is wrong inside
        for problem, hint in zip(problems, choices):
            if isinstance(value, kind) and get_origin(hint) is not None and issubclass(get_origin(hint), choice):
                return problem
    words = dict.fromkeys(str(problem).partition(" must be ")[2] for problem in problems)
    return f"{name} = {value!r} must be {' or '.join(words)}"


def _problem_of_mapping(value: Any, inner: Sequence[Any], name: str) -> str | None:
    if not isinstance(value, Mapping):
        return f"{name} = {value!r} must be a mapping"
    of_keys = (f"{name} has a key {key!r} that is no text" for key in value if _problem(key, inner[0], name))
    of_values = (_problem(entry, inner[1], f"{name}[{key!r}]") for key, entry in value.items())
    return next((problem for problem in (*of_keys, *of_values) if problem), None)


def _problem_of_sequence(value: Any, inner: Sequence[Any], name: str) -> str | None:
    if not is_list(value):
        return f"{name} = {value!r} must be a list"
    hints = [inner[0]] * len(value) if len(inner) < 2 or inner[1] is Ellipsis else list(inner)
    if len(hints) != len(value):
        return f"{name} = {value!r} must be {len(hints)} values"
    found = (_problem(entry, hint, f"{name}[{k}]") for k, (entry, hint) in enumerate(zip(value, hints)))
    return next((problem for problem in found if problem), None)


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
