"""Learned species weights: how features depend on weights, recovery of known ones, refusals, files, command."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from example_structures import alloy, labelled
from hypothesis import given, settings
from hypothesis import strategies as st
from run_gapkit import gapkit

from gapkit import GAP, SOAP, Composition, DotProduct, InputError, Linear, Pair, Term, learn_species_weights, tune
from gapkit.covariances.rows import structure_rows
from gapkit.fitting.noise import Noises
from gapkit.gaussian_process.kernels import normalise
from gapkit.model_selection.species_weights_evidence import MaximisedEvidence, WeightEvidence, two_samples
from gapkit.model_selection.species_weights_result import PRIOR_WIDTH
from gapkit.potential.settings import settings_from_dict
from gapkit.structures.frames import labelled_frames
from gapkit.terms.basis import Basis
from gapkit.terms.serialisation import term_from_dict, term_to_dict

S = ("Cu", "Au")
E0 = {"Cu": 0.0, "Au": 0.0}
COMPRESSIONS = ("off", "mu1nu1", "mu2", "crossover")
TRUTH = {"mu2": -0.5, "mu1nu1": 2.0, "crossover": 0.6}  # w_Au/w_Cu
NOISE = (1e-4, 1e-3, 1e-3)


def soap(compression: str, ratio: float | None = None) -> SOAP:
    weights = None if ratio is None else {"Cu": 1.0, "Au": ratio}
    return SOAP(S, 4.0, 2, 2, smoothness=2, compression=compression, species_weights=weights)


def model(*terms, **changes) -> GAP:
    return GAP(list(terms), 0.01, 0.1, 0.1, e0=E0, verbose=False, **changes)


def drawn(compression: str, ratio: float, seed: int = 0, n: int = 30) -> list[Atoms]:
    """Labels that are a draw from the prior of a kernel with known weights, with noise: α = K_mm^(-1/2) ξ."""
    rng, term = np.random.default_rng(seed), Term(soap(compression, ratio), DotProduct(2, 1.0))
    structures = [alloy(100 * seed + k, 0.25, 0.08) for k in range(n)]
    Q = np.vstack([normalise(term.descriptor.features(a))[0] for a in structures])
    numbers = np.concatenate([a.numbers for a in structures])
    basis = Basis.of_points([term], {(0, int(z)): Q[numbers == z] for z in np.unique(numbers)})
    values, vectors = np.linalg.eigh(basis.K_mm())
    own = values > 1e-11 * values[-1]
    alpha = (vectors[:, own] / np.sqrt(values[own])) @ rng.normal(size=own.sum())
    for atoms in structures:
        rows = structure_rows(basis.environments(atoms))
        energy = rows.energy @ alpha + NOISE[0] * len(atoms) * rng.normal()
        forces = (rows.forces @ alpha).reshape(-1, 3) + NOISE[1] * rng.normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return structures


@pytest.fixture(scope="module")
def alloys() -> list[Atoms]:
    return [labelled(alloy(k, 0.15)) for k in range(16)]


@pytest.fixture(scope="module", params=TRUTH)
def found(request):
    gap = model(Term(soap(request.param), DotProduct(2, 1.0), 60))
    return learn_species_weights(gap, drawn(request.param, TRUTH[request.param]), n_atoms=10**6)


# -- how features depend on weights---------------------------------------------------------------------------------


@given(factor=st.floats(1e-3, 1e3), sign=st.sampled_from([-1.0, 1.0]), ratio=st.floats(0.05, 20.0))
@pytest.mark.parametrize("compression", COMPRESSIONS)
@settings(max_examples=20, deadline=None)
def test_a_common_factor_and_sign_of_all_weights_do_nothing(compression, factor, sign, ratio):
    atoms, a = alloy(3), soap(compression, ratio)
    b = replace(a, species_weights={"Cu": sign * factor, "Au": sign * factor * ratio})
    p, q = (normalise(x.features(atoms))[0] for x in (a, b))
    np.testing.assert_allclose(p, q, atol=1e-13)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_relative_signs_matter_where_densities_are_summed(compression):
    atoms = alloy(3)
    kernels = [q @ q.T for q in (normalise(soap(compression, r).features(atoms))[0] for r in (0.7, -0.7))]
    same = np.allclose(*kernels, rtol=0, atol=1e-12)
    assert same == (compression in ("off", "crossover"))


# -- the evidence of weights ----------------------------------------------------------------------------------------


def evidence(*terms, n_sparse=60, frames=None) -> WeightEvidence:
    frames = list(labelled_frames([labelled(alloy(k, 0.15)) for k in range(6)] if frames is None else frames))
    learned = [t for t, term in enumerate(terms) if isinstance(term, Term)]
    return WeightEvidence(terms, Noises(0.01, 0.1, 0.1), E0, frames, learned, n_sparse)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_evidence_is_that_of_a_fit_whose_sparse_points_are_all_environments(compression, alloys):
    term = Term(soap(compression), DotProduct(1, 1.0), 32)
    weights = {"Cu": 1.3, "Au": 0.4}
    log_p = evidence(term, frames=alloys)([weights]).log_evidence
    gap = model(replace(term, descriptor=replace(term.descriptor, species_weights=weights))).fit(alloys, optimize=True)
    assert log_p == pytest.approx(gap.posterior_.log_marginal_likelihood, abs=0.02)


def test_evidence_is_smooth_and_does_not_depend_on_scale_and_common_sign(alloys):
    of = evidence(Term(soap("mu2"), DotProduct(2, 1.0)), Pair(S, 4.0), n_sparse=12, frames=alloys)
    at = [of([{"Cu": 1.0, "Au": r}]).log_evidence for r in np.exp(np.linspace(0.0, 0.02, 5))]
    np.testing.assert_allclose(np.diff(at, 2), 0.0, atol=0.05 * np.abs(np.diff(at)).max() + 2e-3)
    assert of([{"Cu": -3.0, "Au": -3.0}]).log_evidence == pytest.approx(at[0], abs=2e-3)
    assert of.n_columns > 24  # and Pair's


def test_frames_are_two_samples_of_the_stream_that_hold_so_many_atoms(alloys):
    isolated = labelled(Atoms("Cu", cell=[20] * 3, pbc=True), "isolated_atom")
    seen = []
    for seed in range(12):
        sample = two_samples(labelled_frames([isolated, *alloys]), 22, seed)
        assert [sum(len(f.atoms) for f in part) for part in (sample.used, sample.others)] == [24, 20]  # of 44
        names = [[f.digest() for f in part] for part in (sample.used, sample.others)]
        assert not set(names[0]) & set(names[1])
        assert sample.references.e0()["Cu"] == pytest.approx(isolated.get_potential_energy())
        seen.append(tuple(names[0]))
    assert len(set(seen)) > 9
    whole = two_samples(labelled_frames(alloys), 10**6, 0)
    assert [f.digest() for f in whole.used] == [f.digest() for f in labelled_frames(alloys)]
    assert whole.others == []


# -- learning -------------------------------------------------------------------------------------------------------


def test_known_weights_are_found_within_their_error_bar(found):
    (own,) = found.terms
    truth, ratio = TRUTH[own.compression], own.ratio("Au", "Cu")
    assert np.sign(ratio.value) == np.sign(truth)
    assert 0 < ratio.std_log < 0.2
    assert abs(np.log(ratio.value / truth)) < 3 * ratio.std_log
    assert found.gain > 10.0
    assert found.log_evidence == max(v.log_evidence for v in found.history)
    assert np.prod(list(own.weights.values())) == pytest.approx(np.sign(truth), rel=1e-5)  # of six digits
    assert (found.other_signs is None) == (own.compression == "crossover")
    assert found.notes() == ()
    assert found.confirmed is None  # all frames were used


def test_the_known_weights_are_as_good_as_those_found(found):
    """log p(truth) is less than the optimum's by no more than chance has it, χ²/2 of one degree of freedom."""
    compression = found.terms[0].compression
    term, frames = Term(soap(compression), DotProduct(2, 1.0), 60), drawn(compression, TRUTH[compression])
    of = WeightEvidence([term], Noises(0.01, 0.1, 0.1), E0, list(labelled_frames(frames)), [0], 60)
    truth = of([{"Cu": 1.0, "Au": TRUTH[compression]}]).log_evidence
    assert -0.5 < found.log_evidence - truth < 5.0


