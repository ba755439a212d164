"""A small model of copper, and what compares two fits of it."""

from __future__ import annotations

import itertools

import numpy as np

from gapkit import GAP, SOAP, DotProduct, Term
from gapkit.structures.frames import labelled_frames

TERMS = [Term(SOAP(species=["Cu"], cutoff=4.0, n_max=4, l_max=3), DotProduct(3, 2.0), n_sparse=20)]


def model(**changes):
    """One term and fixed noises; `changes` are parameters of `GAP`."""
    return GAP(TERMS, energy_noise=0.002, forces_noise=0.05, virial_noise=0.02, verbose=False, **changes)


def assert_same_bits(one, other):
    """Weights, factor, training data and e0 of two fits, to the last bit."""
    np.testing.assert_array_equal(one.alpha_, other.alpha_)
    np.testing.assert_array_equal(one.posterior_.R, other.posterior_.R)
    assert one.training_ == other.training_
    assert one.e0_ == other.e0_


def largest_difference(one, other, frames):
    """Of energies, forces, stresses and standard deviations that two models predict, in their units."""
    p, q = one.predict(frames, return_std="all"), other.predict(frames, return_std="all")
    pairs = [(p.energy, q.energy), (p.energy_std, q.energy_std), *zip(p.forces, q.forces)]
    pairs += [*zip(p.forces_std, q.forces_std), *((a, b) for a, b in zip(p.stress, q.stress) if a is not None)]
    return max(float(np.abs(a - b).max()) for a, b in pairs)


class Again:
    """Neither a list nor an iterator: what can be iterated more than once."""

    def __init__(self, frames):
        self.frames = frames

    def __iter__(self):
        return iter(self.frames)


def interrupted(frames, n):
    """An iterable that breaks off after n frames of its second pass."""

    class Breaking:
        passes = 0

        def __iter__(self):
            Breaking.passes += 1
            yield from frames if Breaking.passes == 1 else itertools.islice(frames, n)
            if Breaking.passes > 1:
                raise KeyboardInterrupt

    return Breaking()


def refit(recipe, frames):
    """A fit with given sparse points."""
    from gapkit.fitting.first_pass import Summary
    from gapkit.fitting.second_pass import stream_rows
    from gapkit.potential.fitted_model import Origin, solved

    new = model()
    summary = Summary()
    source = labelled_frames(frames) if isinstance(frames, list) else frames
    for frame in source:
        summary.add(frame, recipe.noises)
    factors = stream_rows(recipe, source, {})
    origin = Origin(summary.as_dict(), summary.frames, {})
    new._become(solved(recipe, factors, new.jitter, origin, (), summary.references()))
    return new
