"""Targets, noise groups and noises of the rows of a fit.

Every label is a sum over a structure's local energies or a derivative of it. Its noise has a standard deviation

    energy    energy_noise · N      (energy_noise in eV/atom, N atoms: an error per atom means the same in every cell)
    forces    forces_noise          (eV/Å, each component)
    virial    virial_noise · N      (eV/atom, each of the six components)

and belongs to a group (kind, config_type). A noise given as a number is one group for all config types; given as a
mapping, each named config type is its own group and "default" stands for all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from gapkit.checks import is_number
from gapkit.errors import InputError, did_you_mean
from gapkit.quantities import UNITS, VOIGT
from gapkit.structures.frames import Frame
from gapkit.structures.labels import Labels

OUTLIER = "frame "  # prefix of the group of a single frame
Group = tuple[str, str]  # kind, and a config type, "default", "all" or an outlier

Noise = float | Mapping[str, float]


class Observation(NamedTuple):
    """Labels of one kind of one structure.

    Attributes
    ----------
    kind : {"energy", "forces", "virial"}
    y : ndarray, shape (n,)
        Targets: energy less e0 (eV), force components atom by atom (eV/Å), or the virial xx yy zz yz xz xy (eV).
    scale : float
        Noise relative to that of the group.
    """

    kind: str
    y: np.ndarray
    scale: float


def observations(labels: Labels, energy_offset: float, n_atoms: int) -> Iterator[Observation]:
    """The labels that exist, as targets.

    Parameters
    ----------
    labels : Labels
    energy_offset : float
        Σ e0 of the structure, eV; subtracted from the energy.
    n_atoms : int
    """
    if labels.energy is not None:
        yield Observation("energy", np.array([labels.energy - energy_offset]), float(n_atoms))
    if labels.forces is not None:
        yield Observation("forces", labels.forces.ravel(), 1.0)
    if labels.virial is not None:
        yield Observation("virial", np.array([labels.virial[a, b] for a, b in VOIGT]), float(n_atoms))


def noise_group(kind: str, noise: Noise, config_type: str) -> tuple[str, str]:
    """The group that a label of `kind` in a frame of `config_type` belongs to.

    Raises
    ------
    InputError
        If a mapping has neither that config type nor "default".
    """
    if not isinstance(noise, Mapping):
        return kind, "all"
    if config_type in noise:
        return kind, config_type
    if "default" in noise:
        return kind, "default"
    raise InputError(
        f"{kind}_noise has no entry for config_type {config_type!r}{did_you_mean(config_type, noise)}: "
        "add it, or 'default'."
    )


def noise_std(kind: str, noise: Noise, config_type: str) -> float:
    """Noise of `kind` for frames of `config_type`, in the units of `UNITS`.

    Raises
    ------
    InputError
        As `noise_group`.
    """
    group = noise_group(kind, noise, config_type)
    return float(noise[group[1]] if isinstance(noise, Mapping) else noise)


def check_noise(kind: str, noise: Noise) -> None:
    """Raise `InputError` unless every value of a noise is a positive number."""
    named: dict[str, Any] = dict(noise) if isinstance(noise, Mapping) and noise else {"": noise}
    for name, value in named.items():
        if not isinstance(name, str) or not is_number(value) or not value > 0:
            where = f"{kind}_noise[{name!r}]" if name else f"{kind}_noise"
            raise InputError(
                f"{where} = {value!r} must be a positive number in {UNITS[kind]}; "
                "leave labels out of the data to ignore them."
            )


class Noises(NamedTuple):
    """Noises of the labels.

    Attributes
    ----------
    energy, forces, virial : float or mapping of config_type to float
        eV/atom, eV/Å, eV/atom.
    by_config_type : bool
        Each config type is a group of its own, even where its noise is that of all.
    outliers : mapping of str to mapping
        Noise by kind of single frames, by `OUTLIER` and the frame's digest.
    """

    energy: Noise
    forces: Noise
    virial: Noise
    by_config_type: bool = False
    outliers: Mapping[str, Mapping[str, float]] = {}

    def group(self, kind: str, frame: Frame) -> Group:
        """The noise group of a frame's label."""
        if self.outliers and (name := OUTLIER + frame.digest()) in self.outliers:
            return kind, name
        noise: Noise = getattr(self, kind)
        if self.by_config_type and not isinstance(noise, Mapping):
            return kind, frame.labels.config_type
        return noise_group(kind, noise, frame.labels.config_type)

    def std(self, group: Group) -> float:
        """Noise of a group, in the units of its kind."""
        kind, name = group
        if name in self.outliers:
            return self.outliers[name][kind]
        noise: Noise = getattr(self, kind)
        return float(noise[name] if isinstance(noise, Mapping) else noise)
