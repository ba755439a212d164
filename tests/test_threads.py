"""The same numbers, to the last bit, for any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import numba
from conftest import alloy, labelled
from gapkit import GAP, SOAP, DotProduct, Term

frames = [labelled(alloy(k)) for k in range(4)]
for threads in (1, 2):
    numba.set_num_threads(threads)
    terms = [Term(SOAP(["Cu", "Au"], 4.0, 4, 3), DotProduct(2), 8)]
    gap = GAP(terms, e0={"Cu": 0.0, "Au": 0.0}, verbose=False).fit(frames)
    p = gap.predict(alloy(9).repeat((3, 3, 4)), return_std=True)
    values = (gap.alpha_, p.energy, p.forces[0], p.stress[0], p.energy_std, p.local_energies_std[0])
    print(numba.get_num_threads(), hashlib.sha256(b"".join(v.tobytes() for v in values)).hexdigest())
"""


def test_bit_identical_for_one_and_two_threads():
    """In one process: code compiled twice may differ in its last bit, the number of threads must not matter."""
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, os.path.dirname(__file__)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (one, first), (two, second) = (line.split() for line in done.stdout.splitlines())
    assert (one, two) == ("1", "2")
    assert first == second


def test_blas_is_given_back_its_threads():
    from threadpoolctl import threadpool_info

    from gapkit.threads import one_blas_thread

    def blas():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    np.ones((2, 2)) @ np.ones((2, 2))
    before = blas()
    with one_blas_thread():
        assert set(blas()) == {1}
    assert blas() == before
