"""LAMMPS itself, in this process: both engines must do what an ordinary pair style does."""

from __future__ import annotations

import os

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet
from example_structures import alloy, labelled

from gapkit import GAP, SOAP, DotProduct, Ewald, GAPCalculator, InputError, Term
from gapkit.datasets import load_silicon
from gapkit.interfaces.lammps.session import QUIET, Session
from gapkit.interfaces.lammps.structures_in_lammps import build, lammps_cell
from gapkit.runtime.threads import get_num_threads, threads

ENGINES = ["plugin", "external"]
pytestmark = pytest.mark.filterwarnings("ignore::gapkit.errors.ExtrapolationWarning")


@pytest.fixture(params=ENGINES)
def session(request):
    with Session(QUIET, request.param) as session:
        yield session


@pytest.fixture(scope="module")
def crystal() -> Atoms:
    """CuAu, 32 atoms, off its minimum."""
    atoms = alloy(3, rattle=0.0, strain=0.0).repeat(2)
    atoms.rattle(0.05, seed=5)
    return atoms


def forces(session: Session, atoms: Atoms) -> np.ndarray:
    return np.array(session.lmp.gather_atoms("f", 1, 3)).reshape(len(atoms), 3)


def state(session: Session) -> tuple[float, np.ndarray]:
    return session.lmp.get_thermo("pe"), np.array(session.lmp.gather_atoms("x", 1, 3))


@pytest.fixture(scope="module")
def silicon_gap() -> GAP:
    """Good enough for dynamics."""
    term = Term(SOAP(["Si"], 4.5, 4, 3), DotProduct(2, 3.0), n_sparse=60)
    return GAP([term], verbose=False).fit([a for a in load_silicon("train") if "md" in a.info["config_type"]])


