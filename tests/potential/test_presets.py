"""Presets for every element: parameters, laws when fitted, refusals."""

from __future__ import annotations

import re
from contextlib import nullcontext

import laws
import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from example_structures import alloy, labelled
from hypothesis import given, settings
from hypothesis import strategies as st
from ionic_structures import cluster, salt
from run_gapkit import assert_refused, gapkit
from sklearn.base import clone

from gapkit import GAP, SOAP, ZBL, InputError, Linear, LongRange, Pair, Term, Triplet, suggest
from gapkit.errors import ExtrapolationWarning
from gapkit.potential import presets
from gapkit.potential.presets import (
    PRESETS,
    SIGMA,
    SOURCES,
    WHY,
    LongRangeRule,
    PairRule,
    Preset,
    SoapRule,
    TripletRule,
    preset_terms,
    reason,
    typical_distance,
)
from gapkit.potential.settings import settings_from_dict
from gapkit.terms.serialisation import term_from_dict, term_to_dict

symbols = st.sampled_from(chemical_symbols[1:])
several = st.lists(symbols, min_size=2, max_size=7, unique=True)


def soaps(terms) -> list[SOAP]:
    return [t.descriptor for t in terms if isinstance(t, Term)]


# ---- for every element


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(PRESETS)), species=several)
def test_every_species_has_a_valid_preset_that_survives_plain_data(name, species):
    gap = GAP.preset(name, species)
    gap._validate()
    assert all(set(t.function.species if isinstance(t, Linear) else t.species) == set(species)
               for t in gap.terms if not isinstance(t, Term))  # fmt: skip
    low, high = PRESETS[name].limits
    for soap in soaps(gap.terms):
        assert set(soap.species) == set(species)
        assert soap.cutoff <= high
        assert SIGMA[0] <= soap.atom_sigma <= SIGMA[1]
    assert max(soap.cutoff for soap in soaps(gap.terms)) >= low
    assert [term_from_dict(term_to_dict(t)) for t in gap.terms] == gap.terms
    assert clone(gap).get_params() == gap.get_params()


