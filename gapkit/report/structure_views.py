"""Ball views of structures as SVG that a short script can rotate; drawn here once, so that they print without it.

Coordinates are in Å, y up in the plane of the drawing and z towards the viewer; the projection is orthographic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

FloatArray = NDArray[np.float64]
LARGEST_VIEW = 400  # atoms; of larger structures those nearest to the first marked atom are shown
_SIZE = 0.55  # radius of a ball in covalent radii
_BOND = 1.2  # longest bond in sums of covalent radii
_START = Rotation.from_euler("yx", [25.0, 18.0], degrees=True)


class Ball(NamedTuple):
    """An atom: position and radius (Å), symbol, text, colour by each property, and whether it is marked."""

    position: tuple[float, ...]
    radius: float
    symbol: str
    title: str
    colours: dict[str, str]
    marked: bool


class Stick(NamedTuple):
    """A bond or an edge of the cell between two points (Å)."""

    a: tuple[float, ...]
    b: tuple[float, ...]
    edge: bool


class View(NamedTuple):
    """One structure, ready to be drawn.

    Attributes
    ----------
    name, caption : str
    half : float
        Half the width of the drawing, Å.
    parts : tuple of Ball or Stick
        The farthest first.
    letters : bool
        Balls bear their symbols, because there are several species.
    """

    name: str
    caption: str
    half: float
    parts: tuple[Ball | Stick, ...]
    letters: bool


def view(
    name: str,
    caption: str,
    atoms: Atoms,
    titles: Sequence[str],
    colours: Mapping[str, Sequence[str]],
    marked: Sequence[int] = (),
) -> View:
    """Balls, bonds and cell of one structure.

    Parameters
    ----------
    name, caption : str
    atoms : Atoms
    titles : sequence of str, one per atom
    colours : mapping of property to one colour per atom
    marked : sequence of int
        Atoms to ring.
    """
    atoms = atoms.copy()
    if atoms.pbc.any():
        atoms.wrap()
    shown = _shown(atoms, marked)
    edges = _edges(atoms) if len(shown) == len(atoms) else np.empty((0, 2, 3))
    corners = np.concatenate([atoms.positions[shown], edges.reshape(-1, 3)])
    centre = 0.5 * (corners.min(axis=0) + corners.max(axis=0))
    radii = _SIZE * covalent_radii[atoms.numbers]
    half = float(np.linalg.norm(corners - centre, axis=1).max() + radii.max())
    placed = _START.apply(atoms.positions - centre)
    balls: list[Ball | Stick] = [
        Ball(_xyz(placed[i]), round(float(radii[i]), 2), atoms.symbols[i], titles[i],
             {key: own[i] for key, own in colours.items()}, i in marked)
        for i in shown
    ]  # fmt: skip
    sticks: list[Ball | Stick] = [Stick(_xyz(placed[i]), _xyz(placed[j]), False) for i, j in _bonds(atoms, shown)]
    sticks += [Stick(_xyz(a), _xyz(b), True) for a, b in (_START.apply(edge - centre) for edge in edges)]
    parts = sorted(balls + sticks, key=_depth)
    return View(name, caption, round(half, 2), tuple(parts), len(set(atoms.numbers)) > 1)


def _xyz(point: FloatArray) -> tuple[float, ...]:
    return tuple(round(float(x), 2) for x in point)


def _depth(part: Ball | Stick) -> float:
    return part.position[2] if isinstance(part, Ball) else 0.5 * (part.a[2] + part.b[2])


def _shown(atoms: Atoms, marked: Sequence[int]) -> list[int]:
    if len(atoms) <= LARGEST_VIEW:
        return list(range(len(atoms)))
    distance = np.linalg.norm(atoms.positions - atoms.positions[marked[0] if marked else 0], axis=1)
    return sorted(np.argsort(distance, kind="stable")[:LARGEST_VIEW].tolist())


def _edges(atoms: Atoms) -> FloatArray:
    """The twelve edges of a three-dimensional cell, shape (12, 2, 3), or none."""
    if atoms.cell.rank < 3 or not atoms.pbc.any():
        return np.empty((0, 2, 3))
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
    pairs = [(a, b) for n, a in enumerate(corners) for b in corners[n + 1 :] if np.abs(a - b).sum() == 1.0]
    return np.array(pairs) @ atoms.cell.array


def _bonds(atoms: Atoms, shown: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of shown atoms, not across the boundary of the cell, that are near enough."""
    index = np.array(shown)
    radii = covalent_radii[atoms.numbers[index]]
    distance = np.linalg.norm(atoms.positions[index, None] - atoms.positions[index], axis=2)
    near = np.triu(distance < _BOND * (radii[:, None] + radii), 1)
    return [(int(index[i]), int(index[j])) for i, j in np.argwhere(near)]


def colours_of(values: Sequence[float], largest: float) -> list[str]:
    """Colours between 0 and `largest`, distinguishable with colour blindness, too; grey for NaN."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    scale = colormaps["cividis"]
    return ["#8a8a8a" if not np.isfinite(x) else to_hex(scale(min(x / (largest or 1.0), 1.0))) for x in values]
