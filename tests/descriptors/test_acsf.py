"""Symmetry functions: dscribe's numbers, and derivatives by two routes."""

from __future__ import annotations

from dataclasses import replace

import dscribe.descriptors
import naive_terms
import numpy as np
import pytest
from example_structures import structures
from five_species import FIVE, five_species

from gapkit import ACSF
from gapkit.geometry.neighbourhoods import find_neighbourhoods

GEOMETRIES = structures()
SOME = {
    "g2": [(0.05, 0.0), (1.2, 2.5)],
    "g3": [0.7, 2.0],
    "g4": [(0.01, 1.0, -1.0), (0.02, 3.5, 1.0), (0.0, 16.0, 0.5)],
    "g5": [(0.03, 2.0, 1.0), (0.01, 1.0, -0.5)],
}


def reference(acsf: ACSF, atoms) -> np.ndarray:
    parameters = {f"{name}_params": list(getattr(acsf, name)) or None for name in ("g2", "g3", "g4", "g5")}
    periodic = bool(atoms.pbc.any())
    species = list(acsf.species)
    return dscribe.descriptors.ACSF(r_cut=acsf.cutoff, species=species, periodic=periodic, **parameters).create(atoms)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("functions", [SOME, {"g2": [], "g4": []}, {"g4": [], "g5": SOME["g5"]}])
def test_equal_dscribe(name, functions):
    acsf, atoms = ACSF(["Au", "Cu"], 4.7, **functions), GEOMETRIES[name]
    np.testing.assert_allclose(acsf.create(atoms), reference(acsf, atoms), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_equal_dscribe_for_many_species_and_in_parts(n):
    atoms = five_species(n)
    acsf = ACSF(FIVE[:n], 4.4, **SOME)
    expected = reference(acsf, atoms)
    assert expected.shape[1] == acsf.n_all
    np.testing.assert_allclose(acsf.create(atoms), expected, rtol=1e-10, atol=1e-10)
    columns = np.random.default_rng(0).permutation(acsf.n_all)[: acsf.n_all // 2].tolist()
    part = replace(acsf, columns=columns, scales=np.linspace(0.5, 2, len(columns)))
    np.testing.assert_allclose(part.create(atoms), expected[:, columns], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_pull_back_and_tangents_are_the_twins_derivatives(name):
    """Of one random sum of all features, by complex steps: positions of two atoms, and the strains."""
    acsf, atoms = ACSF(["Au", "Cu"], 4.7, **SOME, scales=np.linspace(0.2, 1, 25)), GEOMETRIES[name]
    x_bar = np.random.default_rng(0).normal(size=(len(atoms), acsf.n_features))
    nb = find_neighbourhoods(atoms, 4.7)
    values, state = acsf.evaluate(nb, atoms.numbers)
    g, tangents = acsf.pullback(state, x_bar), acsf.tangents(state)
    gradient = np.zeros((len(atoms), 3))
    np.add.at(gradient, nb.j, g)
    np.add.at(gradient, nb.i, -g)
    from_tangents, strain = np.zeros((len(atoms), 3)), np.zeros(6)
    for c in range(len(atoms)):
        rows = tangents.J[tangents.row_first[c] : tangents.row_first[c + 1]] @ x_bar[c]
        np.add.at(
            from_tangents, tangents.atom[tangents.slot_first[c] : tangents.slot_first[c + 1]], rows[:-6].reshape(-1, 3)
        )
        strain += rows[-6:]
    np.testing.assert_allclose(from_tangents, gradient, atol=1e-11)
    np.testing.assert_allclose(strain[:3], np.einsum("pa,pa->a", nb.D, g), atol=1e-10)

    def total(positions, cell):
        return np.sum(x_bar * naive_terms.symmetry_functions(acsf, atoms, positions, cell))

    h, positions, cell = 1e-30j, atoms.positions.astype(np.clongdouble), atoms.cell.array.astype(np.clongdouble)
    np.testing.assert_allclose(np.sum(x_bar * values), float(total(positions, cell).real), rtol=1e-12)
    for i, a in ((0, 0), (len(atoms) - 1, 1), (0, 2)):
        moved = positions.copy()
        moved[i, a] += h
        np.testing.assert_allclose(gradient[i, a], float(np.imag(total(moved, cell)) * 1e30), atol=1e-11)
    for v, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        F = np.eye(3, dtype=np.clongdouble)
        F[a, b] += h / 2
        F[b, a] += h / 2
        np.testing.assert_allclose(strain[v], float(np.imag(total(positions @ F, cell @ F)) * 1e30), atol=1e-10)


def test_a_straight_angle_has_finite_derivatives():
    """(1 + λ cos θ)^ζ is zero there, to round-off on either side."""
    atoms = GEOMETRIES["one_atom"]
    acsf = ACSF(["Cu"], 4.0, g4=[(0.0, z, s) for z in (1.0, 1.5, 2.0, 7.0) for s in (-1.0, 1.0)])
    values, state = acsf.evaluate(find_neighbourhoods(atoms, 4.0), atoms.numbers)
    assert np.all(np.isfinite(values))
    assert np.all(np.isfinite(acsf.pullback(state, np.ones_like(values))))
