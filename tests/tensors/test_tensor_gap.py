from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from sklearn.base import clone
from tensor_labels import labelled, molecules, turned, turned_value

from gapkit import GAP, SOAP, DotProduct, InputError, TensorGAP, TensorTerm, Term, set_num_threads
from gapkit.tensors import fit, rows
from gapkit.tensors.rows import Structure
from gapkit.tensors.targets import Target

pytestmark = pytest.mark.filterwarnings("ignore:n_sparse = ")  # small sets have fewer environments

NAMES = ("CH3OH", "NH3", "H2O", "CH3CHO")
SPECIES = ["H", "C", "N", "O"]
AXIAL = Target("axial", 1, pseudo=True)
RANK = {"dipole": 1, "polarizability": 2, "born_charges": 2, "scalar": 0, "charges": 0, "axial": 1}
TARGETS = ["dipole", "polarizability", "born_charges", "charges", "scalar", AXIAL]


def a_soap(**parameters):
    return SOAP(SPECIES, **{"cutoff": 3.5, "n_max": 4, "l_max": 3, "atom_sigma": 0.4, "smoothness": 2, **parameters})


def fitted(target, n=24, **parameters):
    terms = [TensorTerm(a_soap(), 2, delta=1.0, n_sparse=12)]
    gap = TensorGAP(terms, target, **{"noise": 0.003, "verbose": False, **parameters})
    return gap.fit(molecules(NAMES, n))


@pytest.fixture(scope="module")
def models():
    return {target if isinstance(target, str) else target.name: fitted(target) for target in TARGETS}


def label(atoms, name):
    return atoms.arrays[name] if name in atoms.arrays else atoms.info[name]


def value(gap, atoms):
    return np.asarray(gap.predict(atoms).values[0])


@pytest.mark.parametrize("name", RANK)
def test_it_learns(models, name):
    test = molecules(NAMES, 12, seed=9)
    p = models[name].predict(test)
    errors = np.concatenate([np.ravel(v - label(a, name)) for v, a in zip(p.values, test)])
    mean = 0.0 if name in ("dipole", "axial") else None
    known = [np.ravel(label(a, name)) for a in test]
    size = np.concatenate([k - (np.mean(np.concatenate(known)) if mean is None else 0.0) for k in known])
    assert np.sqrt(np.mean(errors**2)) < 0.3 * np.sqrt(np.mean(size**2))


@pytest.mark.parametrize("name", RANK)
@pytest.mark.parametrize("sign", [1, -1])
def test_predictions_turn(models, name, sign):
    R, atoms = sign * Rotation.random(rng=3).as_matrix(), molecules(["CH3OH"], 1, seed=5)[0]
    p, after = models[name].predict(atoms, return_std=True), models[name].predict(turned(atoms, R), return_std=True)
    expected = turned_value(p.values[0], R, RANK[name]) * (sign if name == "axial" else 1)
    assert np.linalg.norm(value(models[name], atoms)) > 1e-3
    assert np.abs(after.values[0] - expected).max() < 1e-9 * np.abs(p.values[0]).max()
    traces = [np.trace(_full(models[name], x.covariance[0]), axis1=-2, axis2=-1) for x in (p, after)]
    assert np.allclose(*traces, rtol=1e-5)


def _full(gap, covariance):
    """Weighted so that its trace is that of all Cartesian components."""
    weights = np.array([1, 1, 1, 2, 2, 2]) ** 0.5 if gap.target_.is_symmetric else np.ones(covariance.shape[-1])
    return covariance * weights * weights[:, None]


def test_covariances_turn(models):
    R, atoms = Rotation.random(rng=3).as_matrix(), molecules(["CH3OH"], 1, seed=5)[0]
    C, after = (models["dipole"].predict(a, return_std=True).covariance[0] for a in (atoms, turned(atoms, R)))
    assert np.abs(after - R @ C @ R.T).max() < 1e-6 * np.abs(C).max()


