"""`gapkit suggest`: a first configuration for labelled files, with a reason for every choice."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from gapkit.cli.inputs import frames_of, read_labelled
from gapkit.cli.options import Json, Quiet, TrainingFiles, option, with_key_options
from gapkit.cli.terminal import print_json, speaker, warnings_kept
from gapkit.runtime.files import check_output, complete_file
from gapkit.runtime.text import printable


@with_key_options
def suggest(
    train: TrainingFiles,
    keys: dict[str, str],
    output: Annotated[
        Path | None,
        option(
            "Configuration to write, for gapkit fit --config; an older one is replaced.",
            "--output",
            "-o",
            show_default="printed",
        ),
    ] = None,
    preset: Annotated[
        str | None, option("Take this one: solid, molecule, liquid or ionic.", show_default="from the data")
    ] = None,
    max_memory: Annotated[str, option("Memory that the fit may take; sparse points are limited by it.")] = "4GB",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Look at labelled structures and print a configuration to fit them with, with a reason beside every choice.

    Nothing is fitted. The configuration is YAML: read it, change what you know better, give it to gapkit fit --config.
    """
    from gapkit.model_selection.suggestion import suggest as look
    from gapkit.potential.presets import preset_named
    from gapkit.runtime.memory import in_bytes

    if output is not None:
        check_output(output, train)
    if preset is not None:
        preset_named(preset)
    in_bytes(max_memory)
    say = speaker(quiet, to_stderr=as_json or output is None)
    with warnings_kept() as warned:
        data = read_labelled(train, keys, say, not quiet)
        structures, found = frames_of(data)
        suggestion = look(structures, found, preset=preset, max_memory=max_memory, verbose=not quiet)
    if keys:
        suggestion = suggestion.with_keys(keys)
    name = "config.yaml" if output is None else str(output)
    text = suggestion.yaml([quote(str(path)) for path in train], quote(name))
    if output is not None:
        with complete_file(output) as file:
            file.write(printable(text))
    if as_json:
        print_json(suggestion.to_dict() | {"configuration_file": output and str(output), "warnings_of_reading": warned})
    elif output is None:
        typer.echo(printable(text), nl=False)
    else:
        say(suggestion.summary())
        say(f"wrote {output}: read it, then gapkit fit {' '.join(quote(str(p)) for p in train)} --config {quote(name)}")
