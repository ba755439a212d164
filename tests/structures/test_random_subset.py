"""Random parts of streams: which items stay, by the draws alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapkit.structures.random_subset import RandomSubset

ITEMS = st.tuples(st.integers(1, 9), st.integers(0, 10**6))  # size, draw
STREAM = st.lists(ITEMS, min_size=1, max_size=40, unique_by=lambda item: item[1])


def kept(stream, too_many, fair=True):
    subset = RandomSubset(too_many, fair)
    for k, (size, draw) in enumerate(stream):
        subset.add(k, size, draw)
    assert [k for _, k in sorted(subset.by_draw())] == subset.in_order()
    assert [stream[k][1] for _, k in subset.by_draw()] == sorted(stream[k][1] for k in subset.in_order())
    return subset.in_order()


def largest_prefix(stream, fits):
    """By sorting all of the stream: the items of smallest draws for as long as they fit, at least one."""
    order = sorted(range(len(stream)), key=lambda k: stream[k][1])
    n = next((n for n in range(1, len(order)) if not fits([stream[k][0] for k in order[: n + 1]])), len(order))
    return sorted(order[:n])


@given(STREAM, st.integers(0, 60), st.integers(1, 12))
def test_items_of_smallest_draws_that_fit_stay_whatever_the_order_of_the_stream(stream, most, most_items):
    expected = largest_prefix(stream, lambda sizes: sum(sizes) <= most and len(sizes) <= most_items)
    assert kept(stream, lambda n, total, _: total > most or n > most_items) == expected


@given(STREAM, st.integers(1, 60))
def test_the_last_item_may_go_beyond_what_is_enough(stream, enough):
    expected = largest_prefix(stream, lambda sizes: sum(sizes[:-1]) < enough)
    assert kept(stream, lambda _, total, last: total - last >= enough) == expected


@given(STREAM, st.integers(0, 60))
def test_without_fairness_the_room_is_used_as_well_or_better(stream, most):
    def too_many(_, total, __):
        return total > most

    loose = [stream[k][0] for k in kept(stream, too_many, fair=False)]
    assert sum(loose) <= most or len(loose) == 1
    assert set(kept(stream, too_many)) <= set(kept(stream, too_many, fair=False))


@pytest.mark.parametrize("fair", [True, False])
def test_each_item_is_as_likely_to_be_kept_as_any_other(fair):
    counts = np.zeros(30)
    for seed in range(400):
        draws = np.random.default_rng(seed).random(30)
        counts[kept([(1, draw) for draw in draws], lambda n, _, __: n > 5, fair)] += 1
    expected = 400 * 5 / 30
    assert counts.sum() == 400 * 5
    assert np.abs(counts - expected).max() < 4.5 * np.sqrt(expected * (1 - 5 / 30))
