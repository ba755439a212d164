"""A process that compiles the loops and one that loads them compute the same numbers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from places import SUPPORT

SCRIPT = """
import hashlib, sys
import numpy as np
sys.path.insert(0, {tests!r})
from labelled_frames import copper_frames
from copper_models import model
frames = copper_frames(4)
gap = model().fit(frames)
p = gap.predict(frames, return_std="all")
for array in (gap.posterior_.R, gap.alpha_, p.energy, p.energy_std, *p.forces, *p.forces_std):
    print(hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_machine_code_from_the_cache_gives_the_bits_of_fresh_code(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT.format(tests=str(SUPPORT))]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    fresh, loaded = (subprocess.check_output(command, env=environment, text=True) for _ in range(2))
    assert list(tmp_path.rglob("*.nbc"))
    assert fresh == loaded
