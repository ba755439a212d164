"""Search over parameters that change the rows: ζ, cutoff, atom_sigma, n_sparse and every other one of a potential.

Each trial is a full fit, by default with noises and amplitudes learned in it (`GAP(optimize=True)`), so the search
covers only the rest. Trials are compared by one of three scores, the larger the better:

    evidence   log p(labels), at the learned noises. One fit per trial; the labels must be the same in all trials.
    loo        Σ_c log p(labels of frame c | all others), in closed form: one more pass over the data.
    kfold      mean over folds of minus the RMSE of held-out forces (`GAP.score`): n_folds fits.

scikit-learn's own search classes work as well, with lists of Atoms as X: pass `evidence_score` or `left_out_score` as
`scoring` and, as both concern the training frames themselves, `whole(frames)` as `cv`.

Species weights, too many for a grid, are learned for the best trial (`learn_species_weights`), and a last trial scores
them in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms
from sklearn.base import clone
from sklearn.model_selection import KFold, ParameterGrid, ParameterSampler, cross_val_score

from gapkit.checks import is_count
from gapkit.errors import InputError, did_you_mean
from gapkit.fitting.second_pass import left_out
from gapkit.model_selection.species_weights import learn_species_weights, learnable
from gapkit.potential.gap import GAP
from gapkit.runtime.progress import progress
from gapkit.runtime.tables import aligned
from gapkit.structures.frames import Structures
from gapkit.structures.labels import LabelKeys

if TYPE_CHECKING:
    from gapkit.model_selection.species_weights_result import SpeciesWeights

SCORES = ("evidence", "loo", "kfold")
SEARCHES = ("grid", "random", "optuna")
Params = dict[str, Any]


class Between(NamedTuple):
    """A range for `tune`, from which random search and Optuna sample; also for scikit-learn's RandomizedSearchCV.

    Attributes
    ----------
    low, high : float
        Both ends included.
    log : bool
        Uniform in the logarithm.
    whole : bool
        Whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def rvs(self, random_state: np.random.RandomState) -> float | int:
        """One sample; the name is scipy's."""
        if self.whole and not self.log:
            return int(random_state.randint(int(self.low), int(self.high) + 1))
        low, high = (np.log(self.low), np.log(self.high)) if self.log else (self.low, self.high)
        value = random_state.uniform(low, high)
        value = float(np.exp(value)) if self.log else float(value)
        value = min(max(value, self.low), self.high)
        return round(value) if self.whole else value

    def validate(self, name: str) -> None:
        """Raise `InputError` for an empty range."""
        if not (np.isfinite(self.low) and self.low < self.high < np.inf and (self.low > 0 or not self.log)):
            positive = " and be positive, for its logarithm" if self.log else ""
            raise InputError(f"{name} between {self.low} and {self.high}: low must be below high{positive}.")
        if self.whole and (self.low % 1 or self.high % 1):
            raise InputError(f"{name} between {self.low} and {self.high}: whole numbers need whole ends.")


Space = Mapping[str, Sequence[Any] | Between]


@dataclass(frozen=True)
class Trial:
    """One set of parameters and its score.

    Attributes
    ----------
    params : dict
        By the names of `GAP.get_params`.
    score : float
        The larger the better; -inf if it could not be fitted.
    seconds : float
    message : str
        Why it could not be fitted, or empty.
    """

    params: Params
    score: float
    seconds: float
    message: str = ""


@dataclass(frozen=True)
class Search:
    """Result of `tune`.

    Attributes
    ----------
    score : {"evidence", "loo", "kfold"}
    trials : tuple of Trial
        In the order in which they ran.
    species_weights : SpeciesWeights or None
        Those of the last trial, if they were asked for.
    """

    score: str
    trials: tuple[Trial, ...]
    species_weights: SpeciesWeights | None = None

    @property
    def best(self) -> Trial:
        """The trial of largest score; the first of equals."""
        return max(self.trials, key=lambda trial: trial.score)

    @property
    def best_params(self) -> Params:
        """For `GAP.set_params`."""
        return self.best.params

    def table(self) -> str:
        """All trials as text, the best first."""
        unit = {"evidence": "log evidence", "loo": "log p left out", "kfold": "-RMSE of forces (eV/Å)"}[self.score]
        names = list(self.trials[-1].params)
        rows = [(*names, unit, "vs best", "s")]
        for trial in sorted(self.trials, key=lambda t: -t.score):
            values = (_short(trial.params.get(name)) for name in names)
            away = trial.message or f"{trial.score - self.best.score:.4g}"
            rows.append((*values, f"{trial.score:.6g}", away, f"{trial.seconds:.1f}"))
        return aligned(rows, "l" * len(rows[0]))