@pytest.mark.parametrize("names", [["H2O"], ["CO2", "CH4", "H2O"]])
def test_predictions_turn_where_symmetry_leaves_components_out(names):
    """Planar, linear and tetrahedral molecules: blocks of K_mm without full rank, some of round-off alone."""
    frames = molecules(names, 12, size=0.0 if len(names) > 1 else 0.08)
    with pytest.warns(UserWarning, match="all selected"):
        gap = TensorGAP([TensorTerm(a_soap(), 2, n_sparse=40)], noise=1e-3, verbose=False).fit(frames)
    for k in range(len(names)):
        R, atoms = Rotation.random(rng=k).as_matrix(), frames[k]
        p, after = (gap.predict(a, return_std=True) for a in (atoms, turned(atoms, R)))
        size = max(np.abs(p.values).max(), 1e-3)
        assert np.abs(after.values[0] - R @ p.values[0]).max() < 1e-9 * size
        C = R @ p.covariance[0] @ R.T
        assert np.abs(after.covariance[0] - C).max() < 1e-6 * np.abs(C).max() + 1e-12


@pytest.mark.parametrize("name", RANK)
def test_order_of_atoms_and_translations_do_not_matter(models, name):
    atoms = molecules(["CH3CHO"], 1, seed=6)[0]
    order = np.random.default_rng(0).permutation(len(atoms))
    moved = atoms[order]
    moved.positions += [10.0, -3.0, 0.5]
    expected = value(models[name], atoms)
    if models[name].target_.of == "atom":
        expected = expected[order]
    assert np.abs(value(models[name], moved) - expected).max() < 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["dipole", "polarizability", "scalar"])
def test_far_molecules_add_up(models, name):
    a, b = molecules(["CH3OH", "NH3"], 2, seed=7)
    b.positions += [50.0, 0.0, 0.0]
    together = Atoms(a) + Atoms(b)
    sum_ = value(models[name], a) + value(models[name], b)
    assert np.abs(value(models[name], together) - sum_).max() < 1e-9 * np.abs(sum_).max()


def test_continuous_and_smooth_at_the_cutoff(models):
    """The third neighbour of a molecule passes the cutoff: values and slopes go over into those without it."""
    atoms, far = molecules(["NH3"], 1, seed=8)[0], Atoms("O", [[0, 0, 0]])

    def at(distance):
        other = far.copy()
        other.positions[:] = atoms.positions[0] + [0, 0, distance]
        return Atoms(atoms) + other

    for name in ("dipole", "polarizability"):
        gap = models[name]
        steps = [np.abs(value(gap, at(3.5 + h)) - value(gap, at(3.5 - h))).max() for h in (1e-7, 0.5)]
        slopes = [gap.derivatives(at(3.5 + h)) for h in (1e-5, -1e-5)]
        assert steps[0] < 1e-6 * steps[1]
        assert np.abs(slopes[0] - slopes[1]).max() < 1e-4 * np.abs(slopes[0]).max()


@pytest.mark.parametrize("name", ["dipole", "polarizability", "scalar", "axial"])
def test_derivatives(models, name):
    gap, atoms = models[name], molecules(["CH3OH"], 1, seed=5)[0]
    exact = gap.derivatives(atoms)
    assert exact.shape == (*gap.target_.shape, len(atoms), 3)
    assert np.abs(exact.sum(axis=-2)).max() < 1e-9 * np.abs(exact).max()
    h = 1e-3
    for i in range(len(atoms)):
        for b in range(3):
            ends = []
            for k in (-2, -1, 1, 2):
                moved = atoms.copy()
                moved.positions[i, b] += k * h
                ends.append(value(gap, moved))
            numerical = (8 * (ends[2] - ends[1]) - (ends[3] - ends[0])) / (12 * h)
            assert np.abs(exact[..., i, b] - numerical).max() < 1e-6 * np.abs(exact).max()


