"""Parts that need processes of their own, gapkit alone: large structures, threads, start-up."""

from __future__ import annotations

import shutil

import numpy as np

from comparison import ours, worker
from comparison.recipe import Recipe
from comparison.results import Row
from comparison.settings import Settings

ROUNDS = 5  # new processes per figure


def large(settings: Settings) -> None:
    """Energy, forces and stress of a large structure: seconds, and peak memory before and after."""
    n, recipe = settings.large, Recipe(settings.n_sparse)

    def run() -> Row:
        got = worker.run("evaluate", model=str(ours.saved(recipe, settings.work)), n_atoms=n, repeats=1)
        seconds = float(np.median(got["seconds"]))
        memory = {"peak before, MB": got["memory_before"], "peak after, MB": got["memory"]}
        return {"values": {"s": seconds, "µs/atom": 1e6 * seconds / n, **memory}}

    settings.results.measure("large", f"{n} atoms; {recipe}", run, atoms=n)


def threads(settings: Settings) -> None:
    """One thread against two: processes with the environment set, taking turns."""
    n, recipe = settings.threads_atoms, Recipe(settings.n_sparse)

    def run() -> Row:
        model, seconds = str(ours.saved(recipe, settings.work)), {1: [], 2: []}
        for _ in range(min(3, settings.repeats)):
            for count, times in seconds.items():
                repeats = max(2, settings.repeats // 3)
                times += worker.run("evaluate", count, model=model, n_atoms=n, repeats=repeats)["seconds"]
        one, two = (float(np.median(times)) for times in seconds.values())
        values = {"1 thread, µs/atom": 1e6 * one / n, "2 threads, µs/atom": 1e6 * two / n}
        return {"values": {**values, "speed-up": one / two}}

    settings.results.measure("threads", f"{n} atoms; {recipe}", run, atoms=n)


def startup(settings: Settings) -> None:
    """Seconds of new processes: with an empty cache of compiled code (once), then with a warm one (median)."""
    recipe = Recipe(settings.n_sparse)
    cache = (settings.work / "numba_cache").resolve()

    def first_call() -> dict[str, float]:
        model = str(ours.saved(recipe, settings.work))
        return worker.run("first_call", environment={"NUMBA_CACHE_DIR": str(cache)}, model=model)

    def cold() -> Row:
        shutil.rmtree(cache, ignore_errors=True)
        return {"values": first_call()}

    def warm() -> Row:
        runs = [first_call() for _ in range(1 + min(ROUNDS, settings.repeats))][1:]
        return {"values": {name: float(np.median([r[name] for r in runs])) for name in runs[0]}}

    for name, run in (("empty cache", cold), ("warm cache", warm)):
        settings.results.measure("startup", f"{name}; 64 atoms; {recipe}", run, cache=name)
