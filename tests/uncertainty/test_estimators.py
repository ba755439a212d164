"""Other error bars: ensembles equal refits, scatter as algebra says, indicators are what they are called."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import count

import numpy as np
import pytest
from ase import Atoms
from example_structures import alloy, labelled
from expected_warnings import extrapolation, none_too_close

from gapkit import GAP, SOAP, DotProduct, InputError, Term
from gapkit.covariances.rows import structure_rows
from gapkit.evaluation.calibration import calibration
from gapkit.evaluation.compare import evaluate
from gapkit.fitting.second_pass import frame_rows, stream_rows
from gapkit.fitting.updates import solve
from gapkit.potential.ensemble import Ensemble, sample
from gapkit.structures.frames import labelled_frames
from gapkit.uncertainty.committees import committee, label_noise_ensemble
from gapkit.uncertainty.estimators import (
    MemberStd,
    PosteriorStd,
    ScaledIndicator,
    Std,
    descriptor_distance,
    fit_scaled,
    local_std,
    with_std,
)
from gapkit.uncertainty.functionals import joint_posterior

NOISES = {"energy_noise": {"bulk": 0.004, "default": 0.01}, "forces_noise": 0.05, "virial_noise": 0.02}


@pytest.fixture(scope="module")
def one(frames) -> GAP:
    """One term, so that a local energy is one function."""
    return GAP([Term(SOAP(["Cu", "Au"], 4.5, 4, 3), DotProduct(2, 2.0), 12)], **NOISES, verbose=False).fit(frames)


@pytest.fixture(scope="module")
def fresh(one) -> list[Atoms]:
    frames = (labelled(alloy(k, rattle=0.05 + 0.02 * (k % 10)), "bulk" if k % 2 else "new") for k in count(50))
    return none_too_close(one, frames, 20)


def refitted(gap: GAP, frames: list[Atoms]) -> np.ndarray:
    """Weights of a fit to these frames with the sparse points, e0 and noises of the model."""
    factors = stream_rows(gap.recipe_, labelled_frames(frames), {})
    return solve(gap.recipe_, factors, gap.jitter).alpha


def predictions(gap: GAP, alpha: np.ndarray, atoms: Atoms) -> np.ndarray:
    p = Ensemble(gap, np.array([alpha, alpha])).predict(atoms)
    return np.concatenate([p.energy[:1], p.forces[0].ravel()])


# ---- ensembles


@pytest.mark.parametrize("how", ["bootstrap", "halves"])
def test_members_of_a_committee_are_fits_to_resampled_frames(gap, frames, how):
    """Chunks of a single frame: which frames a member saw is found from the seed."""
    n = len(frames)
    members = committee(gap, frames, 3, rng=5, how=how, n_chunks=n)
    rng = np.random.default_rng(5)
    place = rng.permutation(n)
    if how == "bootstrap":
        counts = rng.multinomial(n, np.full(n, 1 / n), size=3)
    else:
        counts = [rng.permutation(np.arange(n) < n // 2) for _ in range(3)]
    for k in range(3):
        drawn = [frame for frame, chunk in zip(frames, place) for _ in range(int(counts[k][chunk]))]
        expected = predictions(gap, refitted(gap, drawn), alloy(1))
        np.testing.assert_allclose(predictions(gap, members.weights[k], alloy(1)), expected, atol=1e-7)
    assert MemberStd(members).std(alloy(1)).energy > 1e-4


def test_all_chunks_once_are_the_model(gap, frames, monkeypatch):
    monkeypatch.setattr(
        "gapkit.uncertainty.committees._resampled", lambda how, n, n_chunks, rng: np.ones((n, n_chunks))
    )
    members = committee(gap, frames, 2, n_chunks=4)
    expected = predictions(gap, gap.alpha_, alloy(1))
    np.testing.assert_allclose(predictions(gap, members.weights[1], alloy(1)), expected, rtol=0, atol=1e-8)


def test_directions_that_only_missing_chunks_determine_fall_back_to_the_prior(gap, frames, monkeypatch):
    """No chunk at all: the prior mean."""
    monkeypatch.setattr(
        "gapkit.uncertainty.committees._resampled", lambda how, n, n_chunks, rng: np.zeros((n, n_chunks))
    )
    np.testing.assert_allclose(committee(gap, frames, 2, n_chunks=4).weights, 0.0, atol=1e-12)


def test_label_noise_scatters_as_refits_to_noisy_labels_would(one, frames):
    """Covariance A⁻¹ K̃ᵀ K̃ A⁻¹ of the weights, from the rows themselves."""
    rows = [part for frame in labelled_frames(frames) for part in frame_rows(one.recipe_, frame)]
    K = np.concatenate([part.K / (one.recipe_.noises.std(part.group) * part.scale) for part in rows])
    A = one.posterior_.L @ one.posterior_.L.T + K.T @ K
    atoms = alloy(1)
    own = structure_rows(one.basis_.environments(atoms))
    functionals = np.concatenate([own.energy[None], own.forces])
    expected = np.linalg.norm(functionals @ np.linalg.solve(A, K.T), axis=1)
    found = MemberStd(label_noise_ensemble(one, 3000, rng=1)).std(atoms)
    np.testing.assert_allclose([found.energy, *found.forces.ravel()], expected, rtol=0.06)
    sor = PosteriorStd(one, "sor").std(atoms)
    assert np.all(expected < np.array([sor.energy, *sor.forces.ravel()]))


def test_label_noise_spares_what_only_the_prior_knows(one, frames):
    """Hardly any information: noise of labels no longer matters, while the posterior is as wide as the prior."""
    noises = dict.fromkeys(NOISES, 10000.0)
    vague = GAP(one.terms, **noises, e0=one.e0_, verbose=False).fit(frames)
    narrow, wide = MemberStd(label_noise_ensemble(vague, 50)).std(alloy(1)), PosteriorStd(vague, "sor").std(alloy(1))
    assert narrow.energy < 0.01 * wide.energy


# ---- the posterior


@pytest.mark.parametrize("method", ["dtc", "sor"])
def test_posterior_is_that_of_the_functionals(gap, method):
    std = PosteriorStd(gap, method).std(alloy(2))
    energy = joint_posterior(gap, alloy(2), ["energy"], method)
    forces = joint_posterior(gap, alloy(2), ["forces"], method)
    np.testing.assert_allclose(std.energy, energy.std[0], rtol=1e-6)
    np.testing.assert_allclose(std.forces.ravel(), forces.std, rtol=1e-6)


def test_recalibration_does_not_reach_the_posterior(one, fresh):
    copied = GAP([Term(SOAP(["Cu", "Au"], 4.5, 4, 3), DotProduct(2, 2.0), 12)], **NOISES, verbose=False)
    copied.__dict__.update(one.__dict__)
    copied.recalibrate(fresh)
    assert copied.recalibration_.factor("energy") != 1.0
    for method in ("dtc", "sor"):
        ours, theirs = PosteriorStd(copied, method).std(fresh[0]), PosteriorStd(one, method).std(fresh[0])
        assert ours.energy == theirs.energy
    np.testing.assert_array_equal(local_std(copied)(fresh[0]), local_std(one)(fresh[0]))


def test_samples_scatter_as_the_sor_posterior(one):
    found, expected = MemberStd(sample(one, 2000, 0)).std(alloy(3)), PosteriorStd(one, "sor").std(alloy(3))
    np.testing.assert_allclose(found.energy, expected.energy, rtol=0.06)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0.08)


# ---- indicators


def test_distance_is_that_from_the_nearest_sparse_point(one):
    soap, atoms = one.terms_[0].descriptor, alloy(4)
    features = soap.features(atoms)
    expected = []
    for x, z in zip(features, atoms.numbers):
        X = next(block.X for block in one.blocks_ if block.key == z)
        expected.append(np.linalg.norm(X - x / np.linalg.norm(x), axis=1).min())
    np.testing.assert_allclose(descriptor_distance(one)(atoms), expected, atol=1e-7)


def test_distance_of_a_sparse_point_is_nil(frames):
    """Every environment is a sparse point."""
    few = frames[:3]
    with pytest.warns(UserWarning, match="n_sparse"):
        gap = GAP([Term(SOAP(["Cu", "Au"], 4.5, 4, 3), n_sparse=50)], e0={"Cu": 0, "Au": 0}, verbose=False).fit(few)
    assert descriptor_distance(gap)(few[1]).max() < 1e-6
    assert descriptor_distance(gap)(alloy(9, rattle=0.3)).min() > 0.01


def test_local_std_is_that_of_the_functionals(one, gap):
    np.testing.assert_allclose(local_std(gap)(alloy(2)), gap.predict(alloy(2), "local").local_energies_std[0])
    expected = joint_posterior(one, alloy(2), ["local_energies"], "gap", regularisation=1e-3).std
    np.testing.assert_allclose(local_std(one, "gap")(alloy(2)), expected, rtol=1e-5)


def test_several_terms_add_their_gap_variances(gap):
    first, second = (part(gap, t) for t in range(2))
    total = local_std(first, "gap")(alloy(5)) ** 2 + local_std(second, "gap")(alloy(5)) ** 2
    np.testing.assert_allclose(local_std(gap, "gap")(alloy(5)) ** 2, total, rtol=1e-9)


def part(gap: GAP, t: int) -> GAP:
    """The model with the sparse points of one term alone."""
    alone = GAP(gap.terms, verbose=False)
    alone.__dict__.update(gap.__dict__)
    alone.basis_ = gap.basis_.only(t)
    return alone


def test_scale_of_an_indicator_is_found_again(one, fresh):
    """Errors drawn with known scales."""
    rng = np.random.default_rng(0)
    indicator = descriptor_distance(one)
    frames = fresh * 20
    truth = ScaledIndicator(indicator, 0.7, 3.0)
    comparisons = evaluate(one, frames, return_std=False).comparisons
    drawn = {}
    for kind, c in with_std(one, truth, frames, comparisons).items():
        drawn[kind] = type(c)(**(vars(c) | {"reference": c.predicted + rng.normal(0, c.std), "std": None}))
    found = fit_scaled(indicator, one, frames, drawn)
    assert found.energy_scale == pytest.approx(0.7, rel=0.15)
    assert found.forces_scale == pytest.approx(3.0, rel=0.03)
    std = found.std(fresh[0])
    np.testing.assert_allclose(std.forces, found.forces_scale * indicator(fresh[0])[:, None] * np.ones(3))
    assert std.energy == pytest.approx(found.energy_scale * indicator(fresh[0]).sum())


# ---- the same footing


def test_the_posterior_is_scored_as_evaluate_scores_it(one, fresh):
    expected = evaluate(one, fresh, "all").comparisons
    found = with_std(one, PosteriorStd(one), fresh, evaluate(one, fresh, return_std=False).comparisons)
    assert set(found) == {"energy", "forces"}
    for kind, comparison in found.items():
        np.testing.assert_allclose(comparison.std, expected[kind].std, rtol=1e-12)
        np.testing.assert_array_equal(comparison.predicted, expected[kind].predicted)


def test_every_estimate_can_be_scored_and_sees_the_shift(one, frames, fresh):
    """Twice the rattle, and strain: larger error bars than near the data, by every estimate."""
    estimates = {
        "dtc": PosteriorStd(one),
        "sor": PosteriorStd(one, "sor"),
        "committee": MemberStd(committee(one, frames, 20, n_chunks=6)),
        "noise": MemberStd(label_noise_ensemble(one, 20)),
    }
    plain = evaluate(one, fresh, return_std=False).comparisons
    for name, indicator in (("distance", descriptor_distance(one)), ("gap", local_std(one, "gap"))):
        estimates[name] = fit_scaled(indicator, one, fresh, plain)
    for name, estimate in estimates.items():
        scored = with_std(one, estimate, fresh, plain)
        assert calibration(scored["forces"]).atom_rank_correlation > 0.3, name
        near, shifted = estimate.std(alloy(0, rattle=0.02)), alloy(0, rattle=0.35, strain=0.1)
        with extrapolation(one, shifted) if isinstance(estimate, MemberStd) else nullcontext():
            far = estimate.std(shifted)
        assert isinstance(near, Std), name
        assert far.energy > near.energy, name
        assert np.mean(far.forces) > np.mean(near.forces), name


# ---- refusals


def test_refusals_say_what_to_do(one, frames, fresh):
    with pytest.raises(InputError, match=r"'dct' is unknown \(did you mean 'dtc'"):
        PosteriorStd(one, "dct")
    with pytest.raises(InputError, match="'sor' is unknown"):
        local_std(one, "sor")
    with pytest.raises(InputError, match="n = 1 must be a whole number of at least 2"):
        label_noise_ensemble(one, 1)
    with pytest.raises(InputError, match=r"n_chunks = 2\.5 must be"):
        committee(one, frames, 5, n_chunks=2.5)
    with pytest.raises(InputError, match=r"'half'.*did you mean 'halves'"):
        committee(one, frames, 5, how="half")
    with pytest.raises(InputError, match="12 frames cannot be divided into n_chunks = 13"):
        committee(one, frames, 5, n_chunks=13)
    with pytest.raises(InputError, match="11 frames are not the 12 training frames"):
        committee(one, frames[1:], 5, n_chunks=4)
    with pytest.raises(InputError, match="at least 2 members"):
        MemberStd(sample(one, 1))
    comparisons = evaluate(one, fresh, return_std=False).comparisons
    with pytest.raises(InputError, match="frame 19, but there are 3"):
        with_std(one, PosteriorStd(one), fresh[:3], comparisons)
    with pytest.raises(InputError, match=r"'forces'.* are missing"):
        fit_scaled(descriptor_distance(one), one, fresh, {"energy": comparisons["energy"]})
    with pytest.raises(InputError, match="finite and positive"):
        fit_scaled(lambda atoms: np.zeros(len(atoms)), one, fresh, comparisons)
    for estimate in (PosteriorStd(one, "sor"), ScaledIndicator(descriptor_distance(one), 1.0, 1.0)):
        with pytest.raises(InputError, match="holds Ag"):
            estimate.std(Atoms("Ag"))
