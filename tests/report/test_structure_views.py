"""Drawings of structures in a report."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from example_structures import structures

from gapkit.report.structure_views import LARGEST_VIEW, Ball, Stick, colours_of, view


def _view(atoms, marked=()):
    n = len(atoms)
    return view("v", "caption", atoms, [f"atom {i}" for i in range(n)], {"error": ["#000000"] * n}, marked)


@pytest.mark.parametrize("name", structures())
def test_drawings_are_the_structures_turned(name):
    atoms = structures()[name]
    if atoms.pbc.any():
        atoms.wrap()
    drawn = _view(atoms)
    balls = sorted((p for p in drawn.parts if isinstance(p, Ball)), key=lambda ball: int(ball.title.split()[1]))
    placed = np.array([ball.position for ball in balls])
    assert len(balls) == len(atoms)
    distance = np.linalg.norm(placed[:, None] - placed, axis=2)
    assert distance == pytest.approx(atoms.get_all_distances(), abs=0.02)
    depth = [p.position[2] if isinstance(p, Ball) else (p.a[2] + p.b[2]) / 2 for p in drawn.parts]
    assert depth == sorted(depth)


def test_everything_stays_in_the_frame_however_it_is_turned():
    drawn = _view(structures()["slab"])
    points = [p.position for p in drawn.parts if isinstance(p, Ball)]
    points += [end for p in drawn.parts if isinstance(p, Stick) for end in (p.a, p.b)]
    assert np.linalg.norm(points, axis=1).max() <= drawn.half


def test_cells_have_twelve_edges_and_molecules_none():
    assert sum(isinstance(p, Stick) and p.edge for p in _view(bulk("Cu", "fcc", a=3.6)).parts) == 12
    molecule = _view(Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]))
    sticks = [p for p in molecule.parts if isinstance(p, Stick)]
    assert [stick.edge for stick in sticks] == [False, False]
    assert molecule.letters


def test_large_structures_show_what_is_around_the_marked_atom():
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(6)
    atoms.pbc = False
    drawn = _view(atoms, marked=[500])
    balls = [p for p in drawn.parts if isinstance(p, Ball)]
    nearest = np.argsort(np.linalg.norm(atoms.positions - atoms.positions[500], axis=1), kind="stable")[:LARGEST_VIEW]
    assert {int(ball.title.split()[1]) for ball in balls} == set(nearest.tolist())
    assert [ball.title for ball in balls if ball.marked] == ["atom 500"]


def test_colours_grow_lighter_with_the_value():
    def lightness(colour):
        return sum(int(colour[k : k + 2], 16) * w for k, w in zip((1, 3, 5), (0.2126, 0.7152, 0.0722)))

    shades = [lightness(c) for c in colours_of(np.linspace(0.0, 2.0, 9).tolist(), 2.0)]
    assert shades == sorted(shades)
    assert colours_of([5.0], 2.0) == colours_of([2.0], 2.0)
    assert colours_of([np.nan], 2.0) == ["#8a8a8a"]
