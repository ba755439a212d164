"""GAP, the scikit-learn-style estimator: structures with labels in, a potential out, with updates and model files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from ase import Atoms
from sklearn.utils.validation import check_is_fitted

from gapkit.baselines import Baseline, baseline_to_dict, check_baselines, warn_of_overlap
from gapkit.baselines.residual_labels import less_baseline
from gapkit.checks import check_number, check_seed
from gapkit.errors import InputError, warn
from gapkit.evaluation.comparison import Comparison
from gapkit.evaluation.conformal import Conformal
from gapkit.evaluation.recalibration import Recalibration, fit_recalibration, labelled_comparisons
from gapkit.evaluation.standard_deviations import parse_return_std
from gapkit.fitting.checkpoint import Checkpoint
from gapkit.fitting.first_pass import Selection
from gapkit.fitting.fit import Learned, Options, Passes, learn
from gapkit.fitting.hyperparameters import as_rows, learn_hyperparameters, parse_optimize
from gapkit.fitting.noise import Noise, Noises, check_noise, noise_std
from gapkit.fitting.second_pass import Factors, Recipe
from gapkit.fitting.updates import Fitted, updated, with_more_sparse_points
from gapkit.gaussian_process.optimum import Optimum
from gapkit.gaussian_process.posterior import SparsePosterior
from gapkit.geometry.neighbourhoods import NeighbourList
from gapkit.potential.decomposition import Contributions, decompose
from gapkit.potential.ensemble import Ensemble, sample
from gapkit.potential.fitted_model import FittedModel, Origin, Reference, solved
from gapkit.potential.model_file import from_path, to_file
from gapkit.potential.parameters import NestedParameters
from gapkit.potential.prediction import Potential, Predictions, gathered
from gapkit.potential.presets import preset_parameters
from gapkit.quantities import KINDS
from gapkit.runtime.archive import write_model
from gapkit.runtime.memory import MemoryUse, in_bytes
from gapkit.runtime.progress import progress
from gapkit.runtime.threads import one_blas_thread, ordered_map
from gapkit.structures.frames import Frames, Structures, labelled_frames
from gapkit.structures.labels import LabelKeys, check_structures
from gapkit.structures.reference_energies import check_e0
from gapkit.terms.basis import Basis
from gapkit.terms.protocol import AdditiveTerm, Folds
from gapkit.terms.records import SparseBlock
from gapkit.terms.serialisation import term_to_dict

if TYPE_CHECKING:
    from distributed import Client


class GAP(NestedParameters):
    """Gaussian approximation potential: E = Σ_i e0[Z_i] + Σ_t Σ_i f_t(x_i), fitted to energies, forces and virials.

    Parameters
    ----------
    terms : list of Term, Pair, Triplet or Linear
        Descriptor, kernel and number of sparse points of each additive part.
    energy_noise, forces_noise, virial_noise : float or mapping of config_type to float
        Standard deviations of the labels: eV/atom, eV/Å, eV/atom. The error expected of energy and virial grows
        with the number of atoms. A mapping may hold "default".
    e0 : mapping of symbol to float, optional
        Energy of each isolated atom, eV; found from the data if not given.
    jitter : float
        Added to the sparse points' covariance, relative to its diagonal.
    random_state : int
        Seed of the choice of sparse points.
    baseline : sequence of Baseline, optional
        Physics that is known already (`ZBL`, `D3`, `D4`, `Ewald`, any ASE calculator): subtracted from the labels
        before the fit, added to every prediction.
    verbose : bool
        Show a progress bar on a terminal.
    optimize : bool, str or list of {"noise", "delta", "config_type", "outliers", "leave_out"}
        Learn noises and amplitudes δ from the training data by their evidence, without another pass: "noise" those
        of the groups as given, "config_type" one for every kind and config type but isolated atoms, "delta" the
        amplitudes, "outliers" a separate noise for frames that the others contradict (two more passes). True: "noise"
        and "delta".
        "leave_out" takes the ratios between kinds, and of δ to them, from the errors of left-out frames instead
        (with one more pass, and rows of at most 134 MB): no kind gets worse than with the noises as given, or as
        learned by the evidence with "config_type" or "outliers"; the evidence sets the common factor of them all.
        Results are in ``noise_``, ``terms_`` and ``optimum_``.

    Attributes
    ----------
    terms_ : tuple of Term
    e0_, species_ : dict of str to float, tuple of str
    alpha_ : ndarray, shape (n_sparse,)
        Fitted weights.
    posterior_ : SparsePosterior
    basis_ : Basis
        Terms and their sparse points; ``terms_`` and ``blocks_`` are parts of it.
    blocks_ : tuple of SparseBlock
        Sparse points per term and species.
    folds_ : dict
        Sums over sparse points that fold exactly (ζ = 1, 2), folded.
    noise_ : Noises
        The noises that were used: those given, or what `fit` has learned.
    factors_ : dict of group to RowFactor
        Row factors of the noise groups, from which the model can be continued; 8 n_sparse² bytes each.
    training_ : dict
        Counts and fingerprint of the training data; ``"fit"``: what `fit` was to learn and the keys it was given;
        ``"updates"``: the methods that have changed the model since.
    frames_ : Counter
        The training frames by their identity.
    selection_ : dict
        How the sparse points were chosen, per term and species.
    memory_ : MemoryUse
        Estimate and peak of the last `fit`.
    optimum_ : Optimum or None
        What `fit` has learned about noises and amplitudes; not kept in model files.
    hyperparameters_ : list of dict
        The same as rows of a table; kept in model files.
    recalibration_ : Recalibration or None
        Factors on the standard deviations and where they come from; made by `recalibrate`, dropped by `fit`.
    conformal_ : dict of str to Conformal
        `gapkit.fit_conformal` by kind, put here to go into model files; dropped when model or deviations change.
    """

    basis_: Basis
    alpha_: np.ndarray
    noise_: Noises
    factors_: Factors | None
    training_: dict[str, Any]
    selection_: Selection
    references_: list[Reference]
    memory_: MemoryUse | None
    optimum_: Optimum | None
    hyperparameters_: list[dict[str, Any]]
    folds_: Folds
    posterior_: SparsePosterior
    e0_: dict[str, float]
    species_: tuple[str, ...]
    frames_: Counter[int]
    recalibration_: Recalibration | None = None
    conformal_: Mapping[str, Conformal] = MappingProxyType({})
    baseline_: tuple[Baseline, ...] = ()

    def __init__(
        self,
        terms: Sequence[AdditiveTerm] | None = None,
        energy_noise: Noise = 0.001,
        forces_noise: Noise = 0.05,
        virial_noise: Noise = 0.02,
        e0: Mapping[str, float] | None = None,
        jitter: float = 1e-10,
        random_state: int = 0,
        verbose: bool = True,
        baseline: Sequence[Baseline] = (),
        optimize: bool | str | Sequence[str] = False,
    ) -> None:
        self.terms = terms
        self.energy_noise = energy_noise
        self.forces_noise = forces_noise
        self.virial_noise = virial_noise
        self.e0 = e0
        self.jitter = jitter
        self.random_state = random_state
        self.verbose = verbose
        self.baseline = baseline
        self.optimize = optimize

    @classmethod
    def preset(cls, name: str, species: Sequence[str], **overrides: Any) -> GAP:
        """A potential to start from, not fitted yet, with a choice of what its fit learns.

        Numbers and reasons are in `gapkit.potential.presets`; ``baseline=[ZBL.from_structures(train)]`` has radii from
        the data.

        Parameters
        ----------
        name : {"solid", "molecule", "liquid", "ionic"}
        species : sequence of str
            Chemical symbols, each once; lengths follow from their covalent radii.
        **overrides
            Parameters of `GAP` other than ``terms``; ``cutoff`` and ``n_sparse`` as in `preset_terms`.

        Raises
        ------
        InputError
            For unknown names and impossible values.
        """
        return cls(**preset_parameters(name, species, overrides, cls._get_param_names()))

    @one_blas_thread()
    def fit(
        self,
        structures: Structures,
        y: None = None,
        keys: LabelKeys | None = None,
        *,
        optimize: bool | str | Sequence[str] | None = None,
        max_memory: str | float | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        client: Client | int | None = None,
    ) -> GAP:
        """Fit to labelled structures, in two passes over them; memory does not grow with their number.

        Parameters
        ----------
        structures : sequence of Atoms, path or paths, or iterable of Atoms
            With energies, forces, stresses or virials; each label may be missing in any frame. Files are read twice,
            an iterator is copied to a temporary file; neither is held in memory.
        y : None
            Ignored; labels belong to the structures.
        keys : LabelKeys, optional
            Where the labels are; found if not given.
        optimize : as the parameter of that name, optional
            What to learn in this fit instead.
        max_memory : str or float, optional
            Such as "4GB", of the whole process: less is held at one time, or the fit is refused before the rows.
        checkpoint : path, optional
            File for the state of the second pass, replaced about once a minute and removed at the end.
        resume : bool
            Continue from that file, if it exists: the model is the same to the last bit.
        client : distributed.Client or int, optional
            Do both passes on the workers of a Dask cluster or, for a number, on that many new processes on this
            machine. `max_memory` is that of this process; each worker needs about six times the memory of the row
            factors. Checkpoints are written between batches of chunks of frames.

        Returns
        -------
        GAP

        Raises
        ------
        InputError
            For parameters or data that cannot be used.
        """
        self._validate()
        wanted = parse_optimize(self.optimize if optimize is None else optimize)
        noises = self._given_noises()._replace(by_config_type="config_type" in wanted)
        frames = less_baseline(labelled_frames(structures, keys), self.baseline)
        budget = in_bytes(max_memory)
        state = None if checkpoint is None else Checkpoint(checkpoint, self._job(noises), resume)
        with _passes(client, self.terms or ()) as passes:
            options = Options(budget, state, passes, progress(self.verbose), bool(wanted), "leave_out" in wanted)
            learned = learn(self.terms or (), noises, self._given_e0(), self.random_state, frames, options)
        model, optimum = self._learned(learned, wanted, frames, {"optimize": sorted(wanted), "keys": _as_dict(keys)})
        memory = learned.memory
        memory.check()
        self._become(model)
        self.optimum_, self.hyperparameters_, self.memory_ = optimum, as_rows(optimum), memory
        self.recalibration_ = None
        if state is not None:
            state.remove()
        return self

    def _validate(self) -> None:
        """Refuse impossible parameters before any work is done."""
        terms = self.terms
        if not isinstance(terms, Sequence) or not terms or not all(isinstance(t, AdditiveTerm) for t in terms):
            raise InputError("terms must be a non-empty list of Term, for example GAP([Term(SOAP(species=['Si']))]).")
        for kind in KINDS:
            check_noise(kind, getattr(self, f"{kind}_noise"))
        check_e0(self.e0)
        check_number("jitter", self.jitter, 0.0, 1e-4, "1e-10")
        check_seed(self.random_state)
        parse_optimize(self.optimize)
        for term in terms:
            term.validate()
        check_baselines(self.baseline, np.empty(0, dtype=int))

    def _given_noises(self) -> Noises:
        return Noises(self.energy_noise, self.forces_noise, self.virial_noise)

    def _given_e0(self) -> dict[str, float] | None:
        return None if self.e0 is None else {symbol: float(value) for symbol, value in self.e0.items()}

    def _job(self, noises: Noises) -> dict[str, Any]:
        """Everything except the data that the passes depend on."""
        groups = [sorted(noise) if isinstance(noise, Mapping) else None for noise in noises[:3]]
        terms = [term_to_dict(term) for term in self.terms or ()]
        known = {"baseline": [baseline_to_dict(b) for b in self.baseline], "e0": self.e0}
        return {"terms": terms, "groups": groups, "split": noises[3], "seed": self.random_state, **known}

    def _learned(
        self, learned: Learned, wanted: frozenset[str], frames: Frames, asked: dict[str, Any]
    ) -> tuple[FittedModel, Optimum | None]:
        """The model from both passes, after learning what is to be learned; it keeps the arguments of the fit."""
        start, baseline = learned.start, tuple(self.baseline)
        recipe, factors, optimum = learn_hyperparameters(
            start.recipe, learned.factors, self.jitter, wanted, frames, self.random_state
        )
        warn_of_overlap(baseline, start.training["shortest_distances"])
        origin = Origin(start.training | {"fit": asked}, start.frames, start.selection)
        return solved(recipe, factors, self.jitter, origin, baseline, start.references), optimum

    def _become(self, model: FittedModel) -> None:
        """Adopt all attributes of a model at once."""
        self.__dict__.update({f"{name}_": value for name, value in model._asdict().items()}, conformal_={})

    def _solved(self, recipe: Recipe, factors: Factors, training: dict[str, Any], frames: Counter[int]) -> FittedModel:
        """The model with other rows, noises, sparse points or training frames; `training` updates the old one."""
        origin = Origin(self.training_ | training, frames, self.selection_)
        references = [atoms for atoms, _, _ in self.references_]
        return solved(recipe, factors, self.jitter, origin, self.baseline_, references)

    @property
    def terms_(self) -> tuple[AdditiveTerm, ...]:
        """The fitted terms, with learned amplitudes."""
        return self.basis_.terms

    @property
    def blocks_(self) -> tuple[SparseBlock, ...]:
        """Sparse points per term and species."""
        return self.basis_.blocks

    @property
    def recipe_(self) -> Recipe:
        """Everything except the data that rows depend on."""
        check_is_fitted(self, "posterior_")
        return Recipe(self.basis_, self.e0_, self.noise_)

    def noise_std(self, kind: str, config_type: str = "default") -> float:
        """Noise of a kind ("energy" eV/atom, "forces" eV/Å, "virial" eV/atom) for frames of `config_type`.

        That of the fit, learned or given. A config type without an entry and without "default" takes the largest.
        """
        noises = getattr(self, "noise_", None) or self._given_noises()
        noise: Noise = getattr(noises, kind)
        if isinstance(noise, Mapping) and config_type not in noise and "default" not in noise:
            return float(max(noise.values()))
        return noise_std(kind, noise, config_type)

    # -- exact updates --------------------------------------------------------------------------------------------

    @one_blas_thread()
    def partial_fit(self, structures: Structures, y: None = None, keys: LabelKeys | None = None) -> GAP:
        """Add labelled frames to the fitted model; without one, `fit`.

        The result is that of a fit to all frames with the same sparse points, e0, noises and amplitudes, to round-off.
        Cost: the rows of the new frames, and O(groups n_sparse³) however many were fitted before.

        Raises
        ------
        InputError
            As `fit`; for a species that has no sparse points; if the model was loaded without its row factors.
        """
        if not hasattr(self, "posterior_"):
            return self.fit(structures, keys=keys)
        return self._update(structures, keys, remove=False)

    @one_blas_thread()
    def remove(self, structures: Structures, keys: LabelKeys | None = None) -> GAP:
        """Take frames out of the fitted model, exactly; cost as `partial_fit`.

        The sparse points stay, also those that came from these frames.

        Raises
        ------
        InputError
            If they are not among the training frames with these very labels.
        """
        check_is_fitted(self, "posterior_")
        return self._update(structures, keys, remove=True)

    def _update(self, structures: Structures, keys: LabelKeys | None, remove: bool) -> GAP:
        frames = self.frames_of(structures, keys)
        present = Fitted(self._own_factors(), self.training_, self.frames_)
        new = updated(self.recipe_, present, frames, remove)
        training = new.training | self._updated_by("remove" if remove else "partial_fit")
        self._become(self._solved(self.recipe_, new.factors, training, new.frames))
        self._warn_of_older_factors()
        return self

    def _updated_by(self, what: str) -> dict[str, Any]:
        """The record in `training_` of changes after the fit."""
        return {"updates": [*self.training_.get("updates", ()), what]}

    def _own_factors(self) -> Factors:
        if self.factors_ is None:
            raise InputError(
                "the model was saved without its row factors and cannot be continued: "
                "fit again, or save with save(path, updatable=True)."
            )
        return self.factors_

    @one_blas_thread()
    def add_sparse_points(
        self, structures: Structures, n_sparse: int, candidates: Structures | None = None, keys: LabelKeys | None = None
    ) -> GAP:
        """Add sparse points: of each term and species up to `n_sparse` environments that are farthest from the present.

        The result is that of a fit with all these sparse points, to round-off. The new columns of K_nm need every
        training frame once more: cost, one pass over them, as the second one of `fit`.

        Parameters
        ----------
        structures : as in `fit`
            All training frames, the same and in the same order as before.
        n_sparse : int
            How many more, for each term and species.
        candidates : as in `fit`, optional
            Frames to choose from, labelled or not; by default the training frames.

        Raises
        ------
        InputError
            If these are not the training frames.
        """
        check_is_fitted(self, "posterior_")
        frames = self.frames_of(structures, keys)
        pool = frames if candidates is None else labelled_frames(candidates)
        recipe, factors = with_more_sparse_points(self.recipe_, frames, self.training_, pool, n_sparse)
        self._become(self._solved(recipe, factors, self._updated_by("add_sparse_points"), self.frames_))
        self._warn_of_older_factors()
        return self

    # -- predictions -------------------------------------------------------------------------------------------------

    def frames_of(self, structures: Structures | Frames, keys: LabelKeys | None = None) -> Frames:
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
        return_std : bool, "local", "energy" or "all"
            True or "energy": standard deviations of total and local energies. "local": of the local energies alone,
            which costs little more than the forces and grows with the number of atoms, not with its square. "all": of
            forces and stress, too, about thirty times the cost of the forces themselves. After `recalibrate` they are
            multiplied by its factors.
        neighbour_lists : mapping of cutoff to NeighbourList, optional
            For one moving structure, checked by the caller: reused instead of a new search.

        Raises
        ------
        InputError
            For an unknown species, an empty structure or atoms on top of each other.

        Warns
        -----
        ExtrapolationWarning
            Once, if two atoms are closer than any of their species in the training data (by more than 5 %), or of
            species that never meet there; with `neighbour_lists` it is left to the caller.
        """
        check_is_fitted(self, "posterior_")
        std = parse_return_std(return_std)
        structures = [structures] if isinstance(structures, Atoms) else list(structures)
        if neighbour_lists is None:
            check_structures(structures)
        elif len(structures) != 1:
            raise InputError(f"neighbour_lists belong to one structure, not to {len(structures)}: pass one at a time.")
        potential = self.potential_
        results = map if len(structures) == 1 else ordered_map  # one structure shares its own atoms among the threads

        def single(numbered: tuple[int, Atoms]) -> dict[str, Any]:
            try:
                return potential.predict(numbered[1], std, neighbour_lists)
            except InputError as error:
                raise (InputError(f"structure {numbered[0]}: {error}") if len(structures) > 1 else error) from None

        singles = results(single, enumerate(structures))
        follow = progress(self.verbose and len(structures) > 1)
        found = gathered(list(follow(singles, "predictions", len(structures))))
        if neighbour_lists is None:
            found.warn()
        return found

    @one_blas_thread()
    def decompose(self, structures: Atoms | Sequence[Atoms]) -> Contributions:
        """Contributions to every prediction: e0, each baseline and each term, whose sum `predict` gives.

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
        """The part of the fitted model that predictions need."""
        own = (self.basis_, self.alpha_, self.folds_, self.posterior_, self.e0_, self.species_)
        shortest = getattr(self, "training_", {}).get("shortest_distances")
        return Potential(*own, self.recalibration_, self.baseline_, shortest)

    def score(self, structures: Structures | Frames, y: None = None, keys: LabelKeys | None = None) -> float:
        """Minus the root-mean-square error of the forces (eV/Å) or, without forces, of the energies (eV/atom).

        Parameters
        ----------
        structures : as in `fit`
            Held in memory.
        y : None
            Ignored; labels belong to the structures.
        keys : LabelKeys, optional
            Where the labels are; found if not given.

        Raises
        ------
        InputError
            If there are neither forces nor energies; as `predict`.
        """
        frames = list(labelled_frames(structures, keys))
        p = self.predict([frame.atoms for frame in frames])
        errors = [(f - x.forces).ravel() for f, (_, x) in zip(p.forces, frames) if x.forces is not None]
        if not errors:
            pairs = zip(p.energy, frames)
            errors = [np.array([(e - x.energy) / len(a)]) for e, (a, x) in pairs if x.energy is not None]
        if not errors:
            raise InputError("score needs frames with forces or energies: label them, or name their keys.")
        return -float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))

    def sample(self, n: int, rng: np.random.Generator | int = 0) -> Ensemble:
        """`n` potentials drawn from the posterior: `gapkit.potential.ensemble.sample`.

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
        return sample(self, n, rng)

    # -- error bars --------------------------------------------------------------------------------------------------

    def recalibrate(
        self,
        data: Structures | Mapping[str, Comparison],
        how: str = "held-out",
        source: str = "",
        keys: LabelKeys | None = None,
    ) -> Self:
        """Recalibrate the standard deviations: from now on all are multiplied by factors fitted to labelled data.

        One factor for the energies (total and local), one for the stress, one per species for the forces, as
        `gapkit.evaluation.recalibration` describes; kept in ``recalibration_`` and in model files. `predict`, the
        calculator and `gapkit.evaluate`, which multiplies the noise, too, use them; samples and
        `gapkit.uncertainty.functionals` do not. A new `fit` drops them. `partial_fit`, `remove` and `add_sparse_points`
        keep them, with a warning: they belong to the model before. ``gap.recalibration_ = None`` removes them.

        Parameters
        ----------
        data : sequence of Atoms, path or paths, or mapping of kind to Comparison
            Labelled frames, predicted here without earlier factors. Or comparisons of this model without factors.
        how : {"held-out", "leave-one-out"}
            "held-out": none of the frames is a training frame. "leave-one-out": they are, and each is predicted by
            a fit without it (`gapkit.leave_one_out`). Of comparisons: how they were made.
        source : str
            The data in words, for example a file name; kept.
        keys : LabelKeys, optional
            Where the labels of the frames are; found if not given.

        Raises
        ------
        InputError
            If frames to be held out are training frames, or frames to be left out are not; if the
            model has factors already, which may be in the comparisons; or as
            `gapkit.evaluation.recalibration.fit_recalibration`.
        """
        check_is_fitted(self, "posterior_")
        comparisons = labelled_comparisons(self, data, how, keys)
        self.recalibration_, self.conformal_ = fit_recalibration(comparisons, how, source), {}
        return self

    def _warn_of_older_factors(self) -> None:
        """After a change of the model: its recalibration belongs to the model before."""
        if self.recalibration_ is not None:
            warn(
                "the factors on the standard deviations were fitted to the model before this change "
                f"(on {self.recalibration_.provenance.date}) and are kept: recalibrate again."
            )

    # -- model files ----------------------------------------------------------------------------------------------

    def save(self, path: str | Path, updatable: bool = False) -> None:
        """Write the fitted model, with everything that predictions and their variances need, to one file.

        Parameters
        ----------
        path : path
        updatable : bool
            Row factors, too, so that the model can be continued (`partial_fit`, `remove`) after `load`:
            4 n_sparse² bytes more for each noise group.
        """
        check_is_fitted(self, "posterior_")
        write_model(path, *to_file(self, self._own_factors() if updatable else None))

    @classmethod
    def load(cls, path: str | Path, self_test: bool = True, trusted_calculators: Collection[str] = ()) -> GAP:
        """Read a model file; unless `self_test` is off, predictions stored in it are computed again and compared.

        An ASE calculator that serves as a baseline is imported only if gapkit knows that it and its parameters are
        harmless, or if its name ("module:Class") is among `trusted_calculators` or in the environment variable
        GAPKIT_TRUSTED_CALCULATORS.

        Raises
        ------
        InputError
            If the file is missing, damaged, newer than this gapkit or predicts other numbers than when it was saved.
        """
        return from_path(cls(), path, self_test, trusted_calculators)


def _as_dict(keys: LabelKeys | None) -> dict[str, str | None] | None:
    return None if keys is None else keys._asdict()


def _passes(client: Client | int | None, terms: Sequence[AdditiveTerm]) -> AbstractContextManager[Passes | None]:
    if client is None:
        return nullcontext()
    from gapkit.fitting.distributed import dask_passes

    return dask_passes(client, terms)
