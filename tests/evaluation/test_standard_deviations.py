"""One set of words for standard deviations, wherever they are asked for."""

from __future__ import annotations

import numpy as np
import pytest
from example_structures import alloy, labelled
from fake_predictor import FakeGAP

from gapkit import GAPCalculator, InputError, evaluate
from gapkit.evaluation.standard_deviations import WhichStd, parse_return_std, parse_std
from gapkit.potential import distributed


def test_true_is_the_energy_and_false_nothing():
    assert parse_return_std(False) is parse_return_std(np.bool_(False)) is None
    assert parse_return_std(True) is parse_return_std("energy") is WhichStd.ENERGY
    assert (
        [parse_return_std(word) for word in ("local", "energy", "all")] == list(WhichStd) == ["local", "energy", "all"]
    )


@pytest.mark.parametrize("word", ["forces", "ALL", None, 2, ["all"]])
def test_every_door_refuses_the_same_words(gap, word):
    doors = (
        lambda: gap.predict(alloy(1), return_std=word),
        lambda: evaluate(FakeGAP(), [labelled(alloy(1))], word),
        lambda: distributed.predict(gap, [alloy(1)], 1, word),
    )
    for door in doors:
        with pytest.raises(InputError, match=r"^return_std = .* is unknown: use True, False(, 'local')? or 'all'\.$"):
            door()
    with pytest.raises(InputError, match=r"^standard deviations .* are unknown"):
        GAPCalculator(gap).uncertainty(alloy(1), word)


def test_local_energies_alone_are_nothing_to_evaluate():
    with pytest.raises(InputError, match="return_std = 'local' is unknown"):
        evaluate(FakeGAP(), [labelled(alloy(1))], "local")


def test_words_of_predictions_and_of_the_calculator_are_the_same(gap):
    atoms = alloy(2)
    for word in WhichStd:
        p, found = gap.predict(atoms, return_std=word), GAPCalculator(gap).uncertainty(atoms, word.value)
        assert parse_std(word.value) is word
        np.testing.assert_array_equal(found.local_energies_std, p.local_energies_std[0])
        assert found.energy_std == (None if p.energy_std is None else p.energy_std[0])
        assert (found.forces_std is None) == (p.forces_std is None) == (word != "all")
    assert gap.predict(atoms, return_std="energy").energy_std == gap.predict(atoms, return_std=True).energy_std
