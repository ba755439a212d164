"""The potential as a whole: laws, variances, labels, e0, scikit-learn."""

from __future__ import annotations

import laws
import naive
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from example_structures import alloy, labelled, structures
from expected_warnings import extrapolation
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

from gapkit import GAP, SOAP, DotProduct, InputError, SquaredExponential, Term
from gapkit.covariances.rows import local_rows, prior_energy_variance, structure_rows
from gapkit.geometry.neighbourhoods import find_neighbourhoods

GEOMETRIES = structures()
CRYSTALS = ["alloy", "one_atom", "sheared_one_atom", "slab"]


@pytest.fixture(scope="module")
def predict(gap):
    return laws.predictor(gap)


# -- laws of the potential ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GEOMETRIES)
def test_forces_are_minus_the_gradient(predict, name):
    laws.check_forces(predict, GEOMETRIES[name])


@pytest.mark.parametrize("name", CRYSTALS)
def test_stress_is_the_strain_derivative(predict, name):
    laws.check_stress(predict, GEOMETRIES[name])


@pytest.mark.parametrize("kernel", [DotProduct(1), DotProduct(4), SquaredExponential(0.4)])
@pytest.mark.parametrize("compression", ["off", "mu2", "mu1nu1", "crossover"])
@pytest.mark.parametrize("smoothness", [2, 3])
def test_derivatives_for_every_kernel_and_compression(frames, kernel, compression, smoothness):
    soap = SOAP(["Cu", "Au"], 4.0, n_max=3, l_max=2, compression=compression, smoothness=smoothness)
    fitted = GAP([Term(soap, kernel, n_sparse=8)], verbose=False).fit(frames[-8:])
    predict = laws.predictor(fitted)
    laws.check_forces(predict, alloy(21), n=2)
    laws.check_stress(predict, alloy(21))


def test_derivatives_of_the_default_smoothness(frames):
    """m = 1 has one continuous derivative: away from the cutoff it obeys the same laws."""
    atoms, soap = alloy(21), SOAP(["Cu", "Au"], 4.15, n_max=3, l_max=2)
    distances = np.linalg.norm(find_neighbourhoods(atoms, 4.5).D, axis=1)
    assert np.abs(distances - soap.cutoff).min() > 0.02
    predict = laws.predictor(GAP([Term(soap, DotProduct(2), n_sparse=8)], verbose=False).fit(frames))
    laws.check_forces(predict, atoms)
    laws.check_stress(predict, atoms)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_symmetries(predict, name):
    atoms = GEOMETRIES[name]
    laws.check_momentum(predict, atoms)
    laws.check_rotation(predict, atoms)
    laws.check_permutation(predict, atoms)


@pytest.mark.parametrize("name", ["alloy", "one_atom", "sheared_one_atom"])
def test_cells(predict, name):
    laws.check_lattice_translation(predict, GEOMETRIES[name])
    laws.check_supercell(predict, GEOMETRIES[name])


def test_energies_add_up_beyond_the_cutoff(predict):
    laws.check_additivity(predict, GEOMETRIES["cluster"], Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]]), 4.5)


def test_nothing_acts_at_the_cutoff(predict):
    laws.check_cutoff(predict, "Cu2", 4.5)
    laws.check_cutoff(predict, "CuAu", 4.5)


def test_isolated_atom_has_a_finite_energy_and_no_force(gap):
    p = gap.predict(Atoms("Cu"), return_std=True)
    assert np.isfinite(p.energy[0])
    np.testing.assert_array_equal(p.forces[0], 0.0)
    assert p.stress[0] is None


# -- the Gaussian process -------------------------------------------------------------------------------------------


