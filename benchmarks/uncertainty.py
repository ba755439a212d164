"""Which error bars can be trusted? The posterior, committees, label noise, distances and GAP's local variance, scored.

    OMP_NUM_THREADS=1 python benchmarks/uncertainty.py [silicon Si Cu] [--data DATA/mlearn] [--n-sparse 600] [--quick]

`silicon` is the shipped set, `Si` and `Cu` those of mlearn. Each is used twice:

held-out   every fifth training frame of a config type calibrates, another fifth joins the test file, the rest trains
shifted    strained crystals and dynamics at 300 K (shipped set: 600 K, too) train and, every third frame, calibrate;
           liquid or hot dynamics, vacancies, surfaces test, thinned to at most --most frames

All estimates have the same predictions, sparse points and noises; "raw" is as they come, "scaled" after one factor per
kind and species from the calibration frames (`gapkit.evaluation.recalibration`), "conformal" the coverage of
split-conformal 90 % intervals from the same frames. "noise alone" is a constant error bar: what an estimate must beat.
Indicators without units (distance, local variance) have their factor in "raw" already. Noises are hand-set, or learned
by config type. With `--quip M` and quippy in the environment GAP's own potential (M points by CUR, energies and forces)
and variance are scored on the same frames. Columns: negative log likelihoods of energies (eV/atom) and force components
(eV/Å), CRPS in meV/Å, coverage in per cent, rank correlation of error bar and error of the force vectors of all atoms
and, as a mean weighted by atoms, within config types, retention gain of the same (`gapkit.evaluation.ranking`), and
processor time of energy, forces and their error bars per atom of the test frames. Each pair is raw / scaled.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from comparison.pinning import pin

pin(1)

import numpy as np  # noqa: E402
from ase import Atoms  # noqa: E402
from comparison import quip, quip_variance  # noqa: E402

from gapkit import GAP, SOAP, DotProduct, InputError, Term, read_structures  # noqa: E402
from gapkit.datasets import load_silicon  # noqa: E402
from gapkit.evaluation.calibration import calibration, calibration_by  # noqa: E402
from gapkit.evaluation.compare import evaluate  # noqa: E402
from gapkit.evaluation.comparison import Comparison  # noqa: E402
from gapkit.evaluation.conformal import fit_conformal  # noqa: E402
from gapkit.evaluation.ranking import error_retention, per_atom  # noqa: E402
from gapkit.evaluation.recalibration import fit_recalibration  # noqa: E402
from gapkit.potential.ensemble import sample  # noqa: E402
from gapkit.uncertainty.committees import committee, label_noise_ensemble  # noqa: E402
from gapkit.uncertainty.estimators import (  # noqa: E402
    Estimator,
    MemberStd,
    PosteriorStd,
    Std,
    descriptor_distance,
    fit_scaled,
    local_std,
    with_std,
)

NOISES = {  # eV/atom, eV/Å, eV/atom
    "silicon": {"energy_noise": 0.003, "forces_noise": 0.1, "virial_noise": 0.05},
    "Si": {"energy_noise": 0.001, "forces_noise": 0.05, "virial_noise": 0.02},
    "Cu": {"energy_noise": 0.001, "forces_noise": 0.05},
}
SHAPES = {"silicon": (8, 4, 5.5, 1.0), "Si": (8, 6, 5.0, 10.0), "Cu": (8, 6, 5.0, 10.0)}  # n_max, l_max, Å, δ
CRYSTAL = {
    "silicon": ("diamond_rattled", "diamond_strained", "diamond_volume", "md_300K", "md_600K", "isolated_atom"),
    "Si": ("Elastic", "AIMD 300 K"),
    "Cu": ("Elastic", "AIMD 300 K"),
}
COLD = {"Si": 0.7, "Cu": 0.65}  # eV/Å, root mean square force: the temperatures of the dynamics lie well apart
N_MEMBERS = 20
LEVELS = (0.5, 0.68, 0.9, 0.95)
Comparisons = Mapping[str, Comparison]


class Split(NamedTuple):
    """Frames to fit, to calibrate on, and to judge by."""

    train: list[Atoms]
    calibrate: list[Atoms]
    test: list[Atoms]


class Scored(NamedTuple):
    """An estimate on calibration and test frames, and its cost, ms/atom."""

    name: str
    calibrate: Comparisons
    test: Comparisons
    cost: float


class NoiseAlone:
    """A constant error bar."""

    def std(self, atoms: Atoms) -> Std:
        """Nothing beside the noise."""
        return Std(0.0, np.zeros((len(atoms), 3)))


# ---- data


def frames_of(name: str, data: Path | None) -> tuple[list[Atoms], list[Atoms]]:
    """Training and test file; symmetry copies of training frames are left out of the latter."""
    if name == "silicon":
        return load_silicon("train"), load_silicon("test")
    stress = "" if name == "Cu" else None  # copper's energies and stresses disagree by a constant
    train, test = (read_structures(data / f"{name}_{part}.xyz", stress_key=stress) for part in ("train", "test"))
    for atoms in train + test:
        if atoms.info["config_type"] == "AIMD-NVT":
            cold = np.sqrt(np.mean(atoms.get_forces() ** 2)) < COLD[name]
            atoms.info["config_type"] = "AIMD 300 K" if cold else "AIMD hot"
    return train, [atoms for atoms in test if atoms.info.get("in_train", "no") == "no"]


def every(frames: Sequence[Atoms], n: int, offset: int) -> set[int]:
    """Numbers of every n-th frame of each config type; isolated atoms stay in the training set."""
    seen: dict[str, int] = {}
    chosen = set()
    for k, atoms in enumerate(frames):
        name = atoms.info["config_type"]
        if seen.setdefault(name, 0) % n == offset and name != "isolated_atom":
            chosen.add(k)
        seen[name] += 1
    return chosen


def held_out(name: str, train: list[Atoms], test: list[Atoms], most: int) -> Split:
    """Frames of one distribution."""
    calibrate, more = every(train, 5, 1), every(train, 5, 3)
    rest = [atoms for k, atoms in enumerate(train) if k not in calibrate | more]
    return Split(rest, [train[k] for k in sorted(calibrate)], test + [train[k] for k in sorted(more)])


def shifted(name: str, train: list[Atoms], test: list[Atoms], most: int) -> Split:
    """Strained and warm crystals against all else."""
    crystal = [atoms for atoms in train if atoms.info["config_type"] in CRYSTAL[name]]
    other = [atoms for atoms in test + train if atoms.info["config_type"] not in CRYSTAL[name]]
    other = sorted(other, key=lambda atoms: atoms.info["config_type"])
    kept = np.unique(np.linspace(0, len(other) - 1, min(most, len(other))).round().astype(int))
    calibrate = every(crystal, 3, 1)
    fitted = [atoms for k, atoms in enumerate(crystal) if k not in calibrate]
    return Split(fitted, [crystal[k] for k in sorted(calibrate)], [other[k] for k in kept])


# ---- estimates


def fit(name: str, split: Split, n_sparse: int, learned: bool) -> GAP:
    """SOAP 8, 6, 5 Å (shipped set: 8, 4, 5.5 Å), ζ 4, farthest points."""
    n_max, l_max, cutoff, delta = SHAPES[name]
    soap = SOAP(["Si" if name == "silicon" else name], cutoff, n_max, l_max)
    term = Term(soap, DotProduct(4, delta), n_sparse)
    gap = GAP([term], **NOISES[name], verbose=False)
    return gap.fit(split.train, optimize=["config_type", "delta"] if learned else False)


def estimates(gap: GAP, split: Split, plain: Comparisons) -> dict[str, Callable[[], Estimator]]:
    """Name -> how it is made, which is not part of its cost."""
    scaled = lambda indicator: fit_scaled(indicator, gap, split.calibrate, plain)  # noqa: E731
    n_chunks = min(20, len(split.train))
    resampled = lambda how: MemberStd(committee(gap, split.train, N_MEMBERS, 0, how, n_chunks))  # noqa: E731
    return {
        "posterior, dtc": lambda: PosteriorStd(gap),
        "posterior, sor": lambda: PosteriorStd(gap, "sor"),
        f"{N_MEMBERS} posterior samples": lambda: MemberStd(sample(gap, N_MEMBERS, 0)),
        f"committee of {N_MEMBERS}, bootstrap": lambda: resampled("bootstrap"),
        f"committee of {N_MEMBERS}, halves": lambda: resampled("halves"),
        f"label noise, {N_MEMBERS}": lambda: MemberStd(label_noise_ensemble(gap, N_MEMBERS, 0)),
        "distance": lambda: scaled(descriptor_distance(gap)),
        "local energy, dtc": lambda: scaled(local_std(gap)),
        "local energy, gap": lambda: scaled(local_std(gap, "gap")),
        "noise alone": NoiseAlone,
    }


def scored(gap: GAP, split: Split) -> list[Scored]:
    """Every estimate on calibration and test frames."""
    plain = {part: plain_of(gap, frames) for part, frames in split._asdict().items() if part != "train"}
    n_atoms, found = sum(map(len, split.test)), []
    for name, make in estimates(gap, split, plain["calibrate"]).items():
        estimate = make()
        calibrate = with_std(gap, estimate, split.calibrate, plain["calibrate"])
        start = time.process_time()
        test = with_std(gap, estimate, split.test, plain["test"])
        found.append(Scored(name, calibrate, test, 1e3 * (time.process_time() - start) / n_atoms))
    return found


def plain_of(gap: GAP, frames: list[Atoms]) -> dict[str, Comparison]:
    """Energies and forces without standard deviations."""
    found = evaluate(gap, frames, return_std=False).comparisons
    return {kind: found[kind] for kind in ("energy", "forces")}


def quip_scored(name: str, scenario: str, split: Split, given: argparse.Namespace) -> list[Scored]:
    """GAP's own fit and local variance; nothing where quippy is missing."""
    if not (given.quip and quip.installed()):
        return []
    setting = quip_variance.Setting("Si" if name == "silicon" else name, *SHAPES[name], given.quip, NOISES[name])
    potential = (given.work / f"uncertainty_{name}_{scenario}_{given.quip}" / "gap.xml").resolve()
    reader = quip_variance.fit(setting, split.train, potential)
    plain, cost = reader.comparisons(split.calibrate), time.process_time()
    test = reader.comparisons(split.test)
    cost = 1e3 * (time.process_time() - cost) / sum(map(len, split.test))
    model = quip_variance.Noises(NOISES[name])
    scale = fit_scaled(reader.indicator, model, split.calibrate, plain)
    rmse = [np.sqrt(np.mean(c.error**2)) for c in test.values()]
    label = f"quippy, {given.quip} points, RMSE {1000 * rmse[0]:.1f} meV/atom, {rmse[1]:.3f} eV/Å; local_gap_variance"
    both = [with_std(model, scale, f, c) for f, c in ((split.calibrate, plain), (split.test, test))]
    return [Scored(label, *both, cost)]


