"""The noise of every label: by kind, config type and size."""

from __future__ import annotations

import numpy as np
import pytest
from example_structures import alloy, labelled

from gapkit import InputError
from gapkit.fitting.noise import check_noise, noise_group, noise_std, observations
from gapkit.quantities import KINDS
from gapkit.structures.labels import LabelKeys, Labels, read_labels

FORCES = np.arange(12.0).reshape(4, 3)
VIRIAL = np.array([[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]])
PER_TYPE = {"bulk": 0.1, "surface": 0.2, "default": 0.3}


def test_targets_orders_and_relative_noise():
    energy, forces, virial = observations(Labels(-7.0, FORCES, VIRIAL, "bulk"), energy_offset=-3.0, n_atoms=4)
    assert (energy.kind, forces.kind, virial.kind) == KINDS
    np.testing.assert_array_equal(energy.y, [-4.0])
    np.testing.assert_array_equal(forces.y, np.arange(12.0))  # atom by atom, x y z
    np.testing.assert_array_equal(virial.y, [1, 2, 3, 4, 5, 6])  # xx yy zz yz xz xy
    assert (energy.scale, forces.scale, virial.scale) == (4.0, 1.0, 4.0)


@pytest.mark.parametrize("present", [(), ("energy",), ("forces",), ("virial",), ("energy", "virial")])
def test_missing_labels_give_no_rows(present):
    values = {"energy": -7.0, "forces": FORCES, "virial": VIRIAL}
    labels = Labels(**{k: v if k in present else None for k, v in values.items()}, config_type="default")
    assert [o.kind for o in observations(labels, 0.0, 4)] == list(present)


def test_a_label_of_zero_is_a_label():
    labels = Labels(0.0, np.zeros((1, 3)), np.zeros((3, 3)), "default")
    assert [o.kind for o in observations(labels, 0.0, 1)] == list(KINDS)


def test_labels_of_a_frame_become_targets():
    atoms = labelled(alloy(2))
    labels = read_labels(atoms, LabelKeys(energy="energy", forces="forces", stress="stress"))
    energy, forces, virial = observations(labels, 1.5, 4)
    np.testing.assert_allclose(energy.y, atoms.get_potential_energy() - 1.5)
    np.testing.assert_allclose(forces.y[3 * 2 + 1], atoms.get_forces()[2, 1])
    np.testing.assert_allclose(virial.y, -atoms.get_volume() * atoms.get_stress())


@pytest.mark.parametrize("kind", KINDS)
def test_groups(kind):
    assert noise_group(kind, 0.1, "bulk") == noise_group(kind, 0.1, "surface") == (kind, "all")
    assert noise_group(kind, PER_TYPE, "bulk") == (kind, "bulk")
    assert noise_group(kind, PER_TYPE, "liquid") == noise_group(kind, PER_TYPE, "default") == (kind, "default")


@pytest.mark.parametrize("kind", KINDS)
def test_noise_of_a_config_type(kind):
    assert noise_std(kind, 0.1, "anything") == 0.1
    assert [noise_std(kind, PER_TYPE, c) for c in ("bulk", "surface", "liquid")] == [0.1, 0.2, 0.3]
    with pytest.raises(
        InputError, match=rf"^{kind}_noise has no entry for config_type 'bulq' \(did you mean 'bulk'\?\)"
    ):
        noise_std(kind, {"bulk": 0.1}, "bulq")
    with pytest.raises(InputError, match=r"'liquid'.*: add it, or 'default'"):
        noise_group(kind, {"bulk": 0.1}, "liquid")


@pytest.mark.parametrize("noise", [0.1, 1, np.float32(0.1), np.int64(2), {"a": 0.1, "default": np.float64(2)}])
def test_good_noise(noise):
    for kind in KINDS:
        check_noise(kind, noise)


@pytest.mark.parametrize("bad", [0.0, -0.1, float("nan"), float("inf"), "much", None, [0.1], np.array([0.1, 0.2])])
def test_bad_noise_is_refused_with_its_unit(bad):
    units = {"energy": "eV/atom", "forces": "eV/Å", "virial": "eV/atom"}
    for kind in KINDS:
        with pytest.raises(InputError, match=rf"^{kind}_noise = .* must be a positive number in {units[kind]}"):
            check_noise(kind, bad)
        with pytest.raises(InputError, match=rf"^{kind}_noise\['bulk'\] = .* must be a positive number"):
            check_noise(kind, {"default": 0.1, "bulk": bad})


@pytest.mark.parametrize("kind", KINDS)
def test_empty_mapping_is_refused(kind):
    with pytest.raises(InputError, match=rf"{kind}_noise"):
        check_noise(kind, {})
