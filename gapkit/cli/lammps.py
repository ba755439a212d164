"""`gapkit lammps`: an input with ``pair_style gapkit`` run, the installation looked at, the plugin built."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gapkit.cli.options import Json, option
from gapkit.cli.terminal import print_json
from gapkit.errors import InputError

app = typer.Typer(help="Molecular dynamics in LAMMPS, over MPI.", no_args_is_help=True)
Engine = Annotated[
    Literal["auto", "plugin", "external"],
    option(
        "What stands behind pair_style gapkit. plugin: a pair style, compiled on first use. external: fix external, "
        "which needs no compiler and follows no jump in the input. auto: the plugin if it can be made."
    ),
]
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=PASS_ON, epilog="Example: mpiexec -n 4 gapkit lammps run in.silicon -var T 300")
def run(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="LAMMPS input.", show_default=False)],
    engine: Engine = "auto",
    plugin: Annotated[
        Path | None, option("Compiled plugin of another LAMMPS, from gapkit lammps build.", show_default=False)
    ] = None,
) -> None:
    """Run an ordinary LAMMPS input that may say: pair_style gapkit model.gap, pair_coeff * * Si C.

    Alone or under mpiexec. Options that are not gapkit's (-var, -log, -screen, -echo, -suffix, ...) go to LAMMPS.
    Units must be metal. Threads: GAPKIT_NUM_THREADS or OMP_NUM_THREADS, at most the cores divided by the ranks.
    """
    from gapkit.interfaces.lammps.installation import is_first_rank
    from gapkit.interfaces.lammps.session import Session

    try:
        named = ("-in", str(file)) if {"-partition", "-p"} & set(context.args) else ()  # which partitions ask for
        with Session([*context.args, *named], engine, plugin=plugin) as session:
            if session.is_first:
                typer.echo(f"gapkit: {session.in_words}", err=True)
            session.file(file)
    except InputError:
        if is_first_rank():
            raise
        raise typer.Exit(2) from None  # one sentence is enough


@app.command(epilog="Example: gapkit lammps check")
def check(as_json: Json = False) -> None:
    """Say what the installed LAMMPS can do with gapkit, and what to type."""
    from gapkit.interfaces.lammps.capabilities import capabilities

    found = capabilities()
    if as_json:
        print_json(found)
        return
    width = max(map(len, found))
    typer.echo("\n".join(f"{name:<{width}}  {value}" for name, value in found.items()))


@app.command(epilog="Example: gapkit lammps build --headers ~/lammps/src -o ~/lammps/plugins")
def build(
    headers: Annotated[Path, option("Folder with LAMMPS's pair.h: src of a source tree.", show_default=False)],
    output: Annotated[Path, option("Folder to put gapkitplugin.so in; made if need be.", "--output", "-o")] = Path(
        "gapkit-lammps"
    ),
    mpi: Annotated[Path | None, option("Folder with mpi.h.", show_default="of the mpich wheel")] = None,
    lammps_version: Annotated[
        str | None, option('Of LAMMPS, such as "22 Jul 2025".', show_default="from version.h")
    ] = None,
    big: Annotated[bool, option("For a LAMMPS built with -DLAMMPS_BIGBIG.", "--big")] = False,
) -> None:
    """Compile the plugin for a LAMMPS of your own, built as a shared library with its Python module.

    Use it with: gapkit lammps run in.file --plugin gapkit-lammps/gapkitplugin.so
    """
    from gapkit.interfaces.lammps.compilation import compile_plugin, version_of_source

    version = lammps_version or version_of_source(headers)
    if version is None:
        raise InputError(f"'{headers}' has no version.h that says which LAMMPS it is: give --lammps-version.")
    made = compile_plugin(headers, version, mpi, big, output)
    typer.echo(f"wrote {made} for LAMMPS {version}: gapkit lammps run in.file --plugin {made}")