@pytest.mark.slow
def test_error_bars_cover_the_truth_as_often_as_they_say():
    z = []
    for seed in range(1, 13):
        frames = drawn("mu2", -0.5, seed, 20)
        gap = model(Term(soap("mu2"), DotProduct(2, 1.0), 60))
        ratio = learn_species_weights(gap, frames, n_atoms=10**6).terms[0].ratio("Au", "Cu")
        assert ratio.value < 0
        z.append(np.log(ratio.value / -0.5) / ratio.std_log)
    assert 0.3 < np.mean(np.square(z)) < 2.5  # χ²/12 of 12 degrees of freedom lies there in 98 of 100 cases


def test_curvature_is_that_of_the_evidence_along_the_ratio(found):
    """Independent of the search's own differences: a parabola through many points around the optimum."""
    (own,) = found.terms
    ratio, compression = own.ratio("Au", "Cu"), own.compression
    of = WeightEvidence(
        [Term(soap(compression), DotProduct(2, 1.0), 60)], Noises(0.01, 0.1, 0.1), E0,
        list(labelled_frames(drawn(compression, TRUTH[compression]))), [0], 60,
    )  # fmt: skip
    t = np.linspace(-1.5, 1.5, 9)
    log_p = [of([{"Cu": 1.0, "Au": ratio.value * np.exp(ratio.std_log * s)}]).log_evidence for s in t]
    fit = np.polynomial.Polynomial.fit(t, log_p, 4, domain=[-1, 1])
    assert -fit.deriv(2)(0.0) == pytest.approx(1.0, abs=0.15)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_template_alone(alloys):
    gap = model(Term(soap("mu2", 0.7), DotProduct(2, 1.0), 12))
    before = copy.deepcopy(gap.get_params())
    first, again = (learn_species_weights(gap, alloys, n_atoms=40, n_sparse=12, n_starts=1) for _ in range(2))
    assert first.params == again.params
    assert first.history == again.history
    assert gap.get_params() == before
    assert first.history[0].weights[0]["Au"] / first.history[0].weights[0]["Cu"] == pytest.approx(0.7, rel=1e-5)
    assert first.log_evidence >= first.log_evidence_before