def test_derivatives_of_atoms_are_refused(models):
    with pytest.raises(InputError, match="belong to atoms"):
        models["born_charges"].derivatives(molecule("H2O"))


@pytest.mark.parametrize("target", ["dipole", "polarizability", "born_charges"])
def test_dense_is_sparse_when_all_environments_are_sparse_points(target):
    """Posterior mean and covariance from the formulas of a dense Gaussian process with the kernel of all pairs."""
    # generic environments: planar or symmetric ones would make K_mm singular
    frames, test = molecules(["NH3", "CH3OH"], 4, size=0.15), molecules(["NH3"], 2, seed=4)
    terms = [TensorTerm(a_soap(n_max=3, l_max=3), 2, delta=0.7, n_sparse=1000)]
    with pytest.warns(UserWarning, match="all selected"):
        gap = TensorGAP(terms, target, noise=0.05, jitter=1e-13, verbose=False).fit(frames)
    everything = gap.target_.of == "atom"
    p = gap.predict(test, return_std=True)
    structures = [Structure(terms, Atoms(a)) for a in (*frames, *test)]
    parts, covariances = [{} for _ in test], [{} for _ in test]
    for model in gap.models_:
        order, size = model.columns.order, model.columns.order.size
        K = _dense(terms[0], structures, order, 0.7, everything)
        y = np.concatenate([np.ravel(f) for f in _targets(gap, frames, order)])
        n, at = len(y), len(y)
        A = np.linalg.inv(K[:n, :n] + 0.05**2 * np.eye(n))
        for k, atoms in enumerate(test):
            own = slice(at, at + size * (len(atoms) if everything else 1))
            at = own.stop
            mean = K[own, :n] @ A @ y
            C = K[own, own] - K[own, :n] @ A @ K[:n, own]
            mean = mean.reshape(-1, size) if everything else mean
            parts[k][order] = mean + (gap.field_.offset(atoms.numbers) if order.order == 0 else 0.0)
            blocks = C.reshape(-1, size, C.shape[0] // size, size)
            covariances[k][order] = np.array([blocks[i, :, i] for i in range(len(blocks))]) if everything else C
    for k in range(len(test)):
        expected = gap.target_.values(parts[k])
        assert np.abs(p.values[k] - expected).max() < 1e-6 * np.abs(expected).max()
        expected = gap.target_.covariance(covariances[k])
        assert np.abs(p.covariance[k] - expected).max() < 1e-5 * np.abs(expected).max()


def _targets(gap, frames, order):
    for atoms in frames:
        part = gap.target_.parts(label(atoms, gap.target_.name))[order]
        yield part - (gap.field_.offset(atoms.numbers) if order.order == 0 else 0.0)


def _dense(term, structures, order, delta, everything):
    """Covariance of all labels by the definition: sums over pairs of environments of equal species."""
    V, q, z, owner = [], [], [], []
    for k, s in enumerate(structures):
        own = {}
        for number in np.unique(s.numbers):
            for c in s.centres(0, number, order):
                own |= {i: (c.points.V[m].copy(), c.points.Q[m].copy()) for m, i in enumerate(c.which)}
        for i in range(s.n_atoms):
            V.append(own[i][0]), q.append(own[i][1]), z.append(s.numbers[i]), owner.append(k)
    V, q, z, owner, size = np.array(V), np.array(q), np.array(z), np.array(owner), order.size
    K = np.einsum("iaf,jbf->iajb", V, V) * ((q @ q.T) ** (term.zeta - 1) * (z[:, None] == z))[:, None, :, None]
    K = delta**2 * K.reshape(len(z) * size, -1)
    if everything:
        return K
    P = np.kron(np.eye(len(structures))[owner], np.eye(size))
    return P.T @ K @ P


def test_order_zero_is_the_ordinary_model():
    """Scalars of the sum are GAP's energies: same sparse points, same weights, same error bars."""
    frames = molecules(["CH3OH"], 12)
    energies = []
    for atoms in frames:
        new = Atoms(atoms)
        new.calc = SinglePointCalculator(new, energy=float(atoms.info["scalar"]))
        energies.append(new)
    e0 = {"H": 0.1, "C": 0.2, "O": -0.3}
    soap = SOAP(["H", "C", "O"], 3.5, 4, 3, 0.4, 2)
    gap = GAP([Term(soap, DotProduct(3, 0.8), 10)], energy_noise=0.002, e0=e0, verbose=False).fit(energies)
    own = TensorGAP([TensorTerm(soap, 3, 0.8, 10)], "scalar", noise=0.002 * 6, offsets=e0, verbose=False)
    own.fit(frames, key="scalar")
    test = molecules(["CH3OH"], 5, seed=3)
    expected, p = gap.predict(test, return_std=True), own.predict(test, return_std=True)
    for block, twin in zip(own.blocks_, gap.blocks_):
        assert np.array_equal(block.Q, twin.X)
    assert np.allclose(p.values, expected.energy, rtol=1e-10, atol=1e-10)
    assert np.allclose(p.std, expected.energy_std, rtol=1e-6)
    assert own.log_marginal_likelihood_ == pytest.approx(gap.posterior_.log_marginal_likelihood, rel=1e-9)
    assert np.allclose(own.derivatives(test[0]), -expected.forces[0], rtol=1e-8, atol=1e-8)


def test_files_lists_and_iterators_are_the_same(tmp_path):
    frames = molecules(["CH3OH", "NH3"], 8)
    for atoms in frames:
        atoms.info = {"REF_mu": atoms.info["dipole"]}
        atoms.arrays = {k: atoms.arrays[k] for k in ("numbers", "positions")}
    write(tmp_path / "frames.xyz", frames)
    test = molecules(["NH3"], 1, seed=2)
    terms = [TensorTerm(a_soap(n_max=3, l_max=2), 1, n_sparse=6)]
    values = [
        TensorGAP(terms, verbose=False).fit(source).predict(test).values
        for source in (frames, iter(frames), str(tmp_path / "frames.xyz"))
    ]
    assert np.array_equal(values[0], values[1])
    assert np.allclose(values[0], values[2], atol=1e-6)


@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(["dipole", "polarizability", "born_charges", "axial"]),
    molecule_name=st.sampled_from(NAMES),
    sign=st.sampled_from([1, -1]),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_molecule_turned_any_way(models, seed, name, molecule_name, sign):
    atoms = molecules([molecule_name], 1, seed=seed, size=0.15)[0]
    R = sign * Rotation.random(rng=seed).as_matrix()
    before, after = value(models[name], atoms), value(models[name], turned(atoms, R))
    expected = turned_value(before, R, RANK[name]) * (sign if name == "axial" else 1)
    assert np.abs(after - expected).max() < 1e-9 * max(np.abs(before).max(), 0.1)


def test_threads_do_not_matter():
    frames, found = molecules(NAMES, 10), []
    for n in (1, 3):
        set_num_threads(n)
        try:
            gap = fitted("polarizability", 10)
            found.append((gap.models_[1].posterior.alpha, gap.predict(frames, return_std=True).covariance))
        finally:
            set_num_threads(None)
    assert np.array_equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1])


