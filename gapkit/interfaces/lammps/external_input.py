"""An input with ``pair_style gapkit`` for a LAMMPS that has no such style: each command looked at on its way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gapkit.errors import InputError
from gapkit.interfaces.lammps.collective import on_every_rank
from gapkit.interfaces.lammps.external_engine import STD, ExternalForces
from gapkit.interfaces.lammps.input_lines import (
    JUMPS,
    STYLE,
    PairStyle,
    logical_lines,
    parse_pair_style,
    parse_std_fix,
    split_words,
)
from gapkit.interfaces.lammps.local_model import LocalModel

PER_ATOM_VIRIALS = ("stress/atom", "heat/flux")
WITH_PARTS = ("pe", "pe/atom", "pressure", "stress/atom")  # computes that take what to count as arguments
BLIND = ("numdiff", "numdiff/virial", "born/matrix", "centroid/stress/atom")
STD_FIX = "gapkit_std_property"


class ExternalInput:
    """Commands for LAMMPS; those about gapkit become ``pair_style zero`` with a `ExternalForces`.

    Parameters
    ----------
    lmp : lammps.lammps
    comm : mpi4py communicator
    """

    def __init__(self, lmp: Any, comm: Any) -> None:
        self._lmp, self._comm = lmp, comm
        self._style: PairStyle | None = None
        self._model: LocalModel | None = None
        self.forces: ExternalForces | None = None
        self._std_every: int | None = None
        self._with_virials = False

    def file(self, path: str) -> None:
        """Carry out an input file; errors as `command`, and `InputError` if it cannot be read."""
        for line in logical_lines(on_every_rank(self._comm, lambda: read_input(path))):
            self.command(line)

    def command(self, line: str) -> None:
        """Carry out one command.

        Raises
        ------
        InputError
            For what this engine cannot do, and for bad arguments of gapkit's commands.
        """
        first = (split_words(line) or [""])[0]
        special: dict[str, Callable[[Sequence[str]], bool]] = {
            "pair_style": self._pair_style, "pair_coeff": self._pair_coeff, "fix": self._fix,
            "include": self._include, "compute": self._compute, "clear": self._clear, "if": self._if,
        }  # fmt: skip
        if first in JUMPS:
            raise InputError(
                f"the engine external reads an input line by line and cannot follow {first!r}: use the engine plugin."
            )
        if first not in special or not special[first](split_words(self._expanded(line))[1:]):
            self._lmp.command(line)
        if self.forces is not None and self.forces.failure is not None:
            failure, self.forces.failure = self.forces.failure, None
            self._lmp.command("timer timeout off")  # or later runs would end at once, too
            raise failure

    def _expanded(self, line: str) -> str:
        """With LAMMPS's variables put in."""
        return str(self._lmp.expand(line) or "") if "$" in line else line

    def _include(self, words: Sequence[str]) -> bool:
        self.file(words[0])
        return True

    def _clear(self, _: Sequence[str]) -> bool:
        self.__init__(self._lmp, self._comm)  # type: ignore[misc]
        return False

    def _if(self, words: Sequence[str]) -> bool:
        inner = {word for words_of_one in map(split_words, words) for word in words_of_one}
        if inner & {STYLE, *JUMPS, "include"}:
            raise InputError("the engine external does not see commands within 'if': use the engine plugin.")
        self._notice_virials(*inner)
        return False

    def _compute(self, words: Sequence[str]) -> bool:
        style = words[2] if len(words) > 2 else ""
        _refuse_what_looks_at_pair_styles(style)
        if style in WITH_PARTS and "pair" in words[3:]:
            raise InputError(
                f"the engine external's energies and virials belong to a fix, so that compute {style} misses them "
                "under 'pair': say 'fix' instead, or use the engine plugin."
            )
        self._notice_virials(style)
        return False

    def _notice_virials(self, *words: str) -> None:
        """Per-atom virials cost time and are made from the first command on that may want them."""
        if set(words) & set(PER_ATOM_VIRIALS):
            self._with_virials = True
            self._tell()

    def _tell(self) -> None:
        if self.forces is not None:
            self.forces.std_every, self.forces.with_virials = self._std_every, self._with_virials

    def _pair_style(self, words: Sequence[str]) -> bool:
        if self.forces is not None:
            self.forces.remove()
        self._style, self._model, self.forces = None, None, None
        style = parse_pair_style(words, self._lmp.available_styles("pair"))
        if style is None:
            return False
        if self._lmp.extract_global("units") != "metal":
            raise InputError("pair_style gapkit has energies in eV and lengths in Å: put 'units metal' first.")
        self._style, self._model = style, on_every_rank(self._comm, lambda: LocalModel.from_words(style.words))
        self._lmp.command(" ".join(["pair_style", *style.before, f"zero {self._model.cutoff!r}", *style.after]))
        return True

    def _pair_coeff(self, words: Sequence[str]) -> bool:
        style, model = self._style, self._model
        if style is None or model is None:
            return False
        own = words[2:3] == [STYLE] if style.before else True
        if not own:
            return False
        symbols, n_types = words[3 if style.before else 2 :], self._lmp.extract_setting("ntypes")
        if list(words[:2]) != ["*", "*"] or len(symbols) != n_types:
            raise InputError(
                "pair_coeff of gapkit is '* *' and one chemical symbol (or NULL) for each of the "
                f"{n_types} atom types, not {' '.join(words)!r}."
            )
        self._lmp.command("pair_coeff * *" + (" zero" if style.before else ""))
        if self.forces is not None:
            self.forces.remove()
        self.forces = ExternalForces(self._lmp, self._comm, model, model.numbers_of_types(symbols))
        self._tell()
        return True

    def _fix(self, words: Sequence[str]) -> bool:
        _refuse_what_looks_at_pair_styles(words[2] if len(words) > 2 else "")
        wanted = parse_std_fix(words)
        if wanted is None:
            return False
        if self._std_every is None:
            self._lmp.command(f"fix {STD_FIX} all property/atom d_{STD}")
            self._lmp.command(f"compute {STD_FIX} all property/atom d_{STD}")
        self._std_every = wanted.every if self._std_every is None else 1
        self._lmp.command(f"fix {wanted.name} {wanted.group} ave/atom {wanted.every} 1 {wanted.every} c_{STD_FIX}")
        self._tell()
        return True


def read_input(path: str) -> str:
    """The text of an input file; `InputError` if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' cannot be read as a LAMMPS input ({error}): check the name.") from None


def _refuse_what_looks_at_pair_styles(style: str) -> None:
    """Computes and fixes that ask pair styles alone would give other numbers than the forces, without a word."""
    if style in BLIND:
        raise InputError(f"{style} does not see the forces of the engine external: use the engine plugin.")
