"""Joint posterior of linear functionals: equal to a dense Gaussian process and to energy differences, and its laws."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import laws
import naive
import numpy as np
import pytest
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from example_structures import alloy, labelled, structures
from expected_warnings import extrapolation
from scipy.linalg import block_diag

from gapkit import GAP, SOAP, DotProduct, InputError, SquaredExponential, Term
from gapkit.runtime.threads import set_num_threads
from gapkit.terms import environment_prior
from gapkit.uncertainty.functionals import energy_difference, joint_posterior, pressure, propagate_linear
from gapkit.uncertainty.joint_posterior import OUTPUTS, JointPosterior, LinearPosterior

EVERYTHING = ("energy", "local_energies", "forces", "stress")
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def two_terms(kernel, frames: list[Atoms]) -> GAP:
    first = Term(SOAP(["Cu", "Au"], 4.5, n_max=3, l_max=2, smoothness=2), kernel, n_sparse=6)
    second = Term(
        SOAP(["Cu", "Au"], 3.6, n_max=3, l_max=2, smoothness=2, compression="mu2"), DotProduct(2, 0.5), n_sparse=4
    )
    return GAP([first, second], 0.01, 0.1, 0.05, jitter=1e-9, verbose=False).fit(frames)


@pytest.fixture(scope="module", params=[DotProduct(4, 0.8), DotProduct(1, 1.3), SquaredExponential(0.4, 1.5)], ids=str)
def fitted(request) -> GAP:
    isolated = [labelled(Atoms(s, cell=[20] * 3, pbc=True), "isolated_atom") for s in ("Cu", "Au")]
    return two_terms(request.param, [labelled(alloy(k)) for k in range(3)] + isolated)


# -- dense algebra --------------------------------------------------------------------------------------------------


def jacobian(soap: SOAP, atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """q (N, n_features) and its derivatives by positions and strain (3N + 6, N, n_features), by the complex step."""
    positions, cell = atoms.positions.astype(np.clongdouble), atoms.cell.array.astype(np.clongdouble)

    def normalised(positions, cell):
        p, scale = naive.power_spectrum(soap, naive.density_coefficients(soap, atoms, positions, cell))
        return p * scale / np.sqrt(np.sum((p * scale) ** 2, axis=1))[:, None]

    found = []
    for i, a in product(range(len(atoms)), range(3)):
        moved = positions.copy()
        moved[i, a] += 1j * naive.STEP
        found.append(normalised(moved, cell))
    for a, b in VOIGT:
        strain = np.eye(3, dtype=np.clongdouble)
        strain[a, b] += 0.5j * naive.STEP
        strain[b, a] += 0.5j * naive.STEP
        found.append(normalised(positions @ strain, cell @ strain))
    return np.real(found[0]).astype(float), (np.imag(found) / naive.STEP).astype(float)


def phi(kernel, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """φ, φ' and φ''."""
    if isinstance(kernel, DotProduct):
        z, d = kernel.zeta, kernel.delta**2
        return d * s**z, d * z * s ** (z - 1), d * z * (z - 1) * s ** max(z - 2, 0)
    value, width = kernel.delta**2 * np.exp((s - 1) / kernel.length_scale**2), kernel.length_scale**2
    return value, value / width, value / width**2


