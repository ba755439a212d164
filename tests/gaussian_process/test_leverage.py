"""Leaving frames out in closed form equals refits without them."""

from __future__ import annotations

import numpy as np
import pytest
from copper_models import model, refit
from labelled_frames import copper_frames
from scipy.linalg import solve_triangular

from gapkit.fitting.second_pass import frame_rows, left_out
from gapkit.gaussian_process.posterior import fit_posterior
from gapkit.structures.frames import labelled_frames


@pytest.fixture(scope="module")
def frames():
    return copper_frames(10)


@pytest.fixture(scope="module")
def gap(frames):
    return model().fit(frames)


@pytest.mark.parametrize("k", range(10))
def test_residuals_equal_those_of_a_fit_without_the_frame(frames, gap, k):
    without = refit(gap.recipe_, frames[:k] + frames[k + 1 :])
    frame = list(labelled_frames(frames))[k]
    out = left_out(gap.recipe_, gap.posterior_, frame)
    for labels, rows in zip(out.labels, frame_rows(gap.recipe_, frame), strict=True):
        residual = rows.y - rows.K @ without.alpha_
        np.testing.assert_allclose(labels.residual, residual, atol=1e-8 * max(1.0, np.abs(rows.y).max()))
        noise = gap.recipe_.noises.std(rows.group) * rows.scale
        assert labels.noise == pytest.approx(noise)
        covariance = without.posterior_.covariance(rows.K, 0.0, "sor") + noise**2 * np.eye(len(rows.y))
        np.testing.assert_allclose(labels.std**2, np.diag(covariance), rtol=1e-6)
        assert labels.z @ labels.z == pytest.approx(residual @ np.linalg.solve(covariance, residual), rel=1e-5)


def test_leverages_sum_to_the_effective_number_of_parameters(frames, gap):
    """Σ_c tr H_c = tr A⁻¹ K_mn Λ⁻¹ K_nm = M - tr A⁻¹ K_mm."""
    total = sum(left_out(gap.recipe_, gap.posterior_, frame).leverage for frame in labelled_frames(frames))
    E = solve_triangular(gap.posterior_.R, gap.posterior_.L, trans="T")  # tr A⁻¹ K_mm = |R⁻ᵀ L|²
    assert total == pytest.approx(len(E) - np.sum(E**2), rel=1e-6)


def test_information_is_the_gain_in_evidence_of_the_determinant(frames, gap):
    """-½ log|I - H| = ½ log|A| - ½ log|A without the frame|."""
    frame = list(labelled_frames(frames))[4]
    without = refit(gap.recipe_, frames[:4] + frames[5:])
    expected = np.log(np.abs(np.diag(gap.posterior_.R))).sum() - np.log(np.abs(np.diag(without.posterior_.R))).sum()
    assert left_out(gap.recipe_, gap.posterior_, frame).information == pytest.approx(expected, rel=1e-7)


def test_a_frame_that_alone_decides_a_direction_says_so(gap, frames):
    """With noise-free labels of a single frame and a flat prior there is nothing left to predict it from."""
    frame = list(labelled_frames(frames))[1]
    rows = frame_rows(gap.recipe_, frame)
    from gapkit.gaussian_process.row_factor import RowFactor

    factors, recipe = {}, gap.recipe_
    tiny = recipe._replace(noises=recipe.noises._replace(energy=1e-12, forces=1e-12, virial=1e-12))
    for part in rows:
        factors.setdefault(part.group, RowFactor(recipe.n_sparse)).add(part.K, part.y, part.scale)
    noise = {group: tiny.noises.std(group) for group in factors}
    posterior = fit_posterior(np.eye(recipe.n_sparse) * 1e3, factors, noise, 0.0)
    out = left_out(tiny, posterior, frame)
    assert out.decided_alone
    assert all(np.isfinite(labels.residual).all() and np.isfinite(labels.std).all() for labels in out.labels)