def tune(
    gap: GAP,
    structures: Structures,
    space: Space,
    *,
    score: str = "evidence",
    search: str = "grid",
    n_trials: int = 20,
    n_folds: int = 5,
    optimize: bool | str | Sequence[str] | None = None,
    species_weights: bool = False,
    keys: LabelKeys | None = None,
    random_state: int = 0,
) -> Search:
    """Fit with many sets of parameters and compare them.

    Parameters
    ----------
    gap : GAP
        Template of all trials; it is not fitted itself.
    structures : as in `GAP.fit`
        Read again for each trial; "kfold" and iterators need them in memory.
    space : mapping of str to sequence or Between
        Values by parameter, named as by `get_params` (``terms__0__descriptor__cutoff``) or by the last part alone
        (``cutoff``), which then applies to all terms.
    score : {"evidence", "loo", "kfold"}
        See above.
    search : {"grid", "random", "optuna"}
        Every combination; `n_trials` random ones; or those that Optuna's sampler proposes, if it is installed.
    n_trials : int
        For "random" and "optuna"; fewer if the space has fewer points.
    n_folds : int
        For "kfold". The frames are shuffled first.
    optimize : bool, str or list of str, optional
        What each fit learns, as for `GAP.fit`; by default `gap.optimize` or, if that is empty, noises and amplitudes.
    species_weights : bool
        Learn the species weights of all SOAP terms for the best trial, and run one more trial with them; the space
        may then be empty.
    keys : LabelKeys, optional
        As for `GAP.fit`.
    random_state : int
        Seed of samples and folds.

    Returns
    -------
    Search
        ``gap.set_params(**found.best_params).fit(structures, optimize=optimize)`` is the best potential.

    Raises
    ------
    InputError
        For unknown names, invalid values or ranges, or if no trial could be fitted.
    """
    named = {name: _targets(gap, name) for name in space}
    _check(space, score, search, n_trials, n_folds, species_weights)
    if species_weights:
        learnable(gap)
    data: Any = list(structures) if isinstance(structures, Iterator) else structures
    if score == "kfold":
        _check_in_memory(data, n_folds)
    learned = (gap.optimize or True) if optimize is None else optimize
    measure = _measures(data, keys, learned, int(n_folds), random_state)[score]

    def trial(params: Params) -> Trial:
        full = {target: value for name, value in params.items() for target in named[name]}
        return _tried(gap, full, measure)

    searches = {"grid": _by_grid, "random": _by_samples, "optuna": _by_optuna}
    trials = searches[search if space else "grid"](trial, space, int(n_trials), random_state, gap.verbose)
    found = Search(score, tuple(trials))
    if not np.isfinite(found.best.score):
        raise InputError(f"none of the {len(trials)} trials could be fitted; the first failed: {trials[0].message}")
    if not species_weights:
        return found
    template = clone(gap).set_params(**found.best_params)
    weights = learn_species_weights(template, data, keys=keys, random_state=random_state)
    return Search(score, (*trials, _tried(gap, found.best_params | weights.params, measure)), weights)


# ---- scores


def evidence_score(gap: GAP, structures: Any = None, y: None = None) -> float:
    """Log p(labels) of a fitted potential, for `scoring` of scikit-learn's search classes."""
    return float(gap.posterior_.log_marginal_likelihood)


def left_out_score(gap: GAP, structures: Structures, y: None = None, keys: LabelKeys | None = None) -> float:
    """Σ_c log p(labels of frame c | all others) of a potential fitted to `structures`, in closed form.

    With whitened residuals r_c and leverage H_c, log p = -½ [rᵀ(I - H)⁻¹r - log|I - H| + 2 Σ log noise + n log 2π].
    """
    frames = gap.frames_of(structures, keys)
    return float(sum(left_out(gap.recipe_, gap.posterior_, frame).log_predictive for frame in frames))


def whole(structures: Sequence[Atoms]) -> list[tuple[np.ndarray, np.ndarray]]:
    """`cv` for scikit-learn's search classes: one fold, all frames for fit and score alike."""
    everything = np.arange(len(structures))
    return [(everything, everything)]


def _measures(
    data: Structures, keys: LabelKeys | None, optimize: Any, n_folds: int, random_state: int
) -> dict[str, Callable[[GAP], float]]:
    """Scores by name, of a potential that is not fitted yet."""

    def fitted(gap: GAP) -> GAP:
        return gap.fit(data, keys=keys, optimize=optimize)

    def held_out(gap: GAP) -> float:
        folds = KFold(n_folds, shuffle=True, random_state=random_state)

        def score(fitted: GAP, frames: Sequence[Atoms], y: None = None) -> float:
            """Score on the labels that the fit reads."""
            return fitted.score(frames, keys=keys)

        options = {"optimize": optimize, "keys": keys}
        return float(np.mean(cross_val_score(gap, data, scoring=score, cv=folds, params=options, error_score="raise")))

    return {
        "evidence": lambda gap: evidence_score(fitted(gap)),
        "loo": lambda gap: left_out_score(fitted(gap), data, keys=keys),
        "kfold": held_out,
    }


