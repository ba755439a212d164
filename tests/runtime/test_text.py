from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapkit.runtime.text import one_line, printable, printable_json, printable_values


@given(st.text())
def test_nothing_that_controls_a_terminal_is_left(text):
    assert not {c for c in printable(text) if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")} - {"\n", "\t"}
    assert not {c for c in one_line(text) if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")}
    assert not set(printable(text)) & set("\u202e\u202a\u2066\u2069\u200f\ufeff")


@given(st.text(st.characters(codec="utf-8")))
def test_json_stays_the_same_data(text):
    dumped = json.dumps({"a": text}, ensure_ascii=False)
    assert json.loads(printable_json(dumped)) == {"a": text}


@pytest.mark.parametrize("text", ["", "plain", "Å ζ₂ – “quoted” 水 👍", "two\nlines\tand a tab", "{}[]()<>&\\x1b"])
def test_ordinary_text_stays(text):
    assert printable(text) == text


def test_pictures_are_visible():
    assert printable("a\x1b[31mb\x07\u202ec\x85") == "a␛[31mb␇�c�"
    assert one_line("a\nb \r\n c\td") == "a b c d"
    assert printable_values({"a\n": ["\x1b", 1, ("x\ny",), None]}) == {"a ": ["␛", 1, ("x y",), None]}