def test_large_structures_are_done_in_parts(models, monkeypatch):
    """What is kept of small structures, and cut of large ones, changes nothing."""
    atoms = Atoms()
    for k, part in enumerate(molecules(NAMES, 20, seed=3)):
        part.positions += [6.0 * k, 0.0, 0.0]
        atoms += Atoms(part)
    for name in ("polarizability", "born_charges"):
        whole = models[name].predict(atoms, return_std=True)
        monkeypatch.setattr(rows, "TOGETHER", 7)
        monkeypatch.setattr(rows, "KEPT_BYTES", 0)
        parts = models[name].predict(atoms, return_std=True)
        monkeypatch.undo()
        assert np.allclose(parts.values[0], whole.values[0], rtol=1e-10, atol=1e-12)
        assert np.allclose(parts.covariance[0], whole.covariance[0], rtol=1e-6, atol=1e-12)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_frames_of_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "POOL_BYTES", 1)  # else candidates are held up to 512 MB
    frames = molecules(["NH3"], 60)
    for atoms in frames:
        atoms.info = {"dipole": atoms.info["dipole"]}
        atoms.arrays = {k: atoms.arrays[k] for k in ("numbers", "positions")}
    peaks = []
    for n in (1, 6, 12):  # the first compiles; 1024 rows may wait to be folded
        write(tmp_path / f"{n}.xyz", frames * n)
        terms = [TensorTerm(SOAP(["H", "N"], 3.0, 4, 3, 0.4, 2), 2, 1.0, 20)]
        gap = TensorGAP(terms, noise=0.01, verbose=False)
        tracemalloc.start()
        assert gap.fit(tmp_path / f"{n}.xyz").n_structures_ == 60 * n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.1 * peaks[1]


