"""How long the search for 10 noises and amplitudes takes at M = 1000, one core, from row factors alone.

    OMP_NUM_THREADS=1 python benchmarks/evidence.py [--n-sparse 1000] [--rows 20000]

Labels are drawn from the model itself: two terms (ζ = 4 kernels of random unit vectors), four config types with
energies, forces or virials, each with a noise of its own, all starts wrong by factors of 2 to 30. Making the factors is
not timed. Printed: seconds, evaluations, seconds of one evaluation, memory above that of the factors, and the table.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from scipy.linalg import block_diag

from gapkit.gaussian_process.conditioning import factorise
from gapkit.gaussian_process.hyperparameter_search import Amplitude, maximise
from gapkit.gaussian_process.row_factor import RowFactor

NOISE = {
    ("energy", "bulk"): 0.001, ("energy", "surface"): 0.003, ("energy", "liquid"): 0.01, ("energy", "defect"): 0.002,
    ("forces", "bulk"): 0.02, ("forces", "surface"): 0.1, ("forces", "liquid"): 0.3, ("virial", "all"): 0.02,
}  # fmt: skip
DELTA, START = (3.0, 0.5), (1.0, 1.0)  # eV, true and at the start


def covariance(n: int, delta: float, rng: np.random.Generator) -> np.ndarray:
    X = rng.normal(size=(n, 8))
    X /= np.linalg.norm(X, axis=1)[:, None]
    return delta**2 * (X @ X.T) ** 4


def problem(n_sparse: int, n_rows: int) -> tuple[np.ndarray, dict, list[Amplitude]]:
    """K_mm, factors and amplitudes."""
    rng = np.random.default_rng(0)
    sizes = (n_sparse - n_sparse // 3, n_sparse // 3)
    K_mm = block_diag(*(covariance(n, d, rng) for n, d in zip(sizes, START)))
    L, _ = factorise(K_mm, 1e-10)
    beta = np.repeat(np.divide(DELTA, START), sizes) * rng.standard_normal(n_sparse)
    factors = {}
    for group, noise in NOISE.items():
        factors[group] = factor = RowFactor(n_sparse)
        n, size = (n_rows, 1.0) if group[0] == "forces" else (n_rows // 40, 30.0)
        for start in range(0, n, 2000):
            G = size * rng.standard_normal((min(2000, n - start), n_sparse)) / np.sqrt(n_sparse)
            factor.add(G @ L.T, G @ beta + noise * size * rng.standard_normal(len(G)), size)
    columns = (slice(0, sizes[0]), slice(sizes[0], n_sparse))
    return K_mm, factors, [Amplitude(f"δ{k}", START[k], columns[k]) for k in range(2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-sparse", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=20000, help="force components of each config type")
    given = parser.parse_args()
    K_mm, factors, amplitudes = problem(given.n_sparse, given.rows)
    for factor in factors.values():
        factor.factor  # noqa: B018 - fold what waits
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = maximise(K_mm, factors, dict.fromkeys(factors, 0.03), amplitudes)
    seconds = time.perf_counter() - start
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    arrays = more * 2**20 / (8 * given.n_sparse**2)
    print(found.table())
    print(
        f"\nM = {given.n_sparse}, {len(found.hyperparameters)} hyperparameters, {len(found.start_values)} starts: "
        f"{seconds:.1f} s, {found.n_evaluations} evaluations, {more:.0f} MB above the factors ({arrays:.1f} M² numbers)"
    )
    true = NOISE | {f"δ{k}": delta for k, delta in enumerate(DELTA)}
    off = [np.log(h.value / true[h.key]) / h.std_log for h in found.hyperparameters]
    print("off the truth by standard deviations:", " ".join(f"{x:.1f}" for x in off))


if __name__ == "__main__":
    main()
