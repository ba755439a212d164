"""What every rank does on its own, and all of them must have done: an error on one is an error on all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from gapkit.errors import InputError

Result = TypeVar("Result")


def on_every_rank(comm: Any, action: Callable[[], Result]) -> Result:
    """The result of `action`, called by all ranks together.

    Raises
    ------
    InputError
        On every rank, with the sentence of the lowest one that has one.
    """
    result, failure = None, None
    try:
        result = action()
    except InputError as error:
        failure = error
    agree(comm, failure)
    return result  # type: ignore[return-value]


def agree(comm: Any, failure: BaseException | None) -> None:
    """Raise this rank's failure, or an `InputError` with that of the lowest rank that has one; called by all ranks."""
    sentences = comm.allgather(None if failure is None else str(failure) or type(failure).__name__)
    if failure is not None:
        raise failure
    if found := [sentence for sentence in sentences if sentence is not None]:
        raise InputError(found[0])
