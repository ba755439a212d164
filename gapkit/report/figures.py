"""Figures of a report as PNG bytes: dark ink on white whatever the user's matplotlib style; pyplot is never touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gapkit.errors import InputError
from gapkit.evaluation.calibration import coverage, z_scores
from gapkit.evaluation.comparison import Comparison, Evaluation
from gapkit.evaluation.ranking import Retention

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gapkit.model_selection.learning_curve import LearningCurve

# Okabe and Ito (2008), Color Universal Design; yellow is left out (unreadable on white), grey is for the rest
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
REST = "#8A8A8A"
INK, FAINT, GRID = "#1F2328", "#6E7781", "#E6E8EB"
_WIDTH, _DPI = 4.2, 180  # inches; shown about 350 CSS pixels wide, so 10 pt text stays readable on a phone
MANY = 20_000  # values from which a parity plot shows densities instead of points
BARS = 6_000  # values up to which points have error bars


class Group(NamedTuple):
    """Config types that share a colour."""

    label: str
    colour: str
    config_types: tuple[str, ...]


def require_matplotlib() -> None:
    """Raise InputError with the cure if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError("figures need matplotlib, which is not installed: pip install gapkit[report].") from error


def colour_groups(evaluation: Evaluation) -> list[Group]:
    """The most frequent config types with a colour each, the others together in grey."""
    counts: Counter[str] = Counter()
    for comparison in evaluation.comparisons.values():
        counts.update(str(name) for name in comparison.config_type)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    groups = [Group(name, colour, (name,)) for name, colour in zip(names, PALETTE)]
    rest = tuple(names[len(PALETTE) :])
    if rest:
        groups.append(Group(rest[0] if len(rest) == 1 else f"{len(rest)} others", REST, rest))
    return groups


def parity(comparison: Comparison, groups: Sequence[Group]) -> bytes:
    """Predicted against reference values, and below them the errors in their own unit; bars are ± 2 std."""
    figure, (top, bottom) = _figure(4.9, rows=2, height_ratios=(3.2, 1.0), sharex=True)
    shown = comparison.displayed()
    reference, predicted, error = comparison.reference, comparison.predicted, shown.error
    limits = _padded(np.concatenate([reference, predicted]))
    if len(comparison) > MANY:
        _densities(top, reference, predicted, (*limits, *limits), rows=40)
        _densities(bottom, reference, error, (*limits, *_padded(error)), rows=12)
    else:
        for group, rows in _rows_of(comparison, groups):
            style: dict[str, Any] = {"s": 9, "color": group.colour, "alpha": _opacity(len(comparison)), "linewidths": 0}
            top.scatter(reference[rows], predicted[rows], **style)
            bottom.scatter(reference[rows], error[rows], **style)
            if shown.std is not None and len(comparison) <= BARS:
                bars: dict[str, Any] = {"color": group.colour, "alpha": 0.6 * _opacity(len(comparison)), "lw": 0.6}
                x, half = reference[rows], 2.0 * np.asarray(comparison.std)[rows]
                top.vlines(x, predicted[rows] - half, predicted[rows] + half, **bars)
                half = 2.0 * shown.std[rows]
                bottom.vlines(x, error[rows] - half, error[rows] + half, **bars)
    top.plot(limits, limits, color=INK, lw=0.8, ls=(0, (4, 3)))
    bottom.axhline(0.0, color=INK, lw=0.8, ls=(0, (4, 3)))
    top.set(xlim=limits, ylim=limits)
    _label(top, "", f"predicted ({comparison.unit})")
    _label(bottom, f"reference ({comparison.unit})", f"error\n({shown.unit})")
    return _png(figure)


def error_histogram(comparison: Comparison, groups: Sequence[Group]) -> bytes:
    """Number of values per error, stacked; the outermost bins hold everything beyond six RMSE."""
    figure, (axes,) = _figure(3.1)
    shown = comparison.displayed()
    rmse = float(np.sqrt(np.mean(shown.error**2)))
    limit = min(float(np.abs(shown.error).max()), 6.0 * rmse) or 1.0
    n_bins = 2 * int(np.clip(len(shown) ** (1.0 / 3.0) * 1.6, 6, 30)) + 1  # odd: one bin stands on zero
    parts = _rows_of(comparison, groups)
    clipped = np.clip(shown.error, -limit, limit)
    axes.hist(
        [clipped[rows] for _, rows in parts],
        np.linspace(-limit, limit, n_bins + 1).tolist(),
        stacked=True,
        color=[group.colour for group, _ in parts],
        edgecolor="white",
        linewidth=0.4,
    )
    _label(axes, f"error ({shown.unit})", "number of values")
    return _png(figure)