def functionals(gap: GAP, block, frames: list[Atoms]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q (n, F) of the block's centres of all frames, and weights a (T, n), tangents d (T, n, F) of `EVERYTHING`."""
    q, a, d = [], [], []
    for atoms in frames:
        own, n = atoms.numbers == block.key, len(atoms)
        features, dq = jacobian(gap.terms_[block.term].descriptor, atoms)
        dq[: 3 * n] *= -1
        dq[3 * n :] /= atoms.get_volume()
        q.append(features[own])
        a.append(np.vstack([np.ones(own.sum()), np.eye(n)[:, own], np.zeros((3 * n + 6, own.sum()))]))
        d.append(np.concatenate([np.zeros((1 + n, own.sum(), dq.shape[2])), dq[:, own]]))
    A, total = block_diag(*a), sum(map(len, q))
    D, row, column = np.zeros((len(A), total, d[0].shape[2])), 0, 0
    for part in d:
        D[row : row + part.shape[0], column : column + part.shape[1]] = part
        row, column = row + part.shape[0], column + part.shape[1]
    return np.concatenate(q), A, D


def dense(gap: GAP, frames: list[Atoms]) -> tuple[np.ndarray, np.ndarray]:
    """K_tm and K_tt of all outputs of all frames by the formula, from full Jacobians."""
    n = sum(4 * len(a) + 7 for a in frames)
    K_t, K_tt = np.zeros((n, gap.basis_.n_columns)), np.zeros((n, n))
    for block in gap.blocks_:
        kernel = gap.terms_[block.term].kernel
        q, A, D = functionals(gap, block, frames)
        value, slope, curvature = phi(kernel, q @ q.T)
        left = np.einsum("tix,kx->tik", D, q)
        K_tt += A @ value @ A.T + np.einsum("ik,tix,ukx->tu", slope, D, D, optimize=True)
        K_tt += np.einsum("ik,tik,uki->tu", curvature, left, left, optimize=True)
        mixed = np.einsum("tk,ik,uik->tu", A, slope.T, left.transpose(0, 2, 1).swapaxes(1, 2), optimize=True)
        K_tt += mixed + mixed.T
        value, slope, _ = phi(kernel, q @ block.X.T)
        K_t[:, block.columns] = A @ value + np.einsum("im,tix,mx->tm", slope, D, block.X, optimize=True)
    return K_t, K_tt


def training(gap: GAP, seeds) -> tuple[np.ndarray, np.ndarray]:
    """K_nm and noises of the labels that `fitted` has seen: energies, forces, virials; energies of isolated atoms."""
    frames = [alloy(k) for k in seeds]
    isolated = [Atoms(symbol, cell=[20] * 3, pbc=True) for symbol in ("Cu", "Au")]
    rows, noise = [], []
    for atoms in frames:
        K, n = dense(gap, [atoms])[0], len(atoms)
        rows += [K[:1], K[1 + n : 1 + 4 * n], -atoms.get_volume() * K[1 + 4 * n :]]
        noise += [0.01 * n] + [0.1] * 3 * n + [0.05 * n] * 6
    rows += [dense(gap, [atoms])[0][:1] for atoms in isolated]
    return np.vstack(rows), np.array([*noise, 0.01, 0.01])


@pytest.fixture(scope="module")
def by_algebra(fitted) -> tuple[list[Atoms], np.ndarray, dict[str, np.ndarray]]:
    """Frames, K_tt and the covariance of all outputs from a dense Gaussian process over all labels.

    The prior covariance of the labels is K_nm K_mm⁻¹ K_mn; that of the functionals is exact ("dtc") or alike ("sor").
    """
    test = [alloy(40), structures()["sheared_one_atom"], alloy(41, 0.2)]
    K_tm, K_tt = dense(fitted, test)
    K_mm = fitted.posterior_.L @ fitted.posterior_.L.T
    K_nm, noise = training(fitted, range(3))
    Q = np.linalg.solve(K_mm, K_nm.T)
    priors = {"dtc": K_tt, "sor": K_tm @ np.linalg.solve(K_mm, K_tm.T)}
    nothing = np.zeros(len(noise))
    return test, K_tt, {m: naive.dense_gp(K_nm @ Q, K_tm @ Q, K, nothing, noise)[1] for m, K in priors.items()}


@pytest.mark.parametrize("method", ["dtc", "sor"])
def test_equals_a_dense_gaussian_process_with_the_same_inducing_points(fitted, by_algebra, method):
    """Every entry to 1e-8 of the prior standard deviations of its row and column."""
    test, K_tt, expected = by_algebra
    with extrapolation(fitted, test):
        found = joint_posterior(fitted, test, EVERYTHING, method)
    assert found.covariance.shape == K_tt.shape == (3 * 7 + 4 * 9, 3 * 7 + 4 * 9)
    scale = np.where(np.diag(K_tt) > 1e-12, np.sqrt(np.abs(np.diag(K_tt))), 1.0)  # one atom: no forces
    np.testing.assert_allclose(found.prior_std / scale, np.sqrt(np.abs(np.diag(K_tt))) / scale, atol=1e-8)
    unit = np.outer(scale, scale)
    np.testing.assert_allclose(found.covariance / unit, expected[method] / unit, rtol=0, atol=1e-8)
    between = (found.covariance / unit)[found.rows(0, "forces"), found.rows(2, "stress")]
    assert np.abs(between).max() > 1e-6, "frames and kinds are correlated, far beyond the tolerance"


def test_gap_method_is_the_formula_of_a_local_energy(fitted):
    atoms, reg = alloy(40), 0.03
    K_tm, K_tt = dense(fitted, [atoms])
    local = slice(1, 1 + len(atoms))
    K_mm = fitted.posterior_.L @ fitted.posterior_.L.T + reg**2 * np.eye(len(fitted.alpha_))
    expected = [K_tt[t, t] - K_tm[t] @ np.linalg.solve(K_mm, K_tm[t]) for t in range(*local.indices(99))]
    found = joint_posterior(fitted, atoms, "local_energies", method="gap", regularisation=reg)
    np.testing.assert_allclose(np.diag(found.covariance), expected, rtol=1e-7)


# -- the rest of the package -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", structures())
def test_means_and_standard_deviations_are_those_of_predict(fitted, name):
    atoms = structures()[name]
    p = fitted.predict(atoms, return_std="all")
    has_stress = p.stress[0] is not None
    joint = joint_posterior(fitted, atoms, EVERYTHING if has_stress else EVERYTHING[:3])
    for found, suffix in ((joint.values()[0], ""), (joint.values(joint.std)[0], "_std")):
        atol = 1e-6 * joint.prior_std.max() if suffix else 1e-12
        np.testing.assert_allclose(found.energy, getattr(p, f"energy{suffix}")[0], rtol=1e-6, atol=atol)
        for kind in ("local_energies", "forces"):
            np.testing.assert_allclose(getattr(found, kind), getattr(p, kind + suffix)[0], rtol=1e-6, atol=atol)
        if has_stress:
            expected = full_3x3_to_voigt_6_stress(getattr(p, f"stress{suffix}")[0])
            np.testing.assert_allclose(found.stress, expected, rtol=1e-6, atol=1e-2 * atol)


def test_cross_covariances_are_derivatives_of_energy_covariances(fitted):
    """cov(E_a, F_b), cov(E_a, σ_b) and cov(F_a, F_b) from the energies of displaced frames, which need no tangents."""
    a, b = alloy(40), alloy(41)
    joint = joint_posterior(fitted, [a, b])
    C, rows = joint.covariance, joint.rows

    def energies(*frames):
        return joint_posterior(fitted, frames, ("energy",)).covariance[0, 1]

    scale = np.sqrt(np.diag(C))
    for i, axis in ((0, 0), (3, 2)):
        slope = -laws.derivative(lambda h, i=i, c=axis: energies(a, laws.displaced(b, i, c, h)))
        t = rows(1, "forces").start + 3 * i + axis
        np.testing.assert_allclose(C[0, t], slope, rtol=0, atol=1e-6 * scale[0] * scale[t])
        twice = laws.derivative(
            lambda g, i=i, c=axis: laws.derivative(
                lambda h: energies(laws.displaced(a, 2, 1, g), laws.displaced(b, i, c, h)), 2e-2
            ),
            2e-2,
        )
        u = rows(0, "forces").start + 3 * 2 + 1
        np.testing.assert_allclose(C[u, t], twice, rtol=0, atol=1e-5 * scale[u] * scale[t])
    for k, (c, d) in enumerate(VOIGT):
        unit = np.zeros((3, 3))
        unit[c, d] += 0.5
        unit[d, c] += 0.5
        slope = laws.derivative(lambda h, unit=unit: energies(a, laws.strained(b, h * unit)), 2e-3) / b.get_volume()
        t = rows(1, "stress").start + k
        np.testing.assert_allclose(C[0, t], slope, rtol=0, atol=1e-6 * scale[0] * scale[t])


# -- laws ------------------------------------------------------------------------------------------------------------


def of_scale_one(joint: JointPosterior) -> np.ndarray:
    scale = np.where(joint.prior_std > 0, joint.prior_std, 1.0)
    return joint.covariance / np.outer(scale, scale)


@pytest.mark.parametrize("method", ["dtc", "sor"])
def test_positive_semi_definite_and_never_more_than_the_prior(gap, method):
    joint = joint_posterior(gap, [alloy(40), alloy(41), alloy(40)], EVERYTHING, method)
    C = of_scale_one(joint)
    np.testing.assert_array_equal(C, C.T)
    assert np.linalg.eigvalsh(C).min() > -1e-8
    assert np.all(np.diag(joint.covariance) >= 0)
    assert np.all(joint.std <= joint.prior_std * (1 + 1e-9))
    np.testing.assert_array_equal(np.diag(joint.correlation), 1.0)
    assert np.abs(joint.correlation).max() <= 1 + 1e-6


def test_total_energy_is_the_sum_of_local_ones_and_virial_is_minus_the_stress_times_the_volume(gap):
    atoms = alloy(40)
    joint = joint_posterior(gap, atoms, ("local_energies", "energy", "virial", "stress"))
    np.testing.assert_allclose(joint.of({(0, "local_energies"): np.ones(4)}).std, joint.of({(0, "energy"): 1.0}).std)
    difference = joint.of({(0, "local_energies"): np.ones(4), (0, "energy"): -1.0})
    np.testing.assert_allclose(difference.mean, 0.0, atol=1e-12)
    np.testing.assert_allclose(difference.std, 0.0, atol=1e-6 * joint.prior_std.max())
    stress, virial = joint.rows(0, "stress"), joint.rows(0, "virial")
    np.testing.assert_allclose(joint.mean[virial], -atoms.get_volume() * joint.mean[stress], rtol=1e-12)
    factor = -atoms.get_volume()
    expected = factor * joint.covariance[stress]
    np.testing.assert_allclose(joint.covariance[virial], expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_a_rigid_shift_costs_nothing(gap):
    """Rows of the forces of all atoms of a frame sum to zero in the covariance with everything."""
    joint = joint_posterior(gap, [alloy(40), alloy(41)], EVERYTHING)
    for frame in range(2):
        forces = joint.covariance[joint.rows(frame, "forces")].reshape(4, 3, -1)
        np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-9 * np.abs(forces).max())


def test_turns_with_the_structure(gap):
    """Another orientation of one frame: C → T C Tᵀ, T turning forces and stress."""
    R = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = alloy(41)
    turned.set_cell(turned.cell.array @ R.T)
    turned.positions = alloy(41).positions @ R.T
    stress = np.array([full_3x3_to_voigt_6_stress(R @ voigt_6_to_full_3x3_stress(e) @ R.T) for e in np.eye(6)]).T
    T = block_diag(np.eye(1 + 12 + 6), 1.0, np.kron(np.eye(4), R), stress)
    expected = T @ joint_posterior(gap, [alloy(40), alloy(41)]).covariance @ T.T
    found = joint_posterior(gap, [alloy(40), turned]).covariance
    scale = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(found / np.outer(scale, scale), expected / np.outer(scale, scale), atol=1e-7)


def test_two_copies_of_a_frame_are_one_thing(gap):
    joint = joint_posterior(gap, [alloy(40), alloy(40)])
    n = len(joint.mean) // 2
    C = of_scale_one(joint)
    np.testing.assert_allclose(C[:n, n:], C[:n, :n], atol=1e-9)
    assert energy_difference(gap, alloy(40), alloy(40)) == (0.0, pytest.approx(0.0, abs=1e-6))


def test_far_from_data_the_prior(frames):
    term = Term(SOAP(["Cu", "Au"], 4.0, n_max=4, l_max=3, smoothness=2), SquaredExponential(0.01, 1.0), n_sparse=20)
    gap = GAP([term], 0.001, 0.01, 0.005, jitter=1e-10, verbose=False).fit(frames)
    far, near = joint_posterior(gap, structures()["cluster"], EVERYTHING[:3]), joint_posterior(gap, frames[0])
    np.testing.assert_allclose(far.std, far.prior_std, rtol=1e-3, atol=1e-9)
    assert near.std[0] < 0.01 * near.prior_std[0]
    blind = replace(gap.posterior_, R=gap.posterior_.L.T.copy())
    gap.posterior_ = blind
    untaught = joint_posterior(gap, frames[0])
    np.testing.assert_allclose(untaught.std, untaught.prior_std, rtol=1e-4)


def test_an_energy_difference_tends_to_a_force(gap):
    """std[E(r + h) - E(r)] = h std[F] + O(h²): the shared part of the two energies cancels."""
    atoms, h = alloy(40), 1e-2
    found = energy_difference(gap, laws.displaced(atoms, 1, 0, h), laws.displaced(atoms, 1, 0, -h))
    forces = joint_posterior(gap, atoms, ("forces",))
    np.testing.assert_allclose(found.mean / (2 * h), -forces.mean[3], rtol=0.02)
    np.testing.assert_allclose(found.std / (2 * h), forces.std[3], rtol=0.02)
    other = alloy(3, 0.3)
    with extrapolation(gap, other):
        assert found.std < 0.2 * energy_difference(gap, atoms, other).std


def test_pressure_is_minus_a_third_of_the_trace(gap):
    atoms = alloy(40)
    expected = joint_posterior(gap, atoms, ("stress",)).of({(0, "stress"): -np.eye(3) / 3})
    assert pressure(gap, atoms) == pytest.approx((expected.mean[0], expected.std[0]))
    stress = gap.predict(atoms).stress[0]
    np.testing.assert_allclose(pressure(gap, atoms).mean, -np.trace(stress) / 3, rtol=1e-12)
    assert pressure(gap, atoms).std > 0


# -- combinations and functions ---------------------------------------------------------------------------------------


def test_weights_by_name_are_weights_by_row(gap):
    rng = np.random.default_rng(0)
    joint = joint_posterior(gap, [alloy(40), alloy(41)], EVERYTHING)
    named = {
        (0, "energy"): 0.3, (1, "local_energies"): rng.normal(size=4), (0, "forces"): rng.normal(size=(4, 3)),
        (1, "stress"): rng.normal(size=6),
    }  # fmt: skip
    w = np.zeros(len(joint.mean))
    for key, value in named.items():
        w[joint.rows(*key)] = np.ravel(value)
    np.testing.assert_allclose(joint.of(named).covariance, w @ joint.covariance @ w)
    np.testing.assert_allclose(joint.of(named).mean, w @ joint.mean)
    tensor = rng.normal(size=(3, 3))
    tensor = tensor + tensor.T
    mean = np.sum(tensor * gap.predict(alloy(41)).stress[0])
    np.testing.assert_allclose(joint.of({(1, "stress"): tensor}).mean, mean)
    both = joint.of(np.array([w, 2 * w]))
    np.testing.assert_allclose(both.correlation, 1.0)


def test_labels_name_every_row(gap):
    joint = joint_posterior(gap, [alloy(40), structures()["sheared_one_atom"]], tuple(OUTPUTS))
    assert len(joint.labels) == len(joint.mean) == len(set(joint.labels))
    t = joint.rows(0, "forces").start + 3 * 2 + 1
    assert joint.labels[t] == (0, "forces", (2, 1))
    assert joint.labels[t].unit == "eV/Å"
    assert joint.labels[joint.rows(1, "stress")][3].component == (3,)
    assert joint.labels[0].component == ()


def test_propagate_linear_is_exact_for_linear_functions_and_the_chain_rule_for_others(gap):
    frames = [alloy(40), alloy(41)]
    joint = joint_posterior(gap, frames)
    e = np.array([1.0, -1.0])
    linear = propagate_linear(gap, frames, lambda v: v[0].energy - v[1].energy)
    np.testing.assert_allclose(linear.std[0], energy_difference(gap, *frames).std, rtol=1e-9)

    def product_and_root(v):
        return np.array([v[0].stress[0] * v[1].forces[2, 1], np.exp(v[1].energy - v[0].energy)])

    found = propagate_linear(gap, frames, product_and_root)
    J = np.zeros((2, len(joint.mean)))
    s, f = joint.rows(0, "stress").start, joint.rows(1, "forces").start + 7
    J[0, s], J[0, f] = joint.mean[f], joint.mean[s]
    J[1, [0, joint.rows(1, "energy").start]] = -e * found.mean[1]
    np.testing.assert_allclose(found.mean, product_and_root(joint.values()))
    np.testing.assert_allclose(found.covariance, J @ joint.covariance @ J.T, rtol=1e-5)


# -- cost, corners, bad input ------------------------------------------------------------------------------------------


def test_energies_alone_need_no_tangents(gap, monkeypatch):
    monkeypatch.setattr(SOAP, "tangents", None)
    monkeypatch.setattr(SOAP, "row_products", None)
    assert energy_difference(gap, alloy(40), alloy(41)).std > 0
    with pytest.raises(TypeError):
        joint_posterior(gap, alloy(40), ("stress",))


def test_pieces_and_threads_do_not_matter(gap, monkeypatch):
    frames = [alloy(3).repeat((2, 1, 1)), alloy(4)]
    whole = joint_posterior(gap, frames, EVERYTHING)
    monkeypatch.setattr(environment_prior, "CENTRES", 2)
    results = []
    for n in (1, 3):
        set_num_threads(n)
        try:
            results.append(joint_posterior(gap, frames, EVERYTHING).covariance)
        finally:
            set_num_threads(None)
    assert results[0].tobytes() == results[1].tobytes()
    scale = whole.prior_std
    np.testing.assert_allclose(results[0] / np.outer(scale, scale), of_scale_one(whole), atol=1e-9)


def test_memory_is_estimated_and_large_tasks_are_refused(gap):
    atoms = alloy(3).repeat((2, 2, 2))
    with pytest.raises(InputError, match=r"\d rows takes 0\.0 GiB, more than memory_gib = 1e-06"):
        joint_posterior(gap, atoms, memory_gib=1e-6)
    assert len(joint_posterior(gap, atoms).mean) == 1 + 96 + 6


def test_isolated_atoms_have_no_forces(gap):
    joint = joint_posterior(gap, Atoms("CuAu", [[0, 0, 0], [0, 0, 30.0]]), ("energy", "forces"))
    np.testing.assert_array_equal(joint.std[1:], 0.0)
    assert joint.prior_std[0] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"outputs": ("energies",)}, "output 'energies' is unknown"),
        ({"outputs": ()}, "at least one"),
        ({"outputs": ("energy", "energy")}, "each once"),
        ({"method": "fitc"}, "method 'fitc' is unknown"),
        ({"method": "gap"}, "local energies only"),
        ({"regularisation": 0.0}, "regularisation = 0.0 eV must be positive|must be a positive number"),
        ({"frames": []}, "no frames"),
        ({"frames": Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])}, "no three-dimensional periodic cell"),
        ({"frames": Atoms("Si", cell=[5, 5, 5], pbc=True)}, "Si"),
    ],
)
def test_bad_requests_are_refused(gap, arguments, message):
    with pytest.raises(InputError, match=message):
        joint_posterior(gap, **{"frames": alloy(1), **arguments})


