"""Labels: found, normalised, never guessed. References are ASE's calculators and files written by ASE or by hand."""

from __future__ import annotations

import gzip
import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.stress import voigt_6_to_full_3x3_stress
from hypothesis import given, settings
from hypothesis import strategies as st

from gapkit.errors import InputError
from gapkit.structures import (
    LabelKeys,
    Labels,
    check_structures,
    describe_structures,
    find_e0,
    find_label_keys,
    iter_structures,
    read_labels,
    read_structures,
)

ROW = "2\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.5\nH 0 0 0 0.1 0.2 0.3\nH 0 0 0.8 -0.1 -0.2 -0.3\n"


def copper(seed: int = 0) -> Atoms:
    """Sheared, rattled copper with energy, forces and a stress whose six components all differ."""
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(
        atoms.cell.array @ (np.eye(3) + np.array([[0.02, 0.03, 0.01], [0, -0.03, 0.04], [0, 0, 0.01]])),
        scale_atoms=True,
    )
    atoms.rattle(0.1, seed=seed)
    atoms.calc = EMT()
    atoms.get_stress()
    return atoms


def labelled(atoms: Atoms | None = None, info: dict | None = None, arrays: dict | None = None, **results) -> Atoms:
    """Atoms with exactly these labels."""
    atoms = bulk("Si") if atoms is None else atoms
    atoms.info.update(info or {})
    for key, value in (arrays or {}).items():
        atoms.arrays[key] = np.asarray(value)
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def hand_written(tmp_path: Path, text: str, name: str = "frames.xyz") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def labels_of(structures: list[Atoms], **named) -> list[Labels]:
    keys = find_label_keys(structures, **named)
    return [read_labels(atoms, keys) for atoms in structures]


def assert_same_labels(read: Atoms, atoms: Atoms, tolerance: float = 1e-8) -> None:
    assert read.calc.results["energy"] == pytest.approx(atoms.get_potential_energy(), abs=tolerance)
    np.testing.assert_allclose(read.calc.results["forces"], atoms.get_forces(), atol=tolerance)
    np.testing.assert_allclose(read.calc.results["stress"], atoms.get_stress(), atol=tolerance)


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cu.xyz", "cu.extxyz", "cu.traj", "cu.json", "cu.xyz.gz"])
def test_labels_of_ase_files_are_those_of_the_calculator(tmp_path, name):
    frames = [copper(seed) for seed in range(3)]
    write(tmp_path / name, frames)
    for read, atoms in zip(read_structures(tmp_path / name), frames, strict=True):
        assert_same_labels(read, atoms)
        assert read.info["config_type"] == "default"


def test_lennard_jones_cluster_has_no_stress(tmp_path):
    atoms = Atoms("Ar3", [[0, 0, 0], [3.7, 0, 0], [0, 3.9, 0.2]], calculator=LennardJones(sigma=3.4, epsilon=0.01))
    atoms.get_forces()
    write(tmp_path / "ar.xyz", atoms)
    (read,) = read_structures(str(tmp_path / "ar.xyz"))
    assert set(read.calc.results) == {"energy", "forces"}
    np.testing.assert_allclose(read.calc.results["forces"], atoms.get_forces(), atol=1e-8)


def test_streaming_gives_the_same_frames_as_reading(tmp_path):
    write(tmp_path / "cu.xyz", [copper(seed) for seed in range(4)])
    stream = iter_structures(tmp_path / "cu.xyz")
    first = next(stream)
    for streamed, read in zip([first, *stream], read_structures(tmp_path / "cu.xyz"), strict=True):
        assert streamed == read
        assert_same_labels(streamed, read, 0.0)


def test_streaming_does_not_read_ahead(tmp_path):
    stream = iter_structures(hand_written(tmp_path, ROW + "2\nbroken\n"))
    assert next(stream).calc.results["energy"] == -1.5
    with pytest.raises(
        InputError, match=r"frame 1 of frames\.xyz \(line 5\) announces 2 atoms but the file ends after 0"
    ):
        next(stream)


