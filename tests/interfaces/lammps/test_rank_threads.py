from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gapkit.interfaces.lammps.rank_threads import cores_of_ranks


def test_cores_are_shared():
    assert cores_of_ranks([set(range(8))]) == [8]
    assert cores_of_ranks([set(range(8))] * 3) == [2, 2, 2]
    assert cores_of_ranks([{0, 1}] * 4) == [1, 1, 1, 1]
    assert cores_of_ranks([{0, 1, 2}, {3, 4, 5}]) == [3, 3]  # bound by mpiexec: each has its own


@given(st.lists(st.sets(st.integers(0, 15), min_size=1), min_size=1, max_size=8))
def test_never_more_threads_than_cores(allowed):
    """Ranks beyond one for each core aside, which have one thread each."""
    found = cores_of_ranks(allowed)
    assert min(found) >= 1
    assert all(n <= len(own) for n, own in zip(found, allowed))
    assert sum(n for n in found if n > 1) <= len(set().union(*allowed))
