"""gapkit: Gaussian-process interatomic potentials. Frames with labels in, a potential that knows its errors out.

The names below are imported when they are first used, so that ``import gapkit`` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gapkit.baselines import D3, D4, ZBL, Ewald
    from gapkit.calculator import GAPCalculator
    from gapkit.coefficients import linear_coefficients
    from gapkit.conformal import fit_conformal
    from gapkit.descriptors.acsf import ACSF
    from gapkit.descriptors.acsf_selection import candidate_acsf, select_acsf
    from gapkit.descriptors.soap import SOAP
    from gapkit.ensemble import propagate, sample
    from gapkit.errors import InputError
    from gapkit.evaluation import evaluate
    from gapkit.functionals import energy_difference, joint_posterior, pressure, propagate_linear
    from gapkit.gap import GAP
    from gapkit.gaussian_process.kernels import DotProduct, SquaredExponential
    from gapkit.geometry.distances import distance_warning
    from gapkit.leaving_out import leave_one_out
    from gapkit.md_guard import UncertaintyGuard, guard_thresholds
    from gapkit.next_calculations import most_wanted
    from gapkit.parameter_search import Between, tune
    from gapkit.prediction import Predictions
    from gapkit.recalibration import fit_recalibration
    from gapkit.runtime.threads import get_num_threads, set_num_threads
    from gapkit.species_weights import learn_species_weights
    from gapkit.structures.duplicates import DuplicateFinder
    from gapkit.structures.reading import describe_structures, read_structures
    from gapkit.suggestion import suggest
    from gapkit.terms.linear import Composition, Features, InversePowers, Linear, feature_function
    from gapkit.terms.long_range import LongRange
    from gapkit.terms.pair import Pair
    from gapkit.terms.term import Term
    from gapkit.terms.triplet import Triplet
    from gapkit.uncertainty import calibration, calibration_by
    from gapkit.which_data import which_data_matter

_ROOMS = {  # in the order in which data flow; no name may be that of a module, which would stand in its place
    "read_structures": "structures.reading",
    "describe_structures": "structures.reading",
    "distance_warning": "geometry.distances",
    "ZBL": "baselines",  # gapkit.baselines.Calculator stays there: by its name it would be taken for ASE's
    "D3": "baselines",
    "D4": "baselines",
    "Ewald": "baselines",
    "DuplicateFinder": "structures.duplicates",
    "SOAP": "descriptors.soap",
    "ACSF": "descriptors.acsf",
    "candidate_acsf": "descriptors.acsf_selection",
    "select_acsf": "descriptors.acsf_selection",
    "DotProduct": "gaussian_process.kernels",
    "SquaredExponential": "gaussian_process.kernels",
    "Term": "terms.term",
    "Pair": "terms.pair",
    "Triplet": "terms.triplet",
    "Linear": "terms.linear",
    "Composition": "terms.linear",
    "InversePowers": "terms.linear",
    "LongRange": "terms.long_range",
    "Features": "terms.linear",
    "feature_function": "terms.linear",
    "GAP": "gap",
    "Predictions": "prediction",
    "suggest": "suggestion",
    "Between": "parameter_search",
    "tune": "parameter_search",
    "learn_species_weights": "species_weights",
    "evaluate": "evaluation",
    "calibration": "uncertainty",
    "calibration_by": "uncertainty",
    "leave_one_out": "leaving_out",
    "which_data_matter": "which_data",
    "most_wanted": "next_calculations",
    "fit_recalibration": "recalibration",
    "fit_conformal": "conformal",
    "linear_coefficients": "coefficients",
    "joint_posterior": "functionals",
    "energy_difference": "functionals",
    "pressure": "functionals",
    "propagate_linear": "functionals",
    "sample": "ensemble",
    "propagate": "ensemble",
    "GAPCalculator": "calculator",
    "UncertaintyGuard": "md_guard",
    "guard_thresholds": "md_guard",
    "InputError": "errors",
    "get_num_threads": "runtime.threads",
    "set_num_threads": "runtime.threads",
}

__all__ = [
    "ACSF",
    "D3",
    "D4",
    "GAP",
    "SOAP",
    "ZBL",
    "Between",
    "Composition",
    "DotProduct",
    "DuplicateFinder",
    "Ewald",
    "Features",
    "GAPCalculator",
    "InputError",
    "InversePowers",
    "Linear",
    "LongRange",
    "Pair",
    "Predictions",
    "SquaredExponential",
    "Term",
    "Triplet",
    "UncertaintyGuard",
    "calibration",
    "calibration_by",
    "candidate_acsf",
    "describe_structures",
    "distance_warning",
    "energy_difference",
    "evaluate",
    "feature_function",
    "fit_conformal",
    "fit_recalibration",
    "get_num_threads",
    "guard_thresholds",
    "joint_posterior",
    "learn_species_weights",
    "leave_one_out",
    "linear_coefficients",
    "most_wanted",
    "pressure",
    "propagate",
    "propagate_linear",
    "read_structures",
    "sample",
    "select_acsf",
    "set_num_threads",
    "suggest",
    "tune",
    "which_data_matter",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'gapkit' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"gapkit.{_ROOMS[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
