"""Options of the commands, each with its unit and default in its help, and the settings of a fit made of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gapkit.errors import InputError

if TYPE_CHECKING:
    from gapkit.potential.settings import ModelSettings

Command = Callable[..., None]
NOISE_PANEL = "Model: noise of the labels"


def option(text: str, *names: str, panel: str = "Options", **settings: Any) -> Any:
    """An option with its help; `panel` is the heading it stands under."""
    return typer.Option(*names, help=text, rich_help_panel=panel, **settings)


def descriptor(text: str, default: str) -> Any:
    """An option of a term; None means the default of the library, which `default` quotes."""
    return option(text, panel="Model: descriptor and kernel", show_default=default)


def noise(text: str, default: str) -> Any:
    """An option for a standard deviation of labels."""
    return option(text, panel=NOISE_PANEL, show_default=default)


def key(what: str, panel: str = "Names of the labels in the file") -> Any:
    """An option for the name of a label."""
    text = f'Name of the {what} in the structure file; "" leaves them out.'
    return option(text, panel=panel, show_default="found automatically")


def labelled_file(text: str = "Labelled structures: any file that ASE reads.") -> Any:
    """An argument for one or several structure files."""
    return typer.Argument(help=text, show_default=False)


Model = Annotated[Path, typer.Argument(help="Model file, as gapkit fit writes it.", show_default=False)]
TrainingFiles = Annotated[list[Path], labelled_file("Labelled structures: one or more files that ASE reads.")]
Json = Annotated[bool, option("Print one JSON object on standard output; messages go to standard error.", "--json")]
Quiet = Annotated[bool, option("Print nothing but warnings and errors.", "--quiet", "-q")]
ModelOutput = Annotated[Path, option("Model file to write; an older one is replaced.", "--output", "-o")]
Optimize = Annotated[
    list[str] | None,
    option(
        "Learn from the data: noise (of each kind of label), delta (of each term), config_type (noises of each config "
        "type), outliers (own noises for frames that the others contradict), leave_out (ratios between kinds from the "
        "errors of left-out frames instead of the evidence); several with commas, all, or none.",
        panel=NOISE_PANEL,
        show_default="none",
    ),
]

KEY_OPTIONS: dict[str, Any] = {
    "energy_key": Annotated[str | None, key("energies (eV per structure)")],
    "forces_key": Annotated[str | None, key("forces (eV/Å)")],
    "stress_key": Annotated[str | None, key("stresses (eV/Å³, tension positive)")],
    "virial_key": Annotated[str | None, key("virials (eV, minus volume times stress)")],
    "config_type_key": Annotated[
        str | None,
        option(
            "Name of the kind of structure ('bulk', 'liquid', …) by which noise and errors are grouped.",
            panel="Names of the labels in the file",
            show_default="config_type",
        ),
    ],
}
FORMAT_OPTIONS: dict[str, Any] = {
    "format": Annotated[
        str | None,
        option(
            "Format of the structure files, as ASE names it: extxyz, vasp-out, …",
            panel="Names of the labels in the file",
            show_default="by ending and content",
        ),
    ]
}
STRUCTURE_FILES = ("train", "test", "structures", "labelled", "candidates", "add", "remove")  # arguments with paths
DESCRIPTOR_OPTIONS: dict[str, Any] = {
    "cutoff": Annotated[float | None, descriptor("Radius beyond which atoms do not act, Å.", "5.0")],
    "n_max": Annotated[int | None, descriptor("SOAP: number of radial functions.", "8")],
    "l_max": Annotated[int | None, descriptor("SOAP: highest angular momentum.", "6")],
    "atom_sigma": Annotated[float | None, descriptor("SOAP: width of the Gaussian that stands for an atom, Å.", "0.5")],
    "smoothness": Annotated[
        float | None, descriptor("SOAP: how smoothly atoms fade at the cutoff; 1 reaches farther than 2.", "1.0")
    ],
    "compression": Annotated[
        str | None, descriptor("SOAP: shorter features for many species: off, mu2, mu1nu1 or crossover.", "off")
    ],
}
KERNEL_OPTIONS: dict[str, Any] = {
    "zeta": Annotated[int | None, descriptor("Kernel: exponent, a whole number; larger is sharper.", "4")],
    "delta": Annotated[
        float | None, descriptor("Kernel: amplitude, the spread expected of atomic energies, eV.", "5.0")
    ],
}
SPARSE_OPTIONS: dict[str, Any] = {
    "n_sparse": Annotated[
        int | None, descriptor("Sparse points per species: more are more accurate and slower.", "1000")
    ],
    "sparsification": Annotated[
        str | None, descriptor("How sparse points are chosen: fps, cur, kmeans or random.", "fps")
    ],
}
NOISE_OPTIONS: dict[str, Any] = {
    "energy_noise": Annotated[float | None, noise("Error to expect of the energies, eV/atom.", "0.001")],
    "forces_noise": Annotated[float | None, noise("Error to expect of each force component, eV/Å.", "0.05")],
    "virial_noise": Annotated[float | None, noise("Error to expect of each virial component, eV/atom.", "0.02")],
}
OTHER_OPTIONS: dict[str, Any] = {
    "config": Annotated[
        Path | None,
        option(
            "YAML file with any of: terms or preset, energy_noise, forces_noise, virial_noise (numbers, or one per "
            "config type), e0, jitter, random_state, optimize, keys, baseline. Options given here override it.",
            show_default=False,
        ),
    ],
    "preset": Annotated[
        str | None,
        option(
            "Start from the terms, baseline and noises of a solid, molecule, liquid or ionic system; of the options "
            "for descriptor and kernel, --cutoff and --n-sparse go with it.",
            show_default=False,
        ),
    ],
    "e0": Annotated[
        list[str] | None,
        option(
            "Energy of an isolated atom, eV, such as Si=-0.8; repeat for each species.",
            show_default="from isolated atoms or least squares",
        ),
    ],
    "zbl": Annotated[
        bool | None,
        option(
            "Subtract the ZBL repulsion of nuclei before the fit and add it after, so that atoms cannot fuse: it acts "
            "only at distances shorter than any in the data.",
            "--zbl",
            show_default=False,
        ),
    ],
    "seed": Annotated[int | None, option("Seed of the choice of sparse points.", show_default="0")],
}
TENSORS = "Tensors: what is learned instead of energies"
TENSOR_OPTIONS: dict[str, Any] = {
    "target": Annotated[
        str | None,
        option(
            "Learn a vector or tensor instead: dipole, polarizability, dielectric, born_charges, atomic_dipoles, "
            "charges, electric_field_gradients or shieldings. Of the options of a potential those for descriptor, "
            "kernel, seed and preset go with it.",
            panel=TENSORS,
            show_default="energies and forces",
        ),
    ],
    "label_key": Annotated[str | None, option("Name of its label.", panel=TENSORS, show_default="found by itself")],
    "label_noise": Annotated[
        float | None, option("Error to expect of each component.", panel=TENSORS, show_default="learned")
    ],
    "unit": Annotated[
        str | None,
        option("Unit of the labels, such as e*Å, a.u., Debye or Å^3; needed for charged dipoles.", panel=TENSORS),
    ],
    "charge": Annotated[
        float | None,
        option("Charge of every structure, e.", panel=TENSORS, show_default="charge= of each structure, or 0"),
    ],
    "label_origin": Annotated[
        str | None,
        option(
            "Where dipoles of charged structures are taken about: coordinates or centre_of_mass.",
            panel=TENSORS,
            show_default="coordinates",
        ),
    ],
    "branch_consistent": Annotated[
        bool | None,
        option(
            "Dipoles of periodic cells are all on one branch of the polarisation; without it they are refused.",
            "--branch-consistent",
            panel=TENSORS,
            show_default=False,
        ),
    ],
}
MODEL_OPTIONS: dict[str, Any] = {
    **SPARSE_OPTIONS, **DESCRIPTOR_OPTIONS, **KERNEL_OPTIONS, **NOISE_OPTIONS, **OTHER_OPTIONS, **KEY_OPTIONS
}  # fmt: skip


# ---- options -> settings


class Flags(NamedTuple):
    """What was given on the command line, by the place where it belongs."""

    config: Path | None
    descriptor: dict[str, Any]
    kernel: dict[str, Any]
    term: dict[str, Any]
    model: dict[str, Any]
    keys: dict[str, str]
    e0: dict[str, float]
    zbl: bool
    preset: str | None


def given(values: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the named values that are there and not None."""
    return {name: values[name] for name in names if values.get(name) is not None}