def test_signs_stay_if_asked_to(alloys):
    gap = model(Term(soap("mu2", -1.0), DotProduct(2, 1.0), 12))
    found = learn_species_weights(gap, alloys, n_atoms=40, n_sparse=12, n_starts=1, signs=False)
    assert all(v.weights[0]["Cu"] > 0 > v.weights[0]["Au"] for v in found.history)
    assert found.other_signs is None


def test_climbs_start_with_different_signs(found):
    if (compression := found.terms[0].compression) == "crossover":
        assert found.climbs[0] == pytest.approx(found.climbs[1], abs=0.05)  # two starts, one optimum
    else:
        assert found.climbs[0] - found.climbs[1] == pytest.approx(found.other_signs, abs=1e-9), compression


def test_weights_without_an_evidence_are_left_aside(alloys, monkeypatch):
    whole, calls = WeightEvidence.__call__, []

    def partly(self, weights):
        calls.append(weights)
        if len(calls) > 1 and weights[0]["Au"] > 1.0:
            raise InputError("the covariance of the sparse points cannot be factorised.")
        return whole(self, weights)

    monkeypatch.setattr(WeightEvidence, "__call__", partly)
    gap = model(Term(soap("mu2"), DotProduct(2, 1.0), 8))
    found = learn_species_weights(gap, alloys, n_atoms=32, n_sparse=8, n_starts=1)
    assert found.terms[0].weights["Au"] <= 1.0
    monkeypatch.setattr(WeightEvidence, "__call__", lambda *_: (_ for _ in ()).throw(InputError("no factor")))
    with pytest.raises(InputError, match="no factor"):
        learn_species_weights(gap, alloys, n_atoms=32, n_sparse=8)


