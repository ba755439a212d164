"""Options, and the small potential that most tests share."""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # test workers share the cores; test_threads.py asks for more

import pytest
from ase import Atoms
from ase.build import molecule
from example_structures import alloy, labelled

from gapkit import GAP, SOAP, DotProduct, Term


def pytest_addoption(parser):
    """``--slow``."""
    parser.addoption("--slow", action="store_true", help="run the slow tests too")


def pytest_collection_modifyitems(config, items):
    """Skip what is marked slow unless it was asked for."""
    if not config.getoption("--slow"):
        skip = pytest.mark.skip(reason="slow; run with --slow")
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def frames() -> list[Atoms]:
    """Ten labelled alloys of two config types, and both isolated atoms."""
    isolated = [labelled(Atoms(s, cell=[20] * 3, pbc=True), "isolated_atom") for s in ("Cu", "Au")]
    return [labelled(alloy(k), "bulk" if k % 2 else "other") for k in range(10)] + isolated


@pytest.fixture(scope="session")
def soap() -> SOAP:
    """The descriptor of the first term of `gap`."""
    return SOAP(species=["Cu", "Au"], cutoff=4.5, n_max=4, l_max=3, smoothness=2)


@pytest.fixture(scope="session")
def gap(frames, soap) -> GAP:
    """A small two-species, two-term potential: enough for every law."""
    terms = [
        Term(soap, DotProduct(zeta=2, delta=2.0), n_sparse=12),
        Term(
            SOAP(["Au", "Cu"], cutoff=3.6, n_max=3, l_max=2, smoothness=2, compression="mu2"),
            DotProduct(zeta=1, delta=1.0),
            n_sparse=6,
        ),
    ]
    return GAP(terms, energy_noise=0.005, forces_noise=0.05, virial_noise=0.02, verbose=False).fit(frames)


@pytest.fixture(scope="session")
def water() -> Atoms:
    """A molecule without a cell."""
    return molecule("H2O")
