"""Terms to plain data and back: what YAML files and headers of model files hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from typing_extensions import TypedDict

from gapkit.checks import build, check_keys, checked
from gapkit.descriptors.acsf import ACSF
from gapkit.descriptors.soap import SOAP
from gapkit.errors import InputError, did_you_mean
from gapkit.gaussian_process.kernels import DotProduct, SquaredExponential
from gapkit.terms.linear import FUNCTIONS, Linear
from gapkit.terms.pair import Pair
from gapkit.terms.term import AnyTerm, Term
from gapkit.terms.triplet import Triplet

DESCRIPTORS: dict[str, type] = {"SOAP": SOAP, "ACSF": ACSF}
KERNELS: dict[str, type] = {"DotProduct": DotProduct, "SquaredExponential": SquaredExponential}
FEATURE_TERMS: dict[str, type] = {"Pair": Pair, "Triplet": Triplet}
TERM_TYPES = ("Term", "Linear", *FEATURE_TERMS)
TERM_KEYS = ("type", "descriptor", "kernel", "n_sparse", "sparsification")
LINEAR_KEYS = ("type", "function", "delta", "scales")


def term_to_dict(term: AnyTerm) -> dict[str, Any]:
    """A term as JSON-serialisable data, with ``type`` naming each class."""
    if isinstance(term, Linear):
        scales = None if term.scales is None else [float(s) for s in term.scales]
        return {"type": "Linear", "function": _as_dict(term.function), "delta": term.delta, "scales": scales}
    if not isinstance(term, Term):
        return _as_dict(term)
    n_sparse = dict(term.n_sparse) if isinstance(term.n_sparse, Mapping) else term.n_sparse
    parts = {"descriptor": _as_dict(term.descriptor), "kernel": _as_dict(term.kernel)}
    return {**parts, "n_sparse": n_sparse, "sparsification": term.sparsification}


def _as_dict(item: Any) -> dict[str, Any]:
    """Fields of a dataclass and its class as ``type``; sequences as lists."""
    return {"type": type(item).__name__, **{name: _plain(value) for name, value in asdict(item).items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list | np.ndarray) else value


def term_from_dict(data: Mapping[str, Any], where: str = "term") -> AnyTerm:
    """The inverse of `term_to_dict`; missing keys take the defaults, unknown ones are refused.

    Raises
    ------
    InputError
        Naming the key, its value and what was expected.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{where} = {data!r} must be a mapping of parameters.")
    name = str(data.get("type", "Term"))
    if name not in TERM_TYPES:
        raise InputError(f"{where}.type = {name!r} is unknown{did_you_mean(name, TERM_TYPES)}.")
    if name == "Linear":
        term: AnyTerm = _linear(data, where)
    elif name in FEATURE_TERMS:
        term = build(FEATURE_TERMS, data, where, name)
    else:
        term = _kernel_term(data, where)
    term.validate()
    return term


def _kernel_term(data: Mapping[str, Any], where: str) -> Term:
    check_keys(data, TERM_KEYS, where)
    if "descriptor" not in data:
        raise InputError(f"{where} has no descriptor: add for example 'descriptor: {{type: SOAP, species: [Si]}}'.")
    descriptor = build(DESCRIPTORS, data["descriptor"], f"{where}.descriptor", "SOAP")
    kernel = build(KERNELS, data.get("kernel", {}), f"{where}.kernel", "DotProduct")
    rest = {key: data[key] for key in ("n_sparse", "sparsification") if key in data}
    return Term(descriptor, kernel, **checked(Counts, rest, where))


def _linear(data: Mapping[str, Any], where: str) -> Linear:
    check_keys(data, LINEAR_KEYS, where)
    if not isinstance(data.get("function"), Mapping) or "type" not in data["function"]:
        raise InputError(f"{where} has no function: add for example 'function: {{type: Composition, species: [Si]}}'.")
    function = build(FUNCTIONS, data["function"], f"{where}.function", "")
    rest = {key: data[key] for key in ("delta", "scales") if key in data}
    return Linear(function, **checked(LinearPrior, rest, where))


class LinearPrior(TypedDict, total=False):
    """The plain parameters of a linear term."""

    delta: float
    scales: list[float] | None


class Counts(TypedDict, total=False):
    """The plain parameters of a term."""

    n_sparse: int | dict[str, int]
    sparsification: Literal["fps", "cur", "kmeans", "random"]
