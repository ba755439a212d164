"""Training at scale: workers, memory, a large fit, a projection to ten million environments, updates.

    OMP_NUM_THREADS=1 python benchmarks/scale.py workers [--n-sparse 1000] [--copies 16]
    OMP_NUM_THREADS=1 python benchmarks/scale.py memory --data DATA/mlearn/Si_train.xyz [--n-sparse 1500] [--every 4]
    OMP_NUM_THREADS=2 python benchmarks/scale.py large --data DATA/mlearn/Si_train.xyz [--environments 100000]
    OMP_NUM_THREADS=1 python benchmarks/scale.py projection --data DATA/mlearn/Si_train.xyz [--n-sparse 2000]
    OMP_NUM_THREADS=1 python benchmarks/scale.py updates --data DATA/mlearn/Si_train.xyz [--n-sparse 1000]

Without ``--data`` the shipped silicon frames are used. Where more frames are needed than there are, copies come with a
fresh displacement of each atom (normal, 0.02 Å) and the labels of the original: a load test, not a model. They are made
when they are read, never held. Run it on an idle machine; `workers` needs two idle cores.
"""

from __future__ import annotations

import argparse
import gc
import json
import pickle
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit import GAP, SOAP, DotProduct, Term, read_structures
from gapkit.datasets import silicon_path
from gapkit.fitting.distributed import BATCH, CHUNK_ATOMS, chunks_of
from gapkit.fitting.first_pass import SparsePools, Summary, candidates
from gapkit.fitting.noise import Noises
from gapkit.fitting.second_pass import Factors, Recipe, stream_rows
from gapkit.fitting.updates import solve
from gapkit.runtime.cluster import connected
from gapkit.runtime.threads import one_blas_thread
from gapkit.structures.frames import labelled_frames

NOISES = dict(energy_noise=0.002, forces_noise=0.1, virial_noise=0.02)
DISPLACEMENT = 0.02  # Å


class Copies:
    """Frames over and over, the first time as they are, then displaced at random (or not); made again in each pass."""

    def __init__(self, frames: list[Atoms], n_copies: int, displacement: float = DISPLACEMENT) -> None:
        self.frames, self.n_copies, self.displacement = frames, n_copies, displacement

    def __iter__(self) -> Iterator[Atoms]:
        rng = np.random.default_rng(0)
        for k in range(self.n_copies):
            for atoms in self.frames:
                new = atoms.copy()
                new.positions += (k > 0) * self.displacement * rng.standard_normal(new.positions.shape)
                new.calc = SinglePointCalculator(new, **atoms.calc.results)
                yield new

    @property
    def n_environments(self) -> int:
        return self.n_copies * sum(map(len, self.frames))


def potential(n_sparse: int, cutoff: float = 5.0) -> GAP:
    return GAP([Term(SOAP(["Si"], cutoff, 8, 6), DotProduct(4, 10.0), n_sparse)], **NOISES, verbose=False)


def frames_of(given: argparse.Namespace) -> list[Atoms]:
    return read_structures(given.data)[:: given.every]


