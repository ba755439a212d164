"""Normalised copies, descriptions and the geometry that is refused. References are ASE's calculators."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from labelled_frames import assert_same_labels, copper, labelled, labels_of

from gapkit.errors import InputError
from gapkit.structures.labels import LabelKeys, check_structures
from gapkit.structures.reading import describe_structures, find_label_keys, read_structures


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
