"""Sampled potentials: whole, conservative, reproducible, with the moments that algebra gives."""

from __future__ import annotations

import laws
import numpy as np
import pytest
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from example_structures import alloy, structures
from expected_warnings import extrapolation
from scipy import stats
from scipy.linalg import solve_triangular

from gapkit import GAP, SOAP, DotProduct, GAPCalculator, InputError, SquaredExponential, Term
from gapkit.potential import ensemble
from gapkit.potential.ensemble import Ensemble, EnsemblePredictions, sample
from gapkit.runtime.threads import set_num_threads
from gapkit.terms import evaluate as term_sums
from gapkit.terms.evaluate import rows_are_cheaper
from gapkit.terms.records import Scatter
from gapkit.uncertainty.functionals import joint_posterior
from gapkit.uncertainty.propagation import propagate

GEOMETRIES = structures()


@pytest.fixture(scope="module", params=[DotProduct(4, 0.8), DotProduct(2, 1.0), SquaredExponential(0.4, 1.5)], ids=str)
def ten(request, frames) -> Ensemble:
    """Two terms with different cutoffs; sums over sparse points of the second fold, of the first in one case."""
    first = Term(SOAP(["Cu", "Au"], 4.5, n_max=3, l_max=2, smoothness=2), request.param, n_sparse=10)
    second = Term(SOAP(["Cu", "Au"], 3.6, n_max=2, l_max=2, compression="mu2"), DotProduct(1, 0.5), n_sparse=5)
    gap = GAP([first, second], 0.01, 0.1, 0.05, jitter=1e-9, verbose=False).fit(frames)
    return sample(gap, 10, 3)


def flat(p: EnsemblePredictions) -> np.ndarray:
    """Energy, forces and Voigt stress of each member, one row each."""
    forces = p.forces.reshape(len(p.energy), -1)
    if p.stress is None:
        return np.column_stack([p.energy, forces])
    return np.column_stack([p.energy, forces, [full_3x3_to_voigt_6_stress(s) for s in p.stress]])


@pytest.mark.parametrize("name", [*GEOMETRIES, "isolated"])
@pytest.mark.parametrize("route", [True, False], ids=["rows", "members"])
def test_predictions_are_those_of_every_member_alone(ten, name, route, monkeypatch):
    monkeypatch.setattr(ensemble, "rows_are_cheaper", lambda *_: route)
    monkeypatch.setattr(term_sums, "GROUP", 2)
    atoms = GEOMETRIES.get(name, Atoms("Au"))
    p = ten.predict(atoms)
    scale = max(np.abs(ten.weights).sum(axis=1)) * 1e-13
    for k in range(len(ten)):
        alone = ten.member(k).predict(atoms)
        np.testing.assert_allclose(p.energy[k], alone.energy[0], rtol=0, atol=scale + 1e-11)
        np.testing.assert_allclose(p.local_energies[k], alone.local_energies[0], rtol=0, atol=scale + 1e-11)
        np.testing.assert_allclose(p.forces[k], alone.forces[0], rtol=0, atol=scale + 1e-11)
        if alone.stress[0] is None:
            assert p.stress is None
        else:
            np.testing.assert_allclose(p.stress[k], alone.stress[0], rtol=0, atol=scale + 1e-11)
    assert len(atoms) == 1 or np.ptp(p.energy) > 1e-4


def test_the_route_with_fewer_operations_is_taken(gap, monkeypatch):
    environments = gap.basis_.environments(alloy(1))
    assert not rows_are_cheaper(environments, 3)
    assert rows_are_cheaper(environments, 2000)
    taken = []
    monkeypatch.setattr(ensemble, "_by_rows", lambda *_: taken.append("rows") or scatter)
    monkeypatch.setattr(ensemble, "evaluate_many", lambda *_: taken.append("members") or scatter)
    scatter = Scatter(np.zeros((2, 4)), np.zeros((2, 4, 3)), np.zeros((2, 3, 3)))
    sample(gap, 3).predict(alloy(1))
    sample(gap, 2000).predict(alloy(1))
    monkeypatch.setattr(ensemble, "LARGEST_ROWS", 10)
    sample(gap, 2000).predict(alloy(1))
    assert taken == ["members", "rows", "members"]


@pytest.mark.parametrize("name", ["alloy", "cluster"])
def test_every_member_is_a_conservative_potential(ten, name):
    predict = laws.predictor(ten.member(2))
    laws.check_forces(predict, GEOMETRIES[name])
    laws.check_momentum(predict, GEOMETRIES[name])
    laws.check_exact_energy(ten.member(2), GEOMETRIES[name])