@given(name=st.sampled_from(sorted(PRESETS)), species=several, seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_order_of_species_does_not_matter(name, species, seed):
    shuffled = list(np.random.default_rng(seed).permutation(species))
    assert preset_terms(name, [str(s) for s in shuffled]) == preset_terms(name, species)


def test_typical_distance_is_that_of_atoms_of_mean_volume():
    assert typical_distance(["Si"]) == pytest.approx(2 * covalent_radii[14])
    a, b = covalent_radii[[11, 17]]
    assert typical_distance(["Na", "Cl"]) ** 3 == pytest.approx(4 * (a**3 + b**3))
    assert typical_distance(["C"]) < typical_distance(["C", "Cs"]) < typical_distance(["Cs"])


@given(several)
def test_distances_of_bonds_are_of_the_size_of_sums_of_radii(species):
    radii = covalent_radii[[atomic_numbers[s] for s in species]]
    assert 2 * radii.min() - 1e-12 <= typical_distance(species) <= 2 * radii.max() + 1e-12


def test_many_species_are_compressed_and_few_are_not():
    few, many = ["Cr", "Mn", "Fe", "Co"], ["Cr", "Mn", "Fe", "Co", "Ni"]
    assert {s.compression for s in soaps(preset_terms("solid", few))} == {"off"}
    assert {s.compression for s in soaps(preset_terms("solid", many))} == {"mu1nu1"}
    most = [chemical_symbols[z] for z in range(21, 33)]
    growth = [soaps(preset_terms("solid", most[:n]))[0].n_features for n in (6, 12)]
    assert growth[1] == 2 * growth[0]
    assert not any(isinstance(t, Pair | Triplet) for t in preset_terms("solid", most))


def test_one_species_is_resolved_more_finely_than_several():
    sizes = [(s.n_max, s.l_max) for n in (1, 2, 3) for s in soaps(preset_terms("solid", ["Si", "C", "Ge"][:n]))]
    assert sizes == [(10, 8), (8, 6), (8, 6)]
    assert all((s.n_max, s.l_max) == (8, 6) for n in (1, 2) for s in soaps(preset_terms("liquid", ["H", "O"][:n])))


def test_reasons_belong_to_presets_and_sources_are_cited():
    cited = {word for text in WHY.values() for group in re.findall(r"\(([^)]*)\)", text) for word in group.split(", ")}
    assert set(SOURCES) <= cited
    special = [key.rpartition(" ") for key in WHY if key.rpartition(" ")[2] in PRESETS]
    assert len(special) > 5
    assert all(key in WHY or key == "energy_noise" for key, _, _ in special)
    assert all(reason("optimize", name) for name in PRESETS)


@pytest.mark.parametrize("symbol", ["Li", "C", "Al", "Si", "Cu", "Au", "Pb", "Na", "K", "Rb", "Cs", "Ca", "Sr", "Ba"])
def test_triplets_reach_nearest_neighbours(symbol):
    nearest = np.sort(bulk(symbol).repeat(3).get_all_distances(mic=True)[0])[1]
    (triplet,) = [t for t in preset_terms("solid", [symbol]) if isinstance(t, Triplet)]
    assert triplet.reach > 1.05 * nearest


# ---- what may be overridden


def test_cutoff_and_number_of_sparse_points():
    usual, gap = GAP.preset("solid", ["Si"]), GAP.preset("solid", ["Si"], cutoff=6.0, n_sparse=300)
    longest = max(t.reach for t in usual.terms)
    assert max(t.reach for t in gap.terms) == 6.0
    for a, b in zip(usual.terms, gap.terms):
        assert b.reach / 6.0 == pytest.approx(a.reach / longest, abs=0.01)
    assert max(t.n_sparse for t in gap.terms if isinstance(t, Term)) == 300
    assert preset_terms("solid", ["Si"], np.float32(6.0), np.int64(300)) == gap.terms


def test_parameters_of_the_estimator_override_those_of_the_preset():
    gap = GAP.preset("solid", ["Si"], energy_noise=0.5, baseline=[], e0={"Si": -1.0}, random_state=4, verbose=False)
    assert (gap.energy_noise, gap.baseline, gap.e0, gap.random_state) == (0.5, [], {"Si": -1.0}, 4)
    assert gap.forces_noise == PRESETS["solid"].forces_noise
    assert GAP.preset("solid", ["Si"]).baseline == [ZBL(["Si"])]


@pytest.mark.parametrize(
    ("name", "species", "overrides", "match"),
    [
        ("solids", ["Si"], {}, r"preset 'solids' is unknown \(did you mean 'solid'"),
        ("", ["Si"], {}, "preset '' is unknown .*molecule"),
        (None, ["Si"], {}, "preset None is unknown"),
        (["solid"], ["Si"], {}, "is unknown"),
        ("solid", [], {}, "must be a non-empty list"),
        ("solid", "Si", {}, "species = 'Si' must be a non-empty list"),
        ("solid", None, {}, "species = None"),
        ("solid", 14, {}, "species = 14"),
        ("solid", [14], {}, "unknown species 14"),
        ("solid", ["X"], {}, "unknown species 'X'"),
        ("solid", ["Sx"], {}, r"unknown species 'Sx'"),
        ("solid", ["Si", "Si"], {}, "twice"),
        ("ionic", ["Na"], {}, "two species or more"),
        ("solid", ["Si"], {"cutof": 5}, r"no parameter 'cutof' \(did you mean 'cutoff'"),
        ("solid", ["Si"], {"terms": []}, "own terms"),
        ("solid", ["Si"], {"cutoff": "5"}, "cutoff = '5'"),
        ("solid", ["Si"], {"cutoff": float("nan")}, "cutoff = nan"),
        ("solid", ["Si"], {"cutoff": True}, "cutoff = True"),
        ("solid", ["Si"], {"cutoff": 0.5}, "cutoff"),
        ("solid", ["Si"], {"n_sparse": 0}, "n_sparse = 0"),
        ("solid", ["Si"], {"n_sparse": 2.5}, "n_sparse = 2.5"),
        ("solid", ["Si"], {"n_sparse": [5]}, r"n_sparse = \[5\]"),
    ],
)
def test_what_makes_no_preset_is_refused(name, species, overrides, match):
    with pytest.raises(InputError, match=match) as caught:
        GAP.preset(name, species, **overrides)
    assert "\n" not in str(caught.value)


# ---- fitted


MAKERS = {
    "solid": (["Cu", "Au"], lambda k: labelled(alloy(k))),
    "molecule": (["C", "H", "O"], cluster),
    "liquid": (["Cu", "Au"], lambda k: labelled(alloy(k, rattle=0.25))),
    "ionic": (["Na", "Cl"], salt),
}


@pytest.fixture(scope="module", params=sorted(PRESETS))
def fitted(request) -> tuple[str, GAP, Atoms]:
    species, make = MAKERS[request.param]
    e0 = dict.fromkeys(species, 0.0)
    gap = GAP.preset(request.param, species, n_sparse=12, e0=e0, verbose=False)
    unmet = "no training frame has C-C, O-O"  # methanol has one of each
    with pytest.warns(ExtrapolationWarning, match=unmet) if request.param == "molecule" else nullcontext():
        gap.fit([make(k) for k in range(12)])
    return request.param, gap, make(77)


def test_a_fitted_preset_obeys_the_laws(fitted):
    _, gap, atoms = fitted
    predict = laws.predictor(gap)
    # differences across the knots of a triplet's table, whose third derivative jumps, are less exact than forces
    atol = 2e-5 if any(isinstance(term, Triplet) for term in gap.terms) else 1e-6
    laws.check_forces(predict, atoms, atol, n=2)
    laws.check_momentum(predict, atoms)
    laws.check_permutation(predict, atoms)
    laws.check_rotation(predict, atoms)
    if atoms.pbc.all():
        laws.check_stress(predict, atoms, atol)
        laws.check_supercell(predict, atoms)


def test_a_fitted_preset_has_learned_something(fitted):
    _, gap, atoms = fitted
    p = gap.predict(atoms)
    assert np.sqrt(np.mean((p.forces[0] - atoms.get_forces()) ** 2)) < 0.5 * np.sqrt(np.mean(atoms.get_forces() ** 2))


def test_a_fitted_preset_is_saved_whole(fitted, tmp_path):
    name, gap, atoms = fitted
    gap.save(tmp_path / "a.gap")
    again = GAP.load(tmp_path / "a.gap")
    np.testing.assert_array_equal(again.predict(atoms).forces[0], gap.predict(atoms).forces[0])
    assert [type(t) for t in again.terms] == [type(t) for t in GAP.preset(name, MAKERS[name][0]).terms]


def test_ionic_brings_charges_and_solid_does_not():
    kinds = {name: [type(t.function) for t in preset_terms(name, ["Na", "Cl"]) if isinstance(t, Linear)] for name in
             PRESETS}  # fmt: skip
    assert kinds == {"solid": [], "molecule": [], "liquid": [], "ionic": [LongRange]}


# ---- YAML and the command line


def test_a_configuration_may_name_a_preset():
    found = settings_from_dict({"preset": "solid", "forces_noise": 0.3})
    assert found.make_terms(["Si"]) == preset_terms("solid", ["Si"])
    assert (found.forces_noise, found.energy_noise) == (0.3, PRESETS["solid"].energy_noise)
    assert found.optimize == list(PRESETS["solid"].optimize)
    assert found.baseline == [{"type": "ZBL"}]
    own = settings_from_dict(
        {"preset": {"name": "ionic", "cutoff": 6, "n_sparse": 7}, "baseline": [], "optimize": False}
    )
    assert own.make_terms(["Na", "Cl"]) == preset_terms("ionic", ["Na", "Cl"], 6.0, 7)
    assert (own.baseline, own.optimize) == ([], False)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"preset": "sold"}, "'sold' is unknown.*'solid'"),
        ({"preset": 3}, r"preset = 3"),
        ({"preset": ["solid"]}, r"preset = \['solid'\]"),
        ({"preset": {}}, "preset.name"),
        ({"preset": {"name": "solid", "cutof": 3}}, r"preset has no parameter 'cutof'.*'cutoff'"),
        ({"preset": {"name": "solid", "cutoff": -3}}, "cutoff = -3"),
        ({"preset": {"name": "solid", "n_sparse": "many"}}, r"preset.n_sparse = 'many'"),
        ({"preset": "solid", "terms": [{"descriptor": {}}]}, "keep one of the two"),
    ],
)
def test_configurations_of_presets_that_are_refused(data, match):
    with pytest.raises(InputError, match=match):
        settings_from_dict(data)