def with_model_options(command: Command) -> Command:
    """The command with all options of a potential, which it gets as one argument, `flags`; its own take precedence."""
    return _with_options(command, "flags", MODEL_OPTIONS, _flags)


def with_tensor_options(command: Command) -> Command:
    """The command with the options of a tensorial target, which it gets as one argument, `tensor`."""
    return _with_options(command, "tensor", TENSOR_OPTIONS, lambda values: given(values, TENSOR_OPTIONS))


def with_key_options(command: Command) -> Command:
    """The command with the names of labels as options, which it gets as one argument, `keys`."""
    return _with_options(command, "keys", KEY_OPTIONS, _keys)


def with_format_option(command: Command) -> Command:
    """The command with the format of its structure files as an option, which its paths carry."""
    return _with_options(command, None, {}, dict)


def _with_options(
    command: Command, argument: str | None, options: dict[str, Any], gather: Callable[..., Any]
) -> Command:
    """`command` for typer, with `options` instead of the one `argument` that `gather` makes of them, and --format."""
    signature = inspect.signature(command, eval_str=True)
    own = [p.replace(kind=p.KEYWORD_ONLY) for name, p in signature.parameters.items() if name != argument]
    more = [
        inspect.Parameter(name, own[0].KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in (options | FORMAT_OPTIONS).items()
        if name not in signature.parameters
    ]

    def run(**values: Any) -> None:
        taken = {p.name: values.pop(p.name) for p in more}
        given_format = taken.pop("format", None)  # absent if the command has it already
        for name in STRUCTURE_FILES if given_format is not None else ():
            values[name] = _with_format(values[name], given_format) if values.get(name) else values.get(name)
        values = {name: value for name, value in values.items() if name in signature.parameters}
        command(**values, **({} if argument is None else {argument: gather(taken)}))

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {p.name: p.annotation for p in (*own, *more)}
    run.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
    return run


def _with_format(paths: Any, name: str) -> Any:
    from gapkit.structures.file_kinds import with_format

    return [with_format(path, name) for path in paths] if isinstance(paths, list) else with_format(paths, name)


def _flags(values: Mapping[str, Any]) -> Flags:
    model = given(values, NOISE_OPTIONS)
    if values["seed"] is not None:
        model["random_state"] = values["seed"]
    return Flags(
        config=values["config"],
        descriptor=given(values, DESCRIPTOR_OPTIONS),
        kernel=given(values, KERNEL_OPTIONS),
        term=given(values, SPARSE_OPTIONS),
        model=model,
        keys=_keys(values),
        e0=parse_e0(values["e0"] or []),
        zbl=bool(values["zbl"]),
        preset=values["preset"],
    )


def _keys(values: Mapping[str, Any]) -> dict[str, str]:
    return {name.removesuffix("_key"): value for name, value in given(values, KEY_OPTIONS).items()}


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


def parse_learned(entries: Sequence[str]) -> list[str]:
    """["noise,delta"] -> ["noise", "delta"]; "all" is every one, "none" the empty list.

    Raises
    ------
    InputError
        For an unknown name.
    """
    from gapkit.fitting.hyperparameters import OPTIONS, parse_optimize

    names = [name.strip() for entry in entries for name in entry.split(",") if name.strip()]
    if names in (["all"], ["none"]):
        return list(OPTIONS) if names == ["all"] else []
    for name in names:
        if name not in OPTIONS:
            raise InputError(f"--optimize {name!r} is unknown: use {', '.join(OPTIONS)}, several with commas, or all.")
    parse_optimize(names)
    return names


def settings_of(flags: Flags, optimize: Sequence[str] | None = None) -> ModelSettings:
    """The configuration with the command line on top, checked before any work."""
    from gapkit.fitting.hyperparameters import parse_optimize
    from gapkit.potential.settings import read_yaml, settings_from_dict

    data = read_yaml(flags.config) if flags.config else {}
    of_a_term = flags.descriptor | flags.kernel | flags.term
    if flags.preset is not None or data.get("preset") is not None:
        data, of_a_term = _with_preset(data, flags.preset, of_a_term), {}
    settings = settings_from_dict(data, str(flags.config or "configuration"))
    parse_optimize(settings.optimize)
    if of_a_term and len(settings.terms) > 1:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in of_a_term)
        raise InputError(
            f"{named} could belong to any of the {len(settings.terms)} terms of '{flags.config}': "
            "change it in that file."
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
    model = flags.model if optimize is None else {**flags.model, "optimize": parse_learned(optimize)}
    baseline = settings.baseline
    if flags.zbl and not any(data.get("type") == "ZBL" for data in baseline):
        baseline = [*baseline, {"type": "ZBL"}]
    keys = {**settings.keys, **flags.keys}
    settings = replace(settings, terms=terms, e0=e0, keys=keys, baseline=baseline, **model)
    settings.validate()
    return settings


def _with_preset(data: Mapping[str, Any], name: str | None, of_a_term: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the preset of the command line, or with its own, and what was given for its terms."""
    for option_name in of_a_term:
        if option_name not in ("cutoff", "n_sparse"):
            raise InputError(
                f"--{option_name.replace('_', '-')} could belong to any of a preset's terms: write them to a file with "
                "gapkit suggest and change it there."
            )
    present = data.get("preset")
    own = dict(present) if isinstance(present, Mapping) else {"name": present}
    return {**data, "preset": {**own, **({} if name is None else {"name": name}), **of_a_term}}
