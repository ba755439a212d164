"""Noises and amplitudes that minimise the errors of left-out frames, from row factors and the rows of some frames.

The evidence treats what the sparse points cannot express as noise, independent for each label. It is not: energy and
forces of a frame share it. A criterion of predictions assumes less of the model (Rasmussen and Williams,
Gaussian Processes for Machine Learning, ch. 5.4.2; Bachoc, Comput. Stat. Data Anal. 66, 55 (2013)). Here it is

    J = Σ_k log e_k,    e_k² = mean of the squared errors of kind k (energy, forces, virial) over the frames left out

the geometric mean of the errors, so that units and numbers of labels drop out. The given noises set what each kind is
worth: J is minimised under the condition that no e_k grows, so that no kind loses. With the letters of
`gapkit.gaussian_process.marginal_likelihood`, A_c = Λ_c^-½ G_c D the rows of frame c and W_c = A_c C⁻ᵀ, a fit without
the frame has

    errors ε_c = Λ_c^½ (I - W_c W_cᵀ)⁻¹ r_c,    β_c = β - C⁻ᵀ W_cᵀ Λ_c^-½ ε_c
    p_ck = C⁻ᵀ W_cᵀ (I - W_c W_cᵀ)⁻¹ Λ_c^½ P_k ε_c        (P_k picks the labels of kind k)
    N_k e_k² ∂log e_k/∂log σ_g = 2/σ_g² Σ_c [ (G_g D p_ck)·(z_g - G_g D β_c) - (G_cg D p_ck)·ε_cg ]
    N_k e_k² ∂log e_k/∂log δ_t = -2 Σ_c p_ck,t·β_c,t

G_cg being the rows of the frame in group g. J does not change if all noises and amplitudes grow by one factor γ, nor
does any prediction; the evidence gives it: γ² = (Σ_g χ_g² + |β|²)/N.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import cho_solve
from scipy.linalg.blas import dsyrk, dtrsm
from scipy.optimize import minimize

from gapkit.errors import InputError
from gapkit.gaussian_process.conditioning import factorise
from gapkit.gaussian_process.hyperparameter_search import posterior_at
from gapkit.gaussian_process.hyperparameter_space import PRIOR_WIDTH, Amplitude, Space, indices
from gapkit.gaussian_process.leverage import factor_without
from gapkit.gaussian_process.marginal_likelihood import Evidence, MarginalLikelihood, whitened
from gapkit.gaussian_process.optimum import LeftOutError, Optimum
from gapkit.gaussian_process.row_factor import RowFactor
from gapkit.quantities import KINDS, UNITS
from gapkit.runtime.threads import one_blas_thread, ordered_map

STEP = 1e-3  # of the logarithms, in differences of gradients
STEEPNESS = 3.0  # by which slopes are multiplied: that of J is a good first step then
SAME = 1e-5  # of J: smaller differences do not matter
LEAST = 1e-12  # of an error, in units of the labels: below it is round-off


class FrameRows(NamedTuple):
    """The rows of one frame that is left out, divided by their scale as in the factors.

    Attributes
    ----------
    kind : ndarray of int, shape (n,)
        Place in `gapkit.quantities.KINDS`.
    group : sequence of hashable, length n
        Keys of the factors that these rows are part of.
    K : ndarray, shape (n, n_sparse)
    y : ndarray, shape (n,)
    """

    kind: np.ndarray
    group: Sequence[Any]
    K: np.ndarray
    y: np.ndarray


class ErrorsByKind(NamedTuple):
    """Root mean square errors of the left-out labels by kind, and how they change.

    Attributes
    ----------
    kinds : ndarray of int, shape (n_kinds,)
        Places in `gapkit.quantities.KINDS` of the kinds that there are.
    rmse : ndarray, shape (n_kinds,)
        In the units of `gapkit.quantities.UNITS`.
    slopes : ndarray, shape (n_kinds, n_groups + n_amplitudes)
        ∂log e_k/∂log σ_g, then ∂log e_k/∂log δ_t.
    squares : ndarray, shape (n_frames, n_kinds)
        Sums of the squared errors of each frame.
    """

    kinds: np.ndarray
    rmse: np.ndarray
    slopes: np.ndarray
    squares: np.ndarray


class _Frame(NamedTuple):
    kind: np.ndarray
    owner: np.ndarray  # (n,) places of the groups
    G: np.ndarray  # (n, M), in Fortran order
    y: np.ndarray


class LeaveOutErrors:
    """Errors of left-out frames as functions of noises and amplitudes.

    One call is O(groups M² + M³) as that of the evidence, and n M² for n labels of the frames; memory n M numbers.

    Parameters
    ----------
    likelihood : MarginalLikelihood
        Of all frames.
    K_mm : ndarray, shape (M, M)
        As `likelihood` was made with.
    frames : iterable of FrameRows
        All of them part of the factors that `likelihood` was made with.

    Raises
    ------
    InputError
        If there is no frame.
    """

    def __init__(self, likelihood: MarginalLikelihood, K_mm: np.ndarray, frames: Iterable[FrameRows]) -> None:
        self._likelihood = likelihood
        L, _ = factorise(K_mm, likelihood.jitter)
        place = {group: k for k, group in enumerate(likelihood.groups)}

        def whiten(rows: FrameRows) -> _Frame:
            owner = np.array([place[group] for group in rows.group])
            return _Frame(rows.kind, owner, whitened(rows.K, L), rows.y)

        self._frames = list(ordered_map(whiten, frames))
        if not self._frames:
            raise InputError("there is no frame with labels to leave out: learn noises by the evidence alone.")
        self.n_frames = len(self._frames)
        counts = np.bincount(np.concatenate([frame.kind for frame in self._frames]), minlength=len(KINDS))
        self.kinds = np.flatnonzero(counts)
        self._counts = counts[self.kinds]

    @one_blas_thread()
    def __call__(self, noise: np.ndarray, amplitudes: np.ndarray) -> ErrorsByKind:
        """Errors and their slopes; arguments as those of `MarginalLikelihood`."""
        noise = np.asarray(noise, dtype=float)
        s, C, beta = self._likelihood.solved(noise, amplitudes)
        found = list(ordered_map(partial(self._leave_out, C, noise, s, s * beta), self._frames))
        U = np.stack([u for _, u in found], axis=1)  # (M, n_frames, 1 + n_kinds)
        solved = dtrsm(1.0, C, U.reshape(len(s), -1), lower=1, trans_a=1).reshape(U.shape)
        beta_c, p = beta[:, None] - solved[:, :, 0], solved[:, :, 1:]
        squares = np.array([self._squares(frame, e) for frame, (e, _) in zip(self._frames, found)])
        square = np.maximum(squares.sum(axis=0), self._counts * LEAST**2)
        by_noise = self._by_noise(noise, s, beta_c, p, [e for e, _ in found])
        by_row = np.einsum("mck,mc->km", p, beta_c)
        by_amplitude = [-2.0 * by_row[:, columns].sum(axis=1) for columns in self._likelihood.columns]
        slopes = np.column_stack([by_noise, *by_amplitude]) / square[:, None]
        return ErrorsByKind(self.kinds, np.sqrt(square / self._counts), slopes, squares)

    def _squares(self, frame: _Frame, e: np.ndarray) -> list[float]:
        return [float(e[frame.kind == k] @ e[frame.kind == k]) for k in self.kinds]

    def _leave_out(
        self, C: np.ndarray, noise: np.ndarray, s: np.ndarray, mean: np.ndarray, frame: _Frame
    ) -> tuple[Any, Any]:
        """ε_c, and W_cᵀ [Λ^-½ ε_c, (I - W Wᵀ)⁻¹ Λ^½ P_k ε_c for all kinds], shape (M, 1 + n_kinds)."""
        sigma = noise[frame.owner]
        W = dtrsm(1.0, C, np.asfortranarray(frame.G * s / sigma[:, None]), side=1, lower=1, trans_a=1, overwrite_b=1)
        H = dsyrk(1.0, W, lower=1)
        factor = factor_without(H + np.tril(H, -1).T)[0], True
        z = cho_solve(factor, (frame.y - frame.G @ mean) / sigma, check_finite=False)
        e = sigma * z
        picked = (sigma * e)[:, None] * (frame.kind[:, None] == self.kinds)
        return e, W.T @ np.column_stack([z, cho_solve(factor, picked, check_finite=False)])

    def _by_noise(
        self, noise: np.ndarray, s: np.ndarray, beta_c: np.ndarray, p: np.ndarray, errors: Sequence[np.ndarray]
    ) -> np.ndarray:
        """N_k e_k² ∂log e_k/∂log σ_g, shape (n_kinds, n_groups)."""
        n = self.n_frames
        found = np.zeros((len(noise), len(self.kinds)))
        stacked = np.column_stack([s[:, None] * beta_c, (s[:, None, None] * p).reshape(len(s), -1)])
        for owner, sign, product, z in self._likelihood.products(stacked):
            residual, own = z[:, None] - product[:, :n], product[:, n:].reshape(len(z), n, len(self.kinds))
            np.add.at(found, owner, sign[:, None] * np.einsum("rck,rc->rk", own, residual))
        for k, (frame, e) in enumerate(zip(self._frames, errors)):
            np.add.at(found, frame.owner, -(frame.G @ (s[:, None] * p[:, k])) * e[:, None])
        return np.asarray(2.0 / noise**2 * found.T)


@one_blas_thread()
def least_errors(
    K_mm: np.ndarray,
    factors: Mapping[Any, RowFactor],
    noise: Mapping[Any, float],
    amplitudes: Sequence[Amplitude],
    frames: Iterable[FrameRows],
    *,
    jitter: float = 1e-10,
    fixed: Collection[Any] = (),
    prior_width: float | None = PRIOR_WIDTH,
    no_worse: bool = True,
) -> Optimum:
    """Noises and amplitudes with the smallest errors of left-out frames, and their common factor from the evidence.

    Noises of one kind keep their proportions: a few dozen frames determine no more than a factor for each kind.

    Parameters
    ----------
    K_mm, factors, noise, amplitudes, jitter, prior_width
        As for `gapkit.gaussian_process.hyperparameter_search.maximise`, groups being (kind, config type). `amplitudes`
        should name all sparse points: only then the common factor leaves predictions as they are. The prior counts as
        one more frame.
    frames : iterable of FrameRows
        Rows of frames that are part of `factors`.
    fixed : collection
        Groups that keep their noise, such as those of isolated atoms, which define e0.
    no_worse : bool
        The error of no kind may grow; otherwise only their geometric mean counts.

    Returns
    -------
    Optimum
        The posterior at the optimum included.

    Raises
    ------
    InputError
        As `gapkit.gaussian_process.hyperparameter_search.maximise`; without frames.
    """
    amplitudes = [a._replace(columns=indices(a, len(K_mm))) for a in amplitudes]
    parents = _parents({group: std for group, std in noise.items() if group not in fixed})
    space = Space(factors, noise, amplitudes, {*parents, *fixed}, {}, prior_width, parents, 3.0)
    likelihood = MarginalLikelihood(K_mm, factors, [np.asarray(a.columns) for a in amplitudes], jitter)
    objective = _Objective(LeaveOutErrors(likelihood, K_mm, frames), space)
    before = _evaluation(likelihood, space, space.start)
    best, problem = _descend(objective, space, no_worse)
    x = _scaled(likelihood, space, best)
    found = _evaluation(likelihood, space, x)
    std = _standard_deviations(objective, space, best, float(likelihood.n_rows.sum()))
    errors = _compared(objective.at(space.start), objective.at(best))
    n_frames, used, n_evaluations = objective.errors.n_frames, likelihood.jitter, objective.n_evaluations
    del likelihood, objective  # groups M² numbers, and the rows
    posterior = posterior_at(K_mm, factors, space.noise(x), amplitudes, space.ratios(x), used)
    return Optimum(
        hyperparameters=tuple(space.described(x, std, found)),
        log_evidence_before=before.log_p,
        log_evidence=found.log_p,
        n_evaluations=n_evaluations,
        start_values=(found.log_p,),
        prior_width=prior_width,
        difference=posterior.log_marginal_likelihood - found.log_p,
        accuracy=found.accuracy,
        column_scale=space.column_scale(x, len(K_mm)),
        posterior=posterior,
        left_out=errors,
        n_left_out=n_frames,
        problem=problem,
    )


def _parents(noise: Mapping[Any, float]) -> dict[Any, Any]:
    """For each group the one with the least noise of the same kind, of which its noise is a multiple."""
    least = {group[0]: group for group in sorted(noise, key=lambda group: -noise[group])}
    return {group: least[group[0]] for group in noise if group != least[group[0]]}


class _Objective:
    """J less the log prior of one frame, and its gradient; remembers all points."""

    def __init__(self, errors: LeaveOutErrors, space: Space) -> None:
        self.errors, self._space = errors, space
        self._known: dict[bytes, ErrorsByKind] = {}

    @property
    def visited(self) -> list[np.ndarray]:
        """All points evaluated."""
        return [np.frombuffer(key) for key in self._known]

    @property
    def n_evaluations(self) -> int:
        return len(self._known)

    def at(self, x: np.ndarray) -> ErrorsByKind:
        """Errors by kind."""
        key = np.asarray(x, dtype=float).tobytes()
        if key not in self._known:
            n = len(self._space.groups)
            self._known[key] = self.errors(np.exp(self._space.logs(x)[:n]), self._space.ratios(x))
        return self._known[key]

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        found, weight = self.at(x), 1.0 / self.errors.n_frames
        prior, prior_slope = self._space.log_prior(x)
        slope = self._space.pulled(found.slopes.sum(axis=0)) - weight * prior_slope
        return float(np.log(found.rmse).sum()) - weight * prior, slope


def _descend(objective: _Objective, space: Space, no_worse: bool) -> tuple[np.ndarray, str]:
    """The minimum that is reached from the start, with `no_worse` without a larger error of any kind.

    A search that does not end at a minimum is restarted once from where it has stopped. If that fails, too, the best
    point visited is taken, and the solver's message is returned.
    """

    def gain(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.log(objective.at(space.start).rmse / objective.at(x).rmse))

    def gain_slopes(x: np.ndarray) -> np.ndarray:
        return -np.array([space.pulled(slope) for slope in objective.at(x).slopes])

    def steep(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = objective(x)
        return STEEPNESS * value, STEEPNESS * slope

    condition = [{"type": "ineq", "fun": gain, "jac": gain_slopes}] if no_worse else []
    options = {"maxiter": 60, "ftol": STEEPNESS * SAME}
    limits = list(zip(space.low, space.high))
    x = space.start
    for _ in range(2):
        found = minimize(steep, x, jac=True, method="SLSQP", bounds=limits, constraints=condition, options=options)
        x = np.clip(found.x, space.low, space.high)
        if found.success:
            return x, ""
    worst = -SAME if no_worse else -np.inf
    inside = (y for y in objective.visited if np.all((space.low <= y) & (y <= space.high)))
    allowed = [y for y in inside if np.min(gain(y)) >= worst]
    return min([space.start, *allowed], key=lambda y: objective(y)[0]), str(found.message)


def _compared(before: ErrorsByKind, after: ErrorsByKind) -> tuple[LeftOutError, ...]:
    """Errors before and after; frames are independent: the variance of ½ log Σa_c/Σb_c is ¼ Σ_c (a_c/Σa - b_c/Σb)²."""
    shares = [found.squares / np.maximum(found.squares.sum(axis=0), LEAST**2) for found in (before, after)]
    std = 0.5 * np.sqrt(np.sum((shares[1] - shares[0]) ** 2, axis=0))
    names = [KINDS[k] for k in before.kinds]
    values = zip(before.rmse.tolist(), after.rmse.tolist(), std.tolist())
    return tuple(LeftOutError(name, UNITS[name], *own) for name, own in zip(names, values))


def _evaluation(likelihood: MarginalLikelihood, space: Space, x: np.ndarray) -> Evidence:
    return likelihood(np.exp(space.logs(x)[: len(space.groups)]), space.ratios(x))


def _scaled(likelihood: MarginalLikelihood, space: Space, x: np.ndarray) -> np.ndarray:
    """All noises and amplitudes times γ, γ² = (Σ χ² + |β|²)/N: the largest evidence with these proportions."""
    found = _evaluation(likelihood, space, x)
    square = (found.misfit.sum() + found.weight.sum()) / max(likelihood.n_rows.sum(), 1.0)
    step = np.where(space.is_child[space.free], 0.0, 0.5 * np.log(max(square, LEAST**2)))
    return np.clip(x + step, space.low, space.high)


def _standard_deviations(objective: _Objective, space: Space, x: np.ndarray, n_labels: float) -> np.ndarray:
    """Of the logarithms, as if exp(-n_frames J) were their likelihood and the common factor that of all labels."""
    steps, here = STEP * np.eye(len(x)), objective(x)[1]
    rows = objective.errors.n_frames * np.array([(objective(x + step)[1] - here) / STEP for step in steps])
    values, vectors = np.linalg.eigh(0.5 * (rows + rows.T) + 2.0 * n_labels)
    limit = np.maximum(space.high - space.low, 1e-12) / np.sqrt(12.0)
    return np.minimum(np.sqrt(np.sum(vectors**2 / np.maximum(values, 1.0 / limit.max() ** 2), axis=1)), limit)
