"""Joint normal distributions of named outputs, and their linear combinations: arrays only, no atoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from ase.stress import full_3x3_to_voigt_6_stress

from gapkit.errors import InputError

OUTPUTS = {"energy": "eV", "local_energies": "eV", "forces": "eV/Å", "stress": "eV/Å³", "virial": "eV"}

Weights = np.ndarray | Mapping[tuple[int, str], Any]


class Label(NamedTuple):
    """Meaning of one row of a joint posterior.

    Attributes
    ----------
    frame : int
    output : str
        A key of `OUTPUTS`.
    component : tuple of int
        () of an energy, (atom,) of a local energy, (atom, axis) of a force, (voigt,) of a stress or virial component,
        xx yy zz yz xz xy.
    """

    frame: int
    output: str
    component: tuple[int, ...]

    @property
    def unit(self) -> str:
        """Unit of the row's mean."""
        return OUTPUTS[self.output]


class Values(NamedTuple):
    """One frame's values for `propagate_linear`; None where they were not asked for.

    Attributes
    ----------
    energy : float, eV
    local_energies : ndarray, shape (n_atoms,), eV
    forces : ndarray, shape (n_atoms, 3), eV/Å
    stress : ndarray, shape (6,), eV/Å³
        xx yy zz yz xz xy.
    virial : ndarray, shape (6,), eV
    """

    energy: Any = None
    local_energies: Any = None
    forces: Any = None
    stress: Any = None
    virial: Any = None


@dataclass(frozen=True)
class LinearPosterior:
    """Joint normal distribution of some quantities.

    Attributes
    ----------
    mean : ndarray, shape (n,)
    covariance : ndarray, shape (n, n)
        Symmetric positive semi-definite up to round-off, in the products of the rows' units.
    """

    mean: np.ndarray
    covariance: np.ndarray

    @property
    def std(self) -> np.ndarray:
        """Standard deviations, shape (n,)."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def correlation(self) -> np.ndarray:
        """Correlation matrix, shape (n, n); zero between different rows where one is certain."""
        std = np.where(self.std > 0, self.std, 1.0)
        found = self.covariance / np.outer(std, std)
        np.fill_diagonal(found, 1.0)
        return found

    def of(self, weights: Weights) -> LinearPosterior:
        """Posterior of the combinations ``weights @ rows``.

        Parameters
        ----------
        weights : ndarray, shape (n,) or (k, n)

        Raises
        ------
        InputError
            If `weights` are not finite or of another shape.
        """
        W = np.atleast_2d(np.asarray(weights, dtype=np.float64))
        if W.ndim != 2 or W.shape[1] != len(self.mean) or not np.all(np.isfinite(W)):
            raise InputError(
                f"weights of shape {W.shape} must be finite numbers, one for each of {len(self.mean)} rows."
            )
        return LinearPosterior(W @ self.mean, without_negatives(W @ self.covariance @ W.T))


@dataclass(frozen=True)
class JointPosterior(LinearPosterior):
    """Joint posterior of the outputs of some frames, frame after frame, outputs in the order of `outputs`.

    Attributes
    ----------
    mean, covariance
        As `LinearPosterior`.
    prior_std : ndarray, shape (n,)
        Standard deviations before any data.
    sizes : tuple of int
        Number of atoms of each frame.
    outputs : tuple of str
        Keys of `OUTPUTS`.
    """

    prior_std: np.ndarray
    sizes: tuple[int, ...]
    outputs: tuple[str, ...]

    def rows(self, frame: int, output: str) -> slice:
        """Where `output` of `frame` stands: ``mean[rows]``, ``covariance[rows, rows]``.

        Raises
        ------
        InputError
            If it was not asked for.
        """
        if not -len(self.sizes) <= frame < len(self.sizes) or output not in self.outputs:
            raise InputError(
                f"there is no {output!r} of frame {frame} here: {len(self.sizes)} frames with "
                f"{', '.join(self.outputs)} were asked for."
            )
        return output_slices(self.sizes, self.outputs)[frame % len(self.sizes), output]

    @property
    def labels(self) -> tuple[Label, ...]:
        """Meaning of each row."""
        return tuple(
            Label(frame, output, tuple(int(k) for k in index))
            for frame, n in enumerate(self.sizes)
            for output in self.outputs
            for index in np.ndindex(*output_shape(output, n))
        )

    def values(self, rows: np.ndarray | None = None) -> list[Values]:
        """The means, or any other vector `rows` (n,), frame by frame and in shape."""
        vector, where = self.mean if rows is None else rows, output_slices(self.sizes, self.outputs)
        return [
            Values(**{o: vector[where[frame, o]].reshape(output_shape(o, n))[()] for o in self.outputs})
            for frame, n in enumerate(self.sizes)
        ]

    def of(self, weights: Weights) -> LinearPosterior:
        """Posterior of a combination.

        Parameters
        ----------
        weights : ndarray, shape (n,) or (k, n), or mapping of (frame, output) to array
            In a mapping: a number for "energy", (n_atoms,) for "local_energies", (n_atoms, 3) for "forces", (6,) or
            (3, 3) for "stress" and "virial" (sum over all nine products); what is missing counts zero.

        Raises
        ------
        InputError
            For weights of another shape, or of something that was not asked for.
        """
        if not isinstance(weights, Mapping):
            return super().of(weights)
        W = np.zeros(len(self.mean))
        for (frame, output), given in weights.items():
            where, shape = self.rows(frame, output), output_shape(output, self.sizes[frame])
            w = np.asarray(given, dtype=np.float64)
            if shape == (6,) and w.shape == (3, 3):
                w = full_3x3_to_voigt_6_stress(w) * [1, 1, 1, 2, 2, 2]
            if w.shape != shape:
                raise InputError(f"weights of {output!r} of frame {frame} have shape {w.shape}, not {shape}.")
            W[where] += w.ravel()
        return super().of(W)


def output_shape(output: str, n_atoms: int) -> tuple[int, ...]:
    """Shape of one output of a frame."""
    return {"energy": (), "local_energies": (n_atoms,), "forces": (n_atoms, 3)}.get(output, (6,))


def output_slices(sizes: Sequence[int], outputs: Sequence[str]) -> dict[tuple[int, str], slice]:
    """Where each output of each frame stands."""
    found, end = {}, 0
    for frame, n in enumerate(sizes):
        for output in outputs:
            start, end = end, end + int(np.prod(output_shape(output, n), dtype=int))
            found[frame, output] = slice(start, end)
    return found


def without_negatives(C: np.ndarray) -> np.ndarray:
    """Symmetric, and rows whose variance is nothing but round-off below zero are certain."""
    C = 0.5 * (C + C.T)
    certain = np.diag(C) <= 0.0
    C[certain] = 0.0
    C[:, certain] = 0.0
    return C
