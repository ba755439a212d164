"""Variances of forces and stress: equal to dense algebra and to energy differences, invariant, sure at data only."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import laws
import naive
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from example_structures import alloy, labelled, structures

from gapkit import GAP, SOAP, DotProduct, SquaredExponential, Term
from gapkit.covariances import derivative_variance
from gapkit.covariances.derivative_variance import DerivativeVariances, derivative_variances
from gapkit.covariances.rows import local_rows, structure_rows
from gapkit.gaussian_process.posterior import SparsePosterior
from gapkit.runtime.threads import set_num_threads
from gapkit.terms import environment_derivatives
from gapkit.terms.basis import Environments

GEOMETRIES = structures()
KERNELS = [DotProduct(1, 1.3), DotProduct(2, 2.0), DotProduct(4, 0.8), SquaredExponential(0.4, 1.5)]
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def variances(gap: GAP, atoms: Atoms, posterior: SparsePosterior | None = None) -> DerivativeVariances:
    return derivative_variances(gap.basis_.environments(atoms), posterior or gap.posterior_)


def untaught(gap: GAP) -> SparsePosterior:
    """The same sparse points before any data: A = K_mm, so that variances are prior variances."""
    return replace(gap.posterior_, R=gap.posterior_.L.T.copy())


def hardly_taught(gap: GAP) -> SparsePosterior:
    """The data with three hundred times the noise."""
    K, A = (F @ F.T for F in (gap.posterior_.L, gap.posterior_.R.T))
    return replace(gap.posterior_, R=np.linalg.cholesky(K + 1e-5 * (A - K)).T.copy())


def flat(v: DerivativeVariances) -> np.ndarray:
    return np.concatenate([v.forces.ravel(), v.strain])


@pytest.fixture(scope="module", params=zip(KERNELS, ("mu2", "mu1nu1", "crossover", "off"), strict=True), ids=str)
def two_terms(request, frames) -> GAP:
    """Two species, two terms with different cutoffs; kernel of the first, compression of the second, with weights."""
    kernel, compression = request.param
    soap, weights = SOAP(["Cu", "Au"], 4.5, n_max=3, l_max=2, smoothness=2), {"Cu": 1.1, "Au": -0.6}
    first = Term(soap, kernel, n_sparse=10)
    second = Term(
        replace(soap, cutoff=3.6, compression=compression, species_weights=weights), DotProduct(2, 0.5), n_sparse=5
    )
    return GAP([first, second], jitter=1e-9, verbose=False).fit(frames)


# -- dense algebra --------------------------------------------------------------------------------------------------


def jacobian(soap: SOAP, atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """q (N, n_features) and ∂q/∂(positions, strain) (3N + 6, N, n_features) of all centres by the complex step."""

    def normalised(positions, cell):
        p, scale = naive.power_spectrum(soap, naive.density_coefficients(soap, atoms, positions, cell))
        return p * scale / np.sqrt(np.sum((p * scale) ** 2, axis=1))[:, None]

    positions, cell = atoms.positions.astype(np.clongdouble), atoms.cell.array.astype(np.clongdouble)
    rows = []
    for i, a in product(range(len(atoms)), range(3)):
        moved = positions.copy()
        moved[i, a] += 1j * naive.STEP
        rows.append(normalised(moved, cell))
    for a, b in VOIGT:
        strain = np.eye(3, dtype=np.clongdouble)
        strain[a, b] += 0.5j * naive.STEP
        strain[b, a] += 0.5j * naive.STEP
        rows.append(normalised(positions @ strain, cell @ strain))
    return np.real(rows[0]).astype(float), (np.imag(rows) / naive.STEP).astype(float)


def slope_and_curvature(kernel, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(kernel, DotProduct):
        z = kernel.zeta
        return kernel.delta**2 * z * s ** (z - 1), kernel.delta**2 * z * (z - 1) * s ** max(z - 2, 0)
    value = kernel.delta**2 * np.exp((s - 1) / kernel.length_scale**2)
    return value / kernel.length_scale**2, value / kernel.length_scale**4


def dense(gap: GAP, atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """K_tm (3N + 6, M) and the whole matrix K_tt' (3N + 6, 3N + 6) of all derivatives, from full Jacobians."""
    n = 3 * len(atoms) + 6
    K_tm, K_tt = np.zeros((n, gap.basis_.n_columns)), np.zeros((n, n))
    for block in gap.blocks_:
        term, own = gap.terms_[block.term], atoms.numbers == block.key
        q, dq = jacobian(term.descriptor, atoms)
        q, dq = q[own], dq[:, own]
        slope, curvature = slope_and_curvature(term.kernel, q @ q.T)
        left = np.einsum("tix,kx->tik", dq, q)
        K_tt += np.einsum("ik,tik,uki->tu", curvature, left, left)
        K_tt += np.einsum("ik,tix,ukx->tu", slope, dq, dq)
        slope, _ = slope_and_curvature(term.kernel, q @ block.X.T)
        K_tm[:, block.columns] = np.einsum("im,tix,mx->tm", slope, dq, block.X)
    return K_tm, K_tt


