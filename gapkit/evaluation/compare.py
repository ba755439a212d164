"""`gapkit.evaluate`: labelled structures predicted, predictions and labels side by side with their error bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import GPa

from gapkit.errors import InputError
from gapkit.evaluation.comparison import Comparison, Evaluation, FloatArray
from gapkit.structures.labels import LabelKeys, Labels, read_labels
from gapkit.structures.reading import find_label_keys

if TYPE_CHECKING:
    from gapkit.evaluation.protocol import Predictor
    from gapkit.evaluation.recalibration import Recalibration


def evaluate(
    gap: Predictor, structures: Sequence[Atoms], return_std: bool | str = True, keys: LabelKeys | None = None
) -> Evaluation:
    """Predict labelled structures and lay predictions and labels side by side.

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
    structures : sequence of Atoms
        Structures with energies (eV), forces (eV/Å) or stresses (eV/Å³).
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
    if return_std not in (False, True, "all"):
        raise InputError(f"return_std = {return_std!r} is unknown: use False, True (energies alone) or 'all'.")
    structures = [structures] if isinstance(structures, Atoms) else list(structures)
    labelled = _labelled(structures, keys)
    if not labelled:
        raise InputError(
            f"none of the {len(structures)} structures to evaluate carries an energy, forces or stress label: "
            "give labelled structures, or the keys that their labels are stored under."
        )
    frames = _predicted(gap, {index: structures[index] for index in labelled}, labelled, return_std)
    found = Evaluation(
        energy=_checked(_compare_energy(gap, frames), "energy"),
        forces=_checked(_compare_forces(gap, frames), "force"),
        stress=_checked(_compare_stress(gap, frames), "stress"),
        n_structures=len(frames),
    )
    if return_std and (recalibration := _recalibration(gap)):
        recalibration.warn_if_seen(found.comparisons)
    return found


class _Frame(NamedTuple):
    """A labelled structure, its number in the list, and what is predicted for it (eV, eV/Å, eV/Å³)."""

    number: int
    atoms: Atoms
    labels: Labels
    energy: float
    forces: FloatArray
    stress: FloatArray | None
    energy_std: float | None
    forces_std: FloatArray | None
    stress_std: FloatArray | None


def _labelled(structures: Sequence[Atoms], keys: LabelKeys | None) -> dict[int, Labels]:
    if not structures:
        return {}
    keys = find_label_keys(structures) if keys is None else keys
    labels = {index: read_labels(atoms, keys, frame=index) for index, atoms in enumerate(structures)}
    return {i: x for i, x in labels.items() if any(y is not None for y in (x.energy, x.forces, x.virial))}


def _predicted(
    gap: Predictor, structures: Mapping[int, Atoms], labels: Mapping[int, Labels], return_std: bool | str
) -> list[_Frame]:
    p = gap.predict(list(structures.values()), return_std=return_std)
    unknown = [None] * len(structures)
    stds = (unknown if std is None else std for std in (p.energy_std, p.forces_std, p.stress_std))
    predictions = zip(p.energy, p.forces, p.stress, *stds, strict=True)
    return [_Frame(index, structures[index], labels[index], *found) for index, found in zip(structures, predictions)]


def _recalibration(gap: Predictor) -> Recalibration | None:
    return getattr(gap, "recalibration_", None)


def _noise(gap: Predictor, kind: str, frame: _Frame) -> float:
    """Noise of a label of `kind` ("energy" and "stress" in eV/atom, "forces" in eV/Å), recalibrated as the model is."""
    noise = gap.noise_std("virial" if kind == "stress" else kind, frame.labels.config_type)
    recalibration = _recalibration(gap)
    return noise if recalibration is None or kind == "forces" else noise * recalibration.factor(kind)


def _total_std(model: Sequence[Any], noise: Sequence[Any]) -> list[Any] | None:
    """sqrt(model² + noise²) of each frame; None without the model's own."""
    return [np.hypot(*pair) for pair in zip(model, noise, strict=True)] if model else None


