"""The `gapkit` command, thin: each command reads, asks the library, prints. Heavy modules are imported where used."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from gapkit.cli import data, evaluate, fit, lammps, parity, predict, suggest, tune
from gapkit.cli.terminal import in_words_when_stopped, refuse, warn
from gapkit.errors import InputError
from gapkit.runtime.interrupts import termination

UsageError: Any = typer.BadParameter.__bases__[0]  # what an unknown option or a missing argument raises

app = typer.Typer(
    name="gapkit",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Gaussian-process interatomic potentials: labelled structures in, a potential that knows its errors out.",
    epilog="Try first: gapkit demo. Each command has its own --help with an example. Units: eV, Å.",
)

COMMANDS: dict[Callable[..., None], str] = {
    predict.demo: "-o gapkit-demo",
    suggest.suggest: "train.xyz -o config.yaml",
    fit.fit: "train.xyz -o si.gap --cutoff 5 --n-sparse 1000 --optimize noise,delta",
    evaluate.evaluate: "si.gap test.xyz --report report.html",
    evaluate.report: "si.gap test.xyz -o report.html --train train.xyz",
    evaluate.recalibrate: "si.gap held_out.xyz -o honest.gap",
    predict.predict: "si.gap trajectory.xyz -o predicted.xyz --std",
    predict.info: "si.gap",
    predict.verify: "si.gap",
    fit.update: "si.gap --add new.xyz -o si2.gap",
    tune.tune: "train.xyz --vary cutoff=4,5,6 --vary zeta=2,4 -o best.yaml",
    tune.learning_curve: "train.xyz --test test.xyz --n-sparse 100,200,400 -o curve.html",
    data.data: "si.gap train.xyz --candidates pool.xyz",
    parity.parity: "si.gap test.xyz",
}
for _command, _example in COMMANDS.items():
    _name = _command.__name__.replace("_", "-")
    app.command(name=_name, epilog=f"Example: gapkit {_name} {_example}")(in_words_when_stopped(_command))

app.add_typer(lammps.app, name="lammps")


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"gapkit {installed('gapkit')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.

    Returns
    -------
    int
        0; 1 if the demo's own checks or those of a model file failed; 2 for bad input, after one sentence on standard
        error; 130 after Ctrl-C and 143 after SIGTERM, after one sentence, too.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal that has no Å gets a question mark
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    with warnings.catch_warnings(), termination():
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
            return refuse(error if isinstance(error, InputError) else str(error))
        except OSError as error:
            return refuse(f"{error.filename or 'a file'}: {(error.strerror or str(error)).lower()}.")
        except MemoryError:
            return refuse("there is not enough memory: use fewer sparse points (--n-sparse) or a smaller n_max, l_max.")
