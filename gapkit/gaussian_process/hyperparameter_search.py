"""Noises and amplitudes that make the training labels most probable, from row factors alone.

`maximise` looks for the largest log p(labels | σ, δ) + log prior(σ, δ) in the logarithms of all noises and amplitudes
(type-II maximum likelihood; Rasmussen and Williams, Gaussian Processes for Machine Learning, ch. 5), by a few of
MacKay's fixed-point steps, σ_g² ← σ_g² χ_g²/(N_g - γ_g) and δ_t² ← δ_t² |β_t|²/γ_t, and then L-BFGS-B in coordinates in
which each curvature is about one. The data are not touched: see `gapkit.gaussian_process.marginal_likelihood`.

Labels that are suspected of a larger noise may have groups of their own, `parents` then names the group that each comes
from: σ = σ_parent exp(r), r ≥ 0, p(r) ∝ exp(-λ r), where N + λ is what χ² of N labels exceeds by chance as often as a
normal variate exceeds `threshold`. As ∂log p/∂r = χ² - N + γ at r = 0, r stays exactly zero for ordinary labels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from gapkit.errors import InputError
from gapkit.gaussian_process.hyperparameter_space import PRIOR_WIDTH, Amplitude, Space, indices
from gapkit.gaussian_process.marginal_likelihood import Evidence, MarginalLikelihood
from gapkit.gaussian_process.optimum import Optimum
from gapkit.gaussian_process.posterior import SparsePosterior, fit_posterior
from gapkit.gaussian_process.row_factor import RowFactor
from gapkit.runtime.threads import one_blas_thread

FIXED_POINT_STEPS = 8
LONGEST_STEP = float(np.log(10.0))  # of a logarithm in one fixed-point step
SAME = 1e-3  # of log p: a difference without meaning
STEP = 1e-3  # of the logarithms, in differences of gradients


@one_blas_thread()
def maximise(
    K_mm: np.ndarray,
    factors: Mapping[Any, RowFactor],
    noise: Mapping[Any, float],
    amplitudes: Sequence[Amplitude] = (),
    *,
    jitter: float = 1e-10,
    fixed: Collection[Any] = (),
    bounds: Mapping[Any, tuple[float, float]] | None = None,
    prior_width: float | None = PRIOR_WIDTH,
    parents: Mapping[Any, Any] | None = None,
    threshold: float = 3.0,
    n_starts: int = 3,
    random_state: int = 0,
) -> Optimum:
    """Most probable noises and amplitudes.

    One evaluation is O(groups M² + M³), all memory (groups + 4) M² numbers beside the factors.

    Parameters
    ----------
    K_mm : ndarray, shape (M, M)
        Covariance of the sparse points with the present amplitudes, eV².
    factors : mapping of group to RowFactor
        Made with the present amplitudes; left as they are. Groups are (kind, config type) or any other hashable.
    noise : mapping of group to float
        Where the search starts, in the unit of the group.
    amplitudes : sequence of Amplitude
        Those to be learned. Without one, the prior's height stays as it is.
    jitter : float
        As for `fit_posterior`.
    fixed : collection
        Groups and names of amplitudes that keep their values.
    bounds : mapping of group, name of an amplitude, kind or "amplitude" to (low, high), optional
        Instead of `RANGES`, which are widened where a start lies outside of them.
    prior_width : float or None
        Standard deviation of the logarithms' normal priors around the start; None: no prior.
    parents : mapping of group to group, optional
        Groups of suspected outliers, and whose noise theirs is a multiple of, at least one.
    threshold : float
        By how many standard deviations, of a normal variate as likely, an outlier must miss to get a larger noise.
    n_starts : int
        The given one and others at random, within a factor of ten.
    random_state : int
        Seed of the starts.

    Returns
    -------
    Optimum
        The posterior at the optimum included.

    Raises
    ------
    InputError
        For names that are unknown, numbers that are not positive, starts outside of given bounds.
    """
    amplitudes = [a._replace(columns=indices(a, len(K_mm))) for a in amplitudes]
    space = Space(factors, noise, amplitudes, fixed, dict(bounds or {}), prior_width, dict(parents or {}), threshold)
    if n_starts < 1:
        raise InputError(f"n_starts = {n_starts} must be at least 1.")
    likelihood = MarginalLikelihood(K_mm, factors, [np.asarray(a.columns) for a in amplitudes], jitter)
    objective = _Objective(likelihood, space)
    before = objective(space.start)
    rng = np.random.default_rng(random_state)
    climbs = [_climb(objective, space, x) for x in space.starts(n_starts, rng)]
    lowest = min((climb.value for climb in climbs if np.isfinite(climb.value)), default=np.inf)
    if not np.isfinite(lowest):
        raise InputError(
            "noises and amplitudes cannot be learned from labels whose evidence is not finite: check their units."
        )
    best = next(climb for climb in climbs if climb.value <= lowest + SAME)  # ties: the nearest to the given start
    x = best.x
    std = _standard_deviations(objective, space, best)
    used, n_evaluations = likelihood.jitter, objective.n_evaluations
    del likelihood, objective  # groups M² numbers
    posterior = posterior_at(K_mm, factors, space.noise(x), amplitudes, space.ratios(x), used)
    return Optimum(
        hyperparameters=tuple(space.described(x, std, best.evaluation)),
        log_evidence_before=before.evaluation.log_p,
        log_evidence=best.evaluation.log_p,
        n_evaluations=n_evaluations,
        start_values=tuple(-climb.value for climb in climbs),
        prior_width=prior_width,
        difference=posterior.log_marginal_likelihood - best.evaluation.log_p,
        accuracy=best.evaluation.accuracy,
        column_scale=space.column_scale(x, len(K_mm)),
        posterior=posterior,
    )


class _Point(NamedTuple):
    """A place in the space of logarithms, with -log posterior, its gradient and what both were made of."""

    x: np.ndarray
    value: float
    slope: np.ndarray
    evaluation: Evidence


class _Objective:
    """-log posterior of x and its gradient; counts evaluations and remembers the best and the last place."""

    def __init__(self, likelihood: MarginalLikelihood, space: Space) -> None:
        self._likelihood, self._space = likelihood, space
        self._last: _Point | None = None
        self.n_evaluations = 0

    def __call__(self, x: np.ndarray) -> _Point:
        if self._last is not None and np.array_equal(self._last.x, x):
            return self._last
        space = self._space
        n = len(space.groups)
        found = self._likelihood(np.exp(space.logs(x)[:n]), space.ratios(x))
        prior, prior_slope = space.log_prior(x)
        slope = space.pulled(np.append(found.d_noise, found.d_amplitude)) + prior_slope
        self.n_evaluations += 1
        self._last = _Point(np.array(x), -found.log_p - prior, -slope, found)
        return self._last


def _balance(space: Space, found: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """The two sides a, b of the slope a - b in x; both change as exp(∓2x) or not at all."""
    a = space.pulled(np.append(found.misfit, found.weight))
    b = space.pulled(np.append(space.n_rows - found.effective, found.effective_columns)) + space.rate
    return np.maximum(a, 0.0), np.maximum(b, 0.0)


def _climb(objective: _Objective, space: Space, x: np.ndarray) -> _Point:
    """The optimum that is reached from x."""
    best = point = objective(x)
    for _ in range(FIXED_POINT_STEPS if len(x) else 0):
        a, b = _balance(space, point.evaluation)
        step = np.clip(0.5 * np.log((a + 1e-6) / (b + 1e-6)), -LONGEST_STEP, LONGEST_STEP)
        point = objective(np.clip(point.x + step, space.low, space.high))
        gain, best = best.value - point.value, min(best, point, key=lambda p: p.value)
        if gain < 0.1:
            break
    return _polished(objective, space, best) if len(x) else best


def _polished(objective: _Objective, space: Space, start: _Point) -> _Point:
    """L-BFGS-B from a place near the optimum, in units of the standard deviations expected there."""
    scale = 1.0 / np.sqrt(2.0 * _balance(space, start.evaluation)[1] + 1.0 / space.width**2 + 1.0)
    best = start

    def scaled(u: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best
        point = objective(np.clip(start.x + u * scale, space.low, space.high))
        best = min(best, point, key=lambda p: p.value)
        return point.value - start.value, point.slope * scale

    limits = list(zip((space.low - start.x) / scale, (space.high - start.x) / scale))
    options = {"maxiter": 200, "maxcor": 20, "gtol": 1e-3, "ftol": 1e-9}
    minimize(scaled, np.zeros(len(scale)), jac=True, method="L-BFGS-B", bounds=limits, options=options)
    return best


def _standard_deviations(objective: _Objective, space: Space, best: _Point) -> np.ndarray:
    """Of the logarithms, from the curvature: differences of gradients for what is not at a bound.

    A value at a bound has one side only: there it is the decay length of the posterior. Ratios of outliers keep out of
    the others' curvature; theirs is 2 χ². None is larger than that of a uniform distribution between the bounds.
    """
    limit = np.maximum(space.high - space.low, 1e-12) / np.sqrt(12.0)
    inside = (best.x > space.low + 1e-6) & (best.x < space.high - 1e-6)
    with np.errstate(divide="ignore"):
        std = np.where(inside, 1.0 / np.sqrt(2.0 * _balance(space, best.evaluation)[0]), 1.0 / np.abs(best.slope))
    chosen = np.flatnonzero(inside & ~space.is_child[space.free])
    if len(chosen):
        steps = STEP * np.eye(len(best.x))[chosen]
        rows = np.array([(objective(best.x + step).slope - best.slope)[chosen] / STEP for step in steps])
        values, vectors = np.linalg.eigh(0.5 * (rows + rows.T))
        values = np.maximum(values, 1.0 / limit.max() ** 2)
        std[chosen] = np.sqrt(np.sum(vectors**2 / values, axis=1))
    return np.minimum(std, limit)


class _Scaled:
    """A factor of another amplitude, made when asked for: what `fit_posterior` needs of a RowFactor."""

    def __init__(self, factor: RowFactor, columns: np.ndarray) -> None:
        self._factor, self._columns = factor, np.append(columns, 1.0)
        self.n_rows, self.log_scale = factor.n_rows, factor.log_scale

    @property
    def factor(self) -> np.ndarray:
        return self._factor.factor * self._columns

    @property
    def removed(self) -> np.ndarray | None:
        removed = self._factor.removed
        return None if removed is None else removed * self._columns


def posterior_at(
    K_mm: np.ndarray,
    factors: Mapping[Any, RowFactor],
    noise: Mapping[Any, float],
    amplitudes: Sequence[Amplitude],
    ratios: np.ndarray,
    jitter: float,
) -> SparsePosterior:
    """The posterior by QR, with other amplitudes; groups whose rows all wait are folded into one factor."""
    s = np.ones(len(K_mm))
    for amplitude, ratio in zip(amplitudes, ratios):
        s[amplitude.columns] = ratio
    few = RowFactor(len(K_mm))
    scaled: dict[Any, Any] = {few: few}
    for group, factor in factors.items():
        rows = factor.rows
        if len(rows) < len(K_mm) and factor.removed is None:
            few.add(rows[:, :-1] * s**2, rows[:, -1], noise[group])
            few.log_scale += factor.log_scale
        else:
            scaled[group] = _Scaled(factor, s**2)
    return fit_posterior(K_mm * np.outer(s, s), scaled, {**noise, few: 1.0}, jitter)
