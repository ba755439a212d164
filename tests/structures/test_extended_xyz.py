"""Rows of extended XYZ: counted always, elements and numbers in other spellings understood, contradictions refused."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io import read, write
from hypothesis import given
from hypothesis import strategies as st
from labelled_frames import ROW, copper, hand_written

from gapkit.errors import InputError
from gapkit.structures.reading import read_structures

LATTICE = 'Lattice="9 0 0 0 9 0 0 0 9"'


def frame(header: str, *rows: str) -> str:
    return "\n".join([str(len(rows)), header, *rows]) + "\n"


def one(tmp_path, text: str) -> Atoms:
    (atoms,) = read_structures(hand_written(tmp_path, text))
    return atoms


@pytest.mark.parametrize(
    "properties",
    [
        "Properties=species:S:1:pos:R:3:forces:R:3",
        "properties=species:S:1:pos:R:3:force:R:3",
        "PROPERTIES=Species:s:1:Pos:r:3:Forces:r:3:",
        'properties = "symbols:S:1:positions:R:3:REF_forces:R:3"',
    ],
)
@pytest.mark.parametrize("lattice", ["Lattice", "lattice", "LATTICE", "Cell"])
def test_nothing_is_lost_in_any_case_of_the_keys(tmp_path, properties, lattice):
    atoms = one(
        tmp_path,
        frame(f'{lattice}="9 0 0 0 9 0 0 0 9" energy=-1 {properties}', "Si 0 0 0 0.1 0 0", "Si 0 0 2.4 -0.1 0 0"),
    )
    assert atoms.pbc.all()
    assert atoms.cell.array.tolist() == np.diag([9.0] * 3).tolist()
    assert atoms.calc.results["forces"].tolist() == [[0.1, 0, 0], [-0.1, 0, 0]]
    assert atoms.positions[1, 2] == 2.4


@pytest.mark.parametrize("n_columns", [5, 6, 7, 8, 10])
def test_columns_without_properties_are_refused(tmp_path, n_columns):
    row = " ".join(["Si", *["0.5"] * (n_columns - 1)])
    message = (
        rf"frame 0 of frames\.xyz: line 3 has {n_columns} columns but without Properties only the symbol and three"
    )
    with pytest.raises(InputError, match=message) as caught:
        one(tmp_path, frame("energy=-38.1", row))
    assert ("forces:R:3 if columns 5 to 7 are forces" in str(caught.value)) == (n_columns == 7)
    with pytest.raises(InputError, match=r"line 3 has 3 columns but needs a symbol and three coordinates"):
        one(tmp_path, frame("energy=-38.1", "Si 0 0"))


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ("species:S:1", r"has no pos:R:3"),
        ("species:S:1:pos:R:2", r"has no pos:R:3"),
        ("pos:R:3", r"has neither species:S:1 nor Z:I:1"),
        ("species:S:1:pos:R:3:forces:R:3:forces:R:3", r"names 'forces' twice"),
        ("species:S:1:pos:R:3:positions:R:3", r"names 'pos' twice"),
        ("species:S:1:pos:R:3:forces:X:3", r"is not understood, write name:type:columns"),
        ("species:S:1:pos:R", r"is not understood"),
        ("species:S:1:pos:R:three", r"is not understood"),
    ],
)
def test_properties_that_are_not_understood(tmp_path, properties, message):
    with pytest.raises(InputError, match=rf"frame 0 of frames\.xyz: Properties={properties} {message}"):
        one(tmp_path, frame(f"Properties={properties}", "Si 0 0 0 0 0 0 0 0 0"))


@pytest.mark.parametrize(
    ("properties", "rows"),
    [
        ("species:I:1:pos:R:3", ("14 0 0 0", "8 0 0 2")),
        ("species:S:1:pos:R:3", ("14 0 0 0", "o 0 0 2")),
        ("Z:I:1:pos:R:3", ("14 0 0 0", "8 0 0 2")),
        ("Z:S:1:pos:R:3", ("Si 0 0 0", "8 0 0 2")),
        ("species:S:1:Z:I:1:pos:R:3", ("Si 14 0 0 0", "O 8 0 0 2")),
    ],
)
def test_elements_by_symbol_or_number(tmp_path, properties, rows):
    atoms = one(tmp_path, frame(f"Properties={properties}", *rows))
    assert atoms.numbers.tolist() == [14, 8]
    assert atoms.positions[1].tolist() == [0, 0, 2]


def test_elements_that_contradict_each_other_or_are_none(tmp_path):
    both = "Properties=species:S:1:pos:R:3:Z:I:1"
    with pytest.raises(InputError, match=r"frame 0 of frames\.xyz: line 4 has species Si but Z 32, which is Ge"):
        one(tmp_path, frame(both, "Si 0 0 0 14", "Si 0 0 2 32"))
    for word in ("Si1", "D", "999", "14.0", "-1"):
        with pytest.raises(InputError, match=rf"'{word}' in column 1 of line 3 is no chemical element"):
            one(tmp_path, frame("", f"{word} 0 0 0"))
    with pytest.raises(InputError, match=r"unknown element"):
        one(tmp_path, frame("", "X 0 0 0"))


def test_fortran_exponents_in_rows(tmp_path):
    text = ROW.replace("0.1 0.2 0.3", "1.0d-1 +.2D+0 3.0-101").replace("-1.5", "-1.5D+0")
    atoms = one(tmp_path, text)
    assert atoms.calc.results["forces"][0].tolist() == [0.1, 0.2, 3e-101]
    assert atoms.calc.results["energy"] == -1.5


@given(st.floats(-1e9, 1e9))
def test_fortran_exponents_are_the_same_number(tmp_path_factory, value):
    text = frame("", f"H {value:.17e} 0 0".replace("e", "d"))
    atoms = one(tmp_path_factory.mktemp("f"), text)
    assert atoms.positions[0, 0] == value


def test_truth_values_in_any_words(tmp_path):
    header = "Properties=species:S:1:pos:R:3:good:L:1"
    words = ("T", "t", "1", "true", "F", "f", "0")
    atoms = one(tmp_path, frame(header, *(f"H {k} 0 0 {word}" for k, word in enumerate(words))))
    assert atoms.arrays["good"].tolist() == [True] * 4 + [False] * 3
    with pytest.raises(InputError, match=r"'maybe' in column 5 of line 3 is no truth value"):
        one(tmp_path, frame(header, "H 0 0 0 maybe"))
    fixed = one(tmp_path, frame(header.replace("good:L", "move_mask:S"), "H 0 0 0 F", "H 0 0 1 T"))
    assert [c.index.tolist() for c in fixed.constraints if isinstance(c, FixAtoms)] == [[0]]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be-with-mark"])
def test_byte_order_marks(tmp_path, encoding):
    text = ROW.replace("energy", "name=Å energy")
    data = b"\xfe\xff" + text.encode("utf-16-be") if encoding.startswith("utf-16-be") else text.encode(encoding)
    (tmp_path / "frames.xyz").write_bytes(data)
    (atoms,) = read_structures(tmp_path / "frames.xyz")
    assert atoms.info["name"] == "Å"
    if encoding == "utf-8-sig":
        (tmp_path / "frames.xyz").write_bytes(data + data)
        assert len(read_structures(tmp_path / "frames.xyz")) == 2


def test_both_vec_lines_and_a_header_are_refused(tmp_path):
    vectors = "VEC1 3 0 0\nVEC2 0 3 0\nVEC3 0 0 3\n"
    assert one(tmp_path, frame("a title", "H 0 0 0") + vectors).pbc.all()
    with pytest.raises(InputError, match="has both VEC lines and Lattice: keep one"):
        one(tmp_path, frame(LATTICE, "H 0 0 0") + vectors)


def test_what_ase_writes_is_read_to_the_bit(tmp_path):
    frames = [copper(seed) for seed in range(3)]
    frames[0].set_constraint(FixAtoms([0]))
    frames[1].info |= {"text": 'a "b" c', "matrix": np.arange(4.0).reshape(2, 2), "flag": True, "list": [1, "a"]}
    frames[2].arrays["tags2"] = np.arange(12).reshape(4, 3)
    write(tmp_path / "cu.xyz", frames)
    for ours, theirs in zip(read_structures(tmp_path / "cu.xyz"), read(tmp_path / "cu.xyz", ":"), strict=True):
        assert ours == theirs
        assert [repr(c) for c in ours.constraints] == [repr(c) for c in theirs.constraints]
        for key, value in theirs.info.items():
            assert np.array_equal(ours.info[key], value), key
        for key, value in theirs.arrays.items():
            np.testing.assert_array_equal(ours.arrays[key], value)
        np.testing.assert_array_equal(ours.calc.results["stress"], theirs.calc.results["stress"])
