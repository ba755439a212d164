"""Make the shipped silicon data set: geometries here, labels by GPAW (PBE, plane waves).

    pip install gpaw gpaw-data matscipy        # needs libxc-dev and a BLAS (Debian packages)
    python generate_silicon.py geometries      # writes work/geometries.xyz, minutes, seeded
    python generate_silicon.py label           # frame by frame; start it twice for two cores, stop and restart at will
    python generate_silicon.py converge        # energy, forces and stress against cutoff and k-points
    python generate_silicon.py meshes          # perfect crystals, a vacancy and a liquid frame with finer k-points
    python generate_silicon.py check           # forces and stress against finite differences of GPAW's energy
    python generate_silicon.py assemble        # writes silicon_train.xyz and silicon_test.xyz from what is labelled

Every frame is one file in ``work/``; a lock file marks the frame a process is busy with (remove stale
ones after a crash). Molecular-dynamics geometries come from the Stillinger-Weber potential (matscipy):
labels are equally valid wherever geometries come from. Training and test frames of one family never share
a trajectory.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk, diamond100, diamond111
from ase.dft.kpoints import monkhorst_pack
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

WORK = Path(os.environ.get("GAPKIT_SILICON_WORK", "work"))
LATTICE_CONSTANT = 5.469  # Å, PBE diamond silicon
PLANE_WAVE_CUTOFF = 300.0  # eV
K_POINT_LENGTH = 21.9  # Å: n_k = round(length / |a|) along each periodic lattice vector
FAMILY_MESH = {"beta_tin": (5, 5, 4), "surface_111": (6, 6, 1)}  # here strain would change the rounding, and the energy
SMEARING = 0.1  # eV, Fermi-Dirac


def strained(atoms: Atoms, strain: float, rattle: float, rng: np.random.Generator) -> Atoms:
    """A copy with a random symmetric strain up to ±`strain` and Gaussian displacements of width `rattle` (Å)."""
    atoms = atoms.copy()
    e = rng.uniform(-strain, strain, (3, 3))
    periodic = np.where(np.outer(atoms.pbc, atoms.pbc), 0.5 * (e + e.T), 0.0)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + periodic), scale_atoms=True)
    atoms.positions += rng.normal(0.0, rattle, atoms.positions.shape)
    return atoms


def snapshots(atoms: Atoms, temperature: float, n: int, seed: int, melt: float = 0.0) -> list[Atoms]:
    """`n` frames, 0.5 ps apart, of a Stillinger-Weber trajectory at `temperature` (K), optionally molten first."""
    from matscipy.calculators.manybody import Manybody
    from matscipy.calculators.manybody.explicit_forms.stillinger_weber import (
        Stillinger_Weber_PRB_31_5262_Si,
        StillingerWeber,
    )

    rng = np.random.RandomState(seed)
    atoms = atoms.copy()
    atoms.calc = Manybody(**StillingerWeber(Stillinger_Weber_PRB_31_5262_Si))
    start = melt or temperature
    MaxwellBoltzmannDistribution(atoms, temperature_K=start, rng=rng)
    md = Langevin(atoms, 1.0 * units.fs, temperature_K=start, friction=0.02 / units.fs, rng=rng)
    md.run(3000)
    md.set_temperature(temperature_K=temperature)
    md.run(1500)
    frames = []
    for _ in range(n):
        md.run(500)
        frames.append(Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=atoms.pbc))
    return frames


def diamond(n_atoms: int, scale: float = 1.0) -> Atoms:
    """Diamond silicon in its cubic cell (8 atoms), 2×2×2 primitive cells (16) or 2×2×1 cubic cells (32)."""
    if n_atoms == 16:
        return bulk("Si", "diamond", a=LATTICE_CONSTANT * scale).repeat(2)
    cubic = bulk("Si", "diamond", a=LATTICE_CONSTANT * scale, cubic=True)
    return cubic.repeat((2, 2, 1)) if n_atoms == 32 else cubic


def vacancy(n_atoms: int) -> Atoms:
    """Diamond with one atom of `n_atoms` taken out."""
    atoms = diamond(n_atoms)
    del atoms[0]
    return atoms


def beta_tin() -> Atoms:
    """β-tin silicon, two conventional cells, 8 atoms (a = 4.81 Å, c = 2.65 Å)."""
    a, c = 4.81, 2.65
    scaled = [[0, 0, 0], [0.5, 0, 0.25], [0.5, 0.5, 0.5], [0, 0.5, 0.75]]
    return Atoms("Si4", scaled_positions=scaled, cell=[a, a, c], pbc=True).repeat((1, 1, 2))


def slab(face: str) -> Atoms:
    """A (111) 1×1 or (100) 2×1 slab of eight layers with 10 Å of vacuum."""
    build, size = (diamond111, (1, 1, 8)) if face == "111" else (diamond100, (2, 1, 8))
    atoms = build("Si", size, a=LATTICE_CONSTANT, vacuum=5.0)
    atoms.pbc = True
    return atoms


def dimerised(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Pull the top-layer atoms of a (100) 2×1 slab together by a random amount, towards the reconstruction."""
    atoms = atoms.copy()
    top = np.argsort(atoms.positions[:, 2])[-2:]
    pull = rng.uniform(0.0, 0.75) * np.sign(atoms.positions[top[1], 0] - atoms.positions[top[0], 0])
    atoms.positions[top[0], 0] += pull
    atoms.positions[top[1], 0] -= pull
    return atoms


