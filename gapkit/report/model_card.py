"""Model card of a potential: its rows, and the Python code that reproduces the potential."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from gapkit.fitting.hyperparameters import parse_optimize
from gapkit.gaussian_process.conditioning import explain
from gapkit.quantities import UNITS
from gapkit.structures.labels import LabelKeys

if TYPE_CHECKING:
    from gapkit.potential.gap import GAP

# names in reprs of parameters that `gapkit` exports
PUBLIC = frozenset(
    {"ACSF", "D3", "D4", "SOAP", "ZBL", "Composition", "DotProduct", "Ewald", "InversePowers", "Linear", "LongRange"}
    | {"Pair", "SquaredExponential", "Term", "Triplet"}
)
LONG = re.compile(r"\d+\.\d{5,}(?:e[+-]\d+)?")  # numbers with five or more decimals


def versions() -> str:
    """Versions of the packages that a result depends on."""
    found = [f"Python {platform.python_version()}"]
    for name in ("gapkit", "numpy", "scipy", "ase", "dscribe", "numba"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return " · ".join(found)


def describe_model(gap: GAP) -> dict[str, str]:
    """Rows of the model card; those that a fitted potential lacks are left out."""
    card: dict[str, Any] = {}
    for index, term in enumerate(gap.terms_, start=1):
        head = f"Term {index}: " if len(gap.terms_) > 1 else ""
        rows = {f"{head}{words}": part for words, part in term.parts.items()}
        card |= {name[0].upper() + name[1:]: value for name, value in rows.items()}
    posterior, training = gap.posterior_, gap.training_
    card |= {
        "Species": gap.species_,
        "e0 (eV)": gap.e0_,
        "Baselines": gap.baseline_ or None,
        **{f"{kind.capitalize()} noise ({unit})": getattr(gap.noise_, kind) for kind, unit in UNITS.items()},
        "Learned from the data": _learned(gap.hyperparameters_),
        "Sparse points of the fit": _sparse_points(gap.selection_),
        "Conditioning": _conditioning(gap),
        "Log marginal likelihood": posterior.log_marginal_likelihood,
        "Training frames": training["n_structures"],
        "Training frames by config type": _frames_by_config_type(training),
        "Shortest training distances (Å)": training.get("shortest_distances") or None,
        "Training rows": posterior.n_rows,
        "Training data SHA-256": training.get("sha256"),
        "Can be updated": _updatable(gap),
        "Conformal intervals of": sorted(gap.conformal_) or None,
        **_recalibration(gap.recalibration_),
    }
    return {name: as_text(value) for name, value in card.items() if value is not None}


def _learned(rows: Iterable[Mapping[str, Any]]) -> str | None:
    """Names of the noises and amplitudes that are not as given."""
    return ", ".join(row["name"] for row in rows if row["note"] != "fixed") or None


def _sparse_points(selection: Mapping[tuple[int, str], Mapping[str, Any]]) -> str | None:
    several = len({term for term, _ in selection}) > 1
    named = ((f"term {term + 1}, {name}" if several else name, chosen) for (term, name), chosen in selection.items())
    return "; ".join(f"{name}: {chosen['text']}" for name, chosen in named) or None


def _updatable(gap: GAP) -> str:
    return "no: it was saved without its row factors" if gap.factors_ is None else "yes, with gapkit update"


def _conditioning(gap: GAP) -> str:
    """In sentences."""
    return " ".join(explain(gap.posterior_.conditioning, gap.basis_.column_names))


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
    """Python code that fits and evaluates this potential, from its parameters and the arguments of its fit."""
    parameters = gap.get_params(deep=False)
    with np.printoptions(legacy="1.25"):  # NumPy's numbers as numbers
        settings = "".join(f"    {name}={value!r},\n" for name, value in parameters.items())
    model = f"GAP(\n{settings})"
    called = set(re.findall(r"\b(\w+)\(", model))
    ours = ", ".join(sorted({"GAP", "evaluate", "read_structures"} | called & PUBLIC))
    calculator = "from gapkit.baselines import Calculator\n" if "Calculator" in called else ""
    labels = _key_arguments(gap)
    return (
        f"from gapkit import {ours}\n{calculator}"
        "from gapkit.report import write_report\n\n"
        f'train = read_structures("train.xyz"{labels})\n'
        f'test = read_structures("test.xyz"{labels})\n'
        f"gap = {model}\n"
        f"{_fit_line(gap)}\n"
        'evaluation = evaluate(gap, test, return_std="all")\n'
        "print(evaluation.table())\n"
        'write_report("report.html", gap, evaluation, frames=test)'
    )


def _key_arguments(gap: GAP) -> str:
    """Names of labels as the fit was given them, as further arguments of `read_structures`."""
    keys = gap.training_.get("fit", {}).get("keys")
    if keys is None:
        return ""
    names = LabelKeys(**keys).as_arguments()
    if names["config_type_key"] == LabelKeys().config_type:
        del names["config_type_key"]
    return "".join(f", {name}={key!r}" for name, key in names.items())


def _fit_line(gap: GAP) -> str:
    """The call of fit, with `optimize` where it differs from the parameter; comments on what a call cannot express."""
    asked = gap.training_.get("fit")
    lines = ["gap.fit(train)"]
    if asked is not None and frozenset(asked["optimize"]) != parse_optimize(gap.optimize):
        lines = [f"gap.fit(train, optimize={asked['optimize']!r})"]
    if asked is None and gap.hyperparameters_:
        lines.append("# a file of an earlier gapkit: add optimize=[...], the model card names what was learned")
    if updates := gap.training_.get("updates"):
        lines.append(f"# afterwards: {', '.join(updates)}; a new fit to all frames may choose other sparse points")
    return "\n".join(lines)


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
