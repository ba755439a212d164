"""The ASE calculator: caching, neighbour lists, dynamics, relaxations, refusals."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.filters import FrechetCellFilter
from ase.io import Trajectory, read, write
from ase.md.nptberendsen import NPTBerendsen
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.vibrations import Vibrations
from example_structures import alloy, labelled, structures
from laws import predictor

from gapkit import GAP, GAPCalculator, InputError
from gapkit.structures.labels import read_labels
from gapkit.structures.reading import find_label_keys

GEOMETRIES = structures()
WITH_STRESS = ["alloy", "slab", "one_atom", "sheared_one_atom"]
VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


def on(atoms: Atoms, gap, **options) -> Atoms:
    """A copy with a calculator."""
    out = atoms.copy()
    out.calc = GAPCalculator(gap, **options)
    return out


@pytest.fixture
def counted(gap, monkeypatch) -> list:
    """The structures that `GAP.predict` was asked for."""
    seen: list = []
    predict = GAP.predict

    def counting(self, structures, *args, **kwargs):
        seen.append(structures)
        return predict(self, structures, *args, **kwargs)

    monkeypatch.setattr(GAP, "predict", counting)
    return seen


@pytest.fixture(scope="module")
def relaxed(gap) -> Atoms:
    """CuAu at its energy minimum, cell included."""
    atoms = on(alloy(3, rattle=0.05), gap)
    with BFGS(FrechetCellFilter(atoms), logfile=None) as optimiser:
        assert optimiser.run(fmax=0.01, steps=80)
    atoms.calc = None
    return atoms


# -- results --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GEOMETRIES)
def test_results_are_the_predictions(gap, name):
    atoms, p = on(GEOMETRIES[name], gap), gap.predict(GEOMETRIES[name])
    same = {"rtol": 0, "atol": predictor(gap).round_off}  # a list with a skin adds pairs in another order
    np.testing.assert_allclose(atoms.get_potential_energy(), p.energy[0], **same)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.get_forces(), p.forces[0], **same)
    np.testing.assert_allclose(atoms.get_potential_energies(), p.local_energies[0], **same)
    np.testing.assert_allclose(atoms.get_potential_energies().sum(), atoms.get_potential_energy(), rtol=1e-13)
    assert isinstance(atoms.calc.results["energy"], float)


@pytest.mark.parametrize("name", WITH_STRESS)
def test_stress_is_voigt_of_the_prediction(gap, name):
    full = gap.predict(GEOMETRIES[name]).stress[0]
    np.testing.assert_allclose(on(GEOMETRIES[name], gap).get_stress(), full[VOIGT], rtol=0, atol=1e-12)
    np.testing.assert_allclose(on(GEOMETRIES[name], gap).get_stress(voigt=False), full, rtol=0, atol=1e-12)


def test_results_hold_what_ase_knows_and_nothing_else(gap):
    atoms = on(alloy(0), gap)
    atoms.get_potential_energy()
    atoms.calc.uncertainty(atoms)
    assert set(atoms.calc.results) == {"energy", "free_energy", "energies", "forces", "stress"}
    assert set(atoms.calc.results) == set(atoms.calc.implemented_properties)


@pytest.mark.parametrize(
    "atoms",
    [
        GEOMETRIES["cluster"],
        Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]], cell=[9, 9, 9], pbc=False),
        Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]], cell=[3, 3, 0], pbc=[True, True, False]),
    ],
    ids=["no cell", "not periodic", "no third vector"],
)
def test_no_stress_without_a_periodic_volume(gap, atoms):
    atoms = on(atoms, gap)
    for _ in range(2):
        with pytest.raises(
            PropertyNotImplementedError, match=r"three cell vectors of non-zero volume: set its cell and pbc"
        ):
            atoms.get_stress()
        assert np.isfinite(atoms.get_potential_energy())
        assert np.abs(atoms.get_forces()).max() > 0


def test_slab_has_the_stress_of_its_cell(gap):
    """One direction is not periodic but has a vector: the volume includes the vacuum."""
    slab = GEOMETRIES["slab"]
    assert slab.pbc.tolist() == [True, True, False]
    thick = slab.copy()
    thick.set_cell(slab.cell.array * [[1], [1], [2]])
    np.testing.assert_allclose(on(thick, gap).get_stress(), on(slab, gap).get_stress() / 2, rtol=1e-10)


def test_uncertainty(gap):
    calculator, atoms = GAPCalculator(gap), alloy(4)
    with pytest.raises(InputError, match="uncertainty needs a structure: calculate something first or pass atoms"):
        calculator.uncertainty()
    p = gap.predict(atoms, return_std="all")
    given = calculator.uncertainty(atoms)
    assert given.energy_std == p.energy_std[0] > 0
    np.testing.assert_array_equal(given.local_energies_std, p.local_energies_std[0])
    np.testing.assert_array_equal(given.forces_std, p.forces_std[0])
    np.testing.assert_allclose(given.stress_std, p.stress_std[0][VOIGT], rtol=1e-14)
    calculator.get_potential_energy(atoms)
    assert calculator.uncertainty().energy_std == pytest.approx(given.energy_std, rel=1e-9)
    assert calculator.uncertainty(alloy(5)).energy_std != given.energy_std
    assert calculator.uncertainty(GEOMETRIES["cluster"]).stress_std is None
    for skin in (-0.1, np.nan, np.inf, "1", None):
        with pytest.raises(InputError, match=r"skin = .* Å must be a number that is not negative"):
            GAPCalculator(gap, skin=skin)
    with pytest.raises(InputError, match="are unknown"):
        GAPCalculator(gap).uncertainty(which=["all"])
    with pytest.raises(InputError, match=r"standard deviations 'force' are unknown \(known: all, energy, local\)"):
        calculator.uncertainty(atoms, "force")


@pytest.mark.parametrize("name", GEOMETRIES)
def test_less_uncertainty_is_the_same_for_less(gap, name):
    atoms = GEOMETRIES[name]
    everything = GAPCalculator(gap).uncertainty(atoms)
    local, energy = (GAPCalculator(gap).uncertainty(atoms, which) for which in ("local", "energy"))
    np.testing.assert_allclose(local.local_energies_std, everything.local_energies_std, rtol=1e-7)
    np.testing.assert_array_equal(energy.local_energies_std, everything.local_energies_std)
    assert energy.energy_std == everything.energy_std
    assert local[0] is local[2] is local[3] is energy[2] is energy[3] is None


def test_local_uncertainty_of_a_step_is_not_computed_again(gap, counted):
    atoms = on(alloy(2), gap, per_atom_std=True)
    atoms.get_forces()
    found = atoms.calc.uncertainty(atoms, "local").local_energies_std
    assert len(counted) == 1
    np.testing.assert_array_equal(found, atoms.calc.local_energies_std)
    found[:] = 7.0
    assert not np.any(atoms.calc.local_energies_std == 7.0)
    atoms.positions[0] += 0.1
    moved = atoms.calc.uncertainty(atoms, "local").local_energies_std
    assert len(counted) == 2
    np.testing.assert_allclose(moved, gap.predict(atoms, "local").local_energies_std[0], rtol=1e-7)


def test_uncertainty_of_a_refused_structure_is_none_of_an_older_one(gap):
    atoms = on(alloy(0), gap, per_atom_std=True)
    atoms.get_forces()
    atoms.positions[1] = atoms.positions[0] + 0.01
    for _ in range(2):
        with pytest.raises(InputError, match="closer than"):
            atoms.get_forces()
        with pytest.raises(InputError, match="closer than"):
            atoms.calc.uncertainty(atoms, "local")
    assert atoms.calc.local_energies_std is None


def test_from_a_model_file(gap, tmp_path):
    gap.save(tmp_path / "m.gap")
    expected = on(alloy(4), gap).get_potential_energy()
    for path in (tmp_path / "m.gap", str(tmp_path / "m.gap")):
        assert on(alloy(4), path).get_potential_energy() == expected
    with pytest.raises(InputError, match="there is no model file"):
        GAPCalculator(tmp_path / "other.gap")


def test_unknown_species_and_bad_geometry_are_refused(gap):
    with pytest.raises(InputError, match="the structure H2O holds H, O"):
        on(molecule("H2O"), gap).get_potential_energy()
    atoms = on(alloy(0), gap)
    atoms.get_forces()
    atoms.positions[0, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        atoms.get_forces()


# -- caching --------------------------------------------------------------------------------------------------------


def test_one_evaluation_serves_every_property(gap, counted):
    atoms = on(alloy(0), gap)
    atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(), atoms.get_potential_energies()
    assert len(counted) == 1
    atoms.get_forces()[:] = 7.0
    assert not np.any(atoms.get_forces() == 7.0)
    assert len(counted) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.positions.__iadd__([[0.01, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]),
        lambda a: a.set_cell(a.cell.array * 1.01),
        lambda a: a.set_cell(a.cell.array * 1.01, scale_atoms=True),
        lambda a: a.symbols.__setitem__(1, "Au"),
        lambda a: a.set_pbc([True, True, False]),
    ],
    ids=["positions", "cell", "cell and positions", "species", "pbc"],
)
def test_any_change_is_computed_anew(gap, counted, change):
    atoms = on(alloy(0), gap)
    before = atoms.get_potential_energy(), atoms.get_stress()
    change(atoms)
    after = atoms.get_potential_energy(), atoms.get_stress()
    assert len(counted) == 2
    assert before[0] != after[0]
    assert not np.allclose(before[1], after[1])
    fresh = on(atoms, gap)
    assert fresh.get_potential_energy() == after[0]
    np.testing.assert_array_equal(fresh.get_stress(), after[1])


def test_nothing_is_left_of_a_structure_that_failed(gap):
    atoms = on(alloy(0), gap)
    atoms.get_forces()
    atoms.symbols[0] = "Ni"
    with pytest.raises(InputError, match="Ni"):
        atoms.get_potential_energy()
    with pytest.raises(InputError, match="Ni"):
        atoms.get_potential_energy()


# -- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize(("suffix", "digits"), [("traj", 0.0), ("extxyz", 1e-8)])
def test_results_survive_files(gap, tmp_path, name, suffix, digits):
    atoms = on(GEOMETRIES[name], gap)
    atoms.info.clear()  # ase.build keeps a dictionary there that extended XYZ cannot hold
    atoms.get_potential_energy()
    write(tmp_path / f"a.{suffix}", atoms)
    back = read(tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(back.get_potential_energy(), atoms.get_potential_energy(), rtol=1e-14)
    np.testing.assert_allclose(back.get_forces(), atoms.get_forces(), rtol=0, atol=digits)
    np.testing.assert_allclose(back.get_potential_energies(), atoms.get_potential_energies(), rtol=0, atol=digits)
    assert ("stress" in back.calc.results) == (name in WITH_STRESS)
    if name in WITH_STRESS:
        np.testing.assert_allclose(back.get_stress(), atoms.get_stress(), rtol=0, atol=digits)


@pytest.mark.parametrize("suffix", ["extxyz", "traj", "json", "db", "xyz", "cif", "vasp"])
@pytest.mark.parametrize("into", ["arrays", "info"])
def test_ase_writes_what_has_standard_deviations(gap, tmp_path, suffix, into):
    atoms = on(alloy(1), gap, per_atom_std=True)
    energy = atoms.get_potential_energy()
    atoms.calc.write_std(atoms, "all", into)
    assert atoms.get_potential_energy() == energy
    write(tmp_path / f"a.{suffix}", atoms)
    back = read(tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(back.cell.volume, atoms.cell.volume, rtol=1e-5)
    if suffix not in ("cif", "vasp"):
        np.testing.assert_allclose(back.get_forces(), atoms.get_forces(), atol=1e-7)


@pytest.mark.parametrize(("suffix", "into", "digits"), [("extxyz", "arrays", 1e-7), ("traj", "info", 0.0)])
def test_each_frame_of_a_trajectory_has_its_own_standard_deviations(gap, tmp_path, suffix, into, digits):
    """Text files hold positions with eight digits; a list with a skin adds pairs in another order."""
    rounded = predictor(gap).round_off
    atoms = on(alloy(3), gap)
    heat(atoms, 300)
    dynamics = VelocityVerlet(atoms, 2 * units.fs)
    dynamics.attach(atoms.calc.write_std, 2, atoms, "all", into)
    with Trajectory(tmp_path / "a.traj", "w", atoms) as trajectory:
        text = partial(write, tmp_path / "a.extxyz", atoms, append=True)
        dynamics.attach(trajectory if suffix == "traj" else text, 2)
        dynamics.run(4)
    frames = read(tmp_path / f"a.{suffix}", ":")
    assert len(frames) == 3
    for frame in frames:
        found, there = gap.predict(frame, "all"), getattr(frame, into)
        np.testing.assert_allclose(there["local_energies_std"], found.local_energies_std[0], rtol=1e-5, atol=digits)
        np.testing.assert_allclose(there["forces_std"], found.forces_std[0], rtol=1e-5, atol=digits)
        np.testing.assert_allclose(frame.info["energy_std"], found.energy_std[0], rtol=1e-5)
        np.testing.assert_allclose(frame.info["stress_std"], found.stress_std[0][VOIGT], rtol=1e-5)
        np.testing.assert_allclose(frame.get_potential_energy(), found.energy[0], rtol=0, atol=digits + rounded)
    assert frames[0].info["energy_std"] != frames[2].info["energy_std"]


def test_standard_deviations_of_fewer_kinds_and_of_no_cell(gap):
    atoms = on(alloy(3), gap)
    atoms.calc.write_std(atoms)
    assert "local_energies_std" in atoms.arrays
    assert not {"energy_std", "stress_std", "local_energies_std"} & set(atoms.info)
    atoms.calc.write_std(atoms, "all")
    atoms.pbc = False
    atoms.calc.write_std(atoms, "all")
    assert "stress_std" not in atoms.info  # that of the crystal is gone
    assert atoms.info["energy_std"] == gap.predict(atoms, True).energy_std[0]
    with pytest.raises(InputError, match="cannot go into 'results'"):
        atoms.calc.write_std(atoms, into="results")


def test_standard_deviations_in_a_file_are_no_labels(gap, tmp_path):
    """Frames with them, labelled later, are read without ambiguity."""
    atoms = on(alloy(3), gap)
    atoms.calc.write_std(atoms, "all")
    atoms.calc = labelled(alloy(3)).calc
    write(tmp_path / "a.extxyz", atoms)
    labels = read_labels(back := read(tmp_path / "a.extxyz"), find_label_keys([back]))
    np.testing.assert_allclose(labels.forces, atoms.get_forces(), atol=1e-7)
    assert labels.energy == pytest.approx(atoms.get_potential_energy())
    atoms.calc = None
    assert find_label_keys([atoms]) == find_label_keys([alloy(3)])


def test_a_trajectory_file_trains_the_next_potential(gap, frames, tmp_path):
    """What the calculator writes is what `fit` reads: the same sparse points and exact labels give one model."""
    written = [on(atoms, gap) for atoms in frames]
    for atoms in written:
        atoms.get_forces()
    write(tmp_path / "a.traj", written)
    student = GAP(gap.terms, 1e-4, 1e-4, 1e-4, e0=gap.e0_, verbose=False).fit(read(tmp_path / "a.traj", ":"))
    ours, theirs = student.predict(alloy(19)), gap.predict(alloy(19))
    np.testing.assert_allclose(ours.energy, theirs.energy, atol=1e-4)
    np.testing.assert_allclose(ours.forces[0], theirs.forces[0], atol=1e-3)
    np.testing.assert_allclose(ours.stress[0], theirs.stress[0], atol=1e-5)


# -- simulations ----------------------------------------------------------------------------------------------------


def test_relaxation_lowers_energy_forces_and_stress(gap, relaxed):
    start, end = on(alloy(3, rattle=0.05), gap), on(relaxed, gap)
    assert end.get_potential_energy() < start.get_potential_energy() - 0.05
    assert np.abs(end.get_forces()).max() < 0.01
    assert np.abs(end.get_stress()).max() < 0.01 * np.abs(start.get_stress()).max()


def heat(atoms: Atoms, temperature: float) -> None:
    width = np.sqrt(atoms.get_masses() * units.kB * temperature)[:, None]
    momenta = np.random.default_rng(1).normal(size=(len(atoms), 3)) * width
    atoms.set_momenta(momenta - momenta.mean(axis=0))


def energy_fluctuation(gap, relaxed: Atoms, dt: float, time: float = 50.0) -> tuple[float, float]:
    """Range of the total and of the kinetic energy, eV, in `time` fs of NVE dynamics with time step `dt` fs."""
    atoms = on(relaxed, gap)
    heat(atoms, 300)
    total, kinetic = [atoms.get_total_energy()], [atoms.get_kinetic_energy()]
    with VelocityVerlet(atoms, dt * units.fs) as dynamics:
        for _ in range(round(time / dt)):
            dynamics.run(1)
            total.append(atoms.get_total_energy())
            kinetic.append(atoms.get_kinetic_energy())
    return float(np.ptp(total)), float(np.ptp(kinetic))


def test_dynamics_conserve_energy_to_second_order_in_the_time_step(gap, relaxed):
    """Velocity Verlet has the error c dt², and nothing else, if the forces are the gradient of a smooth energy.

    From dt and dt/2 follow c and the error's remainder at dt → 0, (4 E(dt/2) - E(dt)) / 3, which must vanish.
    """
    (full, exchanged), (half, _) = (energy_fluctuation(gap, relaxed, dt) for dt in (1.0, 0.5))
    assert exchanged > 0.02
    assert 3.7 < full / half < 4.3
    assert abs(4 * half - full) / 3 < 0.03 * full
    assert full < 1e-3 * exchanged


def test_pressure_bath_squeezes_and_stretches(gap, relaxed):
    """NPT: the cell shrinks under pressure and grows under tension, so the sign of the stress is ASE's."""
    volumes = {}
    for pressure in (5.0, -5.0):
        atoms = on(relaxed, gap)
        heat(atoms, 20)
        bath = {"taup": 100 * units.fs, "compressibility_au": 0.005 / units.GPa, "temperature_K": 20}
        with NPTBerendsen(atoms, 1 * units.fs, pressure_au=pressure * units.GPa, **bath) as dynamics:
            dynamics.run(20)
        volumes[pressure] = atoms.get_volume()
        assert np.all(np.isfinite(atoms.get_forces()))
    assert volumes[5.0] < 0.998 * relaxed.get_volume()
    assert volumes[-5.0] > 1.002 * relaxed.get_volume()


