"""Errors per kind and config type, with their standard errors, against sums made here."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from fake_predictor import ENERGY_NOISE, FakeGAP, make_frames
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import max_error, mean_absolute_error, root_mean_squared_error

from gapkit.errors import InputError
from gapkit.evaluation.calibration import calibration
from gapkit.evaluation.compare import evaluate
from gapkit.evaluation.comparison import Comparison, Evaluation, rmse_standard_error
from gapkit.evaluation.recalibration import Recalibration, fit_recalibration
from gapkit.structures.labels import LabelKeys

GPA_PER_EV_A3 = 160.2176634  # 2019 SI: e/(1e-30 m³)/1e9


def _relabel(atoms: Atoms, **labels: object) -> Atoms:
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def _comparison(error, structure, unit: str = "eV/Å", config_type: str = "x") -> Comparison:
    error = np.asarray(error, dtype=float)
    zeros = np.zeros(len(error))
    names = np.full(len(error), config_type)
    return Comparison(zeros, error, None, np.asarray(structure), names, None, unit)


def test_rows_equal_an_explicit_loop():
    frames, gap = make_frames(7, seed=1)
    result = evaluate(gap, frames)
    energy, forces, stress, owner, symbols = [], [], [], [], []
    for index, atoms in enumerate(frames):
        known, labels = gap.known[index], atoms.calc.results
        energy.append((labels["energy"] / len(atoms), known.energy / len(atoms)))
        for a, symbol in enumerate(atoms.get_chemical_symbols()):
            for x in range(3):
                forces.append((labels["forces"][a, x], known.forces[a, x]))
                owner.append(index)
                symbols.append(symbol)
        for (a, b), value in zip([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)], labels["stress"]):
            stress.append((value * GPA_PER_EV_A3, known.stress[a, b] * GPA_PER_EV_A3))
    for comparison, expected in ((result.energy, energy), (result.forces, forces), (result.stress, stress)):
        np.testing.assert_allclose(np.c_[comparison.reference, comparison.predicted], expected, rtol=1e-7)
    np.testing.assert_array_equal(result.forces.structure, owner)
    np.testing.assert_array_equal(result.forces.species, symbols)
    assert (result.energy.unit, result.forces.unit, result.stress.unit) == ("eV/atom", "eV/Å", "GPa")
    assert result.n_structures == 7


def test_energy_std_adds_noise_of_the_config_type():
    frames, gap = make_frames(4, seed=2)
    result = evaluate(gap, frames)
    expected = [
        np.sqrt((gap.known[k].energy_std / len(atoms)) ** 2 + ENERGY_NOISE[atoms.info["config_type"]] ** 2)
        for k, atoms in enumerate(frames)
    ]
    np.testing.assert_allclose(result.energy.std, expected)
    assert result.forces.std is None
    assert evaluate(gap, frames, return_std=False).energy.std is None


def test_missing_labels_contribute_no_rows():
    frames, gap = make_frames(5, seed=3)
    results = [atoms.calc.results for atoms in frames]
    _relabel(frames[0], energy=results[0]["energy"])
    _relabel(frames[1], forces=results[1]["forces"])
    frames[2].calc = None
    gap.known[4].stress = None
    result = evaluate(gap, frames)
    assert result.n_structures == 4
    assert result.energy.structure.tolist() == [0, 3, 4]
    assert np.unique(result.forces.structure).tolist() == [1, 3, 4]
    assert result.stress.structure.tolist() == [3] * 6
    energies = [gap.known[k].energy / len(frames[k]) for k in (0, 3, 4)]
    np.testing.assert_allclose(result.energy.predicted, energies)


def test_unlabelled_structures_are_not_predicted():
    frames, gap = make_frames(3, seed=4)
    frames[1].calc = None
    del gap.known[1]
    assert evaluate(gap, frames).energy.structure.tolist() == [0, 2]


def test_kind_without_labels_is_none_everywhere():
    frames, gap = make_frames(4, seed=5)
    frames = [_relabel(atoms, energy=atoms.calc.results["energy"]) for atoms in frames]
    result = evaluate(gap, frames)
    assert result.forces is None
    assert result.stress is None
    summary = json.loads(json.dumps(result.summary()))
    assert summary["forces"] is None
    assert summary["by_config_type"]["bulk"]["stress"] is None
    assert "forces" not in result.table()


def test_summary_equals_scikit_learn():
    frames, gap = make_frames(9, seed=6)
    result = evaluate(gap, frames)
    summary = json.loads(json.dumps(result.summary(), allow_nan=False))
    assert set(summary) == {"energy", "forces", "stress", "by_config_type"}
    assert set(summary["by_config_type"]) == {"bulk", "slab"}
    for kind, factor, unit in (("energy", 1000.0, "meV/atom"), ("forces", 1.0, "eV/Å"), ("stress", 1.0, "GPa")):
        comparison = getattr(result, kind)
        for where, name in ((summary, None), *((summary["by_config_type"][x], x) for x in ("bulk", "slab"))):
            part = comparison if name is None else comparison.select(comparison.config_type == name)
            pair = (part.reference, part.predicted)
            assert where[kind] == {
                "rmse": pytest.approx(factor * root_mean_squared_error(*pair)),
                "mae": pytest.approx(factor * mean_absolute_error(*pair)),
                "max": pytest.approx(factor * max_error(*pair)),
                "n": len(part),
                "unit": unit,
            }


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(6)))
def test_order_of_structures_does_not_matter(order):
    frames, gap = make_frames(6, seed=7)
    expected, got = evaluate(gap, frames).summary(), evaluate(gap, [frames[k] for k in order]).summary()
    for kind in ("energy", "forces", "stress"):
        assert got[kind] == pytest.approx(expected[kind])
        assert got["by_config_type"]["slab"][kind] == pytest.approx(expected["by_config_type"]["slab"][kind])


def test_bootstrap_equals_the_delta_method():
    rng = np.random.default_rng(8)
    structure = np.repeat(np.arange(400), 6)
    error = rng.normal(size=2400) * np.repeat(rng.uniform(0.5, 1.5, 400), 6)
    # RMSE = sqrt(S/N): var(S/N) from the scatter of the sums of squares per structure
    mean_square = np.mean(error**2)
    residual = np.bincount(structure, weights=error**2 - mean_square)
    expected = np.sqrt(np.sum(residual**2)) / len(error) / (2.0 * np.sqrt(mean_square))
    assert rmse_standard_error(_comparison(error, structure)) == pytest.approx(expected, rel=0.08)


def test_bootstrap_counts_structures_not_values():
    rng = np.random.default_rng(9)
    error = np.abs(rng.normal(size=50))
    alone = rmse_standard_error(_comparison(error, np.arange(50)))
    copies = rmse_standard_error(_comparison(np.repeat(error, 30), np.repeat(np.arange(50), 30)))
    assert copies == pytest.approx(alone)
    assert rmse_standard_error(_comparison(np.repeat(error, 30), np.arange(1500))) < 0.3 * alone


def test_bootstrap_is_repeatable_and_needs_two_structures():
    comparison = _comparison([0.1, 0.2, 0.4], [0, 1, 2])
    assert rmse_standard_error(comparison) == rmse_standard_error(comparison)
    assert rmse_standard_error(comparison, seed=1) != rmse_standard_error(comparison)
    assert rmse_standard_error(_comparison([0.1, 0.2], [5, 5])) is None


def test_table_is_aligned_and_tells_the_summary():
    frames, gap = make_frames(8, seed=10, config_types=("bulk", "a long name"))
    result = evaluate(gap, frames)
    lines = result.table().splitlines()
    assert len(lines) == 1 + 3 * 3
    assert {line[lines[0].index("unit") :] for line in lines[1:]} == {"meV/atom", "eV/Å", "GPa"}
    long_name = next(line for line in lines if line.startswith("forces") and "a long name" in line)
    expected = result.summary()["by_config_type"]["a long name"]["forces"]
    words = long_name.split("a long name")[1].split()
    assert float(words[0]) == pytest.approx(expected["rmse"], rel=1e-3)
    assert 0.0 < float(words[1]) < expected["rmse"]
    assert (float(words[2]), float(words[3])) == pytest.approx((expected["mae"], expected["max"]), rel=1e-3)
    assert words[4:] == [str(expected["n"]), "eV/Å"]


def test_table_without_standard_error():
    lone = Evaluation(_comparison([0.003], [0], unit="eV/atom"), None, None, 1)
    assert lone.table().splitlines()[1].split() == ["energy", "(all)", "3", "-", "3", "3", "1", "meV/atom"]


def test_one_structure_may_be_given_bare():
    frames, gap = make_frames(1, seed=11)
    assert len(evaluate(gap, frames[0]).energy) == 1


def test_selection_keeps_rows_together():
    frames, gap = make_frames(6, seed=12)
    energy = evaluate(gap, frames).energy
    part = energy.select(energy.config_type == "slab")
    assert part.structure.tolist() == [1, 3, 5]
    np.testing.assert_array_equal(part.std, energy.std[1::2])
    np.testing.assert_allclose(part.displayed().error, 1000.0 * energy.error[1::2])


def test_nothing_labelled_is_refused():
    with pytest.raises(InputError, match="none of the 0 structures"):
        evaluate(FakeGAP(), [])
    with pytest.raises(InputError, match="none of the 1 structures to evaluate carries an energy, forces or stress"):
        evaluate(FakeGAP(), [Atoms("Si")])


def test_bad_label_is_refused_by_the_number_of_its_frame():
    frames, gap = make_frames(3, seed=14)
    frames[1].calc.results["energy"] = np.nan
    for keys in (None, LabelKeys(energy="energy")):
        with pytest.raises(InputError, match="frame 1: 'energy' has 1 of 1 numbers that are not finite"):
            evaluate(gap, frames, keys=keys)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_prediction_that_is_not_finite_is_refused(bad):
    frames, gap = make_frames(3, seed=13)
    gap.known[2].forces[0, 1] = bad
    with pytest.raises(InputError, match="force prediction of structure 2 is not finite"):
        evaluate(gap, frames)


class RecalibratedGAP(FakeGAP):
    """Multiplies its standard deviations by the factors it carries, as GAP.predict does."""

    recalibration_: Recalibration

    def predict(self, structures, return_std=False):
        p = super().predict(structures, return_std)
        known = self.recalibration_
        pairs = zip(p.forces_std, structures)
        p.forces_std = [std * known.factors("forces", atoms.symbols)[:, None] for std, atoms in pairs]
        p.energy_std = p.energy_std * known.factor("energy")
        p.stress_std = [std * known.factor("stress") for std in p.stress_std]
        return p


def test_std_of_forces_and_stress_adds_the_noise_of_the_label():
    frames, gap = make_frames(5, seed=15)
    result = evaluate(gap, frames, return_std="all")
    forces, stress, owner = [], [], []
    for index, atoms in enumerate(frames):
        known = gap.known[index]
        for a in range(len(atoms)):
            for x in range(3):
                forces.append(np.sqrt(known.forces_std[a, x] ** 2 + 0.05**2))
                owner.append((index, a))
        noise = 0.02 * len(atoms) / abs(np.linalg.det(atoms.cell.array))  # of the virial/V
        for pair in [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]:
            stress.append(np.sqrt(known.stress_std[pair] ** 2 + noise**2) * GPA_PER_EV_A3)
    np.testing.assert_allclose(result.forces.std, forces, rtol=1e-12)
    np.testing.assert_allclose(result.stress.std, stress, rtol=1e-7)
    np.testing.assert_array_equal(np.c_[result.forces.structure, result.forces.atom], owner)
    np.testing.assert_array_equal(result.energy.std, evaluate(gap, frames).energy.std)


def test_std_of_every_kind_is_calibrated_if_the_potential_is():
    frames, gap = make_frames(300, seed=16)
    for comparison in evaluate(gap, frames, return_std="all").comparisons.values():
        found = calibration(comparison)
        assert found.scale == pytest.approx(1.0, abs=4.0 / np.sqrt(2.0 * found.n))


def test_factors_of_the_potential_apply_to_model_and_noise_alike():
    frames, gap = make_frames(40, seed=17)
    plain = evaluate(gap, frames, return_std="all")
    known = fit_recalibration(plain.comparisons, "held-out")
    other, _ = make_frames(30, seed=18)
    scales = {"energy": 2.0, "stress": 0.5, "forces/Si": 3.0, "forces/O": 4.0}
    scaled = RecalibratedGAP(known=make_frames(30, seed=18)[1].known)
    scaled.recalibration_ = Recalibration(scales, known.provenance)
    raw = evaluate(make_frames(30, seed=18)[1], other, return_std="all")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluate(scaled, other, return_std="all")
    np.testing.assert_allclose(found.energy.std, 2.0 * raw.energy.std)
    np.testing.assert_allclose(found.stress.std, 0.5 * raw.stress.std)
    np.testing.assert_allclose(found.forces.std, np.where(raw.forces.species == "Si", 3.0, 4.0) * raw.forces.std)
    scaled.known = gap.known
    with pytest.warns(UserWarning, match="recalibrated on 40 of these structures"):
        evaluate(scaled, frames, return_std="all")


def test_unknown_std_is_refused():
    frames, gap = make_frames(2, seed=19)
    for bad in ("local", "forces", None):
        with pytest.raises(InputError, match="is unknown: use True, False or 'all'"):
            evaluate(gap, frames, return_std=bad)


def test_standard_deviation_that_is_not_finite_is_refused():
    frames, gap = make_frames(3, seed=20)
    gap.known[1].forces_std[0, 1] = np.nan
    with pytest.raises(InputError, match="force standard deviation of structure 1 is not finite"):
        evaluate(gap, frames, return_std="all")


def test_std_of_a_fitted_potential_is_its_own_and_the_noise(gap, frames):
    found, p = evaluate(gap, frames[:3], return_std="all"), gap.predict(frames[:3], return_std="all")
    volume = np.repeat([atoms.get_volume() for atoms in frames[:3]], 6)
    own = [energy / len(atoms) for energy, atoms in zip(p.energy_std, frames)]
    np.testing.assert_allclose(found.energy.std**2, np.square(own) + 0.005**2)
    np.testing.assert_allclose(found.forces.std**2, np.concatenate(p.forces_std).ravel() ** 2 + 0.05**2)
    voigt = np.concatenate([s[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] for s in p.stress_std])
    np.testing.assert_allclose(found.stress.std**2, (voigt**2 + (0.02 * 4 / volume) ** 2) * GPA_PER_EV_A3**2, rtol=1e-7)
