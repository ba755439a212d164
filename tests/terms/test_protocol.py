"""A third kind of term, in a file of its own, takes part in everything: fits, error bars, files, updates, reports."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import laws
import numpy as np
import pytest
from ase import Atoms
from coordination_term import Coordination
from example_structures import alloy, labelled, structures

import gapkit
from gapkit import (
    GAP,
    SOAP,
    DotProduct,
    GAPCalculator,
    InputError,
    Pair,
    Term,
    joint_posterior,
    leave_one_out,
)
from gapkit.model_selection.learning_curve import learning_curve
from gapkit.report.model_card import describe_model
from gapkit.terms.basis import Basis
from gapkit.terms.protocol import AdditiveTerm, term_type
from gapkit.terms.serialisation import term_from_dict, term_to_dict

S = ("Cu", "Au")
TOY = Coordination(S, 4.2, delta=1.5)
SUMS = {
    "alone": [TOY],
    "sum": [Pair(S, 4.0), TOY, Term(SOAP(S, 3.6, 3, 2, smoothness=2), DotProduct(2, 1.0), n_sparse=8)],
}
FRAMES = [labelled(alloy(k, rattle=0.1 if k else 0.3)) for k in range(6)]


def model(name: str, **changes) -> GAP:
    return GAP(SUMS[name], 0.01, 0.1, 0.05, e0={"Cu": 0.0, "Au": 0.0}, jitter=1e-9, verbose=False, **changes)


@pytest.fixture(scope="module", params=SUMS)
def gap(request) -> GAP:
    return model(request.param).fit(FRAMES)


@pytest.fixture(scope="module")
def alone() -> GAP:
    return model("alone").fit(FRAMES)


def largest_difference(one: GAP, other: GAP) -> float:
    p, q = (g.predict([alloy(20, rattle=0.04), alloy(21, rattle=0.04)], return_std="all") for g in (one, other))
    pairs = [
        (p.energy, q.energy),
        (p.energy_std, q.energy_std),
        *zip(p.forces, q.forces),
        *zip(p.stress_std, q.stress_std),
    ]
    return max(float(np.abs(a - b).max()) for a, b in [*pairs, *zip(p.forces_std, q.forces_std)])


def test_its_one_block_serves_all_species(alone):
    """K_mm couples what sodium-like and chlorine-like atoms have taught: atoms of one species inform the other."""
    assert [block.key for block in alone.blocks_] == [0]
    assert alone.species_ == ("Cu", "Au")
    K = alone.basis_.K_mm()
    assert np.abs(K - np.diag(np.diag(K))).max() > 0.1 * K.max()


@pytest.mark.parametrize("name", structures())
def test_derivatives_are_those_of_energy_differences(gap, name):
    atoms, predict = structures()[name], laws.predictor(gap)
    laws.check_forces(predict, atoms, atol=1e-6)
    if atoms.pbc.all():
        laws.check_stress(predict, atoms, atol=1e-6)


def test_invariances(gap):
    predict, atoms = laws.predictor(gap), structures()["alloy"]
    for check in (laws.check_momentum, laws.check_rotation, laws.check_permutation, laws.check_lattice_translation):
        check(predict, atoms)
    laws.check_additivity(predict, structures()["cluster"], Atoms("AuCu", [[0, 0, 0], [2.5, 0, 0]]), 4.2)


def test_the_posterior_is_that_of_dense_algebra(alone):
    """Joint covariances of two structures from explicit matrices: K_tt - K_tm (K_mm⁻¹ - A⁻¹) K_mt."""
    frames = [alloy(30), structures()["cluster"]]
    outputs = ("energy", "local_energies", "forces")
    found = joint_posterior(alone, frames, outputs)
    (block,), rows, A_, B_ = alone.blocks_, [], [], []
    c_all = []
    for atoms in frames:
        nb = alone.basis_.environments(atoms).neighbourhoods[0]
        c, G, _ = TOY._coordination(nb)
        n = len(c)
        A_.append(np.vstack([np.ones(n), np.eye(n), np.zeros((3 * n, n))]))
        B_.append(np.vstack([np.zeros((1 + n, n)), -G.reshape(3 * n, n)]))
        rows.append(A_[-1] @ TOY._k(c, block.X[:, 0]) + B_[-1] @ TOY._k(c, block.X[:, 0], 1))
        c_all.append(c)
    K_tm = np.vstack(rows)
    parts = [
        [
            A @ TOY._k(c, d) @ E.T + B @ TOY._k(c, d, 1) @ E.T - A @ TOY._k(c, d, 1) @ F.T + B @ TOY._k(c, d, 2) @ F.T
            for d, E, F in zip(c_all, A_, B_)
        ]
        for c, A, B in zip(c_all, A_, B_)
    ]
    expected = alone.posterior_.covariance(K_tm, np.block(parts))
    np.testing.assert_allclose(found.covariance, expected, atol=1e-10 * np.abs(expected).max() + 1e-12)


def test_standard_deviations_agree_whichever_way_they_are_made(gap):
    atoms = alloy(31)
    p, joint = gap.predict(atoms, return_std="all"), joint_posterior(gap, atoms, ("energy", "forces", "stress"))
    stress = p.stress_std[0][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    expected = np.concatenate([p.energy_std, p.forces_std[0].ravel(), stress])
    np.testing.assert_allclose(joint.std, expected, rtol=1e-5, atol=1e-9)
    local = joint_posterior(gap, atoms, ("local_energies",))
    np.testing.assert_allclose(local.std, p.local_energies_std[0], rtol=1e-6)


def test_samples_files_and_calculators_take_it(gap, tmp_path):
    members, atoms = gap.sample(3), alloy(32)
    found = members.predict(atoms)
    np.testing.assert_allclose(found.forces[1], members.member(1).predict(atoms).forces[0], atol=1e-8)
    gap.save(tmp_path / "m.gap", updatable=True)
    loaded = GAP.load(tmp_path / "m.gap")
    assert largest_difference(loaded, gap) == 0.0
    assert [term_to_dict(term) for term in loaded.terms_] == [term_to_dict(term) for term in gap.terms_]
    atoms.calc = GAPCalculator(loaded)
    np.testing.assert_allclose(atoms.get_forces(), gap.predict(alloy(32)).forces[0], atol=1e-10)


def test_updates_equal_fits(gap):
    name = "alone" if len(gap.terms_) == 1 else "sum"
    grown = model(name).fit(FRAMES[:6]).partial_fit([labelled(alloy(40))])
    more = (
        model(name)
        .fit(FRAMES[:6])
        .partial_fit([labelled(alloy(40)), labelled(alloy(41))])
        .remove([labelled(alloy(41))])
    )
    assert largest_difference(grown, more) < 1e-6
    assert largest_difference(gap, grown) > 1e-6


def test_leaving_frames_out_equals_refits(alone):
    """The closed form against a fit without the frame, with the same functions."""
    found = leave_one_out(alone, FRAMES)
    without = model("alone").fit(FRAMES).remove([FRAMES[2]])
    energies = found.comparisons["energy"]
    predicted = energies.predicted[energies.structure == 2][0]
    np.testing.assert_allclose(predicted, without.predict(FRAMES[2]).energy[0] / 4, atol=1e-8)


def test_amplitudes_are_learned_by_the_evidence(gap):
    name = "alone" if len(gap.terms_) == 1 else "sum"
    learned = model(name).fit(FRAMES, optimize=["noise", "delta"])
    assert learned.posterior_.log_marginal_likelihood > gap.posterior_.log_marginal_likelihood
    assert learned.terms_[0].delta != gap.terms_[0].delta


def test_parts_reports_and_learning_curves_name_it(gap):
    parts = gap.decompose(FRAMES[:2])
    total = sum(part.forces[1] for part in parts.parts)
    np.testing.assert_allclose(total, gap.predict(FRAMES[1]).forces[0], atol=1e-9)
    assert "Coordination" in [part.name for part in parts.parts]
    assert any("Coordination" in row for row in describe_model(gap).values())
    if len(gap.terms_) > 1:
        curve = learning_curve(gap, FRAMES, [4, 8], FRAMES[:2])
        assert curve.points[0].n_columns < curve.points[1].n_columns


def test_settings_name_it_and_refuse_what_it_does_not_know():
    data = json.loads(json.dumps(term_to_dict(TOY)))
    assert data["type"] == "Coordination"
    assert term_from_dict(data) == replace(TOY, species=list(S))
    with pytest.raises(InputError, match=r"has no parameter 'cutof' \(did you mean 'cutoff'"):
        term_from_dict({"type": "Coordination", "species": ["Cu"], "cutof": 3.0})
    with pytest.raises(InputError, match="there is a term 'Coordination' already"):
        term_type(type("Coordination", (Coordination,), {}))


def test_nobody_outside_asks_what_a_term_is():
    """No isinstance of a kind of term, and no key of a block read, outside gapkit/terms."""
    kinds = r"isinstance\([^()]*(?:\([^()]*\)[^()]*)*\b(Term|FeatureTerm|CentreTerm|Pair|Triplet|Linear)\b"
    for path in Path(gapkit.__file__).parent.rglob("*.py"):
        if path.parent.name != "terms":
            text = path.read_text(encoding="utf-8")
            assert not re.search(kinds, text), path
            assert "ALL_SPECIES" not in text, path


def test_a_basis_is_its_points():
    points = {(1, 3): np.ones((2, 1)), (0, 7): np.zeros((3, 1))}
    basis = Basis.of_points([TOY, TOY], points)
    assert [(b.term, b.key, b.columns) for b in basis.blocks] == [(0, 7, slice(0, 3)), (1, 3, slice(3, 5))]
    assert basis.points.keys() == points.keys()
    assert basis.n_columns == 5
    assert isinstance(basis.terms[0], AdditiveTerm)