# ---- tables


def table(rows: list[Scored]) -> str:
    """Markdown, one row per estimate; raw / scaled."""
    head = [
        "estimate", "NLL E", "NLL F", "CRPS F", "coverage E 50/68/90/95", "coverage F 50/68/90/95", "conformal E, F 90",
        "rank F atoms", "within types", "gain", "ms/atom",
    ]  # fmt: skip
    lines = [" | ".join(head), "|".join(["---"] * len(head)), *(" | ".join(cells(row)) for row in rows)]
    return "\n".join(f"| {line} |" if k != 1 else f"|{line}|" for k, line in enumerate(lines))


def cells(row: Scored) -> list[str]:
    """One estimate."""
    after = rescaled(row)
    raw, scaled = ({k: calibration(c, LEVELS) for k, c in x.items()} for x in (row.test, after))
    atoms = error_retention(per_atom(row.test["forces"]))
    both = lambda kind, what: " / ".join(f"{getattr(x[kind], what):.2f}" for x in (raw, scaled))  # noqa: E731
    inside = lambda c: " ".join(f"{100 * v:.0f}" for v in c.coverage.values())  # noqa: E731
    rank = raw["forces"].atom_rank_correlation
    return [
        row.name, both("energy", "nll"), both("forces", "nll"),
        " / ".join(f"{1000 * x['forces'].crps:.0f}" for x in (raw, scaled)),
        *(" / ".join(inside(x[kind]) for x in (raw, scaled)) for kind in ("energy", "forces")),
        conformal(row), number(rank), within(row.test["forces"]), number(atoms.gain if rank is not None else None),
        f"{row.cost:.2f}" if row.name != "noise alone" else "0",
    ]  # fmt: skip


