"""A model whose standard deviations were recalibrated: its predictions, its evaluation and its file."""

from __future__ import annotations

import copy
import pickle
import warnings
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from ase.io import write
from example_structures import alloy, labelled, structures
from expected_warnings import none_too_close
from sklearn.base import clone

from gapkit import GAP, InputError, evaluate
from gapkit.evaluation.calibration import z_scores
from gapkit.evaluation.conformal import fit_conformal
from gapkit.evaluation.recalibration import Recalibration, fit_recalibration
from gapkit.potential import ensemble as ensembles
from gapkit.report.model_card import describe_model
from gapkit.runtime.archive import read_model, write_model
from gapkit.structures.labels import LabelKeys
from gapkit.uncertainty.extrapolation import extrapolation


@pytest.fixture(scope="module")
def held_out(gap):
    return none_too_close(gap, (labelled(alloy(100 + k, rattle=0.12)) for k in count()), 24)


@pytest.fixture(scope="module")
def honest(gap, held_out) -> GAP:
    """The shared potential, recalibrated."""
    return copy.copy(gap).recalibrate(held_out, source="alloys")


@pytest.fixture
def changed(honest) -> GAP:
    """A copy to be changed."""
    return copy.copy(honest)


# -- what the factors do --------------------------------------------------------------------------------------------


def test_every_standard_deviation_has_its_factor_and_nothing_else_changes(gap, honest):
    for atoms in structures().values():
        raw, p = gap.predict(atoms, return_std="all"), honest.predict(atoms, return_std="all")
        scales = honest.recalibration_.scales
        np.testing.assert_allclose(p.energy_std, scales["energy"] * raw.energy_std, rtol=1e-14)
        np.testing.assert_allclose(p.local_energies_std[0], scales["energy"] * raw.local_energies_std[0], rtol=1e-14)
        for symbol in set(atoms.symbols):
            of = atoms.symbols == symbol
            expected = scales[f"forces/{symbol}"] * raw.forces_std[0][of]
            np.testing.assert_allclose(p.forces_std[0][of], expected, rtol=1e-14)
        assert (p.stress_std[0] is None) == (raw.stress_std[0] is None)
        if raw.stress_std[0] is not None:
            np.testing.assert_allclose(p.stress_std[0], scales["stress"] * raw.stress_std[0], rtol=1e-14)
        for ours, theirs in zip((p.energy, p.forces, p.local_energies), (raw.energy, raw.forces, raw.local_energies)):
            np.testing.assert_array_equal(ours[0], theirs[0])
    assert len({round(scale, 6) for scale in scales.values()}) == len(scales) == 4  # mixed-up factors would show
    local = gap.predict(alloy(1), "local").local_energies_std[0]
    np.testing.assert_allclose(
        honest.predict(alloy(1), "local").local_energies_std[0], scales["energy"] * local, rtol=1e-14
    )


def test_the_data_of_the_factors_have_z_scores_of_size_one(honest, held_out):
    """Model and noise both carry the factor: only then is the mean of z² one for each kind and species."""
    with pytest.warns(UserWarning, match="judge their calibration on other data") as caught:
        found = evaluate(honest, held_out, "all").comparisons
    assert len(caught) == 3
    for kind in ("energy", "stress"):
        assert np.mean(z_scores(found[kind]) ** 2) == pytest.approx(1.0, rel=1e-9)
    for symbol in ("Cu", "Au"):
        forces = found["forces"].select(found["forces"].species == symbol)
        assert np.mean(z_scores(forces) ** 2) == pytest.approx(1.0, rel=1e-9)


