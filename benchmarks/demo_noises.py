"""Noises and δ of `gapkit demo` from its training frames alone, by the log marginal likelihood ("evidence").

    OMP_NUM_THREADS=1 python benchmarks/demo_noises.py [--n-sparse 1000] [--start NOISE] [--test]

The rows are streamed once; the search for all noises and δ at a time needs no others (see
`gapkit.gaussian_process.hyperparameter_search`). The test frames take no part in this: `--test` shows what the demo's
present noises and the learned ones do there, once the choice is made. `--start` begins with one noise for everything
instead of the demo's present ones: it leads to the same values. To be run again when the data change, the values then
go, rounded, to `gapkit/demo.py`.
"""

from __future__ import annotations

import argparse
import time

from gapkit import GAP
from gapkit.cli import demo
from gapkit.datasets import load_silicon
from gapkit.evaluation.calibration import calibration
from gapkit.evaluation.compare import evaluate
from gapkit.quantities import KINDS


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
    """Learn, print the table and, on request, the test errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-sparse", type=int, default=1000)
    parser.add_argument("--start", type=float, help="one noise, eV/atom and eV/Å, to begin with")
    parser.add_argument("--test", action="store_true", help="show errors on the test frames too, after the choice")
    given = parser.parse_args()
    train, gap = load_silicon("train"), demo.make_potential(given.n_sparse, verbose=False)
    if given.start is not None:
        names = {kind: getattr(gap, f"{kind}_noise") for kind in KINDS}
        gap.set_params(**{f"{kind}_noise": dict.fromkeys(names[kind], given.start) for kind in KINDS})
    start = time.perf_counter()
    gap.fit(train, optimize=["noise", "delta"])
    print(f"{gap.optimum_.table()}\n\nfit and search: {time.perf_counter() - start:.1f} s")
    if given.test:
        print()
        print_test("present", demo.make_potential(given.n_sparse, verbose=False).fit(train))
        print_test("learned", gap)


if __name__ == "__main__":
    main()
