"""Interleaved timing: the functions take turns on the same structures, so that a busy machine slows all of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ase import Atoms

TURN, MOST_CALLS = 0.25, 10  # seconds of one turn, and calls in it

Call = Callable[[Atoms], object]
Timed = dict[str, Any]


def timed(call: Call, atoms: Atoms) -> tuple[float, float]:
    """Wall and processor seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call(atoms)
    return time.perf_counter() - wall, time.process_time() - cpu


def interleave(
    calls: Mapping[str, Call], frame: Callable[[int], Atoms], repeats: int, budget: float
) -> dict[str, Timed]:
    """Time every function on ``frame(0)`` (warm-up, not counted), ``frame(1)``, …

    The order rotates from round to round. In one turn a function that is quick is called several times, for about
    `TURN` seconds, each time with another frame. A function that would take more than `budget` seconds takes fewer
    turns, spread evenly over the rounds, but at least three. One that fails is left out with its message.
    """
    plans, failures = _warm_up(calls, frame, repeats, budget)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in plans}
    names = list(plans)
    for k in range(repeats):
        for name in names[k % len(names) :] + names[: k % len(names)] if names else []:
            turns, n_calls = plans[name]
            if _has_turn(k, turns, repeats):
                times[name] += [timed(calls[name], frame(1 + k * MOST_CALLS + c)) for c in range(n_calls)]
    return {name: summary(times[name]) if name in times else failures[name] for name in calls}


def _warm_up(
    calls: Mapping[str, Call], frame: Callable[[int], Atoms], repeats: int, budget: float
) -> tuple[dict[str, tuple[int, int]], dict[str, Timed]]:
    """How many turns each function takes and how many calls it makes in one; the functions that failed."""
    plans, failures = {}, {}
    for name, call in calls.items():
        try:
            seconds, _ = timed(call, frame(0))
            if seconds < 0.1 * budget:  # the first call compiled or read files
                seconds, _ = timed(call, frame(1))  # another frame, as calculators remember the last one
        except Exception as error:  # a peer's error must not end the others' run
            print(f"{name}: {error}", file=sys.stderr)
            failures[name] = skipped(str(error))
            continue
        turns, n_calls = np.clip(budget / seconds, min(3, repeats), repeats), np.clip(TURN / seconds, 1, MOST_CALLS)
        plans[name] = (int(turns), int(n_calls))
    return plans, failures


def _has_turn(k: int, turns: int, repeats: int) -> bool:
    return (k + 1) * turns // repeats > k * turns // repeats


def summary(times: list[tuple[float, float]]) -> Timed:
    """Medians and the shortest, seconds."""
    wall, cpu = np.array(times).T
    return {
        "seconds": float(np.median(wall)),
        "cpu": float(np.median(cpu)),
        "shortest": float(wall.min()),
        "calls": len(times),
    }


def skipped(reason: str) -> Timed:
    return {"skipped": " ".join(reason.split())[:120]}