# -- moments ----------------------------------------------------------------------------------------------------------


def check_moments(rows: np.ndarray, mean: np.ndarray, covariance: np.ndarray, error: float = 1e-6) -> None:
    """`rows` (n, d) are draws of N(mean, covariance): Hotelling and Wishart laws, each wrong with probability `error`.

    With whitened rows z, n z̄ᵀz̄ ~ χ²_d; (n - 1) tr S ~ χ²_{(n-1)d}; every (n - 1) S_tt ~ χ²_{n-1}.
    """
    n, d = rows.shape
    z = solve_triangular(np.linalg.cholesky(covariance), (rows - mean).T, lower=True).T
    low, high = error / 2, 1 - error / 2
    assert stats.chi2.ppf(low, d) < n * np.sum(z.mean(axis=0) ** 2) < stats.chi2.ppf(high, d)
    spread = (n - 1) * z.var(axis=0, ddof=1)
    assert stats.chi2.ppf(low, (n - 1) * d) < spread.sum() < stats.chi2.ppf(high, (n - 1) * d)
    assert np.all((stats.chi2.ppf(low / d, n - 1) < spread) & (spread < stats.chi2.ppf(1 - low / d, n - 1)))
    largest = np.linalg.eigvalsh(np.cov(z.T))  # Marchenko and Pastur: (1 ± √(d/n))², fluctuations of order n^(-2/3)
    edge = np.sqrt(d / n)
    assert largest[-1] < (1 + edge) ** 2 + 10 * n ** (-2 / 3)
    assert largest[0] > (1 - edge) ** 2 - 10 * n ** (-2 / 3)


def test_moments_of_predictions_are_the_analytic_ones(ten):
    """E, F and σ of two frames in every direction in which "sor" leaves anything open (forces of a frame sum to 0)."""
    frames, many = [alloy(40), alloy(41)], sample(ten.gap, 400, 11)
    joint = joint_posterior(ten.gap, frames, method="sor")
    rows = np.hstack([flat(many.predict(atoms)) for atoms in frames])
    scale = joint.std
    values, vectors = np.linalg.eigh(joint.covariance / np.outer(scale, scale))
    open_ones = vectors[:, values > 1e-5 * values[-1]] / scale[:, None]
    assert open_ones.shape[1] >= 12
    found = joint.of(open_ones.T)
    check_moments(rows @ open_ones, found.mean, found.covariance)


def test_moments_of_the_weights(ten):
    """Covariance A⁻¹, A = Rᵀ R."""
    z = (sample(ten.gap, 400, 12).weights - ten.gap.alpha_) @ ten.gap.posterior_.R.T
    check_moments(z, np.zeros(z.shape[1]), np.eye(z.shape[1]))


@pytest.mark.parametrize("factor", [0.85, 1.2])
def test_the_check_of_moments_can_fail(factor):
    z = np.random.default_rng(0).normal(size=(400, 12))
    check_moments(z, np.zeros(12), np.eye(12))
    with pytest.raises(AssertionError):
        check_moments(factor * z, np.zeros(12), np.eye(12))
    with pytest.raises(AssertionError):
        check_moments(z + 0.15, np.zeros(12), np.eye(12))


def test_the_prior_residual_is_not_in_the_samples(gap):
    """What the documentation warns of: a bond as none in the data; members agree, "dtc" does not."""
    atoms = Atoms("Cu2", [[0, 0, 0], [0, 0, 1.6]])
    with extrapolation(gap, atoms):
        std = sample(gap, 400, 1).predict(atoms).energy.std(ddof=1)
    with extrapolation(gap, atoms):
        sor, dtc = (joint_posterior(gap, atoms, ("energy",), method).std[0] for method in ("sor", "dtc"))
    np.testing.assert_allclose(std, sor, rtol=0.18)  # 5 standard deviations, 1/√798
    assert dtc > 1.2 * std


# -- members and calculators ------------------------------------------------------------------------------------------


def test_reproducible_by_seed(gap):
    first, again, other = sample(gap, 5, 7), sample(gap, 5, np.random.default_rng(7)), sample(gap, 5, 8)
    np.testing.assert_array_equal(first.weights, again.weights)
    assert np.all(first.weights != other.weights)
    assert len(first) == 5


def test_the_model_itself_is_left_alone(gap):
    before = gap.predict(alloy(40)).energy[0]
    many = sample(gap, 3)
    assert many.member(1).predict(alloy(40)).energy[0] != before
    many.predict(alloy(40))
    assert gap.predict(alloy(40)).energy[0] == before


