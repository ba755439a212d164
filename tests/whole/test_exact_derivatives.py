"""Energies, forces and stress of whole potentials against a twin that shares no code: forces to 1e-8 eV/Å."""

from __future__ import annotations

import laws
import naive
import numpy as np
import pytest
from ase import Atoms
from example_structures import alloy, labelled, structures

from gapkit import GAP, SOAP, DotProduct, SquaredExponential, Term
from gapkit.cli.demo import ENERGY_NOISE, FORCES_NOISE, VIRIAL_NOISE
from gapkit.datasets import load_silicon
from gapkit.descriptors.soap import COMPRESSIONS

GEOMETRIES = {**structures(), "isolated": Atoms("Au")}
KERNELS = [DotProduct(1), DotProduct(4), SquaredExponential(0.4)]


def ternary(seed: int) -> Atoms:
    atoms = alloy(seed)
    atoms.symbols[1] = "Ni"
    return atoms


@pytest.fixture(scope="module")
def ternary_frames() -> list[Atoms]:
    isolated = [labelled(Atoms(s, cell=[20] * 3, pbc=True), "isolated_atom") for s in ("Cu", "Au", "Ni")]
    return [labelled(ternary(k)) for k in range(8)] + isolated


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_periodicity(gap, name):
    laws.check_exact_energy(gap, GEOMETRIES[name])
    laws.check_exact_derivatives(gap, GEOMETRIES[name])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("smoothness", [1, 2, 3])
def test_every_kernel_and_compression(ternary_frames, kernel, compression, smoothness):
    """Three species with weights; Σ|α|δ² up to 3e8 eV."""
    weights = {"Cu": 1.0, "Au": 0.7, "Ni": 1.2}
    soap = SOAP(["Cu", "Au", "Ni"], 4.0, 3, 2, 0.5, smoothness, compression, weights)
    gap = GAP([Term(soap, kernel, n_sparse=8)], verbose=False).fit(ternary_frames)
    laws.check_exact_energy(gap, ternary(21))
    laws.check_exact_derivatives(gap, ternary(21))


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="no extended precision on this machine")
@pytest.mark.parametrize("name", ["alloy", "slab", "cluster"])
def test_the_complex_step_is_the_limit_of_finite_differences(gap, name):
    """The twin twice, and gapkit's own forces: differences of energies with 19 digits, sixth order."""
    atoms = GEOMETRIES[name]
    step = laws.derivative.__defaults__[0]
    assert 1e-3 * laws.predictor(gap).round_off / step < 1e-10
    everyone = range(len(atoms))
    differences = laws.finite_difference_forces(lambda a: (naive.energy(gap, a),), atoms, everyone).astype(float)
    np.testing.assert_allclose(naive.exact_forces(gap, atoms, everyone), differences, rtol=0, atol=1e-10)
    np.testing.assert_allclose(gap.predict(atoms).forces[0], differences, rtol=0, atol=1e-8)
    if atoms.cell.rank == 3:
        differences = laws.finite_difference_stress(lambda a: (naive.energy(gap, a),), atoms)
        np.testing.assert_allclose(naive.exact_stress(gap, atoms), differences, rtol=0, atol=1e-10)
        np.testing.assert_allclose(gap.predict(atoms).stress[0], differences, rtol=0, atol=1e-8)


# -- a realistic potential ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def silicon() -> GAP:
    train = [a for k, a in enumerate(load_silicon("train")) if k % 3 == 0 or len(a) == 1]
    terms = [Term(SOAP(["Si"], 5.0, 8, 6), DotProduct(4, 5.0), n_sparse=300)]
    return GAP(terms, ENERGY_NOISE, FORCES_NOISE, VIRIAL_NOISE, verbose=False).fit(train)


@pytest.mark.parametrize("family", ["liquid", "surface_100", "vacancy", "diamond_strained", "beta_tin"])
def test_silicon(silicon, family):
    atoms = next(a for a in load_silicon("test") if a.info["config_type"] == family)
    laws.check_exact_energy(silicon, atoms)
    laws.check_exact_derivatives(silicon, atoms, n=2)


@pytest.mark.slow
def test_every_silicon_test_frame(silicon):
    for atoms in load_silicon("test"):
        laws.check_exact_energy(silicon, atoms)
        laws.check_exact_derivatives(silicon, atoms, n=4)
