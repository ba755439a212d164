"""Fixtures of the tests in LAMMPS."""

from __future__ import annotations

import pytest
from lammps_jobs import need_lammps

# of the files here; the others need no LAMMPS
NEEDS = {"test_session", "test_parity", "test_compilation", "test_ghost_forces", "test_installation"}


@pytest.fixture(autouse=True)
def _lammps(request: pytest.FixtureRequest) -> None:
    if request.module.__name__.rpartition(".")[2] in NEEDS:
        need_lammps()


@pytest.fixture(scope="session")
def model_file(gap, tmp_path_factory):
    """The two-species model of all tests, in a file."""
    file = tmp_path_factory.mktemp("model") / "cuau.gap"
    gap.save(file)
    return file
