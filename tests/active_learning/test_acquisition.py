"""What is wanted most is what lowers the posterior variance most, by brute force."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from copper_models import model
from expected_warnings import extrapolation
from labelled_frames import copper_frames

from gapkit import InputError
from gapkit.active_learning.acquisition import cubed, most_wanted
from gapkit.covariances.rows import local_rows


def bare(atoms):
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


@pytest.fixture(scope="module")
def gap():
    return model().fit(copper_frames(6))


@pytest.fixture(scope="module")
def candidates():
    return [bare(atoms) for atoms in copper_frames(14)[6:]]


def one(atoms):
    return 1.0


def local(gap, frames):
    rows = [local_rows(gap.basis_.environments(a)) for a in frames]
    return np.concatenate(rows)


def with_labels(gap, atoms, labels=("energy", "forces", "stress")):
    """The model after any labels of these structures."""
    rng, labelled = np.random.default_rng(0), []
    for a in atoms:
        new = a.copy()
        results = {"energy": -3.0, "forces": rng.normal(size=(len(a), 3)), "stress": rng.normal(size=6)}
        if not a.pbc.any():
            del results["stress"]
        new.calc = SinglePointCalculator(new, **{kind: x for kind, x in results.items() if kind in labels})
        labelled.append(new)
    return copy.deepcopy(gap).partial_fit(labelled)


def total_variance(gap, K_t):
    return float(gap.posterior_.variance(K_t, np.zeros(len(K_t)), "sor").sum())


@pytest.mark.parametrize("labels", [("energy",), ("forces",), ("energy", "forces"), ("energy", "forces", "stress")])
@pytest.mark.parametrize("targets", ["local_energies", "energy", "rows"])
def test_reduction_is_that_of_the_posterior_with_the_labels(gap, candidates, labels, targets):
    K_t = {
        "local_energies": local(gap, candidates),
        "energy": np.array([local(gap, [a]).mean(axis=0) for a in candidates]),
        "rows": np.random.default_rng(1).normal(size=(3, gap.recipe_.n_sparse)),
    }[targets]
    found = most_wanted(gap, candidates, 3, one, K_t if targets == "rows" else targets, labels=labels)
    before = total_variance(gap, K_t)
    assert found.std_before == pytest.approx(np.sqrt(before / len(K_t)))
    assert found.n_targets == len(K_t)
    chosen = []
    for choice in found.choices:
        alone = before - total_variance(with_labels(gap, [candidates[choice.number]], labels), K_t)
        assert choice.reduction_alone == pytest.approx(alone, rel=1e-5, abs=1e-9 * before)
        last = total_variance(with_labels(gap, chosen, labels), K_t) if chosen else before
        chosen.append(candidates[choice.number])
        left = total_variance(with_labels(gap, chosen, labels), K_t)
        assert choice.reduction == pytest.approx(last - left, rel=1e-5, abs=1e-9 * before)
        assert choice.std_after == pytest.approx(np.sqrt(left / len(K_t)), rel=1e-6)


def test_each_choice_is_the_best_of_all_that_are_left(gap, candidates):
    """With the lazy order of scores as without it."""
    K_t, taken = local(gap, candidates), []
    for choice in most_wanted(gap, candidates, 4).choices:
        left = {}
        for k in range(len(candidates)):
            if k not in taken:
                chosen = [candidates[j] for j in [*taken, k]]
                left[k] = total_variance(with_labels(gap, chosen), K_t)
        now = (
            total_variance(with_labels(gap, [candidates[j] for j in taken]), K_t) if taken else total_variance(gap, K_t)
        )
        per_cost = {k: (now - v) / cubed(candidates[k]) for k, v in left.items()}
        assert choice.number == max(per_cost, key=per_cost.get)
        assert choice.per_cost == pytest.approx(per_cost[choice.number], rel=1e-5)
        taken.append(choice.number)


def test_copies_do_not_crowd_out_the_others(gap, candidates):
    """Five near-copies of the best candidate: single scores take nothing else, the greedy choice does better.

    It may take a second copy, whose labels halve the noise of the first, before another frame.
    """
    best = most_wanted(gap, candidates, 1, one).choices[0].number
    copies = []
    for k in range(4):
        copies.append(candidates[best].copy())
        copies[-1].rattle(1e-4, seed=k)
    pool = [*candidates, *copies]
    alike = {best, *range(len(candidates), len(pool))}
    found = most_wanted(gap, pool, 3, one, target_frames=candidates)
    assert len(alike & {choice.number for choice in found.choices}) < 3
    singles = most_wanted(gap, pool, len(pool), one, target_frames=candidates).choices
    by_single = [c.number for c in sorted(singles, key=lambda c: -c.reduction_alone)[:3]]
    assert set(by_single) <= alike
    K_t = local(gap, candidates)
    greedy, naive = (
        total_variance(with_labels(gap, [pool[k] for k in numbers]), K_t)
        for numbers in ([c.number for c in found.choices], by_single)
    )
    assert greedy < naive


def test_cost_decides_between_equals(gap):
    small = bulk("Cu", cubic=True)
    small.rattle(0.15, seed=3)
    large = small.repeat((2, 1, 1))
    assert most_wanted(gap, [large, small], 1).choices[0].number == 1
    found = most_wanted(gap, [large, small], 1, cost=lambda atoms: 1.0 / len(atoms))
    assert found.choices[0].number == 0


def test_environments_without_sparse_points_are_named(gap):
    dimer = Atoms("Cu2", [[0, 0, 0], [0, 0, 1.2]])
    found = most_wanted(gap, [dimer, bare(copper_frames(1)[0])], 2)
    assert found.foreign[0][0] == 0
    assert "add_sparse_points" in found.table()
    with extrapolation(gap, dimer):
        p = gap.predict(dimer, return_std="local")
    assert found.foreign[0][1] == pytest.approx(np.sqrt(np.mean(p.local_energies_std[0] ** 2)), rel=1e-6)


def test_targets_of_other_frames(gap, candidates):
    """Of two candidates the one that is like the target is wanted."""
    wanted = candidates[3]
    found = most_wanted(gap, candidates, 1, one, target_frames=[wanted])
    assert found.n_targets == len(wanted)
    K_t = local(gap, [wanted])
    left = [total_variance(with_labels(gap, [a]), K_t) for a in candidates]
    assert found.choices[0].number == int(np.argmin(left))


def test_many_targets_are_folded_exactly(gap, candidates):
    rows = np.random.default_rng(2).normal(size=(5000, gap.recipe_.n_sparse))
    choice = most_wanted(gap, candidates, 1, one, rows).choices[0]
    expected = total_variance(gap, rows) - total_variance(with_labels(gap, [candidates[choice.number]]), rows)
    assert choice.reduction == pytest.approx(expected, rel=1e-6)


def test_rows_made_again_give_the_same(gap, candidates, monkeypatch):
    once = most_wanted(gap, candidates, 4)
    monkeypatch.setattr("gapkit.active_learning.acquisition.ROW_BYTES", 0)
    assert most_wanted(gap, candidates, 4) == once


def test_table_and_dict(gap, candidates):
    found = most_wanted(gap, candidates, 3)
    assert found.table().splitlines()[2].split()[1] == str(found.choices[0].number)
    assert json.loads(json.dumps(found.to_dict()))["choices"][0]["number"] == found.choices[0].number


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n = 0"),
        ({"cost": lambda atoms: 0}, "cost of candidate 0 is 0"),
        ({"cost": lambda atoms: None}, "cost of candidate 0 is None"),
        ({"targets": "forces"}, "targets = 'forces' is unknown"),
        ({"targets": np.ones((2, 3))}, r"targets of shape \(2, 3\)"),
        ({"labels": ("virial",)}, "got 'virial'"),
        ({"labels": "energy"}, "give a list"),
    ],
)
def test_bad_requests_are_refused(gap, candidates, arguments, message):
    with pytest.raises(InputError, match=message):
        most_wanted(gap, candidates, **arguments)


def test_unknown_species_are_refused(gap):
    with pytest.raises(InputError, match=r"candidate 1 \(Si2\)"):
        most_wanted(gap, [bulk("Cu"), bulk("Si")])
