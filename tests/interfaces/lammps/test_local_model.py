"""The seam, without LAMMPS: ghosts made here, forces on them brought home, and the numbers of `GAP.predict`."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from example_structures import alloy, labelled
from lammps_jobs import with_ghosts
from models_of_terms import COULOMB, MODELS, S, fitted, geometry

from gapkit import D3, GAP, SOAP, ZBL, DotProduct, Ewald, InputError, Term
from gapkit.errors import ExtrapolationWarning
from gapkit.interfaces.lammps.local_model import NO_ATOM, VOIGT, LocalModel, LocalProperties
from gapkit.interfaces.lammps.model_words import ModelWords, parse_model_words

LOCAL = [name for name, terms in MODELS.items() if COULOMB not in terms]
REPULSION = ZBL(S, inner=1.0, outer=3.9)
SOME = ["sum", "features", "soaps_mu2"]
PLACES = ["alloy", "slab", "cluster", "one_atom", "sheared_one_atom"]


def on_one_rank(gap: GAP, atoms: Atoms, **wanted: bool) -> LocalProperties:
    """All atoms own, ghosts' forces and virials added to those of their owners."""
    model = LocalModel(gap)
    pairs, numbers, owner = with_ghosts(atoms, model.cutoff)
    found = model.evaluate(pairs, numbers, **wanted)
    n, forces = len(atoms), np.zeros((len(atoms), 3))
    np.add.at(forces, owner, found.forces)
    virials = None
    if found.local_virials is not None:
        virials = np.zeros((n, 6))
        np.add.at(virials, owner, found.local_virials)
    std = None if found.local_energies_std is None else found.local_energies_std[:n]
    return LocalProperties(found.local_energies[:n], forces, found.virial, virials, std)


def check_against_predict(gap: GAP, atoms: Atoms, found: LocalProperties) -> None:
    p = gap.predict(atoms, return_std="local")
    np.testing.assert_allclose(found.local_energies, p.local_energies[0], rtol=1e-13, atol=1e-10)
    np.testing.assert_allclose(found.forces, p.forces[0], rtol=1e-10, atol=1e-10)
    if p.stress[0] is not None:
        virial = [-p.stress[0][a, b] * atoms.get_volume() for a, b in VOIGT]
        np.testing.assert_allclose(found.virial, virial, rtol=1e-9, atol=1e-9)
    if found.local_energies_std is not None:
        np.testing.assert_allclose(found.local_energies_std, p.local_energies_std[0], rtol=1e-6, atol=1e-7)


@pytest.fixture(scope="module")
def with_zbl() -> GAP:
    """A model whose ZBL acts in the frames that it is tested on."""
    frames = [labelled(alloy(k)) for k in range(4)]
    term = Term(SOAP(S, 3.4, 3, 2, smoothness=2), DotProduct(2, 1.0), n_sparse=8)
    with pytest.warns(UserWarning, match="ZBL baseline acts"):
        return GAP([term], baseline=[REPULSION], e0={"Cu": 0.1, "Au": -0.2}, verbose=False).fit(frames)


@pytest.mark.parametrize("name", [pytest.param(m, marks=[] if m in SOME else pytest.mark.slow) for m in LOCAL])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.filterwarnings("ignore::gapkit.errors.ExtrapolationWarning")
def test_numbers_of_predict(name, place):
    gap = fitted(name)
    atoms = geometry(gap, place)
    check_against_predict(gap, atoms, on_one_rank(gap, atoms, with_std=True))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.filterwarnings("ignore::gapkit.errors.ExtrapolationWarning")
def test_zbl_is_evaluated_here(with_zbl, place):
    atoms = geometry(with_zbl, place)
    found = on_one_rank(with_zbl, atoms)
    check_against_predict(with_zbl, atoms, found)
    without = LocalModel(with_zbl, without=["ZBL"])
    pairs, numbers, _ = with_ghosts(atoms, without.cutoff)
    assert without.cutoff < LocalModel(with_zbl).cutoff
    difference = found.local_energies.sum() - without.evaluate(pairs, numbers).local_energies.sum()
    np.testing.assert_allclose(difference, REPULSION.evaluate(atoms).energy, atol=1e-9)


@pytest.mark.parametrize("name", ["sum", "zbl"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.filterwarnings("ignore::gapkit.errors.ExtrapolationWarning")
def test_local_virials_add_up_and_change_nothing(name, place, with_zbl):
    gap = with_zbl if name == "zbl" else fitted(name)
    atoms = geometry(gap, place)
    plain, found = on_one_rank(gap, atoms), on_one_rank(gap, atoms, with_virials=True, with_std=True)
    check_against_predict(gap, atoms, found)
    np.testing.assert_allclose(found.local_virials.sum(axis=0), plain.virial, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.virial, plain.virial, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.forces, plain.forces, atol=1e-10)


def test_local_virials_of_a_dimer_are_halves(gap):
    """Both atoms of a homonuclear pair have the same, -r·F/2 along the bond."""
    atoms = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])
    found = on_one_rank(gap, atoms, with_virials=True)
    expected = np.zeros((2, 6))
    expected[:, 2] = 0.5 * 2.5 * found.forces[1, 2]
    np.testing.assert_allclose(found.local_virials, expected, atol=1e-10)


