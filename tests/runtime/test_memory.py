"""Amounts of memory: as people write them, with units of 1000 and of 1024."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapkit.errors import InputError
from gapkit.runtime.memory import in_bytes

SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("4GB", 4 * 10**9),
        ("1.5 GiB", 1.5 * 2**30),
        (".5 gb", 5 * 10**8),
        (1e6, 10**6),
        (1e17, 10**17),
        ("250mb", 250 * 10**6),
        ("1e9", 10**9),
        (np.float32(2**20), 2**20),
        (np.int64(4), 4),
        (None, None),
    ],
)
def test_amounts_of_memory(text, n):
    assert in_bytes(text) == n


@given(st.integers(1, 10**4), st.sampled_from([*SIZES]), st.sampled_from(["", " "]), st.booleans())
def test_units_in_any_case(n, unit, space, lower):
    text = f"{n}{space}{unit}"
    assert in_bytes(text.lower() if lower else text) == n * SIZES[unit]


@pytest.mark.parametrize(
    "text", ["much", "-1GB", "4 XB", "0", "GB", "", "nan", "inf", float("nan"), float("inf"), -1, 0, 0.5, True, [4]]
)
def test_no_amounts_of_memory(text):
    with pytest.raises(InputError, match="is not an amount of memory: write for example '4GB'"):
        in_bytes(text)


def test_help_does_not_pay_for_pydantic():
    code = "import gapkit.cli, gapkit.runtime.memory, sys; assert 'pydantic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
