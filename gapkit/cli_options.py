"""Options of the commands of `gapkit.cli`, each with its unit and default in its help, and what a fit makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gapkit.errors import InputError

if TYPE_CHECKING:
    from gapkit.configuration import ModelSettings


def option(text: str, *names: str, panel: str = "Options", **settings: Any) -> Any:
    """An option with its help; `panel` is the heading it stands under."""
    return typer.Option(*names, help=text, rich_help_panel=panel, **settings)


def descriptor(text: str, default: str) -> Any:
    """An option of a term; None means the default of the library, which `default` quotes."""
    return option(text, panel="Model: descriptor and kernel", show_default=default)


def noise(text: str, default: str) -> Any:
    """An option for a standard deviation of labels."""
    return option(text, panel="Model: noise of the labels", show_default=default)


def key(what: str, panel: str = "Names of the labels in the file") -> Any:
    """An option for the name of a label."""
    text = f'Name of the {what} in the structure file; "" leaves them out.'
    return option(text, panel=panel, show_default="found by itself")


Model = Annotated[Path, typer.Argument(help="Model file, as gapkit fit writes it.", show_default=False)]
Json = Annotated[bool, option("Print one JSON object on standard output; messages go to standard error.", "--json")]
Quiet = Annotated[bool, option("Print nothing but warnings and errors.", "--quiet", "-q")]
EnergyKey = Annotated[str | None, key("energies (eV per structure)")]
ForcesKey = Annotated[str | None, key("forces (eV/Å)")]
StressKey = Annotated[str | None, key("stresses (eV/Å³, tension positive)")]
VirialKey = Annotated[str | None, key("virials (eV, minus volume times stress)")]
ConfigTypeKey = Annotated[
    str | None,
    option(
        "Name of the kind of structure ('bulk', 'liquid', …) by which noise and errors are grouped.",
        panel="Names of the labels in the file",
        show_default="config_type",
    ),
]
NSparse = Annotated[int | None, descriptor("Sparse points per species: more are more accurate and slower.", "1000")]
Sparsification = Annotated[str | None, descriptor("How sparse points are chosen: fps, cur, kmeans or random.", "fps")]
Cutoff = Annotated[float | None, descriptor("Radius beyond which atoms do not act, Å.", "5.0")]
NMax = Annotated[int | None, descriptor("SOAP: number of radial functions.", "8")]
LMax = Annotated[int | None, descriptor("SOAP: highest angular momentum.", "6")]
AtomSigma = Annotated[float | None, descriptor("SOAP: width of the Gaussian that stands for an atom, Å.", "0.5")]
Smoothness = Annotated[
    float | None, descriptor("SOAP: how smoothly atoms fade at the cutoff; 1 reaches farther than 2.", "1.0")
]
Compression = Annotated[
    str | None, descriptor("SOAP: shorter features for many species: off, mu2, mu1nu1 or crossover.", "off")
]
Zeta = Annotated[int | None, descriptor("Kernel: exponent, a whole number; larger is sharper.", "4")]
Delta = Annotated[float | None, descriptor("Kernel: amplitude, the spread expected of atomic energies, eV.", "5.0")]
EnergyNoise = Annotated[float | None, noise("Error to expect of the energies, eV/atom.", "0.001")]
ForcesNoise = Annotated[float | None, noise("Error to expect of each force component, eV/Å.", "0.05")]
VirialNoise = Annotated[float | None, noise("Error to expect of each virial component, eV/atom.", "0.02")]
E0 = Annotated[
    list[str] | None,
    option(
        "Energy of an isolated atom, eV, such as Si=-0.8; repeat for each species.",
        show_default="from isolated atoms or least squares",
    ),
]
Config = Annotated[
    Path | None,
    option(
        "YAML file with any of: terms, energy_noise, forces_noise, virial_noise (numbers, or one per config type), e0, "
        "jitter, random_state, keys. Options given here override it.",
        show_default=False,
    ),
]
ModelOutput = Annotated[Path, option("Model file to write; an older one is replaced.", "--output", "-o")]


# ---- options -> settings


class Flags(NamedTuple):
    """What was given on the command line, by the place where it belongs."""

    descriptor: dict[str, Any]
    kernel: dict[str, Any]
    term: dict[str, Any]
    model: dict[str, Any]
    keys: dict[str, str]
    e0: dict[str, float]


def given(**values: Any) -> dict[str, Any]:
    """Those values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def parse_e0(entries: Sequence[str]) -> dict[str, float]:
    """["Si=-0.8"] -> {"Si": -0.8}."""
    values = {}
    for entry in entries:
        symbol, _, text = entry.partition("=")
        try:
            values[symbol.strip()] = float(text)
        except ValueError:
            raise InputError(f"--e0 {entry!r} is not SYMBOL=ENERGY, write for example --e0 Si=-0.8 (eV).") from None
    return values


def settings_of(config: Path | None, flags: Flags) -> ModelSettings:
    """The configuration with the command line on top, checked before any work."""
    from gapkit.configuration import read_yaml, settings_from_dict

    settings = settings_from_dict(read_yaml(config) if config else {}, str(config))
    of_a_term = flags.descriptor | flags.kernel | flags.term
    if of_a_term and len(settings.terms) > 1:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in of_a_term)
        raise InputError(
            f"{named} could belong to any of the {len(settings.terms)} terms of '{config}': change it in that file."
        )
    terms = settings.terms
    if of_a_term:
        parts = {
            name: {**terms[0].get(name, {}), **getattr(flags, name)}
            for name in ("descriptor", "kernel")
            if name in terms[0] or getattr(flags, name)
        }
        terms = [{**terms[0], **parts, **flags.term}]
    e0 = {**(settings.e0 or {}), **flags.e0} or None
    settings = replace(settings, terms=terms, e0=e0, keys={**settings.keys, **flags.keys}, **flags.model)
    settings.validate()
    return settings
