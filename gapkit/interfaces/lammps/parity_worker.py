"""Frames evaluated by LAMMPS on some ranks: ``mpiexec -n 2 python -m gapkit.interfaces.lammps.parity_worker …``.

A process of its own, because MPI is started and ended once in the life of one, and because ranks are processes.
"""

from __future__ import annotations

import sys

import numpy as np

from gapkit.errors import InputError
from gapkit.interfaces.lammps.session import QUIET, Session
from gapkit.interfaces.lammps.structures_in_lammps import evaluate_in_lammps


def main(arguments: list[str]) -> int:
    """Evaluate ``ENGINE OUTPUT MODEL FRAMES [MODEL FRAMES …]``; what is found goes to the .npz file OUTPUT."""
    from ase.io import read

    engine, output, *pairs = arguments
    try:
        with Session(QUIET, engine) as session:  # type: ignore[arg-type]
            arrays: dict[str, np.ndarray] = {}
            for pair, (model, frames) in enumerate(zip(pairs[::2], pairs[1::2])):
                for k, atoms in enumerate(read(frames, ":")):
                    found = evaluate_in_lammps(session, atoms, model)._asdict()
                    arrays |= {f"{pair}/{k}/{name}": np.asarray(value) for name, value in found.items()}
            if session.is_first:
                np.savez(output, **arrays)  # type: ignore[arg-type]
    except InputError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
