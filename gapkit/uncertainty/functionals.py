"""Posterior of any linear functional: energies, forces and stresses of several frames, all their correlations, and
any combination of them.

For functionals t with rows K_tm and prior covariance K_tt the posterior covariance is (theory: Quiñonero-Candela and
Rasmussen, J. Mach. Learn. Res. 6, 1939 (2005))

    "dtc"   K_tt - K_tm K_mm⁻¹ K_mt + K_tm A⁻¹ K_mt      prior residual of the sparse points + what the data leave open
    "sor"   K_tm A⁻¹ K_mt                                over-confident far from data; covariance of sampled potentials
    "gap"   K_tt - K_tm (K_mm + reg²)⁻¹ K_mt             local energies only, blind to the data; for comparison

A linear combination with weights W has the covariance W C Wᵀ; a function of them, to first order, J C Jᵀ with its
Jacobian J. The noise of labels is never included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from scipy.linalg import cho_factor, cho_solve

from gapkit.covariances.joint_prior import K_tm, memory, prior
from gapkit.errors import InputError, did_you_mean
from gapkit.runtime.threads import one_blas_thread
from gapkit.terms.records import Functionals
from gapkit.uncertainty.joint_posterior import (
    OUTPUTS,
    JointPosterior,
    LinearPosterior,
    Values,
    output_slices,
    without_negatives,
)

if TYPE_CHECKING:
    from gapkit.potential.gap import GAP

METHODS = ("dtc", "sor", "gap")
LARGEST_NEGATIVE = 1e-6  # of the prior scale: a variance below minus this is not round-off
STEP = 1e-2  # of a standard deviation: finite differences of a user's function


class Estimate(NamedTuple):
    """A number and its posterior standard deviation."""

    mean: float
    std: float


def joint_posterior(
    gap: GAP,
    frames: Atoms | Sequence[Atoms],
    outputs: Sequence[str] = ("energy", "forces", "stress"),
    method: str = "dtc",
    regularisation: float = 1e-3,
    memory_gib: float = 2.0,
) -> JointPosterior:
    """Joint posterior of the outputs of one or several frames, with all correlations within and between frames.

    Parameters
    ----------
    gap : GAP
        A fitted model.
    frames : Atoms or sequence of Atoms
    outputs : sequence of {"energy", "local_energies", "forces", "stress", "virial"}
        Energies alone need no derivatives of descriptors and are much cheaper.
    method : {"dtc", "sor", "gap"}
        See the module; "gap" for local energies only.
    regularisation : float
        The ``reg`` of "gap", eV.
    memory_gib : float
        Larger tasks are refused.

    Returns
    -------
    JointPosterior

    Raises
    ------
    InputError
        For frames that the model cannot describe, unknown outputs, or a task that is too large.

    Notes
    -----
    Memory 8 (4 n² + 3 n n_sparse) bytes for n rows, and for derivatives 24 n_atoms n_moved n_features bytes per frame,
    n_moved ≤ n_atoms being the atoms within the cutoff of a group of 32. About 2 n² n_atoms n_features operations,
    n of all frames together and n_atoms of one: some tenths of a second for a frame of 64 atoms with 252 features, four
    times that for two such frames. For the standard deviations of large structures alone use
    ``gap.predict(atoms, return_std="all")``. Round-off leaves about 1e-7 of the prior's standard deviation in
    differences of nearly equal rows.
    """
    outputs = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    _check_request(outputs, method, regularisation)
    frames = [frames] if isinstance(frames, Atoms) else list(frames)
    if not frames:
        raise InputError("there are no frames: pass at least one structure.")
    p = gap.predict(frames)
    _check_cells(frames, p.stress, outputs)
    sizes = tuple(len(atoms) for atoms in frames)
    mean = np.concatenate([_mean(p, k, atoms, o) for k, atoms in enumerate(frames) for o in outputs])
    with one_blas_thread():
        K_t, K_tt, bound = _prior(gap, frames, outputs, memory_gib)
        C = _by_method(gap, K_t, K_tt, method, regularisation)
    _refuse_negative(np.diag(C), bound)
    return JointPosterior(mean, without_negatives(C), np.sqrt(np.maximum(np.diag(K_tt), 0.0)), sizes, outputs)


def energy_difference(gap: GAP, a: Atoms, b: Atoms, method: str = "dtc") -> Estimate:
    """E(a) - E(b), eV, with the standard deviation of the difference: what the two have in common cancels.

    Parameters
    ----------
    gap : GAP
    a, b : Atoms
        They may differ in number of atoms.
    method : {"dtc", "sor"}
    """
    found = joint_posterior(gap, [a, b], ("energy",), method).of(np.array([1.0, -1.0]))
    return Estimate(float(found.mean[0]), float(found.std[0]))


def pressure(gap: GAP, atoms: Atoms, method: str = "dtc") -> Estimate:
    """-tr σ/3, eV/Å³, positive under compression, of a structure with a three-dimensional cell."""
    found = joint_posterior(gap, atoms, ("stress",), method).of(np.array([-1, -1, -1, 0, 0, 0]) / 3.0)
    return Estimate(float(found.mean[0]), float(found.std[0]))


def propagate_linear(
    gap: GAP,
    frames: Atoms | Sequence[Atoms],
    function: Callable[[list[Values]], Any],
    outputs: Sequence[str] = ("energy", "forces", "stress"),
    method: str = "dtc",
) -> LinearPosterior:
    """Mean and covariance of any function of the frames' outputs, to first order: the delta method.

    Properties that are implicit in energies, forces and stresses are functions of them on a few fixed frames around
    the mean potential's solution: a lattice constant is the root of a polynomial through pressures at a few volumes,
    an elastic constant a difference of stresses.

    Parameters
    ----------
    gap : GAP
    frames : Atoms or sequence of Atoms
    function : callable
        Takes one `Values` per frame; returns a number or an array. Called 2 n + 1 times for n rows.
    outputs, method
        As `joint_posterior`.

    Returns
    -------
    LinearPosterior
        Of the flattened result; ``mean`` is the function of the means.

    Raises
    ------
    InputError
        If the function gives anything but finite numbers of one shape.
    """
    joint = joint_posterior(gap, frames, outputs, method)

    def at(rows: np.ndarray) -> np.ndarray:
        """The function of any vector of rows, flat."""
        found = np.asarray(function(joint.values(rows)), dtype=np.float64).ravel()
        if not np.all(np.isfinite(found)):
            raise InputError(f"the function gave {found} for values within the error bars: finite numbers are needed.")
        return found

    mean = at(joint.mean)
    J = np.zeros((len(mean), len(joint.mean)))
    for t in np.flatnonzero(joint.std):
        step = STEP * joint.std[t] * (np.arange(len(joint.mean)) == t)
        ends = at(joint.mean + step), at(joint.mean - step)
        if {len(end) for end in ends} != {len(mean)}:
            raise InputError(
                f"the function gave {len(mean)} numbers for the means and {len(ends[0])} and {len(ends[1])} within the "
                "error bars: let it always give the same number."
            )
        J[:, t] = (ends[0] - ends[1]) / (2.0 * step[t])
    return LinearPosterior(mean, joint.of(J).covariance)


# -- inside ---------------------------------------------------------------------------------------------------------


def _check_request(outputs: tuple[str, ...], method: str, regularisation: float) -> None:
    for output in outputs:
        if output not in OUTPUTS:
            raise InputError(f"output {output!r} is unknown{did_you_mean(str(output), OUTPUTS)}.")
    if not outputs or len(set(outputs)) < len(outputs):
        raise InputError(f"outputs = {outputs} must name at least one of {', '.join(OUTPUTS)}, each once.")
    if method not in METHODS:
        raise InputError(f"variance method {method!r} is unknown: use 'dtc', 'sor' or 'gap'.")
    if method == "gap" and outputs != ("local_energies",):
        raise InputError("method 'gap' is defined for local energies only: pass outputs=('local_energies',).")
    if not regularisation > 0 or not np.isfinite(regularisation):
        raise InputError(f"regularisation = {regularisation} eV must be a positive number; 0.001 is usual.")


def _check_cells(frames: list[Atoms], stress: list[np.ndarray | None], outputs: tuple[str, ...]) -> None:
    without = [k for k, s in enumerate(stress) if s is None]
    if without and {"stress", "virial"} & set(outputs):
        raise InputError(
            f"frame {without[0]} ({frames[without[0]].get_chemical_formula()}) has no three-dimensional periodic cell "
            "and so no stress: leave 'stress' and 'virial' out of outputs, or set its cell and pbc."
        )


def _mean(p: Any, k: int, atoms: Atoms, output: str) -> np.ndarray:
    """One output of frame k from `Predictions`, flat."""
    if output == "virial":
        return -atoms.get_volume() * _mean(p, k, atoms, "stress")
    found = getattr(p, output)[k]
    return np.ravel(full_3x3_to_voigt_6_stress(found) if output == "stress" else found)


def _prior(
    gap: GAP, frames: list[Atoms], outputs: tuple[str, ...], memory_gib: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """K_tm, K_tt and the bound of its diagonal, of the rows of all outputs."""
    kinds = tuple(dict.fromkeys("virial" if o == "stress" else o for o in outputs))
    where = output_slices([len(a) for a in frames], kinds)
    n = max(s.stop for s in where.values())
    functionals = [
        Functionals(gap.basis_.environments(a).neighbourhoods, a.numbers, **{o: where[k, o].start for o in kinds})
        for k, a in enumerate(frames)
    ]
    _refuse_large(memory(gap.basis_, functionals, n) / 2**30, memory_gib, n)
    K_t, found = K_tm(gap.basis_, functionals, n), prior(gap.basis_, functionals, n)
    source, scale = [], []
    for k, atoms in enumerate(frames):
        for output in outputs:
            rows = where[k, "virial" if output == "stress" else output]
            source.append(np.arange(rows.start, rows.stop))
            scale.append(np.full(len(source[-1]), -1.0 / atoms.get_volume() if output == "stress" else 1.0))
    s, f = np.concatenate(source), np.concatenate(scale)
    return f[:, None] * K_t[s], np.outer(f, f) * found.K_tt[np.ix_(s, s)], f**2 * found.bound[s]


def _refuse_large(gib: float, limit: float, n: int) -> None:
    if gib > limit:
        raise InputError(
            f"the joint posterior of {n} rows takes {gib:.1f} GiB, more than memory_gib = {limit:g}: ask for fewer "
            "frames or outputs, or use GAP.predict(…, return_std='all') for standard deviations alone."
        )


def _by_method(gap: GAP, K_t: np.ndarray, K_tt: np.ndarray, method: str, regularisation: float) -> np.ndarray:
    if method != "gap":
        return np.asarray(gap.posterior_.covariance(K_t, K_tt, method))
    L = gap.posterior_.L
    K_mm = L @ L.T + regularisation**2 * np.eye(len(L))
    return np.asarray(K_tt - K_t @ cho_solve(cho_factor(K_mm, lower=True), K_t.T))


def _refuse_negative(variance: np.ndarray, bound: np.ndarray) -> None:
    worst = int(np.argmin(variance + LARGEST_NEGATIVE * bound))
    if not variance[worst] >= -LARGEST_NEGATIVE * max(float(bound[worst]), 1e-300):
        raise InputError(
            f"the variance of row {worst} is {variance[worst]:.3g}, negative beyond round-off of its prior scale "
            f"{bound[worst]:.3g}: raise the jitter of the fit."
        )
