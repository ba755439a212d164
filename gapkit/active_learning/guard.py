"""A guard for dynamics and relaxations: warns, then stops, where the potential no longer knows what it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.io import write

from gapkit.checks import is_list, is_number
from gapkit.errors import Excess, InputError, UncertaintyError, did_you_mean, warn
from gapkit.interfaces.ase_calculator import GAPCalculator, Uncertainty
from gapkit.runtime.files import check_output
from gapkit.structures.writing import writable

if TYPE_CHECKING:
    from gapkit.potential.gap import GAP


class _Watched(NamedTuple):
    """What a quantity needs to be computed, and how it is reported."""

    which: str
    unit: str
    words: str


QUANTITIES = {
    "local_energies": _Watched("local", "eV", "of the local energy of"),
    "forces": _Watched("all", "eV/Å", "of the force on"),
    "energy": _Watched("energy", "eV", "of the total energy of"),
}


class Thresholds(NamedTuple):
    """Standard deviations at which `UncertaintyGuard` warns and stops, in the unit of its quantity."""

    warn: float
    stop: float


class UncertaintyGuard:
    """Observer that warns at a lower and stops at an upper threshold of the standard deviation.

    For anything in ASE with observers::

        guard = UncertaintyGuard(atoms, warn=0.1, stop=0.3, dynamics=dyn, file="to_label.xyz")
        dyn.attach(guard, interval=10)
        try:
            dyn.run(100_000)
        except UncertaintyError as error:
            ...  # label error.atoms and guard.frames, and fit again

    Parameters
    ----------
    atoms : Atoms
        The structure that moves.
    warn, stop : float
        Thresholds, 0 < warn ≤ stop; `guard_thresholds` finds some. ``stop=float("inf")`` never stops.
    quantity : {"local_energies", "forces", "energy"}
        "local_energies", eV: the largest of all atoms; costs about one more evaluation each time it looks, or nothing
        if the calculator has ``per_atom_std=True``. "forces", eV/Å: the largest of all atoms' sqrt(Σ_x std_x²);
        thirty evaluations, so take a long interval. "energy", eV: of the total energy.
    dynamics : Dynamics, optional
        Whose steps are reported; without it, checks are counted.
    calculator : GAPCalculator, optional
        By default that of `atoms`; to be given if theirs is a sum of several.
    file : path, optional
        Extended XYZ file to which kept structures are appended at once.
    keep : int
        Structures are kept up to this number; the one that stops always is.

    Attributes
    ----------
    frames : list of Atoms
        Copies of the structures at or above `warn`, with the standard deviations (``local_energies_std`` or
        ``forces_std`` of each atom, ``energy_std``) and, in ``info``, ``step``, and ``uncertain_atom``. They carry no
        energies and forces: those of the potential are no labels.
    excesses : list of Excess
        One for each of `frames`.

    Raises
    ------
    InputError
        For impossible thresholds, an unknown quantity, atoms without such a calculator or a file in no folder.

    Notes
    -----
    It warns once each time the standard deviation rises to `warn`, not at every step that it stays there. Far from the
    data the standard deviation goes to the prior's: a threshold above that is never reached.

    A local energy is no observable, and how the total energy is shared among the atoms is never certain: its standard
    deviation is large even where energies and forces are known well. Take its thresholds from `guard_thresholds`.

    Part of each deviation is what the sparse points cannot express, which a label alone does not cure: after
    `GAP.partial_fit` with the labelled structure call `GAP.add_sparse_points` with it as candidate.
    """

    def __init__(
        self,
        atoms: Atoms,
        warn: float,
        stop: float,
        quantity: str = "local_energies",
        *,
        dynamics: Any = None,
        calculator: GAPCalculator | None = None,
        file: str | Path | None = None,
        keep: int = 100,
    ) -> None:
        _check_quantity(quantity)
        _check_thresholds(warn, stop, quantity)
        if file is not None:
            check_output(file)
        self.atoms, self.quantity, self.thresholds = atoms, quantity, Thresholds(float(warn), float(stop))
        self._calculator = _calculator(atoms.calc if calculator is None else calculator)
        self._dynamics, self._file, self._keep_at_most = dynamics, file, keep
        self._n_checks, self._is_above = 0, False
        self.frames: list[Atoms] = []
        self.excesses: list[Excess] = []

    def __call__(self) -> None:
        """Look at the structure as it is now.

        Warns
        -----
        UserWarning
            If the standard deviation has risen to the lower threshold.

        Raises
        ------
        UncertaintyError
            If it is at the upper one.
        """
        found = self._calculator.uncertainty(self.atoms, QUANTITIES[self.quantity].which)
        step = self._n_checks if self._dynamics is None else int(self._dynamics.nsteps)
        self._n_checks += 1
        std = deviations(found, self.quantity)
        worst = int(np.argmax(std))
        was_above, self._is_above = self._is_above, bool(std[worst] >= self.thresholds.warn)
        if not self._is_above:
            return
        stops = bool(std[worst] >= self.thresholds.stop)
        atom, symbol = (None, None) if self.quantity == "energy" else (worst, self.atoms.symbols[worst])
        excess = Excess(step, atom, symbol, float(std[worst]), self.thresholds[stops])
        frame = _labelled_later(self.atoms, found, excess)
        if stops or len(self.frames) < self._keep_at_most:
            self._keep(frame, excess)
        if stops:
            raise UncertaintyError(f"stopped {self._sentence(excess)}: label this structure and add it.", frame, excess)
        if not was_above:
            warn(self._sentence(excess))

    def _keep(self, frame: Atoms, excess: Excess) -> None:
        self.frames.append(frame)
        self.excesses.append(excess)
        if self._file is not None:
            write(self._file, writable(frame), format="extxyz", append=True)

    def _sentence(self, excess: Excess) -> str:
        _, unit, words = QUANTITIES[self.quantity]
        whose = self.atoms.get_chemical_formula() if excess.atom is None else f"atom {excess.atom} ({excess.symbol})"
        when = "check" if self._dynamics is None else "step"
        return (
            f"at {when} {excess.step}: the standard deviation {words} {whose} is {excess.std:.4g} {unit}, "
            f"not below the threshold of {excess.threshold:.4g} {unit}"
        )


def guard_thresholds(
    gap: GAP,
    frames: Sequence[Atoms],
    quantity: str = "local_energies",
    quantiles: tuple[float, float] = (0.95, 1.0),
    factor: float = 1.0,
) -> Thresholds:
    """Thresholds from the deviations that the potential has where it is known to be good.

    Each frame counts with the one number that the guard would look at, its largest standard deviation.

    Parameters
    ----------
    gap : GAP
        Fitted, and recalibrated if it is to be.
    frames : sequence of Atoms
        Training frames, or others like them; those that were not trained on give a less timid guard.
    quantity : {"local_energies", "forces", "energy"}
        As the guard's. "energy" needs frames as large as the structure that will move.
    quantiles : pair of float
        Of the frames' numbers, for `warn` and `stop`: 1 is the largest.
    factor : float
        Both thresholds are multiplied by it: how far beyond these frames the dynamics may go.

    Returns
    -------
    Thresholds
        ``UncertaintyGuard(atoms, *guard_thresholds(gap, frames))``.

    Raises
    ------
    InputError
        If there are no frames, `quantity` is unknown, the quantiles do not rise within [0, 1], the factor is not
        positive, or frames are so well known that a threshold is zero.
    """
    _check_quantity(quantity)
    frames = [frames] if isinstance(frames, Atoms) else list(frames)
    if not frames:
        raise InputError("thresholds need frames: give the training frames, for example.")
    rising = is_list(quantiles) and len(quantiles) == 2 and all(map(is_number, quantiles))
    if not (rising and 0.0 <= quantiles[0] <= quantiles[1] <= 1.0 and is_number(factor) and factor > 0.0):
        raise InputError(
            f"quantiles {quantiles} and factor {factor} make no thresholds: give two rising numbers from 0 to 1 and a "
            "positive one, for example (0.95, 1.0) and 1."
        )
    calculator = GAPCalculator(gap)
    which = QUANTITIES[quantity].which
    largest = [deviations(calculator.uncertainty(atoms, which), quantity).max() for atoms in frames]
    warn, stop = factor * np.quantile(largest, quantiles)
    if not warn > 0.0:
        raise InputError(
            f"the threshold at the quantile {quantiles[0]} of these {len(frames)} frames is zero, as frames of "
            "isolated atoms and perfect crystals have no uncertainty: leave such frames out, or raise the quantile."
        )
    return Thresholds(float(warn), float(stop))


def deviations(found: Uncertainty, quantity: str) -> np.ndarray:
    """The numbers a guard compares: one for each atom, or a single one for the total energy.

    For forces sqrt(Σ_x std_x²), the root of the expected squared length of the error vector, eV/Å.
    """
    if quantity == "local_energies":
        return found.local_energies_std
    if quantity == "forces":
        return np.linalg.norm(found.forces_std, axis=1)  # type: ignore[arg-type]
    return np.array([found.energy_std])


def _labelled_later(atoms: Atoms, found: Uncertainty, excess: Excess) -> Atoms:
    """A copy without results, whose `info` extended XYZ can hold."""
    frame = atoms.copy()
    simple = {key: value for key, value in frame.info.items() if isinstance(key, str) and _is_simple(value)}
    frame.info = simple | {"step": excess.step}
    if excess.atom is not None:
        frame.info["uncertain_atom"] = excess.atom
    if found.energy_std is not None:
        frame.info["energy_std"] = found.energy_std
    frame.arrays["local_energies_std"] = found.local_energies_std
    if found.forces_std is not None:
        frame.arrays["forces_std"] = found.forces_std
    return frame


def _is_simple(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _calculator(given: Any) -> GAPCalculator:
    if not isinstance(given, GAPCalculator):
        raise InputError(
            f"the guard needs a GAPCalculator, got {type(given).__name__}: set atoms.calc first, or pass calculator."
        )
    return given


def _check_quantity(quantity: str) -> None:
    if quantity not in QUANTITIES:
        raise InputError(f"nothing called {quantity!r} can be guarded{did_you_mean(str(quantity), QUANTITIES)}.")


def _check_thresholds(warn: float, stop: float, quantity: str) -> None:
    numbers = is_number(warn) and (is_number(stop) or stop == np.inf)
    if not numbers or not 0.0 < warn <= stop:
        raise InputError(
            f"thresholds warn = {warn} and stop = {stop} {QUANTITIES[quantity].unit} must be positive, the first not "
            "above the second."
        )
