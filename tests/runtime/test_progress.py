"""Times in words."""

import pytest

from gapkit.runtime.progress import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "0 s"), (119.0, "119 s"), (120.0, "2.0 min"), (5400.0, "90.0 min"), (7200.0, "2.0 h"), (90000.0, "25.0 h")],
)
def test_duration(seconds, words):
    assert duration(seconds) == words
