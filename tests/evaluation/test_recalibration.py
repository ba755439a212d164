"""Factors on standard deviations: found again, refused where the data are too few."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from fake_predictor import make_frames
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from gapkit.errors import InputError
from gapkit.evaluation.calibration import calibration
from gapkit.evaluation.compare import evaluate
from gapkit.evaluation.comparison import Comparison
from gapkit.evaluation.recalibration import Recalibration, fit_recalibration


def _comparison(z, std, structure=None, species=None, unit: str = "eV/atom") -> Comparison:
    """Comparison whose z-scores are `z`, with labels that differ from value to value."""
    z, std = np.broadcast_arrays(np.asarray(z, dtype=float), std)
    structure = np.arange(len(z)) if structure is None else np.asarray(structure)
    predicted = np.linspace(-1.0, 1.0, len(z)) + float(np.sum(z))
    return Comparison(predicted + z * std, predicted, std, structure, np.full(len(z), "x"), species, unit)


def _evaluated(seed: int, n: int = 60) -> dict[str, Comparison]:
    frames, gap = make_frames(n, seed=seed)
    return evaluate(gap, frames, return_std="all").comparisons


def _overconfident(comparisons: dict[str, Comparison]) -> dict[str, Comparison]:
    """Standard deviations too small by 2 (energy), 4 (stress), 3 (Si) and too large by 2 (O)."""
    forces = comparisons["forces"]
    by = {"energy": 0.5, "stress": 0.25, "forces": np.where(forces.species == "Si", 1.0 / 3.0, 2.0)}
    return {kind: replace(c, std=by[kind] * c.std) for kind, c in comparisons.items()}


TRUE = {"energy": 2.0, "stress": 4.0, "forces/Si": 3.0, "forces/O": 0.5}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10.0))
def test_scale_maximises_the_likelihood(seed, factor):
    rng = np.random.default_rng(seed)
    energy = _comparison(factor * rng.normal(size=40), rng.uniform(0.5, 1.5, 40))

    def nll(log_scale):
        return -np.sum(norm.logpdf(energy.reference, energy.predicted, np.exp(log_scale) * energy.std))

    best = minimize_scalar(nll, bounds=(-6.0, 6.0), method="bounded", options={"xatol": 1e-9})
    assert fit_recalibration({"energy": energy}, "held-out").scales["energy"] == pytest.approx(np.exp(best.x), rel=1e-6)


def test_each_kind_and_species_recovers_its_factor_on_other_data():
    known = fit_recalibration(_overconfident(_evaluated(1, 200)), "held-out")
    fits = known.provenance.fits
    assert set(known.scales) == set(fits) == set(TRUE)
    for key, scale in known.scales.items():
        assert scale == pytest.approx(TRUE[key], abs=4.0 * fits[key].scale_se)
        assert fits[key].scale_se < 0.1 * scale
    wrong = _overconfident(_evaluated(2, 400))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        applied = known.apply(wrong)
    for kind, comparison in applied.items():
        before, after = calibration(wrong[kind]), calibration(comparison)
        assert after.nll < before.nll
        assert after.miscalibration_area < 0.3 * before.miscalibration_area
        for level, observed in after.coverage.items():
            assert observed == pytest.approx(level, abs=0.03 + 2.0 * after.coverage_se[level])
        np.testing.assert_array_equal(comparison.predicted, wrong[kind].predicted)


def test_standard_error_of_the_scale_counts_structures():
    # every structure repeats one z-score: copies teach nothing
    rng = np.random.default_rng(3)
    z = rng.normal(size=200)
    once = fit_recalibration({"energy": _comparison(z, 1.0)}, "held-out").provenance.fits["energy"]
    copied = _comparison(np.repeat(z, 12), 1.0, structure=np.repeat(np.arange(200), 12))
    many = fit_recalibration({"energy": copied}, "held-out").provenance.fits["energy"]
    assert many.scale_se == pytest.approx(once.scale_se)
    scales = [np.sqrt(np.mean(rng.choice(z, 200) ** 2)) for _ in range(4000)]
    assert once.scale_se == pytest.approx(np.std(scales), rel=0.06)


def test_scores_after_come_from_factors_fitted_without_the_value():
    rng = np.random.default_rng(4)
    energy = _comparison(3.0 * rng.normal(size=25), rng.uniform(0.5, 1.5, 25))
    fit = fit_recalibration({"energy": energy}, "held-out").provenance.fits["energy"]
    z = (energy.reference - energy.predicted) / energy.std
    total, inside = 0.0, 0
    for i in range(25):
        others = [j for j in range(25) if j % 5 != i % 5]
        std = energy.std[i] * np.sqrt(np.mean(z[others] ** 2))
        total -= norm.logpdf(energy.reference[i], energy.predicted[i], std)
        inside += abs(energy.reference[i] - energy.predicted[i]) < norm.ppf(0.95) * std
    assert fit.after.nll == pytest.approx(total / 25)
    assert fit.after.coverage_90 == pytest.approx(inside / 25)
    before = calibration(energy)
    assert fit.before.crps == pytest.approx(before.crps)
    assert fit.before.coverage_68 == before.coverage[0.68]


def test_scale_of_calibrated_scores_on_few_data_is_not_flattered():
    # with the factor scored on its own data, NLL could only fall; honestly it must sometimes rise
    rng = np.random.default_rng(5)
    fits = [
        fit_recalibration({"energy": _comparison(rng.normal(size=20), 1.0)}, "held-out").provenance.fits["energy"]
        for _ in range(60)
    ]
    worse = np.mean([fit.after.nll > fit.before.nll for fit in fits])
    assert 0.3 < worse < 1.0


def test_stored_and_read_is_the_same():
    known = fit_recalibration(_overconfident(_evaluated(6)), "leave-one-out", data="si.xyz")
    read = Recalibration.from_dict(json.loads(json.dumps(known.to_dict(), allow_nan=False)))
    assert read == known
    assert read.provenance.how == "leave-one-out"
    assert read.provenance.data == "si.xyz"
    assert len(read.provenance.date) == 10


def test_fingerprint_is_of_the_labels_not_of_their_order():
    frames, gap = make_frames(30, seed=7)
    marks = []
    for chosen in (frames, frames[::-1], frames[:-1]):
        found = evaluate(gap, chosen, return_std="all").comparisons
        marks.append(fit_recalibration(found, "held-out", date="2020-01-01").provenance)
    assert marks[0].fingerprint == marks[1].fingerprint != marks[2].fingerprint
    assert marks[0].seen == marks[1].seen
    assert marks[0].date == "2020-01-01"


def test_data_that_were_fitted_to_are_recognised_even_in_part():
    comparisons = _evaluated(8, 100)
    known = fit_recalibration(comparisons, "held-out")
    with pytest.warns() as caught:
        known.apply(comparisons)
    assert [str(w.message).split(":")[0] for w in caught] == [
        f"the standard deviations of the {kind} were recalibrated on 64 of these structures (of 64 remembered)"
        for kind in ("energy", "forces", "stress")
    ]
    energy = comparisons["energy"]
    part = {"energy": energy.select(energy.structure < 30)}
    with pytest.warns(UserWarning, match="judge their calibration on other data"):
        known.apply(part)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known.apply(_evaluated(9))


def test_crystals_without_forces_are_not_taken_for_one_another():
    rng = np.random.default_rng(10)
    names, structure = np.full(60, "Si"), np.repeat(np.arange(10), 6)
    predicted = rng.normal(size=60)
    forces = Comparison(np.zeros(60), predicted, np.ones(60), structure, names, names, "eV/Å")
    known = fit_recalibration({"forces": forces}, "held-out")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known.apply({"forces": replace(forces, predicted=-predicted)})
    other = fit_recalibration({"forces": replace(forces, reference=np.ones(60))}, "held-out")
    assert known.provenance.seen == other.provenance.seen == {"forces": ()}
    assert known.provenance.fingerprint != other.provenance.fingerprint


def test_kind_and_species_without_a_factor():
    known = fit_recalibration(_overconfident(_evaluated(11)), "held-out")
    some = Recalibration({"forces/Si": 3.0, "forces/O": 0.5}, known.provenance)
    assert some.factor("energy") == some.factor("stress") == 1.0
    assert some.factor("forces", "Ge") == 3.0
    np.testing.assert_array_equal(some.factors("forces", ["O", "Si", "Ge", "O"]), [0.5, 3.0, 3.0, 0.5])
    assert some.factors("forces", []).shape == (0,)
    assert Recalibration({"energy": 2.0}, known.provenance).factor("forces", "Si") == 1.0
    with pytest.raises(InputError, match="give the species"):
        some.factor("forces")
    with pytest.raises(InputError, match=r"kind 'force' \(did you mean 'forces'\?\)"):
        some.factor("force", "Si")


def test_kinds_without_standard_deviations_are_left_out():
    frames, gap = make_frames(30, seed=12)
    known = fit_recalibration(evaluate(gap, frames).comparisons, "held-out")
    assert set(known.scales) == {"energy"}
    other = evaluate(gap, make_frames(30, seed=13)[0]).comparisons
    assert known.apply(other)["forces"].std is None
    with pytest.raises(InputError, match="of 3 kinds of labels none has standard deviations"):
        fit_recalibration(evaluate(gap, frames, return_std=False).comparisons, "held-out")


@pytest.mark.parametrize(
    ("n", "structures", "message"),
    [
        (19, np.arange(19), "energy: 19 values of 19 structures are too few to fit a factor to, 20 values of 5"),
        (40, np.arange(40) % 4, "energy: 40 values of 4 structures are too few"),
        (0, np.arange(0), "energy: 0 values of 0 structures are too few"),
    ],
)
def test_too_few_values_are_refused(n, structures, message):
    with pytest.raises(InputError, match=message):
        fit_recalibration({"energy": _comparison(np.ones(n), 1.0, structures)}, "held-out")


def test_species_with_too_few_values_is_refused_by_name():
    species = np.array(["Si"] * 57 + ["O"] * 3)
    forces = _comparison(np.ones(60), 1.0, np.repeat(np.arange(20), 3), species, "eV/Å")
    with pytest.raises(InputError, match="forces/O: 3 values of 1 structures are too few"):
        fit_recalibration({"forces": forces}, "held-out")


@pytest.mark.parametrize(
    ("z", "std", "message"),
    [
        (np.ones(30), 0.0, "positive and finite, got 0.0"),
        (np.zeros(30), 1.0, "all but a few errors are zero"),
        (np.arange(30) == 3, 1.0, "all but a few errors are zero"),
        (np.full(30, np.nan), 1.0, "not finite"),
    ],
)
def test_values_that_no_factor_fits_are_refused(z, std, message):
    with pytest.raises(InputError, match=message):
        fit_recalibration({"energy": _comparison(z, std)}, "held-out")


def test_wrong_words_are_refused():
    energy = _comparison(np.ones(30), 1.0)
    with pytest.raises(InputError, match="errors on training labels are too small"):
        fit_recalibration({"energy": energy}, "training")
    with pytest.raises(InputError, match=r"kind 'energies' \(did you mean 'energy'\?\)"):
        fit_recalibration({"energies": energy}, "held-out")
    with pytest.raises(InputError, match="got Comparison: pass evaluate"):
        fit_recalibration(energy, "held-out")
    with pytest.raises(InputError, match="belong to no species"):
        fit_recalibration({"forces": energy}, "held-out")


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_damaged_factors_are_refused(bad):
    stored = fit_recalibration({"energy": _comparison(np.ones(30), 1.0)}, "held-out").to_dict()
    with pytest.raises(InputError, match="stored factors must be positive and finite"):
        Recalibration.from_dict(stored | {"scales": {"energy": bad}})


@pytest.mark.parametrize(
    "damage", [{"scales": None}, {"scales": {"energy": "x"}}, {"provenance": {}}, {"provenance": 3}]
)
def test_damaged_store_is_refused(damage):
    stored = fit_recalibration({"energy": _comparison(np.ones(30), 1.0)}, "held-out").to_dict()
    with pytest.raises(InputError, match="not a stored recalibration"):
        Recalibration.from_dict(stored | damage)
    with pytest.raises(InputError, match="not a stored recalibration"):
        Recalibration.from_dict({})
