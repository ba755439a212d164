"""Text from files for terminals, pages and other files: control characters stay visible and do nothing."""

from __future__ import annotations

import re
from typing import Any

# C0 without tab and line feed, DEL, C1, marks of direction, line and paragraph separators, byte-order marks; halves of
# surrogate pairs, as in file names that are not UTF-8
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with every control character as its picture (␛) or as �; tabs and line feeds stay."""
    return _CONTROL.sub(_picture, text) if not text.isascii() or _CONTROL.search(text) else text


def one_line(text: str) -> str:
    """`printable` text in one line: line feeds and tabs are blanks."""
    return printable(re.sub(r"[ \t]*[\r\n\t\x0b\x0c\x85\u2028\u2029]+[ \t]*", " ", text))


def printable_json(text: str) -> str:
    """JSON text with control characters as JSON's own escapes."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def printable_values(value: Any) -> Any:
    """Mappings and lists with every string in them in `one_line`; all else unchanged."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, dict):
        return {printable_values(key): printable_values(inner) for key, inner in value.items()}
    return type(value)(map(printable_values, value)) if type(value) in (list, tuple) else value


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"