def number(value: float | None) -> str:
    """Two digits, or a dash."""
    return "–" if value is None else f"{value:.2f}"


def rescaled(row: Scored) -> Comparisons:
    """Test comparisons with the factors that the calibration frames give."""
    return fit_recalibration(row.calibrate, "held-out").apply(row.test)


def conformal(row: Scored) -> str:
    """Coverage of 90 % intervals of energies and force components, per cent of values."""
    found = []
    for kind in ("energy", "forces"):
        try:
            lower, upper = fit_conformal(row.calibrate[kind]).intervals(row.test[kind], 0.9)
        except InputError:
            found.append("–")
            continue
        reference = row.test[kind].reference
        found.append(f"{100 * np.mean((reference >= lower) & (reference <= upper)):.0f}")
    return ", ".join(found)


def within(forces: Comparison) -> str:
    """Mean rank correlation per atom within config types, weighted by atoms."""
    parts = calibration_by(forces, "config_type").values()
    known = [(part.n, part.atom_rank_correlation) for part in parts if part.atom_rank_correlation is not None]
    return number(float(np.average([r for _, r in known], weights=[n for n, _ in known])) if known else None)


def by_type(row: Scored) -> str:
    """One estimate, config type by config type: how many times larger errors are than it says."""
    lines = [
        "| config type | frames | E RMSE meV/atom | F RMSE eV/Å | std z of E | std z of F | rank F atoms |",
        "|" + "---|" * 7,
    ]
    energies = calibration_by(row.test["energy"], "config_type")
    for name, forces in calibration_by(row.test["forces"], "config_type").items():
        e, f = (row.test[k].select(row.test[k].config_type == name).error for k in ("energy", "forces"))
        errors = f"{1e3 * np.sqrt(np.mean(e**2)):.1f} | {np.sqrt(np.mean(f**2)):.3f}"
        z = f"{energies[name].scale:.2f} | {forces.scale:.2f}"
        lines.append(f"| {name} | {forces.n_structures} | {errors} | {z} | {number(forces.atom_rank_correlation)} |")
    return "\n".join(lines)