def test_rows_are_derivatives_of_the_energy_row(gap):
    atoms, h = alloy(31), 1e-4

    def energy_row(a):
        return structure_rows(gap.basis_.environments(a)).energy

    rows = structure_rows(gap.basis_.environments(atoms))
    for i, a in ((0, 0), (2, 1), (3, 2)):
        slope = (energy_row(laws.displaced(atoms, i, a, h)) - energy_row(laws.displaced(atoms, i, a, -h))) / (2 * h)
        np.testing.assert_allclose(rows.forces[3 * i + a], -slope, atol=1e-6 * np.abs(rows.forces).max())
    for v, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        e = np.zeros((3, 3))
        e[a, b] += 0.5 * h
        e[b, a] += 0.5 * h
        slope = (energy_row(laws.strained(atoms, e)) - energy_row(laws.strained(atoms, -e))) / (2 * h)
        np.testing.assert_allclose(rows.virial[v], -slope, atol=1e-6 * np.abs(rows.virial).max())


def test_rows_times_weights_are_the_prediction(gap):
    """The training route (tangents) and the prediction route (pull-back) give one potential."""
    for atoms in GEOMETRIES.values():
        rows = structure_rows(gap.basis_.environments(atoms))
        p = gap.predict(atoms)
        offset = sum(gap.e0_[s] for s in atoms.symbols)
        np.testing.assert_allclose(rows.energy @ gap.alpha_ + offset, p.energy[0], atol=1e-9)
        np.testing.assert_allclose(rows.forces @ gap.alpha_, p.forces[0].ravel(), atol=1e-8)
        if p.stress[0] is not None:
            virial = -p.stress[0] * atoms.get_volume()
            np.testing.assert_allclose(
                rows.virial @ gap.alpha_, virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], atol=1e-8
            )


def test_sparse_equals_dense_when_every_environment_is_a_sparse_point(frames):
    """Energies only: then the energies' covariances lie in the span of the sparse points'."""
    train, test = frames[:5], frames[5:8]
    bare = [Atoms(a) for a in train]
    for atoms, full in zip(bare, train):
        atoms.calc = SinglePointCalculator(atoms, energy=full.get_potential_energy())
    soap = SOAP(["Cu", "Au"], 4.0, n_max=4, l_max=3)
    gap = GAP(
        [Term(soap, DotProduct(2, 1.5), n_sparse=100)], energy_noise=0.01, e0={"Cu": 0.0, "Au": 0.0}, jitter=1e-12
    )
    with pytest.warns(UserWarning, match="n_sparse = 100 exceeds"):
        gap.fit(bare)

    def features(atoms):
        return soap.create(atoms) * soap.feature_scale

    def K(A, B):
        same = lambda a, b: a.numbers[:, None] == b.numbers  # noqa: E731
        return np.array([[(DotProduct(2, 1.5)(features(a), features(b)) * same(a, b)).sum() for b in B] for a in A])

    y = np.array([a.get_potential_energy() for a in bare])
    noise = 0.01 * np.array([len(a) for a in bare])
    mean, covariance = naive.dense_gp(K(bare, bare), K(test, bare), K(test, test), y, noise)
    p = gap.predict(test, return_std=True)
    np.testing.assert_allclose(p.energy, mean, rtol=1e-7)
    np.testing.assert_allclose(p.energy_std, np.sqrt(np.diag(covariance)), rtol=1e-4)


def test_energy_variance_holds_the_cross_terms(gap):
    """A twice repeated cell: every atom has a perfectly correlated copy, so the deviation doubles."""
    atoms = alloy(7)
    one = gap.predict(atoms, return_std=True).energy_std[0]
    two = gap.predict(atoms.repeat((1, 2, 1)), return_std=True).energy_std[0]
    np.testing.assert_allclose(two, 2 * one, rtol=1e-6)


def test_variance_is_small_at_data_and_grows_away_from_it(gap, frames):
    near = gap.predict(frames[:4], return_std=True).energy_std / 4
    squeezed = frames[0].copy()
    squeezed.set_cell(0.8 * frames[0].cell.array, scale_atoms=True)
    with extrapolation(gap, squeezed):
        away = gap.predict(squeezed, return_std=True)
    assert np.all(near < 0.005)  # eV/atom, the noise of the labels
    assert away.energy_std[0] / 4 > 20 * near.max()
    prior = np.sqrt(sum(t.kernel.delta**2 for t in gap.terms))
    assert away.local_energies_std[0].max() <= prior * (1 + 1e-9)