def uncertainty_against_error(comparison: Comparison, groups: Sequence[Group]) -> bytes:
    """abs(error) against predicted standard deviation, the diagonal and twice it, and the RMSE of equal parts."""
    figure, (axes,) = _figure(4.2)
    shown = comparison.displayed()
    std = np.asarray(shown.std)
    size = np.maximum(np.abs(shown.error), 1e-3 * std)  # a logarithmic axis has no zero
    if len(std) > MANY:
        style: dict[str, Any] = {"bins": "log", "cmap": "cividis_r", "mincnt": 1, "linewidths": 0.1}
        axes.hexbin(std, size, gridsize=(56, 44), xscale="log", yscale="log", **style)
    else:
        for group, rows in _rows_of(comparison, groups):
            axes.scatter(std[rows], size[rows], s=13, color=group.colour, alpha=_opacity(len(std)), linewidths=0)
    ends = np.array([std.min() / 1.3, std.max() * 1.3])
    for factor, dashes in ((1.0, "-"), (2.0, (0, (4, 3)))):
        axes.plot(ends, factor * ends, color=INK, lw=1.0, ls=dashes, label=f"{factor:g} σ")
    parts = np.array_split(np.argsort(std), min(10, len(std) // 20)) if len(std) >= 60 else []
    rms = [[float(np.sqrt(np.mean(x[rows] ** 2))) for rows in parts] for x in (std, shown.error)]
    if parts and min(rms[1]) > 0.0:
        axes.plot(*rms, "D", color="white", mec=INK, mew=1.2, ms=6, label=f"RMSE, in {len(parts)} parts")
    axes.set(xscale="log", yscale="log", xlim=ends)
    _plain_log(axes.xaxis)
    _plain_log(axes.yaxis)
    _label(axes, f"predicted standard deviation ({shown.unit})", f"absolute error ({shown.unit})")
    _legend(axes, "lower right")
    return _png(figure)


def reliability(comparison: Comparison, scale: float) -> bytes:
    """Observed against nominal coverage of central intervals, as predicted and with every std times `scale`."""
    figure, (axes,) = _figure(4.2)
    z, levels = z_scores(comparison), np.linspace(0.0, 1.0, 101)
    n_structures = len(np.unique(comparison.structure))
    band = 2.0 * np.sqrt(levels * (1.0 - levels) / n_structures)
    axes.fill_between(levels, levels - band, levels + band, color=GRID, lw=0, label="calibrated ± 2 s.e.")
    axes.plot(levels, levels, color=INK, lw=0.8, ls=(0, (4, 3)))
    curves: list[tuple[Any, str, Any, str]] = [(z, PALETTE[0], "-", "as predicted")]
    if scale > 0.0:
        curves.append((z / scale, PALETTE[1], (0, (5, 2)), f"std × {scale:.2f}"))
    for scores, colour, dashes, label in curves:
        axes.plot(levels, list(coverage(scores, levels).values()), color=colour, lw=1.8, ls=dashes, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    _label(axes, "nominal probability of the interval", "fraction of values inside")
    _legend(axes, "upper left")
    return _png(figure)


def retention(found: Retention, unit: str) -> bytes:
    """RMSE of what is left when values are removed: those of largest std, those of largest error, or any."""
    figure, (axes,) = _figure(4.2)
    share = 100.0 * np.array(found.removed)
    axes.plot(share, found.random, color=FAINT, lw=1.2, ls=(0, (1, 2)), label="any order")
    axes.plot(share, found.oracle, color=PALETTE[2], lw=1.5, ls=(0, (5, 2)), label="largest errors first")
    axes.plot(share, found.rmse, color=PALETTE[0], lw=1.8, marker="o", ms=3.5, label="largest std first")
    axes.set(xlim=(0, 100), ylim=(0, None))
    _label(axes, "values removed (%)", f"RMSE of the others ({unit})")
    _legend(axes, "best")
    return _png(figure)


def trajectory(md: Mapping[str, Any]) -> bytes:
    """Total energy per atom relative to its start (meV), and temperature (K) if given, against time (ps)."""
    temperature = md.get("temperature")
    rows = 1 if temperature is None else 2
    figure, axes = _figure(1.4 + 1.6 * rows, rows=rows, height_ratios=(1.0,) * rows, sharex=True, width=1.25 * _WIDTH)
    time, energy = np.asarray(md["time_ps"], dtype=float), np.asarray(md["total_energy_per_atom"], dtype=float)
    axes[0].plot(time, 1000.0 * (energy - energy[0]), color=PALETTE[0], lw=1.0)
    axes[0].axhline(0.0, color=INK, lw=0.8, ls=(0, (4, 3)))
    axes[0].set_xlim(time[0], time[-1])
    _label(axes[0], "" if rows == 2 else "time (ps)", "energy − start\n(meV/atom)")
    if temperature is not None:
        axes[1].plot(time, np.asarray(temperature, dtype=float), color=PALETTE[1], lw=1.0)
        _label(axes[1], "time (ps)", "temperature\n(K)")
    return _png(figure)


def learning_curve(curve: LearningCurve) -> bytes:
    """Held-out errors of every kind, and the log evidence per label, against the number of sparse points."""
    figure, (top, bottom) = _figure(5.2, rows=2, height_ratios=(1.6, 1.0), sharex=True)
    sizes = [point.n_sparse for point in curve.points]
    for rows, colour, marker in zip(zip(*(point.errors for point in curve.points)), PALETTE, "osD^"):
        spread = [row.rmse_se or 0.0 for row in rows]
        style: dict[str, Any] = {"color": colour, "marker": marker, "ms": 4.5, "lw": 1.5, "capsize": 2.5}
        top.errorbar(sizes, [row.rmse for row in rows], spread, label=f"{rows[0].kind} ({rows[0].unit})", **style)
    evidence = [point.log_evidence / curve.n_labels for point in curve.points]
    bottom.plot(sizes, evidence, color=INK, marker="o", ms=4.5, lw=1.5)
    top.set(xscale="log", yscale="log")
    if curve.enough < sizes[-1]:
        top.axvline(curve.enough, color=FAINT, lw=0.8, ls=(0, (4, 3)))
    _plain_log(top.yaxis)
    _plain_log(bottom.xaxis)
    _label(top, "", "root mean square error")
    _label(bottom, "sparse points of each species and term", "log evidence\nper label")
    near = {"columnspacing": 0.9, "handletextpad": 0.3, "handlelength": 1.2}
    top.legend(
        loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=3, fontsize=8, labelcolor=INK, frameon=False, **near
    )
    return _png(figure)


def _figure(
    height: float,
    rows: int = 1,
    height_ratios: Sequence[float] = (1.0,),
    sharex: bool = False,
    width: float = _WIDTH,
) -> tuple[Figure, list[Axes]]:
    """A white figure and its axes, every colour set here so that a dark matplotlib style changes nothing."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white", edgecolor="white", layout="constrained")
    grid = figure.subplots(rows, 1, squeeze=False, sharex=sharex, height_ratios=list(height_ratios))
    axes = list(grid[:, 0])
    for one in axes:
        one.set_facecolor("white")
        one.set_axisbelow(True)
        one.grid(True, color=GRID, lw=0.7, ls="-", alpha=1.0)
        one.tick_params(which="both", colors=FAINT, labelcolor=INK, labelsize=9, direction="out")
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set(color=FAINT, linewidth=0.8)
        one.ticklabel_format(useOffset=False)
    return figure, axes


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=10, color=INK)
    axes.set_ylabel(y, fontsize=10, color=INK)


def _legend(axes: Axes, where: Any) -> None:
    axes.legend(loc=where, fontsize=9, labelcolor=INK, facecolor="white", edgecolor=GRID, framealpha=0.9)


def _plain_log(axis: Any) -> None:
    """0.01, 0.1, 1, 10 … and, over less than two decades, also the steps 2 and 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    subs = (1.0,) if high > 100.0 * low else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(base=10.0, subs=subs, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(NullLocator())


def _densities(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], extent: Any, rows: int) -> None:
    axes.hexbin(x, y, gridsize=(64, rows), extent=extent, bins="log", cmap="cividis_r", mincnt=1, linewidths=0.1)


def _rows_of(comparison: Comparison, groups: Sequence[Group]) -> list[tuple[Group, NDArray[np.bool_]]]:
    """Groups that occur, the largest first so that it is drawn below the others."""
    found = [(group, np.isin(comparison.config_type, group.config_types)) for group in groups]
    return sorted(((g, rows) for g, rows in found if rows.any()), key=lambda pair: -np.count_nonzero(pair[1]))


def _padded(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - pad, high + pad


def _opacity(n: int) -> float:
    """Opacity of a point among n."""
    return float(np.clip(30.0 / np.sqrt(n), 0.2, 0.85))


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white", metadata={"Software": "gapkit"})
    return buffer.getvalue()
