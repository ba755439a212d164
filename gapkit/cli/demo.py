"""A complete example: the silicon data that ship, fit, test, calibration, dynamics, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gapkit.errors import InputError
from gapkit.evaluation.calibration import Calibration, calibration, calibration_in_words
from gapkit.evaluation.compare import evaluate
from gapkit.evaluation.comparison import Evaluation

if TYPE_CHECKING:
    from ase import Atoms

    from gapkit.potential.gap import GAP

# Noises and δ where the log marginal likelihood of the training frames is largest (benchmarks/demo_noises.py; the test
# frames were not used). They cover what a sum of atomic energies within the cutoff cannot describe as well as errors of
# the labels, so they are larger where atoms are far from crystal sites.
DELTA = 5.0  # eV
ENERGY_NOISE = {
    "default": 0.0006,
    "diamond_rattled": 0.003,
    "beta_tin": 0.0065,
    "vacancy": 0.014,
    "surface_111": 0.005,
    "surface_100": 0.0085,
    "liquid": 0.009,
}  # eV/atom
FORCES_NOISE = {
    "default": 0.014,
    "diamond_rattled": 0.06,
    "beta_tin": 0.06,
    "vacancy": 0.1,
    "surface_111": 0.09,
    "surface_100": 0.12,
    "liquid": 0.13,
}  # eV/Å
VIRIAL_NOISE = {
    "default": 0.015,
    "diamond_rattled": 0.03,
    "beta_tin": 0.18,
    "vacancy": 0.035,
    "surface_111": 0.045,
    "surface_100": 0.035,
    "liquid": 0.06,
}  # eV/atom
LATTICE_CONSTANT = 5.469  # Å, PBE
TIME_STEP = 1.0  # fs
LARGEST_DRIFT = 0.5  # meV/atom
LARGEST_FORCE_ERROR = 1e-3  # eV/Å

Echo = Callable[[str], Any]


class Dynamics(NamedTuple):
    """A run at constant energy.

    Attributes
    ----------
    time_ps, total_energy_per_atom, temperature : ndarray, shape (n_steps + 1,)
        ps, eV/atom, K.
    drift : float
        Slope of a straight line through the total energy, times the length of the run, meV/atom.
    largest_deviation : float
        Largest distance of the total energy from its start, meV/atom.
    """

    time_ps: np.ndarray
    total_energy_per_atom: np.ndarray
    temperature: np.ndarray
    drift: float
    largest_deviation: float


@dataclass(frozen=True, eq=False)
class DemoResult:
    """Result of `run_demo`.

    Attributes
    ----------
    gap : GAP
    evaluation, train_evaluation : Evaluation
        Errors on the test and on the training frames.
    calibration : Calibration
        Of the energies of the test frames, in eV/atom.
    dynamics : Dynamics
    force_error : float
        Largest difference between a force and the slope of the energy, eV/Å.
    model, report : Path
        The files that were written.
    seconds : float
        Time for all of it.
    failures : tuple of str
        A sentence for each check that failed.
    """

    gap: GAP
    evaluation: Evaluation
    train_evaluation: Evaluation
    calibration: Calibration
    dynamics: Dynamics
    force_error: float
    model: Path
    report: Path
    seconds: float
    failures: tuple[str, ...]


def run_demo(
    folder: str | Path = "gapkit-demo", *, n_sparse: int = 1000, n_steps: int = 500, echo: Echo = print
) -> DemoResult:
    """Fit silicon from the shipped data, test it on frames it has not seen, run it, and write model and report.

    Parameters
    ----------
    folder : path
        Where ``silicon.gap`` and ``report.html`` go; created if it does not exist.
    n_sparse : int
        Number of sparse points.
    n_steps : int
        Steps of molecular dynamics, 1 fs each.
    echo : callable
        Receives each line of text.

    Raises
    ------
    InputError
        If the report extra is not installed, or `folder` is a file.
    """
    from gapkit.datasets import load_silicon
    from gapkit.report.figures import require_matplotlib

    require_matplotlib()
    start = time.perf_counter()
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"'{folder}' is a file: give the name of a folder for the model and the report.")
    folder.mkdir(parents=True, exist_ok=True)
    train, test = load_silicon("train"), load_silicon("test")
    gap = _fit(train, n_sparse, echo)
    gap.save(folder / "silicon.gap")
    train_evaluation = evaluate(gap, train, return_std=False)
    evaluation = evaluate(gap, test, return_std="all")
    assert evaluation.energy is not None
    echo(f"\nErrors on {len(test)} test frames\n{evaluation.table()}\n\n{calibration_in_words(evaluation.energy)}")
    dynamics = _run_dynamics(gap, n_steps, echo)
    force_error = _force_error(gap, test, echo)
    _write_report(folder / "report.html", gap, test, evaluation, train_evaluation, dynamics, force_error)
    failures = tuple(_failures(dynamics, force_error))
    result = DemoResult(
        gap=gap,
        evaluation=evaluation,
        train_evaluation=train_evaluation,
        calibration=calibration(evaluation.energy),
        dynamics=dynamics,
        force_error=force_error,
        model=folder / "silicon.gap",
        report=folder / "report.html",
        seconds=time.perf_counter() - start,
        failures=failures,
    )
    _print_outcome(result, echo)
    return result


def make_potential(n_sparse: int = 1000, verbose: bool = True) -> GAP:
    """The potential of the demo, not fitted yet: SOAP up to 5.5 Å, kernel exponent 4, noise by config type."""
    from gapkit.descriptors.soap import SOAP
    from gapkit.gaussian_process.kernels import DotProduct
    from gapkit.potential.gap import GAP
    from gapkit.terms.term import Term

    # smoothness 1 lets the second and third shells of neighbours (3.87 and 4.53 Å) count more than 2 does
    soap = SOAP(species=["Si"], cutoff=5.5, n_max=8, l_max=6, atom_sigma=0.5, smoothness=1.0)
    return GAP(
        [Term(soap, DotProduct(zeta=4, delta=DELTA), n_sparse=n_sparse)],
        energy_noise=ENERGY_NOISE,
        forces_noise=FORCES_NOISE,
        virial_noise=VIRIAL_NOISE,
        verbose=verbose,
    )


def _fit(train: list[Atoms], n_sparse: int, echo: Echo) -> GAP:
    from gapkit.structures.reading import describe_structures

    echo(f"Silicon, density-functional data (PBE)\n{describe_structures(train)}\n")
    gap = make_potential(n_sparse)
    echo(f"Fitting {gap.terms[0].descriptor} with {n_sparse} sparse points ...")  # type: ignore[index]
    start = time.perf_counter()
    gap.fit(train)
    found = gap.posterior_.conditioning
    echo(
        f"{time.perf_counter() - start:.1f} s for {gap.posterior_.n_rows} labels, compilation included; rank "
        f"{found.rank} of {found.n_sparse}, log evidence {gap.posterior_.log_marginal_likelihood:.1f}, "
        f"e0 {gap.e0_['Si']:.4f} eV"
    )
    return gap


def _run_dynamics(gap: GAP, n_steps: int, echo: Echo) -> Dynamics:
    """Velocity Verlet, 64 atoms of diamond, started at 600 K, of which half becomes potential energy."""
    from ase import units
    from ase.build import bulk
    from ase.md.velocitydistribution import Stationary
    from ase.md.verlet import VelocityVerlet

    from gapkit.interfaces.ase_calculator import GAPCalculator

    atoms = bulk("Si", "diamond", a=LATTICE_CONSTANT, cubic=True).repeat(2)
    width = np.sqrt(atoms.get_masses() * units.kB * 600.0)  # of each component of the momentum
    atoms.set_momenta(np.random.default_rng(0).normal(size=(len(atoms), 3)) * width[:, None])
    Stationary(atoms)
    gap.verbose = False
    atoms.calc = GAPCalculator(gap)
    rows: list[tuple[float, float]] = []
    md = VelocityVerlet(atoms, TIME_STEP * units.fs)
    md.attach(lambda: rows.append((atoms.get_total_energy() / len(atoms), atoms.get_temperature())))
    start = time.perf_counter()
    md.run(n_steps)
    dynamics = _summarised(np.array(rows))
    echo(
        f"\nConstant-energy dynamics of {len(atoms)} atoms: {n_steps} steps of {TIME_STEP:g} fs in "
        f"{time.perf_counter() - start:.1f} s, {dynamics.temperature.mean():.0f} K on average.\nTotal energy: drift "
        f"{dynamics.drift:.4f} meV/atom, largest deviation {dynamics.largest_deviation:.4f} meV/atom."
    )
    return dynamics


def _summarised(rows: np.ndarray) -> Dynamics:
    energy, temperature = rows.T
    time_ps = 1e-3 * TIME_STEP * np.arange(len(energy))
    drift = 1e3 * np.polyfit(time_ps, energy, 1)[0] * time_ps[-1]
    return Dynamics(time_ps, energy, temperature, float(drift), float(1e3 * np.abs(energy - energy[0]).max()))


def _force_error(gap: GAP, test: list[Atoms], echo: Echo) -> float:
    """Largest difference (eV/Å) of one atom's force from central differences of the energy, in a liquid frame."""
    step = 1e-3  # Å
    atoms = next(a for a in test if a.info["config_type"] == "liquid").copy()
    forces = gap.predict(atoms).forces[0][0]
    errors = []
    for axis in range(3):
        energies = []
        for sign in (1.0, -1.0):
            moved = atoms.copy()
            moved.positions[0, axis] += sign * step
            energies.append(gap.predict(moved).energy[0])
        errors.append(abs(forces[axis] + (energies[0] - energies[1]) / (2.0 * step)))
    worst = float(max(errors))
    echo(f"Forces against finite differences of the energy: largest difference {worst:.1e} eV/Å.")
    return worst


