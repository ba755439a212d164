"""A potential against labels: errors, calibration, recalibration, conformal intervals, leave-one-out."""

from gapkit.evaluation.compare import evaluate
from gapkit.evaluation.comparison import Comparison, Evaluation

__all__ = ["Comparison", "Evaluation", "evaluate"]