@pytest.mark.parametrize("kernel", [SquaredExponential(0.1, 1.5), DotProduct(64, 1.5)])
def test_variance_is_the_prior_far_from_data_and_the_noise_at_data(frames, kernel):
    """Every training environment is a sparse point, and kernels of a dimer with them are below 1e-6 δ²."""
    train = [Atoms(a) for a in frames[:6]]
    for atoms, full in zip(train, frames):
        atoms.calc = SinglePointCalculator(atoms, energy=full.get_potential_energy())
    soap = SOAP(["Cu", "Au"], 4.5, n_max=5, l_max=4)
    gap = GAP([Term(soap, kernel, n_sparse=12)], energy_noise=0.002, e0={"Cu": 0.0, "Au": 0.0}, verbose=False)
    gap.fit(train)

    def prior_std(atoms):
        return np.sqrt(prior_energy_variance(gap.basis_.environments(atoms)))

    # like atoms of a dimer are equal environments, unlike ones are never compared
    for symbols, std in (("Cu2", 2 * kernel.delta), ("CuAu", np.sqrt(2) * kernel.delta)):
        dimer = Atoms(symbols, [[0, 0, 0], [0, 0, 2.2]])
        with extrapolation(gap, dimer):
            p = gap.predict(dimer, return_std=True)
        np.testing.assert_allclose(p.local_energies_std[0], kernel.delta, rtol=1e-6)
        np.testing.assert_allclose(p.energy_std[0], std, rtol=1e-6)
        np.testing.assert_allclose(prior_std(dimer), std, rtol=1e-12)
    at_data = gap.predict(train, return_std=True).energy_std
    noise = 0.002 * 4  # eV/atom times atoms
    assert np.all(at_data <= noise)
    assert np.all(at_data > 0.9 * noise)  # other frames tell a little about each one
    assert np.all(at_data < 0.003 * np.array([prior_std(a) for a in train]))
    informed = GAP(gap.terms, energy_noise=0.002, e0=gap.e0, verbose=False).fit(frames[:6])
    assert np.all(informed.predict(train, return_std=True).energy_std < at_data)


def test_total_variance_equals_the_full_local_covariance(gap):
    atoms = alloy(3)
    environments = gap.basis_.environments(atoms)
    K_local = local_rows(environments)
    K_tt = np.zeros((len(atoms), len(atoms)))
    for term in gap.terms:
        X = term.descriptor.create(atoms) * term.descriptor.feature_scale
        K_tt += term.kernel(X, X) * (atoms.numbers[:, None] == atoms.numbers)
    covariance = gap.posterior_.covariance(K_local, K_tt)
    p = gap.predict(atoms, return_std=True)
    np.testing.assert_allclose(p.energy_std[0] ** 2, covariance.sum(), rtol=1e-6)
    np.testing.assert_allclose(p.local_energies_std[0] ** 2, np.diag(covariance), rtol=1e-6)
    np.testing.assert_allclose(prior_energy_variance(environments), K_tt.sum())


def test_sparse_covariance_is_positive_semidefinite(gap):
    K = gap.basis_.K_mm()
    np.testing.assert_allclose(K, K.T)
    assert np.linalg.eigvalsh(K).min() > -1e-9 * K.max()


def test_little_noise_interpolates_the_training_data(frames):
    """With every environment a sparse point, energies (not derivatives) can be met exactly."""
    bare = [Atoms(a) for a in frames[:6]]
    for atoms, full in zip(bare, frames):
        atoms.calc = SinglePointCalculator(atoms, energy=full.get_potential_energy())
    terms = [Term(SOAP(["Cu", "Au"], 4.5, n_max=5, l_max=4), DotProduct(4), n_sparse=12)]
    gap = GAP(terms, energy_noise=1e-6, e0={"Cu": 0.0, "Au": 0.0}, verbose=False).fit(bare)
    p = gap.predict(bare, return_std=True)
    reference = [a.get_potential_energy() for a in bare]
    np.testing.assert_allclose(p.energy, reference, atol=1e-4)
    assert p.energy_std.max() < 1e-3


