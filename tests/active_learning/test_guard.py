"""The guard warns, stops and keeps structures at the very steps that an unguarded run shows."""

from __future__ import annotations

import copy
import pickle
import warnings
from itertools import count

import numpy as np
import pytest
from ase import units
from ase.calculators.emt import EMT
from ase.calculators.mixing import SumCalculator
from ase.io import read
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from example_structures import alloy, labelled
from expected_warnings import CLOSER, extrapolation, none_too_close

from gapkit import GAP, GAPCalculator, InputError
from gapkit.active_learning.guard import QUANTITIES, Thresholds, UncertaintyGuard, deviations, guard_thresholds
from gapkit.errors import Excess, ExtrapolationWarning, UncertaintyError


def on(atoms, gap, **options):
    """A copy with a calculator."""
    out = atoms.copy()
    out.info.clear()
    out.calc = GAPCalculator(gap, **options)
    return out


def breathing(gap, **options):
    """A rattled crystal that is pushed apart, where the potential is less certain, and comes back."""
    atoms = on(alloy(3), gap, **options)
    atoms.set_momenta(atoms.get_masses()[:, None] * 0.05 * (atoms.positions - atoms.positions.mean(axis=0)))
    return atoms


def largest(gap, atoms, quantity: str) -> tuple[int, float]:
    """Independent of the guard: worst atom and its number from `GAP.predict`."""
    with extrapolation(gap, atoms):
        p = gap.predict(atoms, "all")
    numbers = {
        "local_energies": p.local_energies_std[0],
        "forces": np.sqrt(np.sum(p.forces_std[0] ** 2, axis=1)),
        "energy": p.energy_std,
    }[quantity]
    return int(np.argmax(numbers)), float(np.max(numbers))


def path_of(gap, quantity: str, n: int = 40) -> tuple[list, list[tuple[int, float]]]:
    """Structures and worst numbers of an unguarded run, which comes too close for the data on its way."""
    atoms, run = breathing(gap), []
    dynamics = VelocityVerlet(atoms, 2 * units.fs)
    dynamics.attach(lambda: run.append(atoms.copy()))
    with pytest.warns(ExtrapolationWarning, match=CLOSER):
        dynamics.run(n)
    return run, [largest(gap, frame, quantity) for frame in run]


