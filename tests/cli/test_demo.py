"""`gapkit demo`: its checks, its files, its output."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from gapkit import GAPCalculator
from gapkit.cli import demo
from gapkit.datasets import load_silicon


def test_drift_is_the_slope_and_deviation_the_largest_distance():
    steps = np.arange(1001)
    energy = -5.0 + 2e-6 * steps  # eV/atom per fs: 2 meV/atom in 1 ps
    dynamics = demo._summarised(np.column_stack([energy, np.full(1001, 300.0)]))
    assert dynamics.time_ps[-1] == pytest.approx(1.0)
    assert dynamics.drift == pytest.approx(2.0)
    assert dynamics.largest_deviation == pytest.approx(2.0)


def test_checks_fail_where_they_should():
    good = SimpleNamespace(drift=-0.01)
    assert demo._failures(good, 1e-6) == []
    assert "drifts by -2 meV/atom" in demo._failures(SimpleNamespace(drift=-2.0), 1e-6)[0]
    assert "slope of the energy" in demo._failures(good, 0.1)[0]
    assert len(demo._failures(SimpleNamespace(drift=np.nan), np.nan)) == 2


def test_every_family_of_frames_has_its_noise():
    gap = demo.make_potential(10)
    for name in {atoms.info["config_type"] for atoms in load_silicon("train")}:
        for kind in ("energy", "forces", "virial"):
            assert gap.noise_std(kind, name) > 0
    families = {atoms.info["config_type"] for atoms in load_silicon("train")} | {"default"}
    for noise in (demo.ENERGY_NOISE, demo.FORCES_NOISE, demo.VIRIAL_NOISE):
        assert set(noise) <= families


@pytest.mark.slow
def test_noises_are_where_the_evidence_of_the_training_frames_is_largest():
    """As benchmarks/demo_noises.py found them: other noises of a kind, or another δ, have less evidence."""
    frames = load_silicon("train")

    def evidence(**changes) -> float:
        gap = demo.make_potential(verbose=False).set_params(**changes).fit(frames)
        return gap.posterior_.log_marginal_likelihood

    best = evidence()
    for factor in (0.5, 2.0):
        assert evidence(terms__0__kernel__delta=factor * demo.DELTA) < best
        for kind in ("ENERGY_NOISE", "FORCES_NOISE", "VIRIAL_NOISE"):
            scaled = {name: factor * noise for name, noise in getattr(demo, kind).items()}
            assert evidence(**{kind.lower(): scaled}) < best


@pytest.mark.slow
def test_demo_from_beginning_to_end(tmp_path):
    lines: list[str] = []
    result = demo.run_demo(tmp_path / "out", n_sparse=150, n_steps=60, echo=lines.append)
    text = "\n".join(lines)
    assert result.failures == ()
    assert result.report.read_text(encoding="utf-8").count("<h2") >= 3
    assert "Energy drift" in result.report.read_text(encoding="utf-8")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["report.html", "silicon.gap"]
    for words in ("isolated_atom", "90 % interval", "drift", "finite differences", "silicon.gap", "GAPCalculator"):
        assert words in text
    summary = result.evaluation.summary()
    assert summary["energy"]["rmse"] < 50.0  # meV/atom
    assert summary["by_config_type"]["md_300K"]["forces"]["rmse"] < 0.05
    assert result.evaluation.energy is not None
    assert len(result.dynamics.time_ps) == 61
    atoms = load_silicon("test")[0]
    atoms.calc = GAPCalculator(result.model)
    assert np.allclose(atoms.get_forces(), result.gap.predict(atoms).forces[0])
