"""Summary of a fit: lines for a terminal, data for scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from gapkit.baselines import baseline_to_dict
from gapkit.fitting.noise import OUTLIER
from gapkit.gaussian_process.conditioning import determined, explain
from gapkit.quantities import KINDS, UNITS
from gapkit.report.model_card import as_text
from gapkit.runtime.memory import in_words

if TYPE_CHECKING:
    from gapkit.gaussian_process.optimum import Optimum
    from gapkit.potential.gap import GAP
    from gapkit.structures.frames import Frame


class OutlierFrame(NamedTuple):
    """A frame with noises of its own; `number` counts from 0 through all frames."""

    number: int
    config_type: str
    formula: str


def outlier_frames(gap: GAP, frames: Iterable[Frame]) -> dict[str, OutlierFrame]:
    """The frames behind the names of ``gap.noise_.outliers``, which are fingerprints; one pass if there are any."""
    if not (names := gap.noise_.outliers):
        return {}
    return {
        name: OutlierFrame(k, frame.labels.config_type, frame.atoms.get_chemical_formula())
        for k, frame in enumerate(frames)
        if (name := OUTLIER + frame.digest()) in names
    }


def describe_fit(gap: GAP, seconds: float, say: Callable[[str], None], outliers: Mapping[str, OutlierFrame]) -> None:
    """Everything that a fit has chosen and learned, line by line."""
    for term in gap.terms_:
        parts = (part for part in term.parts.values() if is_dataclass(part))
        say(f"term: {', '.join(map(in_words_of, parts))}")
    for baseline in gap.baseline_:
        say(f"baseline: {in_words_of(baseline)}")
    for name, chosen in gap.selection_.items():
        say(f"sparse points of {_name(name, gap)}: {chosen['text']}")
    if shortest := gap.training_.get("shortest_distances"):
        say("shortest distances: " + ", ".join(f"{pair} {distance:.3f} Å" for pair, distance in shortest.items()))
    if gap.e0 is not None:  # otherwise the search has reported them
        say("e0: " + ", ".join(f"{symbol} {energy:.6f} eV" for symbol, energy in gap.e0_.items()) + " as given")
    if gap.optimum_ is None:
        say(f"noise: {noises_in_words(gap)}")
    say(f"fit: {seconds:.1f} s for {gap.posterior_.n_rows} labels and {len(gap.alpha_)} sparse points")
    if gap.memory_ is not None:
        say(f"memory: estimated {in_words(gap.memory_.estimated)}, peak {in_words(gap.memory_.peak)}")
    if gap.optimum_ is not None:
        table = _named(gap.optimum_, outliers).table()
        goal = "least errors of left-out frames" if gap.optimum_.left_out else "largest evidence"
        say(f"learned from the data: noises and amplitudes of {goal}\n{table}")
    for sentence in conditioning_sentences(gap):
        say(f"conditioning: {sentence}")
    say(f"log evidence: {gap.posterior_.log_marginal_likelihood:.2f}")


def _named(optimum: Optimum, outliers: Mapping[str, OutlierFrame]) -> Optimum:
    """With the numbers of outliers in place of their fingerprints."""

    def renamed(name: str) -> str:
        for fingerprint, (number, config_type, formula) in outliers.items():
            name = name.replace(fingerprint, f"frame {number}, {config_type} {formula}")
        return name

    return replace(optimum, hyperparameters=tuple(replace(h, name=renamed(h.name)) for h in optimum.hyperparameters))


def in_words_of(part: Any) -> str:
    """A descriptor or kernel with its parameters, numbers to six digits, those that are not used left out."""
    values = {f.name: getattr(part, f.name) for f in fields(part) if f.name != "engine"}
    named = (f"{n}={float(f'{v:.6g}') if isinstance(v, float) else v!r}" for n, v in values.items() if v is not None)
    return f"{type(part).__name__}({', '.join(named)})"


def noises_in_words(gap: GAP) -> str:
    """The noises of the fit with their units; those of config types by name."""
    parts = [f"{kind} {as_text(getattr(gap.noise_, kind))} {unit}" for kind, unit in UNITS.items()]
    return ", ".join(parts)


def conditioning_sentences(gap: GAP) -> list[str]:
    """How well determined the sparse points are."""
    columns = {_name(gap.basis_.block_name(block), gap): block.columns for block in gap.blocks_}
    posterior = gap.posterior_
    return explain(posterior.conditioning, columns, determined(posterior.L, posterior.R))


def _name(block: tuple[int, str], gap: GAP) -> str:
    """ "Si", or "term 1, Si" if there are several terms."""
    term, name = block
    return f"term {term + 1}, {name}" if len(gap.terms_) > 1 else name


def fit_summary(gap: GAP, outliers: Mapping[str, OutlierFrame]) -> dict[str, Any]:
    """The same as JSON data."""
    noises, posterior = gap.noise_, gap.posterior_
    return {
        "species": list(gap.species_),
        "e0": gap.e0_,
        "baseline": [baseline_to_dict(baseline) for baseline in gap.baseline_],
        "training": gap.training_,
        "n_rows": posterior.n_rows,
        "noise": {kind: getattr(noises, kind) for kind in KINDS},
        "outliers": {
            name: {"noise": dict(own), "frame": outliers[name]._asdict()} for name, own in noises.outliers.items()
        },
        "hyperparameters": gap.hyperparameters_,
        "sparse_points": [{"term": t, "block": name, **chosen} for (t, name), chosen in gap.selection_.items()],
        "memory": None if gap.memory_ is None else gap.memory_._asdict(),
        "conditioning": posterior.conditioning._asdict() | {"sentences": conditioning_sentences(gap)},
        "log_marginal_likelihood": posterior.log_marginal_likelihood,
    }
