"""Types and bounds of fields: what is refused, and that the sentence names the place, the value and the cure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from gapkit.checks import Positive, build, check_count, check_fields
from gapkit.errors import InputError


@dataclass(frozen=True)
class Item:
    number: float = 1.0
    positive: Positive = 1.0
    count: Annotated[int, Field(ge=2, description="20 is usual")] | None = None
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    word: Literal["a", "b"] = "a"
    mode: bool | Literal["all"] = True
    pairs: Sequence[tuple[float, float]] = ()
    scales: Sequence[Positive] = ()
    table: Mapping[str, Mapping[str, float]] | float | None = None
    anything: Any = None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"number": True}, "number = True must be a finite number"),
        ({"number": "1.0"}, "number = '1.0' must be a finite number"),
        ({"number": 10**400}, "number = 1"),
        ({"positive": 0}, "positive = 0 must be a positive number"),
        ({"positive": float("nan")}, "positive = nan must be a finite number"),
        ({"count": 1}, "count = 1 must be at least 2 or None; 20 is usual"),
        ({"count": 2.5}, "count = 2.5 must be a whole number or None; 20 is usual"),
        ({"share": 1.5}, "share = 1.5 must be at most 1"),
        ({"word": 1}, "word = 1 must be a string"),
        ({"mode": 1}, "mode = 1 must be True or False or a string"),
        ({"mode": [1]}, "mode = [1] must be True or False or a string"),
        ({"pairs": "ab"}, "pairs = 'ab' must be a list"),
        ({"pairs": [(1.0, 2.0), (1.0,)]}, "pairs[1] = (1.0,) must be 2 values"),
        ({"pairs": [(1.0, None)]}, "pairs[0][1] = None must be a finite number"),
        ({"pairs": np.ones((2, 3))}, "pairs[0] = array([1., 1., 1.]) must be 2 values"),
        ({"scales": [1.0, -1.0]}, "scales[1] = -1.0 must be a positive number"),
        ({"table": "x"}, "table = 'x' must be a mapping or a finite number or None"),
        ({"table": np.ones((2, 2))}, "table = array([[1., 1.], [1., 1.]]) must be a mapping or"),
        ({"table": {"a": {"b": "c"}}}, "table['a']['b'] = 'c' must be a finite number"),
        ({"table": {1: {}}}, "table has a key 1 that is not a string"),
        ({"table": {"a": {2: 1.0}}}, "table['a'] has a key 2 that is not a string"),
    ],
)
def test_the_sentence_names_place_value_and_cure(change, words):
    with pytest.raises(InputError) as error:
        check_fields(replace(Item(), **change))
    text = str(error.value)
    assert text.startswith(f"Item: {words}")
    assert text.endswith(".")
    assert "\n" not in text


@pytest.mark.parametrize(
    "change",
    [
        {"number": np.float32(2)},
        {"number": np.int64(2)},
        {"positive": 1},
        {"count": 2.0},
        {"count": np.int8(3)},
        {"mode": np.bool_(True)},
        {"word": "c"},  # which words there are is for the class to say
        {"pairs": np.ones((3, 2))},
        {"scales": np.array([1.0, 2.0])},
        {"table": {"a": {"b": np.float64(1)}}},
        {"anything": object()},
    ],
)
def test_numpys_numbers_and_arrays_are_as_good(change):
    check_fields(replace(Item(), **change))


@given(st.floats())
def test_bounds_are_those_of_the_annotation(x):
    inside = {"positive": 0 < x < np.inf, "share": 0 <= x <= 1, "number": bool(np.isfinite(x))}
    for name, good in inside.items():
        if good:
            check_fields(replace(Item(), **{name: x}))
        else:
            with pytest.raises(InputError, match=f"Item: {name} = "):
                check_fields(replace(Item(), **{name: x}))


def test_what_is_read_from_a_file_has_the_same_bounds():
    assert build({"Item": Item}, {"positive": 2}, "term", "Item") == Item(positive=2.0)
    with pytest.raises(InputError, match=r"term.positive = -2 must be a positive number\.$"):
        build({"Item": Item}, {"positive": -2}, "term", "Item")


@pytest.mark.parametrize("value", [True, 0, 1.5, "2", None, float("nan"), float("inf")])
def test_counts(value):
    with pytest.raises(InputError, match=r"n = .* must be a whole number of at least 1, for example 20"):
        check_count("n", value, usual="20")
    assert check_count("n", 3.0) == 3
    assert isinstance(check_count("n", np.float64(3)), int)
