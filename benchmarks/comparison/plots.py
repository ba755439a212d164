"""Plots of cost against atoms, sparse points and species, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter, ScalarFormatter

from comparison.evaluation import MEAN, VARIANCE
from comparison.results import Results, Row

STYLE = {"svg.hashsalt": "gapkit", "svg.fonttype": "none", "font.size": 10, "axes.grid": True, "grid.alpha": 0.3}
COLOURS = {"gapkit": "C0", "quippy": "C1", "LAMMPS SNAP": "C2"}


def draw(results: Results, folder: Path) -> list[Path]:
    """Every plot for which there are rows."""
    folder.mkdir(parents=True, exist_ok=True)
    mean, both = [("", {"what": MEAN})], [("", {"what": MEAN}), (", with variance", {"what": VARIANCE})]
    M = max((row["n_sparse"] for row in results.rows("species")), default=0)
    wanted = (
        ("sizes", "atoms", "atoms", mean, True),
        ("sparse", "n_sparse", "sparse points", both, True),
        ("species", "n_species", f"species, {M} sparse points each", [("", {"what": MEAN, "n_sparse": M})], False),
    )
    return [_plot(folder / f"{w[0]}.svg", results, *w) for w in wanted if results.rows(w[0])]


def _plot(path: Path, results: Results, part: str, field: str, label: str, kinds: Sequence, logarithmic: bool) -> Path:
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
        for (suffix, fields), marker in zip(kinds, ("o-", "s--")):
            _lines(axes, results.rows(part, **fields), field, suffix, marker)
        axes.set(xlabel=label, ylabel="energy, forces, stress: ms/atom", yscale="log")
        _number_axis(axes, sorted({row[field] for row in results.rows(part)}), logarithmic)
        axes.legend()
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
    return path


def _lines(axes, rows: Sequence[Row], field: str, suffix: str, marker: str) -> None:
    for name in dict.fromkeys(name for row in rows for name in row["engines"]):
        timed = sorted(
            ((row[field], row) for row in rows if "seconds" in row["engines"].get(name, {})), key=lambda pair: pair[0]
        )
        points = [(x, 1e3 * row["engines"][name]["seconds"] / row["atoms"]) for x, row in timed]
        if points:
            axes.plot(*zip(*points), marker, color=COLOURS.get(name), label=name + suffix)


def _number_axis(axes, values: Sequence[int], logarithmic: bool) -> None:
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(values)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
