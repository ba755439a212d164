"""Aligned plain text: every column as wide as its widest cell, nothing at the ends of lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapkit.runtime.tables import aligned

CELL = st.text(st.characters(codec="ascii", categories=("L", "N")), max_size=8)


def test_words_go_left_and_numbers_right():
    assert aligned([("name", "n"), ("a", "10"), ("", "7")], "lr") == "name   n\na     10\n       7"


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(CELL, min_size=n, max_size=n), min_size=1, max_size=6)))
def test_columns_begin_and_end_at_the_same_places(rows):
    """Where columns stand follows from the widths alone, so that every cell is found again in its place."""
    sides = "".join("lr"[k % 2] for k in range(len(rows[0])))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = aligned(rows, sides).split("\n")
    assert len(lines) == len(rows)
    for row, line in zip(rows, lines):
        start = 0
        for cell, width, side in zip(row, widths, sides):
            field = line[start : start + width].ljust(width)
            assert field == (cell.ljust(width) if side == "l" else cell.rjust(width))
            assert not line[start + width : start + width + 2].strip()
            start += width + 2
        assert line == line.rstrip()


def test_each_column_needs_a_side():
    with pytest.raises(ValueError, match="argument"):
        aligned([("a", "b")], "l")
