"""Potentials on top of physics that is known already."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import write
from copper_models import TERMS, largest_difference, model, refit
from expected_warnings import extrapolation, overlap
from labelled_frames import copper_frames
from run_gapkit import assert_refused, gapkit

from gapkit import GAP, InputError
from gapkit.baselines import ZBL, Calculator
from gapkit.structures.frames import labelled_frames

EMT_BASELINE = Calculator("ase.calculators.emt:EMT")


@pytest.fixture(scope="module")
def frames():
    return copper_frames(12)


@pytest.fixture(scope="module")
def gap(frames):
    with overlap():
        return model(baseline=[ZBL(["Cu"], inner=1.0, outer=2.6)]).fit(frames)


def test_repulsion_at_training_distances_is_told(frames):
    with pytest.warns(UserWarning, match=r"Cu-Cu at \d\.\d+ Å \(\d.* eV, outer radius 2\.600 Å\).*from_structures"):
        model(baseline=[ZBL(["Cu"], inner=1.0, outer=2.6)]).fit(frames)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(baseline=[ZBL.from_structures(frames), ZBL(["Cu"])]).fit(frames)


def test_labels_that_are_the_baseline_come_back(frames):
    found = model(baseline=[EMT_BASELINE], e0={"Cu": 0.0}).fit(frames)
    p = found.predict(frames)
    np.testing.assert_allclose(p.energy, [a.calc.results["energy"] for a in frames], atol=1e-9)
    for forces, stress, atoms in zip(p.forces, p.stress, frames):
        np.testing.assert_allclose(forces, atoms.calc.results["forces"], atol=1e-9)
        if "stress" in atoms.calc.results:
            full = atoms.calc.results["stress"][[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
            np.testing.assert_allclose(stress, full, atol=1e-10)


def test_forces_and_stress_are_derivatives_of_the_sum(gap, frames):
    atoms, h = frames[1].copy(), 1e-4
    p = gap.predict(atoms)
    for k, a in ((0, 0), (2, 1)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[k, a] += sign * h
            energies.append(gap.predict(moved).energy[0])
        assert p.forces[0][k, a] == pytest.approx(-(energies[0] - energies[1]) / (2 * h), abs=1e-5)
    energies = []
    for sign in (1, -1):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ (np.eye(3) + sign * h * np.diag([1.0, 0.0, 0.0])), scale_atoms=True)
        energies.append(gap.predict(strained).energy[0])
    slope = (energies[0] - energies[1]) / (2 * h) / atoms.get_volume()
    assert p.stress[0][0, 0] == pytest.approx(slope, abs=1e-6)


def test_atoms_that_meet_feel_the_baseline(gap):
    def force(d):
        dimer = Atoms("Cu2", [[0, 0, 0], [0, 0, d]])
        with extrapolation(gap, dimer):
            return gap.predict(dimer).forces[0][1, 2]

    bare = ZBL(["Cu"], inner=1.0, outer=2.6)
    for d in (0.5, 0.8):
        known = bare.evaluate(Atoms("Cu2", [[0, 0, 0], [0, 0, d]])).forces[1, 2]
        assert force(d) > 0.5 * known > 50


def test_updates_and_files_keep_the_baseline(gap, frames, tmp_path):
    with overlap():
        grown = model(baseline=gap.baseline).fit(frames[:8]).partial_fit(frames[8:])
    assert largest_difference(grown, refit_on(grown, frames), frames[:3]) < 1e-8
    with overlap():
        shrunk = model(baseline=gap.baseline).fit(frames).remove(frames[8:])
    assert largest_difference(shrunk, refit_on(shrunk, frames[:8]), frames[:3]) < 1e-8
    gap.save(tmp_path / "a.gap", updatable=True)
    loaded = GAP.load(tmp_path / "a.gap")
    assert loaded.baseline_ == gap.baseline_
    assert largest_difference(loaded, gap, frames) == 0.0
    assert largest_difference(loaded.add_sparse_points(frames, 3), loaded, frames[:2]) == 0.0


def refit_on(gap, frames):
    from gapkit.baselines.residual_labels import less_baseline

    new = refit(gap.recipe_, less_baseline(labelled_frames(frames), gap.baseline_))
    new.baseline_ = gap.baseline_
    return new


def test_left_out_frames_lose_the_baseline_too(gap, frames):
    from gapkit.evaluation.leave_one_out import leave_one_out

    found = leave_one_out(gap, frames)
    assert np.abs(found.comparisons["forces"].reference - found.comparisons["forces"].predicted).max() < 5.0


@pytest.mark.parametrize("wrong", [3, "ZBL", [TERMS[0]]])
def test_what_is_no_baseline_is_refused(frames, wrong):
    with pytest.raises(InputError, match="baseline"):
        model(baseline=wrong).fit(frames[:3])


def test_a_harmless_calculator_is_imported_on_loading(frames, tmp_path):
    gap = model(baseline=[EMT_BASELINE]).fit(frames[:7])  # as many environments as sparse points
    gap.save(tmp_path / "a.gap")
    loaded = GAP.load(tmp_path / "a.gap")
    assert loaded.baseline_ == (EMT_BASELINE,)
    assert largest_difference(loaded, gap, frames[:2]) == 0.0


class Touchy(EMT):
    """Refuses dimers."""

    def calculate(self, atoms=None, *arguments):
        if len(atoms) == 2:
            raise RuntimeError("no dimers")
        super().calculate(atoms, *arguments)


def test_a_frame_that_a_baseline_refuses_is_named_by_its_number(frames, tmp_path, monkeypatch):
    dimer = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]])
    dimer.calc = EMT()
    dimer.get_forces()
    touchy = Calculator(f"{__name__}:Touchy")
    refusal = f"the baseline {__name__}:Touchy fails for Cu2"
    larger = [atoms for atoms in frames if len(atoms) != 2]
    with pytest.raises(InputError, match=f"^frame 2: {refusal}"):
        model(baseline=[touchy]).fit([*larger[:2], dimer])
    gap = model(baseline=[touchy]).fit(larger)
    with pytest.raises(InputError, match=f"^structure 2: {refusal}"):
        gap.predict([*larger[:2], dimer])
    with pytest.raises(InputError, match=f"^{refusal}"):
        gap.predict(dimer)
    gap.save(tmp_path / "a.gap")
    write(tmp_path / "b.xyz", [*larger[:3], dimer])
    arguments = ("predict", tmp_path / "a.gap", tmp_path / "b.xyz", "-o", tmp_path / "c.xyz")
    assert_refused(gapkit(*arguments), "GAPKIT_TRUSTED_CALCULATORS")
    monkeypatch.setenv("GAPKIT_TRUSTED_CALCULATORS", f"{__name__}:Touchy")
    assert_refused(gapkit(*arguments), f"frame 3: {refusal}")