# ---- the run


def show(name: str, scenario: str, learned: bool, given: argparse.Namespace) -> None:
    """Fit, score and print one table."""
    train, test = frames_of(name, given.data)
    split = {"held-out": held_out, "shifted": shifted}[scenario](name, train, test, given.most)
    if given.quick:
        split = Split(split.train[::2], split.calibrate, split.test[::4])
    gap = fit(name, split, given.n_sparse, learned)
    noises = "learned by config type, with δ" if learned else "hand-set"
    sizes = ", ".join(f"{len(frames)} to {what}" for what, frames in split._asdict().items())
    print(f"\n### {name}, {scenario}, noises {noises}\n\nframes: {sizes}; {len(gap.alpha_)} sparse points")
    rows = scored(gap, split)
    rmse = {kind: np.sqrt(np.mean(c.error**2)) for kind, c in rows[0].test.items()}
    print(f"RMSE: {1000 * rmse['energy']:.2f} meV/atom, {rmse['forces']:.4f} eV/Å\n", flush=True)
    rows += [] if learned else quip_scored(name, scenario, split, given)
    print(f"{table(rows)}\n\nposterior, dtc, by config type, raw:\n\n{by_type(rows[0])}", flush=True)


def main() -> None:
    """Every set, scenario and way to choose noises."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["silicon"], metavar="SET", help="of silicon, Si, Cu")
    parser.add_argument("--data", type=Path, help="folder of the mlearn files, for Si and Cu")
    parser.add_argument("--n-sparse", type=int, default=600)
    parser.add_argument("--most", type=int, default=60, help="frames of a shifted test set")
    parser.add_argument("--scenarios", nargs="+", choices=("held-out", "shifted"), default=["held-out", "shifted"])
    parser.add_argument("--noises", nargs="+", choices=("hand-set", "learned"), default=["hand-set", "learned"])
    parser.add_argument("--quip", type=int, default=0, metavar="M", help="sparse points of GAP's own fit; 0: none")
    parser.add_argument("--work", type=Path, default=Path("work/peers"), help="folder of GAP's potentials")
    parser.add_argument("--quick", action="store_true", help="half the training and a quarter of the test frames")
    given = parser.parse_args()
    for name in given.sets:
        for scenario in given.scenarios:
            for noises in given.noises:
                show(name, scenario, noises == "learned", given)


if __name__ == "__main__":
    main()