@pytest.fixture(scope="module")
def silicon_file(silicon_gap, tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "si.gap"
    silicon_gap.save(file)
    return file


@pytest.fixture(scope="module")
def silicon() -> Atoms:
    """64 atoms, off the minimum, in a sheared cell."""
    atoms = bulk("Si", cubic=True, a=5.47).repeat(2)
    atoms.set_cell(atoms.cell.array @ [[1, 0, 0], [0.02, 1, 0], [0, 0, 1]], scale_atoms=True)
    atoms.rattle(0.05, seed=5)
    return atoms


# -- dynamics ------------------------------------------------------------------------------------------------------


def test_nve_conserves_energy_as_ase_does(session, silicon, silicon_gap, silicon_file):
    """The same start, step and length: the drift and the ripple of the total energy are those of ASE."""
    velocities = np.random.default_rng(1).normal(0, 0.002, (len(silicon), 3))  # Å/fs
    build(session, silicon, f"gapkit {silicon_file}")
    session.lmp.scatter_atoms("v", 1, 3, np.ctypeslib.as_ctypes((1e3 * velocities).ravel()))
    session.commands("fix 1 all nve\ntimestep 0.002\nthermo_modify norm no")
    ours = []
    for _ in range(20):
        session.command("run 5")
        ours.append(session.lmp.get_thermo("etotal"))
    work = silicon.copy()
    work.calc = GAPCalculator(silicon_gap)
    work.set_velocities(velocities / units.fs)
    dynamics, theirs = VelocityVerlet(work, 2 * units.fs), []
    for _ in range(20):
        dynamics.run(5)
        theirs.append(work.get_total_energy())
    kinetic = work.get_kinetic_energy()
    assert kinetic > 0.5
    ripple = np.ptp(theirs)
    assert ripple < 0.02 * kinetic
    np.testing.assert_allclose(np.array(ours) - ours[0], np.array(theirs) - theirs[0], atol=0.02 * ripple)


def test_npt_conserves_its_energy(session, silicon, silicon_file):
    """Stress and box move together, or `econserve` drifts by the work that is missing."""
    build(session, silicon, f"gapkit {silicon_file}")
    session.commands(
        "velocity all create 300 1\ntimestep 0.001\nfix 1 all npt temp 300 300 0.1 tri 0 0 1\n"
        "thermo_style custom step pe econserve vol xy\nthermo_modify norm no\nrun 0"
    )
    start, volume = session.lmp.get_thermo("econserve"), session.lmp.get_thermo("vol")
    session.command("run 100")
    assert abs(session.lmp.get_thermo("vol") / volume - 1) > 1e-3
    assert abs(session.lmp.get_thermo("econserve") - start) < 2e-3


def test_minimize_finds_zero_forces(session, silicon, silicon_gap, silicon_file):
    build(session, silicon, f"gapkit {silicon_file}")
    session.command("minimize 0 1e-5 200 1000")
    assert np.abs(forces(session, silicon)).max() < 1e-3
    energy, x = state(session)
    there = silicon.copy()
    there.positions = x.reshape(-1, 3) @ lammps_cell(silicon).rotation.T
    np.testing.assert_allclose(silicon_gap.predict(there).energy[0], energy, atol=1e-8)


def test_restart_goes_on_to_the_same_numbers(session, crystal, model_file, tmp_path):
    build(session, crystal, f"gapkit {model_file}")
    session.commands(f"velocity all create 300 1\nfix 1 all nve\nrun 10\nwrite_restart {tmp_path}/r\nrun 10")
    energy, x = state(session)
    session.commands(
        f"clear\nbox tilt large\natom_modify map array\nread_restart {tmp_path}/r\n"
        f"pair_style gapkit {model_file}\npair_coeff * * Au Cu\nfix 1 all nve\nrun 10"
    )
    np.testing.assert_allclose(state(session)[0], energy, atol=1e-9)
    np.testing.assert_allclose(state(session)[1], x, atol=1e-9)


def test_atoms_leave_and_enter(session, gap, model_file):
    """Deleted and added atoms, and a change of type: each state has the numbers of `predict`."""
    atoms = bulk("Cu", cubic=True, a=3.8).repeat(2)
    build(session, atoms, f"gapkit {model_file}", "Cu")
    session.commands("group few id 1:5\ndelete_atoms group few compress yes\nrun 0")
    session.command("create_atoms 1 single 0.1 0.2 0.1 units box")
    session.command("run 0")
    n, x = session.lmp.get_natoms(), np.array(session.lmp.gather_atoms("x", 1, 3)).reshape(-1, 3)
    now = Atoms(f"Cu{n}", x, cell=atoms.cell, pbc=True)
    np.testing.assert_allclose(session.lmp.get_thermo("pe"), gap.predict(now).energy[0], atol=1e-8)


def test_clear_and_another_model(session, crystal, gap, model_file):
    for _ in range(2):
        build(session, crystal, f"gapkit {model_file}")
        session.command("run 0")
        np.testing.assert_allclose(session.lmp.get_thermo("pe"), gap.predict(crystal).energy[0], atol=1e-8)


# -- standard deviations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", [0, 1])
def test_std_is_a_per_atom_quantity(session, crystal, gap, model_file, flag, tmp_path):
    """For dump, compute reduce and fix halt; every second step, and the steps between have the old one."""
    build(session, crystal, f"gapkit {model_file}")
    session.commands(
        f"fix s all pair 2 gapkit std {flag}\ncompute m all reduce max f_s\nvariable m equal c_m\nfix 1 all nve\n"
        f"velocity all create 600 3\ndump d all custom 2 {tmp_path}/d id f_s\n"
        f"dump_modify d sort id format float %.12g\n"
        "thermo_style custom step pe c_m\nthermo 2\nrun 4"
    )
    _, x = state(session)
    there = crystal.copy()
    there.positions = x.reshape(-1, 3) @ lammps_cell(crystal).rotation.T
    expected = gap.predict(there, return_std="local").local_energies_std[0]
    np.testing.assert_allclose(session.lmp.gather("f_s", 1, 1), expected, rtol=1e-7)
    session.command("undump d")
    last = np.loadtxt((tmp_path / "d").read_text(encoding="utf-8").splitlines()[-len(crystal) :])[:, 1]
    np.testing.assert_allclose(last, expected, rtol=1e-7)
    np.testing.assert_allclose(session.lmp.extract_compute("m", 0, 0), expected.max(), rtol=1e-7)


def test_halt_where_the_model_does_not_know(session, crystal, gap, model_file):
    limit = float(gap.predict(crystal, return_std="local").local_energies_std[0].max()) * 1.05
    build(session, crystal, f"gapkit {model_file}")
    session.commands(
        "fix s all pair 1 gapkit std 1\ncompute m all reduce max f_s\nvariable m equal c_m\nfix 1 all nve\n"
        f"velocity all create 4000 3\nthermo_style custom step pe c_m\nthermo 1\nfix h all halt 1 v_m > {limit!r} "
        "error continue\nrun 200"
    )
    assert 0 < session.lmp.extract_global("ntimestep") < 200
    assert session.lmp.extract_compute("m", 0, 0) > limit


# -- together with other styles ---------------------------------------------------------------------------------------


def test_hybrid_overlay_adds(session, crystal, gap, model_file):
    build(session, crystal, f"gapkit {model_file}")
    session.commands("pair_style zbl 2.5 3.5\npair_coeff 1 1 79 79\npair_coeff 2 2 29 29\npair_coeff 1 2 79 29\nrun 0")
    zbl, of_zbl = session.lmp.get_thermo("pe"), forces(session, crystal)
    session.commands(
        f"pair_style hybrid/overlay gapkit {model_file} zbl 2.5 3.5\npair_coeff * * gapkit Au Cu\n"
        "pair_coeff 1 1 zbl 79 79\npair_coeff 2 2 zbl 29 29\npair_coeff 1 2 zbl 79 29\nrun 0"
    )
    p = gap.predict(crystal)
    np.testing.assert_allclose(session.lmp.get_thermo("pe"), p.energy[0] + zbl, atol=1e-8)
    turned = p.forces[0] @ lammps_cell(crystal).rotation
    np.testing.assert_allclose(forces(session, crystal), turned + of_zbl, atol=1e-8)
    assert abs(zbl) > 0.1


def test_null_types_are_not_seen(session, crystal, gap, model_file):
    build(session, crystal, f"hybrid/overlay gapkit {model_file} lj/cut 4.0", "gapkit NULL Cu")
    session.commands("pair_coeff * * lj/cut 0.0 1.0\nrun 0")
    copper = crystal.symbols == "Cu"
    p = gap.predict(crystal[copper])
    np.testing.assert_allclose(session.lmp.get_thermo("pe"), p.energy[0], atol=1e-8)
    found = forces(session, crystal)
    np.testing.assert_allclose(found[copper], p.forces[0] @ lammps_cell(crystal).rotation, atol=1e-8)
    assert not found[~copper].any()


def test_hybrid_has_its_types_alone(crystal, gap, model_file):
    """Under plain hybrid LAMMPS gives gapkit the pairs of its own types only."""
    with Session(QUIET, "plugin") as session:
        build(session, crystal, f"hybrid gapkit {model_file} lj/cut 4.0", "gapkit NULL Cu")
        session.commands("pair_coeff 1 * lj/cut 0.0 1.0\nrun 0")
        copper = crystal.symbols == "Cu"
        p = gap.predict(crystal[copper])
        np.testing.assert_allclose(session.lmp.get_thermo("pe"), p.energy[0], atol=1e-8)
        turned = p.forces[0] @ lammps_cell(crystal).rotation
        np.testing.assert_allclose(forces(session, crystal)[copper], turned, atol=1e-8)


def test_ewald_by_lammps(session, crystal, tmp_path):
    """The commands that the refusal of this baseline names give its numbers."""
    ewald = Ewald({"Cu": 0.5, "Au": -0.5})
    term = Term(SOAP(["Cu", "Au"], 3.4, 3, 2), DotProduct(2, 1.0), n_sparse=8)
    gap = GAP([term], baseline=[ewald], e0={"Cu": 0.0, "Au": 0.0}, verbose=False)
    gap.fit([labelled(alloy(k)) for k in range(4)]).save(tmp_path / "m.gap")
    p, cell = gap.predict(crystal), lammps_cell(crystal)
    style = f"hybrid/overlay gapkit {tmp_path}/m.gap without Ewald coul/long 10.0"
    build(session, crystal, style, "gapkit Au Cu", style_of_atoms="charge")
    session.commands(
        "set type 1 charge -0.5\nset type 2 charge 0.5\npair_coeff * * coul/long\nkspace_style ewald 1e-8\nrun 0"
    )
    np.testing.assert_allclose(session.lmp.get_thermo("pe"), p.energy[0], atol=1e-6 * len(crystal))
    np.testing.assert_allclose(forces(session, crystal), p.forces[0] @ cell.rotation, atol=1e-5)
    assert np.abs(ewald.evaluate(crystal).forces).max() > 1e-2


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("commands", "match"),
    [
        ("pair_style gapkit nowhere.gap", "no model file '.*nowhere.gap'"),
        ("pair_style gapkit", "pair_style gapkit needs a model file"),
        ("pair_style gapkit MODEL\npair_coeff * * Au", "one chemical symbol"),
        ("pair_style gapkit MODEL\npair_coeff * * Au Ag", "species 'Ag', but the model was trained on Cu, Au"),
        ("pair_style gapkit MODEL without D3", "no baseline 'D3'"),
        ("pair_style gapkit MODEL\npair_coeff 1 1 Au Cu", "one chemical symbol|must start with"),
        (
            "pair_style nonsense",
            r"^LAMMPS: Unrecognized pair style 'nonsense'.* \(in the line 'pair_style nonsense'\)\.$",
        ),
        ("clear\nunits lj\nregion b block 0 1 0 1 0 1\ncreate_box 1 b\npair_style gapkit MODEL", "units metal"),
    ],
)
def test_bad_commands_are_refused_in_a_sentence(session, crystal, model_file, commands, match):
    build(session, crystal, f"gapkit {model_file}")
    with pytest.raises(InputError, match=match) as error:
        session.commands(commands.replace("MODEL", str(model_file)))
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)
    assert "cpp" not in str(error.value)


