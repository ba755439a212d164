"""`gapkit predict`, `info` and `demo`: what can be done with a potential without labels."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gapkit.cli.inputs import load_model
from gapkit.cli.options import Json, Model, Quiet, labelled_file, option, with_format_option
from gapkit.cli.terminal import print_json, speaker
from gapkit.errors import ExtrapolationWarning, InputError, warn
from gapkit.runtime.archive import TENSOR_MODEL, is_kind
from gapkit.runtime.files import check_output, complete_file
from gapkit.runtime.text import one_line

if TYPE_CHECKING:
    from ase import Atoms

    from gapkit.potential.gap import GAP
    from gapkit.potential.prediction import Predictions


def verify(model: Model, as_json: Json = False) -> None:
    """Check a model file: sizes, hashes, contents, and that it predicts what it was saved with; 1 if it does not."""
    from gapkit.potential.verification import verify as look

    found = look(model)
    if as_json:
        checks = [check._asdict() for check in found.checks]
        print_json({"model": str(model), "ok": found.ok, "checks": checks})
    else:
        speaker(False)(f"{found.table()}\n{model}: {'ok' if found.ok else 'NOT OK'}")
    if not found.ok:
        raise typer.Exit(1)


@with_format_option
def predict(
    model: Model,
    structures: Annotated[Path, labelled_file("Structures: any file that ASE reads.")],
    output: Annotated[Path, option("Extended XYZ file to write.", "--output", "-o")] = Path("predicted.xyz"),
    std: Annotated[
        bool,
        option("Also standard deviations, eV: energy_std of each structure, local_energies_std of each atom.", "--std"),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write energies (eV), forces (eV/Å) and, in three-dimensional cells, stresses (eV/Å³) of structures.

    A model of dipoles or other tensors writes these under their name, in the unit of its labels.

    Labels of the input under other names are kept; those named energy, forces, stress or virial are replaced by
    predictions.
    """
    check_output(output, inputs=(model, structures))
    if output.suffix not in (".xyz", ".extxyz"):
        raise InputError(f"'{output}' must be extended XYZ: use a name that ends in .xyz or .extxyz.")
    if is_kind(model, TENSOR_MODEL):
        from gapkit.cli.tensors import predict_tensor

        n_frames = predict_tensor(model, structures, output, std)
    else:
        n_frames = _predict(load_model(model, verbose=False), structures, output, std, not quiet)
    speaker(quiet, to_stderr=as_json)(f"wrote {output}: {n_frames} structures")
    if as_json:
        print_json({"output": str(output), "n_structures": n_frames})


def info(model: Model, as_json: Json = False) -> None:
    """Show what a model file holds: species, descriptor, noise, training data, conditioning."""
    if is_kind(model, TENSOR_MODEL):
        from gapkit.cli.tensors import describe_tensor

        describe_tensor(model, as_json)
        return
    from gapkit.report.model_card import describe_model
    from gapkit.runtime.archive import read_model
    from gapkit.runtime.tables import aligned

    header, _ = read_model(model)
    hidden = ("sha256", "references", "blocks", "factors")
    if as_json:
        print_json({name: value for name, value in header.items() if name not in hidden})
        return
    rows = {"File": f"{model}, format {header['version']}", "Saved": f"{header['saved']} by gapkit {header['gapkit']}"}
    rows |= describe_model(load_model(model, verbose=False))
    speaker(False)(aligned([(name, one_line(str(value))) for name, value in rows.items()], "ll"))


def demo(
    output: Annotated[Path, option("Folder for the model and the report; created if needed.", "--output", "-o")] = Path(
        "gapkit-demo"
    ),
    n_sparse: Annotated[int, option("Sparse points: more are more accurate and slower.", min=1)] = 1000,
) -> None:
    """Fit silicon from data that ship with gapkit, test it, run dynamics, write a report: less than a minute."""
    from gapkit.cli.demo import run_demo

    if run_demo(output, n_sparse=n_sparse, echo=typer.echo).failures:
        raise typer.Exit(1)


def _predict(gap: GAP, source: Path, output: Path, std: bool, show: bool) -> int:
    """Frame by frame; the output appears when it is complete."""
    from ase.io import write

    from gapkit.geometry.distances import contacts_in_words
    from gapkit.runtime.progress import progress
    from gapkit.structures.files import iter_frames
    from gapkit.structures.labels import check_structures
    from gapkit.structures.writing import writable

    frames, contacts = [atoms for _, atoms in iter_frames(source)], []
    check_structures(frames)
    with complete_file(output) as file:
        for k, atoms in enumerate(progress(show)(frames, "predictions")):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExtrapolationWarning)  # one warning, at the end
                p = _predictions_of_frame(gap, k, atoms, std)
            contacts += p.short_contacts or []
            write(file, writable(_with_predictions(atoms, p)), format="extxyz")
    if sentence := contacts_in_words(contacts):
        warn(sentence, ExtrapolationWarning)
    return len(frames)


def _predictions_of_frame(gap: GAP, k: int, atoms: Atoms, std: bool) -> Predictions:
    from gapkit.errors import InputError

    try:
        return gap.predict(atoms, return_std=std)
    except InputError as error:
        raise InputError(f"frame {k}: {error}") from None


def _with_predictions(atoms: Atoms, p: Predictions) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

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
