"""gapkit beside its peers in one run: quippy (QUIP/GAP), gap_fit, featomic, dscribe, LAMMPS, whichever are installed.

    python benchmarks/peers.py [--only silicon species …] [--json work/peers.json] [--resume] [--plots]
                               [--data DATA/mlearn]

One thread unless a part says otherwise: the environment is pinned before anything is imported. The functions take
turns on the same moving structures, after a warm-up; figures are medians of wall time. ``make_environment.sh`` beside
this file makes an environment with all peers. Each part's module in ``comparison`` states what is timed and how.

With ``--resume`` what the JSON file holds is not measured again, so that a long run can be taken up and parts can be
added; potentials made by gap_fit are kept in the work folder in any case.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from comparison.pinning import pin

PARTS = (
    "checks", "silicon", "species", "sizes", "large", "sparse", "descriptor", "threads", "training", "md", "startup",
    "flare",
)  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", type=Path, help="file that keeps the measurements")
    parser.add_argument("--resume", action="store_true", help="keep what the JSON file holds")
    parser.add_argument("--plots", action="store_true", help="draw figures")
    parser.add_argument("--figures", type=Path, default=Path(__file__).parent / "figures", help="their folder")
    parser.add_argument("--data", type=Path, help="folder of the mlearn files, for the part training")
    parser.add_argument("--work", type=Path, default=Path("work/peers"), help="folder of potentials")
    _sizes(parser.add_argument_group("sizes and limits"))
    return parser.parse_args()


def _sizes(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--atoms", type=int, default=512)
    group.add_argument("--n-sparse", type=int, default=1000)
    group.add_argument("--sizes", type=int, nargs="+", default=[8, 64, 512, 4096, 32768])
    group.add_argument("--sparse-counts", type=int, nargs="+", default=[100, 300, 1000, 2000, 4000])
    group.add_argument("--large", type=int, default=100_000, help="atoms of the run with peak memory")
    group.add_argument("--threads-atoms", type=int, default=4096)
    group.add_argument("--repeats", type=int, default=9)
    group.add_argument("--budget", type=float, default=90.0, help="seconds after which slow functions take fewer turns")
    group.add_argument("--call-limit", type=float, default=60.0, help="seconds that one call may take")
    group.add_argument("--steps", type=int, default=400, help="of molecular dynamics")


def main() -> None:
    options = vars(arguments())
    pin(1)
    from comparison.run import run

    run(**options)


if __name__ == "__main__":
    main()
