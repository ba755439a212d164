"""Part "flare": nothing is run; this run's times of gapkit beside measured times of FLARE's sparse GP.

The package does not build from the index without more downloads. The figures are medians of processor time of FLARE
v1.4.3 (source of January 2026) built with O3 and OpenBLAS, one thread, on another machine of this kind (2 virtual
cores, AMD EPYC): B2 descriptor 8, 6 (Chebyshev, quadratic cutoff 5 Å), normalised dot-product kernel of power 4,
1000 sparse environments at random, diamond silicon rattled by 0.05 Å. Times of such machines differ by tens of percent:
read the ratios with that in mind.
"""

from __future__ import annotations

from comparison.evaluation import FORCE_VARIANCE, MEAN, VARIANCE
from comparison.results import Row
from comparison.settings import Settings

N_SPARSE = 1000
FLARE = (  # what, atoms, FLARE's ms/atom, what of gapkit it is compared with
    ("energy, forces, stress", 512, 8.34, MEAN),
    ("energy, forces, stress", 64, 6.44, MEAN),
    ("the same and local variances", 512, 8.29, VARIANCE),
    ("the same and local variances", 64, 6.56, VARIANCE),
    ("the same and DTC force variances", 64, 31.0, FORCE_VARIANCE),
    ("the same and DTC force variances (not like for like)", 64, 31.0, VARIANCE),
)


def rows(settings: Settings) -> list[Row]:
    """Label and values of each comparison that this run's part "silicon" allows.

    gapkit's "variance" is that of each local energy: beside FLARE's force variances it is another, cheaper quantity.
    """
    table = []
    for what, n_atoms, theirs, ours in FLARE:
        found = settings.results.rows("silicon", atoms=n_atoms, n_sparse=N_SPARSE, n_max=8, what=ours)
        if found and "seconds" in found[-1]["engines"]["gapkit"]:
            ms = 1e3 * found[-1]["engines"]["gapkit"]["seconds"] / n_atoms
            values = {"gapkit, ms/atom": ms, "FLARE, ms/atom": theirs, "FLARE / gapkit": theirs / ms}
            table.append({"label": f"{what}; {n_atoms} atoms; gapkit: {ours}", "values": values})
    return table
