"""What `GAP.fit(optimize=…)` learns."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from copper_models import largest_difference, model, refit
from labelled_frames import copper_frames

from gapkit import GAP, InputError
from gapkit.structures.frames import labelled_frames


@pytest.fixture(scope="module")
def frames():
    return copper_frames(30)


def noisy(frames, sigma, seed=0):
    """Frames whose forces have more noise."""
    rng = np.random.default_rng(seed)
    out = []
    for atoms in frames:
        results = dict(atoms.calc.results)
        results["forces"] = results["forces"] + rng.normal(0.0, sigma, results["forces"].shape)
        new = atoms.copy()
        new.calc = SinglePointCalculator(new, **results)
        out.append(new)
    return out


def test_the_noise_that_was_put_in_is_found(frames):
    found = model().fit(noisy(frames, 0.3), optimize="noise").noise_
    assert found.forces == pytest.approx(0.3, rel=0.3)


def test_evidence_grows_and_belongs_to_the_model(frames):
    before, after = model().fit(frames), model().fit(frames, optimize=True)
    assert after.posterior_.log_marginal_likelihood > before.posterior_.log_marginal_likelihood
    assert after.optimum_.log_evidence == pytest.approx(after.posterior_.log_marginal_likelihood, abs=1e-3)
    assert after.terms_[0].kernel.delta != before.terms_[0].kernel.delta
    assert after.terms[0].kernel.delta == before.terms[0].kernel.delta  # parameters stay as they were given
    names = [row["name"] for row in after.hyperparameters_]
    assert sorted(names) == ["delta", "energy_noise", "forces_noise", "virial_noise"]


def test_a_learned_model_equals_a_fit_with_what_was_learned(frames):
    learned = model().fit(frames, optimize=True)
    again = GAP(
        list(learned.terms_),
        energy_noise=learned.noise_.energy,
        forces_noise=learned.noise_.forces,
        virial_noise=learned.noise_.virial,
        verbose=False,
    ).fit(frames)
    assert largest_difference(learned, again, frames[:4]) < 1e-8


def test_every_config_type_gets_its_own_noise(frames):
    mixed = noisy(frames[::3], 0.5) + frames[1::3]
    found = model().fit(mixed, optimize="config_type").noise_
    assert set(found.forces) == {"cluster", "bulk", "default"}
    assert found.forces["cluster"] > 3 * found.forces["bulk"]


def test_config_types_apart_without_learning_change_nothing(frames):
    noises = {"energy_noise": {"default": 0.002}, "forces_noise": {"default": 0.05}, "virial_noise": {"default": 0.02}}
    plain, mapped = model().fit(frames), model().set_params(**noises).fit(frames)
    assert largest_difference(plain, mapped, frames[:3]) < 1e-9


def test_an_outlier_gets_a_noise_of_its_own(frames):
    spoilt = [*noisy(frames[:1], 3.0), *frames[1:]]
    gap = model().fit(spoilt, optimize="outliers")
    name = "frame " + next(iter(labelled_frames(spoilt))).digest()
    sizes = {n: own["forces"] for n, own in gap.noise_.outliers.items()}
    assert max(sizes, key=sizes.get) == name
    assert sizes[name] > 5 * gap.noise_.forces
    clean = model().fit(frames[1:], optimize="outliers")
    assert gap.noise_.forces == pytest.approx(clean.noise_.forces, rel=0.5)
    whole = refit(gap.recipe_, spoilt)
    assert largest_difference(gap, whole, frames[:3]) < 1e-8
    gap.remove(spoilt[:1])
    assert largest_difference(gap, refit(gap.recipe_, frames[1:]), frames[:3]) < 1e-8


def test_frames_without_outliers_get_none(frames):
    gap = model().fit(frames[:9], optimize=["outliers"])
    assert all(max(own.values()) < 100 for own in gap.noise_.outliers.values())


def test_what_was_learned_is_saved(frames, tmp_path):
    gap = model().fit(frames, optimize=("noise", "delta", "config_type"))
    gap.save(tmp_path / "a.gap", updatable=True)
    loaded = GAP.load(tmp_path / "a.gap")
    assert loaded.noise_ == gap.noise_
    assert loaded.hyperparameters_ == gap.hyperparameters_
    np.testing.assert_array_equal(loaded.alpha_, gap.alpha_)
    assert loaded.noise_std("forces", "bulk") == gap.noise_.forces["bulk"]
    more = copper_frames(32)[30:]
    assert largest_difference(loaded.partial_fit(more), gap.partial_fit(more), frames[:3]) == 0.0


@pytest.mark.parametrize(("wrong", "match"), [("nois", "did you mean 'noise'"), (["delta", "x"], "optimize names 'x'")])
def test_unknown_wishes_are_refused(frames, wrong, match):
    with pytest.raises(InputError, match=match):
        model().fit(frames[:2], optimize=wrong)


def test_the_noise_of_isolated_atoms_stays_as_it_was_given(frames):
    alone = copper_frames(1)[0][:1]
    alone.info["config_type"] = "isolated_atom"
    alone.calc = SinglePointCalculator(alone, energy=-1.0, forces=np.zeros((1, 3)))
    found = model().fit([*frames, alone], optimize="config_type").noise_
    assert found.energy["isolated_atom"] == pytest.approx(0.002, rel=1e-12)
    assert found.forces["isolated_atom"] == pytest.approx(0.05, rel=1e-12)
    assert found.energy["bulk"] != 0.002
