"""The data shipped with gapkit, made by `generate_silicon.py` and `generate_methanol.py` in this folder."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ase import Atoms

from gapkit.errors import InputError, did_you_mean
from gapkit.structures.files import iter_frames
from gapkit.structures.reading import read_structures

__all__ = ["load_methanol", "load_silicon", "methanol_path", "silicon_path"]

SPLITS = ("train", "test")


def silicon_path(split: str = "train") -> Path:
    """Path of a shipped file of silicon frames, extended XYZ.

    Labels: ``REF_energy`` (eV), ``REF_forces`` (eV/Å) and ``REF_stress`` (eV/Å³, tension positive) from density
    functional theory (PBE); ``config_type`` names the family of a frame.

    Parameters
    ----------
    split : {"train", "test"}

    Raises
    ------
    InputError
        For another split.
    """
    return _path("silicon", split)


def methanol_path(split: str = "train") -> Path:
    """Path of a shipped file of distorted methanol molecules in any orientation, extended XYZ.

    Labels by GFN2-xTB: ``dipole`` (e Å) and ``polarizability`` (Å³, nine numbers) of each molecule, ``born_charges``
    (e, nine numbers ∂μ_a/∂r_b of each atom, a first).

    Parameters
    ----------
    split : {"train", "test"}

    Raises
    ------
    InputError
        For another split.
    """
    return _path("methanol", split)


def load_methanol(split: str = "train") -> list[Atoms]:
    """The frames of `methanol_path`: 120 to train, 80 to test; labels where ASE puts them."""
    return [atoms for _, atoms in iter_frames(methanol_path(split))]


def _path(name: str, split: str) -> Path:
    if split not in SPLITS:
        raise InputError(f"split = {split!r} is not a part of the {name} data{did_you_mean(str(split), SPLITS)}.")
    return Path(str(resources.files(__name__) / f"{name}_{split}.xyz"))


def load_silicon(split: str = "train") -> list[Atoms]:
    """The frames of `silicon_path` with their labels, as `read_structures` returns them.

    Crystals, defects, surfaces, liquid. No frame of one split shares a trajectory or a random displacement with a frame
    of the other. The training frames hold one isolated atom, which fixes e0.
    """
    return read_structures(
        silicon_path(split), energy_key="REF_energy", forces_key="REF_forces", stress_key="REF_stress"
    )
