"""Compact sets of symmetry functions: what is chosen, against scikit-matter and by what the choice is for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from example_structures import alloy
from skmatter.feature_selection import CUR, FPS

from gapkit import ACSF, InputError, candidate_acsf, select_acsf
from gapkit.descriptors.acsf_selection import METHODS


@pytest.mark.parametrize("method", METHODS)
def test_copies_are_not_chosen_twice(method):
    """Every function three times: as many columns as there are distinct ones leave no two alike."""
    one = ACSF(["Cu"], 4.5, g2=[(0.05, 0.0), (1.2, 2.5), (4.0, 3.0)], g4=[(0.01, 1.0, -1.0), (0.01, 4.0, 1.0)])
    three = replace(one, g2=[*one.g2] * 3, g4=[*one.g4] * 3)
    frames = [alloy(k) for k in range(5)]
    for atoms in frames:
        atoms.symbols[:] = "Cu"
    chosen = select_acsf(three, frames, 6, method)
    G = np.concatenate([chosen.create(atoms) for atoms in frames])
    assert len(np.unique(np.round(G, 9), axis=1).T) == 6


@pytest.mark.parametrize("method", METHODS)
def test_a_compact_set_says_what_all_say(method):
    """What 20 of 126 columns leave unexplained of all, by linear regression; and they are scaled alike."""
    frames = [alloy(k) for k in range(25)]
    whole = candidate_acsf(["Cu", "Au"], 4.5)
    chosen = select_acsf(whole, frames, 20, method)
    rows = np.concatenate([chosen.features(atoms) for atoms in frames])
    np.testing.assert_allclose(rows[:, 1:].std(axis=0), 1 / np.sqrt(20), rtol=1e-10)
    G, part = (np.concatenate([a.create(atoms) for atoms in frames]) for a in (whole, chosen))
    Z = (G - G.mean(axis=0)) / np.maximum(G.std(axis=0), 1e-9)
    left = Z - (A := np.column_stack([np.ones(len(G)), part])) @ np.linalg.lstsq(A, Z, rcond=None)[0]
    assert np.mean(left**2) < 0.02
    again = select_acsf(whole, frames, 20, method)
    assert again == chosen
    fewer = select_acsf(chosen, frames, 5, method)
    assert set(fewer.columns) <= set(chosen.columns)


def test_candidates_cover_short_and_long():
    acsf = candidate_acsf(["Si"], 5.0, n_radial=4)
    centred = [eta for eta, r in acsf.g2 if r == 0]
    np.testing.assert_allclose([min(centred), max(centred)], [1 / 25, 16 / 25])
    assert max(r for _, r in acsf.g2) == 5.0
    with pytest.raises(InputError, match="n_radial"):
        candidate_acsf(["Si"], n_radial=1)


@pytest.mark.parametrize(
    ("n", "method", "words"), [(0, "cur", "n = 0"), (900, "cur", "n = 900"), (2.5, "fps", "n = 2.5"), (3, "crs", "cur")]
)
def test_impossible_choices_are_refused(n, method, words):
    with pytest.raises(InputError, match=words):
        select_acsf(ACSF(["Cu", "Au"]), [alloy(0)], n, method)
    with pytest.raises(InputError, match="at least one"):
        select_acsf(ACSF(["Cu", "Au"]), [], 3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1, 7, 25])
def test_the_same_columns_as_scikit_matter(n, method):
    """On standardised columns; FPS starts from the first."""
    frames = [alloy(k) for k in range(12)]
    whole = candidate_acsf(["Cu", "Au"], 4.5)
    G = np.concatenate([whole.create(atoms) for atoms in frames])
    varied = np.flatnonzero(G.std(axis=0) > 1e-6 * G.std(axis=0).max())
    Z = (G[:, varied] - G[:, varied].mean(axis=0)) / G[:, varied].std(axis=0)
    selector = CUR(n_to_select=n) if method == "cur" else FPS(n_to_select=n, initialize=0)
    assert select_acsf(whole, frames, n, method).columns == tuple(np.sort(varied[selector.fit(Z).selected_idx_]))


@pytest.mark.parametrize("method", METHODS)
def test_more_columns_than_distinct_ones_are_all_different(method):
    one = ACSF(["Cu", "Au"], 4.5, g2=[(0.05, 0.0), (1.2, 2.5)])
    two = replace(one, g2=[*one.g2] * 2)
    frames = [alloy(k) for k in range(5)]
    for n in range(1, two.n_features):  # a constant feature in addition to the columns
        assert len(set(select_acsf(two, frames, n, method).columns)) == n
