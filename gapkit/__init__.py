"""gapkit: Gaussian-process interatomic potentials. Frames with labels in, a potential that knows its errors out."""

from gapkit.errors import InputError  # isort: skip
from gapkit.structures import describe_structures, read_structures  # isort: skip
from gapkit.descriptors.soap import SOAP  # isort: skip
from gapkit.kernels import DotProduct, SquaredExponential  # isort: skip
from gapkit.terms import Term  # isort: skip
from gapkit.gap import GAP, Predictions  # isort: skip
from gapkit.calculator import GAPCalculator  # isort: skip
from gapkit.evaluation import evaluate  # isort: skip

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
    "read_structures",
]