@pytest.mark.parametrize("weights", [np.ones(3), np.full(19, np.nan), np.ones((2, 2, 19)), {(0, "energy"): np.ones(2)}])
def test_bad_weights_are_refused(gap, weights):
    joint = joint_posterior(gap, alloy(1))
    assert len(joint.mean) == 19
    with pytest.raises(InputError, match="weights"):
        joint.of(weights)
    for frame, output in ((1, "energy"), (0, "local_energies")):
        with pytest.raises(InputError, match="asked for"):
            joint.rows(frame, output)


def test_a_function_without_a_number_is_refused(gap):
    with pytest.raises(InputError, match="finite numbers"):
        propagate_linear(gap, alloy(1), lambda v: np.nan * v[0].energy)
    sizes = iter(range(1, 9))
    with pytest.raises(InputError, match="always give the same number"):
        propagate_linear(gap, alloy(1), lambda v: np.ones(next(sizes)), ("energy",))


def test_a_variance_below_round_off_is_refused(gap, monkeypatch):
    broken = replace(gap.posterior_, L=0.5 * gap.posterior_.L)
    monkeypatch.setattr(gap, "posterior_", broken)
    with pytest.raises(InputError, match="negative beyond round-off"):
        joint_posterior(gap, alloy(1))


def test_certain_combinations_have_no_negative_variance():
    C = np.array([[1.0, 1.0], [1.0, 1.0 - 1e-15]])
    assert LinearPosterior(np.zeros(2), C).of(np.array([1.0, -1.0])).std >= 0
