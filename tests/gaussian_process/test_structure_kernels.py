"""Kernels between whole structures: sum, average, REMatch, beside dscribe and in their limits."""

import dscribe.kernels
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA, KernelPCA
from sklearn.kernel_ridge import KernelRidge
from sklearn.svm import SVC

from gapkit._numba.similarity import log_plan
from gapkit.errors import InputError
from gapkit.gaussian_process.structure_kernels import AverageKernel, REMatchKernel, SumKernel, find_duplicates


def linear(X, Z):
    return X @ Z.T


def polynomial(X, Z):
    return (X @ Z.T) ** 4


def rbf(X, Z):
    return np.exp(-0.7 * ((X[:, None] - Z) ** 2).sum(axis=2))


LOCAL = [
    (linear, {"metric": "linear"}),
    (polynomial, {"metric": "polynomial", "degree": 4, "gamma": 1.0, "coef0": 0.0}),
    (rbf, {"metric": "rbf", "gamma": 0.7}),
]
KERNELS = [SumKernel, AverageKernel, REMatchKernel]


def make_structures(sizes=(3, 1, 5, 4, 2, 7), n_features=6, seed=0):
    """Unit rows in the positive orthant, as power spectra mostly are: similarities between 0 and 1."""
    rng = np.random.default_rng(seed)
    structures = [rng.uniform(0, 1, (n, n_features)) ** 3 + 1e-3 for n in sizes]
    return [X / np.linalg.norm(X, axis=1, keepdims=True) for X in structures]


def make_species(structures, seed=5):
    rng = np.random.default_rng(seed)
    return [rng.choice([1, 8], len(X)) for X in structures]


@pytest.fixture(params=[3, 1024], ids=["small blocks", "one block"])
def _block_rows(request, monkeypatch):
    monkeypatch.setattr("gapkit.gaussian_process.structure_kernels._BLOCK_ROWS", request.param)


@pytest.mark.usefixtures("_block_rows")
@pytest.mark.parametrize(("local", "options"), LOCAL)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("alpha", [None, 0.01, 0.1, 2.0])
def test_equals_dscribe(local, options, normalize, alpha):
    a, b = make_structures(), make_structures((2, 6, 3), seed=1)
    if alpha is None:
        ours = AverageKernel(local, normalize=normalize)
        reference = dscribe.kernels.AverageKernel(normalize_kernel=normalize, **options)
    else:
        ours = REMatchKernel(local, alpha=alpha, threshold=1e-5, normalize=normalize)
        reference = dscribe.kernels.REMatchKernel(alpha, 1e-5, normalize_kernel=normalize, **options)
    np.testing.assert_allclose(ours(a), reference.create(a), rtol=0, atol=1e-10)
    np.testing.assert_allclose(ours(a, b), reference.create(a, b), rtol=0, atol=1e-10)


@pytest.mark.usefixtures("_block_rows")
def test_sum_kernel_is_the_sum_over_all_pairs_of_like_atoms():
    a, b = make_structures(), make_structures((2, 6, 3), seed=1)
    z_a, z_b = make_species(a), make_species(b, 6)
    expected = [
        [sum(float(x @ y) ** 4 for x, zx in zip(X, z) for y, zy in zip(Y, w) if zx == zy) for Y, w in zip(b, z_b)]
        for X, z in zip(a, z_a)
    ]
    np.testing.assert_allclose(SumKernel(polynomial)(a, b, species_a=z_a, species_b=z_b), expected, rtol=1e-13)


@pytest.mark.usefixtures("_block_rows")
@pytest.mark.parametrize("kernel_class", KERNELS)
@pytest.mark.parametrize("with_species", [False, True])
def test_gram_matrix_is_symmetric_to_the_last_bit(kernel_class, with_species):
    structures = make_structures()
    K = kernel_class(polynomial)(structures, species_a=make_species(structures) if with_species else None)
    np.testing.assert_array_equal(K, K.T)


@pytest.mark.usefixtures("_block_rows")
@pytest.mark.parametrize("kernel_class", KERNELS)
def test_list_with_itself_equals_list_with_its_copy(kernel_class):
    structures = make_structures()
    options = {"threshold": 1e-26, "alpha": 0.5} if kernel_class is REMatchKernel else {}
    kernel = kernel_class(polynomial, **options)
    np.testing.assert_allclose(kernel(structures, structures), kernel(structures), atol=1e-11)


