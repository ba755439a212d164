"""Distances that the training data lack are reported: at the fit, in predictions and dynamics, on the model card."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.io import write
from ase.md.verlet import VelocityVerlet
from ase.neighborlist import neighbor_list
from example_structures import labelled
from run_gapkit import gapkit

from gapkit import GAP, SOAP, DotProduct, GAPCalculator, Pair, Term, Triplet
from gapkit.errors import ExtrapolationWarning, InputError
from gapkit.geometry.distances import CHANCE, shortest_distances, worst_contact
from gapkit.geometry.neighbourhoods import find_neighbourhoods
from gapkit.report.model_card import describe_model

PAIR = Pair(["Cu", "Au"], cutoff=4.5, length_scale=0.8, delta=0.7)
TRIPLET = Triplet(["Cu", "Au"], cutoff=3.6, n_sparse=10)


def pure(symbol: str, seed: int) -> Atoms:
    atoms = bulk(symbol, cubic=True)
    atoms.rattle(0.05, seed=seed)
    return labelled(atoms)


FRAMES = [pure("Cu", k) for k in range(3)] + [pure("Au", k) for k in range(3)]
DIMER = Atoms("CuAu", [[0, 0, 0], [2.6, 0, 0]])


def fitted(terms: list, frames: list[Atoms] = FRAMES) -> GAP:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GAP(terms, energy_noise=0.01, verbose=False).fit(frames)


@pytest.fixture(scope="module")
def gap() -> GAP:
    return fitted([PAIR, TRIPLET])


def warned(run) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [str(w.message) for w in caught if w.category is ExtrapolationWarning]


def test_the_fit_names_what_never_met():
    told = warned(lambda: GAP([PAIR, TRIPLET], verbose=False).fit(FRAMES))
    assert len(told) == 2
    assert "Cu-Au within Pair's 4.5 Å: zero energy, prior variance" in told[0]
    assert "Cu(Cu, Au)" in told[1]
    assert "Cu(Cu, Cu)" not in told[1]
    assert all("only other terms and baselines act there" in text for text in told)
    both = [*FRAMES, labelled(Atoms("CuAu", cell=[2.6, 3.8, 3.8], scaled_positions=[[0, 0, 0], [0.5] * 3], pbc=True))]
    assert not warned(lambda: GAP([PAIR, TRIPLET], verbose=False).fit(both))


@pytest.mark.parametrize("term", [Pair(["Cu"], cutoff=1.5), Triplet(["Cu"], cutoff=1.5)])
def test_a_cutoff_that_holds_no_neighbour_is_named(term):
    with pytest.raises(InputError, match=rf"within {type(term).__name__}'s 1.5 Å in any frame: raise the cutoff"):
        fitted([term], [pure("Cu", 0)])


def test_a_pair_that_never_met_has_the_prior():
    """w(r) f(r), f of variance δ²."""
    gap = fitted([PAIR])
    for r, taper in ((2.6, 1.0), (3.1, 1.0), (4.0, 0.5), (4.6, 0.0)):
        with warnings.catch_warnings(action="ignore"):
            p = gap.predict(Atoms("CuAu", [[0, 0, 0], [r, 0, 0]]), return_std=True)
        np.testing.assert_array_equal(p.forces[0], 0.0)
        assert p.energy[0] == pytest.approx(sum(gap.e0_.values()), abs=1e-12)
        assert p.energy_std[0] == pytest.approx(taper * PAIR.delta, rel=1e-3, abs=1e-9)
    pairs = gap.predict(Atoms("Cu2", [[0, 0, 0], [2.6, 0, 0]]), return_std=True)
    assert pairs.energy_std[0] < 0.5 * PAIR.delta


def test_it_can_be_learned_later():
    gap, meeting = fitted([PAIR]), labelled(Atoms("CuAu", [[0, 0, 0], [2.6, 0, 0]]))
    assert warned(lambda: gap.predict(meeting))
    gap.partial_fit([meeting])
    p = gap.predict(meeting, return_std=True)
    assert p.energy[0] == pytest.approx(meeting.get_potential_energy(), abs=0.1)
    assert p.energy_std[0] < 0.1 * PAIR.delta
    assert not warned(lambda: gap.predict(meeting))
    assert gap.training_["shortest_distances"]["Cu-Au"] == pytest.approx(2.6)


def test_shortest_distances_are_those_of_the_frames(gap):
    wanted = shortest_distances(FRAMES, within=PAIR.cutoff)
    assert gap.training_["shortest_distances"] == pytest.approx(wanted, rel=1e-14)
    assert gap.training_["shortest_distances"].keys() == {"Cu-Cu", "Au-Au"}
    assert copy.copy(gap).remove(FRAMES[:1]).training_["shortest_distances"] == gap.training_["shortest_distances"]


def test_predictions_tell_of_pairs_too_close_once(gap):
    limit = gap.training_["shortest_distances"]["Cu-Cu"]
    near, far, close = (
        Atoms("Cu3", [[0, 0, 0], [r, 0, 0], [0, 0, 4.0]])
        for r in ((1 - 0.9 * CHANCE) * limit, 1.1 * limit, 0.7 * limit)
    )
    assert not warned(lambda: gap.predict([near, far]))
    (told,) = warned(lambda: gap.predict([far, close, near]))
    assert told.startswith(f"structure 1: atoms 0 and 1 (Cu-Cu) are {0.7 * limit:.3f} Å apart, closer than any in the")
    assert f"({limit:.3f} Å)" in told
    assert gap.predict([far, near]).short_contacts == [None, None]
    (told,) = warned(lambda: gap.predict([DIMER, close]))
    assert "a pair that no training frame has (2 of 2 structures have such pairs)" in told


def test_images_count(gap):
    limit = gap.training_["shortest_distances"]["Cu-Cu"]
    squeezed = Atoms("Cu", cell=[0.8 * limit, 4.0, 4.0], pbc=True)
    with pytest.warns(ExtrapolationWarning):
        (contact,) = gap.predict(squeezed).short_contacts
    assert contact[:3] == (0, 0, "Cu-Cu")
    assert contact.distance == pytest.approx(0.8 * limit)


@pytest.mark.parametrize("seed", range(8))
def test_the_worst_contact_is_that_of_all_pairs(seed):
    """Among all pairs and images; some species have met, some have not, some have no pair within the cutoff."""
    rng, symbols = np.random.default_rng(seed), ["H", "O", "Cu", "Au"]
    atoms = Atoms(rng.choice(symbols, 12), rng.uniform(0, 6, (12, 3)), cell=[6, 7, 8], pbc=[True, True, seed % 2 == 0])
    names = [f"{a}-{b}" for k, a in enumerate(symbols) for b in symbols[k:]]
    low, high = (0.3, 2.5) if seed else (0.02, 0.1)
    shortest = {name: rng.uniform(low, high) for name in names if rng.random() < (1.0 if seed < 4 else 0.9)}
    i, j, d = neighbor_list("ijd", atoms, 2.6)
    pairs = ["-".join(sorted((atoms.symbols[a], atoms.symbols[b]), key=symbols.index)) for a, b in zip(i, j)]
    found = [(r / shortest.get(pair, np.inf), r, min(a, b), max(a, b)) for a, b, r, pair in zip(i, j, d, pairs)]
    contact = worst_contact(find_neighbourhoods(atoms, 2.6), atoms.numbers, shortest)
    ratio, *wanted = min(found)
    assert (contact is None) == (ratio >= 1 - CHANCE)
    if contact is not None:
        assert (contact.i, contact.j) == tuple(wanted[1:])
        assert contact.distance == pytest.approx(wanted[0])
        assert contact.distance / contact.shortest == pytest.approx(ratio)


def test_a_run_is_warned_of_once(gap):
    atoms = bulk("Cu", cubic=True).repeat((2, 1, 1))
    atoms.set_cell(0.8 * atoms.cell.array, scale_atoms=True)
    atoms.rattle(0.02, seed=0)
    atoms.calc = GAPCalculator(gap)
    dyn = VelocityVerlet(atoms, 0.5 * units.fs)
    (told,) = warned(lambda: dyn.run(5))
    assert "Å apart, closer than any in the training data" in told
    assert not warned(lambda: dyn.run(5))
    atoms.calc = GAPCalculator(gap)
    assert len(warned(atoms.get_forces)) == 1


def test_terms_with_descriptors_tell_too():
    gap = fitted([Term(SOAP(["Cu", "Au"], 4.0, 3, 2), DotProduct(2, 1.0), 5)])
    (told,) = warned(lambda: gap.predict(DIMER))
    assert "(Cu-Au) are 2.600 Å apart, a pair that no training frame has" in told


def test_models_remember(gap, tmp_path):
    gap.save(tmp_path / "m.gap")
    loaded = GAP.load(tmp_path / "m.gap")
    assert loaded.training_["shortest_distances"] == gap.training_["shortest_distances"]
    card = describe_model(loaded)
    assert "Cu-Au within Pair's" in card["Sparse points of the fit"]
    assert f"Cu-Cu {gap.training_['shortest_distances']['Cu-Cu']:.6g}" in card["Shortest training distances (Å)"]
    del loaded.training_["shortest_distances"]  # as in files of earlier versions
    assert loaded.predict(DIMER).short_contacts is None
    assert not warned(lambda: loaded.predict(DIMER))


def test_the_command_line_tells_once(gap, tmp_path):
    gap.save(tmp_path / "m.gap")
    write(tmp_path / "many.xyz", [DIMER, FRAMES[0], DIMER], format="extxyz")
    run = gapkit("predict", tmp_path / "m.gap", tmp_path / "many.xyz", "-o", tmp_path / "out.xyz")
    assert run.code == 0
    assert run.err.count("a pair that no training frame has") == 1
    assert "2 of 3 structures" in run.err
    run = gapkit("info", tmp_path / "m.gap")
    assert "Shortest training distances" in run.out
