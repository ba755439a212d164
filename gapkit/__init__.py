"""gapkit: Gaussian-process interatomic potentials. Frames with labels in, a potential that knows its errors out.

The names below are imported when they are first used, so that ``import gapkit`` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gapkit.calculator import GAPCalculator
    from gapkit.descriptors.soap import SOAP
    from gapkit.errors import InputError
    from gapkit.evaluation import evaluate
    from gapkit.gap import GAP
    from gapkit.kernels import DotProduct, SquaredExponential
    from gapkit.prediction import Predictions
    from gapkit.structures import describe_structures, read_structures
    from gapkit.terms import Term
    from gapkit.threads import get_num_threads, set_num_threads

_ROOMS = {
    "GAP": "gap",
    "SOAP": "descriptors.soap",
    "DotProduct": "kernels",
    "GAPCalculator": "calculator",
    "InputError": "errors",
    "Predictions": "prediction",
    "SquaredExponential": "kernels",
    "Term": "terms",
    "describe_structures": "structures",
    "evaluate": "evaluation",
    "get_num_threads": "threads",
    "read_structures": "structures",
    "set_num_threads": "threads",
}

__all__ = [
    "GAP",
    "SOAP",
    "DotProduct",
    "GAPCalculator",
    "InputError",
    "Predictions",
    "SquaredExponential",
    "Term",
    "describe_structures",
    "evaluate",
    "get_num_threads",
    "read_structures",
    "set_num_threads",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'gapkit' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"gapkit.{_ROOMS[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
