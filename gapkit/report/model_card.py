"""What a potential is made of, in words: the rows of a model card, and the lines that make it again."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from gapkit.gaussian_process.conditioning import Conditioning, explain

if TYPE_CHECKING:
    from gapkit.evaluation.comparison import Evaluation
    from gapkit.potential.gap import GAP

# names that reprs of parameters call, and that `gapkit` exports
PUBLIC = frozenset(
    {"ACSF", "D3", "D4", "SOAP", "ZBL", "Composition", "DotProduct", "Ewald", "InversePowers", "Linear", "LongRange"}
    | {"Pair", "SquaredExponential", "Term", "Triplet"}
)
LONG = re.compile(r"\d+\.\d{5,}(?:e[+-]\d+)?")  # numbers with digits that nobody reads


def versions() -> str:
    """Versions of what a result depends on."""
    found = [f"Python {platform.python_version()}"]
    for name in ("gapkit", "numpy", "scipy", "ase", "dscribe", "numba"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return " · ".join(found)


def describe_model(gap: GAP, train_evaluation: Evaluation | None) -> dict[str, str]:
    """Rows for whatever of these the potential has."""
    card: dict[str, Any] = {}
    terms = list(getattr(gap, "terms_", None) or getattr(gap, "terms", None) or ())
    for index, term in enumerate(terms, start=1):
        head = f"Term {index}: " if len(terms) > 1 else ""
        rows = {f"{head}{words}": part for words, part in term.parts.items()}
        card |= {name[0].upper() + name[1:]: value for name, value in rows.items()}
    posterior = getattr(gap, "posterior_", None)
    training = getattr(gap, "training_", None) or {}
    n_training = training.get("n_structures", None if train_evaluation is None else train_evaluation.n_structures)
    card |= {
        "Species": getattr(gap, "species_", None),
        "e0 (eV)": getattr(gap, "e0_", None),
        "Baselines": getattr(gap, "baseline_", None) or None,
        "Energy noise (eV/atom)": _noise(gap, "energy"),
        "Forces noise (eV/Å)": _noise(gap, "forces"),
        "Virial noise (eV/atom)": _noise(gap, "virial"),
        "Learned from the data": _learned(getattr(gap, "hyperparameters_", None) or ()),
        "Sparse points of the fit": _sparse_points(getattr(gap, "selection_", None) or {}),
        "Conditioning": _conditioning(gap),
        "Log marginal likelihood": getattr(posterior, "log_marginal_likelihood", None),
        "Training frames": n_training,
        "Training frames by config type": _frames_by_config_type(training),
        "Shortest training distances (Å)": training.get("shortest_distances") or None,
        "Training rows": getattr(posterior, "n_rows", None),
        "Training data SHA-256": training.get("sha256"),
        "Can be updated": _updatable(gap),
        "Conformal intervals of": sorted(getattr(gap, "conformal_", None) or ()) or None,
        **_recalibration(getattr(gap, "recalibration_", None)),
    }
    return {name: as_text(value) for name, value in card.items() if value is not None}


def _noise(gap: GAP, kind: str) -> Any:
    """That of the fit, learned or given; before a fit that which is given."""
    noises = getattr(gap, "noise_", None)
    return getattr(gap, f"{kind}_noise", None) if noises is None else getattr(noises, kind)


def _learned(rows: Iterable[Mapping[str, Any]]) -> str | None:
    """Names of the noises and amplitudes that are not as given."""
    return ", ".join(row["name"] for row in rows if row["note"] != "fixed") or None


def _sparse_points(selection: Mapping[tuple[int, str], Mapping[str, Any]]) -> str | None:
    several = len({term for term, _ in selection}) > 1
    named = ((f"term {term + 1}, {name}" if several else name, chosen) for (term, name), chosen in selection.items())
    return "; ".join(f"{name}: {chosen['text']}" for name, chosen in named) or None


def _updatable(gap: GAP) -> str | None:
    if not hasattr(gap, "factors_"):
        return None
    return "no: it was saved without its row factors" if gap.factors_ is None else "yes, with gapkit update"


def _conditioning(gap: GAP) -> Any:
    """In sentences."""
    found = getattr(getattr(gap, "posterior_", None), "conditioning", None)
    if not isinstance(found, Conditioning):
        return found
    return " ".join(explain(found, gap.basis_.column_names))


def _frames_by_config_type(training: Mapping[str, Any]) -> dict[str, int] | None:
    counts = {name: row["frames"] for name, row in training.get("config_types", {}).items()}
    return counts or None


def _recalibration(found: Any) -> dict[str, Any]:
    """Factors on standard deviations, and where they come from."""
    if found is None:
        return {}
    origin = found.provenance
    source = f"{origin.data}, " if origin.data else ""
    return {
        "Factors on standard deviations": found.scales,
        "Recalibrated on": f"{origin.how} labels, {source}{origin.date}, SHA-256 {origin.fingerprint}",
    }


def recipe(gap: GAP) -> str:
    """Python that fits and evaluates such a potential, from the parameters of `gap`."""
    parameters = gap.get_params(deep=False) if hasattr(gap, "get_params") else {}
    settings = "".join(f"    {name}={value!r},\n" for name, value in parameters.items())
    model = f"GAP(\n{settings})" if settings else "GAP(...)"
    called = set(re.findall(r"\b(\w+)\(", model))
    ours = ", ".join(sorted({"GAP", "evaluate", "read_structures"} | called & PUBLIC))
    calculator = "from gapkit.baselines import Calculator\n" if "Calculator" in called else ""
    return (
        f"from gapkit import {ours}\n{calculator}"
        "from gapkit.report import write_report\n\n"
        'train = read_structures("train.xyz")\n'
        'test = read_structures("test.xyz")\n'
        f"gap = {model}\n"
        "gap.fit(train)\n"
        'evaluation = evaluate(gap, test, return_std="all")\n'
        "print(evaluation.table())\n"
        'write_report("report.html", gap, evaluation, frames=test)'
    )


def as_text(value: Any) -> str:
    """One line for any value: six digits, mappings as "name value", nothing nested in brackets."""
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {as_text(item)}" for name, item in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(as_text(item) for item in value) or "none"
    if is_dataclass(value):
        return LONG.sub(lambda number: f"{float(number[0]):.6g}", str(value))
    return str(value)
