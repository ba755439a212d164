"""A potential against labels it has not seen: errors per kind and per config_type, with their own error bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import GPa
from numpy.typing import ArrayLike, NDArray

from gapkit.errors import InputError
from gapkit.structures.labels import LabelKeys, Labels, read_labels
from gapkit.structures.reading import find_label_keys

if TYPE_CHECKING:
    from gapkit.evaluation.protocol import Predictor
    from gapkit.evaluation.recalibration import Recalibration

FloatArray = NDArray[np.float64]
KINDS = ("energy", "forces", "stress")
_N_RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Comparison:
    """Reference and predicted values of one kind of label, one row per number; all arrays have shape (n,).

    Attributes
    ----------
    reference, predicted : ndarray of float
        Energies per atom (total/N, eV/atom), force components (eV/Å) or the six independent stress components
        xx yy zz yz xz xy (GPa, tension positive).
    std : ndarray of float or None
        Predictive standard deviation of a new label, model and noise together, in `unit`; None if not predicted.
    structure : ndarray of int
        Index of the structure in the list that was evaluated.
    config_type : ndarray of str
        Config type of that structure.
    species : ndarray of str or None
        Chemical symbol of the atom, for forces.
    unit : str
        "eV/atom", "eV/Å" or "GPa".
    atom : ndarray of int or None
        Index of the atom in its structure, for forces; three rows share one.
    """

    reference: FloatArray
    predicted: FloatArray
    std: FloatArray | None
    structure: NDArray[np.intp]
    config_type: NDArray[np.str_]
    species: NDArray[np.str_] | None
    unit: str
    atom: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.reference)

    @property
    def error(self) -> FloatArray:
        """predicted - reference, shape (n,), in `unit`."""
        return self.predicted - self.reference

    def select(self, mask: ArrayLike) -> Comparison:
        """Only the rows where `mask` (n,) is true."""
        rows = np.asarray(mask, dtype=bool)
        return replace(
            self,
            reference=self.reference[rows],
            predicted=self.predicted[rows],
            std=None if self.std is None else self.std[rows],
            structure=self.structure[rows],
            config_type=self.config_type[rows],
            species=None if self.species is None else self.species[rows],
            atom=None if self.atom is None else self.atom[rows],
        )

    def displayed(self) -> Comparison:
        """The same in the unit in which errors are quoted: meV/atom instead of eV/atom, others unchanged."""
        if self.unit != "eV/atom":
            return self
        std = None if self.std is None else 1000.0 * self.std
        reference, predicted = 1000.0 * self.reference, 1000.0 * self.predicted
        return replace(self, reference=reference, predicted=predicted, std=std, unit="meV/atom")


class ErrorRow(NamedTuple):
    """Errors of one kind over one config type (None: over all structures), in the unit they are quoted in."""

    kind: str
    config_type: str | None
    rmse: float
    rmse_se: float | None
    mae: float
    max: float
    n: int
    unit: str

    def as_dict(self) -> dict[str, Any]:
        """What `Evaluation.summary` tells of it."""
        return {"rmse": self.rmse, "mae": self.mae, "max": self.max, "n": self.n, "unit": self.unit}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Comparisons of every kind that has labels; made by `evaluate`. `n_structures` counts the labelled structures."""

    energy: Comparison | None
    forces: Comparison | None
    stress: Comparison | None
    n_structures: int

    @property
    def comparisons(self) -> dict[str, Comparison]:
        """Kind -> comparison, for the kinds that have labels, in the order energy, forces, stress."""
        found = {"energy": self.energy, "forces": self.forces, "stress": self.stress}
        return {kind: comparison for kind, comparison in found.items() if comparison is not None}

    @property
    def config_types(self) -> list[str]:
        """Config types that occur, sorted."""
        return sorted({str(name) for c in self.comparisons.values() for name in np.unique(c.config_type)})

    def rows(self) -> list[ErrorRow]:
        """Errors with standard errors: for each kind all structures first, then each config type."""
        return [
            _error_row(kind, name, part)
            for kind, comparison in self.comparisons.items()
            for name, part in [(None, comparison), *_by_config_type(comparison)]
        ]

    def summary(self) -> dict[str, Any]:
        """Root mean square, mean absolute and largest error and number of values, ready for JSON.

        Returns
        -------
        dict
            ``{"energy": {"rmse", "mae", "max", "n", "unit"}, "forces": …, "stress": …, "by_config_type": {name: …}}``
            in meV/atom, eV/Å (per component) and GPa (per component); None for a kind without labels.
        """
        result: dict[str, Any] = dict.fromkeys(KINDS)
        result["by_config_type"] = {name: dict.fromkeys(KINDS) for name in self.config_types}
        for kind, comparison in self.comparisons.items():
            result[kind] = _error_row(kind, None, comparison, n_resamples=0).as_dict()
            for name, part in _by_config_type(comparison):
                result["by_config_type"][name][kind] = _error_row(kind, name, part, n_resamples=0).as_dict()
        return result

    def table(self) -> str:
        """`summary` as aligned plain text, with the standard error of each RMSE (see `rmse_standard_error`)."""
        head = ["", "config type", "RMSE", "±", "MAE", "max", "n", "unit"]
        lines = [head, *([*_cells(row)] for row in self.rows())]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        return "\n".join(_aligned(line, widths) for line in lines)