def test_other_data_are_evaluated_without_a_warning(gap, honest):
    others = [labelled(alloy(200 + k)) for k in range(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluate(honest, others, "all").comparisons
    applied = honest.recalibration_.apply(evaluate(gap, others, "all").comparisons)
    for kind, comparison in found.items():
        np.testing.assert_allclose(comparison.std, applied[kind].std, rtol=1e-12)


def test_noises_stay_those_of_the_fit(gap, honest):
    assert [honest.noise_std(kind) for kind in ("energy", "forces", "virial")] == [0.005, 0.05, 0.02]
    assert honest.get_params() == gap.get_params()
    assert gap.recalibration_ is None


def test_a_second_recalibration_starts_from_the_model_itself(honest, changed, held_out):
    assert changed.recalibrate(held_out).recalibration_.scales == honest.recalibration_.scales
    again = changed.recalibrate(held_out[:22]).recalibration_
    assert again.scales != honest.recalibration_.scales
    assert (honest.recalibration_.provenance.data, again.provenance.data) == ("alloys", "")


def test_factors_move_no_environment_beyond_the_training_range(gap, honest):
    np.testing.assert_allclose(extrapolation(honest, alloy(1)).spread, extrapolation(gap, alloy(1)).spread, rtol=1e-12)
    assert honest.recalibration_.factor("energy") != pytest.approx(1.0, rel=1e-3)


def test_samples_come_from_the_posterior(gap, honest):
    ours, theirs = honest.sample(3, 7), ensembles.sample(gap, 3, np.random.default_rng(7))
    np.testing.assert_array_equal(ours.weights, theirs.weights)
    np.testing.assert_array_equal(gap.sample(3).weights, gap.sample(3, 0).weights)
    with pytest.raises(InputError, match="n = 0 members"):
        gap.sample(0)
    member = ours.member(0).predict(alloy(1), True)
    np.testing.assert_allclose(member.energy_std, honest.predict(alloy(1), True).energy_std, rtol=1e-9)


def test_the_model_card_tells(gap, honest):
    card = describe_model(honest)
    assert card["Recalibrated on"].startswith("held-out labels, alloys, 20")
    assert f"forces/Au {honest.recalibration_.scales['forces/Au']:.6g}" in card["Factors on standard deviations"]
    assert not {"Recalibrated on", "Factors on standard deviations"} & set(describe_model(gap))


# -- from which data ------------------------------------------------------------------------------------------------


def test_comparisons_do_as_well_as_frames(gap, honest, held_out):
    comparisons = evaluate(gap, held_out, "all").comparisons
    left_out = copy.copy(gap).recalibrate(comparisons, "leave-one-out").recalibration_
    assert left_out.scales == pytest.approx(honest.recalibration_.scales)
    assert left_out.provenance.how == "leave-one-out"
    only = {"energy": comparisons["energy"]}
    energies = copy.copy(gap).recalibrate(only)
    assert list(energies.recalibration_.scales) == ["energy"]
    p, raw = (g.predict(alloy(1), "all") for g in (energies, gap))
    np.testing.assert_array_equal(p.forces_std[0], raw.forces_std[0])
    np.testing.assert_array_equal(p.stress_std[0], raw.stress_std[0])


def test_training_frames_left_out_one_by_one_do(gap):
    """The factors are those of refits without each frame, with the sparse points, e0 and noises of the model."""
    train = [labelled(alloy(k)) for k in range(24)]
    model = GAP(gap.terms, 0.005, 0.05, 0.02, e0=gap.e0_, verbose=False).fit(train)
    model.recalibrate(train, "leave-one-out", source="train.xyz")
    z2 = []
    for frame in train:
        model_without = copy.copy(model)
        model_without.recalibration_ = None
        z2.append(z_scores(evaluate(model_without.remove([frame]), [frame], "all").energy)[0] ** 2)
    assert model.recalibration_.scales["energy"] == pytest.approx(np.sqrt(np.mean(z2)), rel=1e-5)
    origin = model.recalibration_.provenance
    assert (origin.how, origin.data, origin.fits["energy"].n) == ("leave-one-out", "train.xyz", 24)
    once = model.recalibration_.scales
    assert model.recalibrate(train, "leave-one-out").recalibration_.scales == once
    with pytest.raises(InputError, match="24 of the 24 frames to recalibrate on are training frames"):
        model.recalibrate(train)


def test_frames_in_a_file_and_under_other_names_do(gap, honest, held_out, tmp_path):
    named = []
    for atoms in held_out:
        copied = atoms.copy()
        copied.info |= {"DFT_energy": atoms.get_potential_energy(), "DFT_stress": atoms.get_stress(voigt=False)}
        copied.arrays["DFT_forces"] = atoms.get_forces()
        named.append(copied)
    write(tmp_path / "a.extxyz", named)
    keys = LabelKeys("DFT_energy", "DFT_forces", "DFT_stress", None)
    for data in (named, tmp_path / "a.extxyz", str(tmp_path / "a.extxyz")):
        for given in (None, keys):
            scales = copy.copy(gap).recalibrate(data, keys=given).recalibration_.scales
            assert scales == pytest.approx(honest.recalibration_.scales, rel=1e-5)


def test_comparisons_that_may_hold_factors_are_refused(changed, held_out):
    with pytest.warns(UserWarning, match="judge their calibration on other data"):
        found = evaluate(changed, held_out, "all").comparisons
    before = changed.recalibration_
    with pytest.raises(InputError, match="set recalibration_ = None and compare again, or give labelled frames"):
        changed.recalibrate(found)
    assert changed.recalibration_ is before
    changed.recalibration_ = None
    assert changed.recalibrate(evaluate(changed, held_out, "all").comparisons).recalibration_.scales == before.scales


def test_training_frames_are_refused(gap, changed, frames, held_out):
    before = changed.recalibration_
    with pytest.raises(InputError, match="2 of the 26 frames to recalibrate on are training frames"):
        changed.recalibrate([*held_out, frames[0], frames[3]])
    assert changed.recalibration_ is before


def test_wrong_requests_are_refused_before_any_work(gap, held_out, monkeypatch):
    monkeypatch.setattr(GAP, "predict", lambda *a, **k: pytest.fail("predicted"))
    mine = copy.copy(gap)
    with pytest.raises(InputError, match="must be 'held-out' or 'leave-one-out', got 'training'"):
        mine.recalibrate(held_out, "training")
    with pytest.raises(InputError, match=r"frame 0 .* is not among the training frames"):
        mine.recalibrate(held_out, "leave-one-out")
    with pytest.raises(ValueError, match="not fitted"):
        GAP(gap.terms).recalibrate(held_out)
    assert mine.recalibration_ is None


def test_too_few_frames_leave_the_model_as_it_was(gap, held_out):
    mine = copy.copy(gap)
    with pytest.raises(InputError, match="energy: 7 values of 7 structures are too few"):
        mine.recalibrate(held_out[:7])
    assert mine.recalibration_ is None


# -- what becomes of them -------------------------------------------------------------------------------------------


def test_a_fit_drops_the_factors(changed, frames):
    assert changed.fit(frames).recalibration_ is None
    assert clone(changed).recalibration_ is None


def test_a_changed_model_keeps_them_and_warns(honest, frames, held_out):
    day = honest.recalibration_.provenance.date
    changes = {
        "partial_fit": lambda g: g.partial_fit(held_out[:1]),
        "remove": lambda g: g.remove(frames[:1]),
        "add_sparse_points": lambda g: g.add_sparse_points(frames, 1),
    }
    for name, change in changes.items():
        mine = copy.copy(honest)
        with pytest.warns(UserWarning, match=rf"\(on {day}\) and are kept: recalibrate again") as caught:
            change(mine)
        assert [w.filename for w in caught] == [__file__], name
        assert mine.recalibration_ == honest.recalibration_
        assert not np.array_equal(mine.alpha_, honest.alpha_)


def test_a_changed_model_without_factors_does_not_warn(gap, held_out):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        changed = copy.copy(gap).partial_fit(held_out[:1])
    assert not np.array_equal(changed.alpha_, gap.alpha_)


def test_factors_are_kept_in_the_model_file(honest, tmp_path):
    honest.save(tmp_path / "m.gap")
    for again in (GAP.load(tmp_path / "m.gap"), pickle.loads(pickle.dumps(honest))):
        assert again.recalibration_ == honest.recalibration_
        p, q = (g.predict(structures()["slab"], "all") for g in (honest, again))
        for name in ("energy_std", "local_energies_std", "forces_std", "stress_std"):
            np.testing.assert_array_equal(getattr(p, name)[0], getattr(q, name)[0])


def test_files_without_factors_load(gap, tmp_path):
    gap.save(tmp_path / "m.gap")
    header, arrays = read_model(tmp_path / "m.gap")
    assert header["recalibration"] is None
    assert GAP.load(tmp_path / "m.gap").recalibration_ is None
    del header["recalibration"]  # as written before there were any
    write_model(tmp_path / "old.gap", header, arrays)
    old = GAP.load(tmp_path / "old.gap")
    assert old.recalibration_ is None
    np.testing.assert_array_equal(old.predict(alloy(1), True).energy_std, gap.predict(alloy(1), True).energy_std)


@pytest.mark.parametrize("damage", [{"scales": {"energy": -1.0}}, {"provenance": {}}])
def test_damaged_factors_are_refused(honest, tmp_path, damage):
    honest.save(tmp_path / "m.gap")
    header, arrays = read_model(tmp_path / "m.gap")
    header["recalibration"] |= damage
    write_model(tmp_path / "m.gap", header, arrays)
    with pytest.raises(InputError, match="stored"):
        GAP.load(tmp_path / "m.gap")


def test_a_species_without_factor_has_the_largest(gap, held_out):
    """Forces of gold left out of the data: they get copper's factor, not one."""
    comparisons = evaluate(gap, held_out, "all").comparisons
    copper = comparisons["forces"].select(comparisons["forces"].species == "Cu")
    mine = copy.copy(gap).recalibrate({"forces": replace(copper, std=0.25 * copper.std)})
    assert isinstance(mine.recalibration_, Recalibration)
    assert (
        mine.recalibration_.scales
        == fit_recalibration({"forces": replace(copper, std=0.25 * copper.std)}, "held-out").scales
    )
    p, raw = (g.predict(alloy(1), "all").forces_std[0] for g in (mine, gap))
    np.testing.assert_allclose(p, mine.recalibration_.scales["forces/Cu"] * raw, rtol=1e-14)


def test_conformal_intervals_travel_with_the_model(gap, frames, held_out, tmp_path):
    gap, found = copy.copy(gap), evaluate(gap, held_out, "all").comparisons
    gap.conformal_ = {
        "energy": fit_conformal(found["energy"], target="structure"),
        "forces": fit_conformal(found["forces"], by="species"),
    }
    gap.save(tmp_path / "m.gap")
    loaded = GAP.load(tmp_path / "m.gap")
    assert describe_model(loaded)["Conformal intervals of"] == "energy, forces"
    for kind, intervals in gap.conformal_.items():
        one, other = (g.conformal_[kind].intervals(found[kind], 0.8) for g in (loaded, gap))
        np.testing.assert_array_equal(one.lower, other.lower)
        np.testing.assert_array_equal(one.upper, intervals.intervals(found[kind], 0.8).upper)
    assert loaded.conformal_["forces"].by == "species"
    assert loaded.recalibrate(held_out).conformal_ == {}  # other deviations, other intervals
    assert gap.remove(frames[:1]).conformal_ == {}