def _compare_energy(gap: Predictor, frames: Sequence[_Frame]) -> Comparison | None:
    used = [frame for frame in frames if frame.labels.energy is not None]
    n_atoms = np.array([len(frame.atoms) for frame in used])
    reference = np.array([frame.labels.energy for frame in used], dtype=float) / n_atoms
    predicted = np.array([frame.energy for frame in used]) / n_atoms
    model = [frame.energy_std / len(frame.atoms) for frame in used if frame.energy_std is not None]
    noise = [_noise(gap, "energy", frame) for frame in used]
    return _comparison(used, reference, predicted, "eV/atom", _total_std(model, noise))


def _compare_forces(gap: Predictor, frames: Sequence[_Frame]) -> Comparison | None:
    used = [frame for frame in frames if frame.labels.forces is not None]
    model = [frame.forces_std for frame in used if frame.forces_std is not None]
    std = _total_std(model, [_forces_noise(gap, frame) for frame in used])
    forces = [frame.forces for frame in used]
    comparison = _comparison(used, [frame.labels.forces for frame in used], forces, "eV/Å", std)
    if comparison is None:
        return None
    species = np.concatenate([np.repeat(list(frame.atoms.symbols), 3) for frame in used])
    return replace(comparison, species=species, atom=np.concatenate([np.repeat(np.arange(len(f)), 3) for f in forces]))


def _forces_noise(gap: Predictor, frame: _Frame) -> FloatArray:
    """Noise of each atom's force components, shape (n_atoms, 1), eV/Å."""
    noise = np.full((len(frame.atoms), 1), _noise(gap, "forces", frame))
    recalibration = _recalibration(gap)
    return noise if recalibration is None else noise * recalibration.factors("forces", frame.atoms.symbols)[:, None]


def _compare_stress(gap: Predictor, frames: Sequence[_Frame]) -> Comparison | None:
    used = [frame for frame in frames if frame.labels.virial is not None and frame.stress is not None]
    reference = [_voigt_in_gpa(-np.asarray(frame.labels.virial) / frame.atoms.cell.volume) for frame in used]
    model = [_voigt_in_gpa(frame.stress_std) for frame in used if frame.stress_std is not None]
    std = _total_std(model, [_stress_noise(gap, frame) for frame in used])
    return _comparison(used, reference, [_voigt_in_gpa(frame.stress) for frame in used], "GPa", std)


def _stress_noise(gap: Predictor, frame: _Frame) -> float:
    """virial_noise N/V, GPa."""
    return _noise(gap, "stress", frame) * len(frame.atoms) / frame.atoms.cell.volume / GPa


def _voigt_in_gpa(stress: Any) -> FloatArray:
    """Stress (3, 3) in eV/Å³ -> xx yy zz yz xz xy in GPa."""
    return full_3x3_to_voigt_6_stress(stress) / GPa


def _comparison(
    frames: Sequence[_Frame],
    reference: Iterable[Any],
    predicted: Iterable[Any],
    unit: str,
    std: Iterable[Any] | None,
) -> Comparison | None:
    """Flatten one number or array per frame into rows; None without frames."""
    if not frames:
        return None
    parts = [np.ravel(part) for part in reference]
    lengths = [len(part) for part in parts]
    return Comparison(
        reference=np.concatenate(parts),
        predicted=np.concatenate([np.ravel(part) for part in predicted]),
        std=None if std is None else np.concatenate([np.ravel(part) for part in std]),
        structure=np.repeat([frame.number for frame in frames], lengths),
        config_type=np.repeat([str(frame.labels.config_type) for frame in frames], lengths),
        species=None,
        unit=unit,
    )


def _checked(comparison: Comparison | None, name: str) -> Comparison | None:
    """The comparison, if every number in it is finite."""
    if comparison is None:
        return None
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
    return comparison
