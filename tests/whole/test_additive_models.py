"""Everything that a fitted model can do, with sums of all kinds of terms: learning, updates, leaving out, choosing."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from example_structures import alloy, labelled, structures
from models_of_terms import GEOMETRIES_CHARGED, MODELS, S
from run_gapkit import gapkit

from gapkit import GAP, Linear, LongRange, Pair, Term, evaluate
from gapkit.active_learning.acquisition import most_wanted
from gapkit.evaluation.leave_one_out import leave_one_out
from gapkit.model_selection.learning_curve import with_fewer_sparse_points

FRAMES = [labelled(alloy(k), "even" if k % 2 == 0 else "odd") for k in range(8)]
ISOLATED = [labelled(Atoms(s, cell=[20] * 3, pbc=True), "isolated_atom") for s in S]
ALL = FRAMES + ISOLATED
ALL_CHARGED = FRAMES + [labelled(Atoms(s), "isolated_atom") for s in S]
NAMES = ("pair", "features", "sum", "soaps_mu2", "soaps_mu1nu1", "soaps_crossover", "long_range", "everything")


def made(name: str, **changes) -> GAP:
    return GAP(MODELS[name], 0.005, 0.05, 0.02, jitter=1e-9, verbose=False, **changes)


def is_charged(gap: GAP) -> bool:
    """Of sums over all images, which refuse slabs and cells of one species."""
    return any(isinstance(term, Linear) and isinstance(term.function, LongRange) for term in gap.terms)


def slab(gap: GAP) -> Atoms:
    return GEOMETRIES_CHARGED["slab"] if is_charged(gap) else structures()["slab"]


def data(gap: GAP) -> list[Atoms]:
    return ALL_CHARGED if is_charged(gap) else ALL


def forces(gap: GAP) -> np.ndarray:
    return gap.predict(slab(gap)).forces[0]


@pytest.fixture(scope="module", params=NAMES)
def gap(request) -> GAP:
    model = made(request.param)
    return model.fit(data(model))


def test_noises_and_all_amplitudes_are_learned(gap):
    """One δ for each term by the evidence, which does not fall; and the potential is that of a fit with them."""
    learned = copy.copy(gap).set_params(terms=list(gap.terms)).fit(data(gap), optimize=True)
    assert learned.posterior_.log_marginal_likelihood > gap.posterior_.log_marginal_likelihood
    old, new = ([t.delta for t in g.terms_] for g in (gap, learned))
    assert all(a != b for a, b in zip(old, new))
    again = GAP(list(learned.terms_), *learned.noise_[:3], jitter=1e-9, verbose=False).fit(data(gap))
    likelihoods = [g.posterior_.log_marginal_likelihood for g in (again, learned)]
    np.testing.assert_allclose(*likelihoods, rtol=1e-5)
    np.testing.assert_allclose(forces(learned), forces(again), atol=2e-5)
    assert evaluate(learned, FRAMES, return_std=False).summary()["forces"]["mae"] < 0.5


def test_frames_come_and_go(gap):
    """Fitted in two parts with the same sparse points, and without frames that were there: exactly refits."""
    some = copy.deepcopy(gap).remove(FRAMES[5:])
    assert np.abs(forces(some) - forces(gap)).max() > 1e-5
    np.testing.assert_allclose(forces(some.partial_fit(FRAMES[5:])), forces(gap), atol=1e-6)


def test_more_sparse_points_only_where_they_help(gap):
    kernels = sum(isinstance(t, Term) for t in gap.terms)
    more = copy.deepcopy(gap).add_sparse_points(data(gap), 2)
    assert len(gap.alpha_) + kernels <= len(more.alpha_) <= len(gap.alpha_) + 4 * kernels
    assert np.all(np.isfinite(forces(more)))


def test_fewer_sparse_points(gap):
    small = with_fewer_sparse_points(gap, 3)
    kernels = sum(isinstance(t, Term) for t in gap.terms)
    features = sum(len(b.X) for b in gap.blocks_ if gap.terms_[b.term].environment_descriptor is None)
    assert len(small.alpha_) == features + 6 * kernels
    assert np.all(np.isfinite(forces(small)))


def test_left_out_frames_are_those_of_refits(gap):
    loo = leave_one_out(gap, data(gap))
    without = copy.deepcopy(gap).remove([FRAMES[2]])
    p = without.predict(FRAMES[2])
    comparison = loo.comparisons["forces"]
    own = comparison.predicted[comparison.structure == 2]
    np.testing.assert_allclose(own, p.forces[0].ravel(), atol=1e-5)


def test_most_wanted_takes_all_terms(gap):
    found = most_wanted(gap, [slab(gap), FRAMES[0], structures()["cluster"]], n=2)
    assert found.choices[0].number in (0, 2)
    assert found.choices[0].reduction > 0


def test_streams_of_files_and_models_to_be_continued(gap, tmp_path):
    write(tmp_path / "train.xyz", data(gap))
    streamed = copy.copy(gap).set_params(terms=list(gap.terms)).fit(tmp_path / "train.xyz", max_memory="2GiB")
    np.testing.assert_allclose(forces(streamed), forces(gap), atol=1e-5)
    gap.save(tmp_path / "m.gap", updatable=True)
    loaded = GAP.load(tmp_path / "m.gap")
    np.testing.assert_array_equal(forces(loaded), forces(gap))
    np.testing.assert_allclose(
        forces(loaded.remove(FRAMES[5:])), forces(copy.deepcopy(gap).remove(FRAMES[5:])), atol=1e-6
    )


def test_unknown_species_are_refused_without_sparse_points_of_species():
    gap = made("pair", e0={"Cu": 0.0, "Au": 0.0, "H": 0.0}).fit(ALL)
    assert gap.species_ == ("Cu", "Au")
    with pytest.raises(ValueError, match="holds H, but"):
        gap.predict(Atoms("CuH", [[0, 0, 0], [0, 0, 1.6]]))


CONFIG = """
terms:
- {type: Pair, cutoff: 4.6, length_scale: 1.2}
- {type: Triplet, cutoff: 3.3, n_sparse: 10}
- {type: Linear, function: {type: Composition}, delta: 0.3}
- {descriptor: {type: ACSF, cutoff: 4}, kernel: {type: SquaredExponential}, n_sparse: 5}
- {type: Term, descriptor: {type: SOAP, cutoff: 4, n_max: 3, l_max: 2}, n_sparse: 6}
forces_noise: 0.05
"""


def test_the_command_takes_a_configuration_of_all_terms(tmp_path):
    write(tmp_path / "train.xyz", ALL)
    (tmp_path / "model.yaml").write_text(CONFIG, encoding="utf-8")
    run = gapkit("fit", tmp_path / "train.xyz", "-o", tmp_path / "a.gap", "--config", tmp_path / "model.yaml")
    assert run.code == 0, run.err
    for word in ("Pair(", "Triplet(", "Linear(", "ACSF(", "SOAP("):
        assert word in run.out
    gap = GAP.load(tmp_path / "a.gap")
    assert gap.terms[0] == Pair(["Au", "Cu"], 4.6, length_scale=1.2)
    info = gapkit("info", tmp_path / "a.gap")
    assert info.code == 0, info.err
    assert "Term 2: term" in info.out
    assert gapkit("evaluate", tmp_path / "a.gap", tmp_path / "train.xyz").code == 0
    assert "nearly dependent" not in run.err
