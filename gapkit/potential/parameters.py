"""scikit-learn's nested parameter names (``terms__0__descriptor__cutoff``) for frozen dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Self

from sklearn.base import BaseEstimator

from gapkit.errors import InputError, did_you_mean


class NestedParameters(BaseEstimator):
    """A scikit-learn estimator whose parameter `terms` is a list of frozen dataclasses."""

    terms: Sequence[Any] | None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; nested ones as ``terms__0__descriptor__cutoff``."""
        params = super().get_params(deep=False)
        if deep:
            for k, term in enumerate(self.terms or []):
                params |= {f"terms__{k}__{name}": value for name, value in nested_parameters(term).items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters by the names that `get_params` gives; terms are replaced, never changed in place.

        Raises
        ------
        InputError
            For an unknown name.
        """
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise InputError(f"{type(self).__name__} has no parameter {name!r}{did_you_mean(name, known)}.")
            head, *path = name.split("__")
            if not path:
                setattr(self, head, value)
                continue
            new = list(self.terms or [])
            new[int(path[0])] = with_parameter(new[int(path[0])], path[1:], value)
            self.terms = new
        return self


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
