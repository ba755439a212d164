"""The data shipped with gapkit, made by `generate_silicon.py` in this folder."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ase import Atoms

from gapkit.errors import InputError, did_you_mean
from gapkit.structures.reading import read_structures

__all__ = ["load_silicon", "silicon_path"]

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
    if split not in SPLITS:
        raise InputError(f"split = {split!r} is not a part of the silicon data{did_you_mean(str(split), SPLITS)}.")
    return Path(str(resources.files(__name__) / f"silicon_{split}.xyz"))


def load_silicon(split: str = "train") -> list[Atoms]:
    """The frames of `silicon_path` with their labels, as `read_structures` returns them.

    Crystals, defects, surfaces, liquid. No frame of one split shares a trajectory or a random displacement with a frame
    of the other. The training frames hold one isolated atom, which fixes e0.
    """
    return read_structures(
        silicon_path(split), energy_key="REF_energy", forces_key="REF_forces", stress_key="REF_stress"
    )
