"""What a fitted potential can be asked: predictions, honest standard deviations, samples."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from ase import Atoms
from sklearn.utils.validation import check_is_fitted

from gapkit.baselines import Baseline
from gapkit.baselines.residual_labels import less_baseline
from gapkit.conformal import Conformal
from gapkit.contributions import Contributions, decompose
from gapkit.errors import InputError
from gapkit.gaussian_process.posterior import SparsePosterior
from gapkit.geometry.neighbourhoods import NeighbourList
from gapkit.prediction import Potential, Predictions, gathered
from gapkit.recalibration import Recalibration, check_origin, fit_recalibration
from gapkit.runtime.progress import progress
from gapkit.runtime.threads import one_blas_thread, ordered_map
from gapkit.structures.frames import Frames, FramesInMemory, Structures, labelled_frames
from gapkit.structures.labels import LabelKeys, check_structures, read_labels
from gapkit.structures.reading import find_label_keys
from gapkit.terms.term import AnyTerm, SparseBlock

if TYPE_CHECKING:
    from gapkit.ensemble import Ensemble
    from gapkit.evaluation import Comparison


class FittedPotential:
    """The part of `gapkit.GAP` that needs nothing but the fitted model; its attributes are described there."""

    terms_: tuple[AnyTerm, ...]
    blocks_: tuple[SparseBlock, ...]
    alpha_: np.ndarray
    folds_: dict[tuple[int, int], np.ndarray]
    posterior_: SparsePosterior
    e0_: dict[str, float]
    species_: tuple[str, ...]
    frames_: Counter[int]
    recalibration_: Recalibration | None = None
    conformal_: Mapping[str, Conformal] = MappingProxyType({})
    baseline_: tuple[Baseline, ...] = ()
    verbose: bool

    def frames_of(self, structures: Structures, keys: LabelKeys | None = None) -> Frames:
        """Labelled frames as `GAP.fit` takes them, labels less the model's baselines."""
        return less_baseline(labelled_frames(structures, keys), self.baseline_)

    @one_blas_thread()
    def predict(
        self,
        structures: Atoms | Sequence[Atoms],
        return_std: bool | str = False,
        neighbour_lists: Mapping[float, NeighbourList] | None = None,
    ) -> Predictions:
        """Energies, forces, stresses and local energies, with standard deviations of the energies on request.

        Parameters
        ----------
        structures : Atoms or sequence of Atoms
        return_std : bool, "local" or "all"
            True: standard deviations of total and local energies. "local": of the local energies alone, which costs
            little more than the forces and grows with the number of atoms, not with its square. "all": of forces and
            stress, too, about thirty times the price of the forces themselves. After `recalibrate` they are multiplied
            by its factors.
        neighbour_lists : mapping of cutoff to NeighbourList, optional
            For one structure in motion, checked by the caller, to be searched again instead of anew.

        Raises
        ------
        InputError
            For an unknown species, an empty structure or atoms on top of each other.

        Warns
        -----
        ExtrapolationWarning
            Once, if two atoms are closer than any of their species in the training data (by more than 5 %), or of
            species that never met there; with `neighbour_lists` it is left to the caller.
        """
        check_is_fitted(self, "posterior_")
        if return_std not in (False, True, "local", "all"):
            raise InputError(f"return_std = {return_std!r} is unknown: use True, False, 'local' or 'all'.")
        structures = [structures] if isinstance(structures, Atoms) else list(structures)
        if neighbour_lists is None:
            check_structures(structures)
        elif len(structures) != 1:
            raise InputError(f"neighbour_lists belong to one structure, not to {len(structures)}: pass one at a time.")
        potential = self.potential_
        results = map if len(structures) == 1 else ordered_map  # one structure shares its own atoms among the threads

        def single(numbered: tuple[int, Atoms]) -> dict[str, Any]:
            try:
                return potential.predict(numbered[1], return_std, neighbour_lists)
            except InputError as error:
                raise (InputError(f"structure {numbered[0]}: {error}") if len(structures) > 1 else error) from None

        singles = results(single, enumerate(structures))
        follow = progress(self.verbose and len(structures) > 1)
        found = gathered(list(follow(singles, "predictions", len(structures))))
        if neighbour_lists is None:
            found.warn(stacklevel=3)
        return found

    @one_blas_thread()
    def decompose(self, structures: Atoms | Sequence[Atoms]) -> Contributions:
        """What every prediction is made of: e0, each baseline and each term, whose sum `predict` gives.

        Terms are fitted together and may cancel in part: a term's share is not what a fit without it would lose.

        Parameters
        ----------
        structures : Atoms or sequence of Atoms

        Returns
        -------
        Contributions
            Energies, forces, stresses and local energies of every part.

        Raises
        ------
        InputError
            As `predict`.
        """
        check_is_fitted(self, "posterior_")
        structures = [structures] if isinstance(structures, Atoms) else list(structures)
        check_structures(structures)
        return decompose(self.potential_, structures)

    @property
    def potential_(self) -> Potential:
        """The fitted model as far as predictions need it."""
        own = (self.terms_, self.blocks_, self.alpha_, self.folds_, self.posterior_, self.e0_, self.species_)
        shortest = getattr(self, "training_", {}).get("shortest_distances")
        return Potential(*own, self.recalibration_, self.baseline_, shortest)

    def score(self, structures: Sequence[Atoms], y: None = None) -> float:
        """Minus the root-mean-square error of the forces (eV/Å) or, without forces, of the energies (eV/atom)."""
        keys = find_label_keys(list(structures))
        labels = [read_labels(atoms, keys) for atoms in structures]
        p = self.predict(structures)
        errors = [(f - x.forces).ravel() for f, x in zip(p.forces, labels) if x.forces is not None]
        if not errors:
            pairs = zip(p.energy, labels, structures)
            errors = [np.array([(e - x.energy) / len(a)]) for e, x, a in pairs if x.energy is not None]
        if not errors:
            raise InputError("score needs frames with forces or energies.")
        return -float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))

    def recalibrate(
        self,
        data: Structures | Mapping[str, Comparison],
        how: str = "held-out",
        source: str = "",
        keys: LabelKeys | None = None,
    ) -> Self:
        """Make the standard deviations honest: from now on all are multiplied by factors that labelled data decide.

        One factor for the energies (total and local), one for the stress, one per species for the forces, as
        `gapkit.recalibration` describes; kept in ``recalibration_`` and in model files. `predict`, the calculator and
        `gapkit.evaluate`, which multiplies the noise, too, use them; samples and `gapkit.functionals` do not. A new
        `fit` drops them. `partial_fit`, `remove` and `add_sparse_points` keep them, with a warning: they belong to the
        model before. ``gap.recalibration_ = None`` takes them back.

        Parameters
        ----------
        data : sequence of Atoms, path or paths, or mapping of kind to Comparison
            Labelled frames, predicted here without earlier factors. Or comparisons of this model without factors.
        how : {"held-out", "leave-one-out"}
            "held-out": the frames are none of the training frames. "leave-one-out": they are, and each is predicted by
            a fit without it (`gapkit.leave_one_out`). Of comparisons: how they were made.
        source : str
            The data in words, for example a file name; kept.
        keys : LabelKeys, optional
            Where the labels of the frames are; found if not given.

        Raises
        ------
        InputError
            If frames to be held out are training frames, or frames to be left out are not; if comparisons come to a
            model that has factors already, which may be in them; or as `gapkit.recalibration.fit_recalibration`.
        """
        check_is_fitted(self, "posterior_")
        check_origin(how)
        if isinstance(data, Mapping):
            self._refuse_second_factors()
        else:
            data = self._held_out(data, keys) if how == "held-out" else self._left_out(data, keys)
        self.recalibration_, self.conformal_ = fit_recalibration(data, how, source), {}
        return self

    def _refuse_second_factors(self) -> None:
        if self.recalibration_ is not None:
            raise InputError(
                "this model has been recalibrated and its factors may be in these comparisons: set "
                "recalibration_ = None and compare again, or give labelled frames."
            )

    def _held_out(self, data: Structures, keys: LabelKeys | None) -> dict[str, Comparison]:
        """Comparisons of all kinds, without factors, of frames that were not trained on."""
        from gapkit.evaluation import evaluate

        walk = labelled_frames(data, keys)
        frames = list(walk)
        known = sum(frame.identity() in self.frames_ for frame in frames)
        if known:
            raise InputError(
                f"{known} of the {len(frames)} frames to recalibrate on are training frames, whose errors are too "
                "small to tell: leave them out."
            )
        raw = copy.copy(self)
        raw.recalibration_ = None
        own = (
            keys if isinstance(walk, FramesInMemory) else None
        )  # frames from files have their labels where they belong
        return evaluate(raw, [frame.atoms for frame in frames], "all", own).comparisons  # type: ignore[arg-type]

    def _left_out(self, data: Structures, keys: LabelKeys | None) -> dict[str, Comparison]:
        """Comparisons of training frames with fits without them."""
        from gapkit.leaving_out import leave_one_out

        return leave_one_out(self, data, keys).comparisons  # type: ignore[arg-type]

    def _warn_of_older_factors(self, stacklevel: int) -> None:
        """After a change of the model: its recalibration is another model's. `stacklevel` as of the caller."""
        if self.recalibration_ is not None:
            warnings.warn(
                "the factors on the standard deviations were fitted to the model before this change "
                f"(on {self.recalibration_.provenance.date}) and are kept: recalibrate again.",
                stacklevel=stacklevel + 1,
            )

    def sample(self, n: int, rng: np.random.Generator | int = 0) -> Ensemble:
        """`n` potentials drawn from the posterior: `gapkit.ensemble.sample`.

        Parameters
        ----------
        n : int
            20 give standard deviations to 16 %, 200 to 5 %.
        rng : Generator or int
            Source of randomness, or its seed.

        Returns
        -------
        Ensemble
            Its spread is that of the "sor" covariance, without the prior residual and without recalibration.

        Raises
        ------
        InputError
            Unless `n` is a positive whole number.
        """
        from gapkit.ensemble import sample

        return sample(self, n, rng)  # type: ignore[arg-type]
