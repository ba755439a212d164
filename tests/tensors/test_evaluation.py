from __future__ import annotations

import numpy as np
import pytest
from tensor_labels import molecules

from gapkit import SOAP, InputError, TensorGAP, TensorTerm
from gapkit.gaussian_process.posterior import fit_posterior
from gapkit.gaussian_process.row_factor import RowFactor
from gapkit.tensors.evaluation import _frames
from gapkit.tensors.fit import frame_rows
from gapkit.tensors.rows import covariance_of_columns, scales

pytestmark = pytest.mark.filterwarnings("ignore:n_sparse = ")  # small sets have fewer environments

SPECIES = ["H", "C", "N", "O"]


def fitted(target, n=16, **parameters):
    soap = SOAP(SPECIES, 3.5, 4, 3, 0.4, 2)
    terms = [TensorTerm(soap, 2, n_sparse=6)]
    frames = molecules(["CH3OH", "NH3"], n)
    return TensorGAP(terms, target, verbose=False, **parameters).fit(frames), frames


@pytest.mark.parametrize("target", ["dipole", "polarizability", "born_charges"])
def test_leave_one_out_is_a_fit_without_the_frame(target):
    gap, frames = fitted(target)
    found = gap.leave_one_out(frames)
    columns = [model.columns for model in gap.models_]
    rows = [frame_rows(gap.target_, gap.terms_, columns, gap.offsets_, f) for f in _frames(gap, frames, None)]
    for k, model in enumerate(gap.models_):
        lam, comparison = model.columns.order.order, found.orders[model.columns.order.order]
        assert found.n_structures == len(frames)
        for left in (0, 5):
            factor = RowFactor(model.columns.n)
            for i, own in enumerate(rows):
                if i != left:
                    factor.add(own[k].K * scales(model.columns, model.deltas), own[k].y)
            K_mm = covariance_of_columns(model.columns, gap.terms_, model.deltas, gap.jitter)
            without = fit_posterior(K_mm, {0: factor}, {0: model.noise}, 0.0)
            K = rows[left][k].K * scales(model.columns, model.deltas)
            at = comparison.structure == left
            residual = rows[left][k].y - K @ without.alpha
            assert np.allclose(-comparison.error[at], residual, rtol=1e-5, atol=1e-6 * np.abs(rows[left][k].y).max())
            sor = np.diag(without.covariance(K, np.zeros((len(K), len(K))), "sor"))
            assert np.allclose(comparison.std[at], np.sqrt(sor + model.noise**2), rtol=1e-5), lam


def test_error_bars_of_noisy_labels_are_honest():
    """Labels with known noise: the stated coverage, from frames that were left out and from new ones."""
    rng = np.random.default_rng(0)

    def noisy(seed, n):
        frames = molecules(["NH3"], n, seed=seed)
        for atoms in frames:
            atoms.info["dipole"] = atoms.info["dipole"] + rng.normal(0, 0.03, 3)
        return frames

    soap = SOAP(["H", "N"], 3.5, 4, 3, 0.4, 2)
    train = noisy(1, 80)
    gap = TensorGAP([TensorTerm(soap, 2, n_sparse=60)], verbose=False, unit="e*Å").fit(train)
    for found in (gap.leave_one_out(train), gap.evaluate(noisy(2, 80))):
        (calibration,) = found.calibrations().values()
        assert calibration.n == 240
        for level, observed in calibration.coverage.items():
            assert observed == pytest.approx(level, abs=0.09)
        assert 0.85 < calibration.std_z < 1.15
        assert found.rmse == pytest.approx(0.03 * np.sqrt(3), rel=0.25)
        assert "RMSE" in found.table()
        assert "e*Å" in found.table()
        assert found.summary()["orders"]["1"]["n"] == 240


def test_deviation_and_rmse_are_those_of_the_values():
    gap, _ = fitted("polarizability")
    test = molecules(["NH3"], 6, seed=3)
    found, p = gap.evaluate(test), gap.predict(test)
    labels = np.array([a.info["polarizability"] for a in test])
    assert found.rmse == pytest.approx(np.sqrt(np.mean(np.sum((p.values - labels) ** 2, axis=(1, 2)))))
    expected = np.sqrt(np.mean(np.sum((labels - labels.mean(axis=0)) ** 2, axis=(1, 2))))
    assert found.deviation == pytest.approx(expected)
    assert gap.score(test) == -found.rmse


def test_frames_without_labels_are_refused():
    gap, _ = fitted("dipole", 4)
    bare = [a.copy() for a in molecules(["NH3"], 2)]
    for atoms in bare:
        atoms.info.clear()
    for method in (gap.evaluate, gap.leave_one_out, gap.score):
        with pytest.raises(InputError, match="none of the 2 frames"):
            method(bare)
