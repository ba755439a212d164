"""`gapkit evaluate`, `report` and `recalibrate`: a potential against labels."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from gapkit.cli.inputs import load_model, read_labelled
from gapkit.cli.options import Json, Model, ModelOutput, Quiet, labelled_file, option, with_key_options
from gapkit.cli.terminal import Say, print_json, speaker
from gapkit.errors import InputError
from gapkit.runtime.archive import TENSOR_MODEL, is_kind
from gapkit.runtime.files import check_output

if TYPE_CHECKING:
    from gapkit.potential.gap import GAP


@with_key_options
def report(
    model: Model,
    test: Annotated[Path, labelled_file()],
    keys: dict[str, str],
    output: Annotated[
        Path, option("File to write: .html with figures, .md or .json with the tables alone.", "--output", "-o")
    ] = Path("report.html"),
    train: Annotated[
        Path | None,
        option("Training structures: their errors, and which of them are redundant or wrong.", show_default=False),
    ] = None,
    candidates: Annotated[
        Path | None, option("Structures to choose the next calculations from (needs --train).", show_default=False)
    ] = None,
    chemiscope: Annotated[
        Path | None,
        option("Also a file for chemiscope, .json or .json.gz: atoms by error and by std.", show_default=False),
    ] = None,
    title: Annotated[str, option("Heading.", show_default="the names of the files")] = "",
    description: Annotated[str, option("A sentence about the data.", show_default=False)] = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a report: verdict on the error bars, errors, calibration, worst structures, how to reproduce.

    The file needs no network. Units: meV/atom, eV/Å, GPa.
    """
    from gapkit.evaluation.compare import evaluate
    from gapkit.report.chemiscope import write_chemiscope
    from gapkit.report.write import write_report

    _check(output, chemiscope, (model, test, train, candidates))
    if candidates is not None and train is None:
        raise InputError("--candidates are compared with the training structures: name these with --train.")
    say = speaker(quiet, to_stderr=as_json)
    gap = load_model(model, verbose=not quiet)
    frames = read_labelled([test], keys, say).in_memory()
    evaluation = evaluate(gap, frames, return_std="all")
    say(evaluation.table())
    extras = _training(gap, train, candidates, keys, say)
    heading = title or f"{model.name} on {test.name}"
    named: dict[str, Any] = {"output": output, "train": train, "candidates": candidates, "chemiscope": chemiscope}
    named |= {"title": title or None, "description": description or None, "format": getattr(test, "format", None)}
    command = _command(model, test, named | {f"{name}_key": key for name, key in keys.items()})
    write_report(
        output, gap, evaluation, frames=frames, title=heading, data_description=description, command=command, **extras
    )
    if chemiscope is not None:
        write_chemiscope(chemiscope, frames, evaluation, gap, name=heading)
    say(f"wrote {output}" + (f" and {chemiscope}" if chemiscope else ""))
    if as_json:
        print_json({"output": str(output), "errors": evaluation.summary()})


def _check(output: Path, chemiscope: Path | None, inputs: tuple[Path | None, ...]) -> None:
    """Raise `InputError` for what cannot be written, before any work."""
    from gapkit.report.chemiscope import check_name
    from gapkit.report.figures import require_matplotlib

    check_output(output, inputs)
    if output.suffix not in (".md", ".json"):
        require_matplotlib()
    if chemiscope is not None:
        check_name(chemiscope)
        check_output(chemiscope, (*inputs, output))
        if chemiscope.resolve() == output.resolve():
            raise InputError(f"'{output}' cannot be the report and the chemiscope file at once: name two files.")


def _command(model: Path, test: Path, options: Mapping[str, Any]) -> str:
    """The command line that does this again."""
    given = {f"--{name.replace('_', '-')}": value for name, value in options.items() if value is not None}
    return shlex.join(["gapkit", "report", str(model), str(test), *(str(x) for pair in given.items() for x in pair)])


def _training(
    gap: GAP, train: Path | None, candidates: Path | None, keys: Mapping[str, str], say: Say
) -> dict[str, Any]:
    """The parts of the report about the training structures."""
    if train is None:
        return {}
    from gapkit.active_learning.data_value import which_data_matter
    from gapkit.evaluation.compare import evaluate
    from gapkit.evaluation.leave_one_out import leave_one_out

    frames = read_labelled([train], keys, say).in_memory()
    left_out = leave_one_out(gap, frames, method="sor")
    return {
        "train_evaluation": evaluate(gap, frames, return_std=False),
        "leave_one_out": left_out,
        "which_data": which_data_matter(gap, left_out, candidates),
    }


@with_key_options
def evaluate(
    model: Model,
    test: Annotated[Path, labelled_file()],
    keys: dict[str, str],
    report: Annotated[Path | None, option("Write a self-contained HTML report too.", show_default=False)] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare a potential with labels: energies in meV/atom, forces in eV/Å, stresses in GPa.

    A model of dipoles or other tensors is compared in the unit of its labels, with the coverage of its error bars.
    """
    if is_kind(model, TENSOR_MODEL):
        from gapkit.cli.tensors import evaluate_tensor

        evaluate_tensor(model, test, {"report": report, **keys}, quiet, as_json)
        return
    from gapkit.evaluation.compare import evaluate as compare

    if report is not None:
        from gapkit.report.figures import require_matplotlib

        check_output(report, inputs=(model, test))
        require_matplotlib()
    say = speaker(quiet, to_stderr=as_json)
    gap = load_model(model, verbose=not quiet)
    structures = read_labelled([test], keys, say).in_memory()
    result = compare(gap, structures, return_std="all" if report is not None else not as_json)
    say(result.table())
    if result.energy is not None and result.energy.std is not None:
        from gapkit.evaluation.calibration import calibration_in_words

        say(calibration_in_words(result.energy))
    if report is not None:
        from gapkit.report.write import write_report

        write_report(report, gap, result, frames=structures, title=f"{model.name} on {test.name}")
        say(f"wrote {report}")
    if as_json:
        print_json(result.summary())


@with_key_options
def recalibrate(
    model: Model,
    labelled: Annotated[Path, labelled_file()],
    keys: dict[str, str],
    output: ModelOutput = Path("recalibrated.gap"),
    leave_one_out: Annotated[
        bool,
        option("The structures are the training structures: predict each by a fit without it.", "--leave-one-out"),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make the standard deviations honest by one factor per kind and species, from structures not fitted to.

    The factors and where they come from are kept in the model file; every later prediction uses them.
    """
    check_output(output, inputs=(model, labelled))
    say = speaker(quiet, to_stderr=as_json)
    gap = load_model(model, verbose=not quiet)
    structures = read_labelled([labelled], keys, say).in_memory()
    gap.recalibrate(structures, "leave-one-out" if leave_one_out else "held-out", labelled.name)
    found = gap.recalibration_
    assert found is not None
    for name, scale in found.scales.items():
        fit = found.provenance.fits[name]
        data = f"{fit.n} values of {fit.n_structures} structures"
        say(f"{name}: standard deviations × {scale:.3g} ± {fit.scale_se:.2g}, from {data}")
    gap.save(output, updatable=gap.factors_ is not None)
    say(f"wrote {output}")
    if as_json:
        print_json({"model": str(output), "recalibration": found.to_dict()})
