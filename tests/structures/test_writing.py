"""What is written as extended XYZ can be read again, whatever texts a frame holds."""

from __future__ import annotations

import io
import unicodedata
import warnings

import numpy as np
from ase import Atoms
from ase.io import read, write
from hypothesis import given
from hypothesis import strategies as st
from labelled_frames import copper

from gapkit.structures.reading import read_structures
from gapkit.structures.writing import writable

TEXTS = st.text(max_size=12)


@given(
    st.dictionaries(
        st.text("abcdefg_=\n\"'{[ ]", min_size=1, max_size=5), st.one_of(TEXTS, st.lists(TEXTS), st.floats())
    ),
    st.lists(TEXTS, min_size=2, max_size=2),
)
def test_any_text_can_be_read_again(tmp_path_factory, info, words):
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.8]])
    atoms.info.update(info)
    atoms.arrays["words"] = np.array(words)
    path = tmp_path_factory.mktemp("f") / "a.xyz"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(path, writable(atoms), format="extxyz")
    for text in path.read_text(encoding="utf-8").splitlines():
        assert not {c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")} - {"\t"}
    (again,) = read_structures(path, energy_key="", forces_key="", stress_key="", virial_key="")
    np.testing.assert_array_equal(again.positions, atoms.positions)
    assert len(again.arrays["words"]) == 2


def test_usual_frames_are_written_as_they_are():
    for atoms in (copper(), copper(1)):
        atoms.info |= {"config_type": "bulk", "n": 3, "my key": "two words"}
        one, other = io.StringIO(), io.StringIO()
        write(one, writable(atoms), format="extxyz")
        write(other, atoms, format="extxyz")
        assert one.getvalue() == other.getvalue()


def test_a_line_break_becomes_a_blank():
    atoms = Atoms("H", info={"note": "two\nlines \x1b[31m", "empty": ""})
    own = writable(atoms)
    assert own.info == {"note": "two lines ␛[31m"}
    assert atoms.info["empty"] == ""
    file = io.StringIO()
    write(file, own, format="extxyz")
    file.seek(0)
    assert read(file, format="extxyz").info["note"].startswith("two lines")