@pytest.mark.parametrize("name", GEOMETRIES)
def test_equal_the_dense_formula(two_terms, name):
    """Before data K_tt itself, after data with what the data explain; 1e-8 of the largest prior variance of a kind."""
    atoms = GEOMETRIES[name]
    K_tm, K_tt = dense(two_terms, atoms)
    prior = np.diag(K_tt)
    scale = np.where(np.arange(len(prior)) < len(prior) - 6, max(prior[:-6].max(), 1e-8), prior[-6:].max())
    before, after = variances(two_terms, atoms, untaught(two_terms)), variances(two_terms, atoms)
    np.testing.assert_allclose(flat(before) / scale, prior / scale, rtol=0, atol=1e-8)
    expected = two_terms.posterior_.variance(K_tm, prior)
    np.testing.assert_allclose(flat(after) / scale, expected / scale, rtol=0, atol=1e-8)
    assert prior[-6:].min() > 0.0
    if len(atoms) > 1:
        assert np.all(after.forces < 0.9 * before.forces)  # the data do matter here
    else:
        np.testing.assert_array_equal(after.forces, 0.0)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_what_the_sparse_points_explain_is_part_of_the_prior_variance(two_terms, name):
    """K_tt ≥ K_tm K_mm⁻¹ K_mt, and the posterior variance lies between that residual and K_tt."""
    atoms = GEOMETRIES[name]
    rows = structure_rows(two_terms.basis_.environments(atoms))
    K_tm = np.vstack([rows.forces, rows.virial])
    prior, after = flat(variances(two_terms, atoms, untaught(two_terms))), flat(variances(two_terms, atoms))
    explained = np.einsum("tm,mt->t", K_tm, np.linalg.solve(two_terms.basis_.K_mm(), K_tm.T))
    round_off = 1e-7 * prior.max()
    assert np.all(prior - explained >= -round_off)
    assert np.all(after >= np.maximum(prior - explained, 0.0) - round_off)
    assert np.all(after <= prior + round_off)


def test_sparse_points_that_span_a_linear_kernel_explain_everything():
    """With ζ = 1 the functionals lie in feature space: enough sparse points leave no residual."""
    soap, kernel = SOAP(["Cu", "Au"], 4.0, n_max=2, l_max=1, smoothness=2), DotProduct(1, 1.5)
    gap = GAP([Term(soap, kernel, n_sparse=36)], e0={"Cu": 0.0, "Au": 0.0}, jitter=1e-13, verbose=False)
    gap.fit([labelled(alloy(k, 0.3, 0.1)) for k in range(20)])
    atoms = alloy(50)
    rows = structure_rows(gap.basis_.environments(atoms))
    K_tm = np.vstack([rows.forces, rows.virial])
    explained = np.einsum("tm,mt->t", K_tm, np.linalg.solve(gap.basis_.K_mm(), K_tm.T))
    prior = flat(variances(gap, atoms, untaught(gap)))
    np.testing.assert_allclose(explained, prior, rtol=1e-5)


# -- energies -------------------------------------------------------------------------------------------------------


def energy_covariance(gap: GAP, posterior: SparsePosterior, images: list[Atoms]) -> np.ndarray:
    """Posterior covariance of the total energies of several structures."""
    K = np.zeros((len(images), len(images)))
    rows = [local_rows(gap.basis_.environments(a)) for a in images]
    for block in gap.blocks_:
        term = gap.terms_[block.term]
        X = [term.descriptor.features(a)[a.numbers == block.key] for a in images]
        K += np.array([[term.kernel(x, y).sum() for y in X] for x in X])
    return posterior.covariance(np.array([r.sum(axis=0) for r in rows]), K)