def test_vibrations_of_a_cluster(gap, tmp_path):
    """Moving all atoms together costs nothing: three zero modes, even where forces are not zero."""
    atoms = on(GEOMETRIES["cluster"], gap)
    vibrations = Vibrations(atoms, name=str(tmp_path / "vib"), delta=0.005, nfree=4)
    vibrations.run()
    data = vibrations.get_vibrations()
    hessian = data.get_hessian_2d()
    translations = np.tile(np.eye(3), (3, 1)) / np.sqrt(3)
    assert np.abs(hessian @ translations).max() < 1e-6 * np.abs(hessian).max()
    energies = np.sort(np.abs(data.get_energies()))  # eV; imaginary for directions that fall
    assert energies[2] < 1e-5
    assert energies[3] > 1e-3
    assert len(energies) == 9


# -- steps ----------------------------------------------------------------------------------------------------------


def test_dynamics_with_a_skin_is_dynamics_without(gap):
    """Same trajectory whatever the skin, and far fewer searches with one."""
    ends = []
    for skin in (0.0, 1.0):
        atoms = on(alloy(5).repeat((2, 1, 1)), gap, skin=skin)
        atoms.set_momenta(np.random.default_rng(0).normal(0, 1.0, (len(atoms), 3)))
        VelocityVerlet(atoms, 2 * units.fs).run(20)
        ends.append(atoms.positions)
        searches = [lst.n_searches for lst in atoms.calc._lists.values()]
        assert set(searches) == ({21} if skin == 0 else {1})
    np.testing.assert_allclose(*ends, atol=1e-9)


