"""The two passes over labelled frames that a fit makes: environments → sparse points, labels → row factors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from rich.console import Console
from rich.progress import track

from gapkit.covariance import StructureRows, n_columns, structure_rows
from gapkit.errors import InputError
from gapkit.feature_terms.seam import Candidates, FeatureTerm
from gapkit.kernels import normalise
from gapkit.observations import Noise, noise_group, observations
from gapkit.row_factor import RowFactor
from gapkit.sparsification import select_sparse_points
from gapkit.structures import Labels
from gapkit.terms import ALL_SPECIES, AnyTerm, SparseBlock, Term, centre_blocks, find_all_neighbourhoods
from gapkit.threads import ordered_map

Track = Callable[..., Iterable[Any]]


def progress(show: bool) -> Track:
    """``follow(items, what, total)`` walks through items, behind a bar if asked to `show` one on a terminal."""
    if not (show and (console := Console(stderr=True)).is_terminal):
        return lambda items, what, total=None: items  # even a hidden bar starts a thread, 0.3 ms per prediction
    return lambda items, what, total=None: track(items, what, total, console=console, transient=True)


def choose_sparse_points(
    terms: Sequence[AnyTerm], structures: Sequence[Atoms], random_state: int, follow: Track
) -> tuple[SparseBlock, ...]:
    """Sparse points of every term and species among the environments of all structures."""
    numbers = sorted({int(z) for atoms in structures for z in atoms.numbers})
    kernels = [t for t, term in enumerate(terms) if isinstance(term, Term)]
    candidates = [SparseBlock(t, z, np.empty((0, 0)), slice(0, 0)) for t in kernels for z in numbers]
    found: dict[tuple[int, int], Any] = {}

    def environments(atoms: Atoms) -> list[tuple[tuple[int, int], np.ndarray | Candidates]]:
        """Normalised features (n, n_features) of one structure by term and species; what feature terms choose from."""
        neighbourhoods = find_all_neighbourhoods(terms, atoms)
        offered = [
            ((t, ALL_SPECIES), term.candidates(neighbourhoods[t], atoms.numbers))
            for t, term in enumerate(terms)
            if isinstance(term, FeatureTerm)
        ]
        walk = centre_blocks(terms, candidates, neighbourhoods, atoms.numbers)
        return [*offered, *(((block.term, block.number), normalise(values)[0]) for block, _, _, values, _ in walk)]

    for parts in follow(ordered_map(environments, structures), "descriptors", len(structures)):
        for key, Q in parts:
            term = terms[key[0]]
            if isinstance(term, FeatureTerm):
                found[key] = term.merge(found.get(key, {}), Q)
            else:
                found.setdefault(key, []).append(Q)
    blocks, start = [], 0
    for (t, z), parts in sorted(found.items()):
        X = _select(terms[t], chemical_symbols[z], parts, random_state)
        blocks.append(SparseBlock(t, z, X, slice(start, start + len(X))))
        start += len(X)
    return tuple(blocks)


def _select(term: AnyTerm, symbol: str, parts: Any, random_state: int) -> np.ndarray:
    """Sparse points of one block from what all structures offer."""
    if isinstance(term, FeatureTerm):
        return term.select(parts, random_state)
    Q = np.concatenate(parts)
    return Q[select_sparse_points(Q, _n_sparse(term, symbol), term.sparsification, random_state)]


def _n_sparse(term: Term, symbol: str) -> int:
    return int(term.n_sparse[symbol] if isinstance(term.n_sparse, Mapping) else term.n_sparse)


def check_terms(terms: Sequence[AnyTerm], structures: Sequence[Atoms]) -> None:
    """Raise `InputError` for terms that are impossible or do not know all species of the structures."""
    numbers = np.unique(np.concatenate([atoms.numbers for atoms in structures]))
    for term in terms:
        term.validate()
        term.check_species(numbers)
        if isinstance(term, FeatureTerm):
            continue
        missing = [chemical_symbols[z] for z in numbers if isinstance(term.n_sparse, Mapping)]
        missing = [symbol for symbol in missing if symbol not in term.n_sparse]  # type: ignore[operator]
        if missing:
            raise InputError(f"n_sparse = {dict(term.n_sparse)} has no entry for {', '.join(missing)}: add one.")  # type: ignore[arg-type]


def stream_rows(
    terms: Sequence[AnyTerm],
    blocks: Sequence[SparseBlock],
    structures: Sequence[Atoms],
    labels: Sequence[Labels],
    offsets: Sequence[float],
    noises: Mapping[str, Noise],
    follow: Track,
) -> dict[tuple[str, str], RowFactor]:
    """Each structure's rows are made, folded into the factors of their noise groups, and dropped.

    Parameters
    ----------
    offsets : sequence of float
        Σ e0 of each structure, eV.
    noises : mapping of kind to noise
        Only their groups matter here, not their values.
    """
    M = n_columns(blocks)
    factors: dict[tuple[str, str], RowFactor] = {}

    def covariances(item: tuple[Atoms, Labels]) -> StructureRows:
        """Rows of one structure, with derivatives if a label needs them."""
        atoms, label = item
        derivatives = label.forces is not None or label.virial is not None
        return structure_rows(terms, blocks, find_all_neighbourhoods(terms, atoms), atoms.numbers, derivatives)

    streamed = follow(ordered_map(covariances, zip(structures, labels)), "covariances", len(structures))
    for rows, atoms, label, offset in zip(streamed, structures, labels, offsets):
        K = {"energy": rows.energy[None], "forces": rows.forces, "virial": rows.virial}
        for kind, target, scale in observations(label, offset, len(atoms)):
            group = noise_group(kind, noises[kind], label.config_type)
            factors.setdefault(group, RowFactor(M)).add(K[kind], target, scale)
    return factors


def summarise(structures: Sequence[Atoms], labels: Sequence[Labels]) -> dict[str, Any]:
    """Counts per config type and a fingerprint (SHA-256) of the training data."""
    digest = hashlib.sha256()
    counts: dict[str, dict[str, int]] = {}
    for atoms, label in zip(structures, labels):
        kinds = {"energy": label.energy, "forces": label.forces, "virial": label.virial}
        for array in (atoms.numbers, atoms.positions, atoms.cell.array, *kinds.values()):
            digest.update(np.asarray(0.0 if array is None else array, dtype=float).tobytes())
        row = counts.setdefault(label.config_type, dict.fromkeys(("frames", "atoms", *kinds), 0))
        row["frames"] += 1
        row["atoms"] += len(atoms)
        for kind, value in kinds.items():
            row[kind] += value is not None
    return {"n_structures": len(structures), "config_types": counts, "sha256": digest.hexdigest()}