def test_ranks_share_the_atoms(gap):
    """Half of the centres here, half there: the sum is the whole, and a rank without atoms adds nothing."""
    atoms = alloy(7)
    model = LocalModel(gap)
    pairs, numbers, _ = with_ghosts(atoms, model.cutoff)
    whole = model.evaluate(pairs, numbers)
    parts = [model.evaluate(pairs.select(np.array(which, dtype=int)), numbers) for which in ([0, 2], [1, 3])]
    np.testing.assert_allclose(sum(p.local_energies for p in parts), whole.local_energies, atol=1e-10)
    np.testing.assert_allclose(sum(p.forces for p in parts), whole.forces, atol=1e-10)
    np.testing.assert_allclose(sum(p.virial for p in parts), whole.virial, atol=1e-10)
    none = pairs._replace(centres=pairs.centres[:0], first=pairs.first[:1], j=pairs.j[:0], S=pairs.S[:0], D=pairs.D[:0])
    for name in ("sum", "features"):
        empty = LocalModel(fitted(name)).evaluate(none, numbers, with_virials=True, with_std=True)
        assert not any(np.any(part) for part in empty)


def test_isolated_atom_has_e0(gap):
    atoms = Atoms("CuAu", [[0, 0, 0], [40, 0, 0]])
    check_against_predict(gap, atoms, on_one_rank(gap, atoms, with_std=True))


def test_warns_once_of_short_contacts_by_id(gap):
    atoms = Atoms("CuAu", [[0, 0, 0], [0, 0, 1.2]])
    model = LocalModel(gap)
    pairs, numbers, _ = with_ghosts(atoms, model.cutoff)
    with pytest.warns(ExtrapolationWarning, match="atoms 100 and 101"):
        model.evaluate(pairs, numbers, names=lambda i: 100 + i)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.evaluate(pairs, numbers)


def test_refuses_atoms_on_top_of_each_other(gap):
    model = LocalModel(gap)
    pairs, numbers, _ = with_ghosts(Atoms("CuAu", [[0, 0, 0], [0, 0, 2.0]]), model.cutoff)
    with pytest.raises(InputError, match=r"ids 7 and 8 are 0.02 Å apart"):
        model.evaluate(pairs._replace(D=pairs.D * 0.01), numbers, names=lambda i: 7 + i)


def test_types(gap):
    model = LocalModel(gap)
    assert model.numbers_of_types(["Au", "NULL", "Cu"]).tolist() == [NO_ATOM, 79, NO_ATOM, 29]
    with pytest.raises(InputError, match=r"species 'Ag', but the model was trained on Cu, Au"):
        model.numbers_of_types(["Ag"])


@pytest.mark.filterwarnings("ignore::gapkit.errors.ExtrapolationWarning")
def test_recalibration_is_in_the_deviations(frames, soap):
    gap = GAP([Term(soap, DotProduct(2, 2.0), n_sparse=8)], verbose=False).fit(frames)
    before = on_one_rank(gap, alloy(30), with_std=True).local_energies_std
    gap.recalibrate([labelled(alloy(k)) for k in range(30, 52)])
    after = on_one_rank(gap, alloy(30), with_std=True).local_energies_std
    np.testing.assert_allclose(after, before * gap.recalibration_.factor("energy"), rtol=1e-12)
    assert not np.allclose(after, before)


def test_long_range_is_refused_by_name():
    with pytest.raises(InputError, match="term LongRange is a function of the whole structure"):
        LocalModel(fitted("long_range"))


@pytest.mark.parametrize(
    ("baseline", "command"),
    [
        (D3("pbe", "bj"), r"gapkit model.gap without D3 dispersion/d3 bj pbe 31.75 21.17"),
        (D3("pbe", "op"), "LAMMPS has no command for it"),
        (Ewald({"Cu": 0.5, "Au": -0.5}), r"without Ewald coul/long 10.0.*Cu \+0.5, Au -0.5"),
        (Ewald({"Cu": 0.5, "Au": -0.5}, width=0.5), "LAMMPS has no command for it"),
    ],
)
def test_baselines_beyond_neighbours_are_refused_with_the_command(gap, baseline, command, monkeypatch):
    monkeypatch.setattr(gap, "baseline_", (baseline,), raising=False)
    with pytest.raises(InputError, match=command):
        LocalModel(gap)
    name = type(baseline).__name__
    assert LocalModel(gap, without=[name]).cutoff == 4.5
    with pytest.raises(InputError, match=rf"no baseline 'ZBL' to go without.*{name}"):
        LocalModel(gap, without=["ZBL"])


def test_changed_file_is_read_again(gap, tmp_path):
    file = tmp_path / "m.gap"
    gap.save(file)
    words = ModelWords(str(file))
    assert LocalModel.from_words(words).cutoff == 4.5
    fitted("soaps_off").save(file)
    assert LocalModel.from_words(words).numbers_of_types(["Cu"]).tolist() == [0, 29]
    file.unlink()
    with pytest.raises(InputError, match="no model file"):
        LocalModel.from_words(words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["m.gap"], ModelWords("m.gap")), (["m.gap", "without", "D3", "ZBL"], ModelWords("m.gap", ("D3", "ZBL")))],
)
def test_words(words, expected):
    assert parse_model_words(words) == expected


@pytest.mark.parametrize("words", [[], ["m.gap", "std"], ["m.gap", "without"]])
def test_wrong_words_are_refused_with_the_syntax(words):
    with pytest.raises(InputError, match=r"pair_style gapkit model.gap \[without BASELINE"):
        parse_model_words(words)


def test_plugin_source_is_package_data():
    import gapkit.interfaces.lammps as package

    folder = Path(package.__file__).parent / "plugin"
    assert {path.name for path in folder.iterdir() if path.is_file()} >= {"pair_gapkit.cpp", "README.md"}
