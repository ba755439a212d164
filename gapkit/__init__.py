"""gapkit: Gaussian-process interatomic potentials. Frames with labels in, a potential that knows its errors out.

The names below are imported when they are first used, so that ``import gapkit`` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gapkit.calculator import GAPCalculator
    from gapkit.descriptors.acsf import ACSF
    from gapkit.descriptors.acsf_selection import candidate_acsf, select_acsf
    from gapkit.descriptors.soap import SOAP
    from gapkit.errors import InputError
    from gapkit.evaluation import evaluate
    from gapkit.feature_terms.linear import Composition, Features, InversePowers, Linear, feature_function
    from gapkit.feature_terms.pair import Pair
    from gapkit.feature_terms.triplet import Triplet
    from gapkit.gap import GAP
    from gapkit.kernels import DotProduct, SquaredExponential
    from gapkit.prediction import Predictions
    from gapkit.structures import describe_structures, read_structures
    from gapkit.terms import Term
    from gapkit.threads import get_num_threads, set_num_threads

_ROOMS = {
    "ACSF": "descriptors.acsf",
    "GAP": "gap",
    "SOAP": "descriptors.soap",
    "Composition": "feature_terms.linear",
    "DotProduct": "kernels",
    "Features": "feature_terms.linear",
    "GAPCalculator": "calculator",
    "InputError": "errors",
    "InversePowers": "feature_terms.linear",
    "Linear": "feature_terms.linear",
    "Pair": "feature_terms.pair",
    "Predictions": "prediction",
    "SquaredExponential": "kernels",
    "Term": "terms",
    "Triplet": "feature_terms.triplet",
    "candidate_acsf": "descriptors.acsf_selection",
    "describe_structures": "structures",
    "evaluate": "evaluation",
    "feature_function": "feature_terms.linear",
    "get_num_threads": "threads",
    "read_structures": "structures",
    "select_acsf": "descriptors.acsf_selection",
    "set_num_threads": "threads",
}

__all__ = [
    "ACSF",
    "GAP",
    "SOAP",
    "Composition",
    "DotProduct",
    "Features",
    "GAPCalculator",
    "InputError",
    "InversePowers",
    "Linear",
    "Pair",
    "Predictions",
    "SquaredExponential",
    "Term",
    "Triplet",
    "candidate_acsf",
    "describe_structures",
    "evaluate",
    "feature_function",
    "get_num_threads",
    "read_structures",
    "select_acsf",
    "set_num_threads",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'gapkit' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"gapkit.{_ROOMS[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
