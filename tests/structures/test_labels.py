"""Stress and virial: one meaning whatever the layout, refused where it is not understood."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import read, write
from ase.stress import voigt_6_to_full_3x3_stress
from labelled_frames import ROW, copper, hand_written, labelled, labels_of

from gapkit.errors import InputError
from gapkit.structures.frames import labelled_frames
from gapkit.structures.reading import find_label_keys, read_structures


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
    with pytest.raises(InputError, match=rf"frame 0 of frames\.xyz: '{key}' is 'none yet', give numbers"):
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


@pytest.mark.parametrize("quantity", ["stress", "virial", "both"])
def test_frames_are_the_same_wherever_they_are_read_from(tmp_path, quantity):
    """Atoms as ASE reads them, the file, gapkit's own list, and an iterator: one identity for each frame."""
    frames, rng = [], np.random.default_rng(4)
    for k in range(40):
        atoms = copper(k)
        atoms.set_cell(atoms.cell.array * rng.uniform(0.9, 1.1), scale_atoms=True)
        virial = voigt_6_to_full_3x3_stress(rng.normal(size=6))
        if quantity != "virial":
            atoms.info["REF_stress"] = -virial / atoms.get_volume()
        if quantity != "stress":
            atoms.info["REF_virial"] = virial
        atoms.calc = None
        frames.append(atoms)
    write(tmp_path / "frames.xyz", frames, format="extxyz")
    listed = read(tmp_path / "frames.xyz", ":")
    normalised = read_structures(tmp_path / "frames.xyz")
    ways = [listed, tmp_path / "frames.xyz", normalised, iter(listed), (atoms for atoms in normalised)]
    names = [[frame.identity() for frame in labelled_frames(way)] for way in ways]
    assert len(set(names[0])) == 40
    assert all(found == names[0] for found in names)
    spooled = labelled_frames(iter(listed))
    assert [frame.identity() for frame in spooled] == names[0]
    assert [frame.identity() for frame in spooled] == names[0]  # now from its temporary file