def static_frames(split: str, rng: np.random.Generator) -> Iterator[tuple[str, Atoms]]:
    """Strained, rattled, defective and cut crystals."""
    n = {"train": 1.0, "test": 0.4}[split]
    volumes = np.linspace(0.94, 1.06, 9) if split == "train" else np.array([0.9475, 0.9775, 1.0075, 1.0375])
    for scale in volumes:
        yield "diamond_volume", diamond(8, float(scale))
    for _ in range(round(16 * n)):
        yield "diamond_strained", strained(diamond(8), 0.06, 0.005, rng)
    for sigma in np.linspace(0.03, 0.25, round(20 * n)):
        yield "diamond_rattled", strained(diamond(8), 0.04, float(sigma), rng)
    for sigma in np.linspace(0.0, 0.2, round(16 * n)):
        yield "beta_tin", strained(beta_tin(), 0.05, float(sigma), rng)
    for sigma in np.linspace(0.0, 0.2, round(12 * n)):
        yield "surface_111", strained(slab("111"), 0.03, float(sigma), rng)
    for sigma in np.linspace(0.02, 0.15, round(10 * n)):
        yield "surface_100", strained(dimerised(slab("100"), rng), 0.03, float(sigma), rng)
    for sigma in np.linspace(0.02, 0.15, round(8 * n)):
        yield "vacancy", strained(vacancy(16), 0.03, float(sigma), rng)


def dynamic_frames(split: str, rng: np.random.Generator) -> Iterator[tuple[str, Atoms]]:
    """Snapshots of Stillinger-Weber dynamics, then strained a little; each split has its own trajectories."""
    first = {"train": 100, "test": 900}[split]
    n = {"train": 1.0, "test": 0.4}[split]
    for k, temperature in enumerate((300, 600, 1000, 1500)):
        for atoms in snapshots(diamond(16), temperature, round(10 * n), first + k):
            yield f"md_{temperature}K", strained(atoms, 0.01, 0.0, rng)
    for atoms in snapshots(vacancy(16), 900, round(8 * n), first + 20):
        yield "vacancy", strained(atoms, 0.01, 0.0, rng)
    for atoms in snapshots(vacancy(32), 900, round(5 * n), first + 21):
        yield "vacancy", strained(atoms, 0.01, 0.0, rng)
    for k, (temperature, scale) in enumerate(((2000, 0.97), (2500, 0.99), (3000, 0.96), (4500, 0.98))):
        for atoms in snapshots(diamond(16, scale), temperature, round(10 * n), first + 30 + k, melt=5000.0):
            yield "liquid", strained(atoms, 0.02, 0.0, rng)


def make_geometries() -> list[Atoms]:
    """All geometries with `config_type`, `split` and `index`, in the order in which they are to be labelled."""
    box = Atoms("Si", positions=[[4.6, 4.9, 5.2]], cell=[9.2, 9.8, 10.4], pbc=True)
    entries = [("train", "isolated_atom", box)]
    for split, seed in (("train", 1), ("test", 2)):
        rng = np.random.default_rng(seed)
        for make in (static_frames, dynamic_frames):
            entries += [(split, family, atoms) for family, atoms in make(split, rng)]
    order = [0, *(1 + np.random.default_rng(3).permutation(len(entries) - 1))]
    frames = []
    for index, k in enumerate(order):
        split, family, atoms = entries[k]
        atoms.info.update(config_type=family, split=split, index=index)
        frames.append(atoms)
    return frames