def test_missing_labels_are_absent_not_zero(frames, soap):
    """Dropping the forces of a frame is not the same as setting them to zero, and an unlabelled frame adds no rows."""

    def variant(change):
        out = []
        for k, atoms in enumerate(frames[:4]):
            copy, results = Atoms(atoms), dict(atoms.calc.results)
            change(k, results)
            copy.calc = SinglePointCalculator(copy, **results)
            out.append(copy)
        return GAP([Term(soap, DotProduct(2), 8)], e0={"Cu": 0.0, "Au": 0.0}, verbose=False).fit(out)

    without = variant(lambda k, r: k == 2 and r.pop("forces"))
    everything = variant(lambda k, r: None)
    assert without.posterior_.n_rows == everything.posterior_.n_rows - 12
    zeroed = variant(lambda k, r: k == 2 and r.update(forces=np.zeros((4, 3))))
    assert abs(without.score(frames[:2]) - zeroed.score(frames[:2])) > 1e-3


def test_noise_per_config_type(frames, soap):
    term = [Term(soap, DotProduct(2), 10)]
    both = GAP(term, energy_noise={"bulk": 0.001, "default": 0.001}, verbose=False).fit(frames)
    single = GAP(term, energy_noise=0.001, verbose=False).fit(frames)
    np.testing.assert_allclose(both.predict(frames[0]).energy, single.predict(frames[0]).energy, rtol=1e-9)
    np.testing.assert_allclose(
        both.posterior_.log_marginal_likelihood, single.posterior_.log_marginal_likelihood, rtol=1e-8
    )
    loose = GAP(term, energy_noise={"bulk": 10.0, "default": 0.001}, verbose=False).fit(frames)
    assert not np.isclose(loose.predict(frames[1]).energy, single.predict(frames[1]).energy, rtol=1e-7)


# -- scikit-learn ---------------------------------------------------------------------------------------------------


def test_parameters_nest_and_terms_are_never_changed_in_place(gap):
    params = gap.get_params()
    assert params["terms__0__descriptor__cutoff"] == 4.5
    assert params["terms__1__kernel__zeta"] == 1
    copy = clone(gap)
    before = copy.terms
    copy.set_params(terms__0__kernel__zeta=3, energy_noise=0.1)
    assert copy.terms[0].kernel.zeta == 3
    assert before[0].kernel.zeta == 2
    assert copy.energy_noise == 0.1
    with pytest.raises(
        InputError, match=r"no parameter 'terms__0__kernel__zetta' \(did you mean 'terms__0__kernel__zeta'"
    ):
        copy.set_params(terms__0__kernel__zetta=3)


def test_clone_is_unfitted_and_equal(gap):
    copy = clone(gap)
    assert not hasattr(copy, "posterior_")
    assert copy.terms == gap.terms


def test_grid_search_and_cross_validation(frames, soap):
    base = GAP([Term(soap, DotProduct(2), 8)], e0={"Cu": 0.0, "Au": 0.0}, verbose=False)
    scores = cross_val_score(base, frames[:8], cv=2)
    assert scores.shape == (2,)
    assert np.all(scores < 0)
    search = GridSearchCV(base, {"terms__0__kernel__zeta": [1, 2], "forces_noise": [0.05, 0.5]}, cv=2).fit(frames[:8])
    assert search.best_score_ >= scores.mean() - 1e-12
    assert search.best_params_.keys() == {"terms__0__kernel__zeta", "forces_noise"}


def test_fit_is_reproducible(frames, soap):
    base = GAP([Term(soap, DotProduct(2), 8, sparsification="random")], verbose=False)
    a, b = (clone(base).fit(frames).alpha_ for _ in range(2))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", ["fps", "cur", "kmeans", "random"])
def test_every_sparsification_fits(frames, soap, method):
    fitted = GAP([Term(soap, DotProduct(2), {"Cu": 5, "Au": 7}, method)], verbose=False).fit(frames)
    assert [len(b.X) for b in fitted.blocks_] == [5, 7]
    assert fitted.score(frames) > -1.0


# -- bad input ------------------------------------------------------------------------------------------------------


