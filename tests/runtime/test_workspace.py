"""Arrays that are used again: no large allocation in a steady step, and nothing of one call left in the next."""

from __future__ import annotations

import tracemalloc

import numpy as np
from example_structures import alloy

from gapkit import GAPCalculator
from gapkit.runtime.threads import set_num_threads
from gapkit.runtime.workspace import ALIGNMENT, Fresh, Workspace, thread_workspace
from gapkit.terms.evaluate import LARGEST_BLOCK


def test_arrays_are_aligned_and_used_again():
    work = Workspace()
    first = work.empty("a", 3, 7)
    assert first.shape == (3, 7)
    assert first.ctypes.data % ALIGNMENT == 0
    assert first.flags.c_contiguous
    smaller = work.empty("a", 2, 5)
    assert np.shares_memory(first, smaller)
    assert not np.shares_memory(smaller, work.empty("b", 2, 5))
    larger = work.empty("a", 100)
    assert not np.shares_memory(first, larger)
    assert np.shares_memory(larger, work.empty("a", 10, 10))


def test_fresh_arrays_are_the_callers_own():
    fresh = Fresh()
    assert not np.shares_memory(fresh.empty("a", 4), fresh.empty("a", 4))


def test_steady_steps_allocate_nothing_large(gap):
    """Apart from the neighbour list and the results: the arrays of the engine stay where they are."""
    set_num_threads(1)
    try:
        atoms, calculator = alloy(1).repeat((4, 4, 4)), GAPCalculator(gap)
        rng = np.random.default_rng(0)
        for _ in range(3):
            atoms.positions += rng.normal(0, 1e-4, atoms.positions.shape)
            calculator.calculate(atoms, ["forces"])
        before = {name: memory.ctypes.data for name, memory in thread_workspace()._memory.items()}
        engine = sum(memory.nbytes for memory in thread_workspace()._memory.values())
        tracemalloc.start()
        for _ in range(3):
            atoms.positions += rng.normal(0, 1e-4, atoms.positions.shape)
            calculator.calculate(atoms, ["forces"])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    finally:
        set_num_threads(None)
    assert {name: memory.ctypes.data for name, memory in thread_workspace()._memory.items()} == before
    pairs = sum(len(found._pairs.j) for found in calculator._lists.values())
    lists = pairs * (8 + 12 + 24)  # j, S, D
    block = LARGEST_BLOCK * pairs // len(atoms) * (8 + 8 + 24)  # channel, weight, g of one block of centres
    results = len(atoms) * 8 * 20 + 2**18
    assert peak < lists + block + results
    assert engine > 2**18  # what would have been allocated


def test_results_do_not_depend_on_what_was_computed_before(gap):
    """A larger structure leaves its numbers in the workspace; the next one must not see them."""
    small = alloy(3)
    alone = gap.predict(small)
    gap.predict(alloy(4).repeat((3, 2, 2)), return_std="local")
    again = gap.predict(small)
    np.testing.assert_array_equal(alone.forces[0], again.forces[0])
    np.testing.assert_array_equal(alone.energy, again.energy)
