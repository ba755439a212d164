"""What commands print: sentences on the right stream, JSON, warnings and refusals."""

from __future__ import annotations

import inspect
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

import typer

from gapkit.errors import InputError, Parameter
from gapkit.runtime.interrupts import Terminated
from gapkit.runtime.text import one_line, printable, printable_json

Say = Callable[[str], None]


class _Echo(logging.Handler):
    """Passes log records on in the words of the command line."""

    def __init__(self, say: Say, leave_out: str) -> None:
        super().__init__()
        self.say, self.leave_out = say, leave_out

    def emit(self, record: logging.LogRecord) -> None:
        """Information to `say`, warnings to standard error."""
        if record.name == self.leave_out:
            return
        sentence = _one_line(_message(record))
        if record.levelno < logging.WARNING:
            self.say(sentence)
        else:
            typer.secho(f"warning: {sentence}", fg="yellow", err=True)


def speaker(quiet: bool, to_stderr: bool = False) -> Say:
    """A function that prints a line, or none if `quiet`."""

    def say(text: str) -> None:
        """Print a line, unless quiet."""
        if not quiet:
            typer.echo(printable(text), err=to_stderr)

    return say


def print_json(data: Mapping[str, Any]) -> None:
    """Print one object on standard output."""
    typer.echo(printable_json(json.dumps(data, indent=2, ensure_ascii=False)))


@contextmanager
def log_to(say: Say, leave_out: str = "") -> Iterator[None]:
    """Pass on what gapkit logs, but not under the name `leave_out`; its warnings go to standard error."""
    handler = _Echo(say, leave_out)
    logger = logging.getLogger("gapkit")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _message(record: logging.LogRecord) -> str:
    """What a record says, with flags instead of parameters."""
    if not isinstance(record.args, tuple):
        return record.getMessage()
    return str(record.msg) % tuple(x.flag() if isinstance(x, Parameter) else x for x in record.args)


def _one_line(sentence: object) -> str:
    return one_line(" ".join(str(sentence).split()))


@contextmanager
def warnings_kept() -> Iterator[list[str]]:
    """The sentences of all warnings meanwhile, which are shown as ever."""
    kept: list[str] = []
    shown = warnings.showwarning

    def keep(message: Warning | str, category: type[Warning], *rest: Any) -> None:
        if issubclass(category, UserWarning):
            kept.append(_one_line(message))
        shown(message, category, *rest)

    warnings.showwarning = keep  # type: ignore[assignment]
    try:
        yield kept
    finally:
        warnings.showwarning = shown


def warn(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """One sentence on standard error; for `warnings.showwarning`."""
    if issubclass(category, UserWarning):
        typer.secho(f"warning: {_one_line(message)}", fg="yellow", err=True)


def refuse(problem: str | InputError) -> int:
    """One sentence on standard error; returns the exit code of bad input."""
    sentence = problem.for_the_shell() if isinstance(problem, InputError) else problem
    typer.secho(f"error: {_one_line(sentence)}", fg="red", err=True)
    return 2


def in_words_when_stopped(command: Callable[..., None]) -> Callable[..., None]:
    """The command, which ends with one sentence after Ctrl-C (exit code 130) and SIGTERM (143)."""

    @wraps(command)
    def run(**values: Any) -> None:
        try:
            command(**values)
        except KeyboardInterrupt as error:
            was_terminated = isinstance(error, Terminated)
            kept = str(error) or "no output was written that is not complete"
            refuse(f"stopped by {'SIGTERM' if was_terminated else 'Ctrl-C'}: {kept}.")
            raise typer.Exit(143 if was_terminated else 130) from None

    signature = inspect.signature(command, eval_str=True)
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: p.annotation for name, p in signature.parameters.items()}
    return run
