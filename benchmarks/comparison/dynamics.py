"""Part "md": which share of a molecular-dynamics step is spent outside gapkit's engine?

Velocity Verlet of ASE, 64 atoms of silicon at 300 K, 1 fs, a potential fitted to the shipped data. The engine is what
`gapkit.potential.prediction` calls to evaluate: they are wrapped in clocks, neighbour lists apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet

from comparison.results import Row
from comparison.settings import Settings
from comparison.structures import crystal
from gapkit import GAP, SOAP, DotProduct, GAPCalculator, Term
from gapkit.datasets import load_silicon
from gapkit.potential import prediction
from gapkit.terms import basis

ENGINE = {"neighbours": (basis, "find_all_neighbourhoods"), "evaluation": (prediction, "evaluate")}
BLOCK = 20  # steps whose mean is one measurement


def md(settings: Settings) -> None:
    label = f"64 atoms; Si; 8, 6; M = {settings.n_sparse}; {settings.steps} steps"
    settings.results.measure("md", label, lambda: _run(settings))


def _run(settings: Settings) -> Row:
    soap = SOAP(["Si"], 5.0, 8, 6)
    term = Term(soap, DotProduct(4), settings.n_sparse)
    noise = dict(energy_noise=0.002, forces_noise=0.1, virial_noise=0.02)
    gap = GAP([term], **noise, verbose=False).fit(load_silicon("train"))
    steps = VelocityVerlet(_atoms(gap), 1.0 * units.fs)
    steps.run(BLOCK)
    with clocks() as seconds:
        blocks = [_block(steps, seconds) for _ in range(max(1, settings.steps // BLOCK))]
    neighbours, evaluation, whole = np.median(blocks, axis=0) / BLOCK
    outside = 1.0 - (neighbours + evaluation) / whole
    times = {"step, µs": whole, "evaluation, µs": evaluation, "neighbours, µs": neighbours}
    return {"values": {**{name: 1e6 * t for name, t in times.items()}, "outside, %": 100 * outside}}


def _atoms(gap: GAP) -> Atoms:
    atoms = crystal(64, rattle=0.01)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.RandomState(0))
    atoms.calc = GAPCalculator(gap)
    return atoms


def _block(steps: VelocityVerlet, seconds: dict[str, float]) -> list[float]:
    """Seconds of the neighbour list, of the evaluation and of everything during `BLOCK` steps."""
    seconds.update(dict.fromkeys(ENGINE, 0.0))
    start = time.perf_counter()
    steps.run(BLOCK)
    return [*seconds.values(), time.perf_counter() - start]


@contextmanager
def clocks() -> Iterator[dict[str, float]]:
    """Seconds spent in each of the engine's functions within the ``with`` block."""
    seconds = dict.fromkeys(ENGINE, 0.0)
    originals = {name: getattr(module, function) for name, (module, function) in ENGINE.items()}
    for name, (module, function) in ENGINE.items():
        setattr(module, function, _clocked(originals[name], name, seconds))
    try:
        yield seconds
    finally:
        for name, (module, function) in ENGINE.items():
            setattr(module, function, originals[name])


def _clocked(function: Callable, name: str, seconds: dict[str, float]) -> Callable:
    def wrapped(*args, **kwargs):
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[name] += time.perf_counter() - start

    return wrapped
