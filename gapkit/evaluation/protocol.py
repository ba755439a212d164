"""Interface of a potential that evaluation needs, however the potential was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ase import Atoms

from gapkit.fitting.second_pass import Recipe
from gapkit.gaussian_process.posterior import SparsePosterior
from gapkit.structures.frames import Frames, Structures
from gapkit.structures.labels import LabelKeys

if TYPE_CHECKING:
    from gapkit.evaluation.recalibration import Recalibration


class Predictor(Protocol):
    """Anything that predicts as `gapkit.GAP` does and knows the noise of labels: a model, or one on workers."""

    recalibration_: Recalibration | None

    def predict(self, structures: Sequence[Atoms], return_std: bool | str = False) -> Any:
        """`gapkit.Predictions` of structures."""
        ...

    def noise_std(self, kind: str, config_type: str = "default") -> float:
        """Noise of a kind ("energy" eV/atom, "forces" eV/Å, "virial" eV/atom) for frames of `config_type`."""
        ...


class FittedPotential(Predictor, Protocol):
    """A fitted `gapkit.GAP` with its training frames by identity."""

    posterior_: SparsePosterior
    frames_: Counter[int]
    verbose: bool

    @property
    def recipe_(self) -> Recipe:
        """Everything except the data that rows depend on."""
        ...

    def frames_of(self, structures: Structures | Frames, keys: LabelKeys | None = None) -> Frames:
        """Labelled frames, labels less the potential's baselines."""
        ...
