"""Terms of a model as functions of neighbours: explicit functions of the whole structure rewritten, or refused by name.

A rank of LAMMPS knows its own atoms and their neighbours, not the structure. `Composition` and `InversePowers` are sums
over atoms and pairs and need no more.
"""

from __future__ import annotations

from collections.abc import Sequence

from gapkit.errors import InputError
from gapkit.terms.protocol import AdditiveTerm

ANY_REACH = 1.0  # Å, of a term without neighbours


def terms_on_pairs(terms: Sequence[AdditiveTerm]) -> tuple[AdditiveTerm, ...]:
    """The terms, each with a reach.

    Raises
    ------
    InputError
        For a term that is a function of the whole structure, as `LongRange`.
    """
    longest = max((term.reach for term in terms if term.reach is not None), default=ANY_REACH)
    return tuple(_on_pairs(term, longest) for term in terms)


def _on_pairs(term: AdditiveTerm, longest: float) -> AdditiveTerm:
    found = term.on_pairs(longest)
    if found is None:
        raise InputError(
            f"the model's term {term.label} is a function of the whole structure, which no rank of LAMMPS "
            "knows: run it in ASE, or fit without it."
        )
    return found
