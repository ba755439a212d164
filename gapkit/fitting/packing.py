"""Pieces of fits and models as JSON data and arrays, for checkpoints and model files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from gapkit.fitting.first_pass import Selection
from gapkit.gaussian_process.row_factor import RowFactor
from gapkit.terms.basis import Basis
from gapkit.terms.protocol import AdditiveTerm
from gapkit.terms.records import SparseBlock


def pack_factors(factors: Mapping[tuple[str, str], RowFactor]) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Row factors as JSON data and arrays, half of a square matrix each."""
    numbers: list[Any] = []
    arrays: dict[str, np.ndarray] = {}
    for k, (group, factor) in enumerate(factors.items()):
        own, parts = factor.state()
        numbers.append([*group, own])
        arrays |= {f"factor_{k}_{name}": array for name, array in parts.items()}
    return numbers, arrays


def unpack_factors(numbers: list[Any], arrays: Mapping[str, np.ndarray]) -> dict[tuple[str, str], RowFactor]:
    """The inverse of `pack_factors`."""
    factors = {}
    for k, (kind, name, own) in enumerate(numbers):
        prefix = f"factor_{k}_"
        parts = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
        factors[kind, name] = RowFactor.from_state(own, parts)
    return factors


def pack_atoms(structures: list[Atoms]) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Bare structures as JSON data and arrays."""
    headers = [{"numbers": a.numbers.tolist(), "pbc": a.pbc.tolist()} for a in structures]
    arrays = {f"atoms_{k}": np.vstack([a.cell.array, a.positions]) for k, a in enumerate(structures)}
    return headers, arrays


def unpack_atoms(headers: list[Any], arrays: Mapping[str, np.ndarray]) -> list[Atoms]:
    """The inverse of `pack_atoms`."""
    vectors = [arrays[f"atoms_{k}"] for k in range(len(headers))]
    return [Atoms(h["numbers"], v[3:], cell=v[:3], pbc=h["pbc"]) for h, v in zip(headers, vectors)]


def pack_counts(counts: Counter[int]) -> np.ndarray:
    """Counts of unsigned numbers of 8 bytes as an array (n, 2)."""
    return np.array(sorted(counts.items()), dtype=np.uint64).reshape(-1, 2)


def unpack_counts(array: np.ndarray) -> Counter[int]:
    """The inverse of `pack_counts`."""
    return Counter(dict(array.tolist()))


def pack_basis(basis: Basis) -> tuple[list[list[int]], dict[str, np.ndarray]]:
    """Blocks of functions as JSON data and arrays; the terms are packed elsewhere."""
    header = [[b.term, b.key, b.columns.start, b.columns.stop] for b in basis.blocks]
    return header, {f"X_{k}": block.X for k, block in enumerate(basis.blocks)}


def unpack_basis(
    terms: Iterable[AdditiveTerm], header: Iterable[Sequence[int]], arrays: Mapping[str, np.ndarray]
) -> Basis:
    """The inverse of `pack_basis`."""
    blocks = (SparseBlock(t, key, arrays[f"X_{k}"], slice(a, b)) for k, (t, key, a, b) in enumerate(header))
    return Basis(tuple(terms), tuple(blocks))


def pack_selection(selection: Selection) -> list[list[Any]]:
    """How functions were chosen as JSON data: [term, name of the block, report]."""
    return [[*name, dict(report)] for name, report in selection.items()]


def unpack_selection(packed: Any) -> Selection:
    """The inverse of `pack_selection`; earlier files have a mapping by "0 Si", and "0 X" for all species."""
    if not isinstance(packed, Mapping):
        return {(int(t), str(name)): dict(report) for t, name, report in packed}
    split = {tuple(name.split(" ")): report for name, report in packed.items()}
    return {(int(t), "all species" if name == "X" else name): dict(report) for (t, name), report in split.items()}