def _tried(gap: GAP, params: Params, measure: Callable[[GAP], float]) -> Trial:
    start = time.perf_counter()
    try:
        score, message = measure(clone(gap).set_params(verbose=False, **params)), ""
    except InputError as error:
        score, message = -np.inf, str(error)
    return Trial(params, score, time.perf_counter() - start, message)


# ---- kinds of search


def _by_grid(trial: Callable[[Params], Trial], space: Space, n_trials: int, seed: int, show: bool) -> list[Trial]:
    return _run_all(trial, ParameterGrid({name: list(values) for name, values in space.items()}), show)


def _by_samples(trial: Callable[[Params], Trial], space: Space, n_trials: int, seed: int, show: bool) -> list[Trial]:
    lists = [len(values) for values in space.values() if not isinstance(values, Between)]
    most = int(np.prod(lists)) if len(lists) == len(space) else n_trials
    named = {name: values if isinstance(values, Between) else list(values) for name, values in space.items()}
    return _run_all(trial, ParameterSampler(named, min(n_trials, most), random_state=seed), show)


def _run_all(trial: Callable[[Params], Trial], points: Iterable[Params], show: bool) -> list[Trial]:
    points = list(points)
    return [trial(point) for point in progress(show)(points, "trials", len(points))]


def _by_optuna(trial: Callable[[Params], Trial], space: Space, n_trials: int, seed: int, show: bool) -> list[Trial]:
    try:
        import optuna
    except ImportError:
        raise InputError("search='optuna' needs Optuna: pip install optuna, or use search='random'.") from None
    trials: list[Trial] = []

    def objective(at: Any) -> float:
        trials.append(trial({name: _suggested(at, name, values) for name, values in space.items()}))
        if trials[-1].message:
            raise optuna.TrialPruned(trials[-1].message)
        return trials[-1].score

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=n_trials, show_progress_bar=show)
    return trials


def _suggested(at: Any, name: str, values: Sequence[Any] | Between) -> Any:
    if not isinstance(values, Between):
        return values[at.suggest_categorical(name, list(range(len(values))))]  # values may be of any type
    if values.whole:
        return at.suggest_int(name, int(values.low), int(values.high), log=values.log)
    return at.suggest_float(name, values.low, values.high, log=values.log)


# ---- names and checks


def _targets(gap: GAP, name: str) -> list[str]:
    """Full names of the parameter or, by its last part alone, of all terms' parameters of that name."""
    known = gap.get_params()
    if name in known:
        return [name]
    found = [full for full in known if full.startswith("terms__") and full.split("__")[-1] == name]
    if not found:
        words = {*known, *(full.split("__")[-1] for full in known)}
        raise InputError(f"GAP has no parameter {name!r}{did_you_mean(name, words)}.")
    return found


def _check(space: Space, score: str, search: str, n_trials: int, n_folds: int, may_be_empty: bool) -> None:
    for what, value, known in (("score", score, SCORES), ("search", search, SEARCHES)):
        if value not in known:
            raise InputError(f"{what} = {value!r} is unknown{did_you_mean(value, known)}.")
    if not space and not may_be_empty:
        raise InputError("the search space is empty: name at least one parameter, such as {'cutoff': [4.5, 5.0, 5.5]}.")
    for name, values in space.items():
        if isinstance(values, Between):
            values.validate(name)
            if search == "grid":
                raise InputError(f"{name} is a range, a grid needs values: give a list, or use search='random'.")
        elif isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or not len(values):
            raise InputError(
                f"the values of {name} are {values!r}: give a list of at least one, or Between(low, high)."
            )
    for what, n, least in (("n_trials", n_trials, 1), ("n_folds", n_folds, 2)):
        if not is_count(n, least):
            raise InputError(f"{what} = {n!r} must be a whole number of at least {least}.")


def _check_in_memory(structures: Any, n_folds: int) -> None:
    if not isinstance(structures, Sequence) or not all(isinstance(entry, Atoms) for entry in structures):
        raise InputError("score='kfold' needs the frames in memory: read them first with read_structures(path).")
    if n_folds > len(structures):
        raise InputError(f"n_folds = {n_folds} is more than the {len(structures)} frames: use fewer folds.")


def _short(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return " ".join(f"{name}:{_short(inner)}" for name, inner in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)
