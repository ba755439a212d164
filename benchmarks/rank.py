"""What it would cost to project features onto the leading directions of the sparse points.

    python benchmarks/rank.py

Kernel products take half of an evaluation; with the sparse points replaced by X Vᵣ Vᵣᵀ, Vᵣ their r leading right
singular vectors, they would shrink from 4 M n_features operations to 4 r (M + n_features). The table shows what that
does to local energies and forces of the shipped silicon (fit to its training frames, looked at on its test frames).
"""

from __future__ import annotations

import numpy as np

from gapkit import GAP, SOAP, DotProduct, Term
from gapkit.datasets import load_silicon
from gapkit.terms.basis import Basis
from gapkit.terms.evaluate import evaluate

M = 1000


def fitted(n_max: int) -> GAP:
    """A potential with realistic weights."""
    term = Term(SOAP(["Si"], 5.0, n_max, 6), DotProduct(4, 10.0), M)
    return GAP([term], 0.002, 0.1, 0.02, verbose=False).fit(load_silicon("train"))


def results(gap: GAP, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Local energies and forces of all test frames with sparse points X."""
    basis = Basis(gap.terms_, (gap.blocks_[0]._replace(X=X),))
    found = [evaluate(basis.environments(a), gap.alpha_) for a in load_silicon("test")]
    return np.concatenate([p.local_energies for p in found]), np.concatenate([p.forces for p in found])


def main() -> None:
    print(
        "| n_max | features | rank | singular value | operations | local energy, eV | force, eV/Å |\n"
        + 7 * "|---"
        + "|"
    )
    for n_max in (8, 12):
        gap = fitted(n_max)
        X = gap.blocks_[0].X
        n_features = X.shape[1]
        U, s, Vt = np.linalg.svd(X, full_matrices=False)
        energies, forces = results(gap, X)
        for rank in (n_features // 4, n_features // 2, 2 * n_features // 3, 4 * n_features // 5, 9 * n_features // 10):
            e, f = results(gap, (U[:, :rank] * s[:rank]) @ Vt[:rank])
            work = rank * (M + n_features) / (M * n_features)
            worst = np.abs(e - energies).max(), np.abs(f - forces).max()
            cells = (n_max, n_features, rank, f"{s[rank] / s[0]:.0e}", f"{work:.0%}", *(f"{w:.0e}" for w in worst))
            print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    main()
