"""Electronic steps that did not converge, where an output file says so: its energies and forces are no labels then.

Sentences and numbers are those that the codes print: VASP (OUTCAR, vasprun.xml), Quantum ESPRESSO (pw.x), CP2K, ORCA,
GPAW, CASTEP.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, cast

from ase.io.formats import open_with_compression

_ITERATION = re.compile(rb"Iteration\s+(\d+)\(\s*(\d+)\)")
_NELM = re.compile(rb"NELM\s*(?:=|\">)\s*(\d+)")
_SENTENCES = {
    "espresso-out": (b"convergence NOT achieved", b"convergence has been achieved"),
    "cp2k": (b"SCF run NOT converged", b"SCF run converged in"),
    "orca-output": (b"SCF NOT CONVERGED AFTER", b"SCF CONVERGED AFTER"),
    "gpaw-out": (b"Did not converge", b"Converged after"),
    "castep-castep": (b"has not reached the groundstate", b"Final energy"),
}


def unconverged(file: Path, format: str) -> list[int]:
    """Numbers (from 1, in the order of the file) of the self-consistent calculations that did not converge."""
    look = _FORMATS.get(format)
    if look is None and format not in _SENTENCES:
        return []
    with open_with_compression(str(file), "rb") as stream:
        lines = cast("IO[bytes]", stream)
        return look(lines) if look is not None else _by_sentences(lines, *_SENTENCES[format])


def in_words(numbers: list[int], name: str) -> str:
    """One sentence about them."""
    named = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
    calculations = "calculation" if len(numbers) == 1 else "calculations"
    return (
        f"{len(numbers)} self-consistent {calculations} of {name} did not converge (number {named}, counted from 1): "
        "their energies and forces are no labels, leave them out."
    )


def _by_sentences(lines: Iterable[bytes], bad: bytes, good: bytes) -> list[int]:
    found, n = [], 0
    for line in lines:
        if bad in line:
            n += 1
            found.append(n)
        elif good in line:
            n += 1
    return found


def _outcar(lines: Iterable[bytes]) -> list[int]:
    """Ionic steps that VASP calls unconverged or, in older versions, that took all NELM electronic steps."""
    found, limit = [], 0
    step = n_electronic = 0
    reached = said = False
    for line in lines:
        if b"NELM" in line and not limit and (match := _NELM.search(line)):
            limit = int(match[1])
        elif b"Iteration" in line and (match := _ITERATION.search(line)):
            step, n_electronic = int(match[1]), int(match[2])
        elif b"EDIFF is reached" in line:
            reached = True
        elif b"EDIFF was not reached" in line:
            said = True
        elif b"FREE ENERGIE OF THE ION-ELECTRON SYSTEM" in line and step:
            if said or (not reached and 1 < limit <= n_electronic):
                found.append(step)
            reached = said = False
            n_electronic = 0
    return sorted(set(found))


def _vasprun(lines: Iterable[bytes]) -> list[int]:
    """Ionic steps that took all NELM electronic steps: the file says no more."""
    found, limit = [], 0
    step = n_electronic = 0
    for line in lines:
        if b'name="NELM"' in line and not limit and (match := _NELM.search(line)):
            limit = int(match[1])
        if b"<calculation" in line:
            step, n_electronic = step + 1, 0
        n_electronic += line.count(b"<scstep")
        if b"</calculation" in line and 1 < limit <= n_electronic:
            found.append(step)
    return found


_FORMATS: dict[str, Callable[[Iterable[bytes]], list[int]]] = {"vasp-out": _outcar, "vasp-xml": _vasprun}
