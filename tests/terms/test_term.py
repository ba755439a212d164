"""Terms of a descriptor and a kernel: refusals."""

from __future__ import annotations

import pytest
from example_structures import alloy, labelled
from models_of_terms import S

from gapkit import ACSF, GAP, InputError, Term


@pytest.mark.parametrize(
    ("term", "words"),
    [
        (Term(ACSF(S, g4=((0.1, 0.5, 1.0),))), "ζ ≥ 1"),
        (Term(ACSF(S, g2=((0.1,),))), "g2"),
        (Term(ACSF(S, columns=(0, 0))), "columns"),
        (Term(ACSF(S, columns=())), "columns"),
        (Term(ACSF(S, scales=(1.0,))), "scales"),
        (Term(ACSF(S, cutoff=0.5)), "cutoff"),
    ],
)
def test_impossible_descriptors_are_refused(term, words):
    with pytest.raises(InputError, match=words):
        GAP([term], verbose=False).fit([labelled(alloy(0))])