def test_several_terms_are_learned_together_or_one_by_one(alloys):
    short, long = (Term(replace(soap(c), cutoff=r), DotProduct(2, 1.0), 8) for c, r in (("mu2", 3.2), ("mu1nu1", 4.2)))
    gap = model(short, Pair(S, 4.0), Linear(Composition(S), 0.1), long)
    both = learn_species_weights(gap, alloys, n_atoms=32, n_sparse=8, n_starts=1)
    assert [t.term for t in both.terms] == [0, 3]
    assert set(both.params) == {f"terms__{t}__descriptor__species_weights" for t in (0, 3)}
    one = learn_species_weights(gap, alloys, terms=[3], n_atoms=32, n_sparse=8, n_starts=1)
    assert [t.term for t in one.terms] == [3]
    fitted = gap.set_params(**both.params).fit(alloys)
    assert fitted.terms_[0].descriptor.species_weights == both.terms[0].weights
    assert fitted.terms_[3].descriptor.species_weights == both.terms[1].weights


def test_a_species_that_is_not_in_the_data_keeps_its_prior(alloys):
    term = Term(replace(soap("mu2"), species=("Cu", "Au", "Ag")), DotProduct(2, 1.0), 12)
    found = learn_species_weights(model(term), alloys, n_atoms=40, n_sparse=12, n_starts=1)
    (own,) = found.terms
    assert own.note("Ag") == "not determined by the data"
    assert own.note("Cu") == own.note("Au") == ""
    assert "weight of Ag in term 0 is not determined" in found.table()
    assert np.all(np.linalg.eigvalsh(own.covariance) > -1e-12)
    np.testing.assert_allclose(own.covariance.sum(axis=0), 0.0, atol=1e-12)  # the mean logarithm is fixed


@pytest.mark.parametrize("species", [S, (*S, "Ag"), (*S, "Ag", "Pd")])
def test_labels_that_say_nothing_leave_the_prior(alloys, monkeypatch, species):
    """log|w| less its mean, of independent normal logarithms: covariance σ² (1 - 1/n)."""
    monkeypatch.setattr(WeightEvidence, "__call__", lambda *_: MaximisedEvidence(-7.0, -7.0))
    gap = model(Term(replace(soap("mu2"), species=species), DotProduct(2, 1.0), 8))
    (own,) = learn_species_weights(gap, alloys, n_atoms=32, n_sparse=8, n_starts=1).terms
    n = len(species)
    np.testing.assert_allclose(own.covariance, PRIOR_WIDTH**2 * (np.eye(n) - 1.0 / n), atol=1e-6)
    np.testing.assert_allclose([abs(w) for w in own.weights.values()], 1.0, atol=0.02)
    assert {own.note(symbol) for symbol in species} == {"not determined by the data"}


def test_many_species_change_signs_one_after_another():
    """Six species have 31 other patterns of signs: fewer are tried, and each is reached by single changes."""
    six = ["Cu", "Au", "Ag", "Pt", "Pd", "Ni"]
    frames = []
    for k in range(4):
        atoms = alloy(k, 0.15).repeat((2, 1, 1))
        atoms.symbols[:] = [six[(k + i) % 6] for i in range(8)]
        frames.append(labelled(atoms))
    gap = GAP([Term(SOAP(six, 3.5, 2, 1, compression="mu2"), DotProduct(1, 1.0), 3)], e0=dict.fromkeys(six, 0.0))
    found = learn_species_weights(gap, frames, n_sparse=3, n_starts=1)
    signs = [tuple(np.sign(list(v.weights[0].values()))) for v in found.history]
    steps = [sum(a != b for a, b in zip(signs[0], other)) for other in signs[1:6]]
    assert steps == [1] * 5
    assert len(found.terms[0].weights) == 6
    assert found.gain > 0


