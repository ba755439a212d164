"""Duplicates are found in any disguise, and nothing else is."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from gapkit.structures.duplicates import DuplicateFinder
from gapkit.structures.labels import Labels


def crystal(seed=0, pbc=True):
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0.1, 0], [0, 1.02, 0.05], [0.03, 0, 1]]), scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    atoms.positions[0] = 0.0  # on the edge of the cell
    atoms.pbc = pbc
    return atoms


def labels(n_atoms, energy=-8.0, seed=0, virial=True):
    rng = np.random.default_rng(seed)
    V = rng.normal(size=(3, 3))
    return Labels(energy, rng.normal(size=(n_atoms, 3)), V + V.T if virial else None, "default")


def found(*frames, **tolerances):
    finder = DuplicateFinder(**tolerances)
    for index, (atoms, label) in enumerate(frames):
        finder.add(atoms, label, index)
    return finder


def counts(finder):
    return finder.n_frames, finder.n_duplicates, finder.n_contradictions


@given(st.permutations(range(8)), st.lists(st.integers(-3, 3), min_size=24, max_size=24), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_order_wrapping_and_round_off_change_no_geometry(order, images, seed):
    atoms, label = crystal(seed), labels(8)
    other = atoms[order]
    other.positions += np.array(images).reshape(8, 3) @ atoms.cell.array
    other.positions += np.random.default_rng(seed).uniform(-1e-14, 1e-14, (8, 3))
    same = Labels(label.energy, label.forces[order], label.virial, "other")
    finder = found((atoms, label), (other, same))
    assert counts(finder) == (2, 1, 0)
    assert len(finder.messages()) == 1
    assert finder.messages()[0].startswith("1 of 2 frames repeat an earlier one")


@pytest.mark.parametrize("change", ["position", "cell", "species", "pbc", "one_more", "order_of_species"])
def test_another_geometry_is_no_duplicate(change):
    atoms = crystal()
    other = atoms.copy()
    if change == "position":
        other.positions[3, 1] += 3e-8
    elif change == "cell":
        other.cell[0, 0] += 3e-8
    elif change == "species":
        other.symbols[0] = "K"
    elif change == "pbc":
        other.pbc[2] = False
    elif change == "one_more":
        other += Atoms("Na", [[1, 1, 1]])
    else:
        other.numbers = other.numbers[::-1]
    finder = found((atoms, labels(8)), (other, labels(len(other))))
    assert counts(finder) == (2, 0, 0)
    assert finder.messages() == []


def test_molecules_ignore_their_box_and_open_directions_do_not_wrap():
    water = molecule("H2O")
    boxed = water.copy()
    boxed.cell = [20, 30, 40]
    assert counts(found((water, labels(3)), (boxed, labels(3)))) == (2, 1, 0)
    slab, moved = crystal(pbc=[True, True, False]), crystal(pbc=[True, True, False])
    moved.positions[1] += moved.cell[0]
    assert counts(found((slab, labels(8)), (moved, labels(8)))) == (2, 1, 0)
    moved.positions[1] += moved.cell[2]
    assert counts(found((slab, labels(8)), (moved, labels(8)))) == (2, 0, 0)


def test_contradictions_are_named_with_frames_and_values():
    a, b = crystal(1), crystal(2)
    wrong = Labels(-8.4, labels(8).forces, labels(8).virial, "default")
    finder = found((b, labels(8)), (a, labels(8)), (b, wrong), (a, labels(8)))
    assert counts(finder) == (4, 2, 1)
    said = finder.messages()
    assert said[0].startswith("1 of 4 frames repeat")
    assert said[1].startswith("1 of 4 frames contradict")
    assert (
        said[2]
        == "frames 0 and 2 have the same geometry but energies of -8 and -8.4 eV (50 meV/atom apart): remove one."
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_size_of_different_forces_is_estimated(seed):
    label = labels(8)
    difference = np.random.default_rng(seed).normal(size=(8, 3))
    other = Labels(label.energy, label.forces + 0.2 * difference, label.virial, "default")
    (one,) = found((crystal(), label), (crystal(), other)).contradictions
    rms = 0.2 * np.sqrt(np.mean(difference**2))
    assert 0.3 * rms < one.forces_apart < 2.2 * rms
    assert one.energy_apart == one.virial_apart == 0
    assert "forces about" in str(one)
    assert "energies" not in str(one)


def test_the_estimate_is_unbiased():
    n_atoms, squares = 8, []
    for seed in range(300):
        label = labels(n_atoms, seed=seed)
        other = Labels(label.energy, labels(n_atoms, seed=1000 + seed).forces, label.virial, "default")
        (one,) = found((crystal(), label), (crystal(), other)).contradictions
        squares.append(one.forces_apart**2 / np.mean((label.forces - other.forces) ** 2))
    assert np.mean(squares) == pytest.approx(1.0, abs=5 * np.std(squares) / np.sqrt(300))


def test_different_virials_are_a_contradiction_of_their_own():
    label = labels(8)
    V = label.virial.copy()
    V[0, 1] = V[1, 0] = V[0, 1] + 0.4
    (one,) = found((crystal(), label), (crystal(), Labels(-8.0, label.forces, V, "default"))).contradictions
    assert one.virial_apart == pytest.approx(0.05)
    assert "virials up to 50 meV/atom apart" in str(one)


def test_tolerances_decide_and_missing_labels_contradict_nothing():
    near = labels(8, energy=-8.0 + 8 * 2e-4)
    pair = (crystal(), labels(8)), (crystal(), near)
    assert found(*pair).n_contradictions == 1
    assert found(*pair, energy_tolerance=1e-3).n_contradictions == 0
    empty = Labels(None, None, None, "default")
    finder = found((crystal(), labels(8)), (crystal(), empty), (crystal(), Labels(-9.0, None, None, "default")))
    assert counts(finder) == (3, 2, 1)
    assert "forces" not in finder.messages()[-1]


def test_five_worst_are_shown_and_all_are_counted():
    frames = [(crystal(k), labels(8)) for k in range(9)]
    frames += [(crystal(k), labels(8, energy=-8.0 - 0.01 * (k + 1))) for k in range(9)]
    said = found(*frames).messages()
    assert said[0].startswith("9 of 18 frames contradict")
    assert [text.split()[1] for text in said[1:6]] == ["8", "7", "6", "5", "4"]
    assert said[6:] == ["smaller contradictions that are not listed: 4."]


def test_finders_merge_and_can_be_pickled():
    frames = [(crystal(k % 4), labels(8, energy=-8.0 - 0.1 * (k // 4 % 2))) for k in range(14)]
    one = found(*frames)
    left, right = DuplicateFinder(), DuplicateFinder()
    for index, frame in enumerate(frames):
        (left if index < 4 else right).add(*frame, index)
    left.merge(pickle.loads(pickle.dumps(right)))
    assert left.n_frames == one.n_frames
    assert left.n_duplicates == one.n_duplicates
    assert left.contradictions
    again = pickle.loads(pickle.dumps(one))
    assert again.messages() == one.messages()


def test_memory_per_frame_is_small():
    finder, atoms, label = DuplicateFinder(), crystal(), labels(8)
    start = len(pickle.dumps(finder))
    for index in range(300):
        atoms.positions[0, 0] += 1e-3
        finder.add(atoms, label, index)
    assert finder.n_duplicates == 0
    assert (len(pickle.dumps(finder)) - start) / 300 < 200


def test_positions_that_are_not_numbers_are_passed_over():
    atoms = crystal()
    atoms.positions[0, 0] = np.nan
    assert counts(found((atoms, labels(8)), (atoms, labels(8)))) == (0, 0, 0)
