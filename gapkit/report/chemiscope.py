"""Structures coloured by the errors and error bars of their atoms, as a file for chemiscope (chemiscope.org).

The format is JSON: structures, environments (an atom of a structure each), and properties, one value for each structure
or each environment. Nothing of chemiscope is needed to write it.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from gapkit.errors import InputError
from gapkit.evaluation.comparison import Comparison, Evaluation
from gapkit.report.tables import atom_errors
from gapkit.runtime.files import check_output, complete_file
from gapkit.uncertainty.extrapolation import extrapolation, has_environments

if TYPE_CHECKING:
    from gapkit.potential.gap import GAP

CUTOFF = 4.0  # Å: what chemiscope highlights around a chosen atom


def write_chemiscope(
    path: str | os.PathLike[str],
    frames: Sequence[Atoms],
    evaluation: Evaluation,
    gap: GAP | None = None,
    name: str = "gapkit",
) -> None:
    """Write a chemiscope file with the error and the standard deviation of every energy and every force.

    Structures without a label of one of the evaluated kinds are left out, as chemiscope has no missing values.

    Parameters
    ----------
    path : path
        Name that ends in .json or, compressed, .json.gz.
    frames : sequence of Atoms
        The list that was evaluated.
    evaluation : Evaluation
        Best made with ``return_std="all"``.
    gap : GAP, optional
        The potential, for the distance of each atom from the training environments
        (`gapkit.uncertainty.extrapolation`).
    name : str
        Title in chemiscope.

    Raises
    ------
    InputError
        If the name of the file ends otherwise, no file can be written there, no structure has all labels, or `frames`
        are too few.
    """
    check_name(path)
    check_output(path)
    data = _data(frames, evaluation, gap, name)
    encoded = json.dumps(data, allow_nan=False).replace("</", "<\\/").encode()  # it may stand in a page
    with complete_file(path, "wb") as file:
        file.write(gzip.compress(encoded, mtime=0) if os.fspath(path).endswith(".gz") else encoded)


def check_name(path: str | os.PathLike[str]) -> None:
    """Raise `InputError` unless the name ends as chemiscope wants it."""
    if not os.fspath(path).endswith((".json", ".json.gz")):
        raise InputError(f"'{os.fspath(path)}' is to hold data for chemiscope: let its name end in .json or .json.gz.")


def _data(frames: Sequence[Atoms], evaluation: Evaluation, gap: GAP | None, name: str) -> dict[str, Any]:
    kept = _complete(evaluation)
    if not kept or kept[-1] >= len(frames):
        raise InputError(
            f"no chemiscope file of {len(frames)} frames: {len(kept)} evaluated structures have labels of every kind; "
            "pass the very list that was evaluated, with energies and forces."
        )
    chosen = [frames[k] for k in kept]
    properties = _of_structures(evaluation, kept) | _of_atoms(evaluation, kept)
    if gap is not None and has_environments(gap):
        reach = extrapolation(gap, chosen).reach
        properties["distance from training"] = _property("atom", reach, "", "1: the farthest 1 % of the sparse points")
    return {
        "meta": {"name": name, "description": "Errors and error bars of a Gaussian-process potential"},
        "structures": [_structure(atoms) for atoms in chosen],
        "environments": [
            {"structure": s, "center": i, "cutoff": CUTOFF} for s, atoms in enumerate(chosen) for i in range(len(atoms))
        ],
        "properties": properties,
        "settings": _settings(properties),
    }


def _settings(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Error against std of what there is, atoms before structures, coloured by the error."""
    target, kind = ("atom", "force") if "force error" in properties else ("structure", "energy")
    error, std = f"{kind} error", f"{kind} std"
    if error not in properties:
        return {"target": target}
    x, y = ({"property": std if std in properties else error}, {"property": error})
    settings: dict[str, Any] = {"target": target, "map": {"x": x, "y": y, "color": y}}
    return settings | ({"structure": [{"unitCell": True, "color": y}]} if target == "atom" else {})


def _complete(evaluation: Evaluation) -> list[int]:
    """Structures with labels of every kind."""
    found = [set(comparison.structure.tolist()) for comparison in evaluation.comparisons.values()]
    return sorted(set.intersection(*found)) if found else []


def _structure(atoms: Atoms) -> dict[str, Any]:
    x, y, z = atoms.positions.T.tolist()
    data = {"size": len(atoms), "names": atoms.get_chemical_symbols(), "x": x, "y": y, "z": z}
    return data | ({"cell": atoms.cell.array.ravel().tolist()} if atoms.cell.rank == 3 else {})


def _property(target: str, values: Any, units: str = "", description: str = "") -> dict[str, Any]:
    words = {"units": units, "description": description}
    return {"target": target, "values": np.asarray(values).tolist()} | {
        key: text for key, text in words.items() if text
    }


def _of_structures(evaluation: Evaluation, kept: Sequence[int]) -> dict[str, Any]:
    """Config type, and error and std of the energy."""
    names: dict[int, str] = {}
    for comparison in evaluation.comparisons.values():
        names |= dict(zip(comparison.structure.tolist(), comparison.config_type.tolist()))
    found = {"config type": _property("structure", [names[k] for k in kept])}
    if evaluation.energy is None:
        return found
    shown = _ordered(evaluation.energy.displayed(), kept)
    found["energy error"] = _property("structure", np.abs(shown.error), shown.unit, "size of predicted - reference")
    if shown.std is not None:
        found["energy std"] = _property("structure", shown.std, shown.unit, "predicted, with the noise of labels")
    return found


def _ordered(comparison: Comparison, kept: Sequence[int]) -> Comparison:
    return comparison.select(np.isin(comparison.structure, kept))


def _of_atoms(evaluation: Evaluation, kept: Sequence[int]) -> dict[str, Any]:
    """Length of the error vector of each force, and its std."""
    atoms = atom_errors(evaluation)
    if atoms is None:
        return {}
    rows = np.isin(atoms["structure"], kept)
    found = {"force error": _property("atom", atoms["error"][rows], "eV/Å", "length of the error vector")}
    if np.all(np.isfinite(atoms["std"][rows])):
        found["force std"] = _property("atom", atoms["std"][rows], "eV/Å", "root of its expected square")
    return found
