"""e0: isolated atoms first, least squares for the rest."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_frames import labelled, labels_of

from gapkit.errors import InputError
from gapkit.structures.labels import Labels
from gapkit.structures.reference_energies import find_e0


def e0_of(frames: list[Atoms]) -> dict[str, float]:
    return find_e0(frames, labels_of(frames))


def gas(formula: str, energies: dict[str, float], cohesion: float = 0.0) -> Atoms:
    atoms = Atoms(formula)
    atoms.positions[:, 0] = 1.5 * np.arange(len(atoms))
    return labelled(atoms, energy=sum(energies[s] for s in atoms.get_chemical_symbols()) + cohesion * len(atoms))


TRUTH = {"H": -13.6, "C": -1025.3, "O": -2035.6}


@pytest.fixture
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.usefixtures("no_warnings")
def test_isolated_atoms_give_e0_whatever_the_other_frames_say():
    frames = [gas("H", TRUTH), gas("C", TRUTH), gas("O", TRUTH), gas("CH4", TRUTH, -3.0), gas("CO2", TRUTH, -5.0)]
    assert e0_of(frames) == TRUTH
    assert list(e0_of(frames[::-1])) == ["H", "C", "O"]  # by atomic number, not by order of appearance


def test_where_each_e0_comes_from_is_logged(caplog):
    with caplog.at_level("INFO", "gapkit"):
        e0_of([gas("H", TRUTH), gas("CH4", TRUTH)])
    logged = [record.getMessage() for record in caplog.records if record.getMessage().startswith("e0")]
    assert logged == ["e0: H -13.600000 eV from isolated atom", "e0: C -1025.300000 eV from least squares"]


@pytest.mark.usefixtures("no_warnings")
def test_the_rest_comes_from_least_squares():
    frames = [gas("H", TRUTH), gas("CH4", TRUTH), gas("CO2", TRUTH), gas("CO", TRUTH)]
    assert e0_of(frames) == pytest.approx(TRUTH, rel=1e-12)
    assert e0_of(frames)["H"] == TRUTH["H"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(1, 6), min_size=3, max_size=3), min_size=1, max_size=6), st.randoms())
def test_least_squares_reproduces_additive_energies_and_warns_only_if_open(compositions, random):
    frames = [gas(f"H{h}C{c}O{o}", TRUTH) for h, c, o in compositions]
    rank = np.linalg.matrix_rank(compositions)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        e0 = e0_of(frames)
    for atoms in frames:  # exact on its own compositions even if the species are open
        assert sum(e0[s] for s in atoms.get_chemical_symbols()) == pytest.approx(atoms.calc.results["energy"], rel=1e-9)
    assert bool(caught) == (rank < 3)
    if rank == 3:
        assert e0 == pytest.approx(TRUTH, rel=1e-6)
    random.shuffle(frames)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert e0_of(frames) == pytest.approx(e0, rel=1e-6)


def test_fixed_composition_shares_the_energy_and_warns():
    frames = [gas("H2O", TRUTH), gas("H4O2", TRUTH)]
    with pytest.warns(UserWarning, match=r"e0 of H and O separately.*at least 1 of these species"):
        e0 = e0_of(frames)
    # one dimension is left open, and (2, 1)/3 is not it: the mean itself fits, so nothing deviates from it
    assert e0 == pytest.approx(dict.fromkeys("HO", (2 * TRUTH["H"] + TRUTH["O"]) / 3))


def test_only_the_inseparable_species_are_named():
    frames = [gas("C", TRUTH), gas("CO2", TRUTH), gas("NaCl", {"Na": -1.0, "Cl": -2.0})]
    with pytest.warns(UserWarning, match=r"e0 of Na and Cl separately"):
        e0 = e0_of(frames)
    assert e0["O"] == pytest.approx(TRUTH["O"])
    assert e0["Na"] + e0["Cl"] == pytest.approx(-3.0)


def test_species_without_any_energy_is_named():
    frames = [gas("H", TRUTH), labelled(Atoms("O"), forces=np.zeros((1, 3)))]
    with pytest.warns(UserWarning, match=r"determine the e0 of O: "):
        assert e0_of(frames) == {"H": TRUTH["H"], "O": 0.0}


def test_no_energies_give_zeros_and_a_warning():
    frames = [labelled(molecule("CH4"), forces=np.zeros((5, 3)))]
    with pytest.warns(UserWarning, match="no frame has an energy: e0 is zero"):
        assert e0_of(frames) == {"H": 0.0, "C": 0.0}


@pytest.mark.usefixtures("no_warnings")
@pytest.mark.parametrize(
    ("cell", "config_type", "isolated"),
    [
        ([7, 7, 7], None, True),
        ([3, 7, 7], None, False),
        ([[7, 0, 0], [6, 4, 0], [0, 0, 7]], None, False),  # all vectors longer than 6 Å, image 4.1 Å away
        ([3, 7, 7], "isolated_atom", True),
        ([3, 7, 7], "IsolatedAtom", True),
    ],
)
def test_one_atom_is_isolated_only_far_from_its_images(cell, config_type, isolated):
    info = {"config_type": config_type} if config_type else {}
    atom = labelled(Atoms("H", cell=cell, pbc=True), info=info, energy=-13.0)
    other = labelled(Atoms("H2", [[0, 0, 0], [0, 0, 0.7]]), energy=-30.0)
    # least squares of per-atom energies -13 and -15 is their mean
    assert e0_of([atom, other])["H"] == pytest.approx(-13.0 if isolated else -14.0)


def test_contradictory_isolated_atoms_are_refused():
    frames = [gas("H", {"H": -13.6}), gas("H2", TRUTH), gas("H", {"H": -12.5})]
    with pytest.raises(InputError, match=r"isolated atoms of H in frames 0 and 2 .*-13\.600000 and -12\.500000 eV"):
        e0_of(frames)
    assert e0_of([gas("H", {"H": -13.6}), gas("H", {"H": -13.6004})])["H"] == pytest.approx(-13.6002)
    with pytest.raises(InputError, match="there are 3 structures but 1 labels"):
        find_e0(frames, [Labels(None, None, None, "default")])
