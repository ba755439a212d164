"""Options that the commands of `gapkit.cli` share, each with its unit and default in its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


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
    text = f'Name of the {what} in the structure file; "" leaves it out.'
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
    float | None, descriptor("SOAP: how smoothly atoms fade at the cutoff; 1 reaches farther than 2.", "2.0")
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
