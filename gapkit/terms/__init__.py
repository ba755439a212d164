"""Additive terms of a potential: descriptor and kernel, pairs, triplets, explicit functions."""

from gapkit.terms.term import Term

__all__ = ["Term"]