def test_samples_scatter_as_the_posterior(models):
    gap, atoms = models["polarizability"], molecules(["CH3OH"], 1, seed=5)[0]
    (draws,) = gap.sample(4000, 1).predict(atoms)
    assert draws.shape == (4000, 3, 3)
    assert np.abs(draws - draws.transpose(0, 2, 1)).max() < 1e-9
    mean = value(gap, atoms)
    spread = draws.std(axis=0)
    assert np.all(np.abs(draws.mean(axis=0) - mean) < 5 * spread / np.sqrt(4000) + 1e-12)
    assert np.all(spread < 1.05 * gap.predict(atoms, return_std=True).std[0])  # the prior residual comes on top
    with pytest.raises(InputError, match="positive whole number"):
        gap.sample(0)


def test_charged_dipoles_move_with_the_origin():
    frames = molecules(["NH3"], 10)
    for atoms in frames:
        atoms.info["charge"] = 1.0
        atoms.info["dipole"] = atoms.info["dipole"] + atoms.get_center_of_mass()
    terms = [TensorTerm(a_soap(n_max=3, l_max=2), 1, n_sparse=6)]
    gap = TensorGAP(terms, unit="e*Å", noise=1e-3, verbose=False).fit(frames)
    atoms = frames[0].copy()
    before, shift = value(gap, atoms), np.array([1.0, 2.0, -3.0])
    atoms.positions += shift
    assert np.allclose(value(gap, atoms) - before, shift, atol=1e-10)
    assert np.allclose(gap.derivatives(atoms).sum(axis=1), np.eye(3), atol=1e-10)
    assert np.abs(before - frames[0].info["dipole"]).max() < 0.1
    atoms.info["charge"] = 0.0
    assert np.allclose(value(gap, atoms), before - frames[0].get_center_of_mass(), atol=1e-10)


def test_evidence_finds_the_noise():
    frames, rng = molecules(["CH3OH", "NH3", "H2O"], 60), np.random.default_rng(0)
    for atoms in frames:
        atoms.info["dipole"] = atoms.info["dipole"] + rng.normal(0, 0.05, 3)
    terms = [TensorTerm(a_soap(), 2, n_sparse=40)]
    gap = TensorGAP(terms, verbose=False).fit(frames)
    assert gap.noise_[1] == pytest.approx(0.05, rel=0.3)
    assert {row["name"] for row in gap.hyperparameters_} == {"noise[1]", "delta[1]"}
    given = TensorGAP(terms, noise=0.05, verbose=False).fit(frames, optimize=False)
    assert given.noise_[1] == 0.05
    assert not given.hyperparameters_
    assert given.log_marginal_likelihood_ < gap.log_marginal_likelihood_