# -- in dynamics ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_constant_energy_run_is_warned_of_and_stopped(gap, quantity, tmp_path):
    """At the very steps that an unguarded run shows to be the first at or above each threshold."""
    run, numbers = path_of(gap, quantity)
    std = np.array([value for _, value in numbers])
    records = np.flatnonzero(np.diff(np.maximum.accumulate(std))) + 1  # steps that are above all before
    warned_at, stopped_at = int(records[len(records) // 4]), int(records[3 * len(records) // 4])
    warn, stop = (0.5 * (std[k] + std[:k].max()) for k in (warned_at, stopped_at))
    assert 0 < warned_at < stopped_at < len(run) - 1

    atoms = breathing(gap)
    dynamics = VelocityVerlet(atoms, 2 * units.fs)
    guard = UncertaintyGuard(atoms, warn, stop, quantity, dynamics=dynamics, file=tmp_path / "to_label.xyz")
    dynamics.attach(guard)
    with (
        extrapolation(gap, run[: stopped_at + 1]),
        pytest.warns(UserWarning, match=rf"^at step {warned_at}: ") as caught,
        pytest.raises(UncertaintyError) as end,
    ):
        dynamics.run(len(run))
    assert len([w for w in caught if w.category is not ExtrapolationWarning]) == 1
    assert dynamics.nsteps == stopped_at
    np.testing.assert_allclose(atoms.positions, run[stopped_at].positions, atol=1e-9)

    worst, value = numbers[stopped_at]
    _, unit, words = QUANTITIES[quantity]
    whose = atoms.get_chemical_formula() if quantity == "energy" else f"atom {worst} ({atoms.symbols[worst]})"
    told = f"at step {stopped_at}: the standard deviation {words} {whose} is {value:.4g} {unit}, not below"
    assert told in str(end.value)
    assert f"the threshold of {stop:.4g} {unit}" in str(end.value)
    assert f"the threshold of {warn:.4g} {unit}" in str(caught[0].message)
    assert str(end.value).count(".") - sum(f"{x:.4g}".count(".") for x in (value, stop)) == 1  # one sentence

    assert end.value.atoms is guard.frames[-1]
    excess = end.value.excess
    assert excess == guard.excesses[-1]
    assert excess.std == pytest.approx(value, rel=1e-6)
    assert (excess.step, excess.threshold) == (stopped_at, stop)
    assert (excess.atom, excess.symbol) == ((None, None) if quantity == "energy" else (worst, atoms.symbols[worst]))
    assert [e.step for e in guard.excesses] == [k for k in range(stopped_at + 1) if std[k] >= warn]
    written = read(tmp_path / "to_label.xyz", ":")
    for frame, kept, e in zip(written, guard.frames, guard.excesses, strict=True):
        np.testing.assert_allclose(kept.positions, run[e.step].positions, atol=1e-9)
        np.testing.assert_allclose(frame.positions, kept.positions, atol=1e-7)
        assert kept.calc is frame.calc is None  # the potential's own numbers are no labels
        assert frame.info["step"] == e.step
        assert frame.info.get("uncertain_atom") == e.atom
        with extrapolation(gap, kept):
            expected = gap.predict(kept, "local").local_energies_std[0]
        np.testing.assert_allclose(frame.arrays["local_energies_std"], expected, rtol=1e-5, atol=1e-7)


def test_what_it_kept_can_be_labelled_and_learned(gap, frames):
    """The circle closes: with the structure that stopped it the potential is more certain there.

    Its label alone does little: much of this deviation is what the sparse points cannot express. What is left of it
    cannot be more than the noise of the labels, √3 · 0.05 eV/Å.
    """
    atoms = breathing(gap)
    dynamics = VelocityVerlet(atoms, 2 * units.fs)
    stop = 0.9 * max(value for _, value in path_of(gap, "forces", 30)[1])
    guard = UncertaintyGuard(atoms, 1e-6, stop, "forces", dynamics=dynamics)
    dynamics.attach(guard, interval=5)
    with (
        pytest.warns(ExtrapolationWarning, match=CLOSER),
        pytest.warns(UserWarning, match="at step 0"),
        pytest.raises(UncertaintyError) as end,
    ):
        dynamics.run(30)
    assert end.value.excess.step in (15, 20, 25)
    new = labelled(end.value.atoms)
    fed = copy.copy(gap).partial_fit([new])
    learned = copy.copy(fed).add_sparse_points([*frames, new], 4, candidates=[new])
    before, half, after = (largest(g, new, "forces")[1] for g in (gap, fed, learned))
    assert after < np.sqrt(3) * 0.05 < half <= before


def test_a_run_within_its_data_is_left_alone(gap):
    atoms, free = breathing(gap), breathing(gap)
    dynamics = VelocityVerlet(atoms, 2 * units.fs)
    guard = UncertaintyGuard(atoms, 10.0, 20.0, dynamics=dynamics)
    dynamics.attach(guard, interval=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dynamics.run(10)
    VelocityVerlet(free, 2 * units.fs).run(10)
    np.testing.assert_array_equal(atoms.positions, free.positions)
    assert guard.frames == guard.excesses == []


def test_relaxations_are_guarded_too(gap):
    atoms = on(alloy(3, rattle=0.3), gap)
    with BFGS(atoms, logfile=None) as optimiser:
        optimiser.attach(UncertaintyGuard(atoms, 1e-6, 1e-5, dynamics=optimiser))
        with (
            pytest.warns(ExtrapolationWarning, match=CLOSER),
            pytest.raises(UncertaintyError, match="stopped at step 0: "),
        ):
            optimiser.run(fmax=0.01, steps=5)


def test_it_costs_nothing_with_per_atom_std(gap, monkeypatch):
    asked, predict = [], GAP.predict

    def counting(self, structures, return_std=False, *args, **kwargs):
        asked.append(return_std)
        return predict(self, structures, return_std, *args, **kwargs)

    monkeypatch.setattr(GAP, "predict", counting)
    for options, expected in (({"per_atom_std": True}, {"local"}), ({}, {False, "local"})):
        atoms = breathing(gap, **options)
        dynamics = VelocityVerlet(atoms, 1 * units.fs)
        dynamics.attach(UncertaintyGuard(atoms, 10.0, 20.0, dynamics=dynamics), interval=5)
        asked.clear()
        dynamics.run(10)
        assert set(asked) == expected
        assert len(asked) == (11 if options else 11 + 3)  # steps 0 … 10; without, checks at 0, 5 and 10


# -- when it warns and what it keeps --------------------------------------------------------------------------------


def test_it_warns_once_each_time_the_threshold_is_passed(gap):
    near, far = alloy(3).positions, alloy(3, rattle=0.4).positions
    atoms = on(alloy(3), gap)
    low, high = (largest(gap, on(alloy(3, rattle=r), gap), "local_energies")[1] for r in (0.1, 0.4))
    assert low < high
    guard = UncertaintyGuard(atoms, high, np.inf, keep=2)
    told = []
    for positions in (near, far, far, near, far):
        atoms.positions[:] = positions
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            guard()
        told += [str(w.message).split(":")[0] for w in caught if w.category is not ExtrapolationWarning]
    assert told == ["at check 1", "at check 4"]
    assert [e.step for e in guard.excesses] == [1, 2]  # no more than `keep`


def test_the_structure_that_stops_is_kept_whatever_the_limit(gap):
    atoms = on(alloy(3), gap)
    guard = UncertaintyGuard(atoms, 1e-6, 1e-6, keep=0)
    with pytest.raises(UncertaintyError, match="at check 0"):
        guard()
    assert len(guard.frames) == 1


def test_thresholds_count_as_passed_when_met(gap):
    """ "At or above": a threshold equal to the number itself."""
    atoms = on(alloy(3), gap)
    number = deviations(atoms.calc.uncertainty(atoms, "local"), "local_energies").max()
    with pytest.raises(UncertaintyError):
        UncertaintyGuard(atoms, number, number)()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        UncertaintyGuard(atoms, np.nextafter(number, np.inf), np.inf)()


def test_odd_things_in_info_do_not_break_the_file(gap, tmp_path):
    atoms = on(alloy(3), gap)
    atoms.info |= {"occupancy": {"0": {"Cu": 1.0}}, "name": "a", 3: "x"}
    with pytest.raises(UncertaintyError) as end:
        UncertaintyGuard(atoms, 1e-6, 1e-6, file=tmp_path / "a.xyz")()
    assert read(tmp_path / "a.xyz").info["name"] == "a"
    assert set(atoms.info) - set(end.value.atoms.info) == {"occupancy", 3}


def test_the_exception_can_be_sent_between_processes(gap):
    atoms = on(alloy(3), gap)
    with pytest.raises(UncertaintyError) as end:
        UncertaintyGuard(atoms, 1e-6, 1e-6)()
    again = pickle.loads(pickle.dumps(end.value))
    assert str(again) == str(end.value)
    assert again.excess == end.value.excess
    assert again.atoms == end.value.atoms
    assert not isinstance(end.value, InputError)


def test_a_sum_of_calculators_is_guarded_through_its_part(gap):
    atoms = alloy(3)
    mine = GAPCalculator(gap)
    atoms.calc = SumCalculator([mine, EMT()])
    with pytest.raises(InputError, match="needs a GAPCalculator, got SumCalculator"):
        UncertaintyGuard(atoms, 0.1, 0.2)
    with pytest.raises(UncertaintyError):
        UncertaintyGuard(atoms, 1e-6, 1e-6, calculator=mine)()


# -- thresholds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_thresholds_are_quantiles_of_the_largest_deviations(gap, frames, quantity):
    frames = frames[:10]  # no isolated atoms
    values = [largest(gap, atoms, quantity)[1] for atoms in frames]
    assert guard_thresholds(gap, frames, quantity, (0.0, 1.0)) == pytest.approx((min(values), max(values)), rel=1e-6)
    found = guard_thresholds(gap, frames, quantity, (0.5, 0.5), factor=3.0)
    assert isinstance(found, Thresholds)
    assert found == pytest.approx(2 * [3.0 * np.median(values)], rel=1e-6)
    # none of the training frames is stopped for, unless round-off decides
    warn, stop = guard_thresholds(gap, frames, quantity, factor=1.0 + 1e-6)
    for atoms in frames:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            UncertaintyGuard(on(atoms, gap), warn, stop, quantity)()


def test_frames_without_uncertainty_make_no_thresholds(gap, frames):
    """The force on an isolated atom is known to be zero."""
    with pytest.raises(InputError, match=r"the quantile 0\.95 of these 2 frames is zero, as .*: leave such frames out"):
        guard_thresholds(gap, frames[-2:], "forces")


def test_thresholds_are_those_of_the_recalibrated_model(gap, frames):
    new = none_too_close(gap, (labelled(alloy(100 + k)) for k in count()), 20)
    honest = copy.copy(gap).recalibrate(new)
    scale = honest.recalibration_.scales["energy"]
    expected = [scale * x for x in guard_thresholds(gap, frames)]
    assert guard_thresholds(honest, frames) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantity": "force"}, r"nothing called 'force' can be guarded \(did you mean 'forces'\?\)"),
        ({"frames": []}, "thresholds need frames"),
        ({"quantiles": (0.9, 0.5)}, r"quantiles \(0.9, 0.5\) and factor 1.0 make no thresholds"),
        ({"quantiles": (0.9, 95)}, "two rising numbers from 0 to 1"),
        ({"quantiles": (np.nan, 1.0)}, "two rising numbers from 0 to 1"),
        ({"quantiles": (0.9,)}, r"quantiles \(0.9,\) and factor 1.0 make no thresholds"),
        ({"quantiles": 0.9}, "quantiles 0.9 and factor 1.0 make no thresholds"),
        ({"quantiles": (0.9, None)}, "two rising numbers from 0 to 1"),
        ({"quantiles": "01"}, "two rising numbers from 0 to 1"),
        ({"factor": "2"}, "factor 2 make no thresholds"),
        ({"factor": None}, "factor None make no thresholds"),
        ({"factor": 0.0}, "factor 0.0 make no thresholds"),
        ({"factor": np.inf}, "factor inf make no thresholds"),
    ],
)
def test_impossible_quantiles_are_refused(gap, frames, change, message):
    with pytest.raises(InputError, match=message):
        guard_thresholds(**({"gap": gap, "frames": frames} | change))


@pytest.mark.parametrize("thresholds", [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (1.0, np.nan), ("a", 1.0)])
def test_impossible_thresholds_are_refused(gap, thresholds):
    with pytest.raises(InputError, match=r"eV/Å must be positive, the first not above the second"):
        UncertaintyGuard(on(alloy(3), gap), *thresholds, "forces")


def test_impossible_guards_are_refused(gap, tmp_path):
    atoms = on(alloy(3), gap)
    with pytest.raises(InputError, match="nothing called 'energies' can be guarded"):
        UncertaintyGuard(atoms, 0.1, 0.2, "energies")
    with pytest.raises(InputError, match="because the folder"):
        UncertaintyGuard(atoms, 0.1, 0.2, file=tmp_path / "no" / "a.xyz")
    with pytest.raises(InputError, match=r"needs a GAPCalculator, got NoneType: set atoms\.calc first"):
        UncertaintyGuard(alloy(3), 0.1, 0.2)


def test_deviations_of_forces_are_lengths(gap):
    found = GAPCalculator(gap).uncertainty(alloy(3))
    expected = [np.sqrt(x**2 + y**2 + z**2) for x, y, z in found.forces_std]
    np.testing.assert_allclose(deviations(found, "forces"), expected, rtol=1e-14)
    assert deviations(found, "energy").tolist() == [found.energy_std]
    assert Excess._fields == ("step", "atom", "symbol", "std", "threshold")