def k_points(atoms: Atoms) -> tuple[int, ...]:
    """Sizes of the mesh, the same for all frames of a family: 4 for 8-atom cubes, 3 for 16 atoms, 1 across a vacuum."""
    if atoms.info.get("config_type") in FAMILY_MESH:
        return FAMILY_MESH[atoms.info["config_type"]]
    surface = atoms.info.get("config_type", "").startswith("surface")
    sizes = [max(1, round(K_POINT_LENGTH / length)) for length in atoms.cell.lengths()]
    return (sizes[0], sizes[1], 1) if surface else tuple(sizes)


def mesh(sizes: tuple[int, ...]) -> np.ndarray:
    """A regular mesh shifted half a step off Γ along every direction with more than one point, for odd sizes too.

    The leading error of a mesh is a sum over the nearest vectors of the repeated cell, all of one sign if Γ is
    included: perfect diamond with 16 atoms and 3 x 3 x 3 points is then 11 meV/atom too high; shifted, right to 0.3.
    """
    n = np.array(sizes)
    return monkhorst_pack(sizes) + np.where((n % 2 == 1) & (n > 1), 0.5 / n, 0.0)


def calculator(atoms: Atoms, cutoff: float = PLANE_WAVE_CUTOFF, kpts: tuple[int, ...] = ()):  # type: ignore[no-untyped-def]
    """GPAW with the settings of the datasheet, unless another cutoff (eV) or other k-points are given."""
    from gpaw import GPAW, PW, FermiDirac

    settings = {
        "mode": PW(cutoff), "xc": "PBE", "txt": None, "symmetry": {"point_group": False},
        "convergence": {"density": 1e-5, "forces": 1e-3, "energy": 1e-5},
    }  # fmt: skip
    if atoms.info.get("config_type") == "isolated_atom":
        return GPAW(**settings, hund=True, occupations=FermiDirac(0.01, fixmagmom=True))
    return GPAW(**settings, kpts=mesh(kpts or k_points(atoms)), occupations=FermiDirac(SMEARING))


def label(atoms: Atoms) -> Atoms:
    """Free energy (force-consistent, eV), forces (eV/Å) and stress (eV/Å³, tension positive) of one frame."""
    start = time.time()
    work = atoms.copy()
    work.calc = calculator(atoms)
    labelled = atoms.copy()
    labelled.info["REF_energy"] = work.get_potential_energy(force_consistent=True)
    labelled.arrays["REF_forces"] = work.get_forces()
    if atoms.info["config_type"] != "isolated_atom":
        stress = work.get_stress(voigt=False)
        labelled.info["REF_stress"] = stress
    labelled.info["seconds"] = round(time.time() - start, 1)
    return labelled


