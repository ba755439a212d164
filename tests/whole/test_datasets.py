"""The data that ship with gapkit are what their description says."""

from __future__ import annotations

import numpy as np
import pytest

from gapkit import SOAP, DotProduct
from gapkit.datasets import load_methanol, load_silicon, methanol_path, silicon_path
from gapkit.errors import InputError
from gapkit.gaussian_process.structure_kernels import AverageKernel, find_duplicates
from gapkit.structures.labels import read_labels
from gapkit.structures.reading import find_label_keys


@pytest.fixture(scope="module")
def silicon():
    return {split: load_silicon(split) for split in ("train", "test")}


def labels_of(frames):
    keys = find_label_keys(frames)
    return [read_labels(atoms, keys) for atoms in frames]


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_frame_is_silicon_with_energy_and_forces(silicon, split):
    for atoms, labels in zip(silicon[split], labels_of(silicon[split])):
        assert set(atoms.symbols) == {"Si"}
        assert atoms.pbc.all()
        assert labels.energy is not None
        assert labels.forces is not None
        assert labels.config_type != "default"
        assert (labels.virial is None) == (labels.config_type == "isolated_atom")
        # a plane-wave calculation conserves momentum up to its grid
        assert np.abs(labels.forces.sum(axis=0)).max() < 0.05


def test_one_isolated_atom_and_only_in_the_training_frames(silicon):
    def sizes(split):
        return [len(atoms) for atoms in silicon[split] if atoms.info["config_type"] == "isolated_atom"]

    assert sizes("train") == [1]
    assert sizes("test") == []


def test_diamond_is_bound_as_silicon_is(silicon):
    energies = {a.info["config_type"]: [] for a in silicon["train"]}
    for atoms in silicon["train"]:
        energies[atoms.info["config_type"]].append(atoms.get_potential_energy() / len(atoms))
    cohesive = energies["isolated_atom"][0] - min(energies["diamond_volume"] + energies["md_300K"])
    assert cohesive == pytest.approx(4.55, abs=0.25)  # PBE 4.55 to 4.65 eV/atom, atom spin-polarised


def test_test_families_are_training_families_and_no_frame_is_in_both(silicon):
    families = {split: {a.info["config_type"] for a in frames} for split, frames in silicon.items()}
    assert families["test"] <= families["train"]
    seen = {np.round(a.positions, 3).tobytes() for a in silicon["train"] if len(a) > 1}
    assert not seen & {np.round(a.positions, 3).tobytes() for a in silicon["test"] if np.ptp(a.get_forces()) > 1e-3}


def test_stress_has_the_sign_of_tension(silicon):
    """Energy against volume and stress against volume cross at the same volume, and stress is positive beyond it."""
    frames = [a for a in silicon["train"] + silicon["test"] if a.info["config_type"] == "diamond_volume"]
    frames.sort(key=lambda a: a.get_volume())
    pressure = [a.get_stress(voigt=False).trace() / 3.0 for a in frames]
    assert np.all(np.diff(pressure) > -1e-3)
    assert pressure[0] < 0.0 < pressure[-1]


def test_file_is_a_real_file():
    assert silicon_path("train").is_file()
    assert silicon_path("train") != silicon_path("test")


def test_other_splits_are_refused():
    with pytest.raises(InputError, match=r"split = 'tests' .*did you mean 'test'"):
        load_silicon("tests")
    with pytest.raises(InputError, match="known: test, train"):
        silicon_path("validation")


def test_no_test_frame_is_a_training_frame(silicon):
    """Nor a rotated, shifted or repeated one: the similarity of all pairs says so, and finds one that is put there."""
    planted = silicon["train"][20].copy()
    planted.rotate(40, (1, 2, 3), rotate_cell=True)
    planted.translate([0.3, 0.1, 0.7])
    frames = [*silicon["train"], *silicon["test"], planted.repeat((2, 1, 1))]
    n_train, soap = len(silicon["train"]), SOAP(["Si"], cutoff=5.0, n_max=4, l_max=3)
    pairs = find_duplicates([soap.features(atoms) for atoms in frames], AverageKernel(DotProduct(4)), 1e-5)
    assert [(i, j) for i, j, _ in pairs if i < n_train <= j] == [(20, len(frames) - 1)]


@pytest.mark.parametrize(("split", "n"), [("train", 120), ("test", 80)])
def test_methanol_labels_obey_the_sum_rules(split, n):
    """A shift of a neutral molecule leaves its dipole, a turn turns it: Σ_i Z_i = 0, Σ_i Z_i (ω × r_i) = ω × μ."""
    frames = load_methanol(split)
    assert len(frames) == n
    for atoms in frames:
        Z, mu = atoms.arrays["born_charges"].reshape(-1, 3, 3), atoms.get_dipole_moment()
        assert np.abs(Z.sum(axis=0)).max() < 2e-4
        for omega in np.eye(3):
            turn = np.einsum("iab,ib->a", Z, np.cross(omega, atoms.positions))
            assert np.abs(turn - np.cross(omega, mu)).max() < 5e-4
        alpha = atoms.info["polarizability"].reshape(3, 3)
        assert np.abs(alpha - alpha.T).max() < 1e-9
        assert np.linalg.eigvalsh(alpha).min() > 0.5


def test_no_other_splits_of_methanol():
    with pytest.raises(InputError, match="did you mean 'test'"):
        methanol_path("tests")