def test_per_atom_std_on_request(gap):
    atoms = on(alloy(2), gap, per_atom_std=True)
    atoms.get_forces()
    np.testing.assert_allclose(atoms.calc.local_energies_std, atoms.calc.uncertainty().local_energies_std, rtol=1e-7)
    assert set(atoms.calc.results) == set(atoms.calc.implemented_properties)
    plain = on(alloy(2), gap)
    plain.get_forces()
    assert plain.calc.local_energies_std is None


@pytest.mark.parametrize("change", ["positions", "numbers", "cell", "pbc"])
def test_every_change_that_matters_is_noticed(gap, change):
    atoms = on(alloy(2), gap)
    before = atoms.get_potential_energy()
    if change == "positions":
        atoms.positions[0, 0] += 1e-3
    elif change == "numbers":
        atoms.numbers[0], atoms.numbers[1] = atoms.numbers[1], atoms.numbers[0]
    elif change == "cell":
        atoms.set_cell(1.01 * atoms.cell)
    else:
        atoms.pbc = (True, True, False)
    assert atoms.calc.check_state(atoms) == [change]
    assert atoms.get_potential_energy() != before
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    np.testing.assert_allclose(atoms.get_potential_energy(), gap.predict(bare).energy[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("skin", [-1.0, np.nan, np.inf])
def test_impossible_skin_is_refused(gap, skin):
    with pytest.raises(InputError, match="Å must be a number that is not negative"):
        GAPCalculator(gap, skin=skin)


def test_refused_structure_leaves_no_old_results(gap):
    atoms = on(alloy(0), gap)
    atoms.get_forces()
    bad = alloy(0)
    bad.positions[0] = bad.positions[1]
    for _ in range(2):
        with pytest.raises(InputError, match="closer than"):
            atoms.calc.calculate(bad, ["energy"])
        with pytest.raises(InputError, match="closer than"):
            atoms.calc.get_potential_energy(bad)
    np.testing.assert_allclose(atoms.get_forces(), gap.predict(alloy(0)).forces[0], rtol=0, atol=1e-9)


def test_neighbour_lists_belong_to_one_structure(gap):
    lists = GAPCalculator(gap)._lists
    with pytest.raises(InputError, match="neighbour_lists belong to one structure, not to 2"):
        gap.predict([alloy(0), alloy(1)], neighbour_lists=lists)
    partly = dict(list(lists.items())[:1])  # other cutoffs need a new search
    np.testing.assert_allclose(
        gap.predict(alloy(0), neighbour_lists=partly).energy, gap.predict(alloy(0)).energy, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"per_atoms_std": True}, "GAPCalculator has no parameter 'per_atoms_std' .did you mean 'per_atom_std'"),
        ({"skinn": 0.5, "label": "a"}, "GAPCalculator has no parameter 'skinn' .did you mean 'skin'"),
        ({"xc": "PBE"}, "GAPCalculator has no parameter 'xc' .known: "),
    ],
)
def test_parameters_that_there_are_not_are_refused(gap, wrong, match):
    with pytest.raises(InputError, match=match):
        GAPCalculator(gap, **wrong)


def test_parameters_of_all_calculators_are_taken(gap, tmp_path):
    calculator = GAPCalculator(gap, label="run", directory=tmp_path)
    assert calculator.label.endswith("run")