def test_other_frames_confirm_what_all_frames_know():
    """A draw of one kernel; and weights that were learned from noise, which others do not share."""
    gap = model(Term(soap("mu2"), DotProduct(2, 1.0), 60))
    found = learn_species_weights(gap, drawn("mu2", -0.5), n_atoms=60, n_starts=1)
    assert found.confirmed > 10
    assert f"on other frames: {found.confirmed:+.2f}" in found.table()
    frames, rng = drawn("mu2", -0.5, 7, 12), np.random.default_rng(0)
    for atoms in frames:
        atoms.calc.results = {"energy": rng.normal(), "forces": rng.normal(size=(4, 3))}
    noise = learn_species_weights(gap, frames, n_atoms=24, n_starts=1)
    assert noise.confirmed < 2 < found.confirmed
    assert "other frames do not confirm" in noise.table()


def test_the_table_tells_the_story(found):
    table = found.table()
    (own,) = found.terms
    assert f"({found.gain:+.2f})" in table
    assert f"{len(found.history)} evaluations" in table
    for symbol, weight in own.weights.items():
        assert f"{weight:.3f}" in next(line for line in table.splitlines() if f" {symbol} " in line)
    assert ("next best signs" in table) == (own.compression != "crossover")
    data = found.to_dict()
    assert data["terms"][0]["weights"] == own.weights
    assert yaml.safe_load(yaml.safe_dump(data)) == data


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"terms": [1]}, "term 1 is not a SOAP of several species: name some of terms=\\[0\\]"),
        ({"terms": [7]}, "term 7 is not a SOAP"),
        ({"terms": []}, "no species weights to learn"),
        ({"gap": model(Pair(S))}, "give the GAP a term with SOAP"),
        ({"gap": model(Term(SOAP(["Cu"]), n_sparse=5))}, "no species weights to learn"),
        ({"gap": model(Term(replace(soap("mu2"), engine="dscribe"), n_sparse=5))}, "engine='numba'"),
        ({"gap": GAP([])}, "non-empty list of Term"),
        ({"n_atoms": 0}, "n_atoms = 0 must be"),
        ({"n_sparse": 2.5}, "n_sparse = 2.5 must be"),
        ({"n_starts": float("nan")}, "n_starts = nan must be"),
        ({"n_atoms": "many"}, "n_atoms = 'many' must be"),
        ({"random_state": -1}, "random_state = -1 must be"),
        ({"terms": 0}, "terms = 0 must be a list"),
        ({"terms": [0.0]}, "must be a list"),
        ({"gap": "soap"}, "for a GAP, not for str"),
    ],
)
def test_what_cannot_be_learned_is_refused(alloys, changes, words):
    given = {"gap": model(Term(soap("mu2"), n_sparse=5), Pair(S))} | changes
    with pytest.raises(InputError, match=words):
        learn_species_weights(structures=alloys, **given)


def test_data_without_neighbours_or_labels_are_refused(alloys):
    gap = model(Term(soap("mu2"), n_sparse=5))
    isolated = labelled(Atoms("Cu", cell=[20] * 3, pbc=True), "isolated_atom")
    for frames in ([isolated], [alloy(0)]):
        with pytest.raises(InputError, match="none of the frames has labels"):
            learn_species_weights(gap, frames)


@pytest.mark.parametrize("weight", [0.0, float("nan"), float("inf"), "1"])
def test_weights_that_make_no_density_are_refused(weight):
    with pytest.raises(InputError, match="species_weights"):
        replace(soap("mu2"), species_weights={"Cu": 1.0, "Au": weight}).features(alloy(0))


def test_ratios_of_unknown_species_are_refused(found):
    with pytest.raises(InputError, match="no weight of 'Ag', only of Cu, Au"):
        found.terms[0].ratio("Ag", "Cu")


# -- files and the command ------------------------------------------------------------------------------------------


