"""All training frames left out in one pass: equal to refits without them, and usable wherever an evaluation is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from copper_models import model, refit
from labelled_frames import copper_frames

from gapkit import GAP, SOAP, DotProduct, InputError, Term
from gapkit.datasets import load_silicon
from gapkit.evaluation.calibration import calibration, calibration_by
from gapkit.evaluation.compare import evaluate
from gapkit.evaluation.conformal import fit_conformal
from gapkit.evaluation.leave_one_out import leave_one_out
from gapkit.evaluation.recalibration import fit_recalibration
from gapkit.model_selection.search import left_out_score
from gapkit.quantities import COMPARED
from gapkit.structures.reference_energies import is_isolated


@pytest.fixture(scope="module")
def frames():
    return copper_frames(12)


@pytest.fixture(scope="module")
def gap(frames):
    return model().fit(frames)


@pytest.fixture(scope="module")
def loo(gap, frames):
    return leave_one_out(gap, frames)


def assert_equals_refits(gap, loo, frames, indices, rtol):
    """Labels, predictions and error bars of `evaluate` with fits without each frame."""
    for k in indices:
        found = evaluate(refit(gap.recipe_, frames[:k] + frames[k + 1 :]), [frames[k]], "all").comparisons
        for kind in COMPARED:
            if kind not in loo.comparisons or loo.frames[k].isolated:
                continue
            part = loo.comparisons[kind].select(loo.comparisons[kind].structure == k)
            assert len(part) == (len(found[kind]) if kind in found else 0)
            if not len(part):
                continue
            other = found[kind]
            np.testing.assert_allclose(part.reference, other.reference, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(part.predicted, other.predicted, rtol=rtol, atol=rtol)
            np.testing.assert_allclose(part.std, other.std, rtol=rtol)
            np.testing.assert_array_equal(part.config_type, other.config_type)
            assert part.unit == other.unit
            if kind == "forces":
                np.testing.assert_array_equal(part.species, other.species)
                np.testing.assert_array_equal(part.atom, other.atom)


def test_comparisons_are_those_of_refits(gap, loo, frames):
    assert set(loo.comparisons) == set(COMPARED)
    assert_equals_refits(gap, loo, frames, range(len(frames)), 2e-6)


def test_sor_differs_by_what_the_sparse_points_cannot_express(gap, loo, frames):
    sor = leave_one_out(gap, frames, method="sor")
    for kind, comparison in sor.comparisons.items():
        np.testing.assert_array_equal(comparison.predicted, loo.comparisons[kind].predicted)
        assert np.all(comparison.std <= loo.comparisons[kind].std)
    p = refit(gap.recipe_, frames[1:]).posterior_
    from gapkit.fitting.second_pass import frame_rows
    from gapkit.structures.frames import labelled_frames

    rows = frame_rows(gap.recipe_, next(iter(labelled_frames(frames))))[1]  # forces
    noise = gap.noise_std("forces")
    expected = np.sqrt(p.variance(rows.K, np.zeros(len(rows.y)), "sor") + noise**2)
    forces = sor.comparisons["forces"]
    np.testing.assert_allclose(forces.std[forces.structure == 0], expected, rtol=1e-7)


def test_log_predictive_is_the_score_of_the_search(gap, loo, frames):
    assert loo.log_predictive == pytest.approx(left_out_score(gap, frames), rel=1e-12)


def test_frames_are_described(loo, frames):
    assert [frame.number for frame in loo.frames] == list(range(len(frames)))
    for frame, atoms in zip(loo.frames, frames):
        assert (frame.formula, frame.n_atoms) == (atoms.get_chemical_formula(), len(atoms))
        assert frame.config_type == atoms.info["config_type"]
        n_virials = 6 * ("stress" in atoms.calc.results)
        assert frame.n_labels == 1 + 3 * len(atoms) + n_virials
        own = loo.comparisons["forces"].select(loo.comparisons["forces"].structure == frame.number)
        assert frame.rmse["forces"] == pytest.approx(np.sqrt(np.mean(own.error**2)))
        assert frame.information > 0
        assert 0 < frame.leverage < frame.n_labels
    worst = loo.worst(3)
    assert worst[0].largest_z == max(frame.largest_z for frame in loo.frames)


def test_a_file_an_iterator_and_some_of_the_frames(frames, loo, gap, tmp_path):
    part = leave_one_out(gap, frames[3:7])
    own = loo.comparisons["energy"]
    np.testing.assert_array_equal(part.comparisons["energy"].predicted, own.predicted[3:7])
    write(tmp_path / "a.xyz", frames)
    fitted = model().fit(tmp_path / "a.xyz")
    one, other = leave_one_out(fitted, tmp_path / "a.xyz"), leave_one_out(fitted, iter(_read(tmp_path / "a.xyz")))
    np.testing.assert_array_equal(one.comparisons["forces"].predicted, other.comparisons["forces"].predicted)


def _read(path):
    from gapkit import read_structures

    return read_structures(path)


def test_other_frames_are_refused(gap, frames):
    with pytest.raises(InputError, match=r"frame 1 \(Cu4\) is not among the training frames"):
        leave_one_out(gap, [frames[0], copper_frames(14)[13]])
    with pytest.raises(InputError, match=r"frame 1 .* more often"):
        leave_one_out(gap, [frames[0], frames[0]])
    with pytest.raises(InputError, match="method 'gap' is unknown"):
        leave_one_out(gap, frames, method="gap")


def test_frames_without_labels_are_passed(frames):
    bare = Atoms(frames[1].numbers, frames[1].positions * 1.01, cell=frames[1].cell, pbc=True)
    gap = model().fit([frames[0], bare, *frames[1:5]])
    found = leave_one_out(gap, [frames[0], bare, *frames[1:5]])
    assert [frame.number for frame in found.frames] == [0, 2, 3, 4, 5]
    assert np.isfinite(left_out_score(gap, [frames[0], bare, *frames[1:5]]))
    with pytest.raises(InputError, match="none of the frames"):
        leave_one_out(gap, [bare])


def test_isolated_atoms_are_not_compared(frames):
    """e0 is their energy, whatever is left out."""
    atom = Atoms("Cu", [[0, 0, 0]])
    atom.calc = SinglePointCalculator(atom, energy=3.0, forces=np.zeros((1, 3)))
    found = leave_one_out(model().fit([atom, *frames]), [atom, *frames])
    assert [frame.isolated for frame in found.frames] == [True] + 12 * [False]
    assert all(0 not in comparison.structure for comparison in found.comparisons.values())
    assert 0 not in [frame.number for frame in found.worst(20)]


def test_isolated_atoms_are_those_that_e0_is_taken_from(frames):
    """A skewed cell has short images behind long vectors; a config type may say what a small box does not show."""
    skewed = Atoms("Cu", cell=[[6.5, 0, 0], [6.5, 2.6, 0], [0, 0, 7]], pbc=True)
    boxed = Atoms("Cu", cell=[5.0, 5.0, 5.0], pbc=True)
    boxed.info["config_type"] = "isolated_atom"
    for atoms, energy in ((skewed, 0.5), (boxed, 3.0)):
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((1, 3)))
    structures = [skewed, boxed, *frames]
    gap = model().fit(structures)
    assert gap.e0_ == {"Cu": 3.0}
    found = leave_one_out(gap, structures)
    assert [frame.isolated for frame in found.frames] == [False, True] + 12 * [False]
    own = {frame.number: is_isolated(*frame_of) for frame, frame_of in zip(found.frames, gap.frames_of(structures))}
    assert own == {frame.number: frame.isolated for frame in found.frames}


def test_overlap_is_one_for_the_same_environments_and_near_the_exact_one(gap, frames):
    turned = frames[3].copy()  # a cluster
    forces = frames[3].get_forces()
    turned.rotate(40, (1, 2, 3))
    from ase.build.rotate import rotation_matrix_from_points

    Q = rotation_matrix_from_points(
        (frames[3].positions - frames[3].positions[0]).T, (turned.positions - turned.positions[0]).T
    )
    turned.calc = SinglePointCalculator(turned, energy=frames[3].get_potential_energy(), forces=forces @ Q.T)
    together = [*frames, turned]
    fitted = model().fit(together)
    loo = leave_one_out(fitted, together, method="sor")
    assert loo.overlap(3)[12] == pytest.approx(1.0, abs=1e-4)
    assert loo.frames[3].z == pytest.approx(loo.frames[12].z, rel=1e-4)
    from gapkit.fitting.second_pass import frame_rows, whitened_rows
    from gapkit.structures.frames import labelled_frames

    W = [
        whitened_rows(fitted.recipe_, fitted.posterior_, frame_rows(fitted.recipe_, f)).W
        for f in labelled_frames(together)
    ]
    G = np.array([(w @ w.T).ravel() for w in W])
    exact = G @ G[0] / np.linalg.norm(G, axis=1) / np.linalg.norm(G[0])
    assert np.sqrt(np.mean((loo.overlap(0) - exact) ** 2)) < 0.15


def test_recalibration_conformal_and_calibration_take_it(loo):
    large = {kind: c for kind, c in loo.comparisons.items() if len(c) >= 20}
    recalibration = fit_recalibration(large, how="leave-one-out", data="copper")
    forces = loo.comparisons["forces"]
    z = forces.error / forces.std
    assert recalibration.factor("forces", "Cu") == pytest.approx(np.sqrt(np.mean(z**2)))
    assert set(calibration_by(forces, "config_type")) == {"bulk", "cluster", "default"}
    assert calibration(forces).n == len(forces)
    assert fit_conformal(forces).factor(0.9) > 0


def test_table_and_dict(loo):
    lines = loo.table(4).splitlines()
    assert len(lines) == 1 + 4 + 2
    assert lines[1].split()[0] == str(loo.worst(1)[0].number)
    assert len(json.loads(json.dumps(loo.to_dict(4)))["worst"]) == 4
    assert loo.evaluation.summary()["forces"]["n"] == len(loo.comparisons["forces"])


@pytest.mark.slow
def test_shipped_silicon():
    structures = [atoms for atoms in load_silicon() if len(atoms) <= 64][:40]
    term = Term(SOAP(species=["Si"], cutoff=4.5, n_max=6, l_max=4), DotProduct(4, 2.0), n_sparse=150)
    gap = GAP([term], energy_noise=0.002, forces_noise=0.1, virial_noise=0.05, verbose=False).fit(structures)
    loo = leave_one_out(gap, structures)
    assert_equals_refits(gap, loo, structures, (0, 7, 23, 39), 2e-5)
    assert len(loo.frames) == len(structures)
