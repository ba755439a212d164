"""What one run of the comparison is asked to do; the defaults are those of the published tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comparison.results import Results


@dataclass(frozen=True)
class Settings:
    """Sizes and limits, and where things go.

    Attributes
    ----------
    atoms, n_sparse
        Size of the standard structure; sparse points per species of the standard potential.
    sizes, sparse_counts
        What the parts "sizes" and "sparse" run through.
    large
        Atoms of the run with peak memory, gapkit alone.
    threads_atoms
        Size of the structure on one and two threads.
    repeats, budget
        Rounds of taking turns; seconds after which a slow function takes fewer turns (never fewer than three).
    call_limit
        Seconds that one call may take; calls that are expected to take longer are left out.
    steps
        Steps of the molecular dynamics.
    work
        Folder of potentials and input files.
    data
        Folder of the mlearn files, or None.
    results
        Where measurements are kept.
    """

    atoms: int
    n_sparse: int
    sizes: list[int]
    sparse_counts: list[int]
    large: int
    threads_atoms: int
    repeats: int
    budget: float
    call_limit: float
    steps: int
    work: Path
    data: Path | None
    results: Results
