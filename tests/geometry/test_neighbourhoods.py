"""Neighbours equal a search through all images; lists with a skin; cells that are refused."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from example_structures import alloy, structures
from hypothesis import given, settings
from hypothesis import strategies as st

from gapkit import InputError
from gapkit.geometry.neighbourhoods import NeighbourList, find_neighbourhoods


def awkward() -> dict[str, Atoms]:
    """Cells much smaller than the cutoff, skewed, left-handed, partly periodic or undefined, and atoms far outside."""
    rng = np.random.default_rng(0)
    inside = rng.uniform(0, 3, (3, 3))
    outside = rng.uniform(-7, 9, (4, 3))
    slanted = [[3, 0.2, 0], [0.7, 3.3, 0], [-0.6, 0.5, 3.6]]
    far = alloy(0)
    far.positions[1] += 100 * far.cell.array[0] - 31 * far.cell.array[2]
    found = {
        "tiny": Atoms("Cu2", [[0, 0, 0], [0.9, 1.0, 0.8]], cell=[1.8, 1.9, 2.0], pbc=True),
        "skewed": Atoms("Cu3", inside, cell=[[3, 0, 0], [2.9, 3, 0], [-2.5, 2.8, 3]], pbc=True),
        "very_skewed": Atoms("Cu", cell=[[3, 0, 0], [31, 3, 0], [1, 16, 3]], pbc=True),
        "left_handed": Atoms("Cu3", inside, cell=[[0, 3, 0], [3.2, 0, 0], [0.4, 0.2, 3]], pbc=True),
        "no_middle_vector": Atoms("Cu3", inside, cell=[[3, 0.4, 0], [0, 0, 0], [0, 0.3, 3]], pbc=[1, 0, 1]),
        "wire": Atoms("Cu3", inside, cell=[[0, 0, 0], [0, 0, 0], [0.5, 0.3, 2.2]], pbc=[0, 0, 1]),
        "atoms_beyond_a_thin_slab_cell": Atoms("Cu3", inside, cell=[3, 3, 1.0], pbc=[1, 1, 0]),
        "far_outside": far,
    }
    for pbc in product([False, True], repeat=3):
        found[f"outside_{''.join('FT'[p] for p in pbc)}"] = Atoms("Cu4", outside, cell=slanted, pbc=pbc)
    return found


GEOMETRIES = {**structures(), **awkward()}


def in_order(i, j, S) -> np.ndarray:
    return np.lexsort((S[:, 2], S[:, 1], S[:, 0], j, i))


@pytest.mark.parametrize("cutoff", [2.0123, 3.3, 4.5, 7.0])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_pairs_are_those_of_ase(name, cutoff):
    atoms = GEOMETRIES[name]
    i, j, S, D = neighbor_list("ijSD", atoms, cutoff)
    nb = find_neighbourhoods(atoms, cutoff)
    theirs, ours = in_order(i, j, S), in_order(nb.i, nb.j, nb.S)
    np.testing.assert_array_equal(nb.i[ours], i[theirs])
    np.testing.assert_array_equal(nb.j[ours], j[theirs])
    np.testing.assert_array_equal(nb.S[ours], S[theirs])
    np.testing.assert_allclose(nb.D[ours], D[theirs], atol=1e-11)
    np.testing.assert_array_equal(np.diff(nb.first), np.bincount(i, minlength=len(atoms)))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_layout(name):
    """Sorted by centre, contiguous arrays of the promised types, and every pair there in both directions."""
    nb = find_neighbourhoods(GEOMETRIES[name], 5.0)
    assert nb.n_atoms == len(GEOMETRIES[name]) == len(nb.centres)
    assert nb.first[0] == 0
    assert nb.first[-1] == len(nb.j) == len(nb.i) == len(nb.S) == len(nb.D)
    assert np.all(np.diff(nb.i) >= 0)
    assert (nb.centres.dtype, nb.first.dtype, nb.j.dtype, nb.S.dtype) == (np.int64, np.int64, np.int64, np.int32)
    assert nb.D.flags.c_contiguous
    forwards = sorted(zip(nb.i, nb.j, map(tuple, nb.S)))
    backwards = sorted(zip(nb.j, nb.i, map(tuple, -nb.S)))
    assert forwards == backwards


def test_select_equals_slicing_by_hand():
    nb = find_neighbourhoods(GEOMETRIES["outside_TFT"], 4.5)
    for which in ([0, 2], [1], [3], [], [0, 1, 2, 3]):
        some = nb.select(np.array(which, dtype=int))
        pairs = np.isin(nb.i, which)
        np.testing.assert_array_equal(some.centres, which)
        np.testing.assert_array_equal(some.i, nb.i[pairs])
        np.testing.assert_array_equal(some.j, nb.j[pairs])
        np.testing.assert_array_equal(some.S, nb.S[pairs])
        np.testing.assert_array_equal(some.D, nb.D[pairs])
        assert some.n_atoms == nb.n_atoms
    twice = nb.select(np.array([0, 2, 3])).select(np.array([1, 2]))
    np.testing.assert_array_equal(twice.i, nb.i[np.isin(nb.i, [2, 3])])


@pytest.mark.parametrize(
    "atoms", [Atoms("Cu"), Atoms("Cu3", np.diag([9.0, 9.0, 9.0])), Atoms("Cu", cell=[9] * 3, pbc=1)]
)
def test_no_neighbours(atoms):
    nb = find_neighbourhoods(atoms, 4.5)
    assert len(nb.j) == len(nb.i) == 0
    assert nb.D.shape == nb.S.shape == (0, 3)
    np.testing.assert_array_equal(nb.first, np.zeros(len(atoms) + 1))
    np.testing.assert_array_equal(nb.select(np.array([0])).first, [0, 0])


def test_pair_just_inside_and_just_outside_the_cutoff():
    for r, n in ((4.5 - 1e-9, 2), (4.5 + 1e-9, 0)):
        assert len(find_neighbourhoods(Atoms("Cu2", [[0, 0, 0], [0, 0, r]]), 4.5).j) == n


# -- bad input ------------------------------------------------------------------------------------------------------


def test_atoms_too_close_are_named():
    atoms = Atoms("Cu3", [[0, 0, 0], [2, 0, 0], [2, 0.03, 0.04]])
    with pytest.raises(
        InputError, match=r"^atoms 1 and 2 are 0.05 Å apart, closer than 0.1 Å: remove duplicated atoms"
    ):
        find_neighbourhoods(atoms, 4.5)


def test_atom_too_close_to_the_image_of_another():
    atoms = Atoms("Cu2", [[0.02, 1, 1], [2.97, 1, 1]], cell=[3] * 3, pbc=True)
    with pytest.raises(InputError, match=r"^atoms 0 and 1 are 0.05 Å apart"):
        find_neighbourhoods(atoms, 4.5)
    atoms.positions[0, 0] = 0.08
    assert len(find_neighbourhoods(atoms, 4.5).j)  # 0.11 Å
    atoms.pbc = [False, True, True]
    assert len(find_neighbourhoods(atoms, 4.5).j)


@pytest.mark.parametrize(
    ("cell", "pbc", "shortest"),
    [
        (np.diag([0.004] * 3), True, "0.004"),
        (np.diag([3.0, 0.05, 3.0]), True, "0.05"),
        ([[3, 0, 0], [0, 3, 0], [3, 3, 1e-6]], True, "1e-06"),
        ([[3, 0, 0], [6, 0.02, 0], [0, 0, 3]], [True, True, False], "0.02"),
        ([[0, 0, 0], [0, 0, 0], [0, 0, 0.07]], [False, False, True], "0.07"),
    ],
)
def test_own_image_too_close(cell, pbc, shortest):
    """Found before the search: these cells hold so many pairs that the list alone would fill the memory."""
    with pytest.raises(
        InputError, match=rf"^every atom is {shortest} Å from its own image.*check the cell and its units"
    ):
        find_neighbourhoods(Atoms("Cu", cell=cell, pbc=pbc), 4.5)


def test_flat_cell_with_long_lattice_vectors_is_fine():
    """A height below 0.1 Å does not mean a short lattice vector."""
    atoms = Atoms("Cu", cell=[[3, 0, 0], [301, 3, 0], [1, 1, 3]], pbc=True)
    reduced = Atoms("Cu", cell=[[3, 0, 0], [1, 3, 0], [1, 1, 3]], pbc=True)
    a, b = (np.sort(np.linalg.norm(find_neighbourhoods(x, 4.5).D, axis=1)) for x in (atoms, reduced))
    np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("value", [1e5, 1e8, 1e300, np.inf, np.nan])
@pytest.mark.parametrize("what", ["positions", "cell"])
def test_lost_atoms_and_huge_cells_are_refused(what, value):
    """The cell list behind the search overflows there and takes the interpreter with it."""
    atoms = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]], cell=[3, 3, 9], pbc=[True, True, False])
    if what == "positions":
        atoms.positions[1, 2] = value
    else:
        atoms.set_cell([3, 3, value])
    with pytest.raises(InputError, match=r"^the positions or the cell reach .* more than 10000 Å: check the units"):
        find_neighbourhoods(atoms, 4.5)


def pairs_of(nb) -> set:
    return {(i, j, *S) for i, j, S in zip(nb.i.tolist(), nb.j.tolist(), nb.S.tolist())}


@given(st.integers(0, 10_000), st.floats(0.0, 2.0), st.lists(st.floats(0.0, 0.6), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_list_with_a_skin_equals_a_new_search_after_every_move(seed, skin, steps):
    rng = np.random.default_rng(seed)
    atoms = alloy(seed % 5)
    atoms.pbc = rng.random(3) < 0.7
    neighbours = NeighbourList(4.2, skin)
    for step in steps:
        atoms.positions += rng.uniform(-step, step, atoms.positions.shape)
        try:
            expected = find_neighbourhoods(atoms, 4.2)
        except InputError:
            with pytest.raises(InputError, match="closer than"):
                neighbours.find(atoms)
            return
        found = neighbours.find(atoms)
        assert pairs_of(found) == pairs_of(expected)
        shifts = found.S @ atoms.cell.array
        np.testing.assert_allclose(found.D, atoms.positions[found.j] - atoms.positions[found.i] + shifts, atol=1e-12)
        np.testing.assert_array_equal(np.diff(found.first), np.bincount(found.i, minlength=len(atoms)))


@given(st.integers(0, 10_000), st.floats(0.5, 4.2))
@settings(max_examples=25, deadline=None)
def test_pairs_of_a_shorter_cutoff_are_those_of_a_search(seed, cutoff):
    atoms = alloy(seed % 5)
    atoms.pbc = np.random.default_rng(seed).random(3) < 0.7
    found, expected = find_neighbourhoods(atoms, 4.2).within(cutoff), find_neighbourhoods(atoms, cutoff)
    assert pairs_of(found) == pairs_of(expected)
    assert len(found.j) == len(expected.j)
    np.testing.assert_array_equal(found.first, expected.first)
    shifts = found.S @ atoms.cell.array
    np.testing.assert_allclose(found.D, atoms.positions[found.j] - atoms.positions[found.i] + shifts, atol=1e-12)


def test_list_with_a_skin_searches_again_only_when_it_must():
    atoms, neighbours = alloy(0), NeighbourList(4.2, 1.0)
    changes = [
        (lambda a: a, 1),
        (lambda a: a.positions.__iadd__(0.1), 1),
        (lambda a: a.positions.__iadd__([0.4, 0.0, 0.0]), 2),
        (lambda a: a.set_cell(1.001 * a.cell, scale_atoms=True), 3),
        (lambda a: a.set_pbc((True, True, False)), 4),
        (lambda a: a.pop(), 5),
    ]
    for change, searches in changes:
        change(atoms)
        assert pairs_of(neighbours.find(atoms)) == pairs_of(find_neighbourhoods(atoms, 4.2))
        assert neighbours.n_searches == searches


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning:ase.geometry.minkowski_reduction")
@pytest.mark.parametrize("exponent", range(4, 18))
def test_nearly_dependent_vectors_are_refused(exponent):
    """Down to where the inverse of their Gram matrix is only round-off, or does not exist."""
    a, b = np.array([3.1, 0.2, 0.4]), np.array([-0.3, 2.9, 0.7])
    c = a + b + 10.0**-exponent * np.array([0.1, -0.6, 0.8])
    with pytest.raises(InputError, match=r"from its own image|depend on each other"):
        find_neighbourhoods(Atoms("Cu", cell=[a, b, c], pbc=True), 4.0)


@pytest.mark.parametrize("pbc", [True, [True, True, False], False])
def test_shifts_of_far_atoms_are_those_of_their_own_positions(pbc):
    atoms = alloy(3)
    atoms.pbc = pbc
    far = atoms.copy()
    moves = np.array([[9_000, 0, -7_000], [0, 5_000, 0], [0, 0, 0], [-1, 2, 3]]) * atoms.pbc
    far.positions += moves @ atoms.cell.array + 4e4
    near, found = find_neighbourhoods(atoms, 4.2), find_neighbourhoods(far, 4.2)
    D = far.positions[found.j] - far.positions[found.i] + found.S @ atoms.cell.array
    np.testing.assert_allclose(found.D, D, atol=1e-9)
    order = [np.lexsort(np.round(nb.D, 6).T) for nb in (near, found)]
    np.testing.assert_allclose(found.D[order[1]], near.D[order[0]], atol=1e-9)
    moving = NeighbourList(4.2, 0.5)
    moving.find(far)
    far.positions += 0.01
    np.testing.assert_allclose(np.sort(np.abs(moving.find(far).D).sum(1)), np.sort(np.abs(D).sum(1)), atol=1e-9)
