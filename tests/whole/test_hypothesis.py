"""Symmetries of random structures, and random bad input: an `InputError`, never NaN and never another exception."""

from __future__ import annotations

import laws
import numpy as np
import pytest
from ase import Atoms
from example_structures import alloy
from expected_warnings import extrapolation
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gapkit import GAP, SOAP, DotProduct, GAPCalculator, InputError, Term
from gapkit.geometry.neighbourhoods import find_neighbourhoods
from gapkit.structures.labels import check_structures

fixed = settings(derandomize=True, deadline=None, max_examples=40)
seeds = st.integers(0, 2**32 - 1)
coordinates = st.floats(-20, 20, allow_nan=False, width=32)


@pytest.fixture(scope="module")
def predict(gap):
    return laws.predictor(gap)


@st.composite
def lattices(draw) -> np.ndarray:
    """Cells of every handedness and skewness with heights of at least about 2 Å."""
    rng = np.random.default_rng(draw(seeds))
    cell = np.diag(rng.uniform(2.5, 4.5, 3)) + np.tril(rng.uniform(-4, 4, (3, 3)), -1)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return cell[rng.permutation(3)] @ turn


@st.composite
def crystals_and_clusters(draw) -> Atoms:
    """One to five atoms at least 1.8 Å apart, any periodicity, some far outside of their cell."""
    rng = np.random.default_rng(draw(seeds))
    pbc = draw(st.tuples(*[st.booleans()] * 3))
    cell = draw(lattices())
    atoms = Atoms(cell=cell, pbc=pbc)
    for _ in range(draw(st.integers(1, 5))):
        symbol = draw(st.sampled_from(["Cu", "Au"]))
        for _ in range(20):
            more = atoms + Atoms(symbol, [rng.uniform(0, 1, 3) @ cell])
            if find_neighbourhoods_or_none(more, 1.8) == 0:
                atoms = more
                break
    if len(atoms) == 0:
        atoms = Atoms("Cu", cell=cell * 2, pbc=pbc)
    shifts = rng.integers(-2, 3, (len(atoms), 3)) * np.array(pbc)
    atoms.positions += shifts @ atoms.cell.array
    return atoms


def find_neighbourhoods_or_none(atoms: Atoms, cutoff: float) -> int:
    """Number of pairs, or -1 if atoms nearly coincide."""
    try:
        return len(find_neighbourhoods(atoms, cutoff).j)
    except InputError:
        return -1


def same(predict, a, b, turn=None, order=None) -> None:
    """Two predictions are equal within the round-off that `laws` derives from the weights."""
    turn = np.eye(3) if turn is None else turn
    order = np.arange(len(a[1])) if order is None else order
    bound = 50 * predict.round_off + 1e-11
    assert abs(a[0] - b[0]) <= bound * max(1, len(order))
    np.testing.assert_allclose(b[1], (a[1] @ turn.T)[order], rtol=0, atol=20 * bound)
    assert (a[2] is None) == (b[2] is None)
    if a[2] is not None:
        np.testing.assert_allclose(b[2], turn @ a[2] @ turn.T, rtol=0, atol=20 * bound)


# -- symmetries -----------------------------------------------------------------------------------------------------


@given(atoms=crystals_and_clusters(), seed=seeds)
@fixed
def test_rotations_and_reflections(predict, atoms, seed):
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    turned = Atoms(atoms.numbers, atoms.positions @ turn.T, cell=atoms.cell.array @ turn.T, pbc=atoms.pbc)
    same(predict, predict(atoms), predict(turned), turn=turn)


@given(atoms=crystals_and_clusters(), shift=st.tuples(coordinates, coordinates, coordinates))
@fixed
def test_translations(predict, atoms, shift):
    moved = atoms.copy()
    moved.positions += np.array(shift)
    same(predict, predict(atoms), predict(moved))


@given(atoms=crystals_and_clusters(), data=st.data())
@fixed
def test_permutations(predict, atoms, data):
    order = data.draw(st.permutations(range(len(atoms))))
    same(predict, predict(atoms), predict(atoms[order]), order=order)


@given(atoms=crystals_and_clusters(), seed=seeds)
@fixed
def test_lattice_translations_of_single_atoms(predict, atoms, seed):
    shifts = np.random.default_rng(seed).integers(-3, 4, (len(atoms), 3)) * atoms.pbc
    moved = atoms.copy()
    moved.positions += shifts @ atoms.cell.array
    same(predict, predict(atoms), predict(moved))


@given(atoms=crystals_and_clusters(), data=st.data())
@fixed
def test_other_vectors_of_the_same_lattice(predict, atoms, data):
    """One periodic vector plus a multiple of another one spans the same crystal."""
    periodic = np.flatnonzero(atoms.pbc)
    assume(len(periodic) >= 2)
    a, b = data.draw(st.permutations(periodic.tolist()))[:2]
    other = atoms.copy()
    cell = atoms.cell.array.copy()
    cell[a] += data.draw(st.integers(-2, 2)) * cell[b]
    other.set_cell(cell)
    same(predict, predict(atoms), predict(other))


@given(atoms=crystals_and_clusters(), data=st.data())
@fixed
def test_supercells(predict, atoms, data):
    periodic = np.flatnonzero(atoms.pbc)
    if len(periodic) == 0:
        return
    repeats = np.ones(3, dtype=int)
    repeats[data.draw(st.sampled_from(periodic.tolist()))] = 2
    energy, forces, stress = predict(atoms)
    same(predict, (2 * energy, np.tile(forces, (2, 1)), stress), predict(atoms.repeat(repeats)))


