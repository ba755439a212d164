"""How near to the machine's limits is each stage of one energy + forces + stress call? One core.

    python benchmarks/roofline.py [--atoms 512] [--n-max 8] [--l-max 6] [--n-sparse 1000] [--json work/roofline.json]

Measured before and after, the better kept: matrix products (large, and at the shapes that the call has), a loop of
fused multiply-adds as Numba compiles it, and a[i] = b[i] + s c[i] on arrays in memory and in the second-level cache
(24 bytes counted an element). Every stage, taking turns, on silicon with 5 Å: stages in `roofline_stages.py`,
operations and bytes from formulas in their least form, so that work that an implementation does beyond them counts as
loss. The roofline of a stage is min(peak, bandwidth · operations/bytes), with the bandwidth of the cache if what a
block of centres touches fits there. The whole call's fraction is the sum of its stages' shortest possible times over
the time of the call.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from comparison.pinning import pin

IN_CACHE, IN_MEMORY = 16_000, 8_000_000  # elements of each of the three streamed arrays
CACHE_SIZE = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")  # of the second level, where Linux tells


def best(call: Callable[[], object], repeats: int = 30) -> float:
    """Shortest seconds of one call, after a warm-up: a limit, not an average, is wanted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def gemm_rate(m: int, k: int, n: int) -> float:
    """Flop/s of (m, k) @ (k, n)."""
    import numpy as np

    rng = np.random.default_rng(0)
    A, B, C = rng.normal(size=(m, k)), rng.normal(size=(k, n)), np.empty((m, n))
    inner = max(1, int(2e8 / (2.0 * m * k * n)))
    return inner * 2.0 * m * k * n / best(lambda: [np.matmul(A, B, out=C) for _ in range(inner)])


def machine_rates(n_features: int, n_sparse: int) -> dict[str, float]:
    """Flop/s of matrix products and multiply-adds, byte/s of streams."""
    from roofline_loops import multiply_adds, stream

    rates = {
        "dgemm 1000 × 1000 × 1000": gemm_rate(1000, 1000, 1000),
        f"dgemm 128 × {n_features} × {n_sparse}": gemm_rate(128, n_features, n_sparse),
        f"dgemm 128 × {n_sparse} × {n_features}": gemm_rate(128, n_sparse, n_features),
        "multiply-adds, compiled by Numba": multiply_adds(best),
    }
    return rates | {"stream, cache": stream(IN_CACHE, best), "stream, memory": stream(IN_MEMORY, best)}


def medians(stages: Mapping, repeats: int) -> dict[str, float]:
    """Median seconds of each stage, the stages taking turns; what `prepare` does is not timed."""
    times: dict[str, list[float]] = {name: [] for name in stages}
    for k in range(repeats + 1):
        for name, stage in stages.items():
            stage.prepare()
            start = time.perf_counter()
            stage.call()
            if k:
                times[name].append(time.perf_counter() - start)
    return {name: sorted(t)[len(t) // 2] for name, t in times.items()}


@cache
def cache_size() -> float:
    """Bytes of the second-level cache; 1 MB if it is not known."""
    return 1024.0 * int(CACHE_SIZE.read_text().strip().rstrip("K")) if CACHE_SIZE.exists() else 1e6


def roof(stage, rates: Mapping[str, float]) -> float:
    """Flop/s that the machine allows a stage."""
    bandwidth = rates["stream, cache" if stage.working_set <= cache_size() else "stream, memory"]
    peak = max(rate for name, rate in rates.items() if not name.startswith("stream"))
    return min(peak, bandwidth * stage.flops / stage.bytes)


def analyse(stages: Mapping, seconds: Mapping[str, float], rates: Mapping[str, float], n_atoms: int) -> list[dict]:
    """One row per stage, then what no stage accounts for, then the whole call."""
    whole = seconds["whole call"]
    rows = [_row(name, stage, seconds[name], rates, n_atoms, whole) for name, stage in stages.items() if stage.flops]
    top = {name: stage for name, stage in stages.items() if stage.flops and not stage.within}
    rest = whole - sum(seconds[name] for name in top)
    least = sum(stage.flops / roof(stage, rates) for stage in top.values())
    flops, moved = sum(s.flops for s in top.values()), sum(s.bytes for s in top.values())
    rows.append({"stage": "rest: Python, allocation, copies", "µs/atom": 1e6 * rest / n_atoms, "share": rest / whole})
    total = {"Mflop": flops / 1e6, "MB": moved / 1e6, "flop/byte": flops / moved, "µs/atom": 1e6 * whole / n_atoms}
    rates_reached = {"GFlop/s": flops / whole / 1e9, "roof": flops / least / 1e9, "fraction": least / whole}
    return [*rows, {"stage": "**whole call**", **total, **rates_reached, "share": 1.0}]


def _row(name: str, stage, seconds: float, rates: Mapping[str, float], n_atoms: int, whole: float) -> dict:
    limit = roof(stage, rates)
    return {
        "stage": f"… of {stage.within}: {name}" if stage.within else name,
        "Mflop": stage.flops / 1e6,
        "MB": stage.bytes / 1e6,
        "flop/byte": stage.flops / stage.bytes,
        "µs/atom": 1e6 * seconds / n_atoms,
        "GFlop/s": stage.flops / seconds / 1e9,
        "roof": limit / 1e9,
        "fraction": stage.flops / seconds / limit,
        "share": seconds / whole,
    }


def report(rates: Mapping[str, float], rows: list[dict]) -> str:
    from comparison.tables import markdown

    units = {True: "GB/s", False: "GFlop/s"}
    machine = [[name, f"{rate / 1e9:.1f} {units[name.startswith('stream')]}"] for name, rate in rates.items()]
    columns = list(rows[0])
    lines = [[_cell(name, row.get(name)) for name in columns] for row in rows]
    return f"{markdown(['one core', 'rate'], machine)}\n\n{markdown(columns, lines)}"


def _cell(name: str, value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or "–"
    return f"{100 * value:.0f} %" if name in ("fraction", "share") else f"{value:.3g}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("atoms", 512), ("n-max", 8), ("l-max", 6), ("n-sparse", 1000), ("repeats", 15)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    pin(1)
    from roofline_stages import build_stages

    stages, n_features = build_stages(options.atoms, options.n_max, options.l_max, options.n_sparse)
    before, seconds = machine_rates(n_features, options.n_sparse), medians(stages, options.repeats)
    rates = {name: max(rate, before[name]) for name, rate in machine_rates(n_features, options.n_sparse).items()}
    rows = analyse(stages, seconds, rates, options.atoms)
    print(report(rates, rows))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"rates": rates, "stages": rows}, indent=1))


if __name__ == "__main__":
    main()
