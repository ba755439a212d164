"""Checks of values, and of the fields of dataclasses against their annotations: types and bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache, reduce
from numbers import Real
from operator import or_
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from gapkit.errors import InputError, did_you_mean

Positive = Annotated[float, Field(gt=0)]


def is_number(value: Any) -> bool:
    """Whether `value` is a finite real number; True and False are not."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # whole numbers may be larger than any float
        return False


def is_count(value: Any, least: int = 1) -> bool:
    """Whether `value` is a whole number of at least `least`."""
    return is_number(value) and value >= least and value % 1 == 0


def is_list(value: Any) -> bool:
    """Whether `value` is a list, tuple or array: a sequence, but not a string."""
    return (
        isinstance(value, Sequence | np.ndarray)
        and not isinstance(value, str | bytes)
        and getattr(value, "shape", None) != ()
    )


def check_number(name: str, value: Any, low: float, high: float, usual: str = "") -> None:
    """Raise `InputError` unless `value` is a number from `low` to `high`; `usual` adds a usual value."""
    if not is_number(value) or not low <= value <= high:
        raise InputError(f"{name} = {value!r} must lie between {low:g} and {high:g}{usual and f'; {usual} is usual'}.")


def check_count(name: str, value: Any, least: int = 1, usual: str = "") -> int:
    """`value` as an int; `InputError` unless it is a whole number of at least `least`; `usual` adds a usual one."""
    if not is_count(value, least):
        example = usual and f", for example {usual}"
        raise InputError(f"{name} = {value!r} must be a whole number of at least {least}{example}.")
    return int(value)


def check_seed(random_state: Any) -> None:
    """Raise `InputError` unless `random_state` is a whole number that is not negative, or None."""
    if random_state is not None and not is_count(random_state, 0):
        raise InputError(f"random_state = {random_state!r} must be a whole number that is not negative.")


def check_fields(item: Any) -> None:
    """Raise `InputError` for the first field of a dataclass that is not of its annotated type, or out of its bounds.

    Known are float (any finite number), int (any whole number), str, bool, None, Literal, unions, sequences, tuples and
    mappings of them, and ``Annotated[…, Field(ge=1, description="200 is usual")]`` of any of these; fields of other
    types are not checked. Of Literal only the type of its values is checked.
    """
    for name, adapter, usual in _adapters(item.__class__):
        value = getattr(item, name)
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            raise InputError(f"{type(item).__name__}: {_problem(name, value, error)}{usual}.") from None


@lru_cache(maxsize=64)
def _adapters(kind: Any) -> list[tuple[str, TypeAdapter[Any], str]]:
    """Name and check of each field, and its usual value as text."""
    hints = get_type_hints(kind, include_extras=True)
    return [(f.name, TypeAdapter(_strict(hints[f.name])), _usual(hints[f.name])) for f in fields(kind)]


def _must_be(words: str, holds: Callable[[Any], bool], plain: Callable[[Any], Any] = lambda value: value) -> Any:
    """A check for pydantic, which passes on ``plain(value)``."""

    def check(value: Any) -> Any:
        if not holds(value):
            raise PydanticCustomError("must_be", "{words}", {"words": words})
        return plain(value)

    return BeforeValidator(check)


_PLAIN = {
    float: Annotated[Any, _must_be("a finite number", is_number)],
    int: Annotated[Any, _must_be("a whole number", lambda value: is_number(value) and value % 1 == 0)],
    str: Annotated[Any, _must_be("a string", lambda value: isinstance(value, str))],
    bool: Annotated[Any, _must_be("True or False", lambda value: isinstance(value, bool | np.bool_))],
    NoneType: Annotated[Any, _must_be("None", lambda value: value is None)],
}


def _strict(hint: Any) -> Any:
    """The annotation for pydantic: numpy's numbers and arrays are accepted, True is no number, a string no list."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        hint = type(inner[0])
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin is Annotated:
        return Annotated[_strict(inner[0]), *inner[1:]]
    if origin in (Union, UnionType):
        return reduce(or_, map(_strict, inner))
    kind = origin if isinstance(origin, type) else object
    if issubclass(kind, Mapping):
        are_items = _must_be("a mapping", lambda value: isinstance(value, Mapping), dict)
        return Annotated[dict[tuple(map(_strict, inner))], are_items]  # type: ignore[misc]
    if issubclass(kind, Sequence) and len(inner) > 1 and inner[1] is not Ellipsis:
        has_length = _must_be(f"{len(inner)} values", lambda value: len(value) == len(inner), tuple)
        return Annotated[tuple[tuple(map(_strict, inner))], has_length, _LIST]  # type: ignore[misc]
    if issubclass(kind, Sequence):
        return Annotated[list[_strict(inner[0])], _LIST]  # type: ignore[misc]
    return Any


_LIST = _must_be("a list", is_list, list)


def _usual(hint: Any) -> str:
    """The first description within an annotation, after a semicolon."""
    if text := getattr(hint, "description", None):
        return f"; {text}"
    return next(filter(None, map(_usual, get_args(hint) if get_origin(hint) is not Literal else ())), "")


def _problem(name: str, value: Any, error: ValidationError) -> str:
    """What is wrong, without a full stop: the problem inside a value rather than with all of it."""
    problems: dict[tuple[Any, ...], list[str]] = {}
    for found in error.errors(include_url=False):
        *place, last = found["loc"] or ("",)
        if last == "[key]":
            mapping, _ = _inside(name, value, _path(value, place[:-1]))
            return f"{mapping} has a key {found['input']!r} that is not a string"
        problems.setdefault(_path(value, found["loc"]), []).append(_words(found))
    path = max(problems, key=len)
    name, value = _inside(name, value, path)
    return f"{name} = {' '.join(repr(value).split())} must be {' or '.join(dict.fromkeys(problems[path]))}"


def _inside(name: str, value: Any, path: Sequence[Any]) -> tuple[str, Any]:
    for step in path:
        value, name = value[step], f"{name}[{step!r}]"
    return name, value


def _path(value: Any, place: Sequence[Any]) -> tuple[Any, ...]:
    """The path into the value: pydantic's location without the names of the members of unions."""
    path = []
    for step in place:
        if (isinstance(value, Mapping) and step in value) or (isinstance(step, int) and is_list(value)):
            path.append(step)
            value = value[step]
    return tuple(path)


_BOUNDS = {
    "greater_than": "larger than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
}


def _words(found: Any) -> str:
    """What a value must be, from one of pydantic's errors."""
    if found["type"] not in _BOUNDS:
        return str(found["msg"])
    return "a positive number" if found["ctx"] == {"gt": 0} else _BOUNDS[found["type"]].format(**found["ctx"])


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
        if first["type"] in _BOUNDS:
            raise InputError(f"{place} = {first['input']!r} must be {_words(first)}.") from None
        raise InputError(f"{place} = {first['input']!r}: {first['msg'].lower()}.") from None


def check_keys(data: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise `InputError` for the first key that is not among the known ones."""
    for key in data:
        if key not in known:
            raise InputError(f"{where} has no parameter {key!r}{did_you_mean(str(key), known)}.")