def test_members_survive_a_file(gap, tmp_path):
    member = sample(gap, 3).member(1)
    member.save(tmp_path / "member.gap")
    again = GAP.load(tmp_path / "member.gap")
    np.testing.assert_array_equal(again.predict(alloy(40)).forces[0], member.predict(alloy(40)).forces[0])


def test_calculators_are_members(gap):
    many, atoms = sample(gap, 3), alloy(40)
    for k in range(3):
        atoms.calc = GAPCalculator(many.member(k), skin=0.5)
        np.testing.assert_allclose(atoms.get_forces(), many.predict(atoms).forces[k], atol=1e-9)
        np.testing.assert_allclose(atoms.get_potential_energy(), many.predict(atoms).energy[k], atol=1e-9)


def test_bit_identical_for_any_number_of_threads(gap, monkeypatch):
    monkeypatch.setattr(term_sums, "GROUP", 3)
    atoms, many, results = alloy(3).repeat((2, 2, 1)), sample(gap, 4), []
    assert not rows_are_cheaper(gap.basis_.environments(atoms), len(many))
    for n in (1, 3):
        set_num_threads(n)
        try:
            results.append(flat(many.predict(atoms)).tobytes())
        finally:
            set_num_threads(None)
    assert results[0] == results[1]


# -- propagation ----------------------------------------------------------------------------------------------------


def difference(calculator: GAPCalculator) -> np.ndarray:
    """Energy difference of two alloys and one force component."""
    a, b = alloy(40), alloy(41)
    a.calc = b.calc = calculator
    return np.array([a.get_potential_energy() - b.get_potential_energy(), b.get_forces()[2, 1]])


def test_properties_of_all_members(gap):
    many = sample(gap, 300, 5)
    found = propagate(difference, many)
    joint = joint_posterior(gap, [alloy(40), alloy(41)], ("energy", "forces"), "sor")
    W = np.zeros((2, len(joint.mean)))
    W[0, joint.rows(0, "energy")], W[0, joint.rows(1, "energy")] = 1.0, -1.0
    W[1, joint.rows(1, "forces").start + 7] = 1.0
    np.testing.assert_allclose(found.of_mean, joint.of(W).mean, rtol=1e-9)
    check_moments(found.samples, joint.of(W).mean, joint.of(W).covariance)
    assert found.samples.shape == (300, 2)
    np.testing.assert_array_equal(found.mean, found.samples.mean(axis=0))
    np.testing.assert_array_equal(found.std, found.samples.std(axis=0, ddof=1))
    inside = (found.samples > found.quantile(0.1)) & (found.samples < found.quantile(0.9))
    np.testing.assert_allclose(inside.mean(axis=0), 0.8, atol=0.01)


def test_side_by_side_gives_the_same_numbers(gap):
    many = sample(gap, 6)
    set_num_threads(3)
    try:
        together = propagate(difference, many, parallel=True)
    finally:
        set_num_threads(None)
    np.testing.assert_array_equal(together.samples, propagate(difference, many).samples)


def test_one_number_has_one_error_bar(gap):
    found = propagate(lambda calc: float(calc.gap.predict(alloy(1)).energy[0]), sample(gap, 5))
    assert found.samples.shape == (5,)
    assert found.std.shape == found.mean.shape == ()


def test_a_failing_member_is_named(gap):
    def property_of(calculator):
        if calculator.gap is not gap:
            raise RuntimeError("the crystal fell apart")
        return 1.0

    with pytest.raises(RuntimeError, match="fell apart") as caught:
        propagate(property_of, sample(gap, 3))
    assert caught.value.__notes__ == ["in member 0 of the ensemble"]


@pytest.mark.parametrize("bad", [np.nan, [1.0, 2.0]])
def test_a_member_without_the_property_is_refused(gap, bad):
    with pytest.raises(InputError, match="property of member 0"):
        propagate(lambda calculator: 1.0 if calculator.gap is gap else bad, sample(gap, 3))


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "3"])
def test_bad_numbers_of_members_are_refused(gap, n):
    with pytest.raises(InputError, match="members"):
        sample(gap, n)


def test_what_is_not_there_is_refused(gap):
    with pytest.raises(InputError, match="no member 3"):
        sample(gap, 3).member(3)
    with pytest.raises(InputError, match="Si"):
        sample(gap, 3).predict(Atoms("Si"))
