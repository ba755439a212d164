"""`gapkit.evaluate`: labelled structures predicted, predictions and labels side by side with their error bars.

`label_values`, `in_unit_of_comparison` and `Rows` make the rows of a comparison from labels, also for predictions made
in another way (frames left out of the fit).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import GPa
from numpy.typing import NDArray

from gapkit.errors import InputError
from gapkit.evaluation.comparison import Comparison, Evaluation, FloatArray
from gapkit.evaluation.standard_deviations import WhichStd, parse_return_std
from gapkit.quantities import COMPARED, QUANTITIES, Quantity
from gapkit.structures.frames import Frame, Frames, Structures, labelled_frames
from gapkit.structures.labels import LabelKeys

if TYPE_CHECKING:
    from gapkit.evaluation.protocol import Predictor


def evaluate(
    gap: Predictor, structures: Structures | Frames, return_std: bool | str = True, keys: LabelKeys | None = None
) -> Evaluation:
    """Predict labelled structures and compare predictions with labels.

    Labels that are missing contribute no rows; structures without any label are not predicted. Standard deviations are
    those of a new label, with the noise of the structure's config type (`GAP.noise_std`), N atoms and volume V::

        energy per atom    sqrt((energy_std/N)² + energy_noise²)
        force component    sqrt(forces_std² + forces_noise²)
        stress component   sqrt(stress_std² + (virial_noise N/V)²)

    If the potential carries a `gapkit.evaluation.recalibration.Recalibration` (attribute ``recalibration_``),
    `GAP.predict` has multiplied the standard deviations by its factors; the noise is multiplied by them here.

    Parameters
    ----------
    gap : GAP
        A fitted potential.
    structures : sequence of Atoms, path or paths, iterable of Atoms, or Frames
        Structures with energies (eV), forces (eV/Å) or stresses (eV/Å³); `gapkit.structures.frames.Frames` hold their
        labels.
    return_std : bool or "all"
        True: also standard deviations of the energies, at little cost. "all": of the forces and stresses, too.
    keys : LabelKeys, optional
        Where the labels are; found in the structures if not given.

    Raises
    ------
    InputError
        If there is no labelled structure, `return_std` is unknown, or a label or a prediction is not finite.

    Warns
    -----
    UserWarning
        If the standard deviations were recalibrated on some of these very labels.
    """
    parse_return_std(return_std, (WhichStd.ENERGY, WhichStd.ALL))
    frames, n_structures = _labelled(structures, keys)
    if not frames:
        raise InputError(
            f"none of the {n_structures} structures to evaluate carries an energy, forces or stress label: "
            "give labelled structures, or the keys that their labels are stored under."
        )
    predictions = gap.predict([frame.atoms for frame in frames.values()], return_std=return_std)
    rows = Rows()
    for (number, frame), predicted in zip(frames.items(), _by_structure(predictions, len(frames)), strict=True):
        for kind, values in _compared(gap, frame, predicted).items():
            rows.add(number, frame, kind, values)
    found = rows.evaluation(len(frames))
    for kind, comparison in found.comparisons.items():
        _check_finite(comparison, "force" if kind == "forces" else kind)
    if return_std and gap.recalibration_ is not None:
        gap.recalibration_.warn_if_seen(found.comparisons)
    return found


def _labelled(structures: Structures | Frames, keys: LabelKeys | None) -> tuple[dict[int, Frame], int]:
    """Frames with a label by their number, and the number of all frames."""
    structures = [structures] if isinstance(structures, Atoms) else structures
    if isinstance(structures, Sequence) and not len(structures):
        return {}, 0
    frames = list(labelled_frames(structures, keys))
    has_labels = [any(getattr(frame.labels, q.label) is not None for q in QUANTITIES) for frame in frames]
    return {number: frame for number, frame in enumerate(frames) if has_labels[number]}, len(frames)


# ---- rows of comparisons


class Values(NamedTuple):
    """Rows of a `Comparison` that one frame gives, shape (n,), in the unit of the kind; no std where none is known."""

    reference: FloatArray
    predicted: FloatArray
    std: FloatArray | None


def label_values(frame: Frame, quantity: Quantity) -> FloatArray | None:
    """The numbers of a label as it is fitted: eV, eV/Å, or the virial xx yy zz yz xz xy in eV; None without it."""
    label = getattr(frame.labels, quantity.label)
    if label is None:
        return None
    return np.ravel(full_3x3_to_voigt_6_stress(label) if quantity.label == "virial" else label).astype(float)


def in_unit_of_comparison(values: FloatArray, quantity: Quantity, atoms: Atoms) -> FloatArray:
    """Numbers as they are fitted, in the unit of comparison: eV/atom, eV/Å, or the stress -virial/V in GPa."""
    if quantity.label == "energy":
        return values / len(atoms)
    return -values / atoms.cell.volume / GPa if quantity.label == "virial" else values


def left_out_values(
    frame: Frame, quantity: Quantity, residual: FloatArray, std: FloatArray | None = None
) -> Values | None:
    """Rows of a label that is predicted without its frame; None for a stress where `GAP.predict` gives none.

    Parameters
    ----------
    frame : Frame
    quantity : Quantity
    residual, std : ndarray, shape (n,)
        Label minus prediction, and the standard deviation, as the label is fitted: eV, eV/Å, virial in eV.
    """
    label = label_values(frame, quantity)
    if label is None or (quantity.label == "virial" and not frame.atoms.pbc.any()):
        return None
    reference, difference = (in_unit_of_comparison(x, quantity, frame.atoms) for x in (label, residual))
    own = None if std is None else np.abs(in_unit_of_comparison(std, quantity, frame.atoms))
    return Values(reference, reference - difference, own)


class Rows:
    """Rows of comparisons by kind, gathered frame by frame."""

    def __init__(self) -> None:
        self._parts: dict[str, list[tuple[int, str, NDArray[np.str_], Values]]] = {kind: [] for kind in COMPARED}

    def add(self, number: int, frame: Frame, kind: str, values: Values) -> None:
        """Add the rows of one kind of the frame of this number."""
        symbols = np.array(list(frame.atoms.symbols)) if kind == "forces" else np.empty(0, dtype=str)
        self._parts[kind].append((number, str(frame.labels.config_type), symbols, values))

    def comparisons(self) -> dict[str, Comparison]:
        """Comparisons by kind, for the kinds that occur."""
        return {kind: _joined(COMPARED[kind], parts) for kind, parts in self._parts.items() if parts}

    def evaluation(self, n_structures: int) -> Evaluation:
        """The same as an `Evaluation`."""
        energy, forces, stress = map(self.comparisons().get, COMPARED)
        return Evaluation(energy, forces, stress, n_structures)


def _joined(quantity: Quantity, parts: Sequence[tuple[int, str, NDArray[np.str_], Values]]) -> Comparison:
    numbers, names, symbols, values = zip(*parts)
    lengths = [len(own.reference) for own in values]
    of_atoms = quantity.compared == "forces"
    stds = [own.std for own in values if own.std is not None]
    return Comparison(
        reference=np.concatenate([own.reference for own in values]),
        predicted=np.concatenate([own.predicted for own in values]),
        std=np.concatenate(stds) if stds else None,
        structure=np.repeat(numbers, lengths),
        config_type=np.repeat(names, lengths),
        species=np.repeat(np.concatenate(symbols), 3) if of_atoms else None,
        unit=quantity.unit,
        atom=np.concatenate([np.repeat(np.arange(n // 3), 3) for n in lengths]) if of_atoms else None,
    )


# ---- predictions


class _Predicted(NamedTuple):
    """Predictions for one structure (eV, eV/Å, eV/Å³)."""

    energy: float
    forces: FloatArray
    stress: FloatArray | None
    energy_std: float | None
    forces_std: FloatArray | None
    stress_std: FloatArray | None


def _by_structure(p: Any, n: int) -> Iterator[_Predicted]:
    stds = ([None] * n if std is None else std for std in (p.energy_std, p.forces_std, p.stress_std))
    return (_Predicted(*one) for one in zip(p.energy, p.forces, p.stress, *stds, strict=True))


def _compared(gap: Predictor, frame: Frame, predicted: _Predicted) -> dict[str, Values]:
    """Rows by kind, for the labels that exist; no stress where none is predicted."""
    found = {}
    for quantity in QUANTITIES:
        label, kind = label_values(frame, quantity), quantity.compared
        value, std = (_flat(predicted, name, len(frame.atoms)) for name in (kind, f"{kind}_std"))
        if label is not None and value is not None:
            total = None if std is None else np.hypot(std, _noise(gap, quantity, frame))
            found[kind] = Values(in_unit_of_comparison(label, quantity, frame.atoms), value, total)
    return found


def _flat(predicted: _Predicted, name: str, n_atoms: int) -> FloatArray | None:
    """A prediction or its standard deviation as rows of a comparison."""
    value = getattr(predicted, name)
    if value is None:
        return None
    if name.startswith("stress"):
        return full_3x3_to_voigt_6_stress(value) / GPa
    return np.ravel(value) / n_atoms if name.startswith("energy") else np.ravel(value)


def _noise(gap: Predictor, quantity: Quantity, frame: Frame) -> FloatArray:
    """Noise of each row of a label, recalibrated as the model is: eV/atom, eV/Å, or virial_noise N/V in GPa."""
    n_atoms, kind, recalibration = len(frame.atoms), quantity.compared, gap.recalibration_
    noise = gap.noise_std(quantity.label, frame.labels.config_type)
    if kind == "forces":
        factors = 1.0 if recalibration is None else recalibration.factors(kind, frame.atoms.symbols)
        return np.repeat(np.full(n_atoms, noise) * factors, 3)
    noise = noise if recalibration is None else noise * recalibration.factor(kind)
    return np.asarray(noise * n_atoms / frame.atoms.cell.volume / GPa if kind == "stress" else noise)


def _check_finite(comparison: Comparison, name: str) -> None:
    """Raise `InputError` unless every number is finite."""
    for values, whose, cure in (
        (comparison.reference, "label", "remove or repair that structure"),
        (comparison.predicted, "prediction", "check that structure, and the noises and amplitudes of the model"),
        (comparison.std, "standard deviation", "check that structure, and the noises and amplitudes of the model"),
    ):
        wrong = np.flatnonzero(~np.isfinite(0.0 if values is None else values))
        if len(wrong):
            raise InputError(
                f"the {name} {whose} of structure {comparison.structure[wrong[0]]} is not finite "
                f"({len(wrong)} such values): {cure}."
            )
