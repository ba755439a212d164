"""Headers of extended XYZ: what ASE reads stays the same, other spellings are understood or refused."""

from __future__ import annotations

import numpy as np
import pytest
from ase.io.extxyz import key_val_str_to_dict
from hypothesis import given
from hypothesis import strategies as st

from gapkit.errors import InputError
from gapkit.structures.extended_xyz_header import read_header

CELL = "4 0.5 0 0 5 0.25 0 0 6"
VECTORS = np.array(CELL.split(), float).reshape(3, 3)
NAMES = st.sampled_from(["a", "b_c", "config_type", "E0", "REF_energy", "x-y", "T2"])
PLAIN = st.one_of(
    st.floats(allow_nan=False).map(repr),
    st.integers(-(10**6), 10**6).map(str),
    st.sampled_from(["T", "F", "true", "word", "2d3", "1,2,3", "a_b", "-", "Si/bulk", "5%", "x;y", "Å"]),
)
QUOTED = st.lists(PLAIN, min_size=1, max_size=4).map(" ".join)
VALUES = st.one_of(
    PLAIN,
    QUOTED.map(lambda text: f'"{text}"'),
    QUOTED.map(lambda text: f"'{text}'"),
    QUOTED.map(lambda text: f"{{{text}}}"),
    QUOTED.map(lambda text: f"[{text}]"),
)


def same(one: object, other: object) -> bool:
    return type(one) is type(other) and bool(np.array_equal(one, other))  # type: ignore[arg-type]


@given(
    st.dictionaries(NAMES, VALUES, max_size=5), st.sampled_from(["=", " = ", "= ", " ="]), st.sampled_from([" ", "  "])
)
def test_usual_headers_are_read_as_ase_reads_them(entries, equals, blank):
    comment = blank.join(f"{key}{equals}{value}" for key, value in entries.items())
    ours, theirs = read_header(comment, "frame 0"), key_val_str_to_dict(comment) if comment else {}
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        assert same(ours[key], value), key


@pytest.mark.parametrize(
    "comment",
    [
        "a plain title, twice twice",
        "i = 4, time = 2.000, E = -17.16",
        "don't panic",
        "50% [of it",
        'a="b c"d e=f"g h"',
        r'name="say \"hi\" now" n=3',
        "url=http://x.org/?q=1",
        "==== water ====",
        "",
    ],
)
def test_titles_and_odd_entries_are_not_refused(comment):
    ours = read_header(comment, "frame 0")
    if not comment.startswith("="):  # ASE ends with an IndexError there
        theirs = key_val_str_to_dict(comment) if comment else {}
        assert all(same(ours[key], value) for key, value in theirs.items() if value is not True)


def test_an_empty_text_does_not_swallow_the_next_entry():
    header = read_header("config_type=\"\" energy=-1.5 note= Lattice='1 0 0 0 2 0 0 0 3'", "frame 0")
    assert header["energy"] == -1.5
    assert header["Lattice"].tolist() == np.diag([1.0, 2.0, 3.0]).tolist()


@pytest.mark.parametrize(
    "spelling",
    [
        f'Lattice="{CELL}"',
        f'lattice="{CELL}"',
        f'LATTICE = "{CELL}"',
        f"latTice={{{CELL}}}",
        f"Lattice=[{CELL.replace(' ', ', ')}]",
        f'Cell="{CELL}"',
        f'cell="{CELL}"',
        "cell=[[4, 0.5, 0], [0, 5, 0.25], [0, 0, 6]]",
        'Lattice="4.0d0 5.0D-1 0.0d0 0 5 2.5d-1 0 0 0.6d1"',
        f'Lattice="{CELL}" lattice="{CELL}"',
        f'Lattice="{CELL}" cell="{CELL}"',
    ],
)
def test_every_spelling_of_the_cell(spelling):
    header = read_header(spelling + " energy=-1", "frame 0")
    np.testing.assert_array_equal(header["Lattice"].T, VECTORS)
    assert set(header) == {"Lattice", "energy"}


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ('Lattice="4 0 0 0 5"', r"frame 7: Lattice=4 0 0 0 5 is not understood, write Lattice="),
        ('lattice="a b c"', r"lattice=a b c is not understood"),
        ("Lattice", r"Lattice= is not understood"),
        ("Lattice=[[4, 1, 0], [0, 5, 0], [0, 0, 6]]", r"Lattice=\[\[4, 1, 0\].* is not understood"),
        ('cell="10 10 10"', r"cell=10 10 10 is not understood"),
        ("cell=[[4, 0], [0, 5, 0]]", r"cell=.* is not understood"),
        (f'Lattice="{CELL}" lattice="9 0 0 0 9 0 0 0 9"', r"has 'lattice' twice in its header, Lattice=4 .* lattice=9"),
        (f'Lattice="{CELL}" Cell="9 0 0 0 9 0 0 0 9"', r"has two cells, Lattice=4 .* and Cell=9"),
        (f'Latice="{CELL}"', r"Latice=4 .* seems to be a cell"),
        ('box="10 10 10"', r"box=10 10 10 seems to be a cell"),
        ("energy=-1.0 energy=-2.0", r"has 'energy' twice in its header, energy=-1.0 and energy=-2.0: remove one"),
        ("Property=species:S:1:pos:R:3", r"Property=species:S:1:pos:R:3 describes columns, write Properties="),
        (f'config_type=Bob\'s lattice="{CELL}"', r"quote or bracket in its header that never ends \(config_type=Bob's"),
        ("stress=none", r"'stress' is 'none', give numbers"),
        (f'Lattice="{CELL}" periodic="T T F"', r"periodic=T T F is not understood, write for example pbc="),
    ],
)
def test_what_is_not_understood_is_refused_with_frame_and_spelling(comment, message):
    with pytest.raises(InputError, match=f"frame 7.*{message}" if "frame 7" not in message else message):
        read_header(comment, "frame 7")


