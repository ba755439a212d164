"""One calculator in several threads, and a calculator for each structure in a loop."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from ase import Atoms
from example_structures import alloy, structures

from gapkit import GAP, GAPCalculator
from gapkit.potential.loaded_models import KEPT, forget, loaded


@pytest.fixture(scope="module")
def path(gap, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "cuau.gap"
    gap.save(path)
    return path


def alone(atoms: Atoms, gap) -> tuple[float, np.ndarray]:
    """Energy and forces by a calculator of its own: its list of neighbours is in the same order."""
    own = atoms.copy()
    own.calc = GAPCalculator(gap)
    return own.get_potential_energy(), own.get_forces()


def test_eight_threads_on_one_calculator_have_the_bits_of_one(gap):
    """Structures of different sizes and cells, so that anything mixed up would show."""
    geometries = [alloy(k, rattle=0.15) for k in range(4)] + [*structures().values(), alloy(7) * (2, 1, 1)]
    expected = [alone(atoms, gap) for atoms in geometries]
    calculator = GAPCalculator(gap)

    def work(thread: int) -> int:
        rng, wrong = np.random.default_rng(thread), 0
        own = [atoms.copy() for atoms in geometries]
        for atoms in own:
            atoms.calc = calculator
        for _ in range(200):
            k = int(rng.integers(len(own)))
            wrong += not np.array_equal(own[k].get_forces(), expected[k][1])
            wrong += own[k].get_potential_energy() != expected[k][0]
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [0] * 8


def test_uncertainties_in_threads(gap):
    geometries = [alloy(k) for k in range(3)]
    expected = [gap.predict(atoms, "local").local_energies_std[0] for atoms in geometries]
    calculator = GAPCalculator(gap, per_atom_std=True)

    def work(k: int) -> bool:
        found = (calculator.uncertainty(geometries[k % 3], "local").local_energies_std for _ in range(20))
        return all(np.array_equal(std, expected[k % 3]) for std in found)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))


def test_a_calculator_can_be_copied_and_sent(gap):
    atoms = alloy(3)
    calculator = GAPCalculator(gap)
    for own in (copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))):
        atoms.calc = own
        np.testing.assert_array_equal(atoms.get_forces(), alone(atoms, gap)[1])


def test_a_calculator_is_no_cycle_of_references(path):
    gc.disable()
    try:
        calculator = GAPCalculator(path)
        atoms = alloy(0)
        atoms.calc = calculator
        atoms.get_forces()
        gone = weakref.ref(calculator)
        del calculator, atoms
        assert gone() is None
    finally:
        gc.enable()


def test_a_hundred_calculators_of_one_file_take_no_more_memory_than_one(tmp_path, gap, monkeypatch):
    big = copy.copy(gap)
    big.selection_ = {(0, "padding"): {"text": "x" * 10**6}}  # 1 MB of header, so that kept copies would show
    big.save(tmp_path / "big.gap")
    loads = []
    load = GAP.load
    monkeypatch.setattr(GAP, "load", lambda *a, **k: loads.append(1) or load(*a, **k))
    forget()
    rss = []
    gc.disable()
    try:
        for k in range(100):
            atoms = alloy(k % 5)
            atoms.calc = GAPCalculator(tmp_path / "big.gap")
            atoms.get_forces()
            rss.append(psutil.Process().memory_info().rss)
    finally:
        gc.enable()
    assert len(loads) == 1
    assert rss[-1] - rss[9] < 2e7


def test_other_content_under_the_same_name_is_loaded_anew(path, gap, tmp_path):
    target = tmp_path / "m.gap"
    target.write_bytes(path.read_bytes())
    first = loaded(target)
    assert loaded(str(target)).alpha_ is first.alpha_
    other = copy.copy(gap)
    other.e0_ = {symbol: value + 1.0 for symbol, value in gap.e0_.items()}
    other.references_ = [(atoms, other.predict(atoms).energy[0], forces) for atoms, _, forces in gap.references_]
    other.save(target)
    assert loaded(target).e0_ == other.e0_
    assert first.e0_ == gap.e0_


def test_a_change_of_one_model_is_not_seen_by_the_others(path):
    one, other = GAPCalculator(path), GAPCalculator(path)
    one.gap.e0_ = {"Cu": 0.0, "Au": 0.0}
    one.gap.recalibration_ = "mine"
    assert other.gap.e0_ != one.gap.e0_
    assert GAPCalculator(path).gap.recalibration_ is None


def test_only_the_last_models_are_kept(path, tmp_path):
    forget()
    kept = []
    for k in range(KEPT + 2):
        target = tmp_path / f"{k}.gap"
        target.write_bytes(path.read_bytes())
        kept.append(weakref.ref(loaded(target).posterior_))
    gc.collect()
    assert [ref() is not None for ref in kept] == [False] * 2 + [True] * KEPT


@pytest.mark.filterwarnings("ignore::gapkit.ExtrapolationWarning")  # whole ångströms are closer than any trained
@pytest.mark.parametrize("kind", [np.float32, np.int64, np.float16, ">f8"])
def test_positions_of_any_type_of_number(gap, kind):
    atoms = alloy(2)
    atoms.arrays["positions"] = np.round(atoms.positions, 1).astype(kind)
    exact = Atoms(atoms.numbers, atoms.positions.astype(float), cell=atoms.cell, pbc=True)
    p, q = gap.predict(atoms, "all"), gap.predict(exact, "all")
    np.testing.assert_array_equal(p.forces[0], q.forces[0])
    np.testing.assert_array_equal(p.forces_std[0], q.forces_std[0])
    atoms.calc = GAPCalculator(gap)
    np.testing.assert_array_equal(atoms.get_forces(), alone(exact, gap)[1])
    if kind == np.float32:
        atoms.arrays["positions"] = exact.positions + 1e-9  # a step that float32 would not see
        exact.positions += 1e-9
        np.testing.assert_allclose(atoms.get_forces(), gap.predict(exact).forces[0], atol=1e-12)


@pytest.mark.parametrize("periods", [3_000, 200_000])
def test_atoms_that_have_travelled_far(gap, periods):
    """Unwrapped positions of a long simulation: the images are the same structure, to the digits of positions."""
    atoms = alloy(4)
    far = atoms.copy()
    far.positions += np.array([[periods, 0, 0], [0, -periods, 0], [1, 2, periods], [0, 0, 0]]) @ atoms.cell.array
    tolerance = 1e-7 * periods / 3000
    p, q = gap.predict(atoms), gap.predict(far)
    np.testing.assert_allclose(q.forces[0], p.forces[0], atol=tolerance)
    np.testing.assert_allclose(q.stress[0], p.stress[0], atol=tolerance)
    drifted = structures()["cluster"]
    drifted.positions += 5e4
    np.testing.assert_allclose(
        gap.predict(drifted).forces[0], gap.predict(structures()["cluster"]).forces[0], atol=1e-7
    )
