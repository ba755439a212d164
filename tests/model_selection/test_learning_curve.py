"""Potentials with fewer sparse points, out of one fit, are those of fits with fewer sparse points."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from example_structures import alloy, labelled
from labelled_frames import copper_frames

from gapkit import GAP, SOAP, DotProduct, InputError, SquaredExponential, Term
from gapkit.evaluation.compare import evaluate
from gapkit.evaluation.comparison import ErrorRow
from gapkit.fitting.second_pass import left_out
from gapkit.model_selection.learning_curve import LearningCurve, LearningPoint, learning_curve, with_fewer_sparse_points
from gapkit.structures.frames import labelled_frames

SIZES = (4, 9, 15)


def model(n_sparse=SIZES[-1], method="fps", **changes):
    terms = [
        Term(SOAP(species=["Cu"], cutoff=4.0, n_max=3, l_max=2), DotProduct(2, 2.0), n_sparse, method),
        Term(SOAP(species=["Cu"], cutoff=3.2, n_max=2, l_max=1), SquaredExponential(0.4, 1.0), n_sparse, method),
    ]
    settings = {"energy_noise": 0.002, "forces_noise": 0.05, "virial_noise": 0.02, "verbose": False} | changes
    return GAP(terms, **settings)


@pytest.fixture(scope="module")
def frames():
    return copper_frames(9)


@pytest.fixture(scope="module")
def test_frames():
    return copper_frames(15)[9:]


@pytest.fixture(scope="module")
def largest(frames):
    return model().fit(frames)


def assert_same(one, other, frames, tolerance=1e-8):
    p, q = one.predict(frames), other.predict(frames)
    np.testing.assert_allclose(p.energy, q.energy, rtol=0, atol=tolerance)
    for a, b in zip(p.forces, q.forces, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
    assert one.posterior_.log_marginal_likelihood == pytest.approx(other.posterior_.log_marginal_likelihood, rel=1e-8)


@pytest.mark.parametrize("method", ["fps", "random"])
@pytest.mark.parametrize("n", [1, 4, 9, 15, 400])
def test_a_prefix_is_the_fit_with_fewer_sparse_points(frames, test_frames, method, n):
    whole = model(15, method).fit(frames)
    before = whole.alpha_.copy()
    small = with_fewer_sparse_points(whole, n)
    direct = model(min(n, 15), method).fit(frames)
    for own, other in zip(small.blocks_, direct.blocks_, strict=True):
        np.testing.assert_array_equal(own.X, other.X)
        assert own.columns == other.columns
    assert_same(small, direct, test_frames)
    assert small.terms[0].n_sparse == n
    np.testing.assert_array_equal(whole.alpha_, before)
    assert len(whole.factors_["forces", "all"].factor) == 31


def test_noises_and_amplitudes_are_learned_anew_as_a_fit_would(frames, largest):
    small = with_fewer_sparse_points(largest, 6, optimize=True)
    direct = model(6).fit(frames, optimize=True)
    assert small.noise_std("forces") == pytest.approx(direct.noise_std("forces"), rel=1e-4)
    assert small.noise_std("forces") != pytest.approx(0.05, rel=0.05)
    assert small.posterior_.log_marginal_likelihood == pytest.approx(
        direct.posterior_.log_marginal_likelihood, abs=1e-3
    )
    assert [term.kernel.delta for term in largest.terms_] == [2.0, 1.0]


def test_a_prefix_can_be_continued_like_any_fit(frames, largest, test_frames):
    small = with_fewer_sparse_points(largest, 5)
    small.remove(frames[:2])
    assert_same(small, with_fewer_sparse_points(model().fit(frames).remove(frames[:2]), 5), test_frames)
    assert len(largest.training_["config_types"]) == 3
    assert largest.training_["n_structures"] == 9


def test_the_curve_holds_test_errors_and_evidence_of_separate_fits(frames, test_frames):
    curve = learning_curve(model(), frames, SIZES[::-1], test_frames)
    assert [point.n_sparse for point in curve.points] == list(SIZES)
    for point in curve.points:
        direct = model(point.n_sparse).fit(frames)
        evaluation = evaluate(direct, test_frames, return_std=False)
        expected = {row.kind: row for row in evaluation.rows() if row.config_type is None}
        assert [row.kind for row in point.errors] == list(expected) == ["energy", "forces", "stress"]
        for row in point.errors:
            assert row.rmse == pytest.approx(expected[row.kind].rmse, rel=1e-6)
            assert row.n == expected[row.kind].n
        assert point.log_evidence == pytest.approx(direct.posterior_.log_marginal_likelihood, rel=1e-8)
        assert point.n_columns == 2 * point.n_sparse
        assert 0 < point.effective <= point.n_columns
    assert curve.held_out == "test"
    assert curve.n_labels == sum(1 + 3 * len(a) + 6 * bool(k % 3) for k, a in enumerate(frames))


def left_out_rmse(gap, frames):
    """By `left_out` of a fit of its own, in the units of `Evaluation`."""
    squares = {"energy": [], "forces": [], "stress": []}
    for frame in labelled_frames(frames):
        for part in left_out(gap.recipe_, gap.posterior_, frame).labels:
            unit = {
                "energy": 1000.0 / len(frame.atoms),
                "forces": 1.0,
                "virial": 160.21766208 / max(frame.atoms.get_volume(), 1e-9),
            }
            squares[part.kind.replace("virial", "stress")].extend((part.residual * unit[part.kind]) ** 2)
    return {kind: np.sqrt(np.mean(values)) for kind, values in squares.items()}


@pytest.mark.parametrize("optimize", [False, ["delta"]])
def test_without_test_structures_every_training_frame_is_left_out(frames, optimize):
    # noises so large that no frame alone decides a direction: leaving it out would multiply round-off by 1/(1 - h)
    noises = {"energy_noise": 0.05, "forces_noise": 0.5, "virial_noise": 0.2}
    curve = learning_curve(model(**noises), frames, SIZES, optimize=optimize)
    assert curve.held_out == "left out"
    largest = model(**noises).fit(frames, optimize=optimize)
    for point in curve.points:
        own = with_fewer_sparse_points(largest, point.n_sparse, optimize) if point.n_sparse < 15 else largest
        expected = left_out_rmse(own, frames)
        for row in point.errors:
            assert row.rmse == pytest.approx(expected[row.kind], rel=1e-6)
            assert row.rmse_se > 0
    if optimize:
        deltas = {with_fewer_sparse_points(largest, n, optimize).terms_[0].kernel.delta for n in SIZES[:-1]}
        assert largest.terms_[0].kernel.delta not in deltas


def test_labels_that_are_missing_leave_no_rows():
    frames = copper_frames(8)
    for atoms in frames[1:]:
        atoms.calc.results.pop("stress", None)
    for atoms in frames[:4]:
        atoms.calc.results.pop("energy")
    (point,) = learning_curve(model(6, e0={"Cu": 0.0}), iter(frames), [5]).points
    assert {row.kind: row.n for row in point.errors} == {"energy": 4, "forces": sum(3 * len(a) for a in frames)}


def test_several_species_and_config_types(frames):
    mixed = [labelled(alloy(k), "even" if k % 2 else "odd") for k in range(6)]
    term = Term(SOAP(["Cu", "Au"], 3.6, 2, 2), DotProduct(2, 2.0), {"Cu": 7, "Au": 7})
    gap = GAP([term], e0={"Cu": 0.0, "Au": 0.0}, verbose=False)
    curve = learning_curve(gap, mixed, [3, 7], mixed[:2], optimize=["config_type"])
    assert [point.n_columns for point in curve.points] == [6, 14]
    assert curve.optimize == ("config_type", "noise")
    small = with_fewer_sparse_points(model_with(gap, 7).fit(mixed), 3)
    assert_same(small, model_with(gap, 3).fit(mixed), mixed)


def model_with(gap, n):
    return GAP([replace(gap.terms[0], n_sparse=n)], e0=gap.e0, verbose=False)


def curve_of(*errors, evidence=(0.0, 50.0, 60.0)):
    rows = [(ErrorRow("energy", None, e, 0.1, e, e, 9, "meV/atom"), ErrorRow("forces", None, f, None, f, f, 99, "eV/Å"))
            for e, f in errors]  # fmt: skip
    points = [LearningPoint(100 * 2**k, 100 * 2**k, 50.0 + k, p, own) for k, (p, own) in enumerate(zip(evidence, rows))]
    return LearningCurve(tuple(points), "test", 108, ("noise",))


def test_the_advice_is_the_least_number_that_is_near_the_best_in_every_kind():
    assert curve_of((1.0, 0.2), (0.5, 0.104), (0.49, 0.1)).enough == 200
    assert curve_of((0.5, 0.2), (0.5, 0.11), (0.49, 0.1)).enough == 400
    assert "still fall at n_sparse = 400" in curve_of((1.0, 0.2), (0.7, 0.15), (0.5, 0.1)).advice()
    assert curve_of((0.51, 0.1), (0.5, 0.101), (0.5, 0.1)).advice() == (
        "n_sparse = 100 is enough: its errors (energy 0.51 meV/atom, forces 0.1 eV/Å) are within 5 % of the smallest."
    )


def test_the_table_and_the_data_hold_the_numbers():
    curve = curve_of((1.0, 0.2), (0.5, 0.104), (0.49, 0.1))
    lines = curve.table().splitlines()
    assert lines[0] == "Root mean square errors of test structures"
    assert lines[1].split()[:4] == ["n_sparse", "columns", "determined", "log"]
    assert lines[3].split() == ["200", "200", "51.0", "50.0", "0.4630", "0.5", "0.1", "0.104", "-"]
    assert lines[-1] == curve.advice()
    assert len({len(line) for line in lines[1:5]}) == 1
    found = json.loads(json.dumps(curve.to_dict()))
    assert found["enough"] == 200
    assert found["points"][2]["errors"]["forces"]["rmse"] == 0.1
    assert found["points"][2]["n_sparse"] == 400


def test_the_figure_is_a_picture_with_every_point(monkeypatch):
    from gapkit.report import figures

    drawn = []
    monkeypatch.setattr(figures, "_png", lambda figure: drawn.append(figure) or b"")
    curve = curve_of((1.0, 0.2), (0.5, 0.104), (0.49, 0.1))
    figures.learning_curve(curve)
    top, bottom = drawn[0].axes
    assert (top.get_xscale(), top.get_yscale(), bottom.get_xscale()) == ("log", "log", "log")
    np.testing.assert_array_equal(top.containers[1].lines[0].get_xdata(), [100, 200, 400])
    np.testing.assert_array_equal(top.containers[1].lines[0].get_ydata(), [0.2, 0.104, 0.1])
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), np.array([0, 50, 60]) / 108)
    monkeypatch.undo()
    assert figures.learning_curve(curve).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_sparse": [0, 5]}, r"n_sparse = \[0, 5\] must be positive whole numbers"),
        ({"n_sparse": []}, r"n_sparse = \[\] must be positive whole numbers"),
        ({"n_sparse": [2.5]}, r"n_sparse = \[2.5\] must be positive whole numbers"),
        ({"gap": model(method="kmeans")}, r"terms\[0\] chooses its sparse points by 'kmeans'.*use 'fps'"),
        ({"optimize": ["outliers"]}, "optimize names 'outliers'"),
        ({"optimize": "leave_out"}, "optimize names 'leave_out'"),
        ({"optimize": "noises"}, "optimize names 'noises' .did you mean 'noise'"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(frames, arguments, message):
    with pytest.raises(InputError, match=message):
        learning_curve(**({"gap": model(), "structures": frames, "n_sparse": [3]} | arguments))


def test_a_model_without_its_factors_is_refused(largest, tmp_path):
    largest.save(tmp_path / "m.gap")
    with pytest.raises(InputError, match="saved without its row factors"):
        with_fewer_sparse_points(GAP.load(tmp_path / "m.gap"), 3)
