"""Both engines on one, two and four ranks against `GAP.predict`: every kind of term, every kind of structure."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from example_structures import alloy, labelled
from models_of_terms import GEOMETRIES, S, fitted

from gapkit import GAP, SOAP, ZBL, DotProduct, InputError, Term
from gapkit.interfaces.lammps.parity import DIFFERENCES, bound, compare_routes, differences, in_lammps
from gapkit.interfaces.lammps.structures_in_lammps import Found, lammps_cell

pytestmark = pytest.mark.filterwarnings("ignore::gapkit.errors.ExtrapolationWarning", "ignore:the ZBL baseline acts")
ROUTES = [
    ("plugin", 1), ("external", 2), ("plugin", 4),
    *(pytest.param(*route, marks=pytest.mark.slow) for route in (("plugin", 2), ("external", 1), ("external", 4))),
]  # fmt: skip


def frames() -> list[Atoms]:
    """Triclinic, slab, molecule, tiny cells, left-handed, a wire, an empty rank, isolated atoms, a larger crystal."""
    left = GEOMETRIES["alloy"].copy()
    left.set_cell(left.cell.array[[1, 0, 2]])
    wire = Atoms("CuAu", [[0, 0, 0], [1.3, 0.4, 1.2]], cell=[2.6, 0, 0], pbc=[True, False, False])
    middle = Atoms("CuAu", [[0, 0, 0], [2.5, 0.3, 0]], cell=np.diag([30.0, 4.0, 4.0]), pbc=[False, True, True])
    corner = Atoms("Cu2Au", [[1, 1, 1], [1, 1, 3.4], [1, 2.9, 2]], cell=[40] * 3, pbc=True)  # three ranks of four empty
    apart = Atoms("CuAu", [[2, 2, 2], [30, 30, 30]], cell=[40] * 3, pbc=True)
    outside = alloy(4)
    outside.positions += outside.cell.array[0] * 2 - outside.cell.array[2] * 3
    return [*GEOMETRIES.values(), left, wire, middle, corner, apart, outside, alloy(5).repeat(2)]


@cache
def models(folder: Path) -> dict[Path, GAP]:
    """Every kind of term, and a baseline."""
    term = Term(SOAP(S, 3.4, 3, 2, smoothness=2), DotProduct(2, 1.0), n_sparse=8)
    isolated = [labelled(Atoms(s, cell=[20] * 3, pbc=True)) for s in S]
    zbl = GAP([term], baseline=[ZBL(S, inner=1.0, outer=2.9)], verbose=False)
    zbl.fit([labelled(alloy(k)) for k in range(4)] + isolated)
    found = {folder / "sum.gap": fitted("sum"), folder / "zbl.gap": zbl}
    for file, gap in found.items():
        gap.save(file)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("parity")
    write(folder / "frames.traj", frames())
    return folder


@pytest.mark.parametrize(("engine", "ranks"), ROUTES)
def test_numbers_of_predict(engine, ranks, folder):
    pairs = [(file, folder / "frames.traj") for file in models(folder)]
    for found, gap in zip(in_lammps(pairs, engine, ranks, timeout=300), models(folder).values()):
        p = gap.predict(frames(), return_std="local")
        row = differences("", frames(), p, found)
        assert row.largest <= bound(gap), row
        assert row.virial is not None
        assert row.local_energies_std < 1e-6
        for f in found:
            np.testing.assert_allclose(f.local_virials.sum(axis=0), f.virial, atol=1e-8)


def test_table(model_file):
    rows = compare_routes(model_file, [alloy(9), GEOMETRIES["cluster"]], ["plugin"], [1])
    routes = ["LAMMPS plugin, 1 rank", "LAMMPS plugin, 1 rank, 2 threads"]
    assert [row.route for row in rows] == ["Python, 2 threads", "ASE", DIFFERENCES, *routes]
    gap = GAP.load(model_file)
    assert max(row.largest for row in rows if row.route != DIFFERENCES) <= bound(gap)
    assert rows[2].largest < 1e-6


@pytest.mark.parametrize("engine", ["plugin", pytest.param("external", marks=pytest.mark.slow)])
def test_error_of_a_rank_is_the_sentence_of_all(engine, tmp_path, model_file):
    """Only one of two ranks has the two atoms."""
    atoms = Atoms("Cu2", [[3, 3, 3], [3, 3, 3.05]], cell=[30] * 3, pbc=True)
    write(tmp_path / "close.traj", atoms)
    with pytest.raises(InputError, match=r"^the atoms with ids . and . are 0.05 Å apart"):
        in_lammps([(model_file, tmp_path / "close.traj")], engine, 2, timeout=120)


def test_a_difference_is_seen(gap):
    """Numbers that differ by more than rounding do not pass."""
    atoms = alloy(9)
    p = gap.predict([atoms], return_std="local")
    virial = -p.stress[0] * atoms.get_volume()
    same = Found(p.energy[0], p.forces[0], virial, p.local_energies[0], p.local_energies_std[0], np.zeros((4, 3, 3)))
    assert differences("", [atoms], p, [same]).largest < 1e-12
    for name in ("energy", "forces", "virial", "local_energies"):
        wrong = same._replace(**{name: getattr(same, name) + 1e-6})
        assert differences("", [atoms], p, [wrong]).largest > bound(gap)


@pytest.mark.parametrize("k", range(len(frames())))
def test_cell_of_lammps_is_the_same_structure(k):
    """Distances between all atoms and images are kept, the box is LAMMPS's, atoms are within it."""
    atoms = frames()[k]
    cell = lammps_cell(atoms)
    np.testing.assert_allclose(cell.rotation @ cell.rotation.T, np.eye(3), atol=1e-12)
    vectors = np.diag(cell.high - cell.low)
    vectors[1, 0], vectors[2, 0], vectors[2, 1] = cell.tilts
    n = int(cell.periodic.sum())
    np.testing.assert_allclose(vectors[:n] @ cell.rotation.T, atoms.cell.array[atoms.pbc], atol=1e-12)
    scaled = (cell.positions - cell.low) @ np.linalg.inv(vectors)
    assert scaled.min() >= 0
    assert scaled.max() <= 1
    turned = Atoms(atoms.numbers, cell.positions, cell=vectors, pbc=cell.periodic)
    np.testing.assert_allclose(turned.get_all_distances(mic=True), atoms.get_all_distances(mic=True), atol=1e-10)