def slope_variance(gap: GAP, posterior: SparsePosterior, image, h: float = 4e-3) -> float:
    """Variance of dE/dh by the four-point formula (8 E(h) - 8 E(-h) - E(2h) + E(-2h)) / 12h."""
    weights = np.array([8.0, -8.0, -1.0, 1.0]) / (12.0 * h)
    return float(weights @ energy_covariance(gap, posterior, [image(k * h) for k in (1, -1, 2, -2)]) @ weights)


def test_variance_of_an_energy_difference_tends_to_that_of_the_derivative(two_terms):
    """With so much noise that the energies' round-off, 1e-14 eV²/h², stays below 1e-5 of the variance."""
    atoms, posterior = alloy(40), hardly_taught(two_terms)
    v = variances(two_terms, atoms, posterior)
    assert np.median(flat(v) / flat(variances(two_terms, atoms, untaught(two_terms)))) < 0.95
    for i, a in ((0, 0), (1, 2), (3, 1)):
        expected = slope_variance(two_terms, posterior, lambda h, i=i, a=a: laws.displaced(atoms, i, a, h))
        np.testing.assert_allclose(v.forces[i, a], expected, rtol=1e-5)
    for k, (a, b) in enumerate(VOIGT):
        unit = np.zeros((3, 3))
        unit[a, b] += 0.5
        unit[b, a] += 0.5
        expected = slope_variance(two_terms, posterior, lambda h, unit=unit: laws.strained(atoms, h * unit))
        np.testing.assert_allclose(v.strain[k], expected, rtol=1e-5)


def test_draws_of_the_weights_scatter_as_the_data_term(two_terms):
    """The variance minus the prior's residual is that of α + R⁻¹ξ: forces of 4000 sampled potentials."""
    atoms = alloy(40)
    rows = structure_rows(two_terms.basis_.environments(atoms)).forces
    prior = variances(two_terms, atoms, untaught(two_terms)).forces.ravel()
    explained = (np.linalg.solve(two_terms.posterior_.L, rows.T) ** 2).sum(axis=0)
    drawn = (rows @ two_terms.posterior_.sample(4000, np.random.default_rng(0)).T).var(axis=1)
    residual = prior - explained
    np.testing.assert_allclose(variances(two_terms, atoms).forces.ravel() - residual, drawn, rtol=0.12)


# -- symmetries -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GEOMETRIES)
def test_symmetries(gap, name):
    atoms, v = GEOMETRIES[name], variances(gap, GEOMETRIES[name])
    same = {"rtol": 1e-7, "atol": 1e-9 * flat(v).max()}
    moved = atoms.copy()
    moved.positions += [0.31, -1.7, 12.3]
    np.testing.assert_allclose(flat(variances(gap, moved)), flat(v), **same)
    order = np.random.default_rng(1).permutation(len(atoms))
    np.testing.assert_allclose(variances(gap, atoms[order]).forces, v.forces[order], **same)
    np.testing.assert_allclose(variances(gap, atoms[order]).strain, v.strain, **same)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T)
    turned.positions = atoms.positions @ turn.T
    np.testing.assert_allclose(variances(gap, turned).forces.sum(axis=1), v.forces.sum(axis=1), **same)
    invariant = [1, 1, 1, 2, 2, 2] @ variances(gap, turned).strain  # the trace of a covariance of tensors
    np.testing.assert_allclose(invariant, [1, 1, 1, 2, 2, 2] @ v.strain, **same)


def test_exchanged_axes_exchange_the_components(gap):
    """A right angle about z: x and y change places, and so do xx and yy, yz and xz."""
    atoms, turn = alloy(5), np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T, scale_atoms=True)
    v, w = variances(gap, atoms), variances(gap, turned)
    np.testing.assert_allclose(w.forces, v.forces[:, [1, 0, 2]], rtol=1e-7)
    np.testing.assert_allclose(w.strain, v.strain[[1, 0, 2, 4, 3, 5]], rtol=1e-7)


def test_a_repeated_cell_has_the_variances_of_its_own_moves(gap):
    """One atom of a supercell moves without its copies; beyond the cutoff they do not matter, a strain counts twice."""
    atoms = alloy(7).repeat((3, 3, 3))
    v, w = variances(gap, atoms), variances(gap, atoms.repeat((2, 1, 1)))
    np.testing.assert_allclose(w.forces, np.vstack([v.forces, v.forces]), rtol=1e-7)
    np.testing.assert_allclose(w.strain, 4 * v.strain, rtol=1e-6)


