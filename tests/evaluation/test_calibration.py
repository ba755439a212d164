"""Calibration scores equal their definitions by numerical integration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import kendalltau, norm, spearmanr

from gapkit.errors import InputError
from gapkit.evaluation.calibration import (
    calibration,
    calibration_by,
    calibration_in_words,
    coverage,
    group_names,
    z_scores,
)
from gapkit.evaluation.comparison import Comparison


def _comparison(z, std, structure=None) -> Comparison:
    """Comparison whose z-scores are `z`."""
    z, std = np.broadcast_arrays(np.asarray(z, dtype=float), std)
    structure = np.arange(len(z)) if structure is None else np.asarray(structure)
    predicted = np.linspace(-1.0, 1.0, len(z))
    return Comparison(predicted + z * std, predicted, std, structure, np.full(len(z), "x"), None, "eV/atom")


def _quantiles(n: int) -> np.ndarray:
    """The most standard-normal sample of size n there is."""
    return norm.ppf((np.arange(n) + 0.5) / n)


def test_gaussian_residuals_are_calibrated():
    rng = np.random.default_rng(0)
    result = calibration(_comparison(rng.normal(size=20_000), rng.uniform(0.1, 2.0, 20_000)))
    for level, observed in result.coverage.items():
        assert observed == pytest.approx(level, abs=4.0 * result.coverage_se[level])
    assert result.mean_z == pytest.approx(0.0, abs=4.0 / np.sqrt(20_000))
    assert result.std_z == pytest.approx(1.0, abs=4.0 / np.sqrt(40_000))
    assert result.miscalibration_area < 0.01
    assert (result.n, result.unit) == (20_000, "eV/atom")


@pytest.mark.parametrize("factor", [0.2, 1.0, 3.0])
def test_scale_recovers_the_factor_and_is_the_maximum_of_the_likelihood(factor):
    rng = np.random.default_rng(1)
    z, std = rng.normal(size=4000), rng.uniform(0.5, 1.5, 4000)
    result = calibration(_comparison(factor * z, std))
    assert result.scale == pytest.approx(factor, rel=0.05)
    best = calibration(_comparison(factor * z / result.scale, std * result.scale)).nll
    for wrong in (0.98, 1.02):
        other = result.scale * wrong
        assert calibration(_comparison(factor * z / other, std * other)).nll > best


def test_nll_equals_scipy():
    rng = np.random.default_rng(2)
    comparison = _comparison(2.0 * rng.normal(size=50), rng.uniform(0.01, 3.0, 50))
    expected = -norm.logpdf(comparison.reference, comparison.predicted, comparison.std).mean()
    assert calibration(comparison).nll == pytest.approx(expected, rel=1e-12)


def test_crps_equals_its_definition():
    comparison = _comparison([-2.5, -0.3, 0.0, 1.1], [0.5, 2.0, 1.0, 0.1])

    def square(x, y, mean, std):
        return (norm.cdf(x, mean, std) - (x >= y)) ** 2

    total = 0.0
    for y, mean, std in zip(comparison.reference, comparison.predicted, comparison.std):
        low, high = min(y, mean) - 12.0 * std, max(y, mean) + 12.0 * std
        total += sum(quad(square, a, b, args=(y, mean, std), limit=200)[0] for a, b in ((low, y), (y, high)))
    assert calibration(comparison).crps == pytest.approx(total / 4.0, rel=1e-7)


def test_crps_becomes_the_absolute_error_without_spread():
    comparison = _comparison([1e9, -2e9], 1e-9)
    assert calibration(comparison).crps == pytest.approx(1.5, rel=1e-6)


def test_area_is_zero_for_a_perfect_sample_and_half_at_worst():
    # |z| of the perfect sample has levels at the middle of each step: area 1/(4 n)
    perfect = norm.ppf(0.5 + 0.5 * (np.arange(200) + 0.5) / 200)
    assert calibration(_comparison(perfect, 1.0)).miscalibration_area == pytest.approx(1.0 / 800.0, rel=1e-9)
    assert calibration(_comparison(np.zeros(50), 1.0)).miscalibration_area == pytest.approx(0.5)
    assert calibration(_comparison(np.full(50, 40.0), 1.0)).miscalibration_area == pytest.approx(0.5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-5.0, 5.0), min_size=1, max_size=12))
def test_area_equals_numeric_integration(z):
    levels = (np.arange(20_000) + 0.5) / 20_000
    curve = np.array(list(coverage(z, levels).values()))
    expected = np.mean(np.abs(curve - levels))
    assert calibration(_comparison(z, 1.0)).miscalibration_area == pytest.approx(expected, abs=2e-4)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-8.0, 8.0), min_size=1, max_size=20), st.floats(0.01, 0.99))
def test_coverage_counts_interval_by_interval(z, level):
    half_width = norm.ppf(0.5 + 0.5 * level)
    margin = np.min(np.abs(np.abs(z) - half_width))
    observed = coverage(z, [level])[level]
    if margin > 1e-9:
        assert observed == pytest.approx(np.mean([abs(x) <= half_width for x in z]))


def test_too_small_standard_deviations_cover_too_little():
    z = _quantiles(1000)
    for level, observed in coverage(2.0 * z).items():
        assert observed == pytest.approx(2.0 * norm.cdf(norm.ppf(0.5 + 0.5 * level) / 2.0) - 1.0, abs=2e-3)
    assert list(coverage(z)) == [0.5, 0.68, 0.9, 0.95]


def test_standard_error_of_coverage_counts_structures():
    z = np.random.default_rng(3).normal(size=600)
    result = calibration(_comparison(z, 1.0, structure=np.repeat(np.arange(100), 6)))
    assert (result.n, result.n_structures) == (600, 100)
    assert result.coverage_se[0.5] == pytest.approx(0.05)


def test_rank_correlation_sees_order_only():
    std = np.array([0.1, 0.2, 0.5, 0.7, 3.0])
    assert calibration(_comparison([1.0, 1.0, 1.0, 1.0, 1.0], std)).rank_correlation == pytest.approx(1.0)
    assert calibration(_comparison(1.0 / std**2, std)).rank_correlation == pytest.approx(-1.0)
    rng = np.random.default_rng(4)
    mixed = _comparison(rng.normal(size=300), rng.uniform(0.1, 1.0, 300))
    tau = kendalltau(np.abs(mixed.reference - mixed.predicted), mixed.std).statistic
    assert calibration(mixed).rank_correlation == pytest.approx(1.5 * tau, abs=0.1)  # ρ ≈ 3τ/2 for weak dependence


@pytest.mark.parametrize(("z", "std"), [([1.0, -1.0], [1.0, 2.0]), ([1.0, 2.0, 3.0], 1.0)])
def test_rank_correlation_may_not_exist(z, std):
    assert calibration(_comparison(z, std)).rank_correlation is None


def test_sharpness_and_sign():
    comparison = _comparison([1.0, 1.0], [3.0, 4.0])
    assert calibration(comparison).sharpness == pytest.approx(np.sqrt(12.5))
    np.testing.assert_allclose(z_scores(comparison), [1.0, 1.0])
    assert np.all(comparison.reference > comparison.predicted)


@pytest.mark.parametrize(
    ("std", "message"),
    [(0.0, "positive and finite, got 0.0"), (-1.0, "got -1.0"), (np.nan, "got nan"), (np.inf, "got inf")],
)
def test_impossible_standard_deviation_is_refused(std, message):
    comparison = _comparison(np.zeros(3), [1.0, 1.0, 1.0])
    broken = Comparison(**{**vars(comparison), "std": np.array([1.0, std, 1.0])})
    with pytest.raises(InputError, match=message):
        calibration(broken)


def test_nothing_to_calibrate_is_refused():
    comparison = _comparison(np.zeros(3), np.ones(3))
    with pytest.raises(InputError, match="return_std=True"):
        z_scores(Comparison(**{**vars(comparison), "std": None}))
    with pytest.raises(InputError, match="at least one compared value"):
        calibration(comparison.select(np.zeros(3, dtype=bool)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_labels_that_are_not_finite_are_refused(bad):
    comparison = _comparison(np.zeros(3), np.ones(3))
    comparison.reference[1] = bad
    with pytest.raises(InputError, match="the label or the prediction of value 1 is not finite"):
        z_scores(comparison)


@pytest.mark.parametrize(
    ("scale", "verdict"),
    [
        (1.0, "are honest. 90 % of 400 energies lie inside their 90 % interval (90 ± 2 % if calibrated)"),
        (1.15, "are honest"),
        (1.3, "too small: errors are 1.3"),
        (3.0, "too small: errors are 3.0"),
        (0.87, "are honest"),
        (0.7, "too large: errors are 0.7"),
        (0.3, "too large: errors are 0.3"),
    ],
)
def test_calibration_in_words(scale, verdict):
    z = _quantiles(400)
    text = calibration_in_words(_comparison(scale * z / np.sqrt(np.mean(z**2)), np.linspace(0.001, 0.003, 400)))
    assert verdict in text
    assert "of 400 energies" in text


@pytest.mark.parametrize("z", [[], [0.0, np.nan], [np.inf]])
def test_coverage_refuses_scores_that_are_not_finite(z):
    with pytest.raises(InputError, match="finite z-scores"):
        coverage(z)


def test_coverage_refuses_percent():
    with pytest.raises(InputError, match=r"got \[90.0\]: write 0.9"):
        coverage([0.0], [90])


def test_scores_equal_uncertainty_toolbox():
    toolbox = pytest.importorskip("uncertainty_toolbox")
    rng = np.random.default_rng(5)
    comparison = _comparison(1.7 * rng.normal(0.2, 1.0, 300), rng.uniform(0.1, 2.0, 300))
    found = calibration(comparison)
    given = comparison.predicted, comparison.std, comparison.reference
    assert found.nll == pytest.approx(toolbox.nll_gaussian(*given), rel=1e-12)
    assert found.crps == pytest.approx(toolbox.crps_gaussian(*given), rel=1e-12)
    assert found.sharpness == pytest.approx(toolbox.sharpness(comparison.std), rel=1e-12)
    levels, observed = toolbox.get_proportion_lists_vectorized(*given, num_bins=201)
    np.testing.assert_allclose(list(coverage(z_scores(comparison), levels).values()), observed, atol=1e-12)
    # theirs joins 2000 points of the curve by straight lines
    area = toolbox.miscalibration_area(*given, num_bins=2000)
    assert found.miscalibration_area == pytest.approx(area, abs=2e-4)


def _forces(n_structures: int = 4) -> Comparison:
    """Two atoms, Si and O, per structure, with components in the order of evaluation."""
    rng = np.random.default_rng(6)
    n = 6 * n_structures
    structure, atom = np.repeat(np.arange(n_structures), 6), np.tile(np.repeat([0, 1], 3), n_structures)
    std = rng.uniform(0.1, 1.0, n)
    names = np.where(structure % 2 == 0, "bulk", "slab")
    reference = rng.normal(size=n) * std
    return Comparison(reference, np.zeros(n), std, structure, names, np.where(atom == 0, "Si", "O"), "eV/Å", atom)


@pytest.mark.parametrize(("by", "names"), [("config_type", ["bulk", "slab"]), ("species", ["O", "Si"])])
def test_calibration_by_group_is_that_of_the_group_alone(by, names):
    forces = _forces()
    found = calibration_by(forces, by, levels=iter([0.5]))
    assert list(found) == names
    for name, scored in found.items():
        rows = np.array([x == name for x in getattr(forces, by)])
        alone = Comparison(
            forces.reference[rows], np.zeros(12), forces.std[rows], forces.structure[rows], None, None, ""
        )
        assert (scored.nll, scored.coverage) == (calibration(alone).nll, calibration(alone, [0.5]).coverage)
    assert sum(scored.n for scored in found.values()) == len(forces)


def test_groups_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match=r"cannot be grouped by 'config' \(did you mean 'config_type'\?\)"):
        calibration_by(_forces(), "config")
    with pytest.raises(InputError, match="values in eV/atom belong to no species"):
        group_names(_comparison(np.zeros(3), 1.0), "species")
    with pytest.raises(InputError, match="at least one compared value"):
        calibration_by(_forces().select(np.zeros(24, dtype=bool)), "species")


def test_rank_correlation_of_atoms_is_that_of_vectors():
    forces = _forces(30)
    error = np.linalg.norm(forces.reference.reshape(-1, 3), axis=1)
    std = np.linalg.norm(forces.std.reshape(-1, 3), axis=1)
    expected = spearmanr(error, std).statistic
    assert calibration(forces).atom_rank_correlation == pytest.approx(expected, rel=1e-12)
    shuffled = np.random.default_rng(7).permutation(len(forces))
    fields = {name: value[shuffled] for name, value in vars(forces).items() if isinstance(value, np.ndarray)}
    assert calibration(Comparison(**(vars(forces) | fields))).atom_rank_correlation == pytest.approx(
        expected, rel=1e-12
    )


def test_rank_correlation_of_atoms_needs_whole_atoms():
    forces = _forces()
    assert calibration(forces.select(np.arange(24) % 3 > 0)).atom_rank_correlation is None
    assert calibration(forces.select(np.arange(24) % 3 == 0)).atom_rank_correlation is None
    assert calibration(_comparison([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])).atom_rank_correlation is None


def test_words_judge_by_the_number_of_structures():
    # a scale of 1.3 from 8 structures is within its error, 2/√16, however many values they have
    z = 1.3 * _quantiles(400) / np.sqrt(np.mean(_quantiles(400) ** 2))
    assert "are too small" in calibration_in_words(_comparison(z, 1.0))
    assert "are honest" in calibration_in_words(_comparison(z, 1.0, np.arange(400) % 8))


def test_one_structure_proves_nothing():
    for scale in (0.1, 1.0, 10.0):
        words = calibration_in_words(_comparison(scale * _quantiles(30), 1.0, np.zeros(30, dtype=int)), "forces")
        assert words.startswith("Error bars of the force components cannot be judged: one structure proves nothing.")


def test_words_name_the_kind():
    assert "errors are 0.04 times" in calibration_in_words(_comparison(0.04 * np.resize([-1.0, 1.0], 400), 1.0))
    assert calibration_in_words(_forces(), "forces").startswith("Error bars of the force components are ")
    with pytest.raises(InputError, match=r"kind 'force' \(did you mean 'forces'\?\)"):
        calibration_in_words(_forces(), "force")
