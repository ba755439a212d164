"""LAMMPS input as commands, and the commands in which the engine without a pair style must take part."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gapkit.errors import InputError
from gapkit.interfaces.lammps.model_words import ModelWords, parse_model_words

STYLE = "gapkit"
COMBINED = ("hybrid/overlay",)
JUMPS = ("jump", "label", "next", "python")


def logical_lines(text: str) -> Iterator[str]:
    """Commands of an input: lines that end with & are joined, those within triple quotes kept together."""
    pending = ""
    for line in text.splitlines():
        pending += line
        if line.rstrip().endswith("&"):  # in a comment, too, as LAMMPS has it
            pending = pending.rstrip()[:-1]
        elif pending.count('"""') % 2:
            pending += "\n"
        else:
            yield pending
            pending = ""
    if pending:
        yield pending


def _without_comment(line: str) -> str:
    """The line up to a # that does not stand in quotes."""
    return re.sub(r"""^((?:[^#"']|"[^"]*"|'[^']*')*)#.*$""", r"\1", line)


def split_words(line: str) -> list[str]:
    """Words of a command, quotes taken away."""
    found = re.findall(r"""\"\"\"(.*?)\"\"\"|"([^"]*)"|'([^']*)'|(\S+)""", _without_comment(line), re.DOTALL)
    return [next((part for part in parts if part), "") for parts in found]


class PairStyle(NamedTuple):
    """A pair_style command with gapkit in it.

    Attributes
    ----------
    words : ModelWords
    before, after : tuple of str
        Other words of the command around gapkit's own; none if gapkit stands alone.
    """

    words: ModelWords
    before: tuple[str, ...]
    after: tuple[str, ...]


def parse_pair_style(words: Sequence[str], known_styles: Sequence[str] = ()) -> PairStyle | None:
    """gapkit's part of the words after ``pair_style``; None if it has none.

    Parameters
    ----------
    words : sequence of str
    known_styles : sequence of str
        Pair styles of this LAMMPS: names of baselines end where one begins.

    Raises
    ------
    InputError
        For a combination that ``fix external`` cannot stand for.
    """
    if STYLE not in words:
        return None
    place = list(words).index(STYLE)
    if place == 0:
        return PairStyle(parse_model_words(words[1:]), (), ())
    if words[0] not in COMBINED:
        raise InputError(
            f"the engine external knows gapkit alone or under hybrid/overlay, not under {words[0]}: use hybrid/overlay "
            "with NULL for the types that gapkit is not to see, or the engine plugin."
        )
    rest = list(words[place + 1 :])
    if STYLE in rest:
        raise InputError("the engine external knows one model at a time: use the engine plugin for several.")
    end = min(1, len(rest))
    if rest[1:2] == ["without"]:
        end = next((k for k in range(2, len(rest)) if rest[k] in known_styles), len(rest))
    return PairStyle(parse_model_words(rest[:end]), tuple(words[:place]), tuple(rest[end:]))


class StdFix(NamedTuple):
    """``fix ID GROUP pair N gapkit std FLAG``: standard deviations every N steps under the name f_ID."""

    name: str
    group: str
    every: int


def parse_std_fix(words: Sequence[str]) -> StdFix | None:
    """The fix that asks for standard deviations, from the words after ``fix``; None for any other fix.

    Raises
    ------
    InputError
        For quantities that gapkit does not have.
    """
    if len(words) < 5 or words[2] != "pair" or words[4] != STYLE:
        return None
    name, group, _, every, _, *rest = words
    if rest[0:1] != ["std"] or len(rest) != 2 or not every.isdigit() or int(every) < 1:
        raise InputError(
            f"fix {name} pair does not know {' '.join(rest)!r}: 'fix {name} {group} pair 10 gapkit std 1'."
        )
    return StdFix(name, group, int(every))