# -- data -----------------------------------------------------------------------------------------------------------


def test_near_data_small_and_far_from_data_the_prior(frames):
    term = Term(SOAP(["Cu", "Au"], 4.0, n_max=4, l_max=3, smoothness=2), SquaredExponential(0.01, 1.0), n_sparse=20)
    gap = GAP([term], 0.001, 0.01, 0.005, jitter=1e-10, verbose=False).fit(frames)
    before = variances(gap, frames[0], untaught(gap)), variances(gap, GEOMETRIES["cluster"], untaught(gap))
    after = variances(gap, frames[0]), variances(gap, GEOMETRIES["cluster"])
    np.testing.assert_allclose(flat(after[1]), flat(before[1]), rtol=1e-3, atol=1e-12)
    assert flat(after[0]).sum() < 0.5 * flat(before[0]).sum()
    loose = GAP([term], 0.1, 1.0, 0.5, jitter=1e-10, verbose=False).fit(frames)
    assert np.all(flat(variances(loose, frames[0])) > flat(after[0]))


# -- bounded memory, threads, corners -------------------------------------------------------------------------------


def test_pieces_of_a_structure_give_the_same_numbers(two_terms, monkeypatch):
    atoms = alloy(3).repeat((3, 2, 1))
    whole = variances(two_terms, atoms)
    monkeypatch.setattr(derivative_variance, "MEMORY", 100_000)
    monkeypatch.setattr(derivative_variance, "BATCH", 5)
    monkeypatch.setattr(environment_derivatives, "BATCH", 5)
    found = two_terms.basis_.environments(atoms)
    order = derivative_variance._sweep(found.neighbourhoods, len(atoms))
    assert sorted(order) == list(range(len(atoms)))
    moves = []
    for term, blocks, nb in found.of_terms:
        moves += term.derivative_parts(blocks, nb, atoms.numbers, order)
    assert len(list(derivative_variance._chunks(moves, len(atoms)))) > 5
    np.testing.assert_allclose(flat(variances(two_terms, atoms)), flat(whole), rtol=1e-9)


def test_bit_identical_for_any_number_of_threads(two_terms, monkeypatch):
    atoms = alloy(3).repeat((3, 2, 2))
    monkeypatch.setattr(derivative_variance, "BATCH", 16)
    monkeypatch.setattr(environment_derivatives, "BATCH", 16)
    results = []
    for n in (1, 3):
        set_num_threads(n)
        try:
            results.append(flat(variances(two_terms, atoms)).tobytes())
        finally:
            set_num_threads(None)
    assert results[0] == results[1]


def test_isolated_atoms_and_no_atoms(two_terms):
    for atoms in (Atoms("Cu"), Atoms("CuAu", [[0, 0, 0], [0, 0, 30.0]])):
        np.testing.assert_array_equal(flat(variances(two_terms, atoms)), 0.0)
    nb = two_terms.basis_.environments(Atoms("Cu")).neighbourhoods
    nobody = tuple(n._replace(centres=n.centres[:0], first=n.first[:1], n_atoms=0) for n in nb)
    v = derivative_variances(Environments(two_terms.basis_, nobody, np.zeros(0, dtype=int)), two_terms.posterior_)
    assert v.forces.shape == (0, 3)
    np.testing.assert_array_equal(v.strain, 0.0)


@pytest.mark.parametrize("atoms", [bulk("Cu", "fcc", a=3.6, cubic=True), bulk("Cu", a=3.6).repeat((3, 3, 2))])
def test_forces_that_vanish_by_symmetry_are_sure(two_terms, atoms):
    """A perfect crystal: all is round-off, which must be neither NaN nor refused."""
    v = variances(two_terms, atoms)
    np.testing.assert_allclose(v.forces, 0.0, atol=1e-12)
    assert np.all(v.strain[:3] > 0)


@pytest.mark.parametrize("kernel", [*KERNELS, DotProduct(3), SquaredExponential(1.2, 3.0)])
def test_curvature_is_the_derivative_of_the_slope(kernel):
    S, h = np.linspace(0.05, 0.95, 40).reshape(8, 5), 1e-5
    expected = (kernel.value_and_slope(S + h)[1] - kernel.value_and_slope(S - h)[1]) / (2 * h)
    np.testing.assert_allclose(kernel.curvature(S), expected, rtol=1e-7, atol=1e-8)
    assert np.all(np.isfinite(kernel.curvature(np.zeros((2, 2)))))
