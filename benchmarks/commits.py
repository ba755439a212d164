"""Two versions of gapkit, each installed for an interpreter of its own, in turn: does a change make anything slower?

    python benchmarks/commits.py OLD/bin/python NEW/bin/python [--rounds 5]

Silicon, 1000 sparse points, one thread, compiled loops; medians, and the median and range of the ratios of pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

STAGES = """
import json, time
times = [time.perf_counter()]
from gapkit import GAP, SOAP, DotProduct, Term
from gapkit.datasets import load_silicon
from gapkit.evaluation import evaluate
train, test = load_silicon("train"), load_silicon("test")
times.append(time.perf_counter())
term = Term(SOAP(species=["Si"], cutoff=5.5, n_max=8, l_max=6), DotProduct(zeta=4), n_sparse=1000)
gap = GAP([term], energy_noise=0.003, forces_noise=0.1, virial_noise=0.05, verbose=False)
gap.fit(train)
times.append(time.perf_counter())
for _ in range(3):
    found = gap.predict(test)
times.append(time.perf_counter())
gap.predict(test, return_std=True)
times.append(time.perf_counter())
evaluate(gap, test)
times.append(time.perf_counter())
gap.save("model.gap")
GAP.load("model.gap")
times.append(time.perf_counter())
names = ["import, read data", "fit", "predict, 3 times", "predict with std", "evaluate", "save, load"]
print(json.dumps([{n: b - a for n, a, b in zip(names, times, times[1:])}, float(found.energy[0]).hex()]))
"""


def once(python: Path, cache: Path) -> tuple[dict[str, float], str]:
    """Seconds of each stage, and an energy to the last bit."""
    variables = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [python, "-W", "ignore", "-c", STAGES], env=variables, cwd=cache, capture_output=True, text=True, check=True
    )
    seconds, energy = json.loads(done.stdout)
    return seconds, energy


def main() -> None:
    """Warm up, then time both in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs=2, type=lambda text: Path(text).absolute(), metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as old, tempfile.TemporaryDirectory() as new:
        sides = list(zip(given.pythons, (Path(old), Path(new))))
        for side in sides:
            once(*side)
        rounds = [[once(*side) for side in sides] for _ in range(given.rounds)]
    print("| stage | old, s | new, s | new/old |\n|---|---|---|---|")
    for stage in rounds[0][0][0]:
        a, b = ([pair[k][0][stage] for pair in rounds] for k in (0, 1))
        ratios = [y / x for x, y in zip(a, b)]
        middle = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        print(f"| {stage} | {statistics.median(a):.3g} | {statistics.median(b):.3g} | {middle} |")
    energies = {energy for pair in rounds for _, energy in pair}
    print(f"\nThe energy of the first test frame is {'one number' if len(energies) == 1 else 'not the same'}.")


if __name__ == "__main__":
    main()
