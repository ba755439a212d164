from __future__ import annotations

import warnings

import numpy as np
import pytest
from ase.build import molecule
from scipy.spatial.transform import Rotation
from tensor_labels import labelled, molecules, turned_value
from tensor_labels import turned as turned_atoms

from gapkit import SOAP, TensorGAP, TensorTerm
from gapkit.tensors.copies import CopyCheck, turn_between, turned
from gapkit.tensors.frames import TensorFrames
from gapkit.tensors.labels import Convention
from gapkit.tensors.targets import TARGETS, Target

pytestmark = pytest.mark.filterwarnings("ignore:n_sparse = ")  # small sets have fewer environments


@pytest.mark.parametrize("sign", [1, -1])
def test_the_turn_is_found(sign):
    a = molecules(["CH3CHO"], 1)[0]
    R = sign * Rotation.random(rng=2).as_matrix()
    b = turned_atoms(a, R)
    b.positions += [1.0, 2.0, 3.0]
    assert np.abs(turn_between(a, b) - R).max() < 1e-10
    b.positions[0] += 0.1
    assert turn_between(a, b) is None


@pytest.mark.parametrize("name", ["dipole", "polarizability", "born_charges", "charges"])
def test_values_turn(name):
    R, value = Rotation.random(rng=2).as_matrix(), np.random.default_rng(0).normal(size=(4, *TARGETS[name].shape))
    assert np.allclose(turned(TARGETS[name], value, R), turned_value(value, R, TARGETS[name].rank))
    assert np.allclose(turned(Target("axial", 1, pseudo=True), np.ones(3), -np.eye(3)), 1.0)


def check(frames, convention=None, name="dipole"):
    found = CopyCheck(TARGETS[name])
    for frame in TensorFrames(frames, TARGETS[name], convention or Convention()):
        found.add(frame)


def copies():
    a, other = molecules(["CH3OH", "NH3"], 2)
    R = Rotation.random(rng=2).as_matrix()
    return a, other, labelled(turned_atoms(a, R)), labelled(turned_atoms(a, -R))


@pytest.mark.parametrize("name", ["dipole", "polarizability", "born_charges"])
def test_honest_copies_pass(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(copies(), name=name)


def test_a_label_that_did_not_turn_is_seen():
    frames = copies()
    frames[2].info["dipole"] = frames[0].info["dipole"]
    with pytest.warns(UserWarning, match="frames 0 and 2 are one structure.*does not turn"):
        check(frames)
    terms = [TensorTerm(SOAP(["H", "C", "N", "O"], 3.0, 3, 2), n_sparse=3)]
    with pytest.warns(UserWarning, match="check the labels' frame of reference"):
        TensorGAP(terms, noise=0.1, verbose=False).fit(frames)


def test_a_forgotten_charge_is_seen():
    a = molecules(["NH3"], 1)[0]
    b = a.copy()
    b.positions += [0.0, 0.0, 2.0]
    for atoms in (a, b):
        atoms.info["dipole"] = atoms.info["dipole"] + atoms.get_center_of_mass()
    with pytest.warns(UserWarning, match="or give the charge"):
        check([a, b])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check([a, b], Convention(charge=1.0, unit="e*Å"))


def test_planar_and_symmetric_structures_pass():
    frames = [labelled(turned_atoms(molecule(n), Rotation.random(rng=k).as_matrix()))
              for n in ("H2O", "CO2", "CH4") for k in range(3)]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(frames)
        check(frames, name="polarizability")
