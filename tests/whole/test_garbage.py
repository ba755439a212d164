"""Whatever stands where a number, a word or a list belongs: one sentence, never a traceback from inside."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from example_structures import labelled
from hypothesis import given, settings
from hypothesis import strategies as st

from gapkit import (
    ACSF,
    D3,
    D4,
    GAP,
    SOAP,
    ZBL,
    Composition,
    DotProduct,
    Ewald,
    InputError,
    InversePowers,
    Linear,
    LongRange,
    Pair,
    SquaredExponential,
    Term,
    Triplet,
    select_acsf,
)
from gapkit.active_learning.acquisition import most_wanted
from gapkit.baselines import Calculator
from gapkit.checks import check_fields, is_number
from gapkit.model_selection.learning_curve import learning_curve

S = ["Cu", "Au"]
PARTS = [
    SOAP(S),
    ACSF(S, columns=(0, 1), scales=(1.0, 2.0)),
    DotProduct(),
    SquaredExponential(),
    Pair(S),
    Triplet(S),
    Composition(S),
    InversePowers(S),
    LongRange(S),
    Linear(Composition(S)),
    Term(SOAP(S)),
    ZBL(S),
    Ewald({"Na": 1.0, "Cl": -1.0}),
    Calculator("ase.calculators.emt:EMT"),
    D3(),
    D4(),
    LongRange(S, charges={"Cu": 1.0, "Au": -1.0}),
]
GARBAGE: list[Any] = [
    None, "", "abc", "1.0", b"Si", True, float("nan"), float("inf"), -float("inf"), -1, 0, 1e400, 10**400, 1j, 2.5,
    [], [None], ["abc"], [float("nan")], [[1.0]], [True], (), {}, {"Cu": None}, {"Cu-Au": "abc"}, {1: 2}, {None: None},
    np.array(1.0), np.array([1.0, np.nan]), np.array([]), {"Si"}, object(), int, len, slice(3),
]  # fmt: skip


def refused_or_sane(item: Any) -> bool:
    """Whether `validate` is content; anything but an InputError of one sentence fails the test."""
    try:
        item.validate()
    except InputError as error:
        assert_one_sentence(error)
        return False
    return True


def assert_one_sentence(error: InputError) -> None:
    assert str(error).endswith(".")
    assert "\n" not in str(error)


def with_installed_packages(part: Any) -> Any:
    if isinstance(part, D3 | D4):
        pytest.importorskip(f"dft{type(part).__name__.lower()}")
    return part


@pytest.mark.parametrize("value", GARBAGE, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_garbage_in_any_field_is_refused_in_one_sentence(part, value):
    with_installed_packages(part)
    for field in fields(part):
        changed = replace(part, **{field.name: value})
        if refused_or_sane(changed):
            assert is_plausible(getattr(part, field.name), value), f"{field.name} = {value!r} was accepted"


def is_plausible(usual: Any, value: Any) -> bool:
    """A value of the kind that stands there, or what stands for nothing."""
    if isinstance(value, bool) or isinstance(usual, bool):
        return isinstance(value, bool) and isinstance(usual, bool)
    if isinstance(usual, int | float):
        return value is None or is_number(value) or (isinstance(value, dict) and all(map(is_number, value.values())))
    if usual is None:
        return not isinstance(value, str | bytes | complex) and (not isinstance(value, float) or is_number(value))
    if isinstance(usual, str):
        return isinstance(value, str)
    return isinstance(value, list | tuple | dict | np.ndarray) or value is None


@pytest.mark.parametrize("part", [*PARTS[:11], ZBL(S)], ids=lambda part: type(part).__name__)
def test_parts_are_content_with_themselves_and_numpys_numbers(part):
    part.validate()
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, float) and not isinstance(value, bool):
            replace(part, **{field.name: np.float64(value)}).validate()
            replace(part, **{field.name: np.float32(value)}).validate()
        if isinstance(value, int) and not isinstance(value, bool):
            replace(part, **{field.name: np.int32(value)}).validate()
        if isinstance(value, tuple) and value and isinstance(value[0], float):
            replace(part, **{field.name: np.array(value)}).validate()


@pytest.mark.parametrize("value", GARBAGE, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize(
    "name", ["terms", "energy_noise", "forces_noise", "virial_noise", "e0", "jitter", "random_state", "baseline"]
)
def test_garbage_in_a_potential_is_refused_before_the_fit(name, value):
    frames = [labelled(bulk("Cu"))]
    terms = [Pair(["Cu"], cutoff=3.0)]
    try:
        GAP(terms, verbose=False).set_params(**{name: value}).fit(frames)
    except InputError as error:
        assert_one_sentence(error)
        return
    plain = value is None or is_number(value) or (isinstance(value, list | tuple | dict) and not value)
    assert plain, f"{name} = {value!r} was accepted"


@dataclass(frozen=True)
class Every:
    number: float = 1.0
    count: int = 1
    pairs: tuple[tuple[float, float], ...] = ()
    table: dict[str, float] | float | None = None


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3) | st.binary(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(value=anything, name=st.sampled_from([f.name for f in fields(Every)]))
def test_checked_fields_are_of_their_type(value, name):
    try:
        check_fields(Every(**{name: value}))
    except InputError:
        return
    if name in ("number", "count"):
        assert is_number(value)
        assert name == "number" or value == int(value)
    elif name == "pairs":
        assert all(len(pair) == 2 and all(map(is_number, pair)) for pair in value)
    else:
        assert value is None or is_number(value) or all(map(is_number, value.values()))


NO_COUNTS = [value for value in GARBAGE if not is_number(value) or value < 1 or value % 1]


@pytest.fixture(scope="module")
def frames() -> list[Atoms]:
    found = [bulk("Cu", cubic=True) for _ in range(3)]
    for k, atoms in enumerate(found):
        atoms.rattle(0.05, seed=k)
    return [labelled(atoms) for atoms in found]


@pytest.fixture(scope="module")
def fitted(frames) -> GAP:
    return GAP([Term(SOAP(["Cu"], 3.0, 2, 1), n_sparse=2)], verbose=False, e0={"Cu": 0.0}).fit(frames)


@pytest.mark.parametrize("value", NO_COUNTS, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("name", ["add_sparse_points", "most_wanted", "select_acsf", "learning_curve"])
def test_counts_that_are_none_are_refused(fitted, frames, name, value):
    calls = {
        "add_sparse_points": lambda: fitted.add_sparse_points(frames, value),
        "most_wanted": lambda: most_wanted(fitted, frames, value),
        "select_acsf": lambda: select_acsf(ACSF(["Cu"]), frames, value),
        "learning_curve": lambda: learning_curve(fitted, frames, value, frames),
    }
    with pytest.raises(InputError) as error:
        calls[name]()
    assert_one_sentence(error.value)
