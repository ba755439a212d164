"""What the comparison has to show, beside what it showed; for rows measured at the sizes that the bars name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from comparison import flare
from comparison.descriptor import GRADIENTS, VALUES
from comparison.evaluation import MEAN, VARIANCE
from comparison.results import Results
from comparison.settings import Settings
from comparison.tables import markdown, ratio


class Bar(NamedTuple):
    """`reached` gives the number that this run showed, or None; it should not be below `bar` (or not above)."""

    work: str
    bar: float
    reached: Callable[[Settings], float | None]
    at_most: bool = False


def table(settings: Settings) -> str:
    lines = [[b.work, f"{'≤' if b.at_most else '≥'} {b.bar:g}", *_verdict(b, b.reached(settings))] for b in BARS]
    return markdown(["work", "bar", "this run", ""], lines)


def _verdict(bar: Bar, value: float | None) -> tuple[str, str]:
    if value is None:
        return "–", "not measured"
    return f"{value:.4g}", "reached" if (value <= bar.bar if bar.at_most else value >= bar.bar) else "missed"


def _ratio(part: str, peer: str = "quippy", **fields) -> Callable[[Settings], float | None]:
    """The newest row's ratio: the peer's time over gapkit's."""

    def reached(settings: Settings) -> float | None:
        rows = settings.results.rows(part, **fields)
        return ratio(rows[-1], peer) if rows else None

    return reached


def _value(part: str, name: str, **fields) -> Callable[[Settings], float | None]:
    def reached(settings: Settings) -> float | None:
        rows = settings.results.rows(part, **fields)
        return rows[-1]["values"].get(name) if rows else None

    return reached


def _training(name: str, worst: bool = False) -> Callable[[Settings], float | None]:
    """gap_fit's value over gapkit's; with `worst` the largest of gapkit's errors relative to gap_fit's."""

    def reached(settings: Settings) -> float | None:
        sides = _sides(settings.results)
        if not sides:
            return None
        theirs, ours = sides
        return max(ours[k] / theirs[k] for k in ours if k[:2] in ("E ", "F ")) if worst else theirs[name] / ours[name]

    return reached


def _sides(results: Results) -> tuple[dict[str, float], dict[str, float]] | None:
    """gap_fit's and gapkit's values with 1000 sparse points."""
    found = [results.rows("training", side=side, n_sparse=1000) for side in ("gap_fit", "gapkit")]
    theirs, ours = ({k: v for row in rows for k, v in row["values"].items()} for rows in found)
    return (theirs, ours) if theirs and set(ours) >= {"seconds", "F MAE"} <= set(theirs) else None


def _flare(label: str) -> Callable[[Settings], float | None]:
    def reached(settings: Settings) -> float | None:
        rows: Iterator = (r for r in flare.rows(settings) if r["label"].startswith(label))
        return next((r["values"]["FLARE / gapkit"] for r in rows), None)

    return reached


STANDARD = dict(atoms=512, n_sparse=1000, n_max=8)
BARS = (
    Bar("E+F+S, against quippy", 50, _ratio("silicon", **STANDARD, what=MEAN)),
    Bar("E+F+S with per-atom variance, against quippy", 35, _ratio("silicon", **STANDARD, what=VARIANCE)),
    Bar("n_max 12, against quippy", 45, _ratio("silicon", **{**STANDARD, "n_max": 12}, what=MEAN)),
    Bar(
        "4 species, M = 1000 in all, against quippy",
        50,
        _ratio("species", **{**STANDARD, "n_sparse": 250}, n_species=4),
    ),
    Bar("4 species, M = 1000 for each, against quippy", 50, _ratio("species", **STANDARD, n_species=4)),
    Bar("mean, against FLARE's figures, 512 atoms", 100, _flare("energy, forces, stress; 512")),
    Bar("force variances, against FLARE's DTC", 30, _flare("the same and DTC force variances; 64")),
    Bar("values, against dscribe", 5, _ratio("descriptor", "dscribe", atoms=512, n_max=8, n_species=1, what=VALUES)),
    Bar("E+F+S, against featomic's gradients", 20, _ratio("descriptor", "featomic", atoms=512, what=GRADIENTS)),
    Bar("training time, against gap_fit", 15, _training("seconds")),
    Bar("training memory, against gap_fit", 5, _training("memory")),
    Bar("test errors relative to gap_fit's, the worst", 1, _training("", worst=True), at_most=True),
    Bar("2 threads, 4096 atoms", 1.8, _value("threads", "speed-up", atoms=4096)),
    Bar("MD, time outside the engine, %", 20, _value("md", "outside, %"), at_most=True),
    Bar("import, s", 1, _value("startup", "import", cache="warm cache"), at_most=True),
    Bar("import to first forces, warm cache, s", 2, _value("startup", "all three", cache="warm cache"), at_most=True),
    Bar(
        "import to first forces, empty cache, s", 60, _value("startup", "all three", cache="empty cache"), at_most=True
    ),
)
