"""Noises by the errors of left-out frames: the errors are those of refits, and the ratios survive a wrong model."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from copper_models import largest_difference, model, refit
from labelled_frames import copper_frames
from scipy.optimize import minimize

from gapkit import GAP, InputError
from gapkit.fitting.hyperparameters import chosen_frames, parse_optimize, rows_of
from gapkit.fitting.noise import OUTLIER
from gapkit.fitting.second_pass import frame_rows
from gapkit.gaussian_process import marginal_likelihood
from gapkit.gaussian_process.hyperparameter_search import Amplitude, maximise
from gapkit.gaussian_process.leave_out_objective import FrameRows, LeaveOutErrors, least_errors
from gapkit.gaussian_process.marginal_likelihood import MarginalLikelihood
from gapkit.gaussian_process.row_factor import RowFactor
from gapkit.quantities import KINDS
from gapkit.structures.frames import labelled_frames


@pytest.fixture(scope="module")
def frames():
    return copper_frames(12)


@pytest.fixture(scope="module")
def gap(frames):
    return model().fit(frames)


# ---- errors


def brute_force(gap, frames, chosen):
    """Root mean square errors by kind of refits without each of the chosen frames."""
    errors = {kind: [] for kind in KINDS}
    walk = list(labelled_frames(frames))
    for k in chosen:
        alpha = refit(gap.recipe_, frames[:k] + frames[k + 1 :]).alpha_
        for rows in frame_rows(gap.recipe_, walk[k]):
            errors[rows.group[0]].extend((rows.y - rows.K @ alpha) / rows.scale)
    return [np.sqrt(np.mean(np.square(e))) for e in errors.values()]


@pytest.mark.parametrize("chosen", [range(12), (1, 3, 8)])
def test_errors_equal_those_of_refits(frames, gap, chosen):
    K_mm = gap.basis_.K_mm()
    walk = list(labelled_frames(frames))
    likelihood = MarginalLikelihood(K_mm, gap.factors_, (), gap.jitter)
    errors = LeaveOutErrors(likelihood, K_mm, (rows_of(gap.recipe_, walk[k]) for k in chosen))
    noise = np.array([gap.noise_.std(group) for group in likelihood.groups])
    np.testing.assert_allclose(errors(noise, ()).rmse, brute_force(gap, frames, chosen), rtol=1e-6)


class Problem:
    """Energies and forces of frames, linear in β ~ N(0, 1) of `M` dimensions, with white noise.

    `hidden` is the size of a part that no sparse point expresses. It is linear in features of which the sparse points'
    ones tell something, but not the same of energies as of forces: no β is the best for both.
    """

    def __init__(self, seed, n_frames=24, n_forces=9, M=20, hidden=0.0, noise=(0.03, 0.3), two=False):
        rng = np.random.default_rng(seed)
        self.M, beta = M, rng.normal(size=M)
        unseen = hidden * rng.normal(size=(2, M))
        self.frames = []
        for c in range(n_frames):
            K, kind = rng.normal(size=(1 + n_forces, M)), np.array([0] + [1] * n_forces)
            T = K + 0.3 * rng.normal(size=K.shape)
            y = K @ beta + np.einsum("nm,nm->n", T, unseen[kind]) + np.take(noise, kind) * rng.normal(size=len(kind))
            group = [(KINDS[k], f"set {c % 2}" if two else "all") for k in kind]
            self.frames.append(FrameRows(kind, group, K, y))
        self.groups = sorted({group for rows in self.frames for group in rows.group})

    def factors(self, frames=None):
        found = {group: RowFactor(self.M) for group in self.groups}
        for rows in self.frames if frames is None else frames:
            for k, group in enumerate(rows.group):
                found[group].add(rows.K[k : k + 1], rows.y[k : k + 1])
        return found

    def errors(self, columns=(), frames=None):
        likelihood = MarginalLikelihood(np.eye(self.M), self.factors(), columns, 0.0)
        return LeaveOutErrors(likelihood, np.eye(self.M), self.frames if frames is None else frames)


@pytest.mark.parametrize("route", ["Cholesky", "QR"])
@pytest.mark.parametrize("n_forces", [0, 2, 9])
def test_slopes_equal_finite_differences(route, n_forces, monkeypatch):
    """Groups of few and of many rows, two amplitudes, and points of neither."""
    if route == "QR":
        monkeypatch.setattr(marginal_likelihood, "LEAST_ACCURACY", -1.0)
    problem = Problem(3, two=True, n_forces=n_forces)
    errors = problem.errors((np.arange(7), np.arange(7, 15)), problem.frames[::2] + problem.frames[1:4])
    n = len(problem.groups)
    x = np.random.default_rng(0).normal(-0.5, 0.7, n + 2)

    def logs(x):
        return np.log(errors(np.exp(x[:n]), np.exp(x[n:])).rmse)

    h = 1e-4
    steps = h * np.eye(n + 2)
    expected = np.array([(logs(x + d) - logs(x - d)) / (2 * h) for d in steps]).T
    np.testing.assert_allclose(errors(np.exp(x[:n]), np.exp(x[n:])).slopes, expected, rtol=1e-5, atol=1e-7)


def test_a_common_factor_changes_no_error():
    problem = Problem(4, two=True)
    errors = problem.errors([np.arange(problem.M)])
    one, other = errors(np.full(4, 0.1), [1.0]), errors(np.full(4, 0.7), [7.0])
    np.testing.assert_allclose(one.rmse, other.rmse, rtol=1e-9)
    np.testing.assert_allclose(one.slopes.sum(axis=1), 0.0, atol=1e-9)


# ---- the search


def searched(problem, start=(0.1, 0.1), **options):
    noise = dict(zip(problem.groups, start))
    amplitudes = [Amplitude("delta", 1.0, slice(None))]
    return least_errors(np.eye(problem.M), problem.factors(), noise, amplitudes, problem.frames, jitter=0.0, **options)


def ratio(optimum):
    return optimum.noise["forces", "all"] / optimum.noise["energy", "all"]


def geometric_mean(errors):
    return np.exp(np.mean(np.log(errors)))


@pytest.mark.parametrize("start", [(0.5, 0.05), (0.03, 0.3), (0.01, 1.0)])
@pytest.mark.parametrize("no_worse", [True, False])
def test_no_kind_gets_worse_unless_it_may(start, no_worse):
    found = searched(Problem(5, hidden=0.2), start=start, no_worse=no_worse)
    gains = [np.log(e.before / e.after) for e in found.left_out]
    assert min(gains) > -1e-4 or not no_worse
    assert sum(gains) > (-1e-4 if no_worse else 1e-3)


def test_uncertainty_of_a_gain_is_that_over_draws_of_frames():
    """Against the spread of the log ratio over bootstrap samples of the frames."""
    problem = Problem(11, n_frames=200, M=10, hidden=0.5, noise=(0.01, 2.0))
    found = searched(problem, no_worse=False)
    errors, rng = problem.errors([np.arange(problem.M)]), np.random.default_rng(0)
    noise = np.array([found.noise[group] for group in problem.groups])
    one, other = errors(np.array([0.1, 0.1]), [1.0]).squares, errors(noise, [found.amplitudes["delta"]]).squares
    draws = rng.integers(0, 200, (2000, 200))
    spread = np.std(0.5 * np.log(other[draws].sum(axis=1) / one[draws].sum(axis=1)), axis=0)
    np.testing.assert_allclose([e.std for e in found.left_out], spread, rtol=0.15)


def test_amplitude_far_too_small_is_mended_for_every_kind():
    """With a prior that holds the weights down all predictions are bad, and there is something to gain for all."""
    problem = Problem(8, noise=(0.03, 0.03))
    found = searched(problem, start=(3.0, 3.0))
    assert all(e.after < 0.8 * e.before for e in found.left_out)


def test_the_common_factor_has_the_largest_evidence():
    problem = Problem(6)
    found = searched(problem)
    likelihood = MarginalLikelihood(np.eye(problem.M), problem.factors(), [np.arange(problem.M)], 0.0)
    noise, delta = np.array([found.noise[g] for g in problem.groups]), found.amplitudes["delta"]
    slope = likelihood(noise, [delta])
    assert slope.d_noise.sum() + slope.d_amplitude.sum() == pytest.approx(0.0, abs=1e-6)
    assert slope.log_p == pytest.approx(found.log_evidence)
    assert abs(found.difference) < 1e-6


def test_white_noise_is_weighed_as_it_is():
    problem = Problem(7, n_frames=150, M=40, noise=(0.1, 1.0))
    assert ratio(searched(problem, no_worse=False)) == pytest.approx(10.0, rel=0.6)
    assert searched(problem, no_worse=False).noise["forces", "all"] == pytest.approx(1.0, rel=0.2)


@pytest.mark.parametrize("seed", range(6))
def test_ratios_survive_what_the_model_cannot_express(seed):
    """The evidence follows the many forces; on 2000 new frames, the errors of left-out frames are the better guide."""
    problem, new = (Problem(seed, n_frames=n, M=10, hidden=0.5, noise=(0.01, 2.0)) for n in (100, 2100))
    amplitudes = [Amplitude("delta", 1.0, slice(None))]
    start = dict(zip(problem.groups, (0.1, 0.1)))
    by_evidence = maximise(np.eye(problem.M), problem.factors(), start, amplitudes, jitter=0.0)
    by_errors = searched(problem, no_worse=False)
    assert ratio(by_errors) > 2 * ratio(by_evidence)
    assert new_error(by_errors, new.frames[100:]) < 0.9 * new_error(by_evidence, new.frames[100:])


def new_error(optimum, frames):
    """Geometric mean of the root mean square errors of energies and forces."""
    kind = np.concatenate([rows.kind for rows in frames])
    e = np.concatenate([rows.y - (rows.K * optimum.column_scale) @ optimum.posterior.alpha for rows in frames])
    return geometric_mean([np.sqrt(np.mean(e[kind == k] ** 2)) for k in (0, 1)])


# ---- GAP.fit


def test_fit_takes_what_was_found(frames):
    before = model().fit(frames)
    after = model().fit(frames, optimize=["noise", "delta", "leave_out"])
    assert all(e.after <= e.before * (1 + 1e-4) for e in after.optimum_.left_out)
    assert [e.kind for e in after.optimum_.left_out] == list(KINDS)
    np.testing.assert_allclose([e.before for e in after.optimum_.left_out], brute_force(before, frames, range(12)))
    np.testing.assert_allclose(
        [e.after for e in after.optimum_.left_out], brute_force(after, frames, range(12)), rtol=1e-5
    )
    assert after.terms_[0].kernel.delta != before.terms_[0].kernel.delta
    assert "12 left-out frames" in after.optimum_.table()
    again = GAP(list(after.terms_), *after.noise_[:3], verbose=False).fit(frames)
    assert largest_difference(after, again, frames[:4]) < 1e-7


def test_config_types_and_outliers_go_along(frames):
    found, evidence = (model().fit(frames, optimize=[*more, "config_type", "delta"]) for more in (["leave_out"], []))
    assert set(found.noise_.forces) == {"cluster", "bulk", "default"}
    for one, other in zip(found.noise_[:3], evidence.noise_[:3]):
        assert len({round(one[name] / other[name], 8) for name in other}) == 1  # proportions stay
    spoilt = [frames[0].copy(), *frames[1:]]
    spoilt[0].calc = frames[3].calc.__class__(spoilt[0], **frames[0].calc.results)
    spoilt[0].calc.results["forces"] = frames[0].get_forces() + 5.0
    gap = model().fit(spoilt, optimize=["leave_out", "outliers"])
    name = OUTLIER + next(iter(labelled_frames(spoilt))).digest()
    assert gap.noise_.outliers[name]["forces"] > 5 * gap.noise_.forces
    assert gap.optimum_.n_left_out == len(frames) - len(gap.noise_.outliers)
    assert largest_difference(gap, refit(gap.recipe_, spoilt), frames[:3]) < 1e-7


def test_isolated_atoms_keep_their_noise(frames):
    atom = Atoms("Cu", cell=[20.0] * 3, pbc=True)
    atom.calc = frames[0].calc.__class__(atom, energy=-0.2, forces=np.zeros((1, 3)))
    atom.info["config_type"] = "isolated_atom"
    noise = {"default": 0.02, "isolated_atom": 1e-4}
    gap = model().set_params(energy_noise=noise).fit([*frames, atom], optimize="leave_out")
    assert gap.noise_.energy["isolated_atom"] == pytest.approx(1e-4, rel=1e-12)
    assert abs(np.log(gap.noise_.energy["default"] / 0.02)) > 0.05
    assert gap.predict(atom).energy[0] == pytest.approx(-0.2, abs=1e-3)


def test_a_search_that_ends_early_says_so_and_makes_nothing_worse(monkeypatch):
    problem = Problem(8, noise=(0.03, 0.03))
    minimum, calls = searched(problem, start=(3.0, 3.0)), []
    assert minimum.problem == ""

    def lazy(*arguments, **named):
        calls.append(arguments[1])
        found = minimize(*arguments, **{**named, "options": {"maxiter": 1}})
        return found

    monkeypatch.setattr("gapkit.gaussian_process.leave_out_objective.minimize", lazy)
    found = searched(problem, start=(3.0, 3.0))
    assert len(calls) == 2
    assert np.any(calls[1] != calls[0])
    assert "teration" in found.problem
    assert f"the search ended before its minimum ({found.problem})." in found.table()
    assert all(e.after <= e.before * (1 + 1e-4) for e in found.left_out)
    assert sum(np.log(e.after / e.before) for e in found.left_out) < -0.01


def test_leave_out_brings_noise_and_amplitude_along():
    assert parse_optimize("leave_out") == {"leave_out", "noise", "delta"}


def test_frames_are_chosen_within_memory(frames, gap):
    n_bytes = 8 * gap.recipe_.n_sparse * 100
    walk = list(labelled_frames(frames))
    few = chosen_frames(gap.recipe_, walk, 0, n_bytes)
    assert 0 < sum(1 + 3 * len(f.atoms) for f in few) <= 100
    assert [id(f) for f in few] == [id(f) for f in chosen_frames(gap.recipe_, iter(walk), 0, n_bytes)]
    assert len(chosen_frames(gap.recipe_, walk, 0, 1)) == 1
    assert len(chosen_frames(gap.recipe_, walk, 0)) == len(frames)


def test_nothing_to_leave_out_is_refused():
    with pytest.raises(InputError, match="no frame with labels"):
        Problem(0).errors(frames=[])