def evaluate(
    gap: Predictor, structures: Sequence[Atoms], return_std: bool | str = True, keys: LabelKeys | None = None
) -> Evaluation:
    """Predict labelled structures and lay predictions and labels side by side.

    Labels that are missing contribute no rows; structures without any label are not predicted. Standard deviations are
    those of a new label, with the noise of the structure's config type (`GAP.noise_std`), N atoms and volume V::

        energy per atom    sqrt((energy_std/N)² + energy_noise²)
        force component    sqrt(forces_std² + forces_noise²)
        stress component   sqrt(stress_std² + (virial_noise N/V)²)

    If the potential carries a `gapkit.evaluation.recalibration.Recalibration` (attribute ``recalibration_``), `GAP.predict` has
    multiplied the standard deviations by its factors; the noise is multiplied by them here.

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


def rmse_standard_error(comparison: Comparison, n_resamples: int = _N_RESAMPLES, seed: int = 0) -> float | None:
    """Standard error of the root mean square error, by bootstrap over structures (in the unit of `comparison`).

    Whole structures are resampled, because the errors within one are correlated (Efron and Tibshirani, An Introduction
    to the Bootstrap (1993), chapter 6). None with fewer than two structures.
    """
    _, index = np.unique(comparison.structure, return_inverse=True)
    squares = np.bincount(index, weights=comparison.error**2)
    counts = np.bincount(index).astype(float)
    n_structures = len(counts)
    if n_structures < 2 or n_resamples < 2:
        return None
    rng = np.random.default_rng(seed)
    picks = (rng.integers(n_structures, size=n_structures) for _ in range(n_resamples))
    return float(np.std([np.sqrt(squares[pick].sum() / counts[pick].sum()) for pick in picks], ddof=1))


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


def _by_config_type(comparison: Comparison) -> list[tuple[str, Comparison]]:
    names = np.unique(comparison.config_type)
    return [(str(name), comparison.select(comparison.config_type == name)) for name in names]


def _error_row(kind: str, config_type: str | None, comparison: Comparison, n_resamples: int = _N_RESAMPLES) -> ErrorRow:
    shown = comparison.displayed()
    size = np.abs(shown.error)
    rmse = float(np.sqrt(np.mean(size**2)))
    standard_error = rmse_standard_error(shown, n_resamples)
    return ErrorRow(
        kind, config_type, rmse, standard_error, float(size.mean()), float(size.max()), len(size), shown.unit
    )


def _cells(row: ErrorRow) -> list[str]:
    standard_error = "-" if row.rmse_se is None else f"{row.rmse_se:.2g}"
    name = "(all)" if row.config_type is None else row.config_type
    return [
        row.kind, name, f"{row.rmse:.4g}", standard_error, f"{row.mae:.4g}", f"{row.max:.4g}", str(row.n), row.unit
    ]  # fmt: skip


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    """Words to the left, numbers to the right."""
    left = (0, 1, 7)
    cells = [text.ljust(w) if k in left else text.rjust(w) for k, (text, w) in enumerate(zip(line, widths))]
    return "  ".join(cells).rstrip()