@pytest.mark.parametrize(
    ("comment", "key", "value"),
    [
        ('box="10 10 10" pbc="F F F"', "box", [10, 10, 10]),
        ("cell=primitive", "cell", "primitive"),
        ('polarizability="1 0 0 0 1 0 0 0 1"', "polarizability", [1, 0, 0, 0, 1, 0, 0, 0, 1]),
        ('dipole="1 2 3"', "dipole", [1, 2, 3]),
        ("energy=-1 energy=-1", "energy", -1),
        (f'Lattice="{CELL}" cell=primitive', "cell", "primitive"),
    ],
)
def test_what_is_no_structure_stays(comment, key, value):
    header = read_header(comment, "frame 0")
    np.testing.assert_array_equal(header[key], value)
    assert ("Lattice" in header) == ("Lattice" in comment)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T", "TTT"), ("F", "FFF"), ('"T T F"', "TTF"), ("TTF", "TTF"), ("ttf", "TTF"), ('"t t f"', "TTF"),
        ('"T, F, t"', "TFT"), ("[T,F,T]", "TFT"), ("T,F,T", "TFT"), ('"True true FALSE"', "TTF"), ("false", "FFF"),
        ('"1 1 0"', "TTF"), ("110", "TTF"), ("0", "FFF"), ('"true" ', "TTT"), ('".true. .false. .T."', "TFT"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["pbc", "PBC", "Pbc"])
def test_periodicity_in_any_words(key, text, expected):
    assert read_header(f"{key}={text}", "frame 0") == {"pbc": [letter == "T" for letter in expected]}


@pytest.mark.parametrize("text", ["none", "xy", '"T T"', '"2 0 0"', '""', "TTTT", '"T T maybe"', "periodic"])
def test_periodicity_that_is_not_understood(text):
    with pytest.raises(InputError, match=r'frame 3: pbc=.* is not understood, write for example pbc="T T F"'):
        read_header(f"pbc={text}", "frame 3")


def test_infinite_vectors_are_none_where_nothing_is_periodic():
    def cell(comment: str) -> np.ndarray:
        return read_header(comment, "frame 0")["Lattice"].T

    infinite = 'Lattice="inf 0 0 0 inf 0 0 0 inf"'
    assert not cell(f'{infinite} pbc="F F F"').any()
    slab = cell('Lattice="3 0 0 0 4 0 0 0 inf" pbc="T T F"')
    np.testing.assert_array_equal(slab, np.diag([3.0, 4.0, 0.0]))
    assert np.isinf(cell(infinite)).sum() == 3  # refused with the frame, being periodic
    assert np.isinf(cell(f'{infinite} pbc="T F F"')[0, 0])
    assert np.isnan(cell('Lattice="nan 0 0 0 1 0 0 0 1" pbc=F')[0, 0])


def test_nested_brackets_and_fortran_numbers_are_arrays():
    header = read_header("virial=[[1, 2, 3], [2, 5, 6], [3, 6, 9.5]] d=[[1, 2], [3, 4]] energy=-1.5d1 tag=2d3", "")
    assert header["virial"].tolist() == [1, 2, 3, 2, 5, 6, 3, 6, 9.5]
    assert header["d"].tolist() == [[1, 2], [3, 4]]
    assert header["energy"] == -15.0
    assert header["tag"] == "2d3"