@pytest.mark.parametrize(
    ("index", "expected"),
    [(":", range(6)), ("::2", (0, 2, 4)), ("1:3", (1, 2)), ("-2:", (4, 5)), (-1, (5,)), (0, (0,))],
)
def test_index_selects_as_a_list_does(tmp_path, index, expected):
    frames = [labelled(info={"number": k}, energy=-float(k)) for k in range(6)]
    write(tmp_path / "si.xyz", frames)
    write(tmp_path / "si.traj", [labelled(Atoms("H"), energy=-float(k)) for k in range(6)])
    for source in (tmp_path / "si.xyz", tmp_path / "si.traj", frames):
        energies = [atoms.calc.results["energy"] for atoms in read_structures(source, index=index)]
        assert energies == [-float(k) for k in expected]


def test_list_of_paths_keeps_the_order_and_shares_the_keys(tmp_path):
    for k in range(2):
        write(tmp_path / f"{k}.xyz", [labelled(energy=-float(k)), labelled(energy=-k - 0.5)])
    read = read_structures([tmp_path / "1.xyz", str(tmp_path / "0.xyz")])
    assert [atoms.calc.results["energy"] for atoms in read] == [-1.0, -1.5, 0.0, -0.5]
    write(tmp_path / "2.xyz", labelled(info={"REF_energy": -3.0}))
    with pytest.raises(InputError, match=r"ambiguous, 'REF_energy' in 1 and 'energy' in 2 of 3 frames"):
        read_structures([tmp_path / "1.xyz", tmp_path / "2.xyz"])


def test_blank_lines_between_frames_lose_nothing(tmp_path):
    assert len(read_structures(hand_written(tmp_path, f"{ROW}\n\n{ROW}{ROW}\n"))) == 3