@pytest.mark.parametrize("kernel_class", [SumKernel, AverageKernel])
@pytest.mark.parametrize("local", [linear, polynomial, rbf])
def test_gram_matrix_is_positive_semi_definite(kernel_class, local):
    structures = make_structures(range(1, 21), n_features=3)
    eigenvalues = np.linalg.eigvalsh(kernel_class(local)(structures, species_a=make_species(structures)))
    assert eigenvalues[0] > -1e-13 * eigenvalues[-1]


@pytest.mark.parametrize("kernel_class", KERNELS)
def test_normalised_diagonal_is_one(kernel_class):
    structures = make_structures()
    K = kernel_class(polynomial, normalize=True)(structures)
    np.testing.assert_allclose(K.diagonal(), 1.0, rtol=0, atol=1e-15)
    assert np.all(K[~np.eye(len(K), dtype=bool)] < 1)


@given(st.randoms(use_true_random=False), st.sampled_from(KERNELS))
@settings(max_examples=25, deadline=None)
def test_order_of_atoms_does_not_matter(random, kernel_class):
    structures = make_structures()
    species = make_species(structures)
    orders = [random.sample(range(len(X)), len(X)) for X in structures]
    kernel = kernel_class(polynomial)
    shuffled = kernel([X[o] for X, o in zip(structures, orders)], species_a=[z[o] for z, o in zip(species, orders)])
    np.testing.assert_allclose(shuffled, kernel(structures, species_a=species), rtol=1e-12)


def test_sum_kernel_adds_under_concatenation():
    A, B, C = make_structures((3, 4, 5))
    K = SumKernel(polynomial)([A, B, np.vstack([A, B])], [C])
    assert K[2, 0] == pytest.approx(K[0, 0] + K[1, 0], rel=1e-13)


def test_average_kernel_does_not_see_a_supercell():
    A, B = make_structures((3, 4))
    K = AverageKernel(polynomial, normalize=False)([A, np.vstack([A, A])], [B])
    assert K[1, 0] == pytest.approx(K[0, 0], rel=1e-13)


@pytest.mark.parametrize("normalize", [True, False])
def test_rematch_becomes_the_average_for_large_alpha(normalize):
    structures = make_structures()
    average = AverageKernel(polynomial, normalize=normalize)(structures)
    distances = [
        np.abs(REMatchKernel(polynomial, alpha=alpha, normalize=normalize)(structures) - average).max()
        for alpha in (1e1, 1e3, 1e5)
    ]
    assert distances[0] > 1e-4
    assert distances[1] < 0.02 * distances[0]
    assert distances[2] < 0.02 * distances[1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("alpha", [1e-3, 1e-5])
def test_rematch_becomes_the_best_match_for_small_alpha(alpha, seed):
    # the entropy of a plan lies between that of a match, ln n, and 2 ln n: best - alpha ln n <= K <= best
    A, B = make_structures((6, 6), seed=seed)
    C = polynomial(A, B)
    best = C[linear_sum_assignment(-C)].mean()
    K = REMatchKernel(polynomial, alpha=alpha, threshold=1e-12, normalize=False)([A], [B])[0, 0]
    assert best - alpha * np.log(6) - 1e-9 < K < best + 1e-9


@pytest.mark.parametrize("alpha", [1e-3, 1e-6])
def test_rematch_of_a_permuted_copy_is_one_for_small_alpha(alpha):
    (A,) = make_structures((8,))
    K = REMatchKernel(polynomial, alpha=alpha, normalize=False)([A], [A[::-1]])
    assert K[0, 0] == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(("i", "j"), [(0, 2), (3, 5), (1, 4)])
def test_logarithms_and_exponentials_balance_to_the_same_plan(i, j):
    structures = make_structures()
    C = polynomial(structures[i], structures[j])
    K = REMatchKernel(polynomial, alpha=0.0055, normalize=False)([structures[i]], [structures[j]])  # exponents to 180
    P = (C - C.max()) / 0.0055
    assert log_plan(P, 1e-6, 10_000)
    assert np.sum(P * C) == pytest.approx(K[0, 0], rel=1e-12)
    np.testing.assert_allclose(P.sum(axis=1), 1 / len(P), rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.1, 1e-5])
