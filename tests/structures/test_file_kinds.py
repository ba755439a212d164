"""Formats of files: the ending and the first lines of extended XYZ come before patterns in names; others are named."""

from __future__ import annotations

import gzip
import pickle

import pytest
from ase.build import bulk
from ase.io import write
from labelled_frames import ROW, copper, hand_written
from run_gapkit import assert_refused, gapkit

from gapkit.errors import InputError
from gapkit.structures.file_kinds import kind_of, with_format
from gapkit.structures.reading import iter_structures, read_structures

NAMES = [
    "OUTCAR.xyz",
    "POSCAR.extxyz",
    "vasprun.xml.xyz",
    "CONTCAR_7.XYZ",
    "OUTCAR",
    "train.txt",
    "data.cfg",
    "CAR.dat",
]


@pytest.mark.parametrize("name", NAMES)
def test_extended_xyz_under_any_name(tmp_path, name):
    assert len(read_structures(hand_written(tmp_path, ROW * 2, name))) == 2


def test_compressed_under_the_name_of_another_format(tmp_path):
    with gzip.open(tmp_path / "OUTCAR.xyz.gz", "wt") as stream:
        stream.write(ROW)
    assert len(read_structures(tmp_path / "OUTCAR.xyz.gz")) == 1


def test_plain_frames_without_a_known_ending(tmp_path):
    path = hand_written(tmp_path, "1\na title\nH 0 0 0\n", "frames.txt")
    assert read_structures(path, energy_key="")[0].symbols[0] == "H"


def test_other_formats_are_still_guessed(tmp_path):
    for name, kind in (("POSCAR", "vasp"), ("a.json", "json"), ("a.cif", "cif"), ("b.traj", "traj")):
        write(tmp_path / name, bulk("Si"))
        assert kind_of(tmp_path / name)[:2] == (kind, "guessed from its name and beginning")
        assert len(read_structures(tmp_path / name)) == 1


def test_a_named_format_decides(tmp_path):
    write(tmp_path / "frame.unknown", bulk("Si"), format="vasp")
    for read in (read_structures, lambda *a, **k: list(iter_structures(*a, **k))):
        (atoms,) = read(tmp_path / "frame.unknown", format="vasp")
        assert len(atoms) == 2
    write(tmp_path / "cu.xyz", copper())
    assert len(read_structures([tmp_path / "cu.xyz"], format="xyz")) == 1
    with pytest.raises(InputError, match=r"ASE cannot read '.*cu\.xyz' after 0 frames as vasp-out, named \("):
        read_structures(tmp_path / "cu.xyz", format="vasp-out")
    with pytest.raises(InputError, match=r"format='vasp_out' is unknown \(did you mean 'vasp-out'\?\)"):
        read_structures(tmp_path / "cu.xyz", format="vasp_out")


def test_errors_name_the_guess(tmp_path):
    path = hand_written(tmp_path, "nothing that VASP writes\n", "OUTCAR")
    with pytest.raises(InputError, match=r"after 0 frames as vasp-out, guessed from its name .*format="):
        read_structures(path)
    with pytest.raises(InputError, match=r"neither its name nor its beginning shows the format"):
        read_structures(hand_written(tmp_path, "words\n", "notes"))
    with pytest.raises(InputError, match=r"is the log of CP2K, which ASE cannot read"):
        read_structures(hand_written(tmp_path, " CP2K| version string: CP2K version 2024.1\n", "run.log_1"))


def test_a_path_keeps_its_format_in_a_pickle(tmp_path):
    path = pickle.loads(pickle.dumps(with_format(tmp_path / "a", "xyz")))
    assert (path, path.format) == (tmp_path / "a", "extxyz")


def test_commands_take_the_format(tmp_path):
    write(tmp_path / "a.json", [copper(k) for k in range(3)])
    (tmp_path / "a.json").rename(tmp_path / "a.xyz")
    done = gapkit("suggest", tmp_path / "a.xyz", "--format", "json", "-o", tmp_path / "a.yaml")
    assert done.code == 0
    assert "3" in next(line for line in done.out.splitlines() if line.startswith("total"))
    assert_refused(gapkit("suggest", tmp_path / "a.xyz", "-o", tmp_path / "b.yaml"), r"line 1 of a\.xyz should hold")
    (tmp_path / "c").write_text("words\n")
    assert_refused(gapkit("suggest", tmp_path / "c"), r"name it \(--format=\"extxyz\"\)")
    assert_refused(gapkit("suggest", tmp_path / "a.xyz", "--format", "jsn"), r"did you mean 'json'")
