"""One table of the quantities: what it says, and that nobody else writes it out again."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import Bohr, Hartree

import gapkit
from gapkit.quantities import COMPARED, COULOMB, FITTED, KINDS, QUANTITIES, UNITS, VOIGT

PACKAGE = Path(gapkit.__file__).parent
OWN = {*FITTED, *COMPARED}
WORDS = {str(word) for quantity in QUANTITIES for word in vars(quantity).values()}


def written_out(tree: ast.AST) -> list[int]:
    """Lines with a table or list of words by quantity, or the order of components."""
    lines = []
    signatures = [node for node in ast.walk(tree) if isinstance(node, ast.arguments)]
    defaults = {id(node) for signature in signatures for node in signature.defaults}
    for node in ast.walk(tree):
        if id(node) in defaults:  # users read what a function gives without being asked
            continue
        if isinstance(node, ast.Dict):
            entries = node.keys
            if not all(isinstance(value, ast.Constant) and str(value.value) in WORDS for value in node.values):
                continue
        elif isinstance(node, ast.Tuple | ast.List):
            entries = node.elts
            if [ast.unparse(entry) for entry in entries] == [str(pair) for pair in VOIGT]:
                lines.append(node.lineno)
        else:
            continue
        words = {entry.value for entry in entries if isinstance(entry, ast.Constant)}
        if len(words) == len(entries) == 3 and words <= OWN:
            lines.append(node.lineno)
    return lines


def test_no_module_writes_the_table_out_again():
    assert not [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "quantities.py"
        for line in written_out(ast.parse(path.read_text(encoding="utf-8")))
    ]


@pytest.mark.parametrize(
    "code",
    ['{"energy": "eV/atom", "forces": "eV/Å", "virial": "eV/atom"}', '("energy", "forces", "stress")', str(VOIGT)],
)
def test_a_table_that_is_written_out_is_found(code):
    assert written_out(ast.parse(code)) == [1]


def test_names_of_fit_and_evaluation():
    assert KINDS == ("energy", "forces", "virial") == tuple(UNITS)
    assert tuple(COMPARED) == ("energy", "forces", "stress")
    assert [FITTED[label].compared for label in FITTED] == list(COMPARED)
    assert [quantity.n_rows(5) for quantity in QUANTITIES] == [1, 15, 6]
    assert FITTED["forces"].n_rows(2.5) == 7.5


def test_voigt_order_and_coulomb_constant_are_those_of_ase():
    symmetric = [[10 * min(a, b) + max(a, b) for b in range(3)] for a in range(3)]
    assert [symmetric[a][b] for a, b in VOIGT] == list(full_3x3_to_voigt_6_stress(symmetric))
    assert Hartree * Bohr == COULOMB