def test_gzipped_frames_are_streamed(tmp_path):
    with gzip.open(tmp_path / "h.xyz.gz", "wt") as stream:
        stream.write(ROW * 3)
    assert [len(atoms) for atoms in iter_structures(tmp_path / "h.xyz.gz")] == [2, 2, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"frames\.xyz' is empty, give a file with at least one frame"),
        ("\n\n", r"frames\.xyz' holds no frames"),
        ("hello\nworld\n", r"line 1 of frames\.xyz should hold the number of atoms of frame 0 but is 'hello'"),
        (ROW.replace(" 0.3\n", "\n"), r"frame 0 of frames\.xyz: line 3 has 6 columns but .* announces 7"),
        (ROW.replace(" 0.3\n", " 0.3 9\n"), r"line 3 has 8 columns but .* announces 7"),
        (ROW + ROW.replace("forces:R:3 ", ""), r"frame 1 of frames\.xyz: line 7 has 7 columns but"),
        (
            ROW.replace("2\n", "3\n", 1),
            r"frame 0 of frames\.xyz \(line 1\) announces 3 atoms but the file ends after 2",
        ),
        (ROW.replace("2\n", "3\n", 1) + ROW, r"line 5 has 1 columns but .* announces 7"),
        (ROW.replace("2\n", "1\n", 1) + ROW, r"line 4 of frames\.xyz should hold the number of atoms of frame 1"),
        (ROW.replace("0.2", "***"), r"frame 0 of frames\.xyz \(line 1\) cannot be read .*could not convert"),
        (ROW.replace(" 0.2", " nan"), r"frame 0 of frames\.xyz: 'forces' has 1 of 6 numbers that are not finite"),
        (ROW.replace("-1.5", "nan"), r"frame 0 of frames\.xyz: 'energy' has 1 of 1 numbers that are not finite"),
        (ROW.replace("-1.5", "abc"), r"frame 0 of frames\.xyz: 'energy' is 'abc', give numbers"),
        (ROW.replace("=-1.5", ""), r"'energy' is 'True', give numbers"),
    ],
)
def test_broken_files_are_refused_in_one_sentence(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_structures(hand_written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_forces_of_two_columns_are_refused(tmp_path):
    rows = "H 0 0 0 0.1 0.2\nH 0 0 0.8 -0.1 -0.2\n"
    path = hand_written(tmp_path, f"2\nProperties=species:S:1:pos:R:3:forces:R:2 energy=-1.5\n{rows}")
    with pytest.raises(InputError, match=r"'forces' has shape \(2, 2\), the forces must be one row of 3 per atom"):
        read_structures(path)


def test_files_that_are_missing_directories_or_of_no_known_format(tmp_path):
    with pytest.raises(InputError, match=r"none\.xyz' is missing"):
        iter_structures(tmp_path / "none.xyz")
    with pytest.raises(InputError, match="is not a file"):
        read_structures(tmp_path)
    with pytest.raises(InputError, match=r"is missing"):
        read_structures([hand_written(tmp_path, ROW), tmp_path / "none.xyz"])
    for name, content in (("notes.dat", b"some notes\n"), ("binary.xyz", bytes(range(128, 256)))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"ASE cannot read '.*{name}' after 0 frames"):
            read_structures(tmp_path / name)


@pytest.mark.parametrize("index", ["7:", 99, "x", 1.5, None])
def test_an_index_that_selects_nothing_is_refused(tmp_path, index):
    for source in (hand_written(tmp_path, ROW), [molecule("H2")]):
        with pytest.raises(InputError, match="index="):
            read_structures(source, index=index)


# ---- stress and virial -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["6", "9", "3x3"])
@pytest.mark.parametrize(
    ("key", "factor"), [("REF_stress", 1.0), ("dft_stresses", 1.0), ("virial", -1.0), ("QM_virials", -1)]
)
def test_every_layout_gives_the_stress_of_the_calculator(shape, key, factor):
    atoms = copper()
    stress = atoms.get_stress()
    numbers = factor * stress * (atoms.get_volume() if "virial" in key.lower() else 1.0)
    value = {"6": numbers, "9": voigt_6_to_full_3x3_stress(numbers).ravel(), "3x3": voigt_6_to_full_3x3_stress(numbers)}
    bare = atoms.copy()
    bare.info[key] = value[shape]
    (read,) = read_structures([bare])
    np.testing.assert_allclose(read.calc.results["stress"], stress, rtol=1e-12)
    (labels,) = labels_of([bare])
    np.testing.assert_allclose(labels.virial, -atoms.get_volume() * voigt_6_to_full_3x3_stress(stress), rtol=1e-12)


def test_virial_is_minus_the_strain_derivative_of_the_energy():
    atoms, h = copper(), 1e-5
    (labels,) = labels_of([atoms])
    for a, b in ((0, 0), (1, 1), (1, 2), (0, 2), (0, 1)):
        energies = []
        for sign in (1, -1):
            strained, strain = atoms.copy(), np.eye(3)
            strain[a, b] += sign * h / 2
            strain[b, a] += sign * h / 2
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            strained.calc = EMT()
            energies.append(strained.get_potential_energy())
        assert labels.virial[a, b] == pytest.approx(-(energies[0] - energies[1]) / (2 * h), abs=1e-5)


@pytest.mark.parametrize("key", ["stress", "virial", "REF_stress", "dft_virial"])
@pytest.mark.parametrize("brackets", ['"{}"', "'{}'", "{{{}}}", "[{}]"])
def test_row_major_and_voigt_text_in_extended_xyz(tmp_path, key, brackets):
    head = f'1\nLattice="2 0 0 0 2 0 0 0 2" Properties=species:S:1:pos:R:3 {key}='
    expected = np.array([1, 2, 3, 4, 5, 6]) * (1 if "stress" in key else -1 / 8)
    for text in ("1 6 5 6 2 4 5 4 3", "1 2 3 4 5 6"):
        path = hand_written(tmp_path, f"{head}{brackets.format(text)}\nH 0 0 0\n")
        (read,) = read_structures(path)
        np.testing.assert_allclose(read.calc.results["stress"], expected, rtol=1e-14)
        assert key not in read.info


@pytest.mark.parametrize("key", ["stress", "virial", "REF_stress"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"1 6 5 7 2 4 5 4 3"', r"'{}' is not symmetric \(components that should be equal differ by 1\)"),
        ("1,6,5,7,2,4,5,4,3", "'{}' is not symmetric"),
        ('"1 2 3 4 5 6 7"', r"'{}' has shape \(7,\), give 6 numbers"),
        ('"1 6 5 6 nan 4 5 4 3"', "'{}' has 1 of 9 numbers that are not finite"),
    ],
)
def test_stress_that_is_not_understood_is_refused(tmp_path, key, text, message):
    frame = f'1\nLattice="2 0 0 0 2 0 0 0 2" Properties=species:S:1:pos:R:3 {key}={text}\nH 0 0 0\n'
    with pytest.raises(InputError, match="frame 0 of frames.xyz: " + message.format(key)):
        read_structures(hand_written(tmp_path, frame))
    (read,) = read_structures(hand_written(tmp_path, frame), stress_key="", virial_key="")
    assert read.calc is None


def test_words_inside_a_description_are_no_labels(tmp_path):
    text = ROW.replace("energy=-1.5", 'note="under stress=5 GPa, virial=3" energy=-1.5')
    (read,) = read_structures(hand_written(tmp_path, text))
    assert set(read.calc.results) == {"energy", "forces"}
    assert read.info["note"] == "under stress=5 GPa, virial=3"


@pytest.mark.parametrize("key", ["stress", "virial"])
def test_stress_of_words_is_refused(tmp_path, key):
    frame = f'1\nLattice="2 0 0 0 2 0 0 0 2" Properties=species:S:1:pos:R:3 {key}="none yet"\nH 0 0 0\n'
    with pytest.raises(InputError, match=rf"frame 0 of frames\.xyz \(line 1\) cannot be read .*{key}"):
        read_structures(hand_written(tmp_path, frame))


def test_stress_and_virial_may_both_be_given_if_they_agree():
    atoms = copper()
    virial = -atoms.get_volume() * atoms.get_stress(voigt=False)
    atoms.info["virial"] = np.round(virial, 5)  # as printed
    (labels,) = labels_of([atoms])
    np.testing.assert_array_equal(labels.virial, np.round(virial, 5))


@pytest.mark.parametrize(
    ("factor", "hint"), [(-1.0, r"\(the sign of one of them looks flipped\)"), (160.2, r"\(it is 160\.2 times that\)")]
)
def test_contradictory_stress_and_virial_are_refused_with_numbers(factor, hint):
    atoms = copper()
    expected = -atoms.get_volume() * atoms.get_stress(voigt=False)
    atoms.info["REF_virial"] = factor * expected
    with pytest.raises(
        InputError, match=rf"frame 1: virial and stress contradict .* = -?\d.* eV but -V\*stress.*{hint}"
    ):
        find_label_keys([copper(1), atoms])
    (stress_only,) = labels_of([atoms], stress_key="stress")
    np.testing.assert_allclose(stress_only.virial, expected, rtol=1e-12)
    (virial_only,) = labels_of([atoms], virial_key="REF_virial")
    np.testing.assert_allclose(virial_only.virial, factor * expected, rtol=1e-12)


def test_contradiction_in_one_component_claims_no_factor():
    atoms = copper()
    virial = -atoms.get_volume() * atoms.get_stress(voigt=False)
    virial[0, 1] = virial[1, 0] = virial[0, 1] + 0.5
    atoms.info["virial"] = virial
    with pytest.raises(InputError, match=r"virial\[0,1\] = ") as caught:
        find_label_keys([atoms])
    assert "flipped" not in str(caught.value)
    assert "times" not in str(caught.value)


@pytest.mark.parametrize("key", ["stress", "virial"])
def test_stress_without_a_cell_volume_is_refused(key):
    slab = labelled(Atoms("Cu", cell=[2.5, 2.5, 0], pbc=[1, 1, 0]), info={key: np.eye(3)}, energy=1.0)
    with pytest.raises(InputError, match=f"frame 0 has a {key} but no cell volume, give the frame three cell vectors"):
        read_structures([slab])
    (read,) = read_structures([slab], stress_key="", virial_key="")
    assert set(read.calc.results) == {"energy"}


def test_stress_per_atom_of_a_calculator_is_no_label():
    atoms = labelled(energy=1.0, stresses=np.ones((2, 6)))
    assert labels_of([atoms])[0].virial is None


# ---- discovery -------------------------------------------------------------------------------------------------------

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


# ---- normalised copies -----------------------------------------------------------------------------------------------


def test_reading_a_list_copies_and_is_idempotent():
    atoms = copper()
    atoms.info |= {"REF_energy": atoms.get_potential_energy(), "note": [1, 2], "group": "solid"}
    atoms.arrays["REF_forces"], atoms.arrays["tag"] = atoms.get_forces(), np.arange(4)
    before, info, arrays, calc = atoms.copy(), dict(atoms.info), set(atoms.arrays), atoms.calc
    (once,) = read_structures([atoms], config_type_key="group")
    assert atoms == before
    assert (atoms.info, set(atoms.arrays)) == (info, arrays)
    assert atoms.calc is calc
    assert once.info == {"note": [1, 2], "group": "solid", "config_type": "solid"}
    assert set(once.arrays) == {"numbers", "positions", "tag"}
    (twice,) = read_structures([once])
    assert_same_labels(twice, atoms, 1e-14)
    assert twice.info == once.info
    once.info["note"].append(3)
    once.positions += 1
    assert atoms.info["note"] == [1, 2]
    assert atoms == before


@pytest.mark.parametrize(("value", "expected"), [("MD", "MD"), (300, "300"), ("", "default"), (None, "default")])
def test_config_type(value, expected):
    (labels,) = labels_of([labelled(info={"config_type": value})])
    assert labels.config_type == expected


# ---- e0 --------------------------------------------------------------------------------------------------------------


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


# ---- description and geometry ----------------------------------------------------------------------------------------


def test_description_counts_what_is_there():
    frames = [
        labelled(info={"config_type": "bulk"}, energy=-10.0, forces=[[3, 4, 0], [0, 0, 0]], stress=np.zeros(6)),
        labelled(info={"config_type": "bulk"}, energy=-12.0),
        labelled(molecule("CH4"), info={"config_type": "gas"}, forces=np.ones((5, 3))),
    ]
    table = [line.split() for line in describe_structures(frames).splitlines()]
    assert table[1] == ["bulk", "2", "4", "2", "1", "1", "-6.0000", "-5.0000", "5.000"]
    assert table[2] == ["gas", "1", "5", "0", "1", "0", "-", "-", "1.732"]
    assert table[3] == ["total", "3", "9", "2", "2", "1", "-6.0000", "-5.0000", "5.000"]
    text = describe_structures(frames, LabelKeys(energy="energy"))
    assert "species: C 1, H 4, Si 4" in text
    assert text.endswith("labels: energy from 'energy'")
    assert "labels: none" in describe_structures([bulk("Si")])


def with_nan(name: str) -> Atoms:
    atoms = bulk("Si")
    getattr(atoms, name)[0, 0] = np.nan
    return atoms


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Atoms(), "has no atoms"),
        ("Si", "is of type str, give ase.Atoms"),
        (None, "is of type NoneType, give ase.Atoms"),
        (with_nan("positions"), "has positions that are not finite"),
        (with_nan("cell"), "has cell vectors that are not finite"),
        (Atoms("X"), "has an atom of unknown element"),
        (Atoms("Si", cell=[5, 5, 0], pbc=True), "is periodic along direction 2 but its cell vector there is zero"),
        (
            Atoms("Si", cell=[[5, 0, 0], [0, 5, 0], [5, 5, 0]], pbc=True),
            "has periodic cell vectors that are linearly dep",
        ),
    ],
)
def test_bad_geometry_is_refused(bad, message):
    for function in (check_structures, read_structures, find_label_keys, describe_structures):
        with pytest.raises(InputError, match=f"frame 1 (?:{message})"):
            function([bulk("Si"), bad])


def test_what_is_not_a_list_of_frames_is_refused():
    for function in (check_structures, read_structures, find_label_keys, describe_structures):
        with pytest.raises(InputError, match="structures is empty"):
            function([])
        with pytest.raises(InputError, match=r"structures is one Atoms, give a list of them: \[atoms\]"):
            function(bulk("Si"))
        with pytest.raises(InputError, match="structures is of type"):
            function(None)
    with pytest.raises(InputError, match=r"structures is the path 'si\.xyz', give read_structures"):
        check_structures("si.xyz")


def test_good_geometry_passes():
    slab = Atoms("Cu", cell=[2.5, 2.5, 0], pbc=[True, True, False])
    assert check_structures([bulk("Si"), molecule("H2O"), slab, Atoms("H")]) is None
