"""Linear terms: functions of your own, called once, checked, refused."""

from __future__ import annotations

from dataclasses import dataclass

import laws
import numpy as np
import pytest
from example_structures import alloy, labelled
from models_of_terms import PAIR, S

from gapkit import GAP, Composition, Features, InputError, InversePowers, Linear, feature_function
from gapkit.geometry.neighbourhoods import whole_structure

E0 = dict.fromkeys(S, 0.0)


@feature_function
@dataclass(frozen=True)
class Volume:
    """The volume per atom: a constant pressure."""

    power: float = 1.0

    n_features = 1

    def validate(self):
        pass

    def check_species(self, numbers):
        pass

    def __call__(self, atoms):
        n, v = len(atoms), atoms.get_volume() ** self.power
        strain = np.array([1, 1, 1, 0, 0, 0])[:, None] * self.power * v
        return Features(np.full((n, 1), v / n), np.zeros((n, 3, 1)), strain)


def test_functions_of_your_own(tmp_path):
    gap = GAP([PAIR, Linear(Volume(), 0.1)], e0=E0, verbose=False).fit([labelled(alloy(k)) for k in range(4)])
    laws.check_stress(laws.predictor(gap), alloy(9), atol=1e-5)
    gap.save(tmp_path / "m.gap")
    assert GAP.load(tmp_path / "m.gap").terms[1] == Linear(Volume(), 0.1)
    with pytest.raises(InputError, match="already"):
        feature_function(type("Volume", (), {}))


def test_a_function_is_called_once_for_all_error_bars():
    calls = []

    @dataclass(frozen=True)
    class Counted(Volume):
        def __call__(self, atoms):
            calls.append(len(atoms))
            return super().__call__(atoms)

    gap = GAP([PAIR, Linear(Counted(), 0.1)], e0=E0, verbose=False).fit([labelled(alloy(k)) for k in range(3)])
    calls.clear()
    gap.predict([alloy(7), alloy(8)], return_std="all")
    assert len(calls) == 2


def test_wrong_functions_are_refused():
    @dataclass(frozen=True)
    class Wrong(Volume):
        def __call__(self, atoms):
            return Features(np.zeros((len(atoms), 2)), np.zeros((len(atoms), 3, 1)), np.zeros((6, 1)))

    @dataclass(frozen=True)
    class Undefined(Volume):
        def __call__(self, atoms):
            return Features(np.full((len(atoms), 1), np.nan), np.zeros((len(atoms), 3, 1)), np.zeros((6, 1)))

    for function, words in ((Wrong(), "shapes"), (Undefined(), "NaN")):
        term = Linear(function)
        with pytest.raises(InputError, match=words):
            term.features(term.select({}, 0), whole_structure(alloy(1)), alloy(1).numbers)
    with pytest.raises(InputError, match="n_features"):
        GAP([Linear(3)], verbose=False).fit([labelled(alloy(0))])


@pytest.mark.parametrize(
    ("term", "words"),
    [
        (Linear(Composition(S), delta=-1.0), "delta"),
        (Linear(Composition(S), scales=(1.0,)), "scales"),
        (Linear(InversePowers(S, ())), "exponents"),
    ],
)
def test_impossible_linear_terms_are_refused(term, words):
    with pytest.raises(InputError, match=words):
        GAP([term], verbose=False).fit([labelled(alloy(0))])
