"""Noises and δ of `gapkit demo` from its training frames alone, by the log marginal likelihood ("evidence"), as tables.

    OMP_NUM_THREADS=1 python benchmarks/demo_noises.py [--n-sparse 1000] [--delta 5 10] [--test]

For each δ the rows are streamed once into one factor per noise group (see `gapkit.posterior`), into which any noises
can be put afterwards. Then one noise at a time is set to where the evidence is largest, the others held, until a round
over all of them gains less than `SMALLEST_GAIN`. The test frames take no part in this: `--test` shows what the demo's
present noises and the chosen ones do there, once the choice is made. Minutes; to be run again when the data change, the
chosen values then go, rounded, to `gapkit/demo.py`. Where it starts does not matter: noises equal for all config types
lead to the same values.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

import numpy as np
from ase import Atoms
from scipy.optimize import minimize_scalar

from gapkit import GAP, covariance, demo
from gapkit.datasets import load_silicon
from gapkit.evaluation import evaluate
from gapkit.observations import KINDS, UNITS
from gapkit.posterior import fit_posterior
from gapkit.row_factor import RowFactor
from gapkit.structures import find_label_keys, read_labels
from gapkit.training import progress, stream_rows
from gapkit.uncertainty import calibration

Group = tuple[str, str]  # kind, config type
Noise = dict[Group, float]  # eV/atom, eV/Å, eV/atom
RANGE = {"energy": (1e-4, 0.1), "forces": (1e-3, 1.0), "virial": (1e-3, 1.0)}  # the labels' convergence to hopeless
SMALLEST_GAIN = 0.5  # of the log evidence in a round
TOLERANCE = 0.01  # of the logarithm of a noise


def potential(delta: float, n_sparse: int, noise: Noise) -> GAP:
    """The demo's potential with another δ (eV) and other noises."""
    by_kind = {f"{kind}_noise": {name: x for (k, name), x in noise.items() if k == kind} for kind in KINDS}
    return demo.make_potential(n_sparse, verbose=False).set_params(terms__0__kernel__delta=delta, **by_kind)


def row_factors(gap: GAP, frames: list[Atoms]) -> dict[Group, RowFactor]:
    """The factors that `GAP.fit` makes of labelled frames; they depend on the groups of noises, not on their values."""
    keys = find_label_keys(frames)
    labels = [read_labels(atoms, keys) for atoms in frames]
    offsets = [sum(gap.e0_[symbol] for symbol in atoms.symbols) for atoms in frames]
    noises = {kind: getattr(gap, f"{kind}_noise") for kind in KINDS}
    return stream_rows(gap.terms_, gap.blocks_, frames, labels, offsets, noises, progress(False))


def evidence(K_mm: np.ndarray, factors: Mapping[Group, RowFactor], noise: Noise, jitter: float) -> float:
    """log p(labels)."""
    return fit_posterior(K_mm, factors, noise, jitter).log_marginal_likelihood


def evidence_along(
    K_mm: np.ndarray, factors: Mapping[Group, RowFactor], noise: Noise, jitter: float, group: Group
) -> Callable[[float], float]:
    """log p(labels) as a function of the logarithm of one noise, up to a constant: the others are folded once."""
    others = RowFactor(len(K_mm))
    for other, factor in factors.items():
        if other != group:
            others.add(factor.factor[:, :-1] / noise[other], factor.factor[:, -1] / noise[other])
    pair: dict = {"others": others, group: factors[group]}
    return lambda log_noise: evidence(K_mm, pair, {"others": 1.0, group: np.exp(log_noise)}, jitter)


def choose(delta: float, n_sparse: int, frames: list[Atoms], noise: Noise) -> tuple[Noise, float]:
    """The noises that the evidence of `frames` prefers at this δ (eV), found from `noise`, and the log evidence."""
    gap = potential(delta, n_sparse, noise).fit(frames)
    factors = row_factors(gap, frames)
    fixed = (covariance.K_mm(gap.terms_, gap.blocks_), factors)
    best, before = gap.posterior_.log_marginal_likelihood, -np.inf
    if abs(evidence(*fixed, noise, gap.jitter) - best) > 1e-6 * abs(best):
        raise RuntimeError("GAP.fit and the factors made here give different evidences, one of them has changed.")
    while best > before + SMALLEST_GAIN:
        before = best
        for group in factors:
            along = evidence_along(*fixed, noise, gap.jitter, group)
            options = {"bounds": np.log(RANGE[group[0]]), "method": "bounded", "options": {"xatol": TOLERANCE}}
            noise = noise | {group: float(np.exp(minimize_scalar(lambda x, f=along: -f(x), **options).x))}
        best = evidence(*fixed, noise, gap.jitter)
    return noise, best


def print_noises(present: Noise, chosen: Noise) -> None:
    """One row per config type, present → chosen for each kind."""
    print("| config type | " + " | ".join(f"{kind} ({UNITS[kind]})" for kind in KINDS) + " |\n|---|---|---|---|")
    for name in dict.fromkeys(name for _, name in present):
        print(f"| {name} | " + " | ".join(f"{present[k, name]:g} → {chosen[k, name]:.2g}" for k in KINDS) + " |")


def print_test(title: str, gap: GAP) -> None:
    """Errors on the demo's test frames and the z-scores of the energies."""
    found = evaluate(gap, load_silicon("test"))
    summary, scored = found.summary(), calibration(found.energy.displayed())
    errors = ", ".join(f"{kind} {summary[kind]['rmse']:.4g} {summary[kind]['unit']}" for kind in found.comparisons)
    print(
        f"- {title}: RMSE {errors}; z of the energies has mean {scored.mean_z:.2f} and std {scored.std_z:.2f}, "
        f"{100 * scored.coverage[0.9]:.0f} % lie in their 90 % interval, nll {scored.nll:.3f}, CRPS {scored.crps:.3f}"
    )


def main() -> None:
    """Scan δ, print the evidences, the noises and, on request, the test errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-sparse", type=int, default=1000)
    parser.add_argument("--delta", type=float, nargs="+", default=[2.5, 5.0, 10.0, 20.0], metavar="EV")
    parser.add_argument("--test", action="store_true", help="show errors on the test frames too, after the choice")
    given = parser.parse_args()
    train = load_silicon("train")
    gap = demo.make_potential(given.n_sparse, verbose=False).fit(train)
    present = {(k, name): value for k in KINDS for name, value in getattr(gap, f"{k}_noise").items()}
    print(f"present: log evidence {gap.posterior_.log_marginal_likelihood:.1f}\n\n| δ (eV) | log evidence |\n|---|---|")
    results, noise = {}, present
    for delta in given.delta:
        noise, log_evidence = results[delta] = choose(delta, given.n_sparse, train, noise)
        print(f"| {delta:g} | {log_evidence:.1f} |", flush=True)
    delta = max(results, key=lambda d: results[d][1])
    chosen = results[delta][0]
    print(f"\nδ = {delta:g} eV; present → chosen\n")
    print_noises(present, chosen)
    if given.test:
        print()
        print_test("present", gap)
        print_test("chosen", potential(delta, given.n_sparse, chosen).fit(train))


if __name__ == "__main__":
    main()
