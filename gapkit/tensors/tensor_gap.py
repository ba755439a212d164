"""TensorGAP, the scikit-learn-style estimator of vectors and tensors: labelled structures in, values and errors out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from sklearn.utils.validation import check_is_fitted

from gapkit.checks import check_number, check_seed, is_number
from gapkit.errors import InputError, did_you_mean
from gapkit.potential.parameters import NestedParameters
from gapkit.runtime.progress import progress
from gapkit.runtime.threads import one_blas_thread, ordered_map
from gapkit.tensors.ensemble import TensorEnsemble
from gapkit.tensors.fit import Job, Learned, learn
from gapkit.tensors.frames import TensorFrames
from gapkit.tensors.labels import Convention
from gapkit.tensors.offsets import check_offsets
from gapkit.tensors.prediction import TensorField, TensorPredictions
from gapkit.tensors.presets import preset_parameters
from gapkit.tensors.targets import Target, target_named
from gapkit.tensors.term import TensorTerm
from gapkit.tensors.updates import updated

if TYPE_CHECKING:
    from gapkit.tensors.evaluation import TensorEvaluation

LEARNABLE = ("noise", "delta")


class TensorGAP(NestedParameters):
    """Gaussian process of a vector or tensor, T = Σ_i T_i(environment of i), that turns with the structure.

    Parameters
    ----------
    terms : list of TensorTerm
        Additive parts.
    target : str or Target
        One of `gapkit.tensors.targets.TARGETS` ("dipole", "polarizability", "born_charges", …) or one's own.
    noise : float or mapping of int to float, optional
        Standard deviation of a component of the labels, or one for each order λ, in their unit; learned if not given.
    offsets : mapping of str to float, optional
        Isotropic part that each species starts from, as a multiple of the unit tensor; from the data if not given.
    charge : float, optional
        Of every structure, e; ``info["charge"]`` of each, else 0, if not given. Matters for dipoles only.
    label_origin : {"coordinates", "centre_of_mass"}
        Where dipoles of charged structures, labels and predictions, are taken about.
    unit : str, optional
        Of the labels, for example "e*Å", "a.u.", "Debye", "Å^3"; predictions are in the same. Needed for dipoles of
        charged structures and by the ASE calculator.
    branch_consistent : bool
        Dipoles of periodic cells are all on one branch of the polarisation; without it they are refused.
    jitter : float
        Added to the sparse points' covariance, relative to its diagonal.
    random_state : int
        Seed of the choice of sparse points.
    verbose : bool
        Show a progress bar on a terminal.

    Attributes
    ----------
    models_ : tuple of OrderModel
        Amplitudes, noise and posterior of each order λ.
    blocks_ : tuple of TensorBlock
        Sparse points per term and species.
    offsets_ : dict of str to float
    noise_ : dict of int to float
        By λ, given or learned.
    deltas_ : dict of int to list of float
        Amplitudes by λ and term.
    hyperparameters_ : list of dict
        What was learned, as rows of a table.
    log_marginal_likelihood_ : float
    selection_ : dict of (int, str) to str
        How the sparse points were chosen, by term and species.
    species_, n_structures_, label_key_ : tuple of str, int, str
    reference_ : tuple of Atoms and ndarray
        A small training structure and its prediction, for the model file's self-test.
    """

    def __init__(
        self,
        terms: Sequence[TensorTerm] | None = None,
        target: str | Target = "dipole",
        noise: float | Mapping[int, float] | None = None,
        offsets: Mapping[str, float] | None = None,
        charge: float | None = None,
        label_origin: str = "coordinates",
        unit: str | None = None,
        branch_consistent: bool = False,
        jitter: float = 1e-10,
        random_state: int = 0,
        verbose: bool = True,
    ) -> None:
        self.terms = terms
        self.target = target
        self.noise = noise
        self.offsets = offsets
        self.charge = charge
        self.label_origin = label_origin
        self.unit = unit
        self.branch_consistent = branch_consistent
        self.jitter = jitter
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def preset(cls, name: str, species: Sequence[str], target: str | Target = "dipole", **overrides: Any) -> TensorGAP:
        """An estimator, not fitted yet, that is a good start.

        Parameters
        ----------
        name : {"molecule", "liquid", "solid", "ionic"}
        species : sequence of str
            Chemical symbols, each once.
        target : str or Target
        **overrides
            Other parameters of `TensorGAP`, or ``cutoff``, ``n_max``, ``l_max``, ``atom_sigma``, ``zeta``, ``n_sparse``
            of its term.

        Raises
        ------
        InputError
            For what is unknown or impossible.
        """
        target_named(target)
        return cls(target=target, **preset_parameters(name, species, overrides, cls._get_param_names()))

    @one_blas_thread()
    def fit(
        self,
        structures: Any,
        y: None = None,
        key: str | None = None,
        *,
        optimize: bool | str | Sequence[str] | None = None,
    ) -> TensorGAP:
        """Fit to labelled structures, in three passes over them; memory does not grow with the frames of files.

        Parameters
        ----------
        structures : sequence of Atoms, path or paths, or iterable of Atoms
            Labels in ``atoms.info``, ``atoms.arrays`` (of atoms) or a calculator's results; frames without are passed
            over.
        y : None
            Ignored; labels belong to the structures.
        key : str, optional
            Name of the label; found if not given.
        optimize : bool or list of {"noise", "delta"}, optional
            What to learn by the evidence, of each order on its own. If not given: what has no number. True: both,
            starting from the numbers given. False: nothing; noises without a number are 5 % of the labels' size.

        Raises
        ------
        InputError
            For parameters or data that cannot be used.
        """
        self._validate()
        target, convention = target_named(self.target), self._convention()
        frames = TensorFrames(structures, target, convention, key)
        self._take(learn(self._job(target, _learnable(optimize)), frames, progress(self.verbose)))
        self.label_key_ = frames.reader.key
        return self

    def _validate(self) -> None:
        terms = self.terms
        if not isinstance(terms, Sequence) or not terms or not all(isinstance(t, TensorTerm) for t in terms):
            raise InputError(
                "terms must be a non-empty list of TensorTerm, for example TensorGAP([TensorTerm(SOAP(['H', 'O']))])."
            )
        for term in terms:
            term.validate()
        target = target_named(self.target)
        self._convention().validate(target)
        for value in self._noises(target).values():
            if value is not None and (not is_number(value) or not value > 0):
                raise InputError(f"noise = {self.noise!r} must be positive, or None: learned.")
        check_offsets(self.offsets, target)
        check_number("jitter", self.jitter, 0.0, 1e-4, "1e-10")
        check_seed(self.random_state)

    def _convention(self) -> Convention:
        return Convention(self.charge, self.label_origin, self.unit, self.branch_consistent)

    def _noises(self, target: Target) -> dict[int, float | None]:
        by_order = self.noise if isinstance(self.noise, Mapping) else {o.order: self.noise for o in target.orders}
        return {order.order: by_order.get(order.order) for order in target.orders}

    def _job(self, target: Target, wanted: frozenset[str] | None) -> Job:
        return Job(
            tuple(self.terms or ()), target, self._noises(target), self.offsets, self.jitter, self.random_state, wanted
        )

    def _take(self, learned: Learned) -> None:
        """Become this fitted model."""
        self.models_, self.blocks_, self.offsets_ = learned.models, learned.blocks, learned.offsets
        self.selection_, self.species_, self.n_structures_ = learned.selection, learned.species, learned.n_structures
        self.terms_, self.target_ = tuple(self.terms or ()), target_named(self.target)
        value, smallest = self.field_.value, learned.smallest
        self.reference_ = (smallest, value(*self.field_.structure(smallest)))

    @one_blas_thread()
    def partial_fit(self, structures: Any, y: None = None, key: str | None = None) -> TensorGAP:
        """Add labelled frames to the fitted model; without one, `fit`.

        The result is that of a fit to all frames with the same sparse points, offsets, noises and amplitudes.

        Raises
        ------
        InputError
            As `fit`; for a species that has no sparse points; if the model was loaded without its row factors.
        """
        if not hasattr(self, "models_"):
            return self.fit(structures, key=key)
        return self._update(structures, key, remove=False)

    @one_blas_thread()
    def remove(self, structures: Any, key: str | None = None) -> TensorGAP:
        """Take frames out of the fitted model, exactly; the sparse points stay.

        Raises
        ------
        InputError
            If they are not among the training frames with these very labels.
        """
        return self._update(structures, key, remove=True)

    def _update(self, structures: Any, key: str | None, remove: bool) -> TensorGAP:
        field = self.field_
        frames = TensorFrames(structures, self.target_, field.convention, key, self.label_key_)
        self.models_, n = updated(field, frames, self.jitter, remove)
        self.n_structures_ += -n if remove else n
        smallest, _ = self.reference_
        self.reference_ = (smallest, self.field_.value(*self.field_.structure(smallest)))
        return self

    @property
    def field_(self) -> TensorField:
        """The fitted model as far as predictions need it."""
        check_is_fitted(self, "models_")
        return TensorField(self.target_, self._convention(), self.terms_, self.species_, self.offsets_, self.models_)

    @property
    def noise_(self) -> dict[int, float]:
        """Noise by λ, learned or given."""
        check_is_fitted(self, "models_")
        return {model.columns.order.order: model.noise for model in self.models_}

    @property
    def deltas_(self) -> dict[int, list[float]]:
        """Amplitudes by λ, one of each term."""
        check_is_fitted(self, "models_")
        return {model.columns.order.order: [float(d) for d in model.deltas] for model in self.models_}

    @property
    def hyperparameters_(self) -> list[dict[str, Any]]:
        """What was learned, as rows of a table."""
        check_is_fitted(self, "models_")
        return [row for model in self.models_ for row in model.hyperparameters]

    @property
    def log_marginal_likelihood_(self) -> float:
        """Of all labels, the sum over orders."""
        check_is_fitted(self, "models_")
        return sum(model.posterior.log_marginal_likelihood for model in self.models_)

    # -- predictions -----------------------------------------------------------------------------------------------

    @one_blas_thread()
    def predict(self, structures: Atoms | Sequence[Atoms], return_std: bool = False) -> TensorPredictions:
        """Values and, on request, their covariances.

        Parameters
        ----------
        structures : Atoms or sequence of Atoms
        return_std : bool
            Standard deviations and covariances, too: of the property itself, without the labels' noise.

        Raises
        ------
        InputError
            For an unknown species, a structure that cannot be used, or dipoles of periodic cells (see
            `branch_consistent`).
        """
        field, listed = self.field_, _listed(structures)

        def single(numbered: tuple[int, Atoms]) -> tuple[np.ndarray, np.ndarray | None]:
            own, structure = field.structure(numbered[1], f"structure {numbered[0]}")
            return field.value(own, structure), field.covariance(structure) if return_std else None

        follow = progress(self.verbose and len(listed) > 1)
        found = list(follow(ordered_map(single, enumerate(listed)), "predictions", len(listed)))
        join = list if self.target_.of == "atom" else np.array
        values = join([value for value, _ in found])
        if not return_std:
            return TensorPredictions(values, components=self.target_.components, unit=self.unit)
        covariances = [covariance for _, covariance in found if covariance is not None]
        std = join([self.target_.std(covariance) for covariance in covariances])
        return TensorPredictions(values, std, join(covariances), self.target_.components, self.unit)

    @one_blas_thread()
    def derivatives(self, atoms: Atoms) -> np.ndarray:
        """∂(value)/∂(positions), exact: shape (3, n_atoms, 3) of a dipole, (3, 3, n_atoms, 3) of a polarisability.

        In the labels' unit per Å; ∂μ_a/∂r_ib is the atomic polar tensor, ∂α/∂r the Raman tensor.

        Raises
        ------
        InputError
            As `predict`; for a property of atoms.
        """
        field = self.field_
        if self.target_.of == "atom":
            raise InputError(f"the {self.target_.name} belong to atoms: derivatives are there for sums and means only.")
        return field.derivatives(*field.structure(atoms))

    def sample(self, n: int, rng: np.random.Generator | int = 0) -> TensorEnsemble:
        """`n` models drawn from the posterior, to propagate errors through anything computed from them.

        Their spread is that of the "sor" covariance, without the prior residual.

        Raises
        ------
        InputError
            Unless `n` is a positive whole number.
        """
        return TensorEnsemble.drawn(self.field_, n, rng)

    def score(self, structures: Any, y: None = None) -> float:
        """Minus the root-mean-square error of a value (norm of vector or tensor), in the labels' unit."""
        return -self.evaluate(structures).rmse

    # -- error bars ------------------------------------------------------------------------------------------------

    @one_blas_thread()
    def evaluate(self, structures: Any, key: str | None = None) -> TensorEvaluation:
        """Errors and calibration of error bars on labelled frames; labels under the name of the fit, or any usual one.

        Raises
        ------
        InputError
            As `predict`, and if there is no label.
        """
        from gapkit.tensors.evaluation import evaluate

        return evaluate(self, structures, key)

    def leave_one_out(self, structures: Any, key: str | None = None) -> TensorEvaluation:
        """The same of the training frames, each predicted by a fit without it, without refits.

        Raises
        ------
        InputError
            If there is no label.
        """
        from gapkit.tensors.evaluation import leave_one_out

        return leave_one_out(self, structures, key)

    # -- model files -----------------------------------------------------------------------------------------------

    def save(self, path: str | Path, updatable: bool = False) -> None:
        """Write the fitted model, with everything that predictions and their covariances need, to one file.

        Parameters
        ----------
        path : path
        updatable : bool
            Row factors, too, so that the model can be continued (`partial_fit`, `remove`) after `load`.
        """
        from gapkit.tensors.model_file import write

        check_is_fitted(self, "models_")
        write(self, path, updatable)

    @classmethod
    def load(cls, path: str | Path, self_test: bool = True) -> TensorGAP:
        """Read a model file; unless `self_test` is off, a prediction that it carries is computed again and compared.

        Raises
        ------
        InputError
            If the file is missing, damaged, newer than this gapkit or predicts other numbers than when it was saved.
        """
        from gapkit.tensors.model_file import read

        return read(cls(), path, self_test)


def _listed(structures: Atoms | Sequence[Atoms]) -> list[Atoms]:
    listed = [structures] if isinstance(structures, Atoms) else list(structures)
    if not listed:
        raise InputError("structures is empty, give at least one frame.")
    return listed


def _learnable(optimize: bool | str | Sequence[str] | None) -> frozenset[str] | None:
    """What to learn by name; None: what has no number."""
    if optimize is None:
        return None
    names = LEARNABLE if optimize is True else [optimize] if isinstance(optimize, str) else optimize or ()
    for name in names:
        if name not in LEARNABLE:
            raise InputError(f"optimize names {name!r}{did_you_mean(str(name), LEARNABLE)}.")
    return frozenset(names)
