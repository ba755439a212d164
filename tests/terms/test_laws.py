"""Every term and their sums obey the same laws: exact derivatives, invariance, extent, rows, variances, files."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import laws
import naive
import numpy as np
import pytest
from ase import Atoms
from example_structures import alloy, labelled
from expected_warnings import extrapolation
from models_of_terms import CHARGED, COULOMB, CUTOFF, FEATURES, GEOMETRIES, MODELS, PAIR, TRIPLET, S, fitted, geometry

from gapkit import ACSF, GAP, Composition, GAPCalculator, InputError, Linear, Pair, Term, Triplet
from gapkit.covariances.derivative_variance import derivative_variances
from gapkit.covariances.rows import local_rows, prior_energy_variance, structure_rows
from gapkit.errors import ExtrapolationWarning
from gapkit.geometry.neighbourhoods import find_neighbourhoods
from gapkit.potential import ensemble as ensembles
from gapkit.potential.ensemble import sample
from gapkit.potential.settings import settings_from_dict
from gapkit.runtime.threads import set_num_threads
from gapkit.terms.basis import Basis
from gapkit.terms.evaluate import evaluate
from gapkit.terms.serialisation import term_from_dict, term_to_dict
from gapkit.uncertainty.functionals import joint_posterior


@pytest.fixture(params=MODELS)
def gap(request) -> GAP:
    return fitted(request.param)


@pytest.fixture(params=[name for name in MODELS if name not in CHARGED])
def short_ranged(request) -> GAP:
    return fitted(request.param)


@pytest.fixture(params=FEATURES)
def features(request) -> GAP:
    """Models whose prior covariance is known from their rows."""
    return fitted(request.param)


def rows_of(gap: GAP, atoms: Atoms):
    return structure_rows(gap.basis_.environments(atoms))


def stacked(rows) -> np.ndarray:
    return np.vstack([rows.energy, rows.forces, rows.virial])


# -- values and derivatives -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GEOMETRIES)
def test_energies_and_derivatives_are_those_of_the_twin(short_ranged, name):
    """Without differences of energies: by complex steps, to 1e-8 of the largest force."""
    gap, atoms = short_ranged, GEOMETRIES[name]
    exact = float(naive.energy(gap, atoms))
    np.testing.assert_allclose(gap.predict(atoms).energy[0], exact, rtol=1e-10, atol=1e-9)
    laws.check_exact_derivatives(gap, atoms, atol=3e-8, n=2)


@pytest.mark.parametrize("model", CHARGED)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_derivatives_with_lattice_sums_are_those_of_energy_differences(model, name):
    gap = fitted(model)
    atoms, predict = geometry(gap, name), laws.predictor(gap)
    laws.check_forces(predict, atoms, atol=1e-7, n=2, h=1e-3)  # the slab has a pair at 4.5017 Å
    if atoms.pbc.all():
        laws.check_stress(predict, atoms, atol=1e-7)


@pytest.mark.parametrize("strain", [-0.08, -0.02, 0.03, 0.11])
def test_derivatives_are_those_of_energy_differences_over_a_sweep(gap, strain):
    atoms = GEOMETRIES["cluster"].copy()
    atoms.positions *= 1 + strain
    laws.check_forces(laws.predictor(gap), atoms, atol=1e-6)


@pytest.mark.parametrize("name", ["alloy", "slab", "sheared_one_atom"])
def test_invariances(gap, name):
    atoms, predict = geometry(gap, name), laws.predictor(gap)
    for check in (laws.check_momentum, laws.check_rotation, laws.check_permutation):
        check(predict, atoms)
    if atoms.pbc.all():
        laws.check_lattice_translation(predict, atoms)
        laws.check_supercell(predict, atoms)


def test_extensive_beyond_the_cutoff(short_ranged):
    laws.check_additivity(
        laws.predictor(short_ranged), GEOMETRIES["cluster"], Atoms("AuCu", [[0, 0, 0], [2.5, 0, 0]]), CUTOFF
    )


@pytest.mark.parametrize("cutoff", [3.3, 3.4, 4.1, 4.2, 4.5, 4.6])
def test_smooth_through_every_cutoff(gap, cutoff):
    """A third atom leaves a dimer: energy and force have no step anywhere, and end at the largest cutoff."""

    def at(r):
        p = gap.predict(Atoms("CuAuCu", [[0, 0, 0], [0, 2.4, 0], [r, 0.0, 0]]))
        return p.energy[0], p.forces[0]

    (e, f), (e_in, f_in) = at(cutoff + 1e-7), at(cutoff - 1e-7)
    assert abs(e - e_in) < 1e-5
    np.testing.assert_allclose(f, f_in, atol=1e-5)
    if COULOMB in gap.terms:
        return
    beyond, gone = at(CUTOFF + 1e-9), at(3 * CUTOFF)
    np.testing.assert_allclose(beyond[0], gone[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(beyond[1], gone[1], atol=1e-12)


# -- rows, covariances, variances -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GEOMETRIES)
def test_rows_times_any_weights_are_the_potential_with_these_weights(gap, name):
    atoms, alpha = geometry(gap, name), np.random.default_rng(0).normal(size=len(gap.alpha_))
    rows, found = rows_of(gap, atoms), gap.basis_.environments(atoms)
    p, again = evaluate(found, alpha, gap.basis_.fold(alpha)), evaluate(found, alpha)
    virial = -p.strain_derivative[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
    np.testing.assert_allclose(rows.energy @ alpha, p.local_energies.sum(), rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(rows.forces @ alpha, p.forces.ravel(), atol=2e-8)
    np.testing.assert_allclose(rows.virial @ alpha, virial, rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(again.forces, p.forces, atol=1e-11)
    local = local_rows(found)
    np.testing.assert_allclose(local @ alpha, p.local_energies, rtol=1e-10, atol=1e-9)


def test_rows_without_derivatives_are_the_same_energies(gap):
    atoms = geometry(gap, "slab")
    bare = structure_rows(gap.basis_.environments(atoms), derivatives=False)
    np.testing.assert_allclose(bare.energy, rows_of(gap, atoms).energy, rtol=1e-12, atol=1e-14)
    assert bare.forces.shape == (0, len(gap.alpha_))
    np.testing.assert_array_equal(bare.virial, 0.0)


def test_sparse_covariance_is_symmetric_and_positive(gap):
    K = gap.basis_.K_mm()
    np.testing.assert_array_equal(K, K.T)
    assert np.linalg.eigvalsh(K).min() > -1e-9 * np.trace(K)
    assert gap.posterior_.conditioning.jitter == 1e-9


def test_the_amplitude_multiplies_rows_and_sparse_covariance(gap):
    atoms = geometry(gap, "slab")
    louder = replace(gap.basis_, terms=tuple(term.with_delta(2 * term.delta) for term in gap.terms_))
    rows = structure_rows(louder.environments(atoms))
    np.testing.assert_allclose(stacked(rows), 4 * stacked(rows_of(gap, atoms)), rtol=1e-14)
    np.testing.assert_allclose(louder.K_mm(), 4 * gap.basis_.K_mm(), rtol=1e-14)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_standard_deviations_are_those_of_dense_algebra(features, name):
    """K_tt = K_tm K_mm⁻¹ K_mt: what the features do not span has no variance."""
    atoms = geometry(features, name)
    K_t = stacked(rows_of(features, atoms))
    K = features.basis_.K_mm()
    expected = features.posterior_.variance(K_t, np.einsum("tm,mt->t", K_t, np.linalg.solve(K, K_t.T)))
    with extrapolation(features, atoms):
        p = features.predict(atoms, return_std="all")
    scale = np.sqrt(expected.max())
    np.testing.assert_allclose(p.energy_std[0], np.sqrt(expected[0]), atol=1e-7 * scale)
    np.testing.assert_allclose(p.forces_std[0].ravel(), np.sqrt(expected[1:-6]), atol=1e-7 * scale)
    if p.stress_std[0] is not None:
        strain = p.stress_std[0][(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)] * atoms.get_volume()
        np.testing.assert_allclose(strain, np.sqrt(expected[-6:]), atol=1e-7 * scale)
    local = local_rows(features.basis_.environments(atoms))
    variance = features.posterior_.variance(local, np.einsum("im,mi->i", local, np.linalg.solve(K, local.T)))
    np.testing.assert_allclose(p.local_energies_std[0], np.sqrt(variance), atol=1e-7 * scale)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("model", ["sum", "everything"])
def test_prior_variances_of_a_sum_are_the_sum_of_prior_variances(model, name):
    """Terms are independent: each alone, in its own model of the same sparse points, adds its part."""
    gap = fitted(model)
    atoms = geometry(gap, name)

    def untaught(basis):
        L = np.linalg.cholesky(basis.K_mm() + 1e-9 * np.eye(basis.n_columns))
        return replace(gap.posterior_, alpha=np.zeros(len(L)), L=L, R=L.T.copy())

    found = gap.basis_.environments(atoms)
    whole, total = derivative_variances(found, untaught(gap.basis_)), prior_energy_variance(found)
    for t in range(len(gap.terms_)):
        own = Basis.of_points(gap.terms_, {key: X for key, X in gap.basis_.points.items() if key[0] == t})
        alone = own.environments(atoms)
        part = derivative_variances(alone, untaught(own))
        whole = whole._replace(forces=whole.forces - part.forces, strain=whole.strain - part.strain)
        total -= prior_energy_variance(alone)
    scale = 1.0 + prior_energy_variance(found)
    np.testing.assert_allclose(whole.forces, 0.0, atol=1e-7 * scale)
    np.testing.assert_allclose(whole.strain, 0.0, atol=1e-7 * scale)
    assert abs(total) < 1e-9 * scale


def test_standard_deviations_are_small_at_data_and_positive_elsewhere(gap):
    at, away = labelled(alloy(0)), geometry(gap, "slab")
    known, unknown = (gap.predict(a, return_std="all") for a in (at, away))
    assert known.energy_std[0] < 0.3 * unknown.energy_std[0]
    assert np.all(unknown.local_energies_std[0] > 0)
    assert np.all(unknown.forces_std[0] >= 0)
    only = gap.predict(away, return_std="local")
    np.testing.assert_allclose(only.local_energies_std[0], unknown.local_energies_std[0], rtol=1e-12)


def test_samples_are_whole_potentials(gap):
    atoms, alpha = GEOMETRIES["alloy"], gap.posterior_.sample(1, np.random.default_rng(0))[0]
    p = evaluate(gap.basis_.environments(atoms), alpha, gap.basis_.fold(alpha))
    np.testing.assert_allclose(p.forces.ravel(), rows_of(gap, atoms).forces @ alpha, atol=1e-7)


def test_joint_posterior_has_the_same_standard_deviations(gap):
    atoms = GEOMETRIES["alloy"]
    p = gap.predict(atoms, return_std="all")
    joint = joint_posterior(gap, atoms, ("energy", "local_energies", "forces", "stress"))
    std = np.sqrt(np.diag(joint.covariance))
    stress = p.stress_std[0][(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
    expected = [p.energy_std, p.local_energies_std[0], p.forces_std[0].ravel(), stress]
    np.testing.assert_allclose(std, np.concatenate(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("by_rows", [True, False])
def test_members_of_an_ensemble_are_single_potentials(gap, by_rows, monkeypatch):
    monkeypatch.setattr(ensembles, "rows_are_cheaper", lambda *_: by_rows)
    atoms, members = GEOMETRIES["alloy"], sample(gap, 3)
    p = members.predict(atoms)
    one = members.member(2).predict(atoms)
    np.testing.assert_allclose(p.energy[2], one.energy[0], atol=1e-8)
    np.testing.assert_allclose(p.forces[2], one.forces[0], atol=1e-7)
    np.testing.assert_allclose(p.stress[2], one.stress[0], atol=1e-8)
    np.testing.assert_allclose(p.local_energies[2], one.local_energies[0], atol=1e-8)


# -- files, calculators, threads --------------------------------------------------------------------------------------


def test_saved_and_loaded_models_predict_the_same_bits(gap, tmp_path):
    gap.save(tmp_path / "m.gap")
    loaded, atoms = GAP.load(tmp_path / "m.gap"), geometry(gap, "slab")
    p, q = (g.predict(atoms, return_std="all") for g in (gap, loaded))
    for a, b in ((p.energy, q.energy), (p.forces[0], q.forces[0]), (p.forces_std[0], q.forces_std[0])):
        np.testing.assert_array_equal(a, b)
    assert [term_to_dict(t) for t in loaded.terms] == [term_to_dict(t) for t in gap.terms]


def test_the_calculator_takes_every_term(gap):
    atoms = geometry(gap, "slab").copy()
    atoms.calc = GAPCalculator(gap)
    p = gap.predict(atoms)
    np.testing.assert_allclose(atoms.get_forces(), p.forces[0], atol=1e-9)
    atoms.positions[0] += 0.05
    np.testing.assert_allclose(atoms.get_potential_energy(), gap.predict(atoms).energy[0], rtol=1e-11)


@pytest.mark.parametrize("model", ["sum", "everything"])
def test_bit_identical_for_any_number_of_threads(model):
    gap, atoms = fitted(model), GEOMETRIES["alloy"].repeat((5, 4, 4))
    found = []
    for n in (1, 3):
        set_num_threads(n)
        try:
            p = gap.predict(atoms)
            found.append((p.energy.tobytes(), p.forces[0].tobytes()))
        finally:
            set_num_threads(None)
    assert found[0] == found[1]


@pytest.mark.parametrize("terms", MODELS.values(), ids=MODELS)
def test_configurations_name_every_term(terms):
    for term in terms:
        data = term_to_dict(term)
        assert term_to_dict(term_from_dict(data)) == data
        bare = {k: v for k, v in data.items() if k != "species"}
        for part in ("descriptor", "function"):
            if part in data:
                bare[part] = {k: v for k, v in data[part].items() if k != "species"}
        if data.get("scales") or data.get("descriptor", {}).get("scales"):
            with pytest.raises(InputError, match="give the species"):
                settings_from_dict({"terms": [bare]})
            bare = data
        (made,) = settings_from_dict({"terms": [bare]}).make_terms(S)
        assert term_to_dict(made) == data


# -- what no term accepts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("term", [Pair(["Cu"]), Triplet(["Cu"]), Linear(Composition(["Cu"])), Term(ACSF(["Cu"]))])
def test_unknown_species_are_refused(term):
    with pytest.raises(InputError, match="add Au"):
        GAP([term], verbose=False).fit([labelled(alloy(0))])


@pytest.mark.parametrize("term", [Pair(S), Triplet(S)])
def test_data_without_neighbours_are_refused(term):
    atoms = labelled(Atoms("Cu", cell=[20] * 3, pbc=True))
    with pytest.raises(InputError, match="raise the cutoff"):
        GAP([term], verbose=False, e0={"Cu": 0.0}).fit([atoms])


# -- sparse points ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("term", [PAIR, TRIPLET])
def test_candidates_merge_in_any_order(term):
    """The same sparse points from frames one by one, or from halves that were merged before; and few candidates."""
    frames = [alloy(k) for k in range(8)]
    found = [term.offered(find_neighbourhoods(a, term.cutoff), a.numbers) for a in frames]
    one = reduce(term.merge, found)
    other = term.merge(reduce(term.merge, found[:3]), reduce(term.merge, found[3:]))
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])
    np.testing.assert_array_equal(term.select(one, 0), term.select(other, 0))
    assert all(len(x) < 400 for x in one.values())
    assert sum(len(x) for f in found for x in f.values()) > 1.5 * sum(len(x) for x in one.values())


def test_species_that_never_met_do_not_act():
    """Copper and gold apart in the data: the prior for the pair of both."""
    one = [labelled(GEOMETRIES["one_atom"]), labelled(GEOMETRIES["sheared_one_atom"])]
    with pytest.warns(ExtrapolationWarning, match="no training frame has Cu") as caught:
        gap = GAP([PAIR, TRIPLET], verbose=False, e0={"Cu": 0.0, "Au": 0.0}).fit(one)
    assert len(caught) == 2
    with pytest.warns(ExtrapolationWarning, match=r"\(Cu-Au\) .* a pair that no training frame has"):
        p = gap.predict(Atoms("CuAu", [[0, 0, 0], [2.5, 0, 0]]), return_std="all")
    np.testing.assert_array_equal(p.forces[0], 0.0)
    assert p.energy_std[0] == pytest.approx(PAIR.delta, rel=1e-3)