def _failures(dynamics: Dynamics, force_error: float) -> list[str]:
    found = []
    if not abs(dynamics.drift) <= LARGEST_DRIFT:
        found.append(f"the total energy drifts by {dynamics.drift:.3g} meV/atom, more than {LARGEST_DRIFT}.")
    if not force_error <= LARGEST_FORCE_ERROR:
        found.append(
            f"forces are {force_error:.2g} eV/Å from the slope of the energy, more than {LARGEST_FORCE_ERROR}."
        )
    return found


def _write_report(
    path: Path,
    gap: GAP,
    test: list[Atoms],
    evaluation: Evaluation,
    train_evaluation: Evaluation,
    dynamics: Dynamics,
    force_error: float,
) -> None:
    from gapkit.report.write import write_report

    md = {
        "time_ps": dynamics.time_ps,
        "total_energy_per_atom": dynamics.total_energy_per_atom,
        "temperature": dynamics.temperature,
        "drift_mev_per_atom": dynamics.drift,
        "largest deviation of the total energy (meV/atom)": dynamics.largest_deviation,
        "forces against finite differences (eV/Å)": force_error,
        "system": f"64 atoms of diamond silicon, constant energy, {TIME_STEP:g} fs steps",
    }
    text = "Silicon that ships with gapkit: crystals under strain, hot and molten, β-tin, vacancies, surfaces; PBE."
    write_report(
        path,
        gap,
        evaluation,
        frames=test,
        train_evaluation=train_evaluation,
        title="Silicon",
        data_description=text,
        md=md,
        command="gapkit demo",
    )


def _print_outcome(result: DemoResult, echo: Echo) -> None:
    for failure in result.failures:
        echo(f"FAILED: {failure}")
    echo(
        f"\n{result.seconds:.0f} s in all.\nreport  {result.report}\nmodel   {result.model}\n\n"
        "Use it from Python:\n\n"
        "    from gapkit import GAPCalculator\n"
        f"    atoms.calc = GAPCalculator({str(result.model)!r})\n"
        "    print(atoms.get_potential_energy(), atoms.get_forces())"
    )