def test_atoms_on_top_of_each_other_end_the_run_and_not_the_next(session, crystal, gap, model_file):
    atoms = crystal.copy()
    atoms.positions[3] = atoms.positions[7] + [0.01, 0, 0]
    build(session, atoms, f"gapkit {model_file}")
    with pytest.raises(InputError, match=r"ids (4 and 8|8 and 4) are 0.01 Å apart"):
        session.command("run 10")
    session.commands("group one id 4\ndelete_atoms group one\nrun 10")
    assert session.lmp.extract_global("ntimestep") >= 10
    now = atoms[[k for k in range(len(atoms)) if k != 3]]
    np.testing.assert_allclose(session.lmp.get_thermo("pe"), gap.predict(now).energy[0], atol=1e-8)


def test_newton_off_is_refused(model_file):
    with Session(QUIET, "plugin") as session, pytest.raises(InputError, match="newton on"):
        session.commands(
            "units metal\nnewton off\nregion b block 0 9 0 9 0 9\ncreate_box 1 b\nmass 1 63.5\n"
            f"create_atoms 1 single 1 1 1\npair_style gapkit {model_file}\npair_coeff * * Cu\nrun 0"
        )


def test_interrupt_passes_through(session, crystal, model_file, monkeypatch):
    from gapkit.interfaces.lammps.local_model import LocalModel

    build(session, crystal, f"gapkit {model_file}")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalModel, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.command("run 5")


