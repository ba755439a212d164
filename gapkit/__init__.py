"""gapkit: Gaussian-process interatomic potentials with error bars, fitted to labelled frames.

The names below are imported when they are first used, so that ``import gapkit`` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gapkit.active_learning.acquisition import most_wanted
    from gapkit.active_learning.data_value import which_data_matter
    from gapkit.active_learning.guard import UncertaintyGuard, guard_thresholds
    from gapkit.baselines import D3, D4, ZBL, Ewald
    from gapkit.descriptors.acsf import ACSF
    from gapkit.descriptors.acsf_selection import candidate_acsf, select_acsf
    from gapkit.descriptors.soap import SOAP
    from gapkit.errors import ExtrapolationWarning, InputError, UncertaintyError
    from gapkit.evaluation.calibration import calibration, calibration_by
    from gapkit.evaluation.compare import evaluate
    from gapkit.evaluation.conformal import fit_conformal
    from gapkit.evaluation.leave_one_out import leave_one_out
    from gapkit.evaluation.recalibration import fit_recalibration
    from gapkit.gaussian_process.kernels import DotProduct, SquaredExponential
    from gapkit.geometry.distances import distance_warning
    from gapkit.interfaces.ase_calculator import GAPCalculator
    from gapkit.model_selection.search import Between, tune
    from gapkit.model_selection.species_weights import learn_species_weights
    from gapkit.model_selection.suggestion import suggest
    from gapkit.potential.ensemble import sample
    from gapkit.potential.gap import GAP
    from gapkit.potential.prediction import Predictions
    from gapkit.runtime.threads import get_num_threads, set_num_threads
    from gapkit.structures.duplicates import DuplicateFinder
    from gapkit.structures.reading import describe_structures, read_structures
    from gapkit.tensors.calculator import TensorCalculator
    from gapkit.tensors.tensor_gap import TensorGAP
    from gapkit.tensors.term import TensorTerm
    from gapkit.terms.feature_functions import Composition, Features, InversePowers, feature_function
    from gapkit.terms.linear import Linear
    from gapkit.terms.long_range import LongRange
    from gapkit.terms.pair import Pair
    from gapkit.terms.term import Term
    from gapkit.terms.triplet import Triplet
    from gapkit.uncertainty.coefficients import linear_coefficients
    from gapkit.uncertainty.functionals import energy_difference, joint_posterior, pressure, propagate_linear
    from gapkit.uncertainty.propagation import propagate

_PLACES = {  # in the order in which data flow
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
    "Composition": "terms.feature_functions",
    "InversePowers": "terms.feature_functions",
    "LongRange": "terms.long_range",
    "Features": "terms.feature_functions",
    "feature_function": "terms.feature_functions",
    "GAP": "potential.gap",
    "Predictions": "potential.prediction",
    "suggest": "model_selection.suggestion",
    "Between": "model_selection.search",
    "tune": "model_selection.search",
    "learn_species_weights": "model_selection.species_weights",
    "evaluate": "evaluation.compare",
    "calibration": "evaluation.calibration",
    "calibration_by": "evaluation.calibration",
    "leave_one_out": "evaluation.leave_one_out",
    "which_data_matter": "active_learning.data_value",
    "most_wanted": "active_learning.acquisition",
    "fit_recalibration": "evaluation.recalibration",
    "fit_conformal": "evaluation.conformal",
    "linear_coefficients": "uncertainty.coefficients",
    "joint_posterior": "uncertainty.functionals",
    "energy_difference": "uncertainty.functionals",
    "pressure": "uncertainty.functionals",
    "propagate_linear": "uncertainty.functionals",
    "sample": "potential.ensemble",
    "propagate": "uncertainty.propagation",
    "TensorGAP": "tensors.tensor_gap",
    "TensorTerm": "tensors.term",
    "TensorCalculator": "tensors.calculator",
    "GAPCalculator": "interfaces.ase_calculator",
    "UncertaintyGuard": "active_learning.guard",
    "guard_thresholds": "active_learning.guard",
    "InputError": "errors",
    "ExtrapolationWarning": "errors",
    "UncertaintyError": "errors",
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
    "ExtrapolationWarning",
    "Features",
    "GAPCalculator",
    "InputError",
    "InversePowers",
    "Linear",
    "LongRange",
    "Pair",
    "Predictions",
    "SquaredExponential",
    "TensorCalculator",
    "TensorGAP",
    "TensorTerm",
    "Term",
    "Triplet",
    "UncertaintyError",
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
    if name not in _PLACES:
        raise AttributeError(f"module 'gapkit' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"gapkit.{_PLACES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
