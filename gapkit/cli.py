"""The `gapkit` command, thin: each command reads, asks the library, prints. Heavy modules are imported where used."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gapkit.cli_options import (
    E0,
    AtomSigma,
    Compression,
    Config,
    ConfigTypeKey,
    Cutoff,
    Delta,
    EnergyKey,
    EnergyNoise,
    Flags,
    ForcesKey,
    ForcesNoise,
    Json,
    LMax,
    Model,
    ModelOutput,
    NMax,
    NSparse,
    Quiet,
    Smoothness,
    Sparsification,
    StressKey,
    VirialKey,
    VirialNoise,
    Zeta,
    given,
    option,
    parse_e0,
    settings_of,
)
from gapkit.errors import InputError
from gapkit.output_files import check_output, complete_file
from gapkit.terminal import Say, log_to, print_json, refuse, speaker, warn

if TYPE_CHECKING:
    from ase import Atoms

    from gapkit.configuration import ModelSettings
    from gapkit.evaluation import Evaluation
    from gapkit.gap import GAP

UsageError: Any = typer.BadParameter.__bases__[0]  # what an unknown option or a missing argument raises

app = typer.Typer(
    name="gapkit",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Gaussian-process interatomic potentials: labelled structures in, a potential that knows its errors out.",
    epilog="Try first: gapkit demo. Each command has its own --help with an example. Units: eV, Å.",
)


# ---- commands


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"gapkit {installed('gapkit')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(epilog="Example: gapkit fit train.xyz -o si.gap --cutoff 5 --n-sparse 1000 --forces-noise 0.1")
def fit(
    train: Annotated[Path, typer.Argument(help="Labelled structures: any file that ASE reads.", show_default=False)],
    output: ModelOutput = Path("model.gap"),
    config: Config = None,
    n_sparse: NSparse = None,
    sparsification: Sparsification = None,
    cutoff: Cutoff = None,
    n_max: NMax = None,
    l_max: LMax = None,
    atom_sigma: AtomSigma = None,
    smoothness: Smoothness = None,
    compression: Compression = None,
    zeta: Zeta = None,
    delta: Delta = None,
    energy_noise: EnergyNoise = None,
    forces_noise: ForcesNoise = None,
    virial_noise: VirialNoise = None,
    e0: E0 = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    virial_key: VirialKey = None,
    config_type_key: ConfigTypeKey = None,
    seed: Annotated[int | None, option("Seed of the choice of sparse points.", show_default="0")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Fit a potential to labelled structures and write it to a model file."""
    descriptor = {"cutoff": cutoff, "n_max": n_max, "l_max": l_max, "atom_sigma": atom_sigma}
    flags = Flags(
        descriptor=given(**descriptor, smoothness=smoothness, compression=compression),
        kernel=given(zeta=zeta, delta=delta),
        term=given(n_sparse=n_sparse, sparsification=sparsification),
        model=given(energy_noise=energy_noise, forces_noise=forces_noise, virial_noise=virial_noise, random_state=seed),
        keys=given(
            energy=energy_key, forces=forces_key, stress=stress_key, virial=virial_key, config_type=config_type_key
        ),
        e0=parse_e0(e0 or []),
    )
    check_output(output, inputs=(train, config))
    settings = settings_of(config, flags)
    say = speaker(quiet, to_stderr=as_json)
    result = _fit(train, output, settings, say, verbose=not quiet)
    if as_json:
        print_json(result)


