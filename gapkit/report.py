"""One self-contained HTML file about a potential: what it is, how wrong it is, and whether it knows."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gapkit import figures
from gapkit.errors import InputError
from gapkit.evaluation import Comparison, ErrorRow, Evaluation
from gapkit.model_card import as_text, describe_model, recipe, versions
from gapkit.output_files import check_output, complete_file
from gapkit.uncertainty import Calibration, calibration

if TYPE_CHECKING:
    from gapkit.gap import GAP

NAMES = {"energy": "Energy", "forces": "Forces", "stress": "Stress"}
N_WORST = 10
_SMALL = 1e-4  # below, numbers are written with an exponent
CONVENTIONS = (
    ("Energy", "total energy divided by the number of atoms, eV/atom; errors in meV/atom"),
    ("Forces", "per Cartesian component, eV/Å"),
    ("Stress", "(1/V) dE/dε per independent component xx yy zz yz xz xy, GPa, tension positive"),
    ("Error", "predicted − reference"),
    ("Standard deviation", "of a new label: the model's own and the noise of the labels together"),
    ("z", "(reference − predicted)/standard deviation"),
)


class Number(NamedTuple):
    """A number to show, and the same unrounded to sort and to test by."""

    text: str
    value: str


def write_report(
    path: str | os.PathLike[str],
    gap: GAP,
    evaluation: Evaluation,
    *,
    train_evaluation: Evaluation | None = None,
    title: str = "Gaussian-process potential",
    data_description: str = "",
    model_card: Mapping[str, Any] | None = None,
    md: Mapping[str, Any] | None = None,
) -> None:
    """Write one HTML file with tables and figures inside; it appears complete or not at all.

    Parameters
    ----------
    path : path
        File to write; an older one is replaced.
    gap : GAP
        The fitted potential.
    evaluation : Evaluation
        Its errors on test structures.
    train_evaluation : Evaluation, optional
        Its errors on the training structures, shown beside them.
    title, data_description : str
        Heading, and a sentence about the data.
    model_card : mapping, optional
        Further rows of the model table, name -> value; they replace rows of the same name.
    md : mapping, optional
        Molecular dynamics: "time_ps" (n,) ps, "total_energy_per_atom" (n,) eV, and if known "temperature" (n,) K and
        "drift_mev_per_atom" (meV/atom); any other item becomes a row of the table.

    Raises
    ------
    InputError
        If matplotlib or jinja2 is missing, no file can be written at `path`, or the arrays of `md` do not fit together.
    """
    figures.require_matplotlib()
    engine = _template_engine()
    check_output(path)
    if md is not None:
        _check_md(md)
    context = {
        "title": title,
        "data_description": data_description,
        "model": _model_rows(gap, train_evaluation, model_card or {}),
        "conventions": CONVENTIONS,
        "n_structures": evaluation.n_structures,
        "reproduce": recipe(gap),
        "versions": versions(),
        "date": _today(),
        "md": None if md is None else _md(md),
        **_errors(evaluation, train_evaluation),
        **_figures(evaluation),
        **_uncertainty(evaluation),
        "worst": _worst(evaluation),
    }
    page = _render(engine, context)
    with complete_file(path) as file:
        file.write(page)


def _model_rows(gap: GAP, train: Evaluation | None, further: Mapping[str, Any]) -> list[tuple[str, str]]:
    return list((describe_model(gap, train) | {name: as_text(value) for name, value in further.items()}).items())


def _template_engine() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise InputError("a report needs jinja2, which is not installed: pip install gapkit[report].") from error
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)


def _render(engine: Any, context: Mapping[str, Any]) -> str:
    from markupsafe import Markup  # comes with jinja2

    folder = resources.files("gapkit") / "templates"
    css, js, html = ((folder / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js", "html"))
    trusted = {"css": Markup(css), "js": Markup(js), "css_hash": _csp_hash(css), "js_hash": _csp_hash(js)}
    return engine.from_string(html).render(**context, **trusted) + "\n"


def _csp_hash(source: str) -> str:
    """Source expression by which the page's security policy admits this text and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


# ---- numbers and words


def _number(value: float | None) -> Number:
    if value is None:
        return Number("–", "")
    text = f"{value:.0f}" if abs(value) >= 999.5 else f"{value:#.3g}"
    return Number(_typeset(text), repr(float(value)))


def _typeset(text: str) -> str:
    """-3.96e-06 -> −3.96e−6."""
    mantissa, e, exponent = text.rstrip(".").partition("e")
    return (mantissa + (f"e{int(exponent)}" if e else "")).replace("-", "−")


def _with_error(value: float, error: float | None) -> tuple[Number, str]:
    """3.214, 0.183 -> 3.21 and 0.18: as many decimals as two digits of the error have, if these are few."""
    if not error:
        return _number(value), ""
    if abs(value) < _SMALL:
        return _number(value), _typeset(f"{error:.1e}")
    decimals = int(np.clip(1 - np.floor(np.log10(error)), 0, 8))
    return Number(f"{value:.{decimals}f}", repr(float(value))), f"{error:.{decimals}f}"


