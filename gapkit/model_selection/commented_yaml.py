"""Plain data as YAML with a comment beside every value that has a reason."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import yaml

WIDTH = 120  # columns, in which value and comment stand side by side
Path: TypeAlias = "tuple[str | int, ...]"


def commented_yaml(data: Mapping[str, Any], reasons: Mapping[Path, str]) -> str:
    """YAML of nested mappings and lists, with the reason for ``data[a][b]`` under (a, b).

    A reason that does not fit beside its value, and that of an entry of a list, stands above.
    """
    return "\n".join(_mapping(data, reasons, (), "")) + "\n"


def as_comment(text: str, indent: str = "") -> list[str]:
    """Lines that begin with "# "; paragraphs are kept, lines that begin with a space are not wrapped."""
    lines: list[str] = []
    for line in text.splitlines():
        hanging = "  " if line.startswith("- ") else ""
        parts = [line] if line.startswith(" ") else textwrap.wrap(
            line, 100, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
        )  # fmt: skip
        lines += [f"{indent}# {part}" for part in parts] or [f"{indent}#"]
    return lines


def _mapping(data: Mapping[str, Any], reasons: Mapping[Path, str], path: Path, indent: str) -> Iterator[str]:
    for key, value in data.items():
        here = (*path, key)
        if isinstance(value, Mapping) and value and any(isinstance(v, Mapping) or (*here, k) in reasons
                                                        for k, v in value.items()):  # fmt: skip
            yield from _line(f"{indent}{_flow(key)}:", reasons.get(here), indent)
            yield from _mapping(value, reasons, here, indent + "  ")
        elif isinstance(value, list) and value and all(isinstance(entry, Mapping) and entry for entry in value):
            yield from _line(f"{indent}{_flow(key)}:", reasons.get(here), indent)
            for k, entry in enumerate(value):
                yield from as_comment(reasons.get((*here, k), ""), indent)
                yield from _as_entry(_mapping(entry, reasons, (*here, k), "  "), indent)
        else:
            yield from _line(f"{indent}{_flow(key)}: {_flow(value)}", reasons.get(here), indent)


def _as_entry(lines: Iterable[str], indent: str) -> Iterator[str]:
    """The lines of a mapping, indented by two, as an entry of a list: "- " goes before its first key."""
    started = False
    for line in lines:
        if not started and not line.lstrip().startswith("#"):
            started = True
            yield f"{indent}- {line[2:]}"
        else:
            yield f"{indent}{line}"


def _line(text: str, reason: str | None, indent: str) -> Iterator[str]:
    if reason and len(text) + len(reason) + 4 > WIDTH:
        yield from as_comment(reason, indent)
        reason = None
    yield f"{text}  # {reason}" if reason else text


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip(" \n")