def seconds(function: Callable[[], object], repeats: int = 1) -> float:
    """Median."""
    times = []
    for _ in range(repeats):
        gc.collect()
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def peak() -> float:
    """Largest memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---- workers


def workers(given: argparse.Namespace) -> None:
    frames = Copies(frames_of(given), given.copies)
    times: dict[int, list[float]] = {1: [], 2: []}
    models = {}
    for _ in range(given.repeats):
        for n in times:
            with connected(n) as client:
                potential(20).fit(frames.frames[:40], client=client)  # loads and compiles
                gap = models[n] = potential(given.n_sparse)
                times[n].append(seconds(lambda g=gap, c=client: g.fit(frames, client=c)))
    same = np.array_equal(models[1].alpha_, models[2].alpha_)
    median = {n: float(np.median(t)) for n, t in times.items()}
    print(f"\n### Worker processes: {frames.n_environments} environments, {given.n_sparse} sparse points\n")
    print("| workers | fit, s | each run | environments/s |\n|---|---|---|---|")
    for n, t in times.items():
        runs = ", ".join(f"{x:.1f}" for x in t)
        print(f"| {n} | {median[n]:.1f} | {runs} | {frames.n_environments / median[n]:.0f} |")
    print(
        f"\nratio {median[1] / median[2]:.2f} (bar: 1.70); the weights are {'' if same else 'not '}the same to the bit"
    )


# ---- memory


def memory(given: argparse.Namespace) -> None:
    """Each size in a process of its own."""
    print(f"\n### Memory and time against frames, {given.n_sparse} sparse points, copies made while reading\n")
    print("| copies | frames | environments | fit, s | ms/environment | peak, MB | against 1× | estimated, MB |")
    print("|---|---|---|---|---|---|---|---|")
    first = 0.0
    for copies in given.sizes:
        command = [sys.executable, __file__, "one-fit", "--data", str(given.data), "--every", str(given.every)]
        command += ["--n-sparse", str(given.n_sparse), "--copies", str(copies)]
        command += ["--max-memory", given.max_memory] if given.max_memory else []
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        first = first or found["peak"]
        per = 1e3 * found["seconds"] / found["environments"]
        print(
            f"| {copies}× | {found['frames']} | {found['environments']} | {found['seconds']:.1f} | {per:.3f} | "
            f"{found['peak']:.0f} | {100 * (found['peak'] / first - 1):+.1f} % | {found['estimated']:.0f} |",
            flush=True,
        )


def one_fit(given: argparse.Namespace) -> None:
    frames = Copies(frames_of(given), given.copies, 0.0)
    gap = potential(given.n_sparse)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of course frames repeat
        t = seconds(lambda: gap.fit(frames, max_memory=given.max_memory))
    found = {"frames": gap.training_["n_structures"], "environments": frames.n_environments, "seconds": t}
    print(json.dumps(found | {"peak": peak(), "estimated": gap.memory_.estimated / 2**20}))


# ---- a large fit


def large(given: argparse.Namespace) -> None:
    originals = frames_of(given)
    frames = Copies(originals, -(-given.environments // sum(map(len, originals))))
    gap = potential(given.n_sparse)
    t = seconds(lambda: gap.fit(frames, max_memory=given.max_memory))
    estimated, used = gap.memory_.estimated / 2**20, peak()
    print(f"\n### One large fit, max_memory {given.max_memory} (a load test: labels belong to undisplaced frames)\n")
    print("| environments | labels | sparse points | time, s | peak, MB | estimated, MB | off |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {frames.n_environments} | {gap.posterior_.n_rows} | {len(gap.alpha_)} | {t:.0f} | {used:.0f} | "
        f"{estimated:.0f} | {100 * (estimated / used - 1):+.0f} % |"
    )
    print("\n" + "; ".join(report["text"] for report in gap.selection_.values()))


# ---- projection


class Costs(dict[str, float]):
    """Seconds and bytes, by name."""

    def passes(self, n_environments: float, n_workers: int, bandwidth: float) -> tuple[float, float, float]:
        """Seconds of the first pass, the second, and what follows both.

        In each pass the workers share theirs, the client does its own meanwhile; the slower of the two decides.
        """
        chunks, rows = n_environments / CHUNK_ATOMS, n_environments / self["chunk_atoms"]
        thinned = max(0.0, n_environments / (self["pool_rows"] - self["pool_kept"]))
        send = self["pool_bytes"] / bandwidth
        one = chunks * self["descriptors"] + (thinned + chunks / BATCH) * self["reduction"]
        here = chunks * self["summary"] + chunks / BATCH * (
            send + self["reduction"] * self["pool_kept"] / (self["pool_rows"] - self["pool_kept"])
        )
        move = self["packing"] + self["factor_bytes"] / bandwidth
        two = rows * (self["rows"] + self["merge"] + move)
        own = rows * self["sending"] + rows / BATCH * (move + self["merge"])
        return max(one / n_workers, here), max(two / n_workers, own), self["choice"] + self["solution"]


def projection(given: argparse.Namespace) -> None:
    gap = potential(given.n_sparse)
    terms, noises = tuple(gap.terms or ()), Noises(*NOISES.values())
    costs = Costs(chunk_atoms=max(CHUNK_ATOMS, given.n_sparse))
    with one_blas_thread():
        pools = first_pass_costs(given, terms, costs)
        basis, _ = pools.choose()
        recipe = Recipe(basis, {"Si": -5.0}, noises)
        second_pass_costs(given, recipe, costs)
    report(given, costs)


def first_pass_costs(given: argparse.Namespace, terms: tuple[Term, ...], costs: Costs) -> SparsePools:
    source = iter(Copies(frames_of(given), 10**6))
    frames = list(labelled_frames(list(islice(source, 60))))
    chunk = next(chunks_of(frames, CHUNK_ATOMS))
    per_atom = CHUNK_ATOMS / sum(len(frame.atoms) for frame in chunk)
    costs["descriptors"] = per_atom * seconds(lambda: [candidates(terms, f.atoms) for f in chunk], 3)
    noises = Noises(*NOISES.values())
    costs["summary"] = per_atom * seconds(lambda: summarise(chunk, noises), 3)
    pools = SparsePools(terms, 0)
    while not pools.pools or next(iter(pools.pools.values())).n_reductions == 0:
        found = candidates(terms, next(source))
        start = time.perf_counter()
        pools.add(found)
        costs["reduction"] = time.perf_counter() - start
    pool = next(iter(pools.pools.values()))
    costs["pool_rows"], costs["pool_kept"] = float(pool.capacity or 0), 4.0 * pool.n_sparse
    costs["pool_bytes"] = 8.0 * costs["pool_kept"] * terms[0].descriptor.n_features
    costs["choice"] = seconds(pool.choose)
    return pools


def summarise(chunk: list, noises: Noises) -> bytes:
    """What the client does with a chunk in the first pass."""
    summary = Summary()
    for frame in chunk:
        summary.add(frame, noises)
    return pickle.dumps(chunk)


def second_pass_costs(given: argparse.Namespace, recipe: Recipe, costs: Costs) -> None:
    source = labelled_frames(Copies(frames_of(given), 4))
    chunks = list(islice(chunks_of(source, int(costs["chunk_atoms"])), 3))
    sizes = [sum(len(frame.atoms) for frame in chunk) / costs["chunk_atoms"] for chunk in chunks]
    factors: list[Factors] = []
    times = [seconds(lambda c=c: factors.append(stream_rows(recipe, c, {}))) for c in chunks]
    costs["rows"] = float(np.median(np.divide(times, sizes)))
    costs["n_rows"] = sum(factor.n_rows for factor in factors[0].values()) / sizes[0]
    costs["sending"] = seconds(lambda: (pickle.dumps(chunks[0]), [f.digest() for f in chunks[0]]), 3)
    costs["merge"] = float(np.median([seconds(lambda p=p: merged(*p)) for p in pairwise(factors)]))
    packed = pickle.dumps(factors[0])
    costs["factor_bytes"] = float(len(packed))
    costs["packing"] = seconds(lambda: pickle.loads(pickle.dumps(factors[0])))
    costs["solution"] = seconds(lambda: solve(recipe, merged(*factors[:2]), 1e-8))


def merged(left: Factors, right: Factors) -> Factors:
    total = {group: factor.copy() for group, factor in left.items()}
    for group, factor in right.items():
        total[group].merge(factor)
    return total


def report(given: argparse.Namespace, costs: Costs) -> None:
    atoms, rows = costs["chunk_atoms"], costs["n_rows"]
    print(f"\n### Measured on one thread, {given.n_sparse} sparse points, {len(NOISES)} noise groups\n")
    print("| step | cost |\n|---|---|")
    print(f"| descriptors | {CHUNK_ATOMS / costs['descriptors']:.0f} environments/s |")
    print(
        f"| thinning out a full pool | {costs['reduction']:.1f} s per {costs['pool_rows'] - costs['pool_kept']:.0f} |"
    )
    print(f"| rows and their factors | {rows / costs['rows']:.0f} rows/s, {atoms / costs['rows']:.0f} environments/s |")
    print(f"| merging two workers' factors | {costs['merge']:.2f} s per {atoms:.0f} environments |")
    print(f"| packing and unpacking factors, {costs['factor_bytes'] / 1e6:.0f} MB | {costs['packing']:.2f} s |")
    print(f"| client, first pass | {1e6 * costs['summary'] / CHUNK_ATOMS:.1f} µs/environment |")
    print(f"| client, second pass | {1e6 * costs['sending'] / atoms:.1f} µs/environment |")
    print(f"| choice of the sparse points, solution | {costs['choice']:.0f} s, {costs['solution']:.0f} s |")
    n = given.project
    print(f"\n### Projection to {n:.0e} environments, {given.bandwidth:g} GB/s between nodes\n")
    print("| workers | first pass | second pass | rest | together | of ideal |\n|---|---|---|---|---|---|")
    alone = sum(costs.passes(n, 1, 1e9 * given.bandwidth))
    for n_workers in (1, 16, 64, 256, 1024):
        parts = costs.passes(n, n_workers, 1e9 * given.bandwidth)
        cells = [f"{t / 60:.1f} min" for t in (*parts, sum(parts))]
        print(f"| {n_workers} | " + " | ".join(cells) + f" | {100 * alone / n_workers / sum(parts):.0f} % |")


# ---- updates


def updates(given: argparse.Namespace) -> None:
    frames = frames_of(given)
    tenth = frames[::10]
    gap = potential(given.n_sparse)
    times = {"fit to all frames": seconds(lambda: gap.fit(frames))}
    n_more = given.n_sparse // 10
    times[f"remove a tenth ({len(tenth)} frames)"] = seconds(lambda: gap.remove(tenth))
    times["partial_fit with them"] = seconds(lambda: gap.partial_fit(tenth))
    times["remove one frame"] = seconds(lambda: gap.remove(frames[1:2]))
    gap.fit(frames)
    times[f"add_sparse_points, {n_more} more"] = seconds(lambda: gap.add_sparse_points(frames, n_more))
    whole = times["fit to all frames"]
    print(f"\n### Updates: {len(frames)} frames, {given.n_sparse} sparse points\n")
    print("| step | s | of the fit |\n|---|---|---|")
    for name, t in times.items():
        print(f"| {name} | {t:.2f} | {100 * t / whole:.0f} % |")


# ---- command line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    functions = {
        "workers": (workers, 1000), "memory": (memory, 1500), "one-fit": (one_fit, 1500), "large": (large, 2000),
        "projection": (projection, 2000), "updates": (updates, 1000),
    }  # fmt: skip
    for name, (function, n_sparse) in functions.items():
        own = commands.add_parser(name)
        own.set_defaults(function=function)
        own.add_argument("--data", type=Path, default=silicon_path("train"))
        own.add_argument("--n-sparse", type=int, default=n_sparse)
        own.add_argument("--every", type=int, default=4 if name == "memory" else 1, help="use every n-th frame")
        if name in ("workers", "one-fit"):
            own.add_argument("--copies", type=int, default=16)
        if name in ("memory", "one-fit", "large"):
            own.add_argument("--max-memory", default="4GB" if name == "large" else None)
        if name == "workers":
            own.add_argument("--repeats", type=int, default=3)
        if name == "memory":
            own.add_argument("--sizes", type=int, nargs="+", default=[1, 10, 100])
        if name == "large":
            own.add_argument("--environments", type=int, default=100_000)
        if name == "projection":
            own.add_argument("--project", type=float, default=1e7, help="environments")
            own.add_argument("--bandwidth", type=float, default=1.0, help="GB/s between nodes")
    given = parser.parse_args()
    given.function(given)


if __name__ == "__main__":
    main()