E0 = ["--e0", "Cu=0", "--e0", "Au=0"]


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    from ase.io import write

    path = tmp_path_factory.mktemp("presets") / "train.xyz"
    write(path, [labelled(alloy(k)) for k in range(5)])
    return path


def test_fit_with_a_preset(train, tmp_path):
    options = ["--preset", "solid", "--n-sparse", 6, "--cutoff", 4, *E0]
    run = gapkit("fit", train, "-o", tmp_path / "a.gap", *options)
    assert run.code == 0, run.err
    gap = GAP.load(tmp_path / "a.gap", self_test=False)
    fresh = preset_terms("solid", ["Cu", "Au"], 4.0, 6)
    assert [type(t) for t in gap.terms] == [type(t) for t in fresh]
    assert gap.terms[-1].descriptor == fresh[-1].descriptor
    assert isinstance(gap.baseline[0], ZBL)
    assert gap.baseline[0].shortest  # radii from the data


def test_a_preset_in_a_file_with_options_on_top(train, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("preset: {name: liquid, n_sparse: 5}\nbaseline: []\noptimize: false\ne0: {Cu: 0, Au: 0}\n")
    run = gapkit("fit", train, "-o", tmp_path / "a.gap", "--config", path, "--cutoff", 4.2)
    assert run.code == 0, run.err
    gap = GAP.load(tmp_path / "a.gap", self_test=False)
    assert gap.terms == preset_terms("liquid", ["Cu", "Au"], 4.2, 5)
    assert gap.baseline == ()


def test_options_that_go_with_no_preset(train, tmp_path):
    fit = ["fit", train, "-o", tmp_path / "a.gap"]
    assert_refused(gapkit(*fit, "--preset", "solid", "--zeta", 3), "--zeta could belong to any of a preset's terms")
    assert_refused(gapkit(*fit, "--preset", "metal"), "preset 'metal' is unknown")
    assert_refused(gapkit(*fit, "--preset", ""), "preset '' is unknown")
    path = tmp_path / "a.yaml"
    path.write_text("terms: [{descriptor: {}}]\n")
    assert_refused(gapkit(*fit, "--preset", "solid", "--config", path), "keep one of the two")


def test_tune_varies_a_preset_and_writes_it_in_full(train, tmp_path):
    options = ["--preset", "solid", "--n-sparse", 5, "--cutoff", 4, *E0]
    run = gapkit("tune", train, "--vary", "zeta=2,3", "-o", tmp_path / "a.yaml", *options)
    assert run.code == 0, run.err
    run = gapkit("fit", train, "--config", tmp_path / "a.yaml", "-o", tmp_path / "a.gap")
    assert run.code == 0, run.err
    assert [type(t) for t in GAP.load(tmp_path / "a.gap").terms] == [
        type(t) for t in preset_terms("solid", ["Cu", "Au"])
    ]


def test_a_preset_may_hold_every_kind_of_term(monkeypatch):
    """Whatever the table says becomes terms, with the shares that it gives."""
    soaps = (
        SoapRule(reach=0.5, atom_sigma=0.15, n_sparse=500),
        SoapRule(n_max=6, l_max=3, smoothness=2.0, n_sparse=1000),
    )
    rich = Preset("test", 2.5, (3.0, 9.0), soaps, PairRule(), TripletRule(), LongRangeRule((1, 6)), zbl=False)
    monkeypatch.setattr(presets, "PRESETS", {**PRESETS, "rich": rich})
    pair, triplet, short, long, linear = GAP.preset("rich", ["Na", "Cl"], cutoff=6.0, n_sparse=300).terms
    assert (pair.reach, short.reach, long.reach) == (6.0, 3.0, 6.0)
    assert triplet.reach == pytest.approx(TripletRule().least * typical_distance(["Na", "Cl"]), abs=0.01)
    assert (short.n_sparse, long.n_sparse) == (150, 300)
    assert (long.descriptor.n_max, long.descriptor.smoothness) == (6, 2.0)
    assert short.descriptor.atom_sigma < long.descriptor.atom_sigma
    assert linear.function.powers == [1, 6]
    assert GAP.preset("rich", ["Na", "Cl"]).baseline == []
    found = suggest([salt(k) for k in range(3)], preset="rich", verbose=False)
    assert settings_from_dict(yaml.safe_load(found.yaml())).make_terms() == found.gap.terms