def claim(path: Path) -> bool:
    """Create a lock file; False if another process has it."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False


def label_all() -> None:
    """Label every frame that is neither labelled nor locked."""
    for atoms in read(WORK / "geometries.xyz", ":"):
        name = f"{atoms.info['index']:04d}"
        done = WORK / f"{name}.xyz"
        if done.exists() or not claim(WORK / f"{name}.lock"):
            continue
        labelled = label(atoms)
        write(WORK / f"{name}.part", labelled, format="extxyz")
        os.replace(WORK / f"{name}.part", done)
        print(name, atoms.info["config_type"], len(atoms), k_points(atoms), labelled.info["seconds"], "s", flush=True)


def check() -> None:
    """Central differences of the GPAW energy against its own forces and stress; prints one JSON line each."""
    from ase.units import GPa

    rng = np.random.default_rng(7)
    for name, atoms in (
        ("diamond", strained(diamond(8), 0.03, 0.1, rng)),
        ("beta_tin", strained(beta_tin(), 0.03, 0.1, rng)),
    ):
        atoms.info["config_type"] = name
        reference = label(atoms)

        def energy(displacement: float = 0.0, strain: float = 0.0, atoms: Atoms = atoms) -> float:
            """Energy (eV) with atom 3 moved along y by a displacement (Å), then all scaled by 1 + strain."""
            moved = atoms.copy()
            moved.positions[3, 1] += displacement
            moved.set_cell(moved.cell.array @ (np.eye(3) * (1.0 + strain)), scale_atoms=True)
            return float(label(moved).info["REF_energy"])

        h, e = 0.01, 0.004
        force = -(energy(displacement=h) - energy(displacement=-h)) / (2 * h)
        pressure = (energy(strain=e) - energy(strain=-e)) / (2 * e) / (3 * atoms.get_volume())
        stress = np.asarray(reference.info["REF_stress"])
        print(json.dumps({
            "frame": name, "force": reference.arrays["REF_forces"][3, 1], "force_fd": force,
            "mean_stress_GPa": np.trace(stress) / 3 / GPa, "mean_stress_fd_GPa": pressure / GPa,
            "force_sum": float(np.abs(reference.arrays["REF_forces"].sum(axis=0)).max()),
        }), flush=True)  # fmt: skip


def converge() -> None:
    """Energy, a force and the stress of a strained, rattled cell against plane-wave cutoff and k-points."""
    from ase.units import GPa

    atoms = diamond(8)
    atoms.rattle(0.1, seed=3)
    strain = np.array([[0.02, 0.01, 0], [0.01, -0.01, 0.015], [0, 0.015, 0.01]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    for cutoff, k in ((300, 3), (400, 3), (500, 3), (300, 2), (300, 4), (300, 5), (300, 6)):
        work = atoms.copy()
        work.calc = calculator(atoms, cutoff, (k, k, k))
        energy = work.get_potential_energy(force_consistent=True) / len(atoms)
        forces, stress = work.get_forces()[1], work.get_stress()[:3] / GPa
        print(cutoff, "eV", k, f"{energy:.4f} eV/atom", forces.round(3), "eV/Å", stress.round(2), "GPa", flush=True)


def meshes() -> None:
    """Perfect diamond in cells of every size, a vacancy and a liquid frame, with the meshes used and finer ones."""
    frames = {a.info["config_type"]: a for a in read(WORK / "geometries.xyz", ":") if len(a) in (15, 16)}
    cases = [(f"diamond, {n} atoms", diamond(n), ((), finer)) for n, finer in ((8, (6,) * 3), (16, (4,) * 3))]
    cases += [("diamond, 32 atoms", diamond(32), ((), (3, 3, 6)))]
    cases += [(f"{name}, {len(frames[name])} atoms", frames[name], ((), (4, 4, 4))) for name in ("vacancy", "liquid")]
    print("| frame | mesh | eV/atom | largest change of a force, eV/Å |\n|---|---|---|---|")
    for name, atoms, sizes in cases:
        first = None
        for size in sizes:
            work = atoms.copy()
            work.calc = calculator(atoms, kpts=size)
            energy, forces = work.get_potential_energy(force_consistent=True) / len(atoms), work.get_forces()
            change = "" if first is None else f"{np.abs(forces - first).max():.3f}"
            first = forces if first is None else first
            print(f"| {name} | {size or k_points(atoms)} | {energy:.4f} | {change} |", flush=True)


def assemble(folder: Path = Path(__file__).parent) -> None:
    """Collect the labelled frames into the two shipped files, sorted by family."""
    frames = [a for path in sorted(WORK.glob("[0-9]*.xyz")) for a in read(path, ":")]
    chosen = {split: [a for a in frames if a.info["split"] == split] for split in ("train", "test")}
    for split, part in chosen.items():
        part.sort(key=lambda a: (a.info["config_type"], a.info["index"]))
        for atoms in part:
            for key in ("split", "seconds", "index"):
                atoms.info.pop(key, None)
            if "REF_stress" in atoms.info:
                atoms.info["REF_stress"] = np.asarray(atoms.info["REF_stress"]).reshape(9)
        write(folder / f"silicon_{split}.xyz", part, format="extxyz")
        print(split, len(part), "frames", sum(map(len, part)), "atoms")


STAGES = {"label": label_all, "converge": converge, "meshes": meshes, "check": check, "assemble": assemble}


def main() -> None:
    """Run one stage."""
    WORK.mkdir(exist_ok=True)
    stage = sys.argv[1] if len(sys.argv) > 1 else "help"
    if stage == "geometries":
        frames = make_geometries()
        write(WORK / "geometries.xyz", frames, format="extxyz")
        print(len(frames), "frames", sum(map(len, frames)), "atoms")
    elif stage in STAGES:
        STAGES[stage]()
    else:
        print(__doc__)


if __name__ == "__main__":
    main()
