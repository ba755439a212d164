"""What is measured in a process of its own: ``python -m comparison.worker COMMAND ARGUMENTS`` prints one JSON object.

Nothing heavy is imported at the top, so that start-up times are true and a small parent does not count in a child's
peak memory (Linux carries the parent's peak into a child that it starts).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

START = time.perf_counter()


def run(command: str, n_threads: int = 1, environment: dict[str, str] | None = None, **arguments: Any) -> Any:
    """Start a worker, wait for it, return what it printed."""
    from comparison.pinning import pinned

    variables = {**os.environ, **pinned(n_threads), **(environment or {})}
    here = str(Path(__file__).resolve().parents[1])
    variables["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    call = [sys.executable, "-m", "comparison.worker", command, json.dumps(arguments)]
    done = subprocess.run(call, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"worker {command} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory() -> float:
    """Largest resident memory of this process so far, MB."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def evaluate(model: str, n_atoms: int, repeats: int) -> dict[str, Any]:
    """Seconds of repeated energy + forces + stress with a saved model, and peak memory before and after, MB."""
    from comparison import ours
    from comparison.structures import crystal, moving
    from comparison.timing import timed
    from gapkit import GAP, GAPCalculator

    gap, frame = GAP.load(model), moving(crystal(n_atoms))
    ours.predict(gap, crystal(64))
    before, times, calculator = peak_memory(), [], GAPCalculator(gap)
    for k in range(repeats + 1):
        times.append(timed(lambda a: ours.calculate(calculator, a), frame(k))[0])
    return {"seconds": times[1:] or times, "memory_before": before, "memory": peak_memory()}


def first_call(model: str) -> dict[str, float]:
    """Seconds of a new process: import all of gapkit's names, load a model, first and second forces through ASE."""
    seconds = {"import": _seconds(lambda: exec("from gapkit import *", {}))}  # `import gapkit` alone loads nothing
    from comparison.structures import crystal
    from gapkit import GAPCalculator

    atoms = crystal(64)
    seconds["load model"] = _seconds(lambda: setattr(atoms, "calc", GAPCalculator(model)))
    seconds["first forces"] = _seconds(atoms.get_forces)
    seconds["all three"] = sum(seconds.values())
    atoms.positions[0] += 1e-3
    return {**seconds, "second forces": _seconds(atoms.get_forces)}


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def fit_gapkit(train: str, model: str, settings: dict[str, Any]) -> dict[str, float]:
    """Fit to prepared frames and save: seconds of the whole process and of the fit alone, peak memory MB."""
    from comparison import mlearn

    seconds = mlearn.fit_gapkit(train, model, settings)
    return {"seconds": time.perf_counter() - START, "fit alone": seconds, "memory": peak_memory()}


def fit_gap_fit(call: list[str], folder: str, log: str) -> dict[str, float]:
    """Run gap_fit: wall and processor seconds, peak memory MB."""
    start = time.perf_counter()
    with open(log, "w") as file:
        child = subprocess.Popen(call, cwd=folder, stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise RuntimeError(f"gap_fit ended with status {status}:\n{Path(log).read_text()[-2000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return {"seconds": time.perf_counter() - start, "cpu": cpu, "memory": usage.ru_maxrss / 1024}


def errors_of(side: str, potential: str, frames: str) -> dict[str, float]:
    """Errors of a fitted potential on labelled frames."""
    from comparison import mlearn

    return mlearn.errors(side, potential, frames)


COMMANDS = {f.__name__: f for f in (evaluate, first_call, fit_gapkit, fit_gap_fit, errors_of)}

if __name__ == "__main__":
    print(json.dumps(COMMANDS[sys.argv[1]](**json.loads(sys.argv[2]))))
