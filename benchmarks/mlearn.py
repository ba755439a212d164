"""Accuracy on the mlearn silicon and copper sets: fit on the training file, errors on the test file, as a table.

    python benchmarks/mlearn.py DATA/mlearn [--elements Si Cu] [--settings prototype gapkit]

The data are those of Zuo et al., J. Phys. Chem. A 124, 731 (2020), with the stress components in ASE's order. The
published rows are printed beside ours. Copper's energies and stresses disagree by a constant -2.7 GPa, so that it is
fitted to energies and forces only, as the published potentials were.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

from gapkit import GAP, SOAP, DotProduct, Term, read_structures
from gapkit.evaluation.compare import evaluate

PUBLISHED = {  # test MAE, meV/atom and eV/Å: Witt et al., J. Chem. Phys. 159, 164101 (2023), after Zuo et al.
    "Si": [("GAP (published)", 2.91, 0.07), ("MTP (published, best)", 2.21, 0.06)],
    "Cu": [("GAP (published)", 0.46, 0.01), ("MTP (published, best)", 0.41, 0.01)],
}
SMALL, LARGE = dict(cutoff=5.0, n_max=8, l_max=6), dict(cutoff=5.4, n_max=8, l_max=8)
PROTOTYPE = dict(energy_noise=0.001, forces_noise=0.05, virial_noise=0.02)
TIGHTER = dict(energy_noise=0.00065, forces_noise=0.05, virial_noise=0.013)
SETTINGS = {  # SOAP, sparse points, noises
    "Si": {
        "prototype": (SMALL, 1200, PROTOTYPE),
        "prototype, E and S tighter": (SMALL, 1200, TIGHTER),
        "gapkit": (LARGE, 2000, dict(energy_noise=0.002, forces_noise=0.1, virial_noise=0.02)),
    },
    "Cu": {
        "prototype": (SMALL, 1200, PROTOTYPE),
        "gapkit": (SMALL, 1200, dict(energy_noise=3e-5, forces_noise=0.01)),
    },
}


def fit(element: str, folder: Path, name: str) -> tuple[GAP, float]:
    soap, n_sparse, noise = SETTINGS[element][name]
    train = read_structures(folder / f"{element}_train.xyz", stress_key="" if element == "Cu" else None)
    term = Term(SOAP([element], **soap), DotProduct(zeta=4, delta=10.0), n_sparse)
    start = time.perf_counter()
    return GAP([term], **noise, verbose=False).fit(train), time.perf_counter() - start


def row(element: str, folder: Path, name: str) -> str:
    soap, n_sparse, _ = SETTINGS[element][name]
    gap, seconds = fit(element, folder, name)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    s = evaluate(gap, read_structures(folder / f"{element}_test.xyz"), return_std=False).summary()
    label = f"gapkit, {name}: {soap['n_max']}, {soap['l_max']}, {soap['cutoff']} Å, {n_sparse} points"
    cells = [f"{s[k][m]:.{d}f}" for k, d in (("energy", 2), ("forces", 4), ("stress", 3)) for m in ("rmse", "mae")]
    if element == "Cu":
        cells[4:] = ["–", "–"]
    return f"| {element} | {label} | " + " | ".join(cells) + f" | {seconds:.0f} s | {memory:.1f} GB |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--elements", nargs="+", default=["Si", "Cu"])
    parser.add_argument("--settings", nargs="+", help="names of settings, default all")
    arguments = parser.parse_args()
    print("| set | potential | E RMSE meV/atom | E MAE | F RMSE eV/Å | F MAE | S RMSE GPa | S MAE | fit | peak |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for element in arguments.elements:
        for name, energy, forces in PUBLISHED[element]:
            print(f"| {element} | {name} | – | {energy} | – | {forces} | – | – | – | – |")
        for name in arguments.settings or SETTINGS[element]:
            print(row(element, arguments.data, name), flush=True)


if __name__ == "__main__":
    main()
