"""Terms to plain data and back: what YAML files and headers of model files hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gapkit.errors import InputError, did_you_mean
from gapkit.terms.linear import Linear
from gapkit.terms.long_range import LongRange
from gapkit.terms.pair import Pair
from gapkit.terms.protocol import TERMS, AdditiveTerm
from gapkit.terms.term import Term
from gapkit.terms.triplet import Triplet

SHIPPED = (Term, Pair, Triplet, Linear, LongRange)  # imported here, so that data may name them


def term_to_dict(term: AdditiveTerm) -> dict[str, Any]:
    """A term as JSON-serialisable data, with ``type`` naming each class."""
    return term.to_dict()


def term_from_dict(data: Mapping[str, Any], where: str = "term") -> AdditiveTerm:
    """The inverse of `term_to_dict`; missing keys take the defaults, unknown ones are refused.

    Raises
    ------
    InputError
        Naming the key, its value and what was expected.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{where} = {data!r} must be a mapping of parameters.")
    name = str(data.get("type", "Term"))
    if name not in TERMS:
        raise InputError(f"{where}.type = {name!r} is unknown{did_you_mean(name, TERMS)}.")
    term = TERMS[name].from_dict(data, where)
    term.validate()
    return term