def small_gap(**changes):
    return GAP(**{"terms": [Term(SOAP(["Cu", "Au"], 4.0, 3, 2), DotProduct(2), 5)], "verbose": False, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"terms": []}, "terms must be a non-empty list of Term"),
        ({"terms": None}, "terms must be a non-empty list of Term"),
        ({"energy_noise": 0.0}, r"energy_noise = 0.0 must be a positive number in eV/atom"),
        ({"forces_noise": -1.0}, r"forces_noise = -1.0 must be a positive number in eV/Å"),
        ({"virial_noise": {"bulk": "a"}}, r"virial_noise\['bulk'\] = 'a' must be a positive number"),
        ({"energy_noise": {"bulc": 0.1}}, r"no entry for config_type 'other' .*: add it, or 'default'"),
        ({"e0": {"Cu": 1.0}}, "e0 has no value for Au"),
        ({"terms": [Term(SOAP(["Cu"], 4.0, 3, 2))]}, "add Au to SOAP"),
        ({"terms": [Term(SOAP(["Cu", "Au"], 4.0, 3, 2), n_sparse=0)]}, "n_sparse = 0 must be a positive whole number"),
        ({"terms": [Term(SOAP(["Cu", "Au"], 4.0, 3, 2), n_sparse={"Cu": 5})]}, "has no entry for Au"),
        ({"terms": [Term(SOAP(["Cu", "Au"], 4.0, 3, 2), sparsification="fbs")]}, "did you mean 'fps'"),
    ],
)
def test_impossible_parameters_are_refused(frames, changes, message):
    with pytest.raises(InputError, match=message):
        small_gap(**changes).fit(frames)


def test_unlabelled_frames_are_refused():
    with pytest.raises(InputError, match="none of the 2 frames has an energy, forces or a stress"):
        small_gap().fit([alloy(0), alloy(1)])


def test_atoms_on_top_of_each_other_are_refused(gap, frames):
    atoms = alloy(0)
    atoms.positions[2] = atoms.positions[0] + [0, 0, 0.01]
    with pytest.raises(InputError, match=r"atoms 0 and 2 are 0.01 Å apart"):
        gap.predict(atoms)


def test_unknown_species_is_refused(gap):
    with pytest.raises(InputError, match=r"the structure .* holds Ni"):
        gap.predict(bulk("Ni"))


def test_more_sparse_points_than_environments_warns(frames):
    with pytest.warns(UserWarning, match="1000"):
        small_gap(terms=[Term(SOAP(["Cu", "Au"], 4.0, 3, 2), DotProduct(2), 1000)]).fit(frames)


@pytest.mark.parametrize("bad", [[], [Atoms()], ["text"]])
def test_no_structures_are_refused(gap, bad):
    with pytest.raises(InputError):
        gap.predict(bad)


def test_prediction_needs_a_fit():
    with pytest.raises(ValueError, match="not fitted"):
        small_gap().predict(alloy(0))


def test_one_structure_or_many_of_different_sizes(gap):
    many = gap.predict([alloy(0), bulk("Cu"), alloy(0)], return_std=True)
    one = gap.predict(alloy(0), return_std=True)
    assert [len(f) for f in many.forces] == [4, 1, 4]
    np.testing.assert_array_equal(many.forces[2], one.forces[0])
    np.testing.assert_array_equal(many.energy_std[[0, 2]], one.energy_std[[0, 0]])


def test_energies_only_and_forces_only_fits(frames, soap):
    for kind in ("energy", "forces", "stress"):
        part = []
        for atoms in frames[:8]:
            copy = Atoms(atoms)
            copy.calc = SinglePointCalculator(copy, **{kind: atoms.calc.results[kind]})
            part.append(copy)
        fitted = small_gap(terms=[Term(soap, DotProduct(2), 8)], e0={"Cu": 0.0, "Au": 0.0}).fit(part)
        assert np.all(np.isfinite(fitted.predict(frames[:8]).energy))


def test_labelled_helper_is_a_conservative_reference():
    """The fixture's own labels obey the laws, so that failures above are ours."""

    def predict(a):
        results = labelled(a).calc.results
        return results["energy"], results["forces"], None

    laws.check_forces(predict, alloy(5), atol=1e-5)
