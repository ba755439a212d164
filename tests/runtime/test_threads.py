"""Threads: the same numbers to the last bit for any number of them, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from places import SUPPORT
from threadpoolctl import threadpool_info, threadpool_limits

from gapkit import GAP, InputError, Term
from gapkit.covariances.rows import prior_energy_variance
from gapkit.gaussian_process.posterior import fit_posterior
from gapkit.runtime.threads import get_num_threads, one_blas_thread, ordered_map, set_num_threads

SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from example_structures import alloy, labelled
from gapkit import GAP, SOAP, DotProduct, Term
from gapkit.runtime.threads import get_num_threads, set_num_threads

frames = [labelled(alloy(k)) for k in range(4)]
for threads in (None, 1, 2, 3):
    set_num_threads(threads)
    terms = [Term(SOAP(["Cu", "Au"], 4.0, 4, 3), DotProduct(2), 8)]
    gap = GAP(terms, e0={"Cu": 0.0, "Au": 0.0}, verbose=False).fit(frames)
    p = gap.predict(alloy(9).repeat((4, 4, 6)), return_std=True)
    values = (gap.alpha_, p.energy, p.forces[0], p.stress[0], p.energy_std, p.local_energies_std[0])
    print(get_num_threads(), hashlib.sha256(b"".join(v.tobytes() for v in values)).hexdigest())
"""


def test_bit_identical_for_any_number_of_threads():
    """In one process: code compiled twice may differ in its last bit, the number of threads must not matter."""
    environment = {**os.environ, "GAPKIT_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "2"}
    command = [sys.executable, "-c", SCRIPT, str(SUPPORT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    counts, hashes = zip(*(line.split() for line in done.stdout.splitlines()))
    assert counts == ("4", "1", "2", "3")
    assert len(set(hashes)) == 1


@pytest.mark.parametrize("n", [0, -1, 1.5, "many", None.__class__])
def test_impossible_numbers_of_threads_are_refused(n):
    with pytest.raises(InputError, match="must be a positive whole number"):
        set_num_threads(n)


def test_environment_decides_unless_told(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert get_num_threads() == 3
    monkeypatch.setenv("GAPKIT_NUM_THREADS", "5")
    assert get_num_threads() == 5
    set_num_threads(2)
    assert get_num_threads() == 2
    set_num_threads(None)
    monkeypatch.setenv("GAPKIT_NUM_THREADS", "all")
    with pytest.raises(InputError, match="GAPKIT_NUM_THREADS = 'all'"):
        get_num_threads()


def test_ordered_map_keeps_order_passes_errors_on_and_nests():
    def square(x):
        return sum(ordered_map(lambda y: x, range(x)))

    def fail(x):
        raise ValueError(x)

    set_num_threads(3)
    try:
        assert list(ordered_map(square, range(40))) == [x * x for x in range(40)]
        with pytest.raises(ValueError, match="0"):
            list(ordered_map(fail, range(3)))
        begun = []
        first = next(stream := ordered_map(lambda x: (begun.append(x), time.sleep(0.05)), range(100)))
        assert first == (None, None)
        stream.close()
        time.sleep(0.3)
        assert len(begun) < 8  # seven were ahead at most, and those that had not begun are cancelled
    finally:
        set_num_threads(None)


def _threads_of_a_map(_=None):
    """Whether a map of many items was done by other threads than the one that asks for it."""
    names = set(ordered_map(lambda _: threading.current_thread().name, range(20)))
    return names != {threading.current_thread().name}


def test_what_a_thread_is_called_does_not_matter():
    set_num_threads(2)
    try:
        for name in ("gapkit", "Dask-Worker-Threads", "other"):
            found = []
            thread = threading.Thread(target=lambda found=found: found.append(_threads_of_a_map()), name=name)
            thread.start()
            thread.join()
            assert found == [True]
        assert list(ordered_map(_threads_of_a_map, range(4))) == [False] * 4
    finally:
        set_num_threads(None)


def test_a_task_of_dask_stays_on_its_thread():
    distributed = pytest.importorskip("distributed", reason="needs the dask extra")
    set_num_threads(2)
    try:
        with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
            assert client.submit(_threads_of_a_map).result(timeout=60) is False
            assert _threads_of_a_map()
    finally:
        set_num_threads(None)


def test_blas_is_given_back_its_threads():
    def blas():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    np.ones((2, 2)) @ np.ones((2, 2))
    before = blas()
    with one_blas_thread():
        with one_blas_thread():
            assert set(blas()) == {1}
        assert set(blas()) == {1}
    assert blas() == before


def test_fits_and_predictions_keep_blas_on_one_thread(frames, soap, monkeypatch):
    """Everywhere, not only in the loops: the last factorisations on busy cores once took minutes."""
    seen = []

    def watched(function):
        def call(*args, **kwargs):
            seen.append({x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas"})
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr("gapkit.fitting.updates.fit_posterior", watched(fit_posterior))
    monkeypatch.setattr("gapkit.covariances.rows.prior_energy_variance", watched(prior_energy_variance))
    with threadpool_limits(limits=2, user_api="blas"):
        gap = GAP([Term(soap, n_sparse=4)], verbose=False).fit(frames)
        gap.predict(frames[0], return_std=True)
        after = {x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas"}
    assert seen == [{1}, {1}]
    assert after == {2}
