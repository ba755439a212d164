from __future__ import annotations

import numpy as np
import pytest

from gapkit import InputError
from gapkit.tensors.offsets import Offsets, check_offsets, offset_of
from gapkit.tensors.targets import TARGETS


def test_exact_where_compositions_decide():
    found = Offsets(TARGETS["polarizability"])
    for numbers in ([1, 1, 8], [8], [1, 8, 8]):
        z = np.array(numbers)
        found.add(z, np.array([2.0 * (z == 1).sum() + 5.0 * (z == 8).sum()]))
    assert found.solve() == pytest.approx({"H": 2.0, "O": 5.0})


def test_one_composition_is_shared_out_evenly():
    found = Offsets(TARGETS["polarizability"])
    found.add(np.array([1, 1, 8]), np.array([6.0]))
    found.add(np.array([8, 1, 1]), np.array([12.0]))
    own = found.solve()
    assert 2 * own["H"] + own["O"] == pytest.approx(9.0)


def test_means_and_atoms():
    mean = Offsets(TARGETS["dielectric"])
    for numbers in ([1, 1, 8], [8], [1]):
        z = np.array(numbers)
        mean.add(z, np.array([np.where(z == 1, 2.0, 5.0).mean()]))
    assert mean.solve() == pytest.approx({"H": 2.0, "O": 5.0})
    atoms = Offsets(TARGETS["born_charges"])
    atoms.add(np.array([1, 8, 1]), np.array([[1.0], [-2.0], [2.0]]))
    own = atoms.solve()
    assert own == pytest.approx({"H": 1.5, "O": -2.0})
    assert np.allclose(offset_of(own, np.array([8, 1]), "atom"), [-2.0, 1.5])
    assert offset_of(own, np.array([8, 1]), "mean") == pytest.approx(-0.25)
    with pytest.raises(InputError, match="none for C"):
        offset_of(own, np.array([6]), "sum")


@pytest.mark.parametrize("offsets", [3.0, {"Xx": 1.0}, {"H": "one"}, {"H": float("nan")}])
def test_offsets_that_cannot_be(offsets):
    with pytest.raises(InputError, match="offsets"):
        check_offsets(offsets, TARGETS["polarizability"])


def test_vectors_have_none():
    with pytest.raises(InputError, match="no isotropic part"):
        check_offsets({"H": 1.0}, TARGETS["dipole"])
