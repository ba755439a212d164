"""Predictions taken apart: the parts add up, each is a potential of its own."""

from __future__ import annotations

import numpy as np
import pytest
from example_structures import alloy, labelled, structures
from expected_warnings import overlap
from laws import derivative, displaced
from models_of_terms import MODELS

from gapkit import GAP, ZBL, InputError
from gapkit.baselines import Calculator
from gapkit.covariances.rows import structure_rows

BASELINES = [ZBL(["Cu", "Au"], inner=1.0, outer=2.9), Calculator("ase.calculators.emt:EMT")]


@pytest.fixture(scope="module", params=["pair", "features", "sum"])
def gap(request) -> GAP:
    frames = [labelled(alloy(k)) for k in range(6)]
    found = GAP(MODELS[request.param], 0.005, 0.05, 0.02, jitter=1e-9, verbose=False, baseline=BASELINES)
    with overlap():
        return found.set_params(e0={"Cu": 0.0, "Au": 0.0}).fit(frames)


@pytest.fixture(scope="module")
def frames():
    return list(structures().values())


def test_the_parts_add_up_to_the_prediction(gap, frames):
    parts, p = gap.decompose(frames), gap.predict(frames)
    total = parts.total()
    np.testing.assert_allclose(total.energy, p.energy, rtol=1e-12, atol=1e-9)
    for name in ("forces", "local_energies", "stress"):
        for found, expected in zip(getattr(total, name), getattr(p, name), strict=True):
            assert (found is None) == (expected is None)
            if expected is not None:
                np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-9)
    assert any(stress is None for stress in p.stress)
    assert any(stress is not None for stress in p.stress)
    assert [part.role for part in parts.parts] == ["e0", "baseline", "baseline", *["term"] * len(gap.terms_)]
    assert len({part.name for part in parts.parts}) == len(parts.parts)


def test_baselines_are_what_they_say_themselves(gap, frames):
    parts = gap.decompose(frames)
    for baseline, name in zip(BASELINES, ("ZBL", "Calculator")):
        known = [baseline.evaluate(atoms) for atoms in frames]
        np.testing.assert_allclose(parts[name].energy, [k.energy for k in known], atol=1e-9)
        np.testing.assert_allclose(np.concatenate(parts[name].forces), np.concatenate([k.forces for k in known]))
    assert parts["ZBL"].energy.max() > 0.01
    e0 = [sum(gap.e0_[s] for s in atoms.symbols) for atoms in frames]
    np.testing.assert_allclose(parts["e0"].energy, e0)


def test_terms_are_their_columns_of_the_rows(gap, frames):
    """K_t,m α_m over the columns of one term alone."""
    atoms = frames[0]
    parts = [part for part in gap.decompose(atoms).parts if part.role == "term"]
    row = structure_rows(gap.basis_.environments(atoms), True)
    for t, part in enumerate(parts):
        own = np.concatenate([np.arange(b.columns.start, b.columns.stop) for b in gap.blocks_ if b.term == t])
        assert part.energy[0] == pytest.approx(row.energy[own] @ gap.alpha_[own], abs=1e-6)
        np.testing.assert_allclose(part.forces[0].ravel(), row.forces[:, own] @ gap.alpha_[own], atol=1e-6)


def test_forces_of_every_part_are_its_own_derivative(gap, frames):
    atoms = frames[0]
    found = gap.decompose(atoms)
    for part in found.parts:
        slope = derivative(lambda h, name=part.name: gap.decompose(displaced(atoms, 1, 2, h))[name].energy[0])
        assert part.forces[0][1, 2] == pytest.approx(-slope, abs=1e-5)


def test_the_table_names_every_part(gap, frames):
    lines = gap.decompose(frames).table().splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["e0", "ZBL", "Calculator"]
    assert len(lines) == 5 + len(gap.terms_)


def test_what_is_not_known_is_refused(gap, frames):
    atoms = frames[0].copy()
    atoms.symbols[0] = "Pt"
    with pytest.raises(InputError, match="Pt"):
        gap.decompose(atoms)


def test_parts_and_roles_that_are_none_are_refused(gap, frames):
    parts = gap.decompose(frames[:1])
    with pytest.raises(InputError, match="no part 'SOPA', only e0, ZBL"):
        parts["SOPA"]
    with pytest.raises(InputError, match="role 'baselines' is unknown"):
        parts.total("baselines")
    rest = parts.total("e0").energy + parts.total("baseline").energy + parts.total("term").energy
    np.testing.assert_allclose(rest, parts.total().energy)
