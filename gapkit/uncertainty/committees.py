"""Ensembles of fits to resampled frames or labels, as cheap as samples of the posterior: no refit, at most one pass.

Members share sparse points, e0, noises and amplitudes with the model and can be used wherever a
`gapkit.potential.ensemble.Ensemble` can: `gapkit.uncertainty.propagation.propagate`,
`gapkit.uncertainty.estimators.MemberStd`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solve_triangular
from sklearn.utils.validation import check_is_fitted

from gapkit.checks import check_count
from gapkit.errors import InputError, did_you_mean
from gapkit.fitting.second_pass import frame_rows
from gapkit.gaussian_process.row_factor import RowFactor
from gapkit.potential.ensemble import Ensemble
from gapkit.runtime.threads import one_blas_thread, ordered_map
from gapkit.structures.frames import Frame, Structures
from gapkit.structures.labels import LabelKeys

if TYPE_CHECKING:
    from gapkit.potential.gap import GAP

FloatArray = NDArray[np.float64]
RESAMPLINGS = ("bootstrap", "halves")
_FLOOR = 1e-12  # of the smallest eigenvalue that a member's information has beside 1


@one_blas_thread()
def label_noise_ensemble(gap: GAP, n: int, rng: np.random.Generator | int = 0) -> Ensemble:
    """Fits to the labels with noise of the size that the model assumes added once more.

    Perturbed labels y + Λ^½ ε give weights α + A⁻¹ K_mn Λ^-½ ε, of covariance A⁻¹ (A - K_mm) A⁻¹ = R⁻¹ (I - P) R⁻ᵀ with
    P = R⁻ᵀ K_mm R⁻¹. It is drawn from directly: no labels, no pass over data, O(n_sparse³). Its spread is below that
    of the posterior ("sor", R⁻¹ R⁻ᵀ) by the share P of the prior: where data are few, members agree on the prior mean.

    Parameters
    ----------
    gap : GAP
    n : int
        Number of members.
    rng : Generator or int

    Raises
    ------
    InputError
        Unless `n` is at least 2.
    """
    check_is_fitted(gap, "posterior_")
    n = check_count("n", n, 2, "20")
    values, vectors = np.linalg.eigh(_prior_share(gap))
    draws = np.random.default_rng(rng).standard_normal((n, len(values)))
    whitened = (draws * np.sqrt(np.clip(1.0 - values, 0.0, 1.0))) @ vectors.T
    return Ensemble(gap, gap.alpha_ + solve_triangular(gap.posterior_.R, whitened.T, check_finite=False).T)


@one_blas_thread()
def committee(
    gap: GAP,
    structures: Structures,
    n: int = 20,
    rng: np.random.Generator | int = 0,
    how: str = "bootstrap",
    n_chunks: int = 20,
    keys: LabelKeys | None = None,
) -> Ensemble:
    """Fits to resampled training frames, with the model's sparse points: one pass over the frames whatever `n` is.

    Frames are divided into `n_chunks` chunks at random, so that neighbours in the file are spread over all chunks.
    A chunk's rows, in units of their noise, become K̃_c R⁻¹, and a member with weights w_c has the information
    P + Σ_c w_c (K̃_c R⁻¹)ᵀ(K̃_c R⁻¹), where all weights 1 give I: one Cholesky factorisation each.

    Parameters
    ----------
    gap : GAP
    structures : sequence of Atoms, path or paths, or iterable of Atoms
        The training frames.
    n : int
        Number of members.
    rng : Generator or int
    how : {"bootstrap", "halves"}
        Chunks drawn with replacement, as many as there are, or every other one without. Both scatter as fits to new
        data of the same kind would (Efron and Tibshirani, An Introduction to the Bootstrap (1993), ch. 6 and 11.7).
    n_chunks : int
        16 n_chunks n_sparse² bytes.
    keys : LabelKeys, optional
        Where the labels are; found if not given.

    Raises
    ------
    InputError
        If these are not the training frames, there are fewer frames than chunks, or a parameter is out of range.
    """
    check_is_fitted(gap, "posterior_")
    n, n_chunks = check_count("n", n, 2, "20"), check_count("n_chunks", n_chunks, 2, "20")
    if how not in RESAMPLINGS:
        raise InputError(f"frames cannot be resampled by {how!r}{did_you_mean(str(how), RESAMPLINGS)}.")
    rng = np.random.default_rng(rng)
    G, b = _information(gap, _chunks(gap, gap.frames_of(structures, keys), n_chunks, rng))
    P, weights = _prior_share(gap), []
    for w in _resampled(how, n, n_chunks, rng):
        weights.append(_solved(P + np.einsum("c,cij->ij", w, G, optimize=True), w @ b))
    return Ensemble(gap, solve_triangular(gap.posterior_.R, np.array(weights).T, check_finite=False).T)


def _prior_share(gap: GAP) -> FloatArray:
    """P = R⁻ᵀ K_mm R⁻¹, (n_sparse, n_sparse): eigenvalues between 0, all from data, and 1, all from the prior."""
    LtR = solve_triangular(gap.posterior_.R, gap.posterior_.L, trans="T", check_finite=False)
    return np.asarray(LtR @ LtR.T)


def _chunks(gap: GAP, frames: Iterable[Frame], n_chunks: int, rng: np.random.Generator) -> list[RowFactor]:
    """Rows of all frames in units of their noise."""
    recipe, found, n_frames = gap.recipe_, Counter[int](), 0
    chunks = [RowFactor(recipe.n_sparse) for _ in range(n_chunks)]
    place = np.empty(0, dtype=int)
    for frame, rows in ordered_map(lambda frame: (frame, frame_rows(recipe, frame)), frames):
        place = place if len(place) else rng.permutation(n_chunks)
        for group, K, y, scale in rows:
            chunks[place[0]].add(K, y, scale * recipe.noises.std(group))
        place, n_frames = place[1:], n_frames + 1
        found[frame.identity()] += 1
    if found != gap.frames_:
        raise InputError(
            f"these {n_frames} frames are not the {gap.frames_.total()} training frames with their labels: give "
            "exactly those that the model was fitted to."
        )
    if n_frames < n_chunks:
        raise InputError(f"{n_frames} frames cannot be divided into n_chunks = {n_chunks}: take fewer chunks.")
    return chunks


def _information(gap: GAP, chunks: list[RowFactor]) -> tuple[FloatArray, FloatArray]:
    """(K̃_c R⁻¹)ᵀ (K̃_c R⁻¹) and (K̃_c R⁻¹)ᵀ ỹ_c of each chunk; this empties the chunks."""
    G, b = [], []
    while chunks:
        rows = chunks.pop(0).rows
        W = solve_triangular(gap.posterior_.R, rows[:, :-1].T, trans="T", check_finite=False)
        G.append(W @ W.T)
        b.append(W @ rows[:, -1])
    return np.array(G), np.array(b)


def _resampled(how: str, n: int, n_chunks: int, rng: np.random.Generator) -> FloatArray:
    """How often each chunk is in each member, (n, n_chunks)."""
    if how == "bootstrap":
        return rng.multinomial(n_chunks, np.full(n_chunks, 1.0 / n_chunks), size=n).astype(float)
    half = np.arange(n_chunks) < n_chunks // 2
    return np.array([rng.permutation(half) for _ in range(n)], dtype=float)


def _solved(A: FloatArray, b: FloatArray) -> FloatArray:
    """A⁻¹ b; a direction that only absent chunks determine may be singular to round-off."""
    try:
        return np.asarray(cho_solve(cho_factor(A, lower=True), b))
    except LinAlgError:
        values, vectors = np.linalg.eigh(A)
        return np.asarray(vectors @ ((vectors.T @ b) / np.maximum(values, _FLOOR)))