def test_two_terms_add_up():
    frames = molecules(["CH3OH"], 12)
    terms = [
        TensorTerm(a_soap(), 2, n_sparse=8),
        TensorTerm(a_soap(cutoff=2.5, n_max=3, l_max=2, compression="mu2"), 1, n_sparse={"H": 4, "C": 0, "O": 3}),
    ]
    gap = TensorGAP(terms, "polarizability", verbose=False).fit(frames)
    assert {(b.term, b.number) for b in gap.blocks_} == {(0, 1), (0, 6), (0, 8), (1, 1), (1, 8)}
    spread = np.std([a.info["polarizability"] for a in frames], axis=0)
    assert gap.score(frames) > -0.5 * np.linalg.norm(spread)
    assert set(gap.deltas_) == {0, 2}
    assert all(len(d) == 2 for d in gap.deltas_.values())


def test_presets_and_parameters():
    gap = TensorGAP.preset("molecule", ["H", "O"], target="dipole", n_sparse=7, noise=0.1, verbose=False)
    assert gap.terms[0].n_sparse == 7
    assert gap.get_params()["terms__0__descriptor__l_max"] == 6
    assert clone(gap).set_params(terms__0__zeta=3).terms[0].zeta == 3
    frames = molecules(["H2O"], 5)
    assert gap.fit(frames).predict(frames).values.shape == (5, 3)
    for bad, words in [
        (("molecul", ["H"]), "did you mean 'molecule'"),
        (("molecule", ["Hx"]), "unknown species"),
    ]:
        with pytest.raises(InputError, match=words):
            TensorGAP.preset(*bad)
    with pytest.raises(InputError, match="cutof"):
        TensorGAP.preset("molecule", ["H"], cutof=4.0)
    with pytest.raises(InputError, match="dipolx"):
        TensorGAP.preset("molecule", ["H"], target="dipolx")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"terms": None}, "non-empty list of TensorTerm"),
        ({"terms": [TensorTerm(SOAP(["H"], engine="dscribe"))]}, "engine"),
        ({"terms": [TensorTerm(SOAP(["H"]), zeta=1.5)]}, "zeta"),
        ({"terms": [TensorTerm(SOAP(["H"]), delta=-1.0)]}, "delta"),
        ({"terms": [TensorTerm(SOAP(["H"]), n_sparse=0)]}, "n_sparse"),
        ({"terms": [TensorTerm(SOAP(["H"]), orders=[4])]}, "orders"),
        ({"noise": 0.0}, "noise"),
        ({"noise": float("nan")}, "noise"),
        ({"target": "dipolo"}, "did you mean 'dipole'"),
        ({"unit": "furlong"}, "unit"),
        ({"label_origin": "moon"}, "label_origin"),
        ({"charge": "one"}, "charge"),
        ({"offsets": {"H": 1.0}}, "no isotropic part"),
        ({"random_state": -1}, "random_state"),
        ({"terms": [TensorTerm(SOAP(["H"]))]}, "add N to SOAP"),
        ({"terms": [TensorTerm(a_soap(), orders=[2])]}, "no term takes part"),
    ],
)
def test_refusals(parameters, words):
    given = {"terms": [TensorTerm(a_soap(n_max=2, l_max=1), n_sparse=3)], "verbose": False, **parameters}
    with pytest.raises(InputError, match=words):
        TensorGAP(**given).fit(molecules(["NH3"], 2))


def test_refusals_of_structures(models):
    with pytest.raises(InputError, match="unknown to the training frames"):
        models["dipole"].predict(molecule("SiH4"))
    with pytest.raises(InputError, match="is empty"):
        models["dipole"].predict([])
    with pytest.raises(InputError, match="give a list"):
        fitted("dipole").fit(molecule("H2O"))
    with pytest.raises(InputError, match="optimize"):
        fitted("dipole").fit([labelled(molecule("H2O"))], optimize="nois")
