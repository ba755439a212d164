"""Training rows by two routes, through the Jacobian of the features and through the density: the same numbers."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from ase import Atoms
from example_structures import structures
from five_species import FIVE, five_species

from gapkit import SOAP, DotProduct, Term
from gapkit.covariances.rows import structure_rows
from gapkit.descriptors import soap_rows
from gapkit.descriptors.soap import COMPRESSIONS
from gapkit.gaussian_process.kernels import inner_products, normalise
from gapkit.geometry.neighbourhoods import find_neighbourhoods
from gapkit.runtime.workspace import Fresh
from gapkit.terms.basis import Basis
from gapkit.terms.records import SparseBlock

ROUTES = (soap_rows.jacobian_products, soap_rows.density_products)
WEIGHTS = dict(zip(FIVE, (1.3, 0.4, 0.9, 1.0, 2.0)))
OPERATIONS = soap_rows.operations


def sparse_points(soap, n):
    return normalise(np.random.default_rng(0).normal(size=(n, soap.n_features)))[0]


def arguments(soap, atoms, n_sparse):
    """What both routes take, for all atoms at once."""
    nb = find_neighbourhoods(atoms, soap.cutoff)
    values, state = soap.evaluate(nb, atoms.numbers)
    (Q, norm), X = normalise(values), sparse_points(soap, n_sparse)
    points = soap_rows.Points(Q, norm, X, inner_products(Q, X))
    return soap, state, soap_rows.neighbour_slots(nb), points, Fresh()


def assert_both_routes_agree(soap, atoms, n_sparse):
    given = arguments(soap, atoms, n_sparse)
    jacobian, density = (route(*given) for route in ROUTES)
    scale = max(1e-3, np.abs(jacobian.T).max())  # an atom that is alone has no derivatives but round-off
    np.testing.assert_allclose(density.T, jacobian.T, rtol=0, atol=1e-12 * scale)
    for a, b in zip(jacobian[1:], density[1:]):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("n_species", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_both_routes_agree_for_one_to_five_species(n_species, compression, weighted):
    species = FIVE[:n_species]
    weights = {s: WEIGHTS[s] for s in species} if weighted else None
    soap = SOAP(species, cutoff=4.2, n_max=4, l_max=3, compression=compression, species_weights=weights)
    assert_both_routes_agree(soap, five_species(n_species), 2 * soap_rows.chunk_size(soap.basis) + 3)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("name", structures())
def test_both_routes_agree_for_every_structure(name, compression):
    soap = SOAP(["Cu", "Au"], cutoff=4.5, n_max=3, l_max=4, smoothness=2, compression=compression)
    assert_both_routes_agree(soap, structures()[name], 5)


@pytest.mark.parametrize(("n_max", "l_max"), [(1, 0), (1, 3), (9, 1), (8, 6)])
def test_both_routes_agree_for_every_basis_size(n_max, l_max):
    assert_both_routes_agree(SOAP(["Cu", "Au"], 4.0, n_max, l_max), structures()["slab"], 32)


@pytest.mark.parametrize("species", [["Cu"], ["Cu", "Au"]])
def test_both_routes_agree_for_an_atom_alone(species):
    assert_both_routes_agree(SOAP(species, 4.0, 3, 2), Atoms("Cu"), 4)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("n_sparse", [3, 40])
def test_rows_of_a_structure_do_not_depend_on_the_route(monkeypatch, compression, n_sparse):
    atoms = five_species(4)
    soap = SOAP(FIVE[:4], cutoff=4.2, n_max=4, l_max=3, compression=compression)
    X = sparse_points(soap, n_sparse)
    blocks = [SparseBlock(0, int(z), X, slice(k * n_sparse, (k + 1) * n_sparse)) for k, z in enumerate(soap.numbers)]
    terms = [Term(soap, DotProduct(3))]
    found = []
    for counts in (OPERATIONS, lambda *_: (0.0, 1.0, 1.0), lambda *_: (1.0, 0.0, 0.0)):
        monkeypatch.setattr(soap_rows, "operations", counts)
        found.append(structure_rows(Basis(tuple(terms), tuple(blocks)).environments(atoms)))
    for kind in ("energy", "forces", "virial"):
        chosen, *forced = (getattr(rows, kind) for rows in found)
        for rows in forced:
            np.testing.assert_allclose(rows, chosen, rtol=0, atol=1e-12 * np.abs(chosen).max())


def chosen_route(monkeypatch, soap, atoms, n_sparse):
    taken = []
    for route in ROUTES:
        monkeypatch.setattr(soap_rows, route.__name__, lambda *given, name=route.__name__: taken.append(name))
    given = arguments(soap, atoms, n_sparse)
    soap.row_products(given[1], *given[3])
    return taken


@pytest.mark.parametrize(
    ("n_species", "compression", "route"),
    [
        (1, "off", "jacobian_products"),
        (2, "off", "density_products"),
        (4, "off", "density_products"),
        (5, "crossover", "density_products"),
        (4, "mu2", "jacobian_products"),
    ],
)
def test_the_route_with_fewer_operations_is_taken(monkeypatch, n_species, compression, route):
    soap, atoms = SOAP(FIVE[:n_species], 5.0, 8, 6, compression=compression), five_species(n_species).repeat(2)
    n_neighbours = soap_rows.neighbour_slots(find_neighbourhoods(atoms, 5.0))[1].mean()
    jacobian, *density = np.multiply(soap_rows.COSTS, soap_rows.operations(soap.basis, n_neighbours, 200))
    assert route == ROUTES[int(sum(density) < jacobian)].__name__
    assert chosen_route(monkeypatch, soap, atoms, 200) == [route]


def test_the_count_is_that_of_the_matrix_products():
    """4 species, 8 radial functions, l up to 6, 28 neighbours: counted by hand."""
    jacobian, pull_back, contraction = soap_rows.operations(SOAP(FIVE[:4], 5.0, 8, 6).basis, 28, 10**9)
    assert pull_back == 2e9 * 32 * 32 * 49
    assert contraction == 2e9 * (84 * 8 * 49 + 9 * 32 * 49)
    np.testing.assert_allclose(jacobian, 2e9 * 93 * 3696, rtol=1e-6)


def test_the_reference_engine_has_the_jacobian_only(monkeypatch):
    monkeypatch.setattr(soap_rows, "operations", lambda *_: (1.0, 0.0, 0.0))
    soap = SOAP(["Cu", "Au"], 3.9, 2, 1, engine="dscribe")
    assert chosen_route(monkeypatch, soap, structures()["cluster"], 3) == ["jacobian_products"]


def test_forms_are_made_once_and_live_as_long_as_their_points():
    basis = SOAP(["Cu", "Au"], 4.0, 3, 2).basis
    gc.collect()
    X, before = sparse_points(SOAP(["Cu", "Au"], 4.0, 3, 2), 5), len(soap_rows.density_forms)
    forms = soap_rows.density_forms(basis, X)
    assert soap_rows.density_forms(SOAP(["Cu", "Au"], 3.0, 3, 2).basis, X) is forms  # the cutoff is not in them
    assert soap_rows.density_forms(basis, X.copy()) is not forms
    del X
    gc.collect()
    assert len(soap_rows.density_forms) == before


def test_points_cannot_change_under_their_forms():
    """Through the array or what it is a view of; if somebody insists, the forms are those of the new numbers."""
    soap = SOAP(["Cu", "Au"], 4.0, 3, 2)
    whole = sparse_points(soap, 8)
    X = whole[:5]
    forms = soap_rows.density_forms(soap.basis, X)
    for array in (X, whole):
        with pytest.raises(ValueError, match="read-only"):
            array[0] *= 2.0
    whole.setflags(write=True)
    X.setflags(write=True)
    X *= 2.0
    for old, new in zip(forms, soap_rows.density_forms(soap.basis, X), strict=True):
        for a, b in zip(old, new, strict=True):
            np.testing.assert_array_equal(2.0 * a, b)
