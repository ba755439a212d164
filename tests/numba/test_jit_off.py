"""The loops as plain Python (no compiler, readable in a debugger, seen by coverage) give the compiled numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from example_structures import labelled, structures
from places import ROOT, SUPPORT, TESTS

from gapkit import ACSF, GAP, SOAP, DotProduct, Pair, SquaredExponential, Term, Triplet
from gapkit.baselines import ZBL, Ewald
from gapkit.covariances.rows import structure_rows
from gapkit.descriptors.lambda_soap import Order, density_cotangent, equivariants
from gapkit.descriptors.soap import COMPRESSIONS
from gapkit.gaussian_process.sparsification import select_sparse_points
from gapkit.gaussian_process.structure_kernels import REMatchKernel
from gapkit.geometry.neighbourhoods import find_neighbourhoods
from gapkit.terms.long_range import LongRange

NAMES = ("cluster", "slab")


def random_points(n: int) -> np.ndarray:
    """Unit rows, the last five nearly equal to the first."""
    X = np.random.default_rng(0).normal(size=(n, 4))
    X[-5:] = X[:5]
    return X / np.linalg.norm(X, axis=1)[:, None]


def numbers(model: str | Path) -> dict[str, np.ndarray]:
    """Something out of every loop: expansion, pull-back, tangents, kernels, scatter, sparsification, matching."""
    gap = GAP.load(model, self_test=False)
    found = {"sparse": select_sparse_points(random_points(40), 12, "fps", 0)}
    for name in NAMES:
        atoms = structures()[name]
        p = gap.predict(atoms, return_std=True)
        rows = structure_rows(gap.basis_.environments(atoms))
        found |= {f"{name}_energy": p.energy, f"{name}_forces": p.forces[0], f"{name}_std": p.local_energies_std[0]}
        found |= {f"{name}_rows_{kind}": getattr(rows, kind) for kind in ("energy", "forces", "virial")}
        for compression in COMPRESSIONS:
            found[f"{name}_{compression}"] = SOAP(["Cu", "Au"], 3.0, 2, 2, compression=compression).create(atoms)
        baselines = {"zbl": ZBL(["Cu", "Au"], inner=1.0, outer=3.5), "ewald": Ewald({"Cu": 2.0, "Au": -4.0}, width=0.8)}
        for what, baseline in baselines.items() if name == "cluster" else ():
            found |= {f"{what}_{key}": value for key, value in baseline.evaluate(atoms)._asdict().items()}
    soap, cluster = SOAP(["Cu", "Au"], 3.0, 2, 2), structures()["cluster"]
    p, state = soap.evaluate(find_neighbourhoods(cluster, 3.0), cluster.numbers)
    vectors = found["vectors"] = equivariants(soap, state, Order(1, even=False))
    found["vectors_pullback"] = density_cotangent(soap, state, p, Order(1, even=False), 2, vectors[:, 2])
    crystal = structures()["one_atom"]
    found["long_range"] = LongRange(["Cu"], tolerance=1e-4).features(crystal).strain_derivatives
    X = random_points(12)
    for alpha in (0.1, 1e-3):  # by plain numbers, and by their logarithms
        kernel = REMatchKernel(lambda A, B: A @ B.T, alpha=alpha, normalize=False)
        found[f"matched_{alpha}"] = kernel([X[:4], X[4:6], X[6:]])
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """`numbers` compiled, and from a process in which nothing is."""
    folder = tmp_path_factory.mktemp("jit")
    gap = GAP(
        [
            Term(SOAP(["Cu", "Au"], 3.0, 2, 2), DotProduct(3, 2.0), 2),
            Term(SOAP(["Cu", "Au"], 2.8, 2, 1, compression="mu1nu1"), SquaredExponential(0.5), 2),
            Term(ACSF(["Cu", "Au"], 2.8, g2=[(0.1, 0.5)], g3=[1.0], g5=[(0.1, 2.0, 1.0)]), DotProduct(2, 1.0), 2),
            Pair(["Cu", "Au"], 3.0),
            Triplet(["Cu", "Au"], 2.8, n_sparse=2, table=0.5),
        ],
        e0={"Cu": 0.0, "Au": 0.0},
        verbose=False,
    )
    gap.fit([labelled(structures()[name]) for name in NAMES]).save(folder / "m.gap")
    script = (
        "import numba, numpy, sys; from test_jit_off import numbers; from gapkit._numba.soap import expand\n"
        "assert numba.config.DISABLE_JIT and not hasattr(expand, 'signatures')\n"
        "numpy.savez(sys.argv[2], **numbers(sys.argv[1]))"
    )
    run_plain([sys.executable, "-c", script, str(folder / "m.gap"), str(folder / "plain.npz")])
    return numbers(folder / "m.gap"), dict(np.load(folder / "plain.npz"))


def run_plain(command: list[str]) -> str:
    paths = os.pathsep.join([str(SUPPORT), str(TESTS / "numba"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": paths}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_plain_python_gives_the_compiled_numbers(plain):
    compiled, interpreted = plain
    assert compiled.keys() == interpreted.keys()
    for name, expected in compiled.items():
        tolerance = 1e-6 if name.endswith("std") else 1e-9  # a small variance is a difference of large numbers
        scale = np.abs(expected).max()
        assert scale > 0
        np.testing.assert_allclose(interpreted[name], expected, rtol=0, atol=tolerance * scale, err_msg=name)


def test_naive_twins_pass_without_the_compiler():
    """The same tests, so that a loop that only works once compiled is found."""
    which = "naive_twins or harmonics_equal or values_equal_the_formula or zero_features"
    files = [str(TESTS / name) for name in ("descriptors/test_soap.py", "gaussian_process/test_kernels.py")]
    report = run_plain([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", which, "-rA", *files])
    assert report.count("PASSED") >= 10
