"""The verdict says what the numbers say."""

from __future__ import annotations

import numpy as np
import pytest
from fake_predictor import FakeGAP

from gapkit.evaluation.comparison import Comparison, Evaluation
from gapkit.report.verdict import judge
from gapkit.uncertainty.extrapolation import Extrapolation

N_FRAMES, N_ATOMS = 200, 4


class _Noisy(FakeGAP):
    """The same noise for everything, as `energy_noise`."""

    def noise_std(self, kind: str, config_type: str) -> float:
        return self.energy_noise


def _gap(noise: float = 1e-6, trained: tuple[str, ...] = ("a", "b")) -> FakeGAP:
    return _Noisy(energy_noise=noise, training_={"config_types": {name: {} for name in trained}})


def _forces(factor=(1.0, 1.0), spread: float = 1.0, informative: bool = True, reference: float = 1.0) -> Comparison:
    """Forces of two config types; error bars times 1/factor; std over e^±spread, at the errors' sizes or shuffled."""
    rng = np.random.default_rng(0)
    n = N_FRAMES * N_ATOMS
    structure = np.repeat(np.arange(N_FRAMES), 3 * N_ATOMS)
    name = np.where(structure % 2, "b", "a")
    size = 0.1 * np.exp(spread * rng.uniform(-1.0, 1.0, n))
    std = np.repeat(size, 3)
    error = rng.normal(size=3 * n) * std
    told = std if informative else np.repeat(rng.permutation(size), 3)
    told = told / np.where(name == "a", *factor)
    labels = rng.normal(size=3 * n) * np.where(name == "a", reference, 1.0)
    species, atom = np.full(3 * n, "Si"), np.tile(np.repeat(np.arange(N_ATOMS), 3), N_FRAMES)
    return Comparison(labels, labels + error, told, structure, name, species, "eV/Å", atom)


def _energies(bias: float = 0.0, factor: float = 1.0) -> Comparison:
    rng = np.random.default_rng(1)
    name = np.where(np.arange(N_FRAMES) % 2, "b", "a")
    std = 0.002 * np.exp(rng.uniform(-1.0, 1.0, N_FRAMES))
    error = factor * std * rng.normal(size=N_FRAMES) + np.where(name == "a", bias, 0.0)
    labels = rng.normal(-5.0, 0.1, N_FRAMES)
    return Comparison(labels, labels + error, std, np.arange(N_FRAMES), name, None, "eV/atom")


def _findings(gap=None, forces=None, energy=None, environments=None):
    return judge(gap or _gap(), Evaluation(energy, forces, None, N_FRAMES), environments)


def test_honest_error_bars_get_nothing_bad():
    verdict = _findings(forces=_forces(), energy=_energies())
    assert not [finding for finding in verdict.findings if finding.level == "bad"]
    assert verdict.not_trusted == ()
    assert verdict.findings[0].text.startswith("Error bars of energies are honest")
    assert verdict.findings[1].text.startswith("Error bars of forces are honest")


@pytest.mark.parametrize("factor", [1.6, 3.0])
def test_too_small_error_bars_are_told_with_their_factor(factor):
    verdict = _findings(forces=_forces((factor, factor)))
    first = verdict.findings[0]
    assert first.level == "bad"
    assert "too small" in first.text
    assert float(first.text.split("multiply them by ")[1].split(".  ")[0].split(". ")[0]) == pytest.approx(factor, 0.1)
    assert any("error bars" in text for text in verdict.not_trusted)


def test_too_large_error_bars_are_no_danger():
    verdict = _findings(forces=_forces((0.4, 0.4)))
    assert verdict.findings[0].level == "note"
    assert "too large" in verdict.findings[0].text
    assert not [finding for finding in verdict.findings if finding.level == "bad"]


def test_only_the_config_type_with_wrong_error_bars_is_named():
    verdict = _findings(forces=_forces((2.0, 1.0)))
    (found,) = [finding for finding in verdict.findings if "by config type" in finding.text]
    assert found.config_types == ("a",)
    assert found.level == "bad"
    assert any("forces of a" in text for text in verdict.not_trusted)


def test_error_bars_that_do_not_point_at_errors_are_flagged():
    (found,) = [f for f in _findings(forces=_forces(informative=False)).findings if "Within some" in f.text]
    assert found.config_types == ("a", "b")
    assert not [f for f in _findings(forces=_forces()).findings if "Within some" in f.text]


def test_errors_of_one_sign_are_flagged():
    biased = _findings(energy=_energies(bias=-0.01))
    (found,) = [finding for finding in biased.findings if "in one direction" in finding.text]
    assert found.config_types == ("a",)
    assert "−1" in found.text or "−9" in found.text  # about −10 meV/atom
    assert not [f for f in _findings(energy=_energies()).findings if "in one direction" in f.text]


def test_values_that_vanish_by_symmetry_judge_nothing():
    """Errors of config type a are a thousandth of what its error bars say, but so are its labels."""
    forces = _forces((1e-3, 1.0), reference=1e-6)
    texts = [finding.text for finding in _findings(forces=forces).findings]
    assert not [text for text in texts if "too large" in text.lower()]
    texts = [finding.text for finding in _findings(forces=_forces((1e-3, 1.0))).findings]
    assert [text for text in texts if "too large" in text.lower()]


def test_variance_that_is_mostly_noise_is_flagged_as_misspecified():
    energy = _energies()
    found = [
        f for f in _findings(_gap(noise=float(energy.std.min())), energy=energy).findings if "2502.07104" in f.text
    ]
    assert not found
    rms = float(np.sqrt(np.mean(energy.std**2)))
    (found,) = [f for f in _findings(_gap(noise=0.95 * rms), energy=energy).findings if "2502.07104" in f.text]
    assert found.level == "bad"


def test_config_types_without_training_data_and_foreign_atoms_are_told():
    sizes = np.full(N_FRAMES, N_ATOMS)
    structure = np.repeat(np.arange(N_FRAMES), sizes)
    reach = np.where(structure % 2, 0.5, 1.5)
    environments = Extrapolation(
        reach, np.full(len(reach), np.nan), structure, np.tile(np.arange(N_ATOMS), N_FRAMES),
        np.full(len(reach), "Si"), {"0 Si": 0.1}, {},
    )  # fmt: skip
    verdict = _findings(_gap(trained=("b",)), energy=_energies(), environments=environments)
    (new,) = [finding for finding in verdict.findings if "No training structure" in finding.text]
    (foreign,) = [finding for finding in verdict.findings if "beyond the range" in finding.text]
    assert new.config_types == foreign.config_types == ("a",)
    assert "100 % of the atoms" in foreign.text


def test_sentences_stay_short_with_many_config_types():
    forces = _forces((3.0, 3.0))
    names = np.array([f"type {k}" for k in range(60)])[forces.structure % 60]
    many = Comparison(**(vars(forces) | {"config_type": names}))
    (found,) = [finding for finding in _findings(_gap(trained=()), forces=many).findings if "factor" in finding.text]
    assert len(found.config_types) > 50
    assert "others" in found.text
    assert len(found.text) < 600


def test_kinds_without_error_bars_are_told():
    energy = _energies()
    without = Comparison(**(vars(energy) | {"std": None}))
    (found,) = _findings(energy=without).findings
    assert "No error bars of energies" in found.text