def _today() -> str:
    """Date of today, or of SOURCE_DATE_EPOCH for builds that must repeat."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdecimal() else datetime.now(UTC)
    return moment.strftime("%Y-%m-%d")


# ---- errors


def _errors(evaluation: Evaluation, train: Evaluation | None) -> dict[str, Any]:
    rows = evaluation.rows()
    train_rmse = {} if train is None else {(row.kind, row.config_type): row.rmse for row in train.rows()}
    tables = []
    for kind in evaluation.comparisons:
        shown = [_shown(row, train_rmse) for row in rows if row.kind == kind]
        unit = next(row.unit for row in rows if row.kind == kind)
        tables.append({"kind": kind, "name": NAMES[kind], "unit": unit, "total": shown[0], "rows": shown[1:]})
    tiles = [_tile(row) for row in rows if row.config_type is None]
    return {"tables": tables, "tiles": tiles + _coverage_tile(evaluation), "has_train": train is not None}


def _shown(row: ErrorRow, train_rmse: Mapping[tuple[str, str | None], float]) -> dict[str, Any]:
    rmse, rmse_se = _with_error(row.rmse, row.rmse_se)
    return row._asdict() | {
        "rmse": rmse,
        "rmse_se": rmse_se,
        "mae": _number(row.mae),
        "max": _number(row.max),
        "train": _number(train_rmse.get((row.kind, row.config_type))),
    }


def _tile(row: ErrorRow) -> dict[str, str]:
    rmse, rmse_se = _with_error(row.rmse, row.rmse_se)
    values = f"{row.n} value" + ("s" if row.n != 1 else "")
    note = f"± {rmse_se}, {values}" if rmse_se else values
    return {"name": f"{NAMES[row.kind]} RMSE", "value": rmse.text, "unit": row.unit, "note": note}


def _coverage_tile(evaluation: Evaluation) -> list[dict[str, str]]:
    scored = _calibrated(evaluation.energy)
    if scored is None:
        return []
    observed = f"{100.0 * scored.coverage[0.9]:.0f} %"
    note = f"90 % if calibrated, ± {100.0 * scored.coverage_se[0.9]:.1f} %"
    return [{"name": "Energies inside their 90 % interval", "value": observed, "unit": "", "note": note}]


def _worst(evaluation: Evaluation) -> dict[str, Any]:
    """Frames ranked by max over kinds of (RMSE of the frame / RMSE of the set)."""
    score: dict[int, float] = {}
    columns: dict[str, dict[int, float]] = {}
    names: dict[int, str] = {}
    for kind, comparison in evaluation.comparisons.items():
        shown = comparison.displayed()
        frames, first, index = np.unique(shown.structure, return_index=True, return_inverse=True)
        rmse = np.sqrt(np.bincount(index, weights=shown.error**2) / np.bincount(index))
        overall = float(np.sqrt(np.mean(shown.error**2))) or 1.0
        # one energy per frame: its sign is worth showing
        values = shown.error[first] if kind == "energy" else rmse
        heading = f"{kind} {'error' if kind == 'energy' else 'RMSE'} ({shown.unit})"
        columns[heading] = dict(zip(frames.tolist(), values.tolist()))
        names |= dict(zip(frames.tolist(), shown.config_type[first].tolist()))
        for frame, ratio in zip(frames.tolist(), (rmse / overall).tolist()):
            score[frame] = max(score.get(frame, 0.0), ratio)
    worst = sorted(score, key=lambda frame: (-score[frame], frame))[:N_WORST]
    rows = [
        {
            "frame": frame,
            "config_type": names[frame],
            "numbers": [_number(column.get(frame)) for column in columns.values()] + [_number(score[frame])],
        }
        for frame in worst
    ]
    return {"headings": ["frame", "config type", *columns, "ratio"], "rows": rows}


# ---- figures


def _figure(name: str, data: bytes, alt: str, caption: str) -> dict[str, str]:
    return {"name": name, "data": base64.b64encode(data).decode(), "alt": alt, "caption": caption}


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    groups = figures.colour_groups(evaluation)
    parity, histogram = [], []
    for kind, comparison in evaluation.comparisons.items():
        name, n = NAMES[kind], len(comparison)
        dense = " Colour shows the density of values." if n > figures.MANY else ""
        caption = f"{name}: predicted against reference, and the error below. The dashed line is agreement.{dense}"
        picture = figures.parity(comparison, groups)
        parity.append(_figure(f"parity-{kind}", picture, f"Parity plot of {n} {kind} values", caption))
        caption = f"{name}: errors of {n} values; the outermost bins hold all beyond six RMSE."
        picture = figures.error_histogram(comparison, groups)
        histogram.append(_figure(f"histogram-{kind}", picture, f"Histogram of {n} {kind} errors", caption))
    return {"groups": groups, "figures": {"parity": parity, "histogram": histogram}}


# ---- uncertainty


def _calibrated(comparison: Comparison | None) -> Calibration | None:
    """Calibration in the unit of display, or None without usable standard deviations."""
    if comparison is None or comparison.std is None or not np.all(comparison.std > 0.0):
        return None
    return calibration(comparison.displayed())


def _uncertainty(evaluation: Evaluation) -> dict[str, Any]:
    items = []
    groups = figures.colour_groups(evaluation)
    for kind, comparison in evaluation.comparisons.items():
        scored = _calibrated(comparison)
        if scored is not None:
            items.append(_calibration_item(kind, comparison, scored, groups))
    note = (
        "Each prediction is a Gaussian with the predicted standard deviation. If it is calibrated, a share p of the "
        "reference values lies inside the central interval of probability p."
        if items
        else "No predictive standard deviations were evaluated, or some are zero: evaluate with return_std=True."
    )
    return {"calibrations": items, "uncertainty_note": note}


def _calibration_item(
    kind: str, comparison: Comparison, scored: Calibration, groups: Sequence[figures.Group]
) -> dict[str, Any]:
    pictures = [
        _figure(
            f"uncertainty-{kind}",
            figures.uncertainty_against_error(comparison, groups),
            f"Absolute {kind} error against predicted standard deviation",
            "Absolute error against predicted standard deviation; about 68 % of the values should lie below the solid "
            "line (1 σ), 95 % below the dashed one (2 σ).",
        ),
        _figure(
            f"reliability-{kind}",
            figures.reliability(comparison, scored.scale),
            f"Observed against nominal coverage of the {kind} intervals",
            "Reliability: above the diagonal the model is too cautious, below it too sure.",
        ),
    ]
    return {
        "kind": kind,
        "name": NAMES[kind],
        "unit": scored.unit,
        "figures": pictures,
        "scores": _scores(scored),
        "coverage": [
            (f"{100.0 * p:g} %", Number(f"{100.0 * x:.1f} %", repr(x)), f"{100.0 * scored.coverage_se[p]:.1f} %")
            for p, x in scored.coverage.items()
        ],
    }


def _scores(scored: Calibration) -> list[tuple[str, Number, str]]:
    unit = scored.unit
    return [
        ("mean of z", _number(scored.mean_z), "0"),
        ("standard deviation of z", _number(scored.std_z), "1"),
        ("factor on the std that fits best", _number(scored.scale), "1"),
        ("miscalibration area", _number(scored.miscalibration_area), "0"),
        ("rank correlation of std and error", _number(scored.rank_correlation), "high"),
        (f"negative log likelihood (values in {unit})", _number(scored.nll), "low"),
        (f"CRPS ({unit})", _number(scored.crps), "low"),
        (f"sharpness, root mean square std ({unit})", _number(scored.sharpness), "low"),
    ]


# ---- molecular dynamics


def _check_md(md: Mapping[str, Any]) -> None:
    missing = [name for name in ("time_ps", "total_energy_per_atom") if name not in md]
    if missing:
        raise InputError(f"md lacks {' and '.join(missing)} (it has {', '.join(md) or 'nothing'}): add the arrays.")
    arrays = {name: np.asarray(md[name], dtype=float) for name in _series(md)}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 or shape[0] < 2 for shape in shapes.values()):
        raise InputError(
            f"the arrays of md must have one common length of at least 2, got {shapes}: record them together."
        )
    bad = [name for name, array in arrays.items() if not np.all(np.isfinite(array))]
    if bad:
        raise InputError(f"md holds values that are not finite in {', '.join(bad)}: the run failed, look at its end.")


def _words(name: str) -> str:
    return (name[:1].upper() + name[1:]).replace("_", " ")


def _series(md: Mapping[str, Any]) -> list[str]:
    return [n for n in ("time_ps", "total_energy_per_atom", "temperature") if md.get(n) is not None]


def _md(md: Mapping[str, Any]) -> dict[str, Any]:
    time = np.asarray(md["time_ps"], dtype=float)
    rows = [("Length (ps)", as_text(float(time[-1] - time[0])))]
    if md.get("temperature") is not None:
        rows.append(("Mean temperature (K)", f"{np.mean(md['temperature']):.1f}"))
    if md.get("drift_mev_per_atom") is not None:
        rows.append(("Energy drift (meV/atom)", _number(float(md["drift_mev_per_atom"])).text))
    others = [name for name in md if name not in (*_series(md), "drift_mev_per_atom") and md[name] is not None]
    rows += [(_words(name), _number(x).text if isinstance(x := md[name], float) else as_text(x)) for name in others]
    caption = "Total energy relative to the first frame" + (", and temperature." if len(_series(md)) == 3 else ".")
    return {"figure": _figure("md", figures.trajectory(md), "Energy against time", caption), "rows": rows}
