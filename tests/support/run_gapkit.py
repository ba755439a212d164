"""The `gapkit` command in this process, and a folder with files for it."""

from __future__ import annotations

import re
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.io import write
from example_structures import alloy, labelled

from gapkit import GAP, SOAP, DotProduct, Term
from gapkit.cli.app import main

SMALL = ["--cutoff", "4", "--n-max", "3", "--l-max", "2", "--n-sparse", "8", "--zeta", "2", "--delta", "2"]
NOISE = ["--energy-noise", "0.005", "--forces-noise", "0.1", "--virial-noise", "0.03"]


class Run(NamedTuple):
    """What a command left behind.

    Attributes
    ----------
    code : int
        Exit code.
    out, err : str
        Standard output and standard error.
    """

    code: int
    out: str
    err: str


def gapkit(*arguments: object) -> Run:
    """The command with these arguments."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Run(code, out.getvalue(), err.getvalue())


def assert_refused(run: Run, match: str) -> None:
    """Exit code 2, and one sentence on standard error."""
    assert run.code == 2
    assert run.out == ""
    assert run.err.count("\n") == 1
    assert run.err.startswith("error: ")
    assert run.err.rstrip().endswith(".")
    assert "Traceback" not in run.err
    assert re.search(match, run.err), run.err


def small_gap(**changes: object) -> GAP:
    """The model that `SMALL` and `NOISE` ask for; `changes` are parameters of `GAP`."""
    arguments = {"energy_noise": 0.005, "forces_noise": 0.1, "virial_noise": 0.03, "verbose": False, **changes}
    soap = SOAP(["Au", "Cu"], 4.0, n_max=3, l_max=2)
    return GAP([Term(soap, DotProduct(zeta=2, delta=2.0), n_sparse=8)], **arguments)


def predictions(gap: GAP | Path) -> np.ndarray:
    """Forces of two new structures by a model or its file, flat, eV/Å."""
    gap = gap if isinstance(gap, GAP) else GAP.load(gap)
    gap.verbose = False
    return np.concatenate([f.ravel() for f in gap.predict([alloy(50), alloy(51)]).forces])


def fill_folder(path: Path) -> Path:
    """train.xyz (with isolated atoms), test.xyz, renamed.xyz (labels under other names), model.gap and fit.txt."""
    isolated = [labelled(Atoms(s, cell=[20] * 3, pbc=True), "isolated_atom") for s in ("Cu", "Au")]
    frames = [labelled(alloy(k), "bulk" if k % 2 else "other") for k in range(6)]
    write(path / "train.xyz", frames + isolated)
    write(path / "test.xyz", [labelled(alloy(k), "bulk" if k % 2 else "other") for k in range(22, 26)])
    renamed = []
    for atoms in frames:
        bare = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
        bare.info["E_total"] = atoms.get_potential_energy()
        bare.arrays["push"] = atoms.get_forces()
        renamed.append(bare)
    write(path / "renamed.xyz", renamed)
    run = gapkit("fit", path / "train.xyz", "-o", path / "model.gap", *SMALL, *NOISE)
    assert run.code == 0
    (path / "fit.txt").write_text(run.out, encoding="utf-8")
    return path
