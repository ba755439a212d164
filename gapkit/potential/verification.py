"""What of a model file can be proved: its hashes, its contents, and that its numbers come out as they were saved."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from gapkit.errors import InputError
from gapkit.potential.gap import GAP
from gapkit.potential.model_file import build, check_parts, check_references
from gapkit.runtime.archive import VERSION, read_model


class Check(NamedTuple):
    """One check of a model file.

    Attributes
    ----------
    name : str
        What was checked.
    ok : bool or None
        None if it was not reached, or if the file is older than what it would check.
    text : str
        What was found, or the sentence of the refusal.
    """

    name: str
    ok: bool | None
    text: str


class Verification(NamedTuple):
    """All checks of a model file, in their order.

    Attributes
    ----------
    path : Path
    checks : tuple of Check
    """

    path: Path
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check that could be made has passed."""
        return not any(check.ok is False for check in self.checks)

    def table(self) -> str:
        """One line for each check."""
        words = {True: "ok", False: "NOT OK", None: "-"}
        width = max(len(check.name) for check in self.checks)
        return "\n".join(f"{words[check.ok]:<6}  {check.name:<{width}}  {check.text}".rstrip() for check in self.checks)


def verify(path: str | Path, trusted_calculators: Collection[str] = ()) -> Verification:
    """Check a model file in all ways that `GAP.load` does, one by one.

    Parameters
    ----------
    path : path
    trusted_calculators : collection of str
        As in `GAP.load`.

    Returns
    -------
    Verification
        With the first failure, behind which nothing is checked.

    Raises
    ------
    InputError
        If there is no such file.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"there is no model file {str(path)!r}.")
    found: list[Check] = []
    steps = _steps(path, trusted_calculators)
    for name, step in steps:
        if any(check.ok is False for check in found):
            found.append(Check(name, None, "not reached"))
            continue
        try:
            found.append(Check(name, *step()))
        except InputError as error:
            found.append(Check(name, False, str(error)))
    return Verification(path, tuple(found))


Step = Callable[[], tuple[bool | None, str]]


def _steps(path: Path, trusted: Collection[str]) -> list[tuple[str, Step]]:
    gap, header, arrays = GAP(), {}, {}

    def archive() -> tuple[bool, str]:
        own, own_arrays = read_model(path)
        header.update(own)
        arrays.update(own_arrays)
        sealed = "header and " if header["version"] >= 3 else ""
        return True, f"{sealed}{len(arrays)} arrays, format {header['version']} of {VERSION}"

    def seal() -> tuple[bool | None, str]:
        if "seal" not in header:
            return None, "none in files before format 3: save the model again to have one"
        check_parts(path, header, "model", "recalibration", "arrays")
        return True, "parameters, factors on standard deviations and arrays are those that were saved"

    def contents() -> tuple[bool, str]:
        build(gap, path, header, arrays, trusted)
        gap.verbose = False
        return True, f"{len(gap.terms_)} terms, {len(gap.alpha_)} sparse points, every array of its type and shape"

    def references() -> tuple[bool, str]:
        check_references(path, gap, header)
        with_std = sum("energy_std" in stored for stored in header["references"])
        return True, f"energies and forces of {len(gap.references_)} structures, standard deviations of {with_std}"

    names = ("sizes and hashes", "seal", "contents", "numbers")
    return list(zip(names, (archive, seal, contents, references)))
