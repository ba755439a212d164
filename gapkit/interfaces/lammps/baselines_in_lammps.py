"""Which baselines of a model are evaluated on LAMMPS's pairs, and what to type in LAMMPS for the others."""

from __future__ import annotations

from collections.abc import Sequence

from gapkit.baselines import D3, ZBL, Baseline, Ewald
from gapkit.errors import InputError, did_you_mean


def baselines_on_pairs(baselines: Sequence[Baseline], without: Sequence[str]) -> list[ZBL]:
    """The baselines to be evaluated here.

    Parameters
    ----------
    baselines : sequence of Baseline
        Those of the model.
    without : sequence of str
        Names of those that LAMMPS evaluates instead, or that are to be left out.

    Raises
    ------
    InputError
        For one that reaches beyond neighbours and is not in `without`, and for a name that the model does not have.
    """
    names = [type(baseline).__name__ for baseline in baselines]
    for name in without:
        if name not in names:
            has = f"its baselines are {', '.join(names)}" if names else "it has none"
            raise InputError(f"the model has no baseline {name!r} to go without{did_you_mean(name, names)}: {has}.")
    kept = [baseline for baseline in baselines if type(baseline).__name__ not in without]
    for baseline in kept:
        if not isinstance(baseline, ZBL):
            raise InputError(_refusal(baseline))
    return [baseline for baseline in kept if isinstance(baseline, ZBL)]


def _refusal(baseline: Baseline) -> str:
    name = type(baseline).__name__
    without = f"pair_style hybrid/overlay gapkit model.gap without {name}"
    start = f"the model's baseline {name} reaches beyond the neighbours that LAMMPS gives to gapkit"
    if isinstance(baseline, D3) and baseline.damping in LAMMPS_D3 and not baseline.three_body:
        style = f"dispersion/d3 {LAMMPS_D3[baseline.damping]} {baseline.functional} 31.75 21.17"
        return (
            f"{start}: let LAMMPS do it, '{without} {style}' with 'neigh_modify one 20000 page 400000' and "
            "'pair_coeff * * dispersion/d3' and the symbols (forces to 1e-6 eV/Å; energies are "
            "0.1 meV/atom lower, as its sums end abruptly at 60 Bohr)."
        )
    if isinstance(baseline, Ewald) and baseline.width == 0:
        charges = ", ".join(f"{symbol} {charge:+g}" for symbol, charge in baseline.charges.items())
        return (
            f"{start}: let LAMMPS do it, '{without} coul/long 10.0' with 'pair_coeff * * coul/long', "
            f"'atom_style charge', 'kspace_style ewald 1e-8' and 'set type ... charge ...' ({charges})."
        )
    return f"{start}, and LAMMPS has no command for it: use ASE, or '{without}' to go without it."


LAMMPS_D3 = {"bj": "bj", "zero": "original", "mbj": "bjm", "mzero": "zerom"}
