"""Plain data ↔ terms: YAML model files and the header of saved models, strict about every key."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from ase import Atoms

from gapkit.baselines import ZBL, Baseline, baseline_from_dict
from gapkit.checks import build, check_keys, check_number, check_seed
from gapkit.errors import InputError
from gapkit.fitting.noise import check_noise
from gapkit.potential.presets import preset_settings, preset_terms
from gapkit.quantities import KINDS
from gapkit.structures.labels import LabelKeys
from gapkit.structures.reference_energies import check_e0
from gapkit.terms.feature_functions import FUNCTIONS
from gapkit.terms.protocol import TERMS, AdditiveTerm
from gapkit.terms.serialisation import term_from_dict


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file as a mapping.

    Raises
    ------
    InputError
        If it cannot be read or is not a mapping.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the configuration {str(path)!r} cannot be read: {reason}.") from None
    if not isinstance(data, dict):
        raise InputError(f"the configuration {str(path)!r} must be a mapping such as 'terms: […]'.")
    return data


@dataclass(frozen=True)
class PresetSettings:
    """Arguments of `preset_terms` but the species; in a YAML file the mapping or the name alone."""

    name: str
    cutoff: float | None = None
    n_sparse: int | None = None

    def make_terms(self, species: list[str]) -> list[AdditiveTerm]:
        """The preset's terms for `species`; for two that every preset accepts if none are known yet."""
        return preset_terms(self.name, species or ["H", "O"], self.cutoff, self.n_sparse)


@dataclass(frozen=True)
class ModelSettings:
    """What a YAML model file may hold.

    Attributes
    ----------
    terms : list of dict
        As in `term_from_dict`, but species may be left to the data; ``type`` is Term if not given.
    energy_noise, forces_noise, virial_noise, e0, jitter, random_state
        As in `GAP`, in its units; None takes its default.
    optimize : bool, str or list of str
        What a fit learns, as in `GAP`.
    baseline : list of dict
        As in `baseline_from_dict`; a ZBL takes species and, without inner and outer, its radii from the data.
    keys : dict
        Names of labels by the fields of `LabelKeys`; what is absent or None is found, "" leaves a label out.
    preset : PresetSettings, optional
        Source of the terms instead of `terms`.
    """

    terms: list[dict[str, Any]] = field(default_factory=lambda: [{"descriptor": {}}])
    energy_noise: float | dict[str, float] | None = None
    forces_noise: float | dict[str, float] | None = None
    virial_noise: float | dict[str, float] | None = None
    e0: dict[str, float] | None = None
    jitter: float | None = None
    random_state: int | None = None
    optimize: bool | str | list[str] = False
    keys: dict[str, str | None] = field(default_factory=dict)
    baseline: list[dict[str, Any]] = field(default_factory=list)
    preset: PresetSettings | None = None

    def parameters(self) -> dict[str, Any]:
        """Arguments of `GAP` other than the terms."""
        names = ("energy_noise", "forces_noise", "virial_noise", "e0", "jitter", "random_state", "optimize")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def make_terms(self, species: Iterable[str] | None = None) -> list[AdditiveTerm]:
        """The terms, with `species` (default: any, which checks everything else) where they name none.

        Raises
        ------
        InputError
            As `term_from_dict` and `preset_terms`.
        """
        if self.preset is not None:
            return self.preset.make_terms(list(species or []))
        return [
            term_from_dict(_with_species(data, list(species or []), f"terms[{k}]"), f"terms[{k}]")
            for k, data in enumerate(self.terms)
        ]

    def make_baselines(
        self, species: Iterable[str] | None = None, structures: Iterable[Atoms] | None = None
    ) -> list[Baseline]:
        """The baselines, with `species` and radii from `structures` where they are left to the data.

        Raises
        ------
        InputError
            As `baseline_from_dict`; if ZBL is named twice.
        """
        if [data.get("type") for data in self.baseline].count("ZBL") > 1:
            raise InputError("baseline names ZBL twice, so that atoms would repel each other twice: keep one.")
        return [
            _make_baseline(data, list(species or []), structures, f"baseline[{k}]")
            for k, data in enumerate(self.baseline)
        ]

    def validate(self) -> None:
        """Raise `InputError` for settings that no data can be fitted with."""
        if not self.terms:
            raise InputError("terms is empty: give at least one, for example 'terms: [{descriptor: {type: SOAP}}]'.")
        self.make_terms()
        self.make_baselines()
        for kind in KINDS:
            if (noise := getattr(self, f"{kind}_noise")) is not None:
                check_noise(kind, noise)
        check_e0(self.e0)
        if self.jitter is not None:
            check_number("jitter", self.jitter, 0.0, 1e-4, "1e-10")
        check_seed(self.random_state)


def _make_baseline(
    data: dict[str, Any], species: list[str], structures: Iterable[Atoms] | None, where: str
) -> Baseline:
    """A baseline; ZBL takes missing parameters from the data, which a mere check (no structures) does without."""
    if data.get("type") != "ZBL":
        return baseline_from_dict(data, where)
    pairs = [pair for radii in data.values() if isinstance(radii, Mapping) for pair in radii]
    named = sorted({symbol for pair in pairs for symbol in str(pair).split("-")})
    zbl = baseline_from_dict({"species": species or named or ["H"], **data}, where)
    if structures is None or not isinstance(zbl, ZBL) or (zbl.inner, zbl.outer) != (None, None):
        return zbl
    return ZBL.from_structures(structures, zbl.species)


def _with_species(data: dict[str, Any], species: list[str], where: str) -> dict[str, Any]:
    """`data` with species where the descriptor, the function or the term itself names none."""
    kind = TERMS.get(str(data.get("type", "Term")))
    if kind is None:
        return data  # refused when the terms are made
    part = kind.species_part
    if part is None:
        names_species = "species" in inspect.signature(kind).parameters
        return {"species": species or ["H"], **data} if names_species else data
    inner = data.get(part)
    if not isinstance(inner, Mapping) or "species" in inner or (part == "function" and not _asks_species(inner)):
        return data
    if any(values.get(name) is not None for values in (data, inner) for name in ("scales", "columns")):
        raise InputError(f"{where}.{part} has one scale or column for each function: give the species, too.")
    by_symbol = [inner[name] for name in ("species_weights", "charges") if isinstance(inner.get(name), Mapping)]
    default = species or (list(by_symbol[0]) if by_symbol else ["H"])
    return {**data, part: {**inner, "species": default}}


def _asks_species(function: Mapping[str, Any]) -> bool:
    kind = FUNCTIONS.get(str(function.get("type")))
    return kind is not None and any(f.name == "species" for f in fields(kind))


def settings_from_dict(data: Mapping[str, Any], where: str = "configuration") -> ModelSettings:
    """Checked settings from plain data, such as `read_yaml` gives.

    Raises
    ------
    InputError
        Naming the key, its value and what was expected.
    """
    known = {"model": ModelSettings}
    if data.get("preset") is not None:
        data = _with_preset(data, where)
    if isinstance(keys := data.get("keys"), Mapping):
        check_keys(keys, LabelKeys._fields, f"{where}.keys")
    settings: ModelSettings = build(known, data, where, "model")
    settings.validate()
    return settings


def _with_preset(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`data` on top of its preset's settings besides the terms."""
    preset = data["preset"]
    plain = {"name": preset} if isinstance(preset, str) else preset
    own = build({"preset": PresetSettings}, plain, f"{where}.preset", "preset")
    if "terms" in data:
        raise InputError(f"{where} has terms and a preset, which has its own: keep one of the two.")
    return {**preset_settings(own.name), **data, "preset": own}