def test_rematch_scales_with_the_local_kernel(alpha):
    # the plan depends on C / alpha only; here C is up to 1e4 and exp(C / alpha) would overflow
    structures = make_structures()
    K = REMatchKernel(linear, alpha=alpha, normalize=False)(structures)
    large = REMatchKernel(linear, alpha=1e4 * alpha, normalize=False)([100 * X for X in structures])
    np.testing.assert_allclose(large, 1e4 * K, rtol=1e-9)


def test_rematch_shifts_with_a_constant_added_to_the_local_kernel():
    structures = make_structures()
    K = REMatchKernel(polynomial, normalize=False)(structures)
    shifted = REMatchKernel(lambda X, Z: polynomial(X, Z) + 1000.0, normalize=False)(structures)
    np.testing.assert_allclose(shifted - 1000.0, K, atol=1e-9)


def test_rematch_warns_when_balancing_does_not_converge(monkeypatch):
    monkeypatch.setattr("gapkit.gaussian_process.structure_kernels._MAX_ITERATIONS", 3)
    with pytest.warns(UserWarning, match="did not reach threshold 1e-30 in 3 steps; raise alpha"):
        REMatchKernel(polynomial, threshold=1e-30)(make_structures())


def test_atoms_of_different_species_do_not_compare():
    A, B = make_structures((3, 4))
    for kernel in (SumKernel(polynomial), AverageKernel(polynomial), REMatchKernel(polynomial)):
        assert kernel([A], [B], species_a=[[1, 1, 1]], species_b=[[8, 8, 8, 8]])[0, 0] == 0
        same = kernel([A], [B], species_a=[[6, 6, 6]], species_b=[[6, 6, 6, 6]])
        np.testing.assert_allclose(same, kernel([A], [B]), rtol=1e-14)


def test_species_equal_features_padded_into_separate_columns():
    structures = make_structures()
    species = make_species(structures)
    padded = [np.hstack([X * (z == 1)[:, None], X * (z == 8)[:, None]]) for X, z in zip(structures, species)]
    for kernel in (SumKernel(linear), AverageKernel(linear), REMatchKernel(linear)):
        np.testing.assert_allclose(kernel(structures, species_a=species), kernel(padded), rtol=1e-12, atol=1e-14)


def test_gram_matrices_work_as_precomputed_kernels():
    # the average linear kernel is the linear kernel of the mean rows: scikit-learn must agree with that
    train, test = make_structures(range(1, 21)), make_structures((3, 5, 2), seed=9)
    kernel = AverageKernel(linear, normalize=False)
    K, K_test = kernel(train), kernel(test, train)
    means, means_test = (np.array([X.mean(axis=0) for X in s]) for s in (train, test))
    y = means[:, 0] ** 2
    ridge = KernelRidge(kernel="precomputed", alpha=1e-3).fit(K, y)
    reference = KernelRidge(kernel="linear", alpha=1e-3).fit(means, y)
    np.testing.assert_allclose(ridge.predict(K_test), reference.predict(means_test), rtol=1e-9)
    coordinates = KernelPCA(2, kernel="precomputed").fit_transform(K)
    np.testing.assert_allclose(np.abs(coordinates), np.abs(PCA(2).fit_transform(means)), atol=1e-10)
    labels = y > np.median(y)
    svc = SVC(kernel="precomputed", C=100).fit(K, labels)
    np.testing.assert_array_equal(
        svc.predict(K_test), SVC(kernel="linear", C=100).fit(means, labels).predict(means_test)
    )


@pytest.mark.parametrize("kernel_class", KERNELS)
def test_duplicates_are_permuted_copies_and_nothing_else(kernel_class):
    structures = make_structures()
    structures += [structures[2][::-1], structures[5][[3, 0, 1, 2, 6, 5, 4]], structures[2] * (1 + 1e-3)]
    structures[-1][0, 0] += 1e-3
    pairs = find_duplicates(structures, kernel_class(polynomial))
    assert [(i, j) for i, j, _ in pairs] == [(2, 6), (5, 7)]
    assert all(distance < 1e-7 for *_, distance in pairs)


