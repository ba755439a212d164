"""Calculations that did not converge are named, where a file says so; the texts are small, in the codes' formats."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from gapkit.structures.convergence import in_words, unconverged
from gapkit.structures.reading import read_structures

REACHED = "------------------------ aborting loop because EDIFF is reached ----------------------------------------\n"
NOT_REACHED = (
    "------------------------ aborting loop EDIFF was not reached (unconverged)  ----------------------------\n"
)
FREE = "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n"


def outcar(*steps: tuple[int, str]) -> str:
    """Electronic steps and last words of each ionic step."""
    text = "   NELM   =      5;   NELMIN=  2; NELMDL= -5     # of ELM steps\n"
    for k, (n, words) in enumerate(steps, start=1):
        rows = (f"--------- Iteration {k:6d}({j:4d})  -------\n" for j in range(1, n + 1))
        text += "".join(rows) + words + FREE
    return text


def vasprun(*counts: int) -> str:
    """A small vasprun.xml of hydrogen with so many electronic steps in each ionic step."""
    vectors = "".join(f"<v> {a} {b} {c} </v>" for a, b, c in np.eye(3) * 4)
    structure = (
        f'<structure><crystal><varray name="basis">{vectors}</varray></crystal>'
        '<varray name="positions"><v> 0 0 0 </v></varray></structure>'
    )
    first = structure.replace("<structure", '<structure name="initialpos"', 1)
    steps = "".join(
        "<calculation>" + '<scstep><energy><i name="e_fr_energy"> -1.5 </i><i name="e_wo_entrp"> -1.5 </i>'
        '<i name="e_0_energy"> -1.5 </i></energy></scstep>\n'
        * n
        + structure
        + '<varray name="forces"><v> 0 0 0 </v></varray>'
        '<energy><i name="e_fr_energy"> -1.5 </i><i name="e_wo_entrp"> -1.5 </i>'
        '<i name="e_0_energy"> -1.5 </i></energy>'
        "</calculation>\n"
        for n in counts
    )
    parameters = (
        '<parameters><separator name="electronic"><i type="int" name="NELM">     5</i></separator></parameters>'
    )
    kpoints = '<kpoints><varray name="kpointlist"><v> 0 0 0 </v></varray></kpoints>'
    atoms = (
        "<atominfo><atoms> 1 </atoms><types> 1 </types>"
        '<array name="atoms"><set><rc><c>H </c><c> 1</c></rc></set></array></atominfo>'
    )
    return (
        f'<?xml version="1.0"?>\n<modeling>\n<generator/>{kpoints}{parameters}\n{atoms}\n{first}\n{steps}</modeling>\n'
    )


@pytest.mark.parametrize(
    ("format", "text", "expected"),
    [
        ("vasp-out", outcar((3, REACHED), (5, NOT_REACHED), (2, REACHED), (5, "")), [2, 4]),
        ("vasp-out", outcar((3, REACHED), (5, REACHED)), []),
        ("vasp-out", outcar((1, ""), (3, "")), []),  # one step without a loop (ALGO = Exact) says nothing
        ("vasp-xml", vasprun(3, 5, 4, 5), [2, 4]),
        ("vasp-xml", vasprun(1, 4), []),
        (
            "espresso-out",
            "     convergence has been achieved in  7 iterations\n!    total energy\n"
            "     convergence NOT achieved after 100 iterations: stopping\n",
            [2],
        ),
        ("cp2k", "  *** SCF run converged in    12 steps ***\n *** WARNING: SCF run NOT converged ***\n" * 2, [2, 4]),
        ("orca-output", "  *               SCF NOT CONVERGED AFTER 125 CYCLES               *\n", [1]),
        ("castep-castep", "*Warning* max. SCF cycles performed but system has not reached the groundstate.\n", [1]),
        ("gpaw-out", "Converged after 12 iterations.\nDid not converge!\n", [2]),
        ("extxyz", "Did not converge!\n", []),
    ],
)
def test_numbers_of_those_that_did_not_converge(tmp_path, format, text, expected):
    (tmp_path / "out").write_text(text)
    assert unconverged(tmp_path / "out", format) == expected


def test_reading_warns(tmp_path):
    (tmp_path / "vasprun.xml").write_text(vasprun(3, 5))
    with pytest.warns(
        UserWarning, match=r"^1 self-consistent calculation of vasprun\.xml did not converge \(number 2,"
    ):
        frames = read_structures(tmp_path / "vasprun.xml")
    assert [atoms.get_potential_energy() for atoms in frames] == [-1.5, -1.5]
    (tmp_path / "vasprun.xml").write_text(vasprun(3, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_structures(tmp_path / "vasprun.xml")) == 2


def test_many_are_named_in_part():
    assert "12 self-consistent calculations of OUTCAR did not converge (number 1, 2, " in in_words(
        [*range(1, 13)], "OUTCAR"
    )
    assert "10, …, counted" in in_words([*range(1, 13)], "OUTCAR")
