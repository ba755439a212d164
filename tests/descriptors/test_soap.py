"""SOAP equals dscribe's, its derivatives those of a twin; tables keep their bound; refusals."""

from __future__ import annotations

from dataclasses import replace

import naive
import numpy as np
import pytest
from ase.build import bulk
from example_structures import structures
from five_species import FIVE, five_species, relative
from hypothesis import given, settings
from hypothesis import strategies as st

from gapkit import SOAP, InputError
from gapkit._numba.pairs import CHUNK, buffers, gather, harmonics, hermite, hermite_slope
from gapkit.descriptors.soap import COMPRESSIONS, neighbour_slots
from gapkit.descriptors.soap_basis import harmonics_norm
from gapkit.geometry.neighbourhoods import find_neighbourhoods


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("n_species", [1, 2, 3, 4, 5])
def test_equals_dscribe_for_one_to_five_species(n_species, compression):
    atoms = five_species(n_species)
    soap = SOAP(FIVE[:n_species], cutoff=4.2, n_max=4, l_max=3, compression=compression)
    assert relative(soap.create(atoms), soap.dscribe(True).create(atoms)) < 1e-10
    assert soap.n_features == soap.dscribe(True).get_number_of_features()


@pytest.mark.parametrize("name", structures())
@pytest.mark.parametrize("smoothness", [1, 2, 3])
def test_equals_dscribe_for_every_periodicity(name, smoothness):
    atoms = structures()[name]
    soap = SOAP(["Cu", "Au"], cutoff=5.0, n_max=5, l_max=4, smoothness=smoothness)
    reference = soap.dscribe(bool(atoms.pbc.any())).create(atoms)
    assert relative(soap.create(atoms), np.atleast_2d(reference)) < 1e-10


@pytest.mark.parametrize(
    ("n_max", "l_max", "cutoff", "sigma"),
    [(1, 0, 3.0, 0.3), (8, 6, 5.0, 0.5), (11, 6, 5.0, 0.5), (12, 6, 5.0, 0.5), (8, 8, 5.4, 0.5), (6, 10, 6.0, 0.8)],
)
def test_equals_dscribe_for_every_basis_size(n_max, l_max, cutoff, sigma):
    atoms = five_species(1)
    soap = SOAP(["Si"], cutoff=cutoff, n_max=n_max, l_max=l_max, atom_sigma=sigma)
    theirs = soap.dscribe(True).create(atoms)
    # n_max = 12: dscribe sums over atoms, then over k with |β| up to 2e5, in 16 digits; its own error is measured
    error = relative(theirs, naive.features(soap, atoms)) if n_max > 11 else 0.0
    assert relative(soap.create(atoms), theirs) < 1e-10 + error


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_species_weights_equal_dscribe(compression):
    atoms = five_species(3)
    soap = SOAP(
        FIVE[:3],
        cutoff=4.2,
        n_max=4,
        l_max=3,
        compression=compression,
        species_weights={"Si": 1.3, "O": 0.4, "Ge": 0.9},
    )
    assert relative(soap.create(atoms), soap.dscribe(True).create(atoms)) < 1e-10


def test_species_order_given_does_not_matter():
    atoms = five_species(3)
    a, b = (SOAP(order, cutoff=4.0, n_max=3, l_max=2).create(atoms) for order in (["Si", "O", "Ge"], ["Ge", "Si", "O"]))
    np.testing.assert_array_equal(a, b)


def test_loops_equal_their_naive_twins(soap):
    atoms = structures()["alloy"]
    nb = find_neighbourhoods(atoms, soap.cutoff)
    values, state = soap.evaluate(nb, atoms.numbers)
    c = naive.density_coefficients(soap, atoms)
    np.testing.assert_allclose(state.c[..., : soap.n_max], c.astype(float), atol=1e-12 * float(np.abs(c).max()))
    np.testing.assert_array_equal(state.c[..., soap.n_max :], 0.0)  # padding to whole vectors
    p, scale = naive.power_spectrum(soap, c)
    np.testing.assert_allclose(values / soap.feature_scale, p.astype(float), atol=1e-12 * float(np.abs(p).max()))
    np.testing.assert_allclose(soap.feature_scale, scale.astype(float), rtol=1e-15)