def test_duplicates_carry_the_distance_of_the_normalised_kernel():
    A, B, C = make_structures((3, 3, 3))
    structures = [A, B, A + 1e-3 * B]
    K = AverageKernel(polynomial)(structures)
    ((i, j, distance),) = find_duplicates(structures, SumKernel(polynomial), tolerance=0.1)
    assert (i, j) == (0, 2)
    assert distance == pytest.approx(np.sqrt(2 - 2 * K[0, 2]), rel=1e-6)
    assert len(find_duplicates(structures, SumKernel(polynomial), tolerance=2.0)) == 3
    assert find_duplicates([A, B, C], SumKernel(polynomial)) == []


def test_duplicates_of_other_species_are_not_duplicates():
    (A,) = make_structures((3,))
    assert find_duplicates([A, A], AverageKernel(polynomial), species=[[1, 1, 8], [1, 8, 8]]) == []
    assert len(find_duplicates([A, A], AverageKernel(polynomial), species=[[1, 1, 8], [1, 1, 8]])) == 1


GOOD = make_structures((3, 4))
NAN = [GOOD[0], np.where(np.arange(4)[:, None] == 2, np.nan, GOOD[1])]


@pytest.mark.parametrize("kernel_class", KERNELS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "features_a holds no structures"),
        (([GOOD[0], np.zeros((0, 6))],), r"structure 1 of features_a is empty, its features have shape \(0, 6\)"),
        ((GOOD[0],), r"structure 0 of features_a has features of shape \(6,\); give a list of arrays"),
        (([GOOD[0], GOOD[1][:, :5]],), "structure 1 of features_a has 5 features per atom but structure 0 has 6"),
        ((GOOD, [GOOD[1][:, :5]]), "features_a has 6 features per atom but features_b 5"),
        ((NAN,), "structure 1 of features_a has NaN or infinite features at atom 2"),
        ((GOOD, NAN), "structure 1 of features_b has NaN or infinite features at atom 2"),
    ],
)
def test_bad_features_are_refused_in_one_sentence(kernel_class, arguments, message):
    with pytest.raises(InputError, match=message):
        kernel_class(linear)(*arguments)


@pytest.mark.parametrize(
    ("features_b", "options", "message"),
    [
        (None, {"species_a": [[1, 1, 1], [1, 1]]}, "species do not fit features_a at structure 1"),
        (None, {"species_a": [[1, 1, 1]]}, "species do not fit features_a at structure 1"),
        (None, {"species_a": [[1, 1, 1], [1.5, 1, 1, 1]]}, "must be whole atomic numbers, got values of type float64"),
        (None, {"species_b": [[1, 1, 1], [1, 1, 1, 1]]}, "species are given for only one of the two lists"),
        (GOOD, {"species_a": [[1, 1, 1], [1, 1, 1, 1]]}, "species are given for only one of the two lists"),
    ],
)
def test_bad_species_are_refused_in_one_sentence(features_b, options, message):
    with pytest.raises(InputError, match=message):
        AverageKernel(linear)(GOOD, features_b, **options)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (REMatchKernel(linear, alpha=0.0), "alpha of REMatchKernel must be a finite number above 0, got 0.0"),
        (REMatchKernel(linear, alpha=-1.0), "alpha of REMatchKernel must be a finite number above 0, got -1.0"),
        (REMatchKernel(linear, alpha=np.nan), "alpha of REMatchKernel must be a finite number above 0, got nan"),
        (REMatchKernel(linear, alpha=1e-300), "alpha = 1e-300 of REMatchKernel is too small for similarities"),
        (REMatchKernel(linear, threshold=0.0), "threshold of REMatchKernel must be a finite number above 0, got 0.0"),
        (AverageKernel(lambda X, Z: X), r"local kernel returned shape \(7, 6\) for 7 and 7 rows"),
        (AverageKernel(lambda X, Z: X @ Z.T * np.inf), "local kernel returned NaN or infinite values"),
        (AverageKernel(lambda X, Z: 0 * X @ Z.T), "structure 0 of features_a has similarity 0 with itself"),
    ],
)
def test_bad_kernels_are_refused_in_one_sentence(kernel, message):
    with pytest.raises(InputError, match=message):
        kernel(GOOD)


@pytest.mark.parametrize("tolerance", [0.0, -1e-6, np.nan])
def test_bad_tolerance_is_refused(tolerance):
    with pytest.raises(InputError, match="tolerance must be a finite number above 0"):
        find_duplicates(GOOD, AverageKernel(linear), tolerance)
