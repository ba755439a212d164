from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given
from hypothesis import strategies as st

from gapkit import InputError
from gapkit.tensors.frames import TensorFrames
from gapkit.tensors.labels import Convention, LabelReader, bare, origin_shift, shift_gradient, understood
from gapkit.tensors.targets import TARGETS

DIPOLE, ALPHA, BORN = TARGETS["dipole"], TARGETS["polarizability"], TARGETS["born_charges"]


def water(**info) -> Atoms:
    return Atoms(molecule("H2O"), info=info)


@pytest.mark.parametrize("name", ["dipole", "mu", "REF_dipole", "dft_mu", "Dipole", "dipole_moment", "PBE_dipole"])
def test_usual_names(name):
    atoms = water(**{name: [1.0, 2.0, 3.0]})
    assert np.array_equal(LabelReader(DIPOLE).read(atoms, "frame 0"), [1, 2, 3])


def test_results_of_a_calculator_and_text():
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, dipole=np.array([0.0, 0.0, 0.4]))
    assert np.array_equal(LabelReader(DIPOLE).read(atoms, "frame 0"), [0, 0, 0.4])
    assert np.array_equal(LabelReader(DIPOLE).read(water(mu=" 1e0 2.0,3 "), "frame 0"), [1, 2, 3])


def test_shapes_of_tensors():
    T = np.array([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]])
    for value in (T, T.ravel(), T.tolist(), [1.0, 2, 3, 4, 5, 6]):
        assert np.array_equal(understood(ALPHA, value, 3, "x"), T)
    per_atom = np.random.default_rng(0).normal(size=(4, 3, 3))
    for value in (per_atom, per_atom.reshape(4, 9)):
        assert np.array_equal(understood(BORN, value, 4, "x"), per_atom)
    efg = TARGETS["electric_field_gradients"]
    assert understood(efg, [[1.0, 2, -3, 0, 0, 0]] * 6, 6, "x").shape == (6, 3, 3)


@pytest.mark.parametrize(
    ("target", "value", "words"),
    [
        (DIPOLE, [1.0, 2.0], "must be 3 numbers"),
        (DIPOLE, [1.0, np.nan, 2.0], "not finite"),
        (DIPOLE, "a b c", "give numbers"),
        (ALPHA, np.arange(9.0), "not symmetric"),
        (ALPHA, np.arange(4.0), "3×3 or 9 numbers, or 6"),
        (BORN, np.zeros((2, 3, 3)), "for each of the 3 atoms"),
        (TARGETS["electric_field_gradients"], np.array([np.eye(3)] * 3), "trace"),
    ],
)
def test_labels_that_cannot_be(target, value, words):
    with pytest.raises(InputError, match=words):
        understood(target, value, 3, "frame 0: 'x'")


@given(st.one_of(st.none(), st.booleans(), st.text(max_size=5), st.lists(st.floats(), max_size=10)))
def test_garbage_is_refused_or_finite(value):
    try:
        found = understood(DIPOLE, value, 3, "frame 0: 'mu'")
    except InputError:
        return
    assert found.shape == (3,)
    assert np.isfinite(found).all()


def test_one_name_for_all_frames():
    reader = LabelReader(DIPOLE)
    assert reader.read(water(mu=[1.0, 0, 0], REF_dipole=[1.0, 0, 0]), "frame 0") is not None
    with pytest.raises(InputError, match="ambiguous"):
        LabelReader(DIPOLE).read(water(mu=[1.0, 0, 0], REF_dipole=[2.0, 0, 0]), "frame 0")
    with pytest.raises(InputError, match="earlier frames under"):
        [r.read(a, "f") for r in [LabelReader(DIPOLE)] for a in (water(mu=[1.0, 0, 0]), water(dipole=[1.0, 0, 0]))]
    assert LabelReader(DIPOLE, "own").read(water(own=[1.0, 0, 0], mu=[2.0, 0, 0]), "frame 0")[0] == 1.0
    with pytest.raises(InputError, match=r"none of the 2 frames has a label 'dipole'.*did you mean 'dipol'"):
        list(TensorFrames([water(dipol=[1.0, 0, 0])] * 2, DIPOLE, Convention()))


def test_a_lattice_of_zeros_is_no_cell():
    atoms = water(mu=[0.0, 0.0, 0.1])
    atoms.pbc = True
    assert not bare(atoms, "frame 0").pbc.any()
    (frame,) = TensorFrames([atoms], DIPOLE, Convention())
    assert not frame.atoms.pbc.any()


def test_periodic_dipoles_are_refused_with_the_reason():
    atoms = water(mu=[0.0, 0.0, 0.1])
    atoms.set_cell([9, 9, 9])
    atoms.pbc = True
    with pytest.raises(InputError, match="modulo e times a lattice vector"):
        list(TensorFrames([atoms], DIPOLE, Convention()))
    assert len(list(TensorFrames([atoms], DIPOLE, Convention(branch_consistent=True)))) == 1
    atoms.info["alpha"] = np.eye(3)
    assert len(list(TensorFrames([atoms], ALPHA, Convention()))) == 1
    with pytest.raises(InputError, match="no origin to refer to"):
        list(TensorFrames([atoms], DIPOLE, Convention(1.0, unit="a.u.", branch_consistent=True)))


def test_charged_labels_do_not_depend_on_the_origin():
    shift, unit = np.array([3.0, -2.0, 1.0]), Convention(charge=2.0, unit="e*Å")
    atoms = water(mu=np.array([0.1, 0.2, 0.3]))
    moved = atoms.copy()
    moved.positions += shift
    moved.info["mu"] = atoms.info["mu"] + 2.0 * shift
    one, other = TensorFrames([atoms, moved], DIPOLE, unit)
    (order,) = DIPOLE.orders
    assert np.allclose(one.parts[order], other.parts[order], atol=1e-14)
    own = Convention(charge=2.0, label_origin="centre_of_mass")
    assert np.all(origin_shift(DIPOLE, own, atoms, "x") == 0.0)
    with pytest.raises(InputError, match="say the unit"):
        list(TensorFrames([water(mu=[0.0, 0, 1], charge=1)], DIPOLE, Convention()))
    with pytest.raises(InputError, match="must be a number"):
        list(TensorFrames([water(mu=[0.0, 0, 1], charge="one")], DIPOLE, Convention()))


def test_gradient_of_the_shift():
    atoms, convention, h = water(charge=-1), Convention(unit="Debye"), 1e-5
    exact = shift_gradient(DIPOLE, convention, atoms)
    for i in range(3):
        for b in range(3):
            up, down = atoms.copy(), atoms.copy()
            up.positions[i, b] += h
            down.positions[i, b] -= h
            ends = [origin_shift(DIPOLE, convention, a, "x") for a in (up, down)]
            assert np.allclose(exact[:, i, b], (ends[0] - ends[1]) / (2 * h), atol=1e-8)