def test_weights_travel_in_configurations_and_model_files(found, alloys, tmp_path):
    (own,) = found.terms
    gap = model(Term(soap(own.compression), DotProduct(2, 1.0), 8)).set_params(**found.params)
    data = yaml.safe_load(yaml.safe_dump(term_to_dict(gap.terms[0])))
    assert term_from_dict(data) == term_from_dict(term_to_dict(gap.terms[0]))
    assert data["descriptor"]["species_weights"] == own.weights
    del data["descriptor"]["species"]
    (made,) = settings_from_dict({"terms": [data]}).make_terms(S)
    assert made.descriptor.species_weights == own.weights
    gap.fit(alloys).save(tmp_path / "m.gap")
    loaded = GAP.load(tmp_path / "m.gap")
    assert loaded.terms_[0].descriptor.species_weights == own.weights
    np.testing.assert_array_equal(loaded.predict(alloys[0]).forces[0], gap.predict(alloys[0]).forces[0])


def test_tune_learns_weights_for_the_best_trial_and_tries_them(alloys):
    gap = model(Term(soap("mu2"), DotProduct(2, 1.0), 8))
    plain = tune(gap, alloys, {"zeta": [1, 2]})
    found = tune(gap, alloys, {"zeta": [1, 2]}, species_weights=True)
    assert [t.score for t in found.trials[:2]] == [t.score for t in plain.trials]
    weights = found.species_weights.params
    assert found.trials[2].params == plain.best_params | weights
    fitted = model(*gap.terms).set_params(**found.trials[2].params).fit(alloys, optimize=True)
    assert found.trials[2].score == pytest.approx(fitted.posterior_.log_marginal_likelihood, rel=1e-12)
    assert found.best == found.trials[2]
    assert "Cu:" in found.table().splitlines()[1]
    alone = tune(gap, alloys, {}, species_weights=True, search="random")
    assert [t.params for t in alone.trials] == [{}, alone.species_weights.params]


def test_tune_refuses_early_what_has_no_weights(alloys):
    with pytest.raises(InputError, match="no species weights to learn"):
        tune(model(Pair(S)), alloys, {"n_sparse": [5, 6]}, species_weights=True)
    with pytest.raises(InputError, match="search space is empty"):
        tune(model(Term(soap("mu2"))), alloys, {})


def test_the_command_writes_the_weights_and_fit_takes_them(alloys, tmp_path):
    write(tmp_path / "train.xyz", alloys)
    flags = ["--cutoff", 4, "--n-max", 2, "--l-max", 2, "--zeta", 2, "--n-sparse", 8, "--compression", "mu2"]
    run = gapkit("tune", tmp_path / "train.xyz", *flags, "--species-weights", "-o", tmp_path / "best.yaml")
    assert run.code == 0, run.err
    assert "log evidence" in run.out
    (term,) = yaml.safe_load((tmp_path / "best.yaml").read_text(encoding="utf-8"))["terms"]
    weights = term["descriptor"]["species_weights"]
    assert set(weights) == set(S)
    run = gapkit("fit", tmp_path / "train.xyz", "--config", tmp_path / "best.yaml", "-o", tmp_path / "m.gap")
    assert run.code == 0, run.err
    assert GAP.load(tmp_path / "m.gap").terms_[0].descriptor.species_weights == weights


def test_the_command_tells_the_weights_as_json(alloys, tmp_path):
    write(tmp_path / "train.xyz", alloys)
    flags = ["--cutoff", 4, "--n-max", 2, "--l-max", 2, "--n-sparse", 8, "--compression", "mu1nu1"]
    flags += ["--vary", "zeta=1,2"]
    run = gapkit("tune", tmp_path / "train.xyz", *flags, "--species-weights", "-o", tmp_path / "best.yaml", "--json")
    assert run.code == 0, run.err
    data = json.loads(run.out)
    assert len(data["trials"]) == 3
    (own,) = data["species_weights"]["terms"]
    assert data["trials"][2]["params"]["terms__0__descriptor__species_weights"] == own["weights"]


def test_the_command_refuses_to_tune_nothing(tmp_path):
    run = gapkit("tune", tmp_path / "none.xyz", "-o", tmp_path / "best.yaml")
    assert run.code == 2
    assert "nothing to tune" in run.err