@app.command(epilog="Example: gapkit evaluate si.gap test.xyz --report report.html")
def evaluate(
    model: Model,
    test: Annotated[Path, typer.Argument(help="Labelled structures: any file that ASE reads.", show_default=False)],
    report: Annotated[Path | None, option("Write a self-contained HTML report too.", show_default=False)] = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    virial_key: VirialKey = None,
    config_type_key: ConfigTypeKey = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare a potential with labels: energies in meV/atom, forces in eV/Å, stresses in GPa."""
    from gapkit.evaluation import evaluate as compare

    if report is not None:
        from gapkit.figures import require_matplotlib

        check_output(report, inputs=(model, test))
        require_matplotlib()
    say = speaker(quiet, to_stderr=as_json)
    gap = _load(model, verbose=not quiet)
    keys = given(
        energy=energy_key, forces=forces_key, stress=stress_key, virial=virial_key, config_type=config_type_key
    )
    structures = _read_labelled(test, keys, say)
    result = compare(gap, structures, return_std=report is not None or not as_json)
    say(result.table())
    if result.energy is not None and result.energy.std is not None:
        from gapkit.uncertainty import calibration_in_words

        say(calibration_in_words(result.energy))
    if report is not None:
        from gapkit.report import write_report

        write_report(report, gap, result, title=f"{model.name} on {test.name}")
        say(f"wrote {report}")
    if as_json:
        print_json(result.summary())


@app.command(epilog="Example: gapkit predict si.gap trajectory.xyz -o predicted.xyz --std")
def predict(
    model: Model,
    structures: Annotated[Path, typer.Argument(help="Structures: any file that ASE reads.", show_default=False)],
    output: Annotated[Path, option("Extended XYZ file to write.", "--output", "-o")] = Path("predicted.xyz"),
    std: Annotated[
        bool,
        option("Also standard deviations, eV: energy_std of each structure, local_energies_std of each atom.", "--std"),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write energies (eV), forces (eV/Å) and, in three-dimensional cells, stresses (eV/Å³) of structures.

    Labels of the input under other names are kept; those named energy, forces, stress or virial give way to what is
    predicted.
    """
    check_output(output, inputs=(model, structures))
    if output.suffix not in (".xyz", ".extxyz"):
        raise InputError(f"'{output}' is to hold extended XYZ: let its name end in .xyz or .extxyz.")
    gap = _load(model, verbose=False)
    n_frames = _predict(gap, structures, output, std, not quiet)
    speaker(quiet)(f"wrote {output}: {n_frames} structures")


@app.command(epilog="Example: gapkit info si.gap")
def info(model: Model, as_json: Json = False) -> None:
    """Tell what a model file holds: species, descriptor, noise, training data, conditioning."""
    from gapkit.model_card import describe_model
    from gapkit.model_file import read_model

    header, _ = read_model(model)
    if as_json:
        print_json({name: value for name, value in header.items() if name not in ("sha256", "references", "blocks")})
        return
    rows = {"File": f"{model}, format {header['version']}", "Saved": f"{header['saved']} by gapkit {header['gapkit']}"}
    rows |= describe_model(_load(model, verbose=False), None)
    width = max(map(len, rows))
    typer.echo("\n".join(f"{name:<{width}}  {value}" for name, value in rows.items()))


@app.command(epilog="Example: gapkit demo -o gapkit-demo")
def demo(
    output: Annotated[Path, option("Folder for the model and the report; made if need be.", "--output", "-o")] = Path(
        "gapkit-demo"
    ),
    n_sparse: Annotated[int, option("Sparse points: more are more accurate and slower.", min=1)] = 1000,
) -> None:
    """Fit silicon from data that ship with gapkit, test it, run dynamics, write a report: less than a minute."""
    from gapkit.demo import run_demo

    if run_demo(output, n_sparse=n_sparse, echo=typer.echo).failures:
        raise typer.Exit(1)


# ---- what the commands do


def _fit(train: Path, output: Path, settings: ModelSettings, say: Say, verbose: bool) -> dict[str, Any]:
    from gapkit.evaluation import evaluate as compare
    from gapkit.gap import GAP

    structures = _read_labelled(train, settings.keys, say)
    terms = settings.make_terms(sorted({symbol for atoms in structures for symbol in atoms.symbols}))
    gap = GAP(terms, **settings.parameters(), verbose=verbose)
    start = time.perf_counter()
    gap.fit(structures)
    seconds = time.perf_counter() - start
    _describe_fit(gap, seconds, say)
    errors = compare(gap, structures, return_std=False)  # before a model is written, should it predict nonsense
    gap.save(output)
    say(f"errors on the training structures\n{errors.table()}\nwrote {output} ({output.stat().st_size / 1e6:.1f} MB)")
    return _fit_summary(gap, output, seconds, errors)


def _describe_fit(gap: GAP, seconds: float, say: Say) -> None:
    from gapkit.terms import describe_term

    found = gap.posterior_.conditioning
    for term in gap.terms_:
        say(f"term: {describe_term(term)}")
    say(f"noise: energy {gap.energy_noise} eV/atom, forces {gap.forces_noise} eV/Å, virial {gap.virial_noise} eV/atom")
    say("e0: " + ", ".join(f"{symbol} {energy:.6f} eV" for symbol, energy in gap.e0_.items()))
    say(f"fit: {seconds:.1f} s for {gap.posterior_.n_rows} labels and {found.n_sparse} sparse points")
    say(
        f"conditioning: rank {found.rank} of {found.n_sparse}, {len(found.redundant)} redundant sparse points, "
        f"jitter {found.jitter:g}"
    )
    say(f"log evidence: {gap.posterior_.log_marginal_likelihood:.2f}")


def _fit_summary(gap: GAP, output: Path, seconds: float, errors: Evaluation) -> dict[str, Any]:
    return {
        "model": str(output),
        "species": list(gap.species_),
        "e0": gap.e0_,
        "training": gap.training_,
        "seconds": seconds,
        "n_rows": gap.posterior_.n_rows,
        "conditioning": gap.posterior_.conditioning._asdict(),
        "log_marginal_likelihood": gap.posterior_.log_marginal_likelihood,
        "errors": errors.summary(),
    }


def _predict(gap: GAP, source: Path, output: Path, std: bool, show: bool) -> int:
    """Frame by frame; the output appears when it is complete."""
    from ase.io import write

    from gapkit.frame_files import iter_frames
    from gapkit.structures import check_structures
    from gapkit.training import progress

    frames = [atoms for _, atoms in iter_frames(source)]
    check_structures(frames)
    with complete_file(output) as file:
        for atoms in progress(show)(frames, "predictions"):
            write(file, _with_predictions(atoms, gap, std), format="extxyz")
    return len(frames)


def _with_predictions(atoms: Atoms, gap: GAP, std: bool) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    p = gap.predict(atoms, return_std=std)
    out = atoms.copy()
    for name in ("energy", "free_energy", "energies", "forces", "stress", "virial", "energy_std", "local_energies_std"):
        out.info.pop(name, None)
        out.arrays.pop(name, None)
    stress = {} if p.stress[0] is None else {"stress": full_3x3_to_voigt_6_stress(p.stress[0])}
    out.calc = SinglePointCalculator(out, energy=float(p.energy[0]), forces=p.forces[0], **stress)
    if p.energy_std is not None and p.local_energies_std is not None:
        out.info["energy_std"] = float(p.energy_std[0])
        out.arrays["local_energies_std"] = p.local_energies_std[0]
    return out


# ---- files, messages


def _load(path: Path, verbose: bool) -> GAP:
    from gapkit.gap import GAP

    gap = GAP.load(path)
    gap.verbose = verbose
    return gap


def _read_labelled(path: Path, keys: Mapping[str, str | None], say: Say) -> list[Atoms]:
    """Structures of a file, after telling which labels were taken and what there is."""
    from gapkit.structures import describe_structures, read_structures

    named = {f"{name}_key": key for name, key in keys.items() if key is not None}
    with log_to(say):
        structures = read_structures(path, **named)
    if all(atoms.calc is None for atoms in structures):
        found = {str(key) for a in structures for key in (*a.info, *a.arrays)}
        others = ", ".join(sorted(found - {"numbers", "positions", "config_type"})) or "no others"
        raise InputError(
            f"'{path}' has no energies, forces or stresses under names that gapkit knows (it has {others}): "
            "name them with --energy-key, --forces-key, --stress-key or --virial-key."
        )
    # the last line names the labels, which have standard names by now
    say("\n".join(describe_structures(structures).splitlines()[:-1]))
    return structures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.

    Returns
    -------
    int
        0; 1 if the demo's own checks failed; 2 for bad input, after one sentence on standard error; 130 after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal that has no Å gets a question mark
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = warn  # type: ignore[assignment]
        try:
            return int(app(args=arguments, prog_name="gapkit", standalone_mode=False) or 0)
        except UsageError as error:
            where = error.ctx.command_path if error.ctx else "gapkit"
            return refuse(f"{error.format_message().rstrip('.')}, see {where} --help.")
        except ValueError as error:
            from sklearn.exceptions import NotFittedError

            if not isinstance(error, InputError | NotFittedError):
                raise
            return refuse(str(error))
        except OSError as error:
            return refuse(f"{error.filename or 'a file'}: {(error.strerror or str(error)).lower()}.")
        except MemoryError:
            return refuse("there is not enough memory: use fewer sparse points (--n-sparse) or a smaller n_max, l_max.")