vectors = st.lists(st.floats(-3, 3), min_size=3, max_size=3).filter(lambda d: np.linalg.norm(d) > 0.2)


@given(st.lists(vectors, min_size=1, max_size=CHUNK), st.integers(0, 8))
@settings(max_examples=30, deadline=None)
def test_harmonics_equal_scipy(D, l_max):
    D = np.array(D)
    V, A, B, P, S, _ = buffers(l_max)
    gather(D, 0, len(D), V)
    harmonics(V, harmonics_norm(l_max), A, B, P, S)
    for k in range(len(D)):
        reference = naive.real_harmonics(l_max, D[k])
        np.testing.assert_allclose(S[:, k], reference, atol=1e-12 * max(1.0, np.abs(reference).max()))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("name", ["alloy", "cluster", "one_atom"])
@pytest.mark.parametrize("smoothness", [1, 2])
def test_pullback_equals_finite_differences(name, compression, smoothness):
    atoms = structures()[name]
    weights = {"Cu": 1.0, "Au": 0.7}
    soap = SOAP(["Cu", "Au"], 4.0, 3, 3, smoothness=smoothness, compression=compression, species_weights=weights)
    nb = find_neighbourhoods(atoms, soap.cutoff)
    values, state = soap.evaluate(nb, atoms.numbers)
    cotangent = np.random.default_rng(0).normal(size=values.shape)
    g = soap.pullback(state, cotangent)

    def total(D):
        return float((soap.evaluate(nb._replace(D=D), atoms.numbers)[0] * cotangent).sum())

    for pair in np.linspace(0, len(nb.j) - 1, 4).astype(int):
        for a in range(3):
            step = np.zeros_like(nb.D)
            step[pair, a] = 1e-4
            slopes = [(total(nb.D + k * step) - total(nb.D - k * step)) / (2e-4 * k) for k in (1, 2)]
            np.testing.assert_allclose(
                g[pair, a], (4 * slopes[0] - slopes[1]) / 3, rtol=1e-8, atol=1e-8 * np.abs(g).max()
            )


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("name", ["alloy", "slab", "cluster", "one_atom"])
def test_tangents_agree_with_the_pullback(name, compression):
    """The same derivative twice: rows contracted with a cotangent, and pair gradients summed over images."""
    atoms = structures()[name]
    soap = SOAP(["Cu", "Au"], cutoff=4.0, n_max=3, l_max=3, compression=compression)
    nb = find_neighbourhoods(atoms, soap.cutoff)
    values, state = soap.evaluate(nb, atoms.numbers)
    cotangent = np.random.default_rng(1).normal(size=values.shape)
    tangents, g = soap.tangents(state), soap.pullback(state, cotangent)
    slot = neighbour_slots(nb)[0]
    assert list(tangents.atom[tangents.slot_first[1:] - 1]) == list(nb.centres)
    for c in range(len(nb.centres)):
        rows = tangents.J[tangents.row_first[c] : tangents.row_first[c + 1]] @ cotangent[c]
        pairs = np.arange(nb.first[c], nb.first[c + 1])
        n_slots = tangents.slot_first[c + 1] - tangents.slot_first[c] - 1
        assert len(rows) == 3 * n_slots + 9
        others = rows[: 3 * n_slots].reshape(-1, 3)
        np.testing.assert_allclose(rows[3 * n_slots : -6], -others.sum(axis=0), rtol=1e-9, atol=1e-9)
        for s in range(n_slots):
            np.testing.assert_allclose(
                rows[3 * s : 3 * s + 3], g[pairs[slot[pairs] == s]].sum(axis=0), rtol=1e-9, atol=1e-9
            )
        strain = nb.D[pairs].T @ g[pairs]
        strain = 0.5 * (strain + strain.T)
        np.testing.assert_allclose(rows[-6:], strain[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_both_engines_agree(compression):
    atoms = structures()["alloy"]
    fast = SOAP(["Cu", "Au"], cutoff=3.9, n_max=3, l_max=2, compression=compression)
    slow = replace(fast, engine="dscribe")
    nb = find_neighbourhoods(atoms, fast.cutoff)
    (v, s), (w, t) = fast.evaluate(nb, atoms.numbers), slow.evaluate(nb, atoms.numbers)
    assert relative(v, w) < 1e-11
    cotangent = np.random.default_rng(0).normal(size=v.shape)
    assert relative(fast.pullback(s, cotangent), slow.pullback(t, cotangent)) < 1e-6  # dscribe's step is 1e-4 Å
    assert relative(fast.tangents(s).J, slow.tangents(t).J) < 1e-6


def test_radial_table_error_is_as_stated():
    from gapkit.descriptors.soap_basis import TABLE_ERROR, radial_functions, radial_table

    table, _ = radial_table(5.0, 8, 6, 0.5, 2.0)
    engine = SOAP(["H"]).dscribe(False)
    r = np.random.default_rng(0).uniform(0.5, 5.0, 500)
    wide = np.longdouble
    exact, exact_slope, _ = radial_functions(
        r.astype(wide), engine._alphas.astype(wide), engine._betas.astype(wide), wide(0.5), wide(5.0), wide(2.0)
    )
    rho, slope = np.empty((500, 56)), np.empty((500, 56))
    n_knots, h = len(table.values), 1.0 / table.inverse_step
    for i in range(500):
        k, *weights = hermite(r[i] / h, n_knots, 1.0)
        slopes = hermite_slope(r[i] / h, n_knots, 1.0 / h)
        rho[i] = sum(np.array(w) @ table.values[k + side] for side, w in enumerate(weights))
        slope[i] = sum(np.array(w) @ table.values[k + side] for side, w in enumerate(slopes))
    scale = np.abs(table.values[:, 0]).max(axis=0)
    assert np.all(np.abs(rho - exact) <= 3 * TABLE_ERROR * scale)
    assert np.all(np.abs(slope - exact_slope) <= 1e-8 * scale)


def test_numbers_are_the_same_for_any_block_of_centres(soap):
    atoms = structures()["alloy"]
    nb = find_neighbourhoods(atoms, soap.cutoff)
    whole = soap.evaluate(nb, atoms.numbers)[0]
    some = soap.evaluate(nb.select(np.array([1, 3])), atoms.numbers)[0]
    np.testing.assert_array_equal(some, whole[[1, 3]])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cutoff": 1.0}, r"cutoff = 1.0 Å must be larger than 1 Å"),
        ({"species": ["Xx"]}, r"unknown species 'Xx'"),
        ({"species": ["X"]}, "unknown species 'X'"),
        ({"species": []}, r"must be a non-empty list"),
        ({"species": "Si"}, r"must be a non-empty list"),
        ({"species": ["Si", "Si"]}, r"names one species twice"),
        ({"n_max": 0}, r"need n_max ≥ 1"),
        ({"atom_sigma": 0.0}, r"need atom_sigma > 0"),
        ({"compression": "mu1"}, r"compression = 'mu1' is unknown \(did you mean"),
        ({"engine": "numbas"}, r"did you mean 'numba'"),
        ({"species_weights": {"Ge": 1.0}}, r"give one weight per species"),
        pytest.param(
            {"n_max": 40, "cutoff": 2.0},
            r"lower n_max or raise the cutoff",
            marks=pytest.mark.filterwarnings("ignore:An ill-conditioned matrix"),  # SciPy in dscribe, just before
        ),
    ],
)
def test_impossible_parameters_are_refused(parameters, message):
    with pytest.raises(InputError, match=message):
        SOAP(**{"species": ["Si"], "cutoff": 4.0, "n_max": 3, "l_max": 2, **parameters}).create(bulk("Si"))


def test_unknown_species_in_structure_is_refused(water):
    with pytest.raises(InputError, match=r"holds H, O but the species of SOAP are Si: add H, O"):
        SOAP(["Si"]).create(water)
