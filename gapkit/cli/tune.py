"""`gapkit tune` and `learning-curve`: which parameters, and how many sparse points."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from gapkit.cli.inputs import frames_of, new_gap, read_labelled
from gapkit.cli.options import (
    NOISE_PANEL,
    Flags,
    Json,
    Optimize,
    Quiet,
    TrainingFiles,
    option,
    settings_of,
    with_model_options,
)
from gapkit.cli.terminal import log_to, print_json, speaker, warnings_kept
from gapkit.errors import InputError, did_you_mean
from gapkit.runtime.files import check_output, complete_file
from gapkit.structures.label_keys import LOG as LABELS_LOG

if TYPE_CHECKING:
    from gapkit.model_selection.search import Search
    from gapkit.potential.gap import GAP
    from gapkit.potential.settings import ModelSettings

USUAL = ("noise", "delta")


@with_model_options
def tune(
    train: TrainingFiles,
    flags: Flags,
    vary: Annotated[
        list[str] | None,
        option(
            "Parameter and its values, such as cutoff=4,5,6; for random and optuna also a range, such as cutoff=4..6 "
            "or delta=log:0.1..10; repeat for each parameter.",
            show_default=False,
        ),
    ] = None,
    species_weights: Annotated[
        bool,
        option(
            "SOAP of several species: learn the species weights for the best trial, and try them, too.",
            "--species-weights",
            show_default=False,
        ),
    ] = False,
    output: Annotated[Path, option("Configuration to write, for gapkit fit --config.", "--output", "-o")] = Path(
        "best.yaml"
    ),
    score: Annotated[
        str,
        option("evidence: log p(labels); loo: log p(each frame | all others); kfold: force errors of folds."),
    ] = "evidence",
    search: Annotated[str, option("grid: every combination; random or optuna: --trials of them.")] = "grid",
    trials: Annotated[int, option("Number of fits, unless the search is a grid.")] = 20,
    folds: Annotated[int, option("Parts of the data for --score kfold.")] = 5,
    optimize: Annotated[
        list[str] | None,
        option("What each fit learns, as in gapkit fit.", panel=NOISE_PANEL, show_default="noise,delta"),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find the parameters of a potential: fit with many, compare, and write the best as a configuration.

    Each trial is a fit. Noises and amplitudes are learned in each, so the search covers only the rest.
    """
    from gapkit.model_selection.search import tune as compare

    check_output(output, (*train, flags.config))
    settings = settings_of(flags, optimize or (",".join(USUAL),))
    _check_search(score, search, trials, folds)
    space = space_of(vary or [], settings, search)
    if not space and not species_weights:
        raise InputError("there is nothing to tune: give --vary cutoff=4,5,6, for example, or --species-weights.")
    say = speaker(quiet, to_stderr=as_json)
    with warnings_kept() as warned:
        data = read_labelled(train, settings.keys, say, not quiet)
        gap = new_gap(settings, data, verbose=not quiet)
        structures, keys = (data.in_memory(), None) if score == "kfold" else frames_of(data)
        options: dict[str, Any] = {"score": score, "search": search, "n_trials": trials, "n_folds": folds}
        options |= {"species_weights": species_weights, "optimize": settings.optimize, "keys": keys}
        found = compare(gap, structures, space, **options)
    best = gap.set_params(**found.best_params)
    found = _as_named(found, list(space))
    say(found.table())
    if found.species_weights is not None:
        say(f"\n{found.species_weights.table()}\n")
    _write_configuration(output, best, settings, f"the best of {len(found.trials)} trials by {score}")
    say(f"wrote {output}, the best of these: gapkit fit {' '.join(map(str, train))} --config {output}")
    if as_json:
        print_json({"configuration": str(output), **_trials(found), "warnings": warned})


