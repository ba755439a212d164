"""`gapkit parity`: one model through every interface, and how far the numbers differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gapkit.cli.options import Json, Model, labelled_file, option
from gapkit.cli.terminal import print_json
from gapkit.errors import InputError

if TYPE_CHECKING:
    from gapkit.interfaces.lammps.parity import Differences

HEAD = ("route", "energy", "forces", "virial", "local energies", "their std")
UNITS = ("", "eV/atom", "eV/Å", "eV/atom", "eV", "eV")


def parity(
    model: Model,
    structures: Annotated[Path, labelled_file("Structures: any file that ASE reads.")],
    ranks: Annotated[str, option("Numbers of MPI ranks for LAMMPS, with commas; none leaves LAMMPS out.")] = "1,2,4",
    engines: Annotated[str, option("LAMMPS's engines, with commas.")] = "plugin,external",
    as_json: Json = False,
) -> None:
    """Evaluate structures through Python, ASE, LAMMPS and finite differences; print the largest differences.

    All differences are from GAP.predict on one thread. Exit code 1 if one is larger than the round-off of the model's
    weights, of which the last line speaks, allows.
    """
    from gapkit.cli.inputs import load_model
    from gapkit.interfaces.lammps import parity as routes
    from gapkit.structures.files import iter_frames

    gap = load_model(model, verbose=False)
    frames = [atoms for _, atoms in iter_frames(structures)]
    counts, names = _numbers(ranks), () if ranks == "none" else tuple(engines.split(","))
    if not as_json:
        typer.echo("\n".join(_row(cells) for cells in (HEAD, UNITS)))
    tell = (lambda row: None) if as_json else lambda row: typer.echo(_row(_cells(row)))
    rows = routes.compare_routes(model, frames, names, counts, tell)
    bound = routes.bound(gap)
    worst = max(row.largest for row in rows if row.route != routes.DIFFERENCES)
    if as_json:
        print_json({"rows": [row._asdict() for row in rows], "bound": bound, "worst": worst})
    else:
        typer.echo(f"largest {worst:.1e}, allowed {bound:.1e} (round-off of the weights)")
    if not worst <= bound:
        raise typer.Exit(1)


def _numbers(text: str) -> tuple[int, ...]:
    if text == "none":
        return ()
    parts = text.split(",")
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"--ranks {text!r} must be positive whole numbers with commas, such as 1,2,4, or none.")
    return tuple(map(int, parts))


def _cells(row: Differences) -> tuple[str, ...]:
    return (row.route, *("" if value is None else f"{value:.1e}" for value in row[1:]))


def _row(cells: tuple[str, ...]) -> str:
    return f"{cells[0]:<28}" + "".join(f"{cell:>15}" for cell in cells[1:])
