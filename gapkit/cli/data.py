"""`gapkit data`: which training data matter, and which calculations to do next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from gapkit.cli.inputs import frames_of, load_model, read_labelled
from gapkit.cli.options import (
    Json,
    Model,
    Quiet,
    labelled_file,
    option,
    with_key_options,
)
from gapkit.cli.terminal import print_json, speaker, warnings_kept
from gapkit.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

    from gapkit.cli.inputs import LabelledFiles
    from gapkit.evaluation.leave_one_out import LeaveOneOut
    from gapkit.potential.gap import GAP


@with_key_options
def data(
    model: Model,
    train: Annotated[list[Path], labelled_file("The structures that the model was fitted to: one or more files.")],
    keys: dict[str, str],
    candidates: Annotated[
        list[Path] | None, option("Structures without labels: which of them to calculate next? Repeat for more files.")
    ] = None,
    rows: Annotated[int, option("Rows of each table.", "--rows", "-n")] = 10,
    cost: Annotated[
        str, option("Cost of a calculation by its number of atoms N: cubed (N³), linear (N) or equal.")
    ] = "cubed",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Which data matter: structures that are redundant, contradicted by the others, or most wanted next.

    Each training structure is predicted from all others, without a new fit.
    """
    from gapkit.active_learning.data_value import which_data_matter

    if rows < 1:
        raise InputError(f"--rows {rows} must be 1 or more.")
    if cost not in COSTS:
        raise InputError(f"--cost {cost!r} is unknown: use {', '.join(COSTS)}.")
    say = speaker(quiet, to_stderr=as_json)
    with warnings_kept() as warned:
        gap = load_model(model, verbose=not quiet)
        leave_one_out = _left_out(gap, read_labelled(train, keys, say, not quiet))
        pool = [atoms for path in candidates or () for atoms in _bare(path)] or None
        found = which_data_matter(gap, leave_one_out, pool, n=rows, cost=lambda atoms: COSTS[cost](len(atoms)))
    say(f"{_HOW_TO_READ}\n{leave_one_out.table(rows)}\n\n{found.table(ADD_SPARSE)}")
    if as_json:
        print_json({"leave_one_out": leave_one_out.to_dict(rows), **found.to_dict(), "warnings": warned})


ADD_SPARSE = "gapkit update --add-sparse"
_HOW_TO_READ = """
Frames are numbered from 0, through all files in the given order.

Worst predicted: each frame by a fit to all others; z is its error in units of the standard deviation expected."""
COSTS: dict[str, Callable[[int], float]] = {
    "cubed": lambda n: float(n) ** 3,
    "linear": float,
    "equal": lambda n: 1.0,
}


def _left_out(gap: GAP, files: LabelledFiles) -> LeaveOneOut:
    from gapkit.evaluation.leave_one_out import leave_one_out

    structures, keys = frames_of(files)
    return leave_one_out(gap, structures, keys)


def _bare(path: Path) -> Iterator[Atoms]:
    """Structures of a file; labels, if any, are ignored."""
    from gapkit.structures.reading import iter_structures

    return iter_structures(path, energy_key="", forces_key="", stress_key="", virial_key="")
