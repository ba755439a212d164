from __future__ import annotations

import pytest

from gapkit import InputError
from gapkit.interfaces.lammps.input_lines import (
    PairStyle,
    StdFix,
    logical_lines,
    parse_pair_style,
    parse_std_fix,
    split_words,
)
from gapkit.interfaces.lammps.model_words import ModelWords

KNOWN = ["zbl", "dispersion/d3", "lj/cut"]


def test_lines():
    text = 'a 1 & \n  2 # &\n b\nprint """x # y\n z""" \nc "&" d\nlast &'
    assert list(logical_lines(text)) == ["a 1   2 #  b", 'print """x # y\n z""" ', 'c "&" d', "last "]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pair_coeff * * Si C # species", ["pair_coeff", "*", "*", "Si", "C"]),
        ("print 'a # b' \"c d\"", ["print", "a # b", "c d"]),
        ('run 5 every 1 """print "x" # y"""', ["run", "5", "every", "1", 'print "x" # y']),
        ("   # nothing", []),
        ("", []),
    ],
)
def test_words(line, words):
    assert split_words(line) == words


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("lj/cut 2.5", None),
        ("gapkit m.gap", PairStyle(ModelWords("m.gap"), (), ())),
        (
            "hybrid/overlay zbl 1 2 gapkit m.gap lj/cut 2.5",
            PairStyle(ModelWords("m.gap"), ("hybrid/overlay", "zbl", "1", "2"), ("lj/cut", "2.5")),
        ),
        (
            "hybrid/overlay gapkit m.gap without D3 Ewald dispersion/d3 bj pbe 30 20",
            PairStyle(
                ModelWords("m.gap", ("D3", "Ewald")), ("hybrid/overlay",), ("dispersion/d3", "bj", "pbe", "30", "20")
            ),
        ),
    ],
)
def test_pair_style(words, expected):
    assert parse_pair_style(words.split(), KNOWN) == expected


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ("hybrid gapkit m.gap lj/cut 2.5", "not under hybrid: use hybrid/overlay"),
        ("hybrid/overlay gapkit a.gap gapkit b.gap", "one model at a time"),
        ("hybrid/overlay zbl 1 2 gapkit", "needs a model file"),
    ],
)
def test_pair_styles_that_fix_external_cannot_stand_for(words, match):
    with pytest.raises(InputError, match=match):
        parse_pair_style(words.split(), KNOWN)


def test_std_fix():
    assert parse_std_fix(["s", "all", "pair", "10", "gapkit", "std", "1"]) == StdFix("s", "all", 10)
    assert parse_std_fix(["s", "all", "nve"]) is None
    assert parse_std_fix(["s", "all", "pair", "10", "eam", "rho", "1"]) is None
    for wrong in ("s all pair 10 gapkit var 1", "s all pair 0 gapkit std 1", "s all pair 10 gapkit"):
        with pytest.raises(InputError, match="'fix s all pair 10 gapkit std 1'"):
            parse_std_fix(wrong.split())