@with_model_options
def learning_curve(
    train: TrainingFiles,
    flags: Flags,
    n_sparse: Annotated[
        str, option("Numbers of sparse points per species, with commas; the time is that of the largest.")
    ] = "100,200,400,800",
    test: Annotated[
        list[Path] | None,
        option("Held-out structures; without, each training structure is predicted from all others."),
    ] = None,
    output: Annotated[
        Path | None,
        option("Write a plot with its table, too: .html or .png, or .json with the numbers.", "--output", "-o"),
    ] = None,
    optimize: Optimize = None,
    max_memory: Annotated[str | None, option("Memory that may be used, such as 4GB.", show_default="no limit")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Errors and evidence for several numbers of sparse points, from one fit: how many are enough?"""
    from gapkit.model_selection.learning_curve import learning_curve as follow
    from gapkit.report.learning_curve_file import check_learning_curve_file, write_learning_curve
    from gapkit.runtime.memory import in_bytes

    sizes = _sizes(n_sparse)
    in_bytes(max_memory)
    if output is not None:
        check_learning_curve_file(output, (*train, *(test or ()), flags.config))
    settings = settings_of(flags, optimize)
    say = speaker(quiet, to_stderr=as_json)
    with warnings_kept() as warned:
        data = read_labelled(train, settings.keys, say, not quiet)
        held_out = None if not test else read_labelled(test, settings.keys, say, not quiet).in_memory()
        structures, keys = frames_of(data)
        gap = new_gap(settings, data, verbose=not quiet)
        with log_to(say, leave_out=LABELS_LOG):
            curve = follow(
                gap, structures, sizes, held_out, optimize=settings.optimize, keys=keys, max_memory=max_memory
            )
    say(curve.table())
    if output is not None:
        write_learning_curve(output, curve, f"Learning curve: {', '.join(path.name for path in train)}")
        say(f"wrote {output}")
    if as_json:
        print_json(curve.to_dict() | {"warnings": warned})


# ---- tune


def _check_search(score: str, search: str, trials: int, folds: int) -> None:
    from gapkit.model_selection.search import SCORES, SEARCHES

    for name, value, known in (("score", score, SCORES), ("search", search, SEARCHES)):
        if value not in known:
            raise InputError(f"--{name} {value!r} is unknown: use {', '.join(known)}.")
    for name, n, least in (("trials", trials, 1), ("folds", folds, 2)):
        if n < least:
            raise InputError(f"--{name} {n} must be {least} or more.")
    if search == "optuna":
        try:
            import optuna
        except ModuleNotFoundError:
            raise InputError("--search optuna needs Optuna: pip install 'gapkit[tune]', or use random.") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)


def space_of(vary: list[str], settings: ModelSettings, search: str) -> dict[str, Any]:
    """["cutoff=4,5", "delta=log:0.1..10"] → values and ranges by parameter, each of the parameter's type.

    Raises
    ------
    InputError
        For unknown parameters and values of another type; for a range where the search needs values.
    """
    from gapkit.model_selection.search import Between
    from gapkit.potential.gap import GAP

    params = GAP(settings.make_terms(), **settings.parameters()).get_params()
    present = params | {full.split("__")[-1]: value for full, value in params.items() if "__" in full}
    space: dict[str, Any] = {}
    for entry in vary:
        name, _, text = (part.strip() for part in entry.partition("="))
        name = name.replace("-", "_")
        if not text:
            raise InputError(f"--vary {entry!r} has no values: write for example --vary cutoff=4,5,6.")
        if name not in present:
            raise InputError(f"--vary names the unknown parameter {name!r}{did_you_mean(name, present)}.")
        if name in space:
            raise InputError(f"--vary names {name} twice: give all of its values together.")
        space[name] = _values(name, text, present[name])
        if isinstance(space[name], Between):
            space[name].validate(name)
            if search == "grid":
                raise InputError(f"{name}={text} is a range, a grid needs values: list them, or use --search random.")
    return space


def _values(name: str, text: str, present: Any) -> Any:
    """ "4,5" → [4.0, 5.0], "4..6" → Between(4.0, 6.0), of the type of the `present` value."""
    from gapkit.model_selection.search import Between

    kind = float if isinstance(present, dict) and "noise" in name else type(present)
    kind = int if isinstance(present, dict) and kind is dict else kind
    if kind not in (int, float, str):
        raise InputError(f"{name} is not a number or a word and cannot be varied from the command line.")
    try:
        if kind is not str and ".." in text:
            low, high = (kind(end) for end in text.removeprefix("log:").split(".."))
            return Between(low, high, log=text.startswith("log:"), whole=kind is int)
        values = [kind(value) for value in text.split(",")]
    except ValueError:
        example = {int: "2,4 or 2..6", float: "4.5,5 or 4.5..6"}[kind]
        raise InputError(f"--vary {name}={text} must be {_PLURAL[kind]}, such as {name}={example}.") from None
    if kind is float and not all(map(math.isfinite, values)):
        raise InputError(f"--vary {name}={text} must be finite numbers.")
    return values


_PLURAL = {int: "whole numbers", float: "numbers"}


def _write_configuration(path: Path, gap: GAP, settings: ModelSettings, what: str) -> None:
    """Write `gap` as a configuration for `ModelSettings`; species are left to the data unless they were given."""
    import yaml

    from gapkit.baselines import baseline_to_dict
    from gapkit.terms.serialisation import term_to_dict

    terms = [term_to_dict(term) for term in gap.terms or ()]
    for term, asked in zip(terms, settings.terms):
        if "descriptor" in term and "species" not in asked.get("descriptor", {}):
            del term["descriptor"]["species"]
    names = ("energy_noise", "forces_noise", "virial_noise", "e0", "jitter", "random_state")
    data = {"terms": terms} | {name: value for name in names if (value := getattr(gap, name)) is not None}
    data |= {"baseline": [baseline_to_dict(b) for b in gap.baseline]} if gap.baseline else {}
    data |= {"optimize": settings.optimize} | ({"keys": settings.keys} if settings.keys else {})
    with complete_file(path) as file:
        file.write(f"# {what}; use it with gapkit fit --config\n")
        yaml.safe_dump(data, file, sort_keys=False, allow_unicode=True)


def _as_named(found: Search, names: list[str]) -> Search:
    """The trials, with parameters named as on the command line."""

    def named(params: dict[str, Any]) -> dict[str, Any]:
        own = {name: next(v for full, v in params.items() if f"__{full}".endswith(f"__{name}")) for name in names}
        return own | {full: v for full, v in params.items() if full.endswith("__species_weights")}

    return replace(found, trials=tuple(replace(trial, params=named(trial.params)) for trial in found.trials))


def _trials(found: Search) -> dict[str, Any]:
    """JSON data; a trial that could not be fitted has no score but a message."""
    trials = [
        {
            "params": trial.params,
            "score": trial.score if math.isfinite(trial.score) else None,
            "seconds": trial.seconds,
            "message": trial.message,
        }
        for trial in found.trials
    ]
    data = {"score": found.score, "best": found.best_params, "trials": trials}
    return data | ({} if found.species_weights is None else {"species_weights": found.species_weights.to_dict()})


# ---- learning curve


def _sizes(text: str) -> list[int]:
    try:
        sizes = sorted({int(size) for size in text.split(",")})
    except ValueError:
        sizes = [0]
    if sizes[0] < 1:
        raise InputError(f"--n-sparse {text} must be whole numbers with commas, such as 100,200,400.")
    return sizes
