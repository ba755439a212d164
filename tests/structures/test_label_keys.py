"""Names of labels: found, named or refused, never guessed."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from ase.stress import voigt_6_to_full_3x3_stress
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_frames import copper, labelled, labels_of

from gapkit.errors import InputError
from gapkit.structures.labels import LabelKeys, Labels, read_labels
from gapkit.structures.reading import find_label_keys, iter_structures, read_structures

PREFIXES = st.sampled_from(["", "REF_", "ref_", "DFT_", "dft_", "qm_", "vasp_", "gpaw_", "Ref-", "REF_DFT_"])
numbers = st.floats(-1e4, 1e4, allow_nan=False)


@settings(max_examples=40, deadline=None)
@given(prefix=PREFIXES, plural=st.booleans(), upper=st.booleans(), values=st.lists(numbers, min_size=13, max_size=13))
def test_any_prefix_and_case_survives_a_file(tmp_path_factory, prefix, plural, upper, values):
    energy_name, forces_name, stress_name = ("energy", "forces" if plural else "force", "stress")
    if upper:
        energy_name, forces_name, stress_name = energy_name.upper(), forces_name.upper(), stress_name.upper()
    atoms = bulk("NaCl", "rocksalt", 5.6)
    forces, stress = np.reshape(values[1:7], (2, 3)), voigt_6_to_full_3x3_stress(np.array(values[7:]))
    atoms.info |= {prefix + energy_name: values[0], prefix + stress_name: stress, "note": "kept"}
    atoms.arrays[prefix + forces_name] = forces
    path = tmp_path_factory.mktemp("files") / "a.extxyz"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ASE on writing reserved names
        write(path, atoms)
    for source in (path, [atoms]):
        (read,) = read_structures(source)
        assert read.calc.results["energy"] == values[0]
        np.testing.assert_allclose(read.calc.results["forces"], forces, atol=1e-8)
        np.testing.assert_allclose(read.calc.results["stress"], values[7:], rtol=1e-12, atol=1e-12)
        assert read.info == {"note": "kept", "config_type": "default"}
        assert set(read.arrays) == {"numbers", "positions"}


@pytest.mark.parametrize("key", ["formation_energy", "MACE_energy", "energy_per_atom", "energies", "total_energy"])
def test_other_energies_are_not_taken_but_mentioned(key, caplog):
    atoms = labelled(info={key: 1.0})
    with caplog.at_level(logging.INFO, "gapkit"):
        assert find_label_keys([atoms]) == LabelKeys()
    assert "energy_key" in caplog.text or key == "energies"
    assert labels_of([atoms], energy_key=key)[0].energy == 1.0


def test_what_was_taken_is_logged(caplog):
    frames = [labelled(info={"REF_energy": 1.0}), labelled(forces=np.zeros((2, 3)))]
    with caplog.at_level(logging.INFO, "gapkit"):
        keys = find_label_keys(frames)
    assert keys == LabelKeys("REF_energy", "forces", None, None, "config_type")
    assert "energy: 'REF_energy' of the frames, in 1 of 2 frames" in caplog.text
    assert "forces: 'forces' of a calculator" in caplog.text
    assert "virial: none in 2 frames" in caplog.text


def test_missing_labels_are_none_and_never_zero():
    frames = [labelled(energy=-1.0), labelled(info={"energy": None}), labelled(forces=np.zeros((2, 3)))]
    first, second, third = labels_of(frames)
    assert (first.energy, first.forces, first.virial) == (-1.0, None, None)
    assert (second.energy, second.forces, second.virial) == (None, None, None)
    assert third.energy is None
    assert third.forces.shape == (2, 3)
    assert read_structures(frames)[1].calc is None


def test_a_calculator_that_has_not_run_is_not_run():
    atoms = bulk("Cu")
    atoms.calc = EMT()
    assert labels_of([atoms]) == [Labels(None, None, None, "default")]
    assert atoms.calc.results == {}


def test_results_for_another_geometry_are_refused():
    moved, shared = copper(), copper(1)
    moved.positions[0, 0] += 1e-4
    with pytest.raises(InputError, match=r"frame 0: 'energy' in atoms\.calc was computed for another geometry"):
        find_label_keys([moved])
    substituted = copper()
    substituted.numbers[0] = 28
    with pytest.raises(InputError, match=r"frame 0: 'energy' in atoms\.calc was computed for another geometry"):
        find_label_keys([substituted])
    first = copper()
    first.calc = shared.calc
    with pytest.raises(InputError, match=r"frame 1: .* another geometry"):
        read_structures([shared, first])


def test_two_energies_that_differ_are_refused_and_naming_one_cures():
    frames = [labelled(info={"REF_energy": -2.0}, energy=-1.0)]
    with pytest.raises(
        InputError, match=r"ambiguous, 'REF_energy' and 'energy' differ in frame 0 \(-2 and -1\).*energy_key="
    ):
        find_label_keys(frames)
    assert labels_of(frames, energy_key="REF_energy")[0].energy == -2.0
    assert labels_of(frames, energy_key="energy")[0].energy == -1.0
    assert labels_of(frames, energy_key="")[0].energy is None
    (read,) = read_structures(frames, energy_key="REF_energy")
    assert labels_of([read])[0].energy == -2.0


def test_two_energies_that_agree_are_one():
    frames = [labelled(info={"REF_energy": -1.0}, energy=-1.0), labelled(energy=-3.0)]
    assert [labels.energy for labels in labels_of(frames)] == [-1.0, -3.0]


def test_the_same_name_in_two_stores_must_agree():
    with pytest.raises(InputError, match="frame 0 has two different labels called 'forces'"):
        find_label_keys([labelled(arrays={"forces": np.ones((2, 3))}, forces=np.zeros((2, 3)))])
    assert labels_of([labelled(info={"energy": 2.0}, energy=2.0)])[0].energy == 2.0


def test_the_numbers_shown_are_those_that_differ_most():
    forces = np.array([[9.0, 8.0, 7.0], [0.5, -6.0, 5.0]])
    other = forces + np.array([[0.0, 0.1, 0.0], [-2.0, 0.0, 0.0]])
    with pytest.raises(InputError, match=r"'dft_forces' and 'forces' differ in frame 0 \(0\.5 and -1\.5\)"):
        find_label_keys([labelled(arrays={"dft_forces": forces}, forces=other)])


def test_free_energy_of_the_same_source_is_preferred():
    both = labelled(energy=-1.0, free_energy=-1.1)
    prefixed = labelled(info={"dft_energy": -1.0, "DFT_free_energy": -1.1})
    assert [labels_of([atoms])[0].energy for atoms in (both, prefixed)] == [-1.1, -1.1]
    with pytest.raises(InputError, match="'energy' and 'free_energy' differ in frame 0"):
        find_label_keys([both, labelled(energy=-1.0)])
    with pytest.raises(InputError, match="ambiguous"):
        find_label_keys([labelled(info={"REF_energy": -1.0, "DFT_free_energy": -1.1})])
    with pytest.raises(InputError, match="differ in frame 0"):
        list(read_structures([both, labelled(energy=-1.0)]))


def test_keys_that_change_between_frames_are_refused_with_counts():
    frames = [labelled(info={"REF_energy": -1.0})] * 2 + [labelled(energy=-1.0)]
    for function in (find_label_keys, read_structures):
        with pytest.raises(InputError, match=r"'REF_energy' in 2 and 'energy' in 1 of 3 frames.*energy_key="):
            function(frames)
    assert [labels.energy for labels in labels_of(frames, energy_key="REF_energy")] == [-1.0, -1.0, None]


@pytest.mark.parametrize("argument", ["energy_key", "forces_key", "stress_key", "virial_key", "config_type_key"])
def test_a_named_key_that_no_frame_has_is_refused_with_a_suggestion(tmp_path, argument):
    frames = [labelled(info={"REF_energy": 1.0}), labelled(info={"REF_energy": 2.0})]
    write(tmp_path / "si.xyz", frames)
    for call in (
        lambda: find_label_keys(frames, **{argument: "REF_enery"}),
        lambda: read_structures(tmp_path / "si.xyz", **{argument: "REF_enery"}),
        lambda: list(iter_structures(tmp_path / "si.xyz", **{argument: "REF_enery"})),
    ):
        with pytest.raises(InputError, match=rf"{argument}='REF_enery' is in none of the 2 frames.*'?REF_energy"):
            call()
    with pytest.raises(InputError, match="carry no labels at all"):
        find_label_keys([bulk("Si")], **{argument: "REF_energy"})
    with pytest.raises(InputError, match=f"{argument} is 5, give the name"):
        find_label_keys(frames, **{argument: 5})


@pytest.mark.parametrize(
    ("atoms", "named", "message"),
    [
        (labelled(arrays={"REF_forces": np.zeros((2, 2))}), {}, r"'REF_forces' has shape \(2, 2\)"),
        (labelled(info={"forces": np.zeros(6)}), {}, r"'forces' has shape \(6,\)"),
        (labelled(info={"forces": [[1, 2, 3]]}), {}, r"'forces' has shape \(1, 3\)"),
        (labelled(info={"forces": [[1, 2, 3], [1]]}), {}, r"'forces' is '.*', give numbers"),
        (labelled(arrays={"forces": [[0, 0, 0], [np.nan] * 3]}), {}, "'forces' has 3 of 6 numbers that are not finite"),
        (labelled(info={"energy": [1.0, 2.0]}), {}, r"'energy' has shape \(2,\), the energy must be one number"),
        (labelled(info={"energy": np.inf}), {}, "'energy' has 1 of 1 numbers that are not finite"),
        (labelled(info={"virial": "yes"}), {}, "'virial' is 'yes', give numbers"),
        (labelled(arrays={"e": [1.0, 2.0]}), {"energy_key": "e"}, "'e' is a column with a value per atom"),
    ],
)
def test_labels_that_are_not_understood_are_refused(atoms, named, message):
    with pytest.raises(InputError, match="frame 1: " + message):
        find_label_keys([bulk("Si"), atoms], **named)


def test_read_labels_names_the_frame_and_shares_no_memory():
    atoms = labelled(arrays={"REF_forces": np.ones((2, 3))})
    labels = read_labels(atoms, LabelKeys(forces="REF_forces"))
    labels.forces[:] = 0
    assert (atoms.arrays["REF_forces"] == 1).all()
    atoms.arrays["REF_forces"][0] = np.nan
    with pytest.raises(InputError, match="this frame: 'REF_forces' has 3"):
        read_labels(atoms, LabelKeys(forces="REF_forces"))
    with pytest.raises(InputError, match="frame 17: 'REF_forces' has 3"):
        read_labels(atoms, LabelKeys(forces="REF_forces"), frame=17)