@given(atoms=crystals_and_clusters())
@fixed
def test_numbers_are_finite_and_forces_balance(gap, predict, atoms):
    with extrapolation(gap, atoms):
        p = gap.predict(atoms, return_std=True)
    for values in (p.energy, p.forces[0], p.local_energies[0], p.energy_std, p.local_energies_std[0]):
        assert np.all(np.isfinite(values))
    np.testing.assert_allclose(p.forces[0].sum(axis=0), 0.0, atol=1e3 * predict.round_off + 1e-10)
    assert np.all(p.local_energies_std[0] >= 0)
    assert 0 <= p.energy_std[0] <= p.local_energies_std[0].sum() * (1 + 1e-6) + 1e-6


# -- bad input ------------------------------------------------------------------------------------------------------

quiet = pytest.mark.filterwarnings("ignore:the compositions of the frames:UserWarning")
NOT_FINITE = st.sampled_from([np.nan, np.inf, -np.inf])
LOST = st.floats(1e5, 1.7e308) | st.floats(-1.7e308, -1e5)
FAR = st.floats(1.01e7, 1.7e308) | st.floats(-1.7e308, -1.01e7)  # atoms of a periodic cell may travel 1e7 Å


def refused_everywhere(gap: GAP, soap: SOAP, atoms: Atoms) -> None:
    """Every door says InputError, in one sentence."""
    calculated = atoms.copy()
    calculated.calc = GAPCalculator(gap)
    untrained = GAP([Term(soap, DotProduct(2), 5)], verbose=False)
    doors = [
        lambda: gap.predict(atoms),
        lambda: gap.predict([alloy(0), atoms], return_std=True),
        lambda: untrained.fit([labelled_with_zeros(alloy(0)), labelled_with_zeros(atoms)]),
        lambda: soap.create(atoms),
        calculated.get_potential_energy,
        calculated.get_forces,
    ]
    for door in doors:
        with pytest.raises(InputError) as error:
            door()
        assert "\n" not in str(error.value)
        assert str(error.value).endswith(".")


def labelled_with_zeros(atoms: Atoms) -> Atoms:
    out = atoms.copy()
    out.info["energy"] = 0.0
    return out


@quiet
@given(i=st.integers(0, 3), axis=st.integers(0, 2), value=NOT_FINITE | FAR)
@fixed
def test_impossible_positions(gap, soap, i, axis, value):
    atoms = alloy(0)
    atoms.positions[i, axis] = value
    refused_everywhere(gap, soap, atoms)


@quiet
@given(row=st.integers(0, 2), column=st.integers(0, 2), value=NOT_FINITE | LOST, pbc=st.tuples(*[st.booleans()] * 3))
@fixed
def test_impossible_cells(gap, soap, row, column, value, pbc):
    atoms = alloy(0)
    cell = atoms.cell.array.copy()
    cell[row, column] = value
    atoms = Atoms(atoms.numbers, atoms.positions, cell=cell, pbc=pbc)
    refused_everywhere(gap, soap, atoms)


@given(row=st.integers(0, 2), others=st.tuples(st.booleans(), st.booleans()))
@fixed
def test_zero_vectors_along_periodic_directions(gap, soap, row, others):
    cell = alloy(0).cell.array.copy()
    cell[row] = 0.0
    pbc = np.insert(np.array(others), row, True)
    refused_everywhere(gap, soap, Atoms("Cu", cell=cell, pbc=pbc))


@given(seed=seeds, factors=st.tuples(*[st.floats(-3, 3, width=16)] * 2))
@fixed
def test_dependent_cell_vectors(gap, soap, seed, factors):
    """Exactly dependent, or so nearly that images of an atom lie on top of it."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-4, 4, (2, 3))
    c = factors[0] * a + factors[1] * b if seed % 2 else round(factors[0]) * a + round(factors[1]) * b + 1e-5
    refused_everywhere(gap, soap, Atoms("Cu", cell=np.array([a, b, c])[rng.permutation(3)], pbc=True))


@given(number=st.integers(-3, 200).filter(lambda z: z not in (29, 79)), i=st.integers(0, 3))
@fixed
def test_unknown_species(gap, soap, number, i):
    atoms = alloy(0)
    atoms.numbers[i] = number
    refused_everywhere(gap, soap, atoms)


@quiet
@given(pair=st.permutations(range(4)), seed=seeds, distance=st.floats(0, 0.099))
@fixed
def test_atoms_on_top_of_each_other(gap, soap, pair, seed, distance):
    atoms = alloy(0)
    direction = np.random.default_rng(seed).normal(size=3)
    atoms.positions[pair[0]] = atoms.positions[pair[1]] + distance * direction / np.linalg.norm(direction)
    atoms.positions[pair[0]] += atoms.cell.array[seed % 3]
    refused_everywhere(gap, soap, atoms)


@given(junk=st.none() | st.integers() | st.text() | st.floats() | st.lists(st.integers() | st.text(), max_size=3))
@fixed
def test_things_that_are_no_structures(gap, soap, junk):
    for door in (check_structures, lambda x: gap.predict([x]), soap.create):
        with pytest.raises(InputError):
            door(junk)
