"""Files of frames: read whole or streamed, or refused in one sentence that names the frame and the line."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.lj import LennardJones
from ase.io import write
from labelled_frames import ROW, assert_same_labels, copper, hand_written, labelled

from gapkit.errors import InputError
from gapkit.structures.reading import iter_structures, read_structures


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
        (ROW + ROW.replace(":forces:R:3", ""), r"frame 1 of frames\.xyz: line 7 has 7 columns but .* announces 4"),
        (ROW + ROW.replace("forces:R:3 ", ""), r"frame 1 of frames\.xyz: Properties=.*:energy=-1\.5 is not understood"),
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


@pytest.mark.parametrize("index", ["7:", 99, "x", 1.5, None, "::0", slice(None, None, 0)])
def test_an_index_that_selects_nothing_is_refused(tmp_path, index):
    write(tmp_path / "h.json", molecule("H2"))
    for source in (hand_written(tmp_path, ROW), tmp_path / "h.json", [molecule("H2")]):
        with pytest.raises(InputError, match="index="):
            read_structures(source, index=index)


@pytest.mark.parametrize("name", ["si.xyz", "si.traj"])
@pytest.mark.parametrize(("index", "number"), [(":", 3), ("2:", 3), ("1::2", 3), (3, 3)])
def test_errors_count_frames_in_the_file_whatever_is_selected(tmp_path, name, index, number):
    frames = [labelled(info={"number": k}, energy=-float(k)) for k in range(5)]
    frames[3].positions[0, 0] = np.nan
    write(tmp_path / name, frames)
    with pytest.raises(InputError, match=f"frame {number} of {name} has positions that are not finite"):
        read_structures(tmp_path / name, index=index)


def test_frames_counted_from_the_end_are_called_selected(tmp_path):
    frames = [labelled(energy=-float(k)) for k in range(5)]
    frames[3].positions[0, 0] = np.nan
    write(tmp_path / "si.traj", frames)
    with pytest.raises(InputError, match=r"^selected frame 1 of si\.traj has positions"):
        read_structures(tmp_path / "si.traj", index="-3:")