@pytest.mark.parametrize(
    ("command", "match"),
    [
        ("fix d all numdiff 1 1e-4", "numdiff does not see"),
        ("compute b all born/matrix numdiff 1e-4 v", "born/matrix does not see"),
        ("compute c all centroid/stress/atom NULL", "centroid/stress/atom does not see"),
        ("compute s all stress/atom NULL pair", "misses them under 'pair': say 'fix'"),
        ("if '1 > 0' then 'pair_style gapkit m.gap'", "does not see commands within 'if'"),
    ],
)
def test_external_refuses_what_would_be_wrong_without_a_word(command, match):
    with Session(QUIET, "external") as session, pytest.raises(InputError, match=match):
        session.command(command)


def test_plugin_takes_numerical_derivatives(crystal, model_file):
    """What `fix numdiff` finds of LAMMPS's own energies, and elastic constants of the same origin."""
    with Session(QUIET, "plugin") as session:
        build(session, crystal[:8], f"gapkit {model_file}")
        session.commands(
            "compute v all pressure NULL virial\ncompute b all born/matrix numdiff 1e-5 v\nfix d all numdiff 1 1e-4\n"
            "thermo_style custom step pe c_b[1]\nrun 0"
        )
        numerical = np.array(session.lmp.gather("f_d", 1, 3)).reshape(-1, 3)
        np.testing.assert_allclose(numerical, forces(session, crystal[:8]), atol=1e-4)
        assert session.lmp.extract_compute("b", 0, 1)[0] != 0


def test_excluded_bonded_neighbours_are_refused(crystal, model_file):
    """Special bonds of weight 0 vanish from the list; of weight 1 they stay."""
    with Session(QUIET, "plugin") as session:
        build(session, crystal, f"gapkit {model_file}", style_of_atoms="bond")
        with pytest.raises(InputError, match=r"put 'special_bonds lj/coul 1.0 1.0 1.0'"):
            session.command("run 0")
        session.commands("special_bonds lj/coul 1.0 1.0 1.0\nrun 0")


def test_external_refuses_jumps():
    with Session(QUIET, "external") as session, pytest.raises(InputError, match="cannot follow 'jump'"):
        session.command("jump SELF top")


def test_external_refuses_partitions():
    with pytest.raises(InputError, match="no partitions: use the engine plugin"):
        Session((*QUIET, "-partition", "1x1"), "external")


def test_threads_are_given_back(crystal, model_file):
    before = get_num_threads()
    with threads(64), Session(QUIET) as session:
        assert session.n_threads <= len(os.sched_getaffinity(0))
        assert get_num_threads() == 64
        build(session, crystal, f"gapkit {model_file}")
        session.command("run 1")
    assert get_num_threads() == before


def test_unknown_engine():
    with pytest.raises(InputError, match="did you mean 'plugin'"):
        Session(engine="plugins")


def test_plugin_that_lammps_does_not_take(tmp_path):
    """As one compiled for another C++ library: auto goes on without it, plugin says so."""
    (tmp_path / "gapkitplugin.so").write_bytes(b"no library")
    with Session(QUIET, plugin=tmp_path / "gapkitplugin.so") as session:
        assert session.engine == "external"
    with pytest.raises(InputError, match=r"did not take the plugin .*: use the engine external"):
        Session(QUIET, "plugin", plugin=tmp_path / "gapkitplugin.so")


def test_auto_falls_back_without_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("GAPKIT_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with Session(QUIET) as session:
        assert session.engine == "external"
        assert "5 % slower at 10 000 atoms" in session.in_words
    with pytest.raises(InputError, match=r"no C\+\+ compiler"):
        Session(QUIET, "plugin")
