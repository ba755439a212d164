"""A configuration from data: every choice has its reason, and can be fitted."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk, fcc111, graphene, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from example_structures import alloy, labelled
from hypothesis import given, settings
from hypothesis import strategies as st
from ionic_structures import cluster, salt
from labelled_frames import copper_frames
from places import DATA
from run_gapkit import assert_refused, gapkit

from gapkit import GAP, ZBL, InputError, Linear, LongRange, Pair, Term, suggest
from gapkit.datasets import load_silicon, silicon_path
from gapkit.fitting.hyperparameters import ROWS_BYTES
from gapkit.model_selection.commented_yaml import commented_yaml
from gapkit.model_selection.electronegativity import PAULING, largest_contrast, neutral_charges
from gapkit.model_selection.fit_cost import cost_of_a_fit
from gapkit.potential.presets import PRESETS, preset_terms
from gapkit.potential.settings import settings_from_dict
from gapkit.structures.frames import labelled_frames
from gapkit.structures.statistics import find_facts


def facts_of(frames):
    return find_facts(labelled_frames(frames))


def given_labels(atoms: Atoms, energy: float = -1.0, config_type: str | None = None, stress: bool = True) -> Atoms:
    """A frame with an energy, small forces and, in a crystal, a stress."""
    results = {"energy": energy, "forces": np.full((len(atoms), 3), 0.01)}
    if stress and atoms.pbc.all():
        results["stress"] = np.full(6, 1e-3)
    out = atoms.copy()
    out.calc = SinglePointCalculator(out, **results)
    if config_type:
        out.info["config_type"] = config_type
    return out


def rattled(atoms: Atoms, n: int = 3, **more) -> list[Atoms]:
    found = []
    for k in range(n):
        one = atoms.copy()
        one.rattle(0.05, seed=k)
        found.append(given_labels(one, -len(atoms) - 0.1 * k, **more))
    return found


WATERS = Atoms("OH2" * 4, np.vstack([molecule("H2O").positions + shift for shift in
               ([0, 0, 0], [3, 0, 0], [0, 3, 0], [0, 0, 3])]) + 1, cell=[6] * 3, pbc=True)  # fmt: skip
SALT = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
SLAB = fcc111("Cu", (2, 2, 3), vacuum=8.0)


# ---- which preset


@pytest.mark.parametrize(
    ("frames", "preset", "why"),
    [
        (rattled(bulk("Si", cubic=True)), "solid", "neither ionic nor molecular"),
        (rattled(bulk("Si", cubic=True), config_type="Liquid_3000K"), "liquid", "config type"),
        (rattled(molecule("CH3OH")), "molecule", "3 of 3 frames have no periodic"),
        (rattled(WATERS), "liquid", "non-metals with hydrogen"),
        (rattled(SALT), "ionic", "Na and Cl differ by 2.23"),
        (rattled(bulk("GaAs", "zincblende", a=5.65, cubic=True)), "solid", "neither"),
        (rattled(SLAB), "solid", "neither"),
        (
            [*rattled(SALT), given_labels(Atoms("Na", cell=[15] * 3, pbc=True))],
            "solid",
            "1 periodic cells hold one species",
        ),
        ([*rattled(SALT), given_labels(Atoms("Na"))], "ionic", "differ"),
    ],
)
def test_preset_follows_from_the_data(frames, preset, why):
    found = suggest(frames, verbose=False)
    assert found.preset == preset
    assert why in found.why
    assert [type(t) for t in found.gap.terms] == [type(t) for t in preset_terms(preset, list(found.facts.species))]


def test_slabs_of_ions_get_no_sums_that_are_not_defined():
    slab = SALT.repeat((1, 1, 2))
    slab.center(vacuum=6, axis=2)
    slab.pbc = [True, True, False]
    found = suggest(rattled(slab), verbose=False)
    assert found.preset == "solid"
    assert "periodic in one or two directions" in found.why
    assert not any(isinstance(t, Linear) for t in found.gap.terms)
    with pytest.raises(InputError, match="'ionic' does not suit these frames: 3 frames are periodic in one or two"):
        suggest(rattled(slab), preset="ionic")
    with pytest.raises(InputError, match="one species, whose charges cannot cancel"):
        suggest(rattled(bulk("Cu")), preset="ionic")


def test_a_preset_that_is_asked_for_is_taken():
    found = suggest(rattled(bulk("Si", cubic=True)), preset="liquid", verbose=False)
    assert (found.preset, found.why) == ("liquid", "as asked for")
    with pytest.raises(InputError, match="'liquids' is unknown"):
        suggest(rattled(bulk("Si", cubic=True)), preset="liquids")


def test_electronegativities():
    assert largest_contrast(["O", "Mg", "Sr"])[:2] == ("Sr", "O")
    assert largest_contrast(["In", "P"]).ionic is False
    assert all(largest_contrast(pair).ionic for pair in (["Mg", "O"], ["Na", "Cl"], ["Cs", "F"], ["Ti", "O"]))
    assert largest_contrast(["Ar", "He"]) is None
    assert max(PAULING, key=PAULING.__getitem__) == "F"
    assert all(0.5 < x < 4.0 for x in PAULING.values())


@pytest.mark.parametrize(
    ("counts", "charges"),
    [
        ({"Mg": 4, "O": 4}, {"Mg": 1, "O": -1}),
        ({"Al": 12, "O": 18}, {"Al": 3, "O": -2}),
        ({"F": 8, "Ca": 4}, {"Ca": 2, "F": -1}),
        ({"Na": 107, "Cl": 108}, None),
        ({"Na": 4}, None),
        ({"Na": 4, "Cl": 0}, None),
        ({"Na": 1, "Mg": 1, "F": 3}, None),
        ({"K": 1, "Rb": 1}, None),
        ({"Na": 1, "Ar": 1}, None),
    ],
)
def test_charges_from_neutrality(counts, charges):
    assert neutral_charges(counts) == charges
    if charges is not None:
        assert sum(n * charges[symbol] for symbol, n in counts.items()) == 0


def ionic_terms(found) -> list[LongRange]:
    return [t.function for t in found.gap.terms if isinstance(t, Linear)]


def test_crystals_of_one_composition_get_one_coefficient_of_charges():
    fluorite = bulk("CaF2", "fluorite", a=5.46, cubic=True)
    frames = [*rattled(fluorite), *rattled(fluorite.repeat((2, 1, 1))), given_labels(Atoms("Ca"))]
    found = suggest(frames, verbose=False)
    (function,) = ionic_terms(found)
    assert function.charges == {"Ca": 2, "F": -1}
    assert function.n_features == 1
    assert all(np.isfinite(function(a).values).all() for a in frames)
    text = found.yaml()
    assert "charges: {Ca: 2, F: -1}" in text
    assert "ratio that makes every frame neutral" in " ".join(text.replace("#", " ").split())
    assert settings_from_dict(yaml.safe_load(text)).make_terms() == found.gap.terms


@pytest.mark.parametrize(
    "others",
    [
        rattled(SALT[:-1]),
        [given_labels(Atoms("NaCl2", 3 * np.eye(3)))],
        rattled(Atoms("NaKCl2", SALT.positions[:4], cell=SALT.cell, pbc=True)),
    ],
    ids=["vacancy", "molecule", "third species"],
)
def test_other_compositions_leave_the_coefficients_free(others):
    found = suggest([*rattled(SALT), *others], preset="ionic", verbose=False)
    (function,) = ionic_terms(found)
    assert function.charges is None
    assert "charges" not in found.settings["terms"][-1]["function"]


# ---- the numbers


def test_facts_of_a_crystal_are_those_of_its_geometry():
    atoms = bulk("Cu", a=3.6, cubic=True).repeat(2)
    facts = facts_of(rattled(atoms, 4, stress=False))
    assert facts.species == {"Cu": 128}
    assert facts.sizes == (32,) * 4
    assert facts.thinnest == pytest.approx(7.2)
    assert facts.spacing == pytest.approx((3.6**3 / 4) ** (1 / 3), rel=0.06)
    assert facts.shortest["Cu-Cu"] == min(
        min(a.get_all_distances(mic=True)[np.triu_indices(32, 1)]) for a in rattled(atoms, 4)
    )
    assert facts.without_stress == 4
    assert facts.spread["energy"] == pytest.approx(np.std([0, 0.1, 0.2, 0.3]) / 32)
    assert facts.spread["forces"] == pytest.approx(0.01)
    assert facts.rows() == {"energy": 4, "forces": 4 * 96, "virial": 0}


def test_a_vacuum_does_not_change_the_spacing_much():
    block, gap = bulk("Cu", a=3.6, cubic=True).repeat((2, 2, 4)), bulk("Cu", a=3.6, cubic=True).repeat((2, 2, 4))
    gap.center(vacuum=20, axis=2)
    inside, outside = (facts_of([given_labels(a)]).spacing for a in (block, gap))
    assert outside == pytest.approx(inside, rel=0.03)


def test_neighbours_are_counted_about_right():
    atoms = bulk("Si", cubic=True).repeat(2)
    facts = facts_of(rattled(atoms))
    from gapkit.geometry.neighbourhoods import find_neighbourhoods

    true = len(find_neighbourhoods(atoms, 5.5).j) / len(atoms)
    assert facts.n_neighbours(5.5) == pytest.approx(true, rel=0.2)


def test_noises_are_less_than_the_spread_of_the_labels():
    quiet = suggest(rattled(bulk("Si", cubic=True)), verbose=False)
    assert quiet.gap.forces_noise == pytest.approx(0.05 * 0.01)
    assert quiet.gap.energy_noise <= PRESETS["solid"].energy_noise
    rough = suggest(load_silicon("train")[:40], verbose=False)
    assert rough.gap.energy_noise == PRESETS["solid"].energy_noise
    assert "usual" in rough.reasons["forces_noise",] or rough.gap.forces_noise == PRESETS["solid"].forces_noise


def shaken(force: float, config_type: str | None, seed: int = 0) -> Atoms:
    atoms = given_labels(bulk("Si", cubic=True), config_type=config_type)
    rng = np.random.default_rng(seed)
    atoms.calc.results["forces"] = force * rng.normal(size=(8, 3))
    return atoms


def test_config_types_of_large_forces_get_noises_in_proportion():
    usual = PRESETS["solid"]
    frames = [shaken(1.0, "calm", k) for k in range(20)] + [shaken(20.0, "wild", k) for k in range(20)]
    found = suggest(frames, verbose=False)
    for kind in ("energy", "forces", "virial"):
        noise = getattr(found.gap, f"{kind}_noise")
        assert set(noise) == {"default", "wild"}
        assert noise["wild"] == pytest.approx(
            20 * 0.05 / usual.forces_noise * getattr(usual, f"{kind}_noise"), rel=0.15
        )
        assert noise["default"] <= getattr(usual, f"{kind}_noise")
    assert "in proportion" in found.reasons["forces_noise",]
    loaded = settings_from_dict(yaml.safe_load(found.yaml()))
    assert loaded.forces_noise == found.gap.forces_noise
    # frames without a config type are "default"; if all are wild there is nothing to compare with
    found = suggest([*frames[:20], *(shaken(20.0, None, k) for k in range(20))], verbose=False)
    assert found.gap.forces_noise["calm"] < found.gap.forces_noise["default"]
    assert isinstance(suggest(frames[20:], verbose=False).gap.forces_noise, float)


def test_no_more_sparse_points_than_environments_and_memory():
    few = suggest([labelled(alloy(k)) for k in range(3)], verbose=False)
    (soap,) = [t for t in few.gap.terms if isinstance(t, Term)]
    assert soap.n_sparse == {"Au": 6, "Cu": 6}
    frames = load_silicon("train")
    ample, tight = (suggest(frames, verbose=False, max_memory=m) for m in ("4GB", "600MB"))
    n = [next(t.n_sparse for t in s.gap.terms if isinstance(t, Term)) for s in (ample, tight)]
    assert n[0] == {"Si": ample.facts.species["Si"]}
    assert n[1] < n[0]["Si"]
    assert tight.cost.memory <= 6e8 < ample.cost.memory
    assert "600 MB" in tight.yaml()
    with pytest.raises(InputError, match="not an amount of memory"):
        suggest(frames, max_memory="much")


def test_costs_grow_with_the_model_and_the_data():
    facts = facts_of(load_silicon("train")[:40])
    small, large = (cost_of_a_fit(preset_terms("solid", ["Si"], n_sparse=n), facts) for n in (50, 400))
    assert small.n_columns < large.n_columns
    assert small.memory < large.memory
    assert small.seconds < large.seconds
    terms = preset_terms("solid", ["Si"], n_sparse=50)
    plain, left_out = (cost_of_a_fit(terms, facts, 1, how) for how in (("delta",), ("leave_out",)))
    assert 0 < left_out.memory - plain.memory <= ROWS_BYTES
    assert left_out.seconds > plain.seconds
    more = facts_of(load_silicon("train"))
    assert cost_of_a_fit(preset_terms("solid", ["Si"], n_sparse=50), more).seconds > small.seconds


def test_weights_are_counted_as_the_fit_has_them():
    frames = load_silicon("train")[:40]
    found = suggest(frames, verbose=False)
    terms = preset_terms("solid", ["Si"], max(t.reach for t in found.gap.terms), 60)
    gap = found.gap.set_params(terms=terms).fit(frames)
    assert cost_of_a_fit(terms, found.facts).n_columns == pytest.approx(len(gap.alpha_), rel=0.05)


# ---- YAML


@pytest.mark.parametrize("make", [lambda k: labelled(alloy(k)), salt, cluster], ids=["solid", "ionic", "molecule"])
def test_the_printed_configuration_is_that_of_the_gap(make):
    frames = [make(k) for k in range(4)]
    found = suggest(frames, verbose=False)
    loaded = settings_from_dict(yaml.safe_load(found.yaml()))
    assert yaml.safe_load(found.yaml()) == found.settings
    assert loaded.make_terms(sorted(found.facts.species)) == found.gap.terms
    assert loaded.make_baselines(sorted(found.facts.species), frames) == found.gap.baseline
    assert {k: getattr(found.gap, k) for k in loaded.parameters()} == loaded.parameters()
    assert set(found.reasons) - {p for p in found.reasons if _has(found.settings, p)} == set()


def _has(data, path) -> bool:
    for key in path:
        if isinstance(data, list) and not key < len(data):
            return False
        if isinstance(data, dict) and key not in data:
            # reasons may be kept for what a term says by default
            return True
        data = data[key]
    return True


def test_every_line_is_short_and_every_number_has_a_reason():
    text = suggest([labelled(alloy(k)) for k in range(4)], verbose=False).yaml()
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    for k, line in enumerate(lines):
        value = line.partition(":")[2].partition("#")[0].strip()
        if not line.lstrip().startswith("#") and value.replace(".", "").isdigit() and "l_max" not in line:
            assert "#" in line or lines[k - 1].lstrip().startswith("#"), line


PRINTED = st.characters(exclude_categories=["C", "Zl", "Zp"])
WORDS = st.text(PRINTED, min_size=1, max_size=8)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


def paths(data, path=()):
    yield path
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from paths(value, (*path, key))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(WORDS, plain, max_size=4), st.text(PRINTED, min_size=1, max_size=150))
def test_comments_change_nothing(data, reason):
    text = commented_yaml(data, dict.fromkeys(paths(data), reason))
    assert (yaml.safe_load(text) or {}) == data


# ---- warnings


def test_what_is_missing_is_said():
    def said(frames):
        return " ".join(suggest(frames, verbose=False).warnings)

    crystal = bulk("Si", cubic=True).repeat(3)
    enough = [*rattled(crystal, 24), given_labels(Atoms("Si", cell=[20] * 3))]
    assert said(enough) == ""
    assert "no frame is an isolated atom of Si" in said(enough[:-1])
    assert "24 of 24 periodic frames have no stress" in said(rattled(crystal, 24, stress=False))
    assert "thinner" in said(rattled(bulk("Si"), 24))
    assert "24 frames have the same" not in said(enough)
    assert "repeat an earlier one" in said([*enough, enough[0]])
    assert "3 frames are little data" in said(rattled(crystal, 3))
    assert "1 frame is little data" in said(rattled(crystal, 1))
    assert "compositions do not determine e0" in said(rattled(SALT))
    assert "compositions do not" not in said(rattled(SALT) + rattled(bulk("Na", cubic=True), 2))
    assert "C occurs as an isolated atom only" in said([*enough, given_labels(Atoms("C"))])
    assert "% of a bond" in said([given_labels(Atoms("Si2", [[0, 0, 0], [0, 0, 0.9]]))])


def test_charges_of_frames_are_seen():
    frames = rattled(molecule("CH3OH"), 4)
    for k, atoms in enumerate(frames):
        atoms.info["charge"] = k % 2
    assert "different total charges (0, 1)" in suggest(frames, verbose=False).warnings[0]
    for atoms in frames:
        atoms.info["charge"] = -1
    assert "all frames have the charge -1" in suggest(frames, verbose=False).warnings[0]


def test_forces_and_energies_that_are_missing():
    forces = [given_labels(alloy(k)) for k in range(3)]
    for atoms in forces:
        del atoms.calc.results["energy"]
    assert any("no energies" in text for text in suggest(forces, verbose=False).warnings)
    for atoms in (energies := [given_labels(alloy(k)) for k in range(3)]):
        del atoms.calc.results["forces"]
    assert any("no forces" in text for text in suggest(energies, verbose=False).warnings)


# ---- of all kinds


@pytest.mark.parametrize(
    ("frames", "match"),
    [
        ([], "empty"),
        ([alloy(0)], "none of the 1 frames has an energy"),
        ([bulk("Si"), molecule("H2O")], "none of the 2 frames"),
        (None, "structures"),
        ("nowhere.xyz", "nowhere.xyz"),
        ([3], "Atoms"),
        ([given_labels(Atoms("Si2", [[0, 0, 0], [0, 0, 0]]))], "on top of each other|same position|apart"),
    ],
)
def test_what_is_no_data_is_refused_in_one_sentence(frames, match):
    with pytest.raises(InputError, match=match) as caught:
        suggest(frames)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "frames",
    [
        [given_labels(bulk("Cu"))],
        [given_labels(Atoms("H"))],
        [given_labels(Atoms("H", cell=[9] * 3, pbc=True))],
        [given_labels(graphene(vacuum=8.0))],
        [given_labels(molecule("C60"))],
        [given_labels(Atoms("He2", [[0, 0, 0], [0, 0, 9]], cell=[30] * 3, pbc=True))],
        copper_frames(6),
        [given_labels(Atoms("Lr2", [[0, 0, 0], [0, 0, 3]]))],
        (given_labels(alloy(k)) for k in range(3)),
        [given_labels(Atoms(list(range(1, 30)), 3.0 * np.arange(87).reshape(29, 3), cell=[300] * 3, pbc=True))],
    ],
    ids=["one", "atom", "periodic-atom", "sheet", "C60", "gas", "mixed", "Lr", "iterator", "29-species"],
)
def test_unusual_data_get_a_configuration_that_can_be_read(frames):
    found = suggest(frames, verbose=False)
    found.gap._validate()
    assert settings_from_dict(yaml.safe_load(found.yaml())).make_terms() == found.gap.terms
    assert math.isfinite(found.cost.seconds)
    assert all(text.endswith(".") and "nan" not in text for text in found.warnings)
    json.dumps(found.to_dict())


def test_a_suggestion_fits_better_than_the_mean():
    train, test = load_silicon("train")[::6], load_silicon("test")[::8]
    found = suggest(train, verbose=False)
    terms = [t for t in found.gap.terms if isinstance(t, Pair)] + preset_terms("solid", ["Si"], n_sparse=60)[-1:]
    gap = found.gap.set_params(terms=terms).fit(train, optimize=found.settings["optimize"])
    p = gap.predict(test)
    error = np.concatenate([f - a.get_forces() for f, a in zip(p.forces, test)])
    forces = np.concatenate([a.get_forces() for a in test])
    assert np.sqrt(np.mean(error**2)) < 0.35 * np.sqrt(np.mean(forces**2))


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="no development data")
@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("mlearn/Si_train", "solid"),
        ("mlearn/Cu_train", "solid"),
        ("MgO/MgO_train", "ionic"),
        ("SrTiO3/SrTiO3_train", "ionic"),
        ("NaCl/NaCl_rd", "ionic"),
        ("InP/InP", "solid"),
        ("Ta/Ta", "solid"),
        ("co2_ni100/co2_ni100_val", "solid"),
        ("molecules/ethanol_train", "molecule"),
    ],
)
def test_published_data_get_their_preset(name, preset):
    found = suggest(DATA / f"{name}.xyz", verbose=False)
    assert found.preset == preset
    assert settings_from_dict(yaml.safe_load(found.yaml())).make_terms(sorted(found.facts.species)) == found.gap.terms
    assert max(map(len, found.yaml().splitlines())) <= 120


# ---- the command


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    path = tmp_path_factory.mktemp("suggest") / "train.xyz"
    write(path, [labelled(alloy(k)) for k in range(5)])
    return path


def test_what_is_printed_can_be_fitted(train, tmp_path):
    run = gapkit("suggest", train)
    assert run.code == 0, run.err
    path = tmp_path / "a.yaml"
    path.write_text(run.out, encoding="utf-8")
    assert f"gapkit fit {train} --config config.yaml" in run.out
    fit = gapkit("fit", train, "--config", path, "-o", tmp_path / "a.gap")
    assert fit.code == 0, fit.err
    from gapkit import read_structures

    found, gap = suggest(read_structures(train), verbose=False), GAP.load(tmp_path / "a.gap", self_test=False)
    with pytest.warns(UserWarning, match="do not determine the e0 of Cu and Au"):
        by_hand = found.gap.fit(read_structures(train), optimize=found.settings["optimize"])
    (zbl,), (same,) = gap.baseline, by_hand.baseline
    assert isinstance(zbl, ZBL)
    assert (zbl.radii, zbl.shortest) == (same.radii, same.shortest)
    np.testing.assert_array_equal(gap.predict(alloy(8)).forces[0], by_hand.predict(alloy(8)).forces[0])


def test_output_json_and_quiet(train, tmp_path):
    path = tmp_path / "my config.yaml"
    run = gapkit("suggest", train, "-o", path)
    assert run.code == 0
    assert f"--config '{path}'" in run.out
    assert "warning: " in run.out
    assert path.read_text(encoding="utf-8").startswith("# ")
    run = gapkit("suggest", train, "--json", "--preset", "liquid")
    data = json.loads(run.out)
    assert data["preset"] == "liquid"
    assert settings_from_dict(data["configuration"]).make_terms(["Au", "Cu"])
    assert data["warnings"]
    run = gapkit("suggest", train, "-q", "-o", path)
    assert (run.code, run.out) == (0, "")


def test_names_of_labels_go_into_the_configuration(tmp_path):
    keys = {"energy": "REF_energy", "forces": "REF_forces", "stress": "REF_stress"}
    options = [part for name, key in keys.items() for part in (f"--{name}-key", key)]
    run = gapkit("suggest", silicon_path(), *options)
    assert run.code == 0, run.err
    assert yaml.safe_load(run.out)["keys"] == keys


def test_commands_that_are_refused(train, tmp_path):
    before = train.read_bytes()
    assert_refused(gapkit("suggest", train, "-o", train), "is an input and would be overwritten")
    assert train.read_bytes() == before
    assert_refused(gapkit("suggest", train, "--preset", "crystal"), "'crystal' is unknown")
    assert_refused(gapkit("suggest", train, "--max-memory", "big"), "not an amount of memory")
    assert_refused(gapkit("suggest", tmp_path / "none.xyz"), "none.xyz")
    assert_refused(gapkit("suggest", train, "-o", tmp_path / "no" / "a.yaml"), "does not exist")
    (tmp_path / "bare.xyz").write_text("1\n\nSi 0 0 0\n")
    (tmp_path / "garbage.xyz").write_text("not a structure\n")
    for name in ("bare.xyz", "garbage.xyz"):
        run = gapkit("suggest", tmp_path / name)
        assert run.code == 2
        assert "Traceback" not in run.err
