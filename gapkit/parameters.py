"""scikit-learn's nested parameter names (``terms__0__descriptor__cutoff``) for frozen dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any


def nested_parameters(item: Any) -> dict[str, Any]:
    """Fields of a dataclass and, with double underscores, of the dataclasses in it."""
    params: dict[str, Any] = {}
    for f in fields(item):
        value = getattr(item, f.name)
        params[f.name] = value
        if is_dataclass(value):
            params |= {f"{f.name}__{name}": inner for name, inner in nested_parameters(value).items()}
    return params


def with_parameter(item: Any, path: Sequence[str], value: Any) -> Any:
    """A copy of a dataclass with one (nested) field set."""
    inner = value if len(path) == 1 else with_parameter(getattr(item, path[0]), path[1:], value)
    return replace(item, **{path[0]: inner})
